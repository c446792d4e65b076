// The sampler's correction of a quantized model: an error of known slope and bias is measured and taken out, noise of
// ancestral samplers shrinks by an independent computation's amount, tables are interpolated, broken ones refused.
#include "base/file.h"
#include "base/memory.h"
#include "formats/model.h"
#include "measure/fit_correction.h"
#include "sdgen/correct.h"
#include "tests/temp.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MODEL SDG_SOURCE_DIR "/models/emoji-128"
#define WEIGHTS "unet/diffusion_pytorch_model.safetensors"

static const char *const prompts[] = {"a red apple, 3d", "a cat face, flat"};
enum { CHANNELS = 4, STEPS = 4 };
static const double guidance = 5;

// ---- models with a known error ----

// The default model's UNet with a last convolution that computes (1 + slope) times its output, plus bias, and one layer
// whose weights are whole multiples of a scale: stored as they are, or as integers.
static const char exact_layer[] = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q";
static const float exact_scale = 0x1p-9f;

struct changed {
    struct sdg_tensor tensors[2000];
    size_t count;
    float *weight, bias[CHANNELS], *exact, *scales;
    int8_t *codes;
};

static void *changed_to_f32(const struct sdg_tensor *t)
{
    size_t n = t->bytes / sdg_dtype_size(t->dtype);
    float *data = malloc(n * sizeof *data);
    assert_non_null(data);
    sdg_convert(data, SDG_F32, t->data, t->dtype, n);
    return data;
}

static void set_f32(struct sdg_tensor *t, const void *data)
{
    t->bytes = t->bytes / sdg_dtype_size(t->dtype) * sizeof(float);
    t->dtype = SDG_F32;
    t->data = data;
}

static void change_last(struct changed *c, struct sdg_tensor *t, double slope, const float *bias)
{
    if (strcmp(t->name, "conv_out.weight") == 0) {
        c->weight = changed_to_f32(t);
        set_f32(t, c->weight);
        for (size_t k = 0; k < t->bytes / sizeof(float); k++)
            c->weight[k] = (float)((double)c->weight[k] * (1 + slope));
    } else if (strcmp(t->name, "conv_out.bias") == 0) {
        float *old = changed_to_f32(t);
        for (int k = 0; k < CHANNELS; k++)
            c->bias[k] = (float)((double)old[k] * (1 + slope) + (double)bias[k]);
        free(old);
        set_f32(t, c->bias);
    }
}

static void change_exact(struct changed *c, struct sdg_tensor *t, bool integers)
{
    if (strncmp(t->name, exact_layer, sizeof exact_layer - 1) != 0 ||
        strcmp(t->name + sizeof exact_layer - 1, ".weight") != 0)
        return;
    size_t n = t->bytes / sdg_dtype_size(t->dtype), outputs = (size_t)t->dims[0];
    c->exact = changed_to_f32(t);
    c->codes = malloc(n);
    c->scales = malloc(outputs * sizeof *c->scales);
    for (size_t k = 0; k < n; k++) {
        c->codes[k] = (int8_t)fminf(fmaxf(rintf(c->exact[k] / exact_scale), -128), 127);
        c->exact[k] = (float)c->codes[k] * exact_scale;
    }
    for (size_t k = 0; k < outputs; k++)
        c->scales[k] = exact_scale;
    set_f32(t, c->exact);
    if (!integers)
        return;
    t->dtype = SDG_S8;
    t->data = c->codes;
    t->bytes = n;
    c->tensors[c->count++] =
        (struct sdg_tensor){.name = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q.weight_scale",
                            .dtype = SDG_F32,
                            .rank = 1,
                            .dims = {t->dims[0]},
                            .data = c->scales,
                            .bytes = outputs * sizeof(float)};
}

static void write_unet(const char *root, double slope, const float *bias, bool integers)
{
    struct sdg_tensors *old;
    static struct changed c;
    char name[100];
    c = (struct changed){0};
    assert_int_equal(sdg_tensors_open(NULL, MODEL "/" WEIGHTS, &old), SDG_OK);
    c.count = sdg_tensors_count(old);
    for (size_t i = 0, n = c.count; i < n; i++) {
        c.tensors[i] = *sdg_tensors_at(old, i);
        change_last(&c, &c.tensors[i], slope, bias);
        change_exact(&c, &c.tensors[i], integers);
    }
    assert_true(c.weight && c.exact);
    snprintf(name, sizeof name, "%s/" WEIGHTS, root);
    temp_text(name, "");
    const struct sdg_metadata metadata[] = {{"format", "pt"}, {"made by", "a test"}};
    assert_int_equal(sdg_tensors_write(NULL, temp_path(name), c.tensors, c.count, metadata, 2), SDG_OK);
    sdg_tensors_destroy(&old);
    free(c.weight), free(c.exact), free(c.scales), free(c.codes);
}

static char *read_config(void)
{
    static char text[8000];
    FILE *file = fopen(MODEL "/unet/config.json", "rb");
    assert_non_null(file);
    size_t n = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[n] = 0;
    return text;
}

static void link_rest(const char *root)
{
    static const char *const parts[] = {"vae", "text_encoder", "tokenizer", "scheduler", "model_index.json"};
    for (size_t i = 0; i < 5; i++) {
        char name[100], target[600];
        snprintf(name, sizeof name, "%s/%s", root, parts[i]);
        snprintf(target, sizeof target, MODEL "/%s", parts[i]);
        unlink(temp_path(name));
        assert_int_equal(symlink(target, temp_path(name)), 0);
    }
}

static const char *make_plain(const char *root, double slope, const float *bias)
{
    char name[100];
    write_unet(root, slope, bias, false);
    snprintf(name, sizeof name, "%s/unet/config.json", root);
    temp_text(name, read_config());
    link_rest(root);
    return temp_path(root);
}

static void fingerprint_of(const char *root, char text[17])
{
    char name[100];
    struct sdg_tensors *tensors;
    snprintf(name, sizeof name, "%s/" WEIGHTS, root);
    assert_int_equal(sdg_tensors_open(NULL, temp_path(name), &tensors), SDG_OK);
    sdg_tensors_fingerprint(tensors, text);
    sdg_tensors_destroy(&tensors);
}

// As sdquant writes it, on top of "full".
static const char *make_quantized(const char *root, double slope, const float *bias)
{
    char name[100], text[9000], base[17], own[17], *config = read_config(), *end = strrchr(config, '}');
    assert_non_null(end);
    write_unet(root, slope, bias, true);
    fingerprint_of("full", base);
    fingerprint_of(root, own);
    snprintf(text, sizeof text,
             "%.*s,\"quantization_config\":{\"quant_method\":\"sdgen\",\"format\":1,\"scheme\":\"w8a16\",\"weight_"
             "bits\":8,\"activation_bits\":16,\"rule\":\"none\","
             "\"group\":0,\"weight_rounding\":\"mse\",\"seed\":12345678901,\"statistics\":\"\",\"base\":\"%s\","
             "\"fingerprint\":\"%s\",\"base_path\":\"../full\",\"static_sites\":0,"
             "\"corrected\":false}}",
             (int)(end - config), config, base, own);
    snprintf(name, sizeof name, "%s/unet/config.json", root);
    temp_text(name, text);
    return temp_path(root);
}

static struct sdg_correct_params correct_params(struct temp_log *t)
{
    temp_log(t);
    return (struct sdg_correct_params){
        .prompts = prompts,
        .prompt_count = 2,
        .generate = {.steps = STEPS, .width = 64, .height = 64, .cfg_scale = sdg_number(guidance), .seed = 3},
        .pipeline =
            {.backend = "cpu", .type = "f32", .threads = 2, .log = {.fn = temp_log_say, .user = t}, .cache_dir = ""},
    };
}

static void expect_known(double slope, const float bias[CHANNELS])
{
    struct temp_log t;
    struct sdg_correct_params params = correct_params(&t);
    struct sdg_correction *c;
    struct sdg_corrected_row *rows;
    char full[200], other[200];
    snprintf(full, sizeof full, "%s", make_plain("full", 0, (const float[CHANNELS]){0}));
    snprintf(other, sizeof other, "%s", make_plain("other", slope, bias));
    if (sdg_correction_measure(&params, full, other, &c, &rows) != SDG_OK)
        fail_msg("%s", t.last);
    assert_int_equal(c->rows, STEPS);
    assert_int_equal(c->channels, CHANNELS);
    double worst = 0;
    for (size_t i = 0; i < c->rows; i++) {
        assert_true(i == 0 || c->timesteps[i] > c->timesteps[i - 1]);
        assert_true(rows[i].timestep == c->timesteps[i]);
        worst = fmax(worst, fabs((double)c->slope[i] - slope));
        if (slope < 0)
            continue; // it is not taken out, so the bias is that of the whole error
        for (size_t k = 0; k < CHANNELS; k++)
            worst = fmax(worst, fabs((double)c->bias[i * CHANNELS + k] - (double)bias[k]));
        for (int k = 0; k < 3; k++)
            assert_true(fabs((double)c->covariance[i * 3 + (size_t)k]) < 1e-9);
        assert_true(rows[i].sqnr < 40 && rows[i].sqnr_after > 90);
    }
    print_message("slope %g: worst difference %.2g; %.1f dB become %.1f dB\n", slope, worst, rows[0].sqnr,
                  rows[0].sqnr_after);
    assert_true(worst < 2e-5);
    sdg_correction_destroy(&c);
    sdg_free(rows);
}

static void test_known_error(void **state)
{
    (void)state;
    expect_known(0.03, (const float[CHANNELS]){0.02f, -0.01f, 0.005f, 0.03f});
    expect_known(0, (const float[CHANNELS]){0.1f, 0, 0, -0.1f});
    expect_known(-0.05, (const float[CHANNELS]){0.01f, 0.02f, 0.03f, 0.04f});
}

// ---- a quantized folder from measuring to drawing ----

struct drawn { float latent[CHANNELS * 8 * 8]; };

static void keep_latent(void *user, int step, int steps, const float *latent, int c, int h, int w)
{
    if (step == steps)
        memcpy(((struct drawn *)user)->latent, latent, (size_t)(c * h * w) * sizeof *latent);
}

static struct drawn draw(const char *model, bool no_correction, double eta)
{
    struct temp_log t;
    temp_log(&t);
    struct sdg_pipeline *p;
    struct sdg_image *image;
    struct drawn drawn = {{0}};
    struct sdg_pipeline_params params = {.model = model,
                                         .backend = "cpu",
                                         .type = "f32",
                                         .threads = 2,
                                         .no_correction = no_correction,
                                         .log = {.fn = temp_log_say, .user = &t},
                                         .cache_dir = ""};
    struct sdg_generate_params generate = {
        .prompt = "blue heart",
        .width = 64,
        .height = 64,
        .steps = STEPS,
        .cfg_scale = sdg_number(guidance),
        .sampler = "ddim",
        .schedule = "model",
        .eta = sdg_number(eta),
        .seed = 8,
        .latent = keep_latent,
        .latent_user = &drawn,
    };
    if (sdg_pipeline_create(&params, &p) != SDG_OK || sdg_generate(p, &generate, &image, NULL) != SDG_OK)
        fail_msg("%s", t.last);
    sdg_image_destroy(&image);
    sdg_pipeline_destroy(&p);
    return drawn;
}

static double sqnr(const struct drawn *reference, const struct drawn *other)
{
    double signal = 0, noise = 0;
    for (size_t i = 0; i < sizeof reference->latent / sizeof *reference->latent; i++) {
        const double r = (double)reference->latent[i], d = r - (double)other->latent[i];
        signal += r * r;
        noise += d * d;
    }
    return noise > 0 ? 10 * log10(signal / noise) : INFINITY;
}

static void count_row(void *user, const struct sdg_corrected_row *row)
{
    int *count = user;
    assert_true(row->sqnr_after > row->sqnr);
    ++*count;
}

static void expect_open_refused(const char *path, const char *words)
{
    struct temp_log t;
    struct sdg_model *model = NULL;
    assert_int_equal(sdg_model_open(temp_log(&t), path, &model), SDG_ERROR_INPUT);
    if (t.errors != 1 || !strstr(t.last, words))
        fail_msg("%d errors, '%s' should have '%s'", t.errors, t.last, words);
}

static void test_folder(void **state)
{
    (void)state;
    static const float bias[CHANNELS] = {0.02f, -0.01f, 0.005f, 0.03f};
    struct temp_log t;
    struct sdg_correct_params params = correct_params(&t);
    char full[200], folder[200], *before, *after;
    int rows = 0;
    snprintf(full, sizeof full, "%s", make_plain("full", 0, (const float[CHANNELS]){0}));
    snprintf(folder, sizeof folder, "%s", make_quantized("quantized", 0.03, bias));
    assert_int_equal(sdg_file_read_text(NULL, temp_path("quantized/unet/config.json"), 20000, &before), SDG_OK);
    const struct drawn reference = draw(full, false, 0), wrong = draw(folder, false, 0);
    params.quantized = folder;
    params.row = count_row;
    params.row_user = &rows;
    for (int again = 0; again < 2; again++) { // the second time replaces what the first has written
        if (sdg_correct(&params) != SDG_OK)
            fail_msg("%s", t.last);
        assert_int_equal(rows, STEPS * (again + 1));
        const struct drawn right = draw(folder, false, 0), off = draw(folder, true, 0);
        print_message("latent SQNR %.1f dB, corrected %.1f dB\n", sqnr(&reference, &wrong), sqnr(&reference, &right));
        assert_true(sqnr(&reference, &right) > 80 && sqnr(&reference, &wrong) < 30);
        assert_memory_equal(&off, &wrong, sizeof off);
        // no residual, so no noise is saved
        const struct drawn noisy = draw(full, false, 1), corrected = draw(folder, false, 1);
        assert_true(sqnr(&noisy, &corrected) > 80);
    }
    struct sdg_model *model;
    assert_int_equal(sdg_model_open(NULL, folder, &model), SDG_OK);
    assert_true(model->unet_config.quantization.corrected && model->unet_config.quantization.seed == 12345678901);
    assert_string_equal(sdg_tensors_metadata(model->unet, "made by"), "a test");
    sdg_model_close(&model);

    assert_int_equal(sdg_file_read_text(NULL, temp_path("quantized/unet/config.json"), 20000, &after), SDG_OK);
    temp_text("quantized/unet/config.json", before); // as if the run had ended between the two files
    expect_open_refused(folder, "its tensors have the fingerprint");
    char *at = strstr(after, "\"corrected\":\ttrue");
    assert_non_null(at);
    memcpy(at, "\"corrected\":false", 17);
    temp_text("quantized/unet/config.json", after); // switched off by hand
    const struct drawn off = draw(folder, false, 0);
    assert_memory_equal(&off, &wrong, sizeof off);
    sdg_free(before);
    sdg_free(after);
}

static bool stop_comparing(void *user, const struct sdg_progress *progress)
{
    (void)user;
    return strcmp(progress->stage, "compare") != 0 || progress->step < 2;
}

static void expect_refused(struct sdg_correct_params params, struct temp_log *t, enum sdg_result want,
                           const char *words)
{
    temp_log(t);
    enum sdg_result result = sdg_correct(&params);
    if (result != want || t->errors != 1 || !strstr(t->last, words))
        fail_msg("result %d instead of %d, %d errors: '%s' should have '%s'", (int)result, (int)want, t->errors,
                 t->last, words);
}

static void test_refusals(void **state)
{
    (void)state;
    struct temp_log t;
    struct sdg_correct_params good = correct_params(&t), params;
    char full[200], other[200], folder[200], before[17], after[17];
    snprintf(full, sizeof full, "%s", make_plain("full", 0, (const float[CHANNELS]){0}));
    snprintf(other, sizeof other, "%s", make_plain("other", 0.5, (const float[CHANNELS]){1, 1, 1, 1}));
    snprintf(folder, sizeof folder, "%s", make_quantized("quantized", 0.03, (const float[CHANNELS]){0}));
    fingerprint_of("quantized", before);
    good.quantized = folder;
    params = good, params.prompt_count = 0;
    expect_refused(params, &t, SDG_ERROR_INPUT, "no prompt");
    params = good, params.quantized = full;
    expect_refused(params, &t, SDG_ERROR_INPUT, "is no quantized model");
    params = good, params.model = other;
    expect_refused(params, &t, SDG_ERROR_INPUT, "is not the model that");
    params = good, params.model = folder;
    expect_refused(params, &t, SDG_ERROR_INPUT, "is not the model that");
    params = good, params.generate.images = 2;
    expect_refused(params, &t, SDG_ERROR_USAGE, "generate.images");
    params = good, params.pipeline.model = full;
    expect_refused(params, &t, SDG_ERROR_USAGE, "pipeline.model");
    params = good, params.generate.sampler = "magic";
    expect_refused(params, &t, SDG_ERROR_USAGE, "sampling method");
    params = good, params.generate.progress = stop_comparing;
    expect_refused(params, &t, SDG_ERROR_CANCELLED, "compare");
    fingerprint_of("quantized", after);
    assert_string_equal(before, after);              // nothing was written
    params = good, params.generate.sampler = "heun"; // runs the UNet twice at most timesteps
    if (sdg_correct(&params) != SDG_OK)
        fail_msg("%s", t.last);
}

// ---- tables ----

static struct sdg_correction *example(void)
{
    struct sdg_correction *c;
    assert_int_equal(sdg_correction_create(NULL, 3, 2, &c), SDG_OK);
    const double timesteps[] = {100, 300, 700};
    const float slope[] = {0.5f, -0.5f, 0.25f}, bias[] = {0.1f, 0.2f, 0.3f, -0.4f, 0.5f, 0.6f},
                covariance[] = {1, 0.5f, 2, 3, -1, 4, 0, 0, 0};
    memcpy(c->timesteps, timesteps, sizeof timesteps);
    memcpy(c->slope, slope, sizeof slope);
    memcpy(c->bias, bias, sizeof bias);
    memcpy(c->covariance, covariance, sizeof covariance);
    return c;
}

static void test_between_timesteps(void **state)
{
    (void)state;
    static const struct {
        double t, slope, bias[2];
    } cases[] = {
        // slope -0.25
        {0, 0.5, {0.1, 0.2}},        {100, 0.5, {0.1, 0.2}},  {150, 0.25, {0.15, 0.05}},      {200, 0, {0.2, -0.1}},
        {250, 0, {0.25, -0.25}},     {300, 0, {0.3, -0.4}},   {500.5, 0, {0.40025, 0.10125}}, // slope -0.1246875
        {600, 0.0625, {0.45, 0.35}}, {700, 0.25, {0.5, 0.6}}, {999, 0.25, {0.5, 0.6}},
    };
    struct sdg_correction *c = example();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        float x[6] = {1, 2, -3, 4, 0, -0.5f};
        const float from[6] = {1, 2, -3, 4, 0, -0.5f};
        sdg_correction_apply(c, cases[i].t, x, 3);
        for (int k = 0; k < 6; k++)
            assert_true(fabs((double)x[k] - ((double)from[k] - cases[i].bias[k % 2]) / (1 + cases[i].slope)) < 1e-6);
    }
    sdg_correction_destroy(&c);
    assert_null(c);
}

// Four equally likely pairs of residuals with the covariance of the tables; guided one by one.
static void test_guided_variance(void **state)
{
    (void)state;
    struct sdg_correction *c = example();
    for (int r = 0; r < 2; r++) {
        const double uu = (double)c->covariance[r * 3], uc = (double)c->covariance[r * 3 + 1],
                     cc = (double)c->covariance[r * 3 + 2];
        const double gain = 1 + fmax((double)c->slope[r], 0), a = sqrt(uu), b = uc / a, rest = sqrt(cc - b * b);
        for (double scale = 0; scale < 9; scale += 0.75) {
            double sum = 0;
            for (int k = 0; k < 4; k++) {
                const double x = k & 1 ? 1 : -1, y = k & 2 ? 1 : -1, uncond = a * x, cond = b * x + rest * y,
                             guided = (uncond + scale * (cond - uncond)) / gain;
                sum += guided * guided / 4;
            }
            assert_true(fabs(sdg_correction_variance(c, c->timesteps[r], scale) - sum) < 1e-12 * (1 + sum));
        }
    }
    assert_true(sdg_correction_variance(c, 900, 7) == 0);
    sdg_correction_destroy(&c);
}

static void expect_tables_refused(const struct sdg_tensor *tensors, size_t count, const char *words)
{
    struct temp_log t;
    struct sdg_tensors *file;
    struct sdg_correction *c = NULL;
    const char *path = temp_path("tables.safetensors");
    assert_int_equal(sdg_tensors_write(NULL, path, tensors, count, NULL, 0), SDG_OK);
    assert_int_equal(sdg_tensors_open(NULL, path, &file), SDG_OK);
    assert_int_equal(sdg_correction_read(temp_log(&t), file, 2, &c), SDG_ERROR_INPUT);
    if (t.errors != 1 || c || !strstr(t.last, "tables.safetensors: ") || !strstr(t.last, words))
        fail_msg("%d errors, '%s' should have '%s'", t.errors, t.last, words);
    sdg_tensors_destroy(&file);
}

static void test_broken_tables(void **state)
{
    (void)state;
    struct sdg_correction *c = example(), *back;
    struct sdg_tensor good[4], t[4];
    struct sdg_tensors *file;
    sdg_correction_tensors(c, good);
    const char *path = temp_path("tables.safetensors");
    assert_int_equal(sdg_tensors_write(NULL, path, good, 4, NULL, 0), SDG_OK);
    assert_int_equal(sdg_tensors_open(NULL, path, &file), SDG_OK);
    assert_int_equal(sdg_correction_read(NULL, file, 2, &back), SDG_OK);
    assert_memory_equal(back->timesteps, c->timesteps, 24);
    assert_memory_equal(back->slope, c->slope, 12);
    assert_memory_equal(back->bias, c->bias, 24);
    assert_memory_equal(back->covariance, c->covariance, 36);
    sdg_correction_destroy(&back);
    for (size_t n = 1;; n++) { // failing allocations
        back = NULL;
        sdg_test_fail_allocation(n);
        enum sdg_result result = sdg_correction_read(NULL, file, 2, &back);
        sdg_test_fail_allocation(0);
        sdg_correction_destroy(&back);
        if (result == SDG_OK)
            break;
        assert_int_equal(result, SDG_ERROR_MEMORY);
    }
    sdg_tensors_destroy(&file);

    static const char *const missing[] = {"tensor correction.timesteps is missing",
                                          "tensor correction.slope is missing", "tensor correction.bias is missing",
                                          "tensor correction.covariance is missing"};
    for (size_t i = 0; i < 4; i++) {
        for (size_t k = 0; k < 3; k++)
            t[k] = good[k < i ? k : k + 1];
        expect_tables_refused(t, 3, missing[i]);
    }
    static const struct {
        int tensor, index;
        double value;
        const char *words;
    } numbers[] = {
        {0, 0, NAN, "correction.timesteps: row 0"},
        {0, 0, -1, "correction.timesteps: row 0"},
        {0, 1, 100, "correction.timesteps: row 1 has 100"},
        {0, 2, 1e300, "correction.timesteps: row 2"},
        {1, 2, NAN, "correction.slope: row 2"},
        {1, 0, INFINITY, "correction.slope: row 0"},
        {2, 5, NAN, "correction.bias: row 2"},
        {2, 0, -INFINITY, "correction.bias: row 0"},
        {3, 0, -1, "correction.covariance: row 0 has -1"},
        {3, 5, NAN, "correction.covariance: row 1"},
        {3, 1, 1.5, "is more than the variances allow"},
        {3, 7, 0.1, "is more than the variances allow"},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct sdg_correction *broken = example();
        sdg_correction_tensors(broken, t);
        if (numbers[i].tensor == 0)
            broken->timesteps[numbers[i].index] = numbers[i].value;
        else
            ((float *)t[numbers[i].tensor].data)[numbers[i].index] = (float)numbers[i].value;
        expect_tables_refused(t, 4, numbers[i].words);
        sdg_correction_destroy(&broken);
    }
    static const struct {
        int tensor;
        enum sdg_dtype dtype;
        int rank;
        int64_t dims[2];
        const char *words;
    } shapes[] = {
        {0, SDG_F32, 1, {3, 0}, "correction.timesteps is f32"},
        {0, SDG_F64, 2, {3, 1}, "correction.timesteps is f64 of rank 2"},
        {0, SDG_F64, 1, {0, 0}, "correction.timesteps"},
        {1, SDG_F32, 1, {2, 0}, "correction.slope is f32"},
        {1, SDG_F16, 1, {3, 0}, "correction.slope is f16"},
        {2, SDG_F32, 2, {3, 1}, "correction.bias is f32"},
        {2, SDG_F32, 1, {6, 0}, "correction.bias is f32 of rank 1"},
        {3, SDG_F32, 2, {1, 9}, "correction.covariance is f32"},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        memcpy(t, good, sizeof t);
        struct sdg_tensor *bad = &t[shapes[i].tensor];
        bad->dtype = shapes[i].dtype;
        bad->rank = shapes[i].rank;
        memcpy(bad->dims, shapes[i].dims, sizeof shapes[i].dims);
        bad->bytes = sdg_dtype_size(bad->dtype) * (size_t)bad->dims[0] * (size_t)(bad->rank > 1 ? bad->dims[1] : 1);
        expect_tables_refused(t, 4, shapes[i].words);
    }
    sdg_correction_destroy(&c);
    print_message("%zu broken tables\n", 4 + sizeof numbers / sizeof *numbers + sizeof shapes / sizeof *shapes);
}

// ---- noise ----

enum { ELEMENTS = 4096 };

static struct sdg_sampler *make_sampler(enum sdg_method method, const struct sdg_scheduler_config *config, double eta)
{
    struct sdg_sampler *s;
    struct sdg_sampler_params params = {.method = method,
                                        .schedule = SDG_SCHEDULE_MODEL,
                                        .config = config,
                                        .steps = 10,
                                        .eta = eta,
                                        .elements = ELEMENTS};
    assert_int_equal(sdg_sampler_create(NULL, &params, &s), SDG_OK);
    return s;
}

// What a step adds of fresh noise: the latent it makes of nothing, in units of the draw.
static double added_noise(struct sdg_sampler *s, int call, const struct sdg_rng *rng)
{
    static float latent[ELEMENTS], output[ELEMENTS], draw[ELEMENTS];
    struct sdg_rng one = *rng, two = *rng;
    memset(latent, 0, sizeof latent);
    sdg_sampler_step(s, call, output, latent, &one);
    sdg_rng_normal(&two, draw, ELEMENTS);
    double product = 0, squares = 0;
    for (int i = 0; i < ELEMENTS; i++) {
        product += (double)latent[i] * (double)draw[i];
        squares += (double)draw[i] * (double)draw[i];
    }
    return product / squares;
}

// Stable Diffusion's betas.
static void alphas_bar(double out[1000])
{
    double product = 1;
    for (int i = 0; i < 1000; i++) {
        const double root = sqrt(0.00085) + (sqrt(0.012) - sqrt(0.00085)) * i / 999;
        product *= 1 - root * root;
        out[i] = product;
    }
}

// The correction of the noise term word for word (PTQD, He et al. 2023, section 4.2), for DDIM's sigma with eta,
// against what the sampler adds.
static void test_ddim_noise(void **state)
{
    (void)state;
    double bar[1000], least = 1, most = 0;
    struct sdg_scheduler_config config;
    struct sdg_rng rng;
    alphas_bar(bar);
    sdg_scheduler_config_default(&config);
    sdg_rng_seed(&rng, SDG_RNG_CPU, 1);
    for (int kind = 0; kind < 2; kind++) {
        config.prediction = kind ? SDG_PREDICT_V : SDG_PREDICT_EPSILON;
        for (double eta = 0; eta <= 1; eta += 0.5) {
            struct sdg_sampler *s = make_sampler(SDG_METHOD_DDIM, &config, eta);
            for (int call = 0; call < sdg_sampler_calls(s); call++) {
                const int t = (int)sdg_sampler_timestep(s, call), previous = t - 100;
                const double a = bar[t], a_prev = previous < 0 ? (config.set_alpha_to_one ? 1 : bar[0]) : bar[previous],
                             variance = call == 4 ? 10 : 0.02 * (call + 1);
                const double sigma = eta * sqrt((1 - a_prev) / (1 - a)) * sqrt(1 - a / a_prev),
                             direction = sqrt(1 - a_prev - sigma * sigma);
                // of eps, or of v: eps = sqrt(a) v + ..., picture = -sqrt(1 - a) v + ...
                const double c =
                    kind ? direction * sqrt(a) - sqrt(a_prev) * sqrt(1 - a) : direction - sqrt(a_prev * (1 - a) / a);
                const double want = sqrt(fmax(sigma * sigma - c * c * variance, 0));
                sdg_sampler_absorb(s, call, variance);
                const double got = eta > 0 ? added_noise(s, call, &rng) : 0;
                assert_true(fabs(got - want) < 2e-6);
                if (sigma > 0) {
                    least = fmin(least, want / sigma);
                    most = fmax(most, want / sigma);
                }
            }
            sdg_sampler_destroy(&s);
        }
    }
    print_message("noise left: %.3f to %.3f of what it was\n", least, most);
    assert_true(least == 0 && most > 0.9 && most < 1); // both branches of max() were taken
}

// The noise of a step and the error in its output together have the variance that the noise alone should have. Any
// sampler whose noise comes with the last call of a step; ddpm and lcm too.
static void test_total_noise(void **state)
{
    (void)state;
    static const enum sdg_method methods[] = {SDG_METHOD_DDIM, SDG_METHOD_EULER_A, SDG_METHOD_DPMPP2S_A,
                                              SDG_METHOD_DDPM, SDG_METHOD_LCM,     SDG_METHOD_TCD};
    static float latent[ELEMENTS], output[ELEMENTS];
    struct sdg_scheduler_config config;
    sdg_scheduler_config_default(&config);
    config.clip_sample = false;
    int tested = 0;
    for (size_t m = 0; m < sizeof methods / sizeof *methods; m++) {
        struct sdg_rng rng, errors;
        sdg_rng_seed(&rng, SDG_RNG_CPU, 1);
        sdg_rng_seed(&errors, SDG_RNG_CPU, 2);
        struct sdg_sampler *plain = make_sampler(methods[m], &config, 1), *s = make_sampler(methods[m], &config, 1);
        for (int call = 0; call < sdg_sampler_calls(s); call++) {
            const double noise = added_noise(plain, call, &rng),
                         level = noise / fmax(sdg_sampler_sigma(s, call), 1) * 0.25;
            if (fabs(noise) < 1e-6)
                continue; // a call without noise
            sdg_sampler_absorb(s, call, level * level);
            const double left = added_noise(s, call, &rng);
            assert_true(left > 0 && left < noise);
            memset(latent, 0, sizeof latent);
            sdg_rng_normal(&errors, output, ELEMENTS);
            for (int i = 0; i < ELEMENTS; i++)
                output[i] *= (float)level;
            sdg_sampler_step(s, call, output, latent, &rng);
            double power = 0;
            for (int i = 0; i < ELEMENTS; i++)
                power += (double)latent[i] * (double)latent[i] / ELEMENTS;
            // four deviations of a variance's estimate from 4096 numbers
            assert_true(fabs(power / (noise * noise) - 1) < 0.09);
            tested++;
        }
        sdg_sampler_destroy(&plain);
        sdg_sampler_destroy(&s);
    }
    print_message("%d steps with noise\n", tested);
    assert_true(tested > 40);
}

static void test_clipped_predictions_keep_their_noise(void **state)
{
    (void)state;
    struct sdg_scheduler_config config;
    struct sdg_rng rng;
    sdg_scheduler_config_default(&config);
    config.clip_sample = true;
    sdg_rng_seed(&rng, SDG_RNG_CPU, 1);
    struct sdg_sampler *s = make_sampler(SDG_METHOD_DDIM, &config, 1);
    for (int call = 0; call < sdg_sampler_calls(s); call++) {
        const double before = added_noise(s, call, &rng);
        sdg_sampler_absorb(s, call, 0.1);
        assert_true(added_noise(s, call, &rng) == before);
    }
    sdg_sampler_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_between_timesteps), cmocka_unit_test(test_guided_variance),
        cmocka_unit_test(test_broken_tables),     cmocka_unit_test(test_ddim_noise),
        cmocka_unit_test(test_total_noise),       cmocka_unit_test(test_clipped_predictions_keep_their_noise),
        cmocka_unit_test(test_known_error),       cmocka_unit_test(test_folder),
        cmocka_unit_test(test_refusals),
    };
    temp_make();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    temp_remove();
    return failed;
}
