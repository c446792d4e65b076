#include "ui.h"

#include "base/platform.h"
#include "base/unfinished.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

const char app_exit_help[] = "Exit codes:\n"
                             "  0    done\n"
                             "  1    bad usage, or something this version or backend cannot do\n"
                             "  2    an input file is missing or broken, or an output cannot be written\n"
                             "  3    not enough memory, or no such device\n"
                             "  4    the computation failed (non-finite values, device lost)\n"
                             "  130  interrupted (Ctrl-C, SIGTERM, SIGHUP)\n";

int app_exit_status(enum sdg_result result)
{
    switch (result) {
    case SDG_OK: return 0;
    case SDG_ERROR_USAGE:
    case SDG_ERROR_UNSUPPORTED: return 1;
    case SDG_ERROR_INPUT:
    case SDG_ERROR_OUTPUT: return 2;
    case SDG_ERROR_MEMORY:
    case SDG_ERROR_DEVICE: return 3;
    case SDG_ERROR_COMPUTE: return 4;
    case SDG_ERROR_CANCELLED: return 130;
    }
    return 4;
}

// The XDG specification: a relative cache folder is to be ignored. The library does; a graphics driver that it loads
// may not.
static void ignore_relative_cache(void)
{
    const char *folder = getenv("XDG_CACHE_HOME");
    if (folder && *folder != '/')
        unsetenv("XDG_CACHE_HOME");
}

// A terminal that cannot rewrite a line gets plain lines, as a file does.
static bool can_move_cursor(void)
{
    const char *term = getenv("TERM");
    return isatty(STDERR_FILENO) == 1 && !(term && !strcmp(term, "dumb"));
}

struct app_ui app_ui_create(const char *program)
{
    ignore_relative_cache();
    sdg_platform_share_arena();
    return (struct app_ui){.program = program, .level = SDG_LOG_INFO, .terminal = can_move_cursor()};
}

// A log callback (sdg_vsay has replaced what could break the line or drive the terminal).
static void print_line(void *user, enum sdg_log_level level, const char *text)
{
    struct app_ui *ui = user;
    static const char *const words[] = {"error: ", "warning: ", "", ""};
    static const char *const colors[] = {"\033[1;31m", "\033[1;33m", "", ""};
    bool colored = ui->color && words[level][0];
    flockfile(stderr);
    app_progress_end(ui);
    fprintf(stderr, "%s: %s%s%s%s\n", ui->program, colored ? colors[level] : "", words[level], colored ? "\033[0m" : "",
            text);
    funlockfile(stderr);
}

enum sdg_result app_fail(struct app_ui *ui, enum sdg_result result, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    sdg_vsay(&(struct sdg_log){print_line, ui, ui->level}, SDG_LOG_ERROR, format, arguments);
    va_end(arguments);
    return result;
}

void app_say(struct app_ui *ui, enum sdg_log_level level, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    sdg_vsay(&(struct sdg_log){print_line, ui, ui->level}, level, format, arguments);
    va_end(arguments);
}

void app_log(void *user, enum sdg_log_level level, const char *message)
{
    if (level == SDG_LOG_ERROR && app_interrupted()) // what was asked for is no error
        level = SDG_LOG_INFO;
    app_say(user, level, "%s", message);
}

const struct sdg_log *app_log_of(struct app_ui *ui)
{
    ui->log = (struct sdg_log){app_log, ui, ui->level};
    return &ui->log;
}

static void format_speed(char *text, size_t size, double seconds)
{
    if (seconds <= 0)
        snprintf(text, size, "-");
    else if (seconds < 1)
        snprintf(text, size, "%.2f it/s", 1 / seconds);
    else
        snprintf(text, size, "%.2f s/it", seconds);
}

static void format_left(char *text, size_t size, double seconds)
{
    if (seconds < 0)
        text[0] = 0;
    else if (seconds < 90)
        snprintf(text, size, ", %.0f s left", seconds);
    else
        snprintf(text, size, ", %.0f min left", seconds / 60);
}

int app_width(int fd, int otherwise)
{
    struct winsize size;
    const char *columns = getenv("COLUMNS");
    int width = otherwise;
    if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        width = size.ws_col;
    else if (columns && atoi(columns) > 0)
        width = atoi(columns);
    return width < 20 ? 20 : width > 110 ? 110 : width;
}

// One line that fits: the bar gets what the numbers leave, on narrow screens nothing.
static void draw_bar(struct app_ui *ui, const struct sdg_progress *progress, const char *number, const char *speed,
                     const char *left)
{
    enum { LONGEST = 30, SHORTEST = 4 };
    char bar[LONGEST + 4] = "", rest[128], line[256];
    const int width = app_width(STDERR_FILENO, 80) - 1;
    snprintf(rest, sizeof rest, "%d/%d  %s%s", progress->step, progress->steps, speed, left);
    const int head = (int)strlen(number) + 7, room = width - head - (int)strlen(rest) - 3;
    const int length = room > LONGEST ? LONGEST : room;
    if (length >= SHORTEST) {
        int full = progress->steps > 0 ? (int)((int64_t)length * progress->step / progress->steps) : 0;
        full = full < 0 ? 0 : full > length ? length : full;
        bar[0] = '[';
        memset(bar + 1, '.', (size_t)length);
        memset(bar + 1, '#', (size_t)full);
        memcpy(bar + 1 + length, "] ", 3);
    }
    snprintf(line, sizeof line, "%s%-6s %s%s", number, progress->stage, bar, rest);
    flockfile(stderr);
    fprintf(stderr, "\r%.*s\033[K", width, line);
    fflush(stderr);
    ui->bar = true;
    funlockfile(stderr);
}

void app_progress(struct app_ui *ui, const struct sdg_progress *progress)
{
    if (ui->level < SDG_LOG_INFO || !progress->stage)
        return;
    char number[48] = "", speed[32], left[48];
    if (progress->images > 1)
        snprintf(number, sizeof number, "%d of %d: ", progress->image + 1, progress->images);
    format_speed(speed, sizeof speed, progress->seconds_step);
    format_left(left, sizeof left, progress->seconds_left);
    if (ui->terminal) {
        draw_bar(ui, progress, number, speed, left);
        return;
    }
    // Logs of a batch job stay short: the sampling loop only, and of it every fifth part.
    if (strcmp(progress->stage, "sample") || progress->steps <= 0)
        return;
    int mark = (int)((int64_t)progress->step * 5 / progress->steps);
    if (progress->step == 0 || progress->image != ui->last_image)
        ui->last_mark = 0;
    ui->last_image = progress->image;
    if (mark > ui->last_mark) {
        ui->last_mark = mark;
        app_say(ui, SDG_LOG_INFO, "%ssample %d/%d, %s%s", number, progress->step, progress->steps, speed, left);
    }
}

void app_progress_end(struct app_ui *ui)
{
    if (ui->bar)
        fputs("\r\033[K", stderr);
    ui->bar = false;
}

// ---- signals ----

// Signal handlers have nothing but globals.
static const struct app_ui *volatile shown; // whose name messages begin with
static volatile sig_atomic_t cancellable, interrupted;

// As much of the line as can be written; in handlers stdio cannot be used.
static void put(const char *text)
{
    char line[512];
    size_t length = 0;
    for (; text[length] && length < sizeof line; length++) // names come from files
        line[length] =
            (unsigned char)text[length] < 0x20 && text[length] != '\n' && text[length] != '\r' ? '?' : text[length];
    for (size_t done = 0; done < length;) {
        const ssize_t n = write(STDERR_FILENO, line + done, length - done);
        if (n <= 0)
            break;
        done += (size_t)n;
    }
}

static void begin_line(void)
{
    if (shown->bar)
        put("\n");
    put(shown->program);
    put(": ");
}

// Those of the program, and those of the library, which has a base/ of its own.
static void discard_outputs(void)
{
    sdg_unfinished_remove();
    sdg_discard_outputs();
}

static void on_interrupt(int number)
{
    const int error = errno;
    if (interrupted || !cancellable) {
        discard_outputs();
        _exit(130);
    }
    interrupted = number;
    if (shown->level >= SDG_LOG_INFO) {
        begin_line();
        put("stopping when the operation that runs now is done; once more to quit at once\n");
    }
    errno = error;
}

// A page of a mapped file that is not there any more. Anything else with this signal ends as it would without a
// handler.
static void on_bus_error(int number, siginfo_t *info, void *context)
{
    static atomic_flag ending = ATOMIC_FLAG_INIT;
    const char *path = sdg_file_at(info->si_addr);
    (void)context;
    if (!path) {
        signal(number, SIG_DFL); // returning repeats the access
        return;
    }
    while (atomic_flag_test_and_set(&ending)) // another thread is at it
        pause();
    discard_outputs();
    begin_line();
    put("error: ");
    put(path);
    put(": became shorter while it was in use: was it still being downloaded, or replaced? Start again when it is "
        "complete\n");
    _exit(2);
}

// A program started with the signal ignored (nohup, a shell's background job) leaves it ignored.
static void handle(int number, const struct sigaction *action)
{
    struct sigaction old;
    if (sigaction(number, NULL, &old) == 0 && old.sa_handler != SIG_IGN)
        sigaction(number, action, NULL);
}

void app_signals_install(const struct app_ui *ui)
{
    struct sigaction interrupt = {.sa_handler = on_interrupt, .sa_flags = SA_RESTART},
                     bus = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO};
    sigemptyset(&interrupt.sa_mask);
    sigemptyset(&bus.sa_mask);
    shown = ui;
    handle(SIGINT, &interrupt);
    handle(SIGHUP, &interrupt);
    handle(SIGTERM, &interrupt);
    handle(SIGBUS, &bus);
    signal(SIGPIPE, SIG_IGN); // a closed pipe, or a limit of file sizes, is a write error with a message
    signal(SIGXFSZ, SIG_IGN);
}

void app_signals_cancellable(bool yes)
{
    cancellable = yes;
}

bool app_interrupted(void)
{
    return interrupted != 0;
}
