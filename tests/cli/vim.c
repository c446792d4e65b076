// sdvim from outside, and the way of its model through sdcalib and sdquant: results on standard output, JSON, one line
// and the documented exit code for every mistake, nothing left behind.
#include "run.h"

#include "tests/temp.h"

#include <math.h>

#define MODEL SDG_SOURCE_DIR "/models/vim-digits"
#define TEST MODEL "/test.safetensors"
#define CALIBRATION MODEL "/calibration.safetensors"

#define sdvim(...) run_with((char *const[]){SDVIM_PROGRAM, __VA_ARGS__, NULL}, NULL)
#define sdcalib(...) run_with((char *const[]){SDCALIB_PROGRAM, __VA_ARGS__, NULL}, NULL)
#define sdquant(...) run_with((char *const[]){SDQUANT_PROGRAM, __VA_ARGS__, NULL}, NULL)
#define CPU "--backend", "cpu", "-t", "1"

enum { PICTURES = 897, CLASSES = 10 }; // of TEST
static char folder[64];

static int set_up(void **state)
{
    (void)state;
    folder_enter(folder, sizeof folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    temp_remove_tree(folder);
    return file_exists(folder);
}

static void expect_error(const struct run *run, int status, const char *word)
{
    const char *error = strstr(run->err, "error: ");
    if (run->status != status || !error || strstr(error + 1, "error: ") || !strstr(error, word))
        fail_msg("expected exit status %d and one error with '%s', got %d: %s", status, word, run->status, run->err);
}

static int right_of(const struct run *run)
{
    int right = -1, all = -1;
    const char *line = strstr(run->out, "top-1 ");
    if (!line || sscanf(line, "top-1 %d of %d", &right, &all) != 2 || all != 897)
        fail_msg("no result: %s%s", run->out, run->err);
    return right;
}

// The logits of all test pictures, which a .npy file ends with.
static void read_logits(const char *path, float logits[PICTURES][CLASSES])
{
    static char bytes[1 << 16];
    const size_t size = read_whole(path, bytes, sizeof bytes);
    assert_true(size > PICTURES * CLASSES * sizeof(float));
    memcpy(logits, bytes + size - PICTURES * CLASSES * sizeof(float), PICTURES * CLASSES * sizeof(float));
}

// What sdvim says of two networks' answers, by the formulas and from its own files.
static void check_distance(const char *said, const char *reference, const char *other)
{
    static float p[PICTURES][CLASSES], q[PICTURES][CLASSES];
    double signal = 0, noise = 0, kl = 0, found[2] = {NAN, NAN};
    int changed = 0, count = -1;
    read_logits(reference, p);
    read_logits(other, q);
    for (int i = 0; i < PICTURES; i++) {
        double sums[2] = {0, 0};
        int best[2] = {0, 0};
        for (int c = 0; c < CLASSES; c++) {
            sums[0] += exp((double)p[i][c]);
            sums[1] += exp((double)q[i][c]);
            best[0] = p[i][c] > p[i][best[0]] ? c : best[0];
            best[1] = q[i][c] > q[i][best[1]] ? c : best[1];
        }
        for (int c = 0; c < CLASSES; c++) {
            const double a = exp((double)p[i][c]) / sums[0], b = exp((double)q[i][c]) / sums[1];
            kl += a * log(a / b) / PICTURES;
            signal += pow((double)p[i][c], 2);
            noise += pow((double)p[i][c] - (double)q[i][c], 2);
        }
        changed += best[0] != best[1];
    }
    const char *line = strstr(said, "SQNR ");
    if (!line || sscanf(line, "SQNR %lf dB, KL divergence %lf, %d of 897", &found[0], &found[1], &count) != 3)
        fail_msg("no distance: %s", said);
    assert_true(noise > 0 && fabs(found[0] - 10 * log10(signal / noise)) < 0.006);
    assert_true(kl > 1e-6 && fabs(found[1] - kl) < 0.002 * kl + 6e-7);
    assert_int_equal(count, changed);
}

static void test_classes(void **state)
{
    (void)state;
    static char json[1 << 18];
    const int right = right_of(expect_done(sdvim("-m", MODEL, TEST, CPU, "--json", "r.json", "--logits", "l.npy")));
    assert_true(right >= 871); // 97 %
    char wanted[80];
    read_whole("r.json", json, sizeof json);
    snprintf(wanted, sizeof wanted, "\"labelled\": 897, \"right\": %d,", right);
    assert_non_null(strstr(json, wanted));
    assert_non_null(strstr(json, "\"scheme\": null, \"backend\": \"cpu\", \"type\": \"f32\""));
    assert_true(read_whole("l.npy", json, sizeof json) > 897 * 10 * 4);
    // Half precision, where a device has it, changes a class or two.
    const struct run *other = expect_done(sdvim("-m", MODEL, TEST, CPU, "--type", "bf16", "-q", "--against", "l.npy",
                                                "--logits", "b.npy", "--json", "b.json"));
    const int half = right_of(other);
    assert_true(half >= right - 9 && half <= right + 9);
    check_distance(other->out, "l.npy", "b.npy");
    read_whole("b.json", json, sizeof json);
    assert_non_null(strstr(json, "\"against\": {\"file\": \"l.npy\", \"sqnr\": "));
    unlink("r.json"), unlink("l.npy"), unlink("b.npy"), unlink("b.json");
    // A picture file: white paper, which is no digit; whatever its class, there is one line with one.
    char ppm[11 + 3 * 64] = "P6 8 8 255\n";
    memset(ppm + 11, 255, 3 * 64);
    write_whole("a.ppm", ppm, sizeof ppm);
    int class = -1;
    const struct run *run = expect_done(sdvim("-m", MODEL, "a.ppm", CPU));
    assert_int_equal(sscanf(run->out, "a.ppm: %d,", &class), 1);
    assert_true(class >= 0 && class <= 9 && count_lines(run->out) == 1);
    unlink("a.ppm");
    assert_int_equal(count_files(), 0);
}

// Two pictures of bytes as NumPy writes them.
static void test_arrays(void **state)
{
    (void)state;
    char file[128 + 128] = "\x93NUMPY\x01\x00\x76\x00{'descr': '|u1', 'fortran_order': False, 'shape': (2, 8, 8), }";
    const size_t used = 10 + strlen(file + 10);
    memset(file + used, ' ', 127 - used);
    file[127] = '\n';
    for (int i = 0; i < 128; i++)
        file[128 + i] = (char)(i % 17);
    write_whole("two.npy", file, sizeof file);
    const struct run *run = expect_done(sdvim("-m", MODEL, "two.npy", CPU));
    assert_int_equal(count_lines(run->out), 2);
    assert_non_null(strstr(run->out, "two.npy[1]: "));
    expect_error(sdvim("-m", MODEL, "two.npy", CPU, "--against", "two.npy"), 2, "[2, 10]");
    file[128 + 5] = 17; // whiter than the model's white, which is 16
    write_whole("two.npy", file, sizeof file);
    expect_error(sdvim("-m", MODEL, "two.npy", CPU), 2, "number 6 of the pictures is 17, should be 0 (black) to 16");
    for (int i = 0; i < 128; i++)
        file[128 + i] = (char)(i % 2);
    write_whole("two.npy", file, sizeof file);
    assert_non_null(strstr(expect_done(sdvim("-m", MODEL, "two.npy", CPU))->err, "is above 1, but the model's white"));
    memcpy(strstr(file + 10, "2, 8, 8"), "2, 4,16", 7);
    write_whole("two.npy", file, sizeof file);
    expect_error(sdvim("-m", MODEL, "two.npy", CPU), 2, "are of shape [2, 4, 16], should be [n, 1, 8, 8]");
    memcpy(strstr(file + 10, "2, 4,16"), "2, 8, 8", 7);
    file[60] = '9'; // another shape than the data
    write_whole("two.npy", file, sizeof file - 1);
    expect_error(sdvim("-m", MODEL, "two.npy", CPU), 2, "two.npy");
    unlink("two.npy");
}

static void test_mistakes(void **state)
{
    (void)state;
    expect_error(sdvim("a.png"), 1, "-m DIR");
    expect_error(sdvim("-m", MODEL), 1, "no picture");
    expect_error(sdvim("-m", MODEL, "--logits", "l.txt", TEST), 1, "l.txt");
    expect_error(sdvim("-m", MODEL, "--json", "no/r.json", TEST), 2, "no/r.json");
    expect_error(sdvim("-m", MODEL, "--backend", "gpu", TEST), 1, "gpu");
    expect_error(sdvim("-m", MODEL, "--modle", TEST), 1, "--model");
    expect_error(sdvim("-m", MODEL, "absent.png", CPU), 2, "absent.png");
    expect_error(sdvim("-m", "absent", TEST, CPU), 2, "absent");
    expect_error(sdvim("-m", SDG_SOURCE_DIR "/models/emoji-128", TEST, CPU), 2, "is no Vision Mamba classifier");
    expect_error(sdquant("-m", MODEL, "--hadamard", "-o", "out"), 2, "--hadamard takes models with a UNet");
    expect_error(sdvim("-m", MODEL, MODEL "/model.safetensors", CPU), 2, "pictures");
    expect_error(sdcalib("collect", "--pictures", CALIBRATION, "-o", "s.safetensors"), 1, "-m DIR");
    expect_error(sdcalib("collect", "-m", MODEL, "--pictures", CALIBRATION, "--prompts", "p", "-o", "s.safetensors"), 1,
                 "prompts");
    expect_error(sdquant("-m", MODEL, "--scheme", "w8a8-tdq", "-o", "out"), 1, "statistics");
    assert_int_equal(count_files(), 0);
    expect_done(sdvim("-h"));
    const struct run *run = expect_done(sdvim("--help-all"));
    assert_non_null(strstr(run->out, "exit"));
}

#define LEARN(output)                                                                                      \
    SDQUANT_PROGRAM, "-m", MODEL, "--stats", "s.safetensors", "--scheme", "w4a4-token", "--learn", "jlss", \
        "--learn-pictures", CALIBRATION, "--learn-updates", "30", "-t", "1", "-o", output

// Interrupted once its first block is learned, learning goes on to the bytes of the run that was not.
static void check_resuming(void)
{
    char *const once[] = {LEARN("broken"), NULL}, *const again[] = {LEARN("broken"), "--resume", NULL};
    char said[4096] = "";
    const pid_t child = start(once, NULL, "broken.out", "broken.err");
    for (int i = 0; i < 6000 && !strstr(said, "layers.0.mixer: loss "); i++) {
        usleep(10000);
        read_whole("broken.out", said, sizeof said);
    }
    kill(child, SIGINT);
    assert_int_not_equal(finish(child), 0);
    assert_true(file_exists("broken.learning"));
    expect_error(run_with(once, NULL), 2, "--resume goes on with it");
    const struct run *run = expect_done(run_with(again, NULL));
    assert_non_null(strstr(run->out, ", learned before"));
    assert_true(same_files("learned/model.safetensors", "broken/model.safetensors"));
    assert_true(same_files("learned/config.json", "broken/config.json") && !file_exists("broken.learning"));
}

// Half of the pictures each, merged, are the file of one run; from it a folder that sdvim runs, then one that is
// learned.
static void test_quantized(void **state)
{
    (void)state;
    expect_done(
        sdcalib("collect", "-q", "-m", MODEL, "--pictures", CALIBRATION, CPU, "--relative", "-o", "s.safetensors"));
    expect_done(sdcalib("collect", "-q", "-m", MODEL, "--pictures", CALIBRATION, CPU, "--relative", "--shard", "1/2",
                        "-o", "1.safetensors"));
    expect_done(sdcalib("collect", "-q", "-m", MODEL, "--pictures", CALIBRATION, CPU, "--relative", "--shard", "2/2",
                        "-o", "2.safetensors"));
    expect_done(sdcalib("merge", "1.safetensors", "2.safetensors", "-o", "m.safetensors"));
    assert_true(same_files("s.safetensors", "m.safetensors"));
    expect_error(sdquant("-m", MODEL, "--stats", "s.safetensors", "--scheme", "w8a8-tdq", "-o", "out"), 1, "timestep");
    const int right = right_of(expect_done(sdvim("-m", MODEL, TEST, CPU)));

    expect_done(sdquant("-q", "-m", MODEL, "--stats", "s.safetensors", "--scheme", "w8a8-token", "-o", "out"));
    assert_true(right_of(expect_done(sdvim("-m", "out", TEST, CPU))) >= right - 4); // half a point
    expect_error(sdquant("-m", MODEL, "--stats", "s.safetensors", "--error-power", "0.5", "-o", "x"), 1, "error-power");
    expect_error(sdcalib("collect", "-m", "out", "--pictures", CALIBRATION, "-o", "n.safetensors"), 2, "quantized");
    expect_error(sdquant("-m", "out", "--stats", "s.safetensors", "--scheme", "w8a8-token", "-o", "out2"), 2, "out");

    expect_done(sdquant("-q", "-m", MODEL, "--stats", "s.safetensors", "--scheme", "w4a4-token", "-o", "four"));
    const int four = right_of(expect_done(sdvim("-m", "four", TEST, CPU)));
    const struct run *run = expect_done(run_with((char *const[]){LEARN("learned"), NULL}, NULL));
    assert_non_null(strstr(run->out, "layers.3.mixer: loss "));
    const int learned = right_of(expect_done(sdvim("-m", "learned", TEST, CPU)));
    print_message("W4A4: %d right, learned %d, of %d in floating point\n", four, learned, right);
    assert_true(learned >= four - 9); // it learns outputs of blocks, not classes: the count may move, not fall
    check_resuming();
    expect_error(
        sdquant("-m", MODEL, "--learn", "jlss", "--stats", "s.safetensors", "--scheme", "w8a8-token", "-o", "x"), 1,
        "--learn-pictures");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_classes),
        cmocka_unit_test(test_arrays),
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_quantized),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
