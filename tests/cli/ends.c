// How the programs end when something outside ends them: signals, limits, files that vanish. One line, the documented
// status, nothing left behind.
#include "run.h"

#include "base/clock.h"

#include <sys/resource.h>

static void expect(const struct run *run, int status, const char *word, int files)
{
    if (run->status != status || !strstr(run->err, word) || count_files() != files)
        fail_msg("expected exit status %d, '%s' and %d files, got %d, %d files and: %s", status, word, files,
                 run->status, count_files(), run->err);
}

// Waits until the program has said it.
static void wait_for(pid_t child, const char *word)
{
    static char text[1 << 16];
    const double begin = sdg_clock();
    while (sdg_clock() - begin < 300 && waitpid(child, NULL, WNOHANG) == 0) {
        text[0] = 0;
        read_whole("err", text, sizeof text);
        if (strstr(text, word))
            return;
        usleep(10000);
    }
    read_whole("err", text, sizeof text);
    if (strstr(text, word))
        return;
    fail_msg("the program did not say '%s': %s", word, text);
}

static const struct run *ended(pid_t child)
{
    static struct run run;
    run.err[0] = 0;
    run.status = finish(child);
    read_whole("err", run.err, sizeof run.err);
    unlink("err");
    return &run;
}

// One step of such a picture takes seconds. Between its operations the signal is noticed: no step gets done.
#define LARGE "--backend", "cpu", "-t", "1", "-W", "1536", "-H", "1536", "--vae-tiling", "--steps", "2", "-o", "a.png"

static void interrupt(int number)
{
    char *arguments[] = {SDGEN_PROGRAM, "x", LARGE, NULL};
    const pid_t child = start(arguments, NULL, "/dev/null", "err");
    wait_for(child, "seed");
    usleep(300000);
    kill(child, number);
    const struct run *run = ended(child);
    expect(run, 130, "stopping when", 0);
    assert_non_null(strstr(run->err, "after 0 of"));
    assert_null(strstr(run->err, "error"));
}

static void test_between_operations(void **state)
{
    (void)state;
    interrupt(SIGINT);
    interrupt(SIGTERM);
    interrupt(SIGHUP);
}

// The second signal ends the program whatever it does; several at once are several.
static void test_twice(void **state)
{
    (void)state;
    char *arguments[] = {SDGEN_PROGRAM, "x", LARGE, NULL};
    const pid_t child = start(arguments, NULL, "/dev/null", "err");
    wait_for(child, "seed");
    kill(child, SIGINT);
    kill(child, SIGTERM);
    expect(ended(child), 130, "seed", 0);
}

// nohup: a signal that was ignored stays ignored.
static void test_ignored(void **state)
{
    (void)state;
    char *arguments[] = {SDGEN_PROGRAM, "x",  "--backend", "cpu", "-t", "1",     "-W", "64",
                         "-H",          "64", "--steps",   "40",  "-o", "a.ppm", NULL};
    signal(SIGHUP, SIG_IGN);
    const pid_t child = start(arguments, NULL, "/dev/null", "err");
    signal(SIGHUP, SIG_DFL);
    wait_for(child, "seed");
    kill(child, SIGHUP);
    expect(ended(child), 0, "64 x 64", 1);
    unlink("a.ppm");
}

static const struct run *limited(int resource, rlim_t bytes, char *const *arguments)
{
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const int err = open("err", O_WRONLY | O_CREAT | O_TRUNC, 0666);
        dup2(err, 2);
        setrlimit(resource, &(struct rlimit){bytes, bytes});
        execv(arguments[0], arguments);
        _exit(127);
    }
    return ended(child);
}

static void test_file_size(void **state)
{
    (void)state;
    char *draw[] = {SDGEN_PROGRAM, "x",  "--backend", "cpu", "-t", "1",     "-W", "64",
                    "-H",          "64", "--steps",   "1",   "-o", "a.ppm", NULL};
    char *quantize[] = {
        SDQUANT_PROGRAM, "-m", SDG_SOURCE_DIR "/models/emoji-128", "--scheme", "w8a16", "-o", "q", NULL};
    expect(limited(RLIMIT_FSIZE, 4096, draw), 2, "a.ppm: cannot be written: File too large", 0);
    expect(limited(RLIMIT_FSIZE, 65536, quantize), 2, "cannot be written: File too large", 0);
}

#if !defined(__SANITIZE_ADDRESS__)
// A small stack does for the processor; Vulkan's drivers would end with a signal.
static void test_small_stack(void **state)
{
    (void)state;
    char *arguments[] = {SDGEN_PROGRAM, "x", "-W", "64", "-H", "64", "--steps", "1", "-o", "a.ppm", NULL, NULL, NULL};
    expect(limited(RLIMIT_STACK, 128 << 10, arguments), 0, "64 x 64", 1);
    unlink("a.ppm");
    arguments[10] = "--backend";
    arguments[11] = "vulkan";
    const struct run *run = limited(RLIMIT_STACK, 128 << 10, arguments);
    if (run->status != 1) // 1: this build has no Vulkan
        expect(run, 3, "ulimit -s", 0);
}

// Under a limit of address space or data there is a picture, or a word about memory before the first step.
static void test_memory_limits(void **state)
{
    (void)state;
    char *arguments[] = {SDGEN_PROGRAM, "x",   "--backend", "cpu",   "-t",      "2", "-W", "512",
                         "-H",          "512", "-o",        "a.png", "--steps", "1", NULL};
    static const rlim_t mib[] = {60, 100, 140, 1000, 1500}; // far from where it just fits, which depends on the machine
    int refused = 0;
    for (int i = 0; i < 10; i++) {
        const int resource = i % 2 ? RLIMIT_AS : RLIMIT_DATA;
        const struct run *run = limited(resource, mib[i / 2] << 20, arguments);
        if (run->status == 0 || run->status == 127) { // 127: not even the libraries can be loaded
            unlink("a.png");
            continue;
        }
        if (run->status != 3 || !strstr(run->err, "memory") || strstr(run->err, "sample") || count_files() != 0)
            fail_msg("%s of %d MiB: status %d, %d files, %s", resource == RLIMIT_AS ? "address space" : "data",
                     (int)mib[i / 2], run->status, count_files(), run->err);
        refused++;
    }
    assert_true(refused >= 2);
}
#endif

static void copy(const char *from, const char *to)
{
    static char data[8 << 20];
    const size_t size = read_whole(from, data, sizeof data);
    assert_true(size > 0);
    write_whole(to, data, size);
}

// A model whose autoencoder is cut while it is mapped.
static void test_file_shrinks(void **state)
{
    (void)state;
#define MODEL SDG_SOURCE_DIR "/models/emoji-128/"
    static const char *const links[] = {"model_index.json", "scheduler", "text_encoder", "tokenizer", "unet"};
    char *arguments[] = {SDGEN_PROGRAM, "x",  "-m", "m",       "--backend", "cpu", "-t",    "1", "-W",
                         "64",          "-H", "64", "--steps", "900",       "-o",  "a.ppm", NULL};
    assert_int_equal(mkdir("m", 0777), 0);
    assert_int_equal(mkdir("m/vae", 0777), 0);
    for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
        char from[512], to[64];
        snprintf(from, sizeof from, MODEL "%s", links[i]);
        snprintf(to, sizeof to, "m/%s", links[i]);
        assert_int_equal(symlink(from, to), 0);
    }
    copy(MODEL "vae/config.json", "m/vae/config.json");
    copy(MODEL "vae/diffusion_pytorch_model.safetensors", "m/vae/diffusion_pytorch_model.safetensors");
    const pid_t child = start(arguments, NULL, "/dev/null", "err");
    wait_for(child, "sample 180/900");
    assert_int_equal(truncate("m/vae/diffusion_pytorch_model.safetensors", 8192), 0);
    expect(ended(child), 2, "m/vae/diffusion_pytorch_model.safetensors: became shorter", 1);
    assert_int_equal(system("rm -r m"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_between_operations), cmocka_unit_test(test_twice),         cmocka_unit_test(test_ignored),
        cmocka_unit_test(test_file_size),
#if !defined(__SANITIZE_ADDRESS__)
        cmocka_unit_test(test_small_stack),        cmocka_unit_test(test_memory_limits),
#endif
        cmocka_unit_test(test_file_shrinks),
    };
    return cmocka_run_group_tests(tests, enter_with_model, leave_with_model);
}
