// Runs the built programs in a temporary folder and keeps what they say.
#ifndef SDG_TESTS_CLI_RUN_H
#define SDG_TESTS_CLI_RUN_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct run {
    int status; // exit status, or 1000 + the signal
    char out[1 << 16], err[1 << 16];
    size_t out_size;
};

// A new empty folder, which becomes the working directory.
static inline void folder_enter(char *folder, size_t size)
{
    // thousands of files
    snprintf(folder, size, "%s/sdgen-cli-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(folder));
    assert_int_equal(chdir(folder), 0);
}

static inline void folder_leave(const char *folder)
{
    char name[512];
    DIR *dir = opendir(folder);
    struct dirent *entry;
    while (dir && (entry = readdir(dir)))
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..")) {
            snprintf(name, sizeof name, "%.200s/%.255s", folder, entry->d_name);
            if (unlink(name))
                rmdir(name);
        }
    if (dir)
        closedir(dir);
    assert_int_equal(chdir("/"), 0);
    assert_int_equal(rmdir(folder), 0); // nothing unexpected was left in it
}

// How many files are in the working directory, hidden ones too.
static inline int count_files(void)
{
    int count = 0;
    DIR *dir = opendir(".");
    struct dirent *entry;
    while (dir && (entry = readdir(dir)))
        count += strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..");
    if (dir)
        closedir(dir);
    return count;
}

static inline bool file_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

static inline size_t read_whole(const char *path, char *data, size_t room)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        return 0;
    size_t size = fread(data, 1, room - 1, file);
    data[size] = 0;
    fclose(file);
    return size;
}

static inline void write_whole(const char *path, const void *data, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

// Starts a program; standard input is `input` (NULL = nothing), stdout goes to the file `out`, stderr to `err`.
static inline pid_t start(char *const *arguments, const char *input, const char *out, const char *err)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child)
        return child;
    signal(SIGINT, SIG_DFL); // a test started in the background has it ignored
    int in = open(input ? input : "/dev/null", O_RDONLY), to = open(out, O_WRONLY | O_CREAT | O_TRUNC, 0666),
        say = open(err, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (in < 0 || to < 0 || say < 0 || dup2(in, 0) < 0 || dup2(to, 1) < 0 || dup2(say, 2) < 0)
        _exit(126);
    execv(arguments[0], arguments);
    _exit(127);
}

static inline int finish(pid_t child)
{
    int status = 0;
    while (waitpid(child, &status, 0) < 0)
        assert_int_equal(errno, EINTR);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

// Runs a program with standard input from the file `input` (NULL = none). The result is overwritten by the next run.
static inline const struct run *run_with(char *const *arguments, const char *input)
{
    static struct run run;
    char out_file[64], err_file[64];
    snprintf(out_file, sizeof out_file, "/tmp/sdgen-cli-%d.out", (int)getpid());
    snprintf(err_file, sizeof err_file, "/tmp/sdgen-cli-%d.err", (int)getpid());
    memset(&run, 0, sizeof run);
    run.status = finish(start(arguments, input, out_file, err_file));
    run.out_size = read_whole(out_file, run.out, sizeof run.out);
    read_whole(err_file, run.err, sizeof run.err);
    unlink(out_file);
    unlink(err_file);
    return &run;
}

// sdgen("--steps", "5") runs the program with these arguments.
#define sdgen(...) run_with((char *const[]){SDGEN_PROGRAM, __VA_ARGS__, NULL}, NULL)

static inline int count_lines(const char *text)
{
    int lines = 0;
    for (; *text; text++)
        lines += *text == '\n';
    return lines;
}

// ---- what tests that draw have in common ----

static char run_folder[64];

// Of a group of tests: a folder of its own, and the default model.
static inline int enter_with_model(void **state)
{
    (void)state;
    folder_enter(run_folder, sizeof run_folder);
    setenv("SDGEN_MODEL", SDG_SOURCE_DIR "/models/emoji-128", 1);
    return 0;
}

static inline int leave_with_model(void **state)
{
    (void)state;
    folder_leave(run_folder);
    return 0;
}

static inline const struct run *expect_done(const struct run *run)
{
    if (run->status != 0)
        fail_msg("exit status %d: %s", run->status, run->err);
    return run;
}

static inline bool same_files(const char *a, const char *b)
{
    static char x[1 << 20], y[1 << 20];
    size_t n = read_whole(a, x, sizeof x), m = read_whole(b, y, sizeof y);
    return n && n == m && !memcmp(x, y, n);
}

#endif
