#include "ui.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char app_exit_help[] = "Exit codes:\n"
                             "  0    done\n"
                             "  1    bad usage, or something this version or backend cannot do\n"
                             "  2    an input file is missing or broken, or an output cannot be written\n"
                             "  3    not enough memory, or no such device\n"
                             "  4    the computation failed (non-finite values, device lost)\n"
                             "  130  interrupted (Ctrl-C, SIGTERM)\n";

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

struct app_ui app_ui_create(const char *program)
{
    ignore_relative_cache();
    return (struct app_ui){.program = program, .level = SDG_LOG_INFO, .terminal = isatty(STDERR_FILENO) == 1};
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

static void draw_bar(struct app_ui *ui, const struct sdg_progress *progress, const char *number, const char *speed,
                     const char *left)
{
    enum { WIDTH = 30 };
    char bar[WIDTH + 1];
    int full = progress->steps > 0 ? (int)((int64_t)WIDTH * progress->step / progress->steps) : 0;
    full = full < 0 ? 0 : full > WIDTH ? WIDTH : full;
    memset(bar, '.', WIDTH);
    memset(bar, '#', (size_t)full);
    bar[WIDTH] = 0;
    flockfile(stderr);
    fprintf(stderr, "\r%s%-6s [%s] %d/%d  %s%s\033[K", number, progress->stage, bar, progress->step, progress->steps,
            speed, left);
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
    if (progress->step <= 1)
        ui->last_mark = 0;
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

// Signal handlers have nothing but globals.
static volatile sig_atomic_t interrupted;
static const char *volatile file_to_remove;

static void on_signal(int number)
{
    if (interrupted) {
        const char *path = file_to_remove;
        if (path)
            unlink(path);
        _exit(130);
    }
    interrupted = number;
}

void app_signals_install(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART}, old;
    sigemptyset(&action.sa_mask);
    // A program started with the signal ignored (nohup, a shell's background job) leaves it ignored.
    if (sigaction(SIGINT, NULL, &old) == 0 && old.sa_handler != SIG_IGN)
        sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN); // a closed pipe is a write error with a message
}

bool app_interrupted(void)
{
    return interrupted != 0;
}

void app_signals_remove_file(const char *path)
{
    file_to_remove = path;
}
