// Whatever number of threads there are, and whoever takes some away, sdgen draws the same picture.
#include "run.h"

#include <sys/resource.h>

#define PICTURE "a red apple, 3d", "--backend", "cpu", "-W", "64", "-H", "64", "--steps", "2", "-s", "1"

static void expect_same(const char *a, const char *b)
{
    if (!same_files(a, b))
        fail_msg("%s and %s differ", a, b);
}

static void check_threads(char *name, char *option, char *value)
{
    static char *const threads[] = {"1", "2", "3", "7", "-1"};
    char first[64], file[64];
    for (size_t i = 0; i < sizeof threads / sizeof *threads; i++) {
        snprintf(file, sizeof file, "%s-%s.png", name, threads[i]);
        expect_done(sdgen(PICTURE, option, value, "-t", threads[i], "-o", file));
        if (i == 0)
            snprintf(first, sizeof first, "%s", file);
        expect_same(first, file);
    }
}

static void test_number(void **state)
{
    (void)state;
    check_threads("f32", "--type", "f32");
    check_threads("integers", "-m", SDG_SOURCE_DIR "/models/emoji-128-w8a8-tdq");
    check_threads("own kernels", "--cpu-mask", "generic");
}

// What OpenMP's users set is for OpenMP: oneDNN may be built with it.
static void test_openmp_settings(void **state)
{
    (void)state;
    static const char *const settings[][2] = {
        {"OMP_THREAD_LIMIT", "1"}, {"OMP_THREAD_LIMIT", "2"},   {"OMP_DYNAMIC", "true"},
        {"OMP_NUM_THREADS", "1"},  {"OMP_NUM_THREADS", "5"},    {"OMP_STACKSIZE", "1000G"},
        {"OMP_CANCELLATION", "1"}, {"OMP_PROC_BIND", "spread"}, {"OMP_SCHEDULE", "dynamic"},
    };
    expect_done(sdgen(PICTURE, "-t", "3", "-o", "plain.png"));
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        setenv(settings[i][0], settings[i][1], 1);
        const struct run *run = sdgen(PICTURE, "-t", "3", "-o", "set.png");
        unsetenv(settings[i][0]);
        if (run->status != 0)
            fail_msg("%s=%s: exit status %d: %s", settings[i][0], settings[i][1], run->status, run->err);
        expect_same("plain.png", "set.png");
    }
}

static const struct run *draw_without_threads(char *picture)
{
    static struct run run;
    char *arguments[] = {SDGEN_PROGRAM, PICTURE, "-t", "3", "-o", picture, NULL};
    memset(&run, 0, sizeof run);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const struct rlimit one = {1, 1};
        const int err = open("err", O_WRONLY | O_CREAT | O_TRUNC, 0666);
        // limits of processes are for users without privileges, of all their processes together
        if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0))
            _exit(126);
        if (dup2(err, 2) < 0 || setrlimit(RLIMIT_NPROC, &one) != 0 || access(SDGEN_PROGRAM, X_OK) != 0 ||
            access(SDG_SOURCE_DIR "/models/emoji-128/model_index.json", R_OK) != 0)
            _exit(126);
        // the search for leaks needs a thread, which cannot be had
        if (getenv("ASAN_OPTIONS"))
            setenv("ASAN_OPTIONS", "verify_asan_link_order=0:detect_leaks=0", 1);
        execv(arguments[0], arguments);
        _exit(126);
    }
    run.status = finish(child);
    read_whole("err", run.err, sizeof run.err);
    return &run;
}

// ulimit -u, or the limit of processes that a container has.
static void test_no_threads(void **state)
{
    (void)state;
    expect_done(sdgen(PICTURE, "-t", "3", "-o", "three.png"));
    assert_int_equal(chmod(".", 0777), 0); // for another user
    const struct run *run = draw_without_threads("one.png");
    if (run->status == 126) {
        print_message("another user cannot run %s: skipped\n", SDGEN_PROGRAM);
        return;
    }
    expect_done(run);
    expect_same("three.png", "one.png");
    const char *warning = strstr(run->err, "warning: 1 of 3 threads: ");
    if (!warning || strstr(warning + 1, "warning: "))
        fail_msg("expected one warning, of threads: %s", run->err);
}

// A bundled loader starts the program: /proc/self/exe is the loader.
static void test_loader(void **state)
{
    (void)state;
    static char *const loaders[] = {"/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"};
    expect_done(sdgen(PICTURE, "-o", "plain.png"));
    for (size_t i = 0; i < sizeof loaders / sizeof *loaders; i++) {
        if (!file_exists(loaders[i]))
            continue;
        expect_done(run_with((char *const[]){loaders[i], SDGEN_PROGRAM, PICTURE, "-o", "loaded.png", NULL}, NULL));
        expect_same("plain.png", "loaded.png");
        return;
    }
    print_message("no loader is known here: skipped\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_number, enter_with_model, leave_with_model),
        cmocka_unit_test_setup_teardown(test_openmp_settings, enter_with_model, leave_with_model),
        cmocka_unit_test_setup_teardown(test_no_threads, enter_with_model, leave_with_model),
        cmocka_unit_test_setup_teardown(test_loader, enter_with_model, leave_with_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
