// The way to a quantized model from outside: sdcalib collects, sdquant writes, sdgen and sdeval take the folder like
// any other. Mistakes are told in one line, with the exit code for their kind, and leave nothing behind.
#include "run.h"

#include "tests/temp.h"

#define MODEL SDG_SOURCE_DIR "/models/emoji-128"
#define WEIGHTS "unet/diffusion_pytorch_model.safetensors"

#define sdcalib(...) run_with((char *const[]){SDCALIB_PROGRAM, __VA_ARGS__, NULL}, NULL)
#define sdquant(...) run_with((char *const[]){SDQUANT_PROGRAM, __VA_ARGS__, NULL}, NULL)
#define sdeval(...) run_with((char *const[]){SDEVAL_PROGRAM, __VA_ARGS__, NULL}, NULL)
#define SMALL "--backend", "cpu", "-t", "1", "-W", "64", "-H", "64", "--steps", "2"
#define STATS "--stats", "stats.safetensors"
#define A_FEW "--skip", "^(down|up)_blocks|resnets|ff" // of the default model's modules these leave few

static char folder[64];
static int all_files; // in the folder, when a test begins

// One prompt, one set of statistics for all tests.
static int set_up(void **state)
{
    (void)state;
    folder_enter(folder, sizeof folder);
    setenv("SDGEN_MODEL", MODEL, 1);
    write_whole("prompts.txt", "a red apple, 3d\n", 16);
    expect_done(sdcalib("collect", "--prompts", "prompts.txt", SMALL, "-o", "stats.safetensors"));
    // The same prompt from an editor on Windows, between blank lines, is the same calibration.
    write_whole("windows.txt",
                "\xef\xbb\xbf"
                "\r\n \r\na red apple, 3d\r\n",
                25);
    expect_done(sdcalib("collect", "--prompts", "windows.txt", SMALL, "-o", "windows.safetensors"));
    static char page[2 << 20];
    expect_done(sdcalib("show", "stats.safetensors", "--html", "ranges.html"));
    const size_t size = read_whole("ranges.html", page, sizeof page - 1);
    assert_true(size > 10000 && size < sizeof page - 1);
    page[size] = 0;
    static const char *const parts[] = {"<svg class=\"chart\"", ">timestep t</text>",
                                        "maximum: ", "prefers-color-scheme", "</body></html>\n"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (!strstr(page, parts[i]))
            fail_msg("the page of the ranges has no '%s'", parts[i]);
    unlink("ranges.html");
    assert_true(same_files("stats.safetensors", "windows.safetensors"));
    unlink("windows.txt"), unlink("windows.safetensors");
    assert_int_equal(count_files(), 2);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    temp_remove_tree(folder);
    return file_exists(folder);
}

static int count(void **state)
{
    (void)state;
    all_files = count_files();
    return 0;
}

static void expect_error(const struct run *run, int status, const char *word)
{
    const char *error = strstr(run->err, "error: ");
    if (run->status != status || !error || strstr(error + 1, "error: ") || !strstr(error, word) ||
        count_files() != all_files)
        fail_msg("expected exit status %d, one error with '%s' and %d files, got %d, %d files and: %s", status, word,
                 all_files, run->status, count_files(), run->err);
}

// ---- mistakes ----

static void test_usage(void **state)
{
    (void)state;
    expect_error(sdquant(STATS), 1, "-o DIR");
    expect_error(sdquant("-o", "out"), 1, "statistics");
    expect_error(sdquant(STATS, "-o", "out", "--scheme", "w8a9-tdq"), 1, "'w8a9-tdq' is no quantization scheme");
    expect_error(sdquant(STATS, "-o", "out", "--scheme", "w8a8-tdqx"), 1, "w8a8-tdqx");
    expect_error(sdquant(STATS, "-o", "out", "--scheme", "w16a8-tdq"), 1, "can only be simulated");
    expect_error(sdquant(STATS, "-o", "out", "--scheme", "w8a8-tdq", "--group", "32"), 1, "group 32");
    expect_error(sdquant("-o", "out", "--scheme", "w4a16", "--group", "7"), 1, "multiple of 16");
    expect_error(sdquant(STATS, "-o", "out", "--intervals", "tqd"), 1, "tqd");
    expect_error(sdquant("-o", "out", "--scheme", "w8a16", "--intervals", "tdq"), 1, "w8a16");
    expect_error(sdquant(STATS, "-o", "out", "--gptq"), 1, "--hessians");
    expect_error(sdquant(STATS, "-o", "out", "--skip", "("), 1, "'(' is no regular expression");
    expect_error(sdquant(STATS, "-o", "out", "--skip", "."), 1, "nothing is left");
    expect_error(sdquant(STATS, "-o", "out", "--colour", "red"), 1, "--colour");
}

static void test_missing_files(void **state)
{
    (void)state;
    expect_error(sdquant("--stats", "none.safetensors", "-o", "out"), 2, "none.safetensors");
    expect_error(sdquant("--stats", "prompts.txt", "-o", "out"), 2, "prompts.txt");
    expect_error(sdquant(STATS, "-o", "out", "-m", "nowhere"), 2, "nowhere");
    expect_error(sdquant(STATS, "-o", "out", "--correct", "none.txt"), 2, "none.txt"); // before the minutes of work
    expect_error(sdquant(STATS, "-o", "out", "--learn", "jlss"), 1, "--learn-prompts");
    expect_error(sdquant(STATS, "-o", "out", "--learn", "adam", "--learn-prompts", "prompts.txt"), 1, "jlss");
    expect_error(sdquant(STATS, "-o", "out", "--learn", "jlss", "--learn-prompts", "none.txt"), 2, "none.txt");
    expect_error(sdquant(STATS, "-o", "out", "--resume"), 1, "--learn");
    expect_error(sdquant(STATS, "-o", "out", "--scheme", "none.json"), 2, "none.json");
    expect_error(sdquant(STATS, "-o", "out", "--gptq", "--hessians", "none.safetensors"), 2, "none.safetensors");
    expect_error(sdquant(STATS, "-o", "no/such/out"), 2, "no/such/out");
}

// Of a model without intervals by token the rules by token are those over time alone, and that is told.
static void test_no_tokens(void **state)
{
    (void)state;
    const struct run *run = sdquant(STATS, "-o", "out", "--scheme", "w8a8-token", A_FEW);
    assert_int_equal(run->status, 0);
    assert_non_null(strstr(run->err, "has statistics by token"));
    assert_non_null(strstr(run->err, "all are static"));
    run = sdquant(STATS, "-o", "out", "--force", "--scheme", "w8a8-static", A_FEW);
    assert_int_equal(run->status, 0);
    assert_null(strstr(run->err, "by token"));
    temp_remove_tree("out");
}

// What is there stays; --force replaces quantized models only.
static void test_existing_output(void **state)
{
    (void)state;
    char text[16];
    assert_int_equal(mkdir("taken", 0777), 0);
    write_whole("taken/keep", "mine", 4);
    all_files++;
    expect_error(sdquant(STATS, "-o", "taken"), 2, "taken exists");
    expect_error(sdquant(STATS, "-o", "taken", "--force"), 2, "is not replaced");
    expect_error(sdquant(STATS, "-o", "prompts.txt", "--force"), 2, "is not replaced");
    assert_int_equal(read_whole("taken/keep", text, sizeof text), 4);
    assert_string_equal(text, "mine");
    assert_int_equal(read_whole("prompts.txt", text, sizeof text), 15);
    unlink("taken/keep"), rmdir("taken");
}

// The default model with one other bit in its first weight.
static void make_other_model(void)
{
    static const char *const parts[] = {"vae",       "text_encoder",     "tokenizer",
                                        "scheduler", "model_index.json", "unet/config.json"};
    enum { ROOM = 1 << 26 };
    char *data = malloc(ROOM), to[100];
    uint64_t header;
    assert_non_null(data);
    size_t size = read_whole(MODEL "/" WEIGHTS, data, ROOM);
    memcpy(&header, data, sizeof header);
    assert_true(size < ROOM - 1 && size > 8 + header && mkdir("other", 0777) == 0 && mkdir("other/unet", 0777) == 0);
    data[8 + header] ^= 1;
    write_whole("other/" WEIGHTS, data, size);
    free(data);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        char from[600];
        snprintf(from, sizeof from, MODEL "/%s", parts[i]);
        snprintf(to, sizeof to, "other/%s", parts[i]);
        assert_int_equal(symlink(from, to), 0);
    }
}

static void test_statistics_of_another(void **state)
{
    (void)state;
    make_other_model();
    all_files++;
    expect_error(sdquant(STATS, "-m", "other", "-o", "out"), 2,
                 "stats.safetensors: is of another model: its UNet has fingerprint");
    temp_remove_tree("other");
}

// ---- a model ----

static void expect_drawn(const char *model, const char *picture)
{
    const struct run *run =
        sdgen("-m", (char *)model, "-p", "a red apple, 3d", "-s", "7", SMALL, "-o", (char *)picture);
    expect_done(run);
    assert_non_null(strstr(run->err, "seed 7\n"));
    assert_true(file_exists(picture));
}

static void test_to_the_picture(void **state)
{
    (void)state;
    static char with[1 << 17], without[1 << 17];
    const struct run *run = sdquant(STATS, "--scheme", "w8a8-tdq", A_FEW, "--delta", "-t", "1", "-o", "quantized");
    expect_done(run);
    assert_non_null(strstr(run->out, "w8a8-tdq in "));
    assert_non_null(strstr(run->out, "the rest in the base"));
    assert_int_equal(count_files(), all_files + 1);
    assert_false(file_exists("quantized/vae"));
    expect_drawn("quantized", "with.png");
    expect_drawn(MODEL, "without.png");
    size_t n = read_whole("with.png", with, sizeof with), m = read_whole("without.png", without, sizeof without);
    assert_true(n > 1000 && m > 1000 && (n != m || memcmp(with, without, n)));
    run = sdgen("-m", "quantized", "--plan", SMALL);
    expect_done(run);
    assert_non_null(strstr(run->out, "\nquantization: w8a8-tdq, "));
    assert_null(strstr(run->out, "sampler corrected"));
    run = sdeval("-M", "quantized", "--prompts", "prompts.txt", SMALL);
    expect_done(run);
    assert_non_null(strstr(run->out, "\nquantized          w8a8-tdq "));

    // It is no model to start from, it is not overwritten unasked, and the correction is measured where it is asked
    // for.
    all_files = count_files();
    expect_error(sdquant("--scheme", "w8a16", "-m", "quantized", "-o", "again"), 2, "quantized already");
    expect_error(sdquant(STATS, "-o", "quantized"), 2, "quantized exists already");
    write_whole("quantized/README.md", "mine\n", 5); // what it did not write stays
    write_whole("quantized/vae", "not mine\n", 9);   // what it could have written goes
    run = sdquant(STATS, A_FEW, "--delta", "--force", "-t", "1", "-o", "quantized", "--correct", "prompts.txt",
                  "--correct-steps", "2");
    expect_done(run);
    assert_non_null(strstr(run->out, "correction measured at 2 timesteps"));
    assert_int_equal(count_files(), all_files);
    assert_int_equal(read_whole("quantized/README.md", with, sizeof with), 5);
    assert_memory_equal(with, "mine\n", 5);
    assert_false(file_exists("quantized/vae"));
    run = sdgen("-m", "quantized", "--plan", SMALL);
    expect_done(run);
    assert_non_null(strstr(run->out, "sampler corrected"));
    temp_remove_tree("quantized");
    unlink("with.png"), unlink("without.png");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_usage, count),
        cmocka_unit_test_setup(test_missing_files, count),
        cmocka_unit_test_setup(test_no_tokens, count),
        cmocka_unit_test_setup(test_existing_output, count),
        cmocka_unit_test_setup(test_statistics_of_another, count),
        cmocka_unit_test_setup(test_to_the_picture, count),
    };
    return cmocka_run_group_tests_name("quant", tests, set_up, tear_down);
}
