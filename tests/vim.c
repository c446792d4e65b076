// Vision Mamba: logits against torch's in float64 on every backend, the digits' test set counted, statistics, quantized
// networks, and models that are refused. tests/goldens/vim/make.py has the references.
//
//     vim [BACKEND]      logits on that backend only
#include "base/dtype.h"
#include "formats/config.h"
#include "formats/tensors.h"
#include "sdgen/array.h"
#include "sdgen/calibrate.h"
#include "sdgen/classify.h"
#include "sdgen/quantize.h"
#include "support/drivers.h"
#include "temp.h"
#include "vim/vim.h"
#include "vim/vim_model.h"

#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define GOLDENS SDG_SOURCE_DIR "/tests/goldens/vim/"
#define DIGITS SDG_SOURCE_DIR "/models/vim-digits"

static struct temp_log messages;
static const char *only_backend;

static struct sdg_classifier *open_classifier(const char *model, const char *backend, const char *type, int batch)
{
    struct sdg_classifier *c;
    const struct sdg_classifier_params params = {.model = model,
                                                 .backend = backend,
                                                 .type = type,
                                                 .threads = 2,
                                                 .batch = batch,
                                                 .cache_dir = "",
                                                 .log = *temp_log(&messages)};
    if (sdg_classifier_create(&params, &c) != SDG_OK)
        fail_msg("%s on %s: %s", model, backend, messages.last);
    return c;
}

static struct sdg_array *read_array(const char *path, const char *name)
{
    struct sdg_array *array;
    if (sdg_array_read(temp_log(&messages), path, name, &array) != SDG_OK)
        fail_msg("%s", messages.last);
    return array;
}

static double nmse(const float *found, const float *expected, size_t count)
{
    double noise = 0, signal = 0;
    for (size_t i = 0; i < count; i++) {
        noise += ((double)found[i] - (double)expected[i]) * ((double)found[i] - (double)expected[i]);
        signal += (double)expected[i] * (double)expected[i];
    }
    return noise / signal;
}

static bool has_vulkan(void)
{
    struct sdg_classifier *c;
    const struct sdg_classifier_params params = {.model = GOLDENS "rgb", .backend = "vulkan:0", .cache_dir = ""};
    if (sdg_classifier_create(&params, &c) != SDG_OK)
        return false;
    keep_drivers_loaded();
    sdg_classifier_destroy(&c);
    return true;
}

// ---- logits ----

// Batches of 2 and of all: the last batch of 2 is not full where pictures are odd in number.
static void compare_logits(const char *model, const char *pictures_file, const char *logits_file, const char *backend,
                           double bound)
{
    struct sdg_array *pictures = read_array(pictures_file, "pictures"), *expected = read_array(logits_file, "logits");
    const size_t count = (size_t)expected->shape[0], numbers = count * (size_t)expected->shape[1];
    float *found = calloc(numbers, sizeof *found);
    assert_non_null(found);
    for (int batch = 2; batch <= 64; batch *= 32) {
        struct sdg_classifier *c = open_classifier(model, backend, "f32", batch);
        struct sdg_classifier_info info;
        sdg_classifier_info(c, &info);
        assert_int_equal(info.classes, expected->shape[1]);
        if (sdg_classify(c, pictures->data, count, found) != SDG_OK)
            fail_msg("%s on %s: %s", model, backend, messages.last);
        const double error = nmse(found, expected->data, numbers);
        print_message("%s on %s, batches of %d: NMSE %.2g\n", strrchr(model, '/') + 1, backend, batch, error);
        if (!(error <= bound))
            fail_msg("NMSE %g is above %g", error, bound);
        sdg_classifier_destroy(&c);
    }
    free(found);
    sdg_array_destroy(&pictures);
    sdg_array_destroy(&expected);
}

static void compare_all(const char *backend, double bound)
{
    static const char *const small[] = {"rgb", "pixels", "whole"};
    char model[600], golden[700];
    for (size_t i = 0; i < sizeof small / sizeof *small; i++) {
        snprintf(model, sizeof model, GOLDENS "%s", small[i]);
        snprintf(golden, sizeof golden, "%s/golden.safetensors", model);
        compare_logits(model, golden, golden, backend, bound);
    }
    compare_logits(DIGITS, DIGITS "/test.safetensors", GOLDENS "digits.safetensors", backend, bound);
}

static bool wanted(const char *backend)
{
    return !only_backend || strcmp(only_backend, backend) == 0;
}

static void test_logits_reference(void **state)
{
    (void)state;
    if (wanted("reference"))
        compare_all("reference", 1e-9);
}

static void test_logits_cpu(void **state)
{
    (void)state;
    if (wanted("cpu"))
        compare_all("cpu", 1e-7);
}

static void test_logits_vulkan(void **state)
{
    (void)state;
    if (!wanted("vulkan"))
        return;
    if (!has_vulkan()) {
        print_message("skipped: no Vulkan device\n");
        skip();
    }
    compare_all("vulkan:0", 1e-7);
}

// ---- the digits ----

struct set {
    struct sdg_array *pictures, *labels;
    size_t count;
};

static struct set read_set(const char *path)
{
    struct set set = {read_array(path, "pictures"), read_array(path, "labels"), 0};
    set.count = (size_t)set.labels->shape[0];
    return set;
}

static void free_set(struct set *set)
{
    sdg_array_destroy(&set->pictures);
    sdg_array_destroy(&set->labels);
}

static size_t count_right(const char *model, const char *backend, const struct set *set, float *logits)
{
    struct sdg_classifier *c = open_classifier(model, backend, "f32", 64);
    size_t right = 0;
    if (sdg_classify(c, set->pictures->data, set->count, logits) != SDG_OK)
        fail_msg("%s", messages.last);
    for (size_t i = 0; i < set->count; i++) {
        int best = 0;
        for (int k = 1; k < 10; k++)
            best = logits[i * 10 + k] > logits[i * 10 + best] ? k : best;
        right += best == (int)set->labels->data[i];
    }
    sdg_classifier_destroy(&c);
    return right;
}

static void test_digits(void **state)
{
    (void)state;
    struct set set = read_set(DIGITS "/test.safetensors");
    struct sdg_tensors *golden;
    int32_t expected;
    float *logits = calloc(set.count, 10 * sizeof *logits);
    assert_int_equal(sdg_tensors_open(temp_log(&messages), GOLDENS "digits.safetensors", &golden), SDG_OK);
    memcpy(&expected, sdg_tensors_find(golden, "right")->data, sizeof expected);
    assert_int_equal(set.count, 897);
    assert_int_equal(count_right(DIGITS, "cpu", &set, logits), expected);
    assert_true(expected >= 0.97 * 897);
    sdg_tensors_destroy(&golden);
    free(logits);
    free_set(&set);
}

// ---- statistics and quantization ----

static void collect(const struct set *set, int shard, int shards, const char *output)
{
    struct sdg_classifier *c = open_classifier(DIGITS, "cpu", "f32", 64);
    const struct sdg_classifier_collect_params params = {
        .pictures = set->pictures->data, .count = set->count, .shard = shard, .shards = shards, .output = output};
    if (sdg_classifier_collect(c, &params) != SDG_OK)
        fail_msg("%s", messages.last);
    assert_int_equal(sdg_classifier_collect(c, &params), SDG_ERROR_OUTPUT); // it exists
    sdg_classifier_destroy(&c);
}

static bool same_bytes(const char *a, const char *b)
{
    static char x[1 << 22], y[1 << 22];
    FILE *f = fopen(a, "rb"), *g = fopen(b, "rb");
    assert_true(f && g);
    const size_t n = fread(x, 1, sizeof x, f), m = fread(y, 1, sizeof y, g);
    fclose(f);
    fclose(g);
    return n == m && n > 0 && n < sizeof x && memcmp(x, y, n) == 0;
}

static void quantize(const char *scheme, const char *statistics, const char *output, enum sdg_result expected)
{
    const struct sdg_quantize_params params = {.model = DIGITS,
                                               .statistics = statistics,
                                               .output = output,
                                               .scheme = scheme,
                                               .force = true,
                                               .threads = 2,
                                               .log = *temp_log(&messages)};
    if (sdg_quantize(&params) != expected)
        fail_msg("%s: %s", scheme, messages.last);
}

// Shards merge to the file of one run. Quantized to 8 bits it is as good as in floating point: at most half a point
// less; integer sums are exact, so that the backends agree but for what floats around them round.
static void test_quantized(void **state)
{
    (void)state;
    struct set calibration = read_set(DIGITS "/calibration.safetensors"), test = read_set(DIGITS "/test.safetensors");
    char whole[600], parts[2][600], merged[600], folder[600];
    const char *inputs[2] = {parts[0], parts[1]};
    float *plain = calloc(test.count, 10 * sizeof *plain), *other = calloc(test.count, 10 * sizeof *other);
    snprintf(whole, sizeof whole, "%s", temp_path("whole.safetensors"));
    snprintf(merged, sizeof merged, "%s", temp_path("merged.safetensors"));
    snprintf(folder, sizeof folder, "%s", temp_path("quantized"));
    collect(&calibration, 0, 0, whole);
    for (int i = 0; i < 2; i++) {
        snprintf(parts[i], sizeof parts[i], "%s", temp_path(i ? "b.safetensors" : "a.safetensors"));
        collect(&calibration, i + 1, 2, parts[i]);
    }
    assert_int_equal(sdg_collect_merge(temp_log(&messages), inputs, 2, merged), SDG_OK);
    assert_true(same_bytes(whole, merged));

    const size_t right = count_right(DIGITS, "cpu", &test, plain);
    static const char *const schemes[] = {"w8a8-static", "w8a8-token"};
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        quantize(schemes[i], whole, folder, SDG_OK);
        const size_t here = count_right(folder, "cpu", &test, plain);
        assert_int_equal(count_right(folder, "reference", &test, other), here);
        const double between = nmse(plain, other, test.count * 10);
        print_message("%s: %zu right of %zu (%zu in floating point), NMSE of cpu to reference %.2g\n", schemes[i], here,
                      test.count, right, between);
        assert_true((double)here >= (double)right - 0.005 * (double)test.count);
        assert_true(between < 1e-3); // a code at the edge may round the other way
    }
    struct sdg_classifier *c = open_classifier(folder, "cpu", "f32", 8);
    struct sdg_classifier_info info;
    sdg_classifier_info(c, &info);
    assert_string_equal(info.scheme, "w8a8-token");
    const struct sdg_classifier_collect_params again = {
        .pictures = test.pictures->data, .count = 1, .output = temp_path("again.safetensors")};
    assert_int_equal(sdg_classifier_collect(c, &again), SDG_ERROR_INPUT); // statistics are the full precision's
    sdg_classifier_destroy(&c);
    quantize("w8a8-tdq", whole, folder, SDG_ERROR_USAGE); // there is no time
    free(plain);
    free(other);
    free_set(&calibration);
    free_set(&test);
}

// ---- configurations ----

#define FIELDS                                                                                                  \
    "\"model_type\": \"vim\", \"image_size\": 8, \"num_channels\": 1, \"num_classes\": 10, \"patch_size\": 2, " \
    "\"hidden_size\": 48, \"num_layers\": 4, \"d_state\": 8, \"d_conv\": 4, \"expand\": 2"
#define WITH(field) "{" field ", " FIELDS "}" // of two fields of one name the first one counts

static enum sdg_result parse(const char *text, struct sdg_vim_config *config)
{
    return sdg_vim_config_parse(temp_log(&messages), "config.json", text, config);
}

static void test_configurations(void **state)
{
    (void)state;
    static const struct {
        const char *text, *word;
    } bad[] = {
        {"{}", "image_size is missing"},
        {"[]", "config.json"},
        {"{\"model_type\": \"swin\"}", "model_type"},
        {WITH("\"d_state\": 0"), "d_state"},
        {WITH("\"d_state\": 257"), "d_state"},
        {WITH("\"d_conv\": 1"), "d_conv"},
        {WITH("\"d_conv\": 9"), "d_conv"},
        {WITH("\"expand\": 0"), "expand"},
        {WITH("\"expand\": 1e9"), "expand"},
        {WITH("\"hidden_size\": 4097"), "expand is 2, but 2 times the 4097 of hidden_size are more than 8192 channels"},
        {WITH("\"hidden_size\": 4000, \"expand\": 3"), "expand is 3, but 3 times"},
        {WITH("\"hidden_size\": -48"), "hidden_size"},
        {WITH("\"hidden_size\": 1e300"), "hidden_size"},
        {WITH("\"hidden_size\": \"48\""), "hidden_size"},
        {WITH("\"num_layers\": 65"), "num_layers"},
        {WITH("\"patch_size\": 3"), "patch_size"},
        {WITH("\"patch_size\": 16"), "patch_size"},
        {WITH("\"image_size\": 256, \"patch_size\": 1"), "tokens"},
        {WITH("\"num_channels\": 2"), "num_channels"},
        {WITH("\"num_classes\": 0"), "num_classes"},
        {WITH("\"layer_norm_eps\": 0"), "layer_norm_eps"},
        {WITH("\"max_value\": 0"), "max_value"},
        {WITH("\"image_std\": 0"), "image_std"},
        {WITH("\"rms_norm\": true"), "rms_norm"},
        {WITH("\"bimamba_type\": \"v1\""), "bimamba_type"},
        {WITH("\"if_divide_out\": false"), "if_divide_out"},
        {WITH("\"use_middle_cls_token\": false"), "use_middle_cls_token"},
        {WITH("\"quantization_config\": {\"quant_method\": \"other\"}"), "quant"},
        {"{" FIELDS, "config.json"},
    };
    struct sdg_vim_config config;
    assert_int_equal(parse("{" FIELDS "}", &config), SDG_OK);
    assert_int_equal(parse(WITH("\"hidden_size\": 4096"), &config), SDG_OK); // as wide as can be
    assert_int_equal(config.hidden * config.expand, 8192);
    assert_int_equal(parse("{" FIELDS "}", &config), SDG_OK);
    assert_int_equal(sdg_vim_tokens(&config), 17);
    assert_int_equal(sdg_vim_class_token(&config), 8);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const enum sdg_result result = parse(bad[i].text, &config);
        if ((result != SDG_ERROR_INPUT && result != SDG_ERROR_UNSUPPORTED) || messages.errors != 1 ||
            !strstr(messages.last, bad[i].word))
            fail_msg("%s: result %d, %d errors: %s", bad[i].text, (int)result, messages.errors, messages.last);
    }
}

// ---- files ----

enum change { KEEP, LEAVE_OUT, TRANSPOSE, HUGE_LOGARITHM, NOT_A_NUMBER, INTEGERS };

// A copy of the digits' model with one tensor changed.
static void write_changed(const char *name, enum change change)
{
    struct sdg_tensors *tensors;
    struct sdg_tensor all[256];
    size_t count = 0;
    static uint16_t numbers[1 << 16];
    assert_int_equal(sdg_tensors_open(temp_log(&messages), DIGITS "/model.safetensors", &tensors), SDG_OK);
    assert_true(sdg_tensors_count(tensors) < sizeof all / sizeof *all);
    for (size_t i = 0; i < sdg_tensors_count(tensors); i++) {
        struct sdg_tensor t = *sdg_tensors_at(tensors, i);
        if (strcmp(t.name, name) == 0) {
            assert_true(t.dtype == SDG_F16 && t.bytes <= sizeof numbers);
            memcpy(numbers, t.data, t.bytes);
            t.data = numbers;
            if (change == LEAVE_OUT)
                continue;
            if (change == TRANSPOSE)
                t.dims[0] /= 2, t.dims[1] *= 2;
            if (change == INTEGERS)
                t.dtype = SDG_S16;
            if (change == HUGE_LOGARITHM || change == NOT_A_NUMBER)
                numbers[3] = sdg_f16_from_f32(change == NOT_A_NUMBER ? NAN : 100);
        }
        all[count++] = t;
    }
    assert_int_equal(sdg_tensors_write(temp_log(&messages), temp_path("bad/model.safetensors"), all, count, NULL, 0),
                     SDG_OK);
    sdg_tensors_destroy(&tensors);
}

static void copy_config(void)
{
    char text[4096];
    FILE *from = fopen(DIGITS "/config.json", "rb"), *to = fopen(temp_path("bad/config.json"), "wb");
    assert_true(from && to);
    const size_t n = fread(text, 1, sizeof text, from);
    assert_int_equal(fwrite(text, 1, n, to), n);
    fclose(from);
    fclose(to);
}

static void expect_refused(const char *word)
{
    struct sdg_classifier *c;
    const struct sdg_classifier_params params = {
        .model = temp_path("bad"), .backend = "reference", .log = *temp_log(&messages)};
    const enum sdg_result result = sdg_classifier_create(&params, &c);
    if (result != SDG_ERROR_INPUT || c || messages.errors != 1 || !strstr(messages.last, word))
        fail_msg("result %d, %d errors, expected '%s': %s", (int)result, messages.errors, word, messages.last);
}

static void test_files(void **state)
{
    (void)state;
    static const struct {
        const char *tensor;
        enum change change;
    } bad[] = {
        {"layers.1.mixer.A_log", LEAVE_OUT},
        {"layers.2.mixer.A_b_log", NOT_A_NUMBER},
        {"layers.2.mixer.A_log", HUGE_LOGARITHM},
        {"layers.0.mixer.D_b", NOT_A_NUMBER},
        {"layers.3.mixer.in_proj.weight", TRANSPOSE},
        {"layers.3.mixer.conv1d_b.weight", LEAVE_OUT},
        {"cls_token", LEAVE_OUT},
        {"cls_token", NOT_A_NUMBER},
        {"pos_embed", INTEGERS},
        {"patch_embed.proj.bias", LEAVE_OUT},
        {"patch_embed.proj.weight", LEAVE_OUT},
        {"head.weight", TRANSPOSE},
        {"norm_f.bias", LEAVE_OUT},
    };
    struct sdg_classifier *c;
    assert_int_equal(mkdir(temp_path("bad"), 0700), 0);
    expect_refused("config.json"); // an empty folder
    copy_config();
    expect_refused("model.safetensors");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        write_changed(bad[i].tensor, bad[i].change);
        expect_refused(bad[i].tensor);
    }
    write_changed("", KEEP);
    c = open_classifier(temp_path("bad"), "reference", NULL, 1);
    const float pixel[64] = {[5] = INFINITY};
    float logits[10];
    assert_int_equal(sdg_classify(c, pixel, 1, logits), SDG_ERROR_USAGE);
    sdg_classifier_destroy(&c);
    assert_int_equal(sdg_classifier_create(&(struct sdg_classifier_params){.model = "/nowhere"}, &c), SDG_ERROR_INPUT);
    assert_null(c);
    assert_int_equal(sdg_classifier_create(&(struct sdg_classifier_params){.model = DIGITS, .backend = "gpu"}, &c),
                     SDG_ERROR_USAGE);
    assert_int_equal(sdg_classifier_create(&(struct sdg_classifier_params){.model = DIGITS, .batch = -1}, &c),
                     SDG_ERROR_USAGE);
}

int main(int argc, char **argv)
{
    only_backend = argc > 1 ? argv[1] : NULL;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logits_reference),
        cmocka_unit_test(test_logits_cpu),
        cmocka_unit_test(test_logits_vulkan),
        cmocka_unit_test(test_digits),
        cmocka_unit_test(test_quantized),
        cmocka_unit_test(test_configurations),
        cmocka_unit_test(test_files),
    };
    temp_make();
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    temp_remove_tree(temp_root);
    return failed;
}
