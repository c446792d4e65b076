// Evaluation: measures against independent numbers, a model against itself and against one that differs, sites against
// values quantized by hand, refusals.
#include "sdgen/evaluate.h"
#include "base/memory.h"
#include "pipeline/pipeline.h"
#include "quant/sites.h"
#include "sdgen/calibrate.h"
#include "sdgen/quantize.h"
#include "tests/temp.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MODEL SDG_SOURCE_DIR "/models/emoji-128"

static const char *const prompts[] = {"a red apple, 3d", "a cat face, flat"};
static const double guidance = 5;

// ---- measures ----

static struct sdg_image *make_image(int width, int height, bool second)
{
    struct sdg_image *image;
    assert_int_equal(sdg_image_create(width, height, &image), SDG_OK);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            for (int c = 0; c < 3; c++) {
                int value = (x * 7 + y * 13 + c * 31 + x * y % 17 * 5) % 256;
                if (second)
                    value += (x * 5 + y * 3 + c) % 21 - 10;
                image->pixels[(y * width + x) * 3 + c] = (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
            }
    return image;
}

static void pictures_against_numpy(void **state)
{
    (void)state;
    struct sdg_image *a = make_image(17, 14, false), *b = make_image(17, 14, true), *other = make_image(14, 17, false),
                     *small = make_image(17, 10, false);
    assert_true(fabs(sdg_psnr(a, b) - 32.624409873332) < 1e-9); // tests/goldens/evaluate/make.py
    assert_true(fabs(sdg_ssim(a, b) - 0.993178425731) < 1e-9);
    assert_true(fabs(sdg_ssim(a, b) - sdg_ssim(b, a)) < 1e-12);
    assert_true(isinf(sdg_psnr(a, a)) && sdg_psnr(a, a) > 0);
    assert_true(sdg_ssim(a, a) == 1);
    assert_true(isnan(sdg_psnr(a, NULL)) && isnan(sdg_ssim(NULL, NULL)));
    const struct sdg_image none = {a->width, a->height, NULL};
    assert_true(isnan(sdg_psnr(a, &none)) && isnan(sdg_ssim(&none, a)));
    assert_true(isnan(sdg_psnr(a, other)) && isnan(sdg_ssim(a, other)));
    assert_true(isnan(sdg_ssim(small, small))); // no window fits
    assert_true(isinf(sdg_psnr(small, small)));
    memset(a->pixels, 0, 17 * 14 * 3);
    memset(b->pixels, 255, 17 * 14 * 3);
    assert_true(sdg_psnr(a, b) == 0);
    sdg_image_destroy(&a), sdg_image_destroy(&b), sdg_image_destroy(&other), sdg_image_destroy(&small);
}

static void arrays_by_hand(void **state)
{
    (void)state;
    static const float reference[] = {3, 4, 0}, other[] = {3, 3, 2}, silence[] = {0, 0, 0};
    assert_true(fabs(sdg_sqnr(reference, other, 3) - 6.989700043360188) < 1e-12); // 10 log10(25 / 5)
    assert_true(fabs(sdg_sqnr(reference, silence, 3)) < 1e-12);
    assert_true(isinf(sdg_sqnr(reference, reference, 3)));
    assert_true(isnan(sdg_sqnr(silence, reference, 3)));
    assert_true(isnan(sdg_sqnr(reference, other, 0)));
}

// ---- evaluations ----

static struct sdg_evaluate_params small_params(struct temp_log *t, const struct sdg_evaluate_model *models,
                                               size_t count, int steps)
{
    temp_log(t);
    return (struct sdg_evaluate_params){
        .reference = {.path = MODEL},
        .models = models,
        .model_count = count,
        .prompts = prompts,
        .prompt_count = 2,
        .site_runs = 4,
        .pictures = 8,
        .generate = {.width = 64,
                     .height = 64,
                     .steps = steps,
                     .sampler = "ddim",
                     .schedule = "model",
                     .cfg_scale = sdg_number(guidance),
                     .seed = 7},
        .pipeline =
            {.backend = "cpu", .type = "f32", .threads = 2, .log = {.fn = temp_log_say, .user = t}, .cache_dir = ""},
    };
}

static struct sdg_evaluation *run(const struct sdg_evaluate_params *params, struct temp_log *t)
{
    struct sdg_evaluation *e;
    enum sdg_result result = sdg_evaluate(params, &e);
    if (result != SDG_OK)
        fail_msg("result %d: %s", result, t->last);
    assert_int_equal(t->errors, 0);
    return e;
}

static void itself(void **state)
{
    (void)state;
    struct temp_log t;
    const struct sdg_evaluate_model models[] = {{.path = MODEL}};
    struct sdg_evaluate_params params = small_params(&t, models, 1, 3);
    params.generate.sampler = "heun"; // two calls a step, but for the last
    params.generate.schedule = "discrete";
    params.seeds = 2;
    params.pictures = 3;
    struct sdg_evaluation *e = run(&params, &t);
    assert_int_equal(e->runs, 4);
    assert_int_equal(e->pictures, 3);
    assert_int_equal(e->steps, 3);
    assert_int_equal(e->calls, 5);
    static const int step_of_call[] = {0, 0, 1, 1, 2};
    assert_memory_equal(e->step_of_call, step_of_call, sizeof step_of_call);
    assert_int_equal(e->sites, 0); // nobody quantizes any
    static const char *const expected[] = {"a red apple, 3d", "a red apple, 3d", "a cat face, flat",
                                           "a cat face, flat"};
    for (int i = 0; i < 4; i++)
        assert_string_equal(e->prompts[i], expected[i]);
    for (size_t m = 0; m < 2; m++) {
        const struct sdg_evaluation_model *model = &e->model[m];
        assert_string_equal(model->name, "emoji-128");
        assert_string_equal(model->scheme, "f32");
        assert_string_equal(model->rule, "none");
        for (int i = 0; i < 3; i++) {
            assert_true(isinf(model->latent_sqnr[i]));
            assert_true(model->latent_mse[i] == 0);
        }
        for (int i = 0; i < 4; i++)
            assert_true(isinf(model->run_sqnr[i]) && isinf(model->run_psnr[i]) && model->run_ssim[i] == 1);
        assert_true(isinf(model->psnr) && isinf(model->psnr_pooled) && model->ssim == 1);
        for (int i = 0; i < 5; i++)
            assert_true(isinf(model->output_sqnr[i]));
        assert_true(isinf(model->output));
        assert_true(model->seconds_step > 0 && model->seconds_picture > model->seconds_step);
        assert_true(model->peak_planned > model->unet_bytes && model->weight_bytes > model->unet_bytes);
        for (int i = 0; i < 3; i++)
            assert_int_equal(model->pictures[i]->width, 64);
    }
    // The two seeds of a prompt are two pictures.
    assert_memory_not_equal(e->model[0].pictures[0]->pixels, e->model[0].pictures[1]->pixels, 64 * 64 * 3);
    sdg_evaluation_destroy(&e);
    assert_null(e);
}

// Latents after every step and the picture, without the evaluation.
enum { STEPS = 3, ELEMENTS = 4 * 8 * 8, PIXELS = 64 * 64 * 3 };
struct drawn {
    float latents[STEPS][ELEMENTS];
    struct sdg_image *image;
};

static void keep_latent(void *user, int step, int steps, const float *latent, int c, int h, int w)
{
    struct drawn *d = user;
    assert_true(steps == STEPS && c * h * w == ELEMENTS);
    memcpy(d->latents[step - 1], latent, sizeof d->latents[0]);
}

static void draw(const char *path, const char *type, const struct sdg_hooks *hooks, int run_index, struct drawn *d)
{
    struct temp_log t;
    struct sdg_pipeline *p;
    temp_log(&t);
    const struct sdg_pipeline_params params = {.model = path,
                                               .backend = "cpu",
                                               .type = type,
                                               .threads = 2,
                                               .log = {.fn = temp_log_say, .user = &t},
                                               .cache_dir = ""};
    assert_int_equal(sdg_pipeline_create(&params, &p), SDG_OK);
    if (hooks)
        p->hooks = *hooks;
    const struct sdg_generate_params generate = {.prompt = prompts[run_index],
                                                 .width = 64,
                                                 .height = 64,
                                                 .steps = STEPS,
                                                 .sampler = "ddim",
                                                 .schedule = "model",
                                                 .cfg_scale = sdg_number(guidance),
                                                 .seed = 7 + run_index,
                                                 .latent = keep_latent,
                                                 .latent_user = d};
    assert_int_equal(sdg_generate(p, &generate, &d->image, NULL), SDG_OK);
    sdg_pipeline_destroy(&p);
}

static void expect_near(double value, double expected, double tolerance)
{
    if (!(fabs(value - expected) <= tolerance))
        fail_msg("%.12g, should be %.12g", value, expected);
}

// What a network answers to the latents of `reference`; without one, to its own.
struct answers {
    const struct drawn *reference;
    float values[STEPS][2 * ELEMENTS]; // both branches
};

static enum sdg_result see_answer(void *user, struct sdg_program *program, int call)
{
    struct answers *a = user;
    if (a->reference && call > 0) { // the first noise is everybody's; ddim shows the network the latent as it is
        float sample[2 * ELEMENTS];
        for (int k = 0; k < ELEMENTS; k++)
            sample[k / 64 + k % 64 * 4] = sample[ELEMENTS + k / 64 + k % 64 * 4] = a->reference->latents[call - 1][k];
        SDG_TRY(sdg_program_write(program, "sample", sample, 2 * ELEMENTS));
        SDG_TRY(sdg_program_run(program, call));
    }
    return sdg_program_read(program, "noise", a->values[call], 2 * ELEMENTS);
}

static void check_outputs(const struct sdg_evaluation *e, const struct sdg_evaluation_model *m, const char *path,
                          const char *type)
{
    static struct answers expected[2], seen[2];
    double mean = 0;
    for (int i = 0; i < 2; i++) {
        static struct drawn reference, other;
        expected[i].reference = NULL;
        draw(MODEL, "f32", &(struct sdg_hooks){.after_run = see_answer, .user = &expected[i]}, i, &reference);
        seen[i].reference = &reference;
        draw(path, type, &(struct sdg_hooks){.after_run = see_answer, .user = &seen[i]}, i, &other);
        sdg_image_destroy(&reference.image), sdg_image_destroy(&other.image);
    }
    assert_int_equal(e->output_runs, 2);
    for (int call = 0; call < STEPS; call++) {
        long double signal = 0, noise = 0;
        for (int i = 0; i < 2; i++)
            for (int k = 0; k < 2 * ELEMENTS; k++) {
                long double r = expected[i].values[call][k], d = r - seen[i].values[call][k];
                signal += r * r;
                noise += d * d;
            }
        expect_near(m->output_sqnr[call], (double)(10 * log10l(signal / noise)), 1e-9);
        mean += m->output_sqnr[call] / STEPS;
    }
    expect_near(m->output, mean, 1e-9);
}

static void against_bf16(void **state)
{
    (void)state;
    struct temp_log t;
    const struct sdg_evaluate_model models[] = {{.path = MODEL, .type = "bf16"}, {.path = MODEL, .name = "same"}};
    const struct sdg_evaluate_params params = small_params(&t, models, 2, STEPS);
    struct sdg_evaluation *e = run(&params, &t);
    static struct drawn reference[2], other[2];
    for (int i = 0; i < 2; i++) {
        draw(MODEL, "f32", NULL, i, &reference[i]);
        draw(MODEL, "bf16", NULL, i, &other[i]);
    }
    const struct sdg_evaluation_model *m = &e->model[1];
    for (int step = 0; step < STEPS; step++) {
        long double signal = 0, noise = 0;
        for (int i = 0; i < 2; i++)
            for (int k = 0; k < ELEMENTS; k++) {
                long double r = reference[i].latents[step][k], d = r - other[i].latents[step][k];
                signal += r * r;
                noise += d * d;
            }
        expect_near(m->latent_sqnr[step], (double)(10 * log10l(signal / noise)), 1e-9);
        expect_near(m->latent_mse[step] * 1e6, (double)(noise / (2 * ELEMENTS)) * 1e6, 1e-9);
    }
    double mean = 0, pooled = 0;
    for (int i = 0; i < 2; i++) {
        double error = 0;
        for (int k = 0; k < PIXELS; k++) {
            int d = reference[i].image->pixels[k] - other[i].image->pixels[k];
            error += d * d;
        }
        expect_near(m->run_psnr[i], 10 * log10(65025.0 * PIXELS / error), 1e-9);
        expect_near(m->run_ssim[i], sdg_ssim(reference[i].image, other[i].image), 1e-12);
        expect_near(m->run_sqnr[i], sdg_sqnr(reference[i].latents[STEPS - 1], other[i].latents[STEPS - 1], ELEMENTS),
                    1e-12);
        mean += m->run_psnr[i] / 2;
        pooled += error / 2;
        assert_memory_equal(e->model[0].pictures[i]->pixels, reference[i].image->pixels, PIXELS);
        assert_memory_equal(m->pictures[i]->pixels, other[i].image->pixels, PIXELS);
        sdg_image_destroy(&reference[i].image), sdg_image_destroy(&other[i].image);
    }
    expect_near(m->psnr, mean, 1e-9);
    expect_near(m->sqnr, (m->run_sqnr[0] + m->run_sqnr[1]) / 2, 1e-12);
    expect_near(m->psnr_pooled, 10 * log10(65025.0 * PIXELS / pooled), 1e-9);
    assert_true(m->latent_sqnr[STEPS - 1] > 20 && m->latent_sqnr[STEPS - 1] < 80);
    check_outputs(e, m, MODEL, "bf16");
    assert_string_equal(m->name, "emoji-128 bf16");
    assert_string_equal(m->scheme, "bf16");
    assert_string_equal(e->model[2].name, "same");
    assert_true(isinf(e->model[2].psnr));
    sdg_evaluation_destroy(&e);
}

// ---- sites ----

static char *make_statistics(void)
{
    struct temp_log t;
    struct sdg_pipeline *p;
    char *path = strdup(temp_path("statistics.safetensors"));
    temp_log(&t);
    const struct sdg_pipeline_params params = {.model = MODEL,
                                               .backend = "cpu",
                                               .type = "f32",
                                               .threads = 2,
                                               .log = {.fn = temp_log_say, .user = &t},
                                               .cache_dir = ""};
    assert_int_equal(sdg_pipeline_create(&params, &p), SDG_OK);
    const struct sdg_collect_params collect = {
        .prompts = prompts,
        .prompt_count = 2,
        .output = path,
        .generate = {.width = 64, .height = 64, .steps = STEPS, .cfg_scale = sdg_number(guidance), .seed = 100}};
    assert_int_equal(sdg_collect(p, &collect), SDG_OK);
    sdg_pipeline_destroy(&p);
    return path;
}

// The middle block only: rounding takes its time.
static char *quantize(const char *statistics, const char *scheme)
{
    static const char *const skip[] = {"^down_blocks", "^up_blocks"};
    struct temp_log t;
    char *path = strdup(temp_path(scheme));
    temp_log(&t);
    const struct sdg_quantize_params params = {.model = MODEL,
                                               .statistics = statistics,
                                               .output = path,
                                               .scheme = scheme,
                                               .skip = skip,
                                               .skip_count = 2,
                                               .delta = true,
                                               .threads = 2,
                                               .log = {.fn = temp_log_say, .user = &t}};
    if (sdg_quantize(&params) != SDG_OK)
        fail_msg("%s", t.last);
    return path;
}

// Values of some sites at every call, and their quantization as the contract of the file format has it: by hand.
static const char *const watched[] = {"mid_block.attentions.0.transformer_blocks.0.attn1.to_q",
                                      "mid_block.resnets.0.conv2"};
enum { WATCHED = 2, VALUES = 2 * 2 * 2 * 192 }; // branches, 2x2 positions (the smallest level), channels
static const bool silu[WATCHED] = {false, true};

struct watch {
    double bounds[WATCHED][STEPS][2]; // low and high of the evaluated interval
    bool measure;                     // dynamic: from the values themselves
    double signal[WATCHED][STEPS], noise[WATCHED][STEPS];
    int seen;
};

static enum sdg_result observe(void *user, struct sdg_graph *graph)
{
    (void)user;
    return sdg_graph_observe(graph, false);
}

static double code_error(double x, double scale, int zero, int low, int high)
{
    double q = rint((double)((float)x * (1.0f / (float)scale))) + zero;
    q = q < low ? low : q > high ? high : q;
    double d = x - (q - zero) * scale;
    return d * d;
}

static enum sdg_result see(void *user, struct sdg_program *program, int call)
{
    struct watch *w = user;
    for (int i = 0; i < WATCHED; i++) {
        static float values[VALUES];
        char name[SDG_OBSERVED_NAME_BYTES];
        assert_int_equal(sdg_program_read(program, sdg_observed_name(name, watched[i]), values, VALUES), SDG_OK);
        int low = silu[i] ? 0 : -128, high = silu[i] ? 255 : 127;
        double least = 0, most = 0, scale;
        for (int k = 0; k < VALUES; k++) {
            least = values[k] < least ? values[k] : least;
            most = values[k] > most ? values[k] : most;
        }
        if (!w->measure)
            scale = (w->bounds[i][call][1] - w->bounds[i][call][0]) / 255;
        else if (silu[i])
            scale = (most + 0.2785) / 255;
        else
            scale = most / 127 > -least / 128 ? most / 127 : -least / 128;
        for (int k = 0; k < VALUES; k++) {
            w->signal[i][call] += (double)values[k] * values[k];
            w->noise[i][call] += code_error(values[k], scale, silu[i] ? (int)rint(0.2785 / scale) : 0, low, high);
        }
    }
    w->seen++;
    return SDG_OK;
}

static size_t find_site(const struct sdg_evaluation *e, const char *name)
{
    for (size_t i = 0; i < e->sites; i++)
        if (!strcmp(e->site[i].name, name))
            return i;
    fail_msg("there is no site %s", name);
    return 0;
}

static void check_model(const struct sdg_evaluation *e, const struct sdg_evaluation_model *m, bool measure)
{
    static struct drawn drawn;
    struct watch w = {.measure = measure};
    for (int i = 0; i < WATCHED; i++)
        for (int c = 0; c < STEPS; c++) {
            const struct sdg_evaluation_interval *interval = &m->sites[find_site(e, watched[i])];
            w.bounds[i][c][0] = (double)interval->call_low[c];
            w.bounds[i][c][1] = (double)interval->call_high[c];
        }
    const struct sdg_hooks hooks = {.rewrite = observe, .after_run = see, .user = &w};
    for (int i = 0; i < 2; i++) {
        draw(MODEL, "f32", &hooks, i, &drawn);
        sdg_image_destroy(&drawn.image);
    }
    assert_int_equal(w.seen, 2 * STEPS);
    for (int i = 0; i < WATCHED; i++) {
        const struct sdg_evaluation_interval *interval = &m->sites[find_site(e, watched[i])];
        double signal = 0, noise = 0;
        for (int c = 0; c < STEPS; c++) {
            // the scale is known from float bounds
            expect_near(interval->sqnr[c], 10 * log10(w.signal[i][c] / w.noise[i][c]), 0.02);
            signal += w.signal[i][c];
            noise += w.noise[i][c];
        }
        expect_near(interval->total, 10 * log10(signal / noise), 0.02);
        assert_int_equal(interval->bits, 8);
        assert_true(measure ? !interval->low : interval->low[0] < 0 && interval->high[SDG_EVALUATION_TIMES - 1] > 0);
    }
}

static void sites_by_hand(void **state)
{
    (void)state;
    struct temp_log t;
    char *statistics = make_statistics(), *fixed = quantize(statistics, "w8a8-static"),
         *table = quantize(statistics, "w8a8-table"), *dynamic = quantize(statistics, "w8a8-dynamic");
    char *weights = quantize(statistics, "w8a16");
    const struct sdg_evaluate_model models[] = {{.path = fixed}, {.path = table}, {.path = dynamic}, {.path = weights}};
    const struct sdg_evaluate_params params = small_params(&t, models, 4, STEPS);
    struct sdg_evaluation *e = run(&params, &t);
    static const char *const names[] = {"emoji-128", "w8a8-static", "w8a8-table", "w8a8-dynamic", "w8a16"},
                             *const rules[] = {"none", "static", "table", "dynamic", "none"};
    assert_int_equal(e->sites, 92);
    assert_int_equal(e->site_runs, 2);
    for (int i = 0; i < 5; i++) {
        assert_string_equal(e->model[i].name, names[i]);
        assert_string_equal(e->model[i].scheme, i ? names[i] : "f32");
        assert_string_equal(e->model[i].rule, rules[i]);
        assert_true((e->model[i].sites != NULL) == (i >= 1 && i <= 3));
        assert_true(i == 0 || e->model[i].psnr > 20);
        assert_true(i == 0 || e->model[i].unet_bytes < e->model[0].unet_bytes);
    }
    for (size_t i = 0; i < e->sites; i++)
        for (size_t c = 0; c < e->calls; c++)
            assert_true(e->site[i].min[c] < e->site[i].max[c]);
    // Static: one interval at all timesteps; table: not so.
    const struct sdg_evaluation_interval *s = e->model[1].sites, *f = e->model[2].sites;
    bool moves = false;
    for (size_t i = 0; i < e->sites; i++) {
        bool quantized = !strncmp(e->site[i].name, "mid_block", 9);
        assert_true(s[i].bits == (quantized ? 8 : 0) && f[i].bits == s[i].bits);
        if (!quantized)
            continue;
        assert_true(s[i].high[0] == s[i].high[SDG_EVALUATION_TIMES - 1] && s[i].high[0] == s[i].call_high[0]);
        moves |= f[i].high[0] != f[i].high[SDG_EVALUATION_TIMES - 1];
    }
    assert_true(moves);
    const char *const paths[] = {NULL, fixed, table, dynamic};
    for (int i = 1; i <= 3; i++) {
        check_model(e, &e->model[i], i == 3);
        check_outputs(e, &e->model[i], paths[i], "f32");
    }
    sdg_evaluation_destroy(&e);
    free(statistics), free(fixed), free(table), free(dynamic), free(weights);
}

// ---- refusals ----

static void expect_refused(const struct sdg_evaluate_params *params, struct temp_log *t, enum sdg_result expected,
                           const char *word)
{
    struct sdg_evaluation *e = (struct sdg_evaluation *)params;
    t->errors = 0;
    enum sdg_result result = sdg_evaluate(params, &e);
    if (result != expected || e || t->errors != 1 || !strstr(t->last, word))
        fail_msg("result %d, should be %d with '%s': %s", result, expected, word, t->last);
}

static void link_part(const char *folder, const char *name)
{
    char from[600], to[600];
    snprintf(from, sizeof from, MODEL "/%s", name);
    snprintf(to, sizeof to, "%s/%s", folder, name);
    assert_int_equal(symlink(from, to), 0);
}

// The default model, but for pictures of 64x64.
static char *make_smaller_model(void)
{
    static char json[1 << 16];
    FILE *file = fopen(MODEL "/unet/config.json", "rb");
    assert_non_null(file);
    json[fread(json, 1, sizeof json - 1, file)] = 0;
    fclose(file);
    char *size = strstr(json, "\"sample_size\": 16"), *folder = strdup(temp_path("smaller"));
    assert_non_null(size);
    memcpy(size, "\"sample_size\":  8", 17);
    temp_text("smaller/unet/config.json", json);
    static const char *const parts[] = {"model_index.json", "scheduler", "text_encoder",
                                        "tokenizer",        "vae",       "unet/diffusion_pytorch_model.safetensors"};
    for (int i = 0; i < 6; i++)
        link_part(folder, parts[i]);
    return folder;
}

static bool stop(void *user, const struct sdg_evaluate_progress *progress)
{
    int *calls = user;
    assert_true(progress->models == 2 && progress->runs == 2 && progress->steps == 2);
    return ++*calls < 12;
}

static bool never_called(void *user, const struct sdg_progress *progress)
{
    (void)user, (void)progress;
    fail_msg("a callback that was refused was called");
    return false;
}

static void refusals(void **state)
{
    (void)state;
    struct temp_log t;
    char *smaller = make_smaller_model();
    const struct sdg_evaluate_model models[] = {{.path = MODEL}}, missing[] = {{.path = "/nowhere/model"}},
                                    other[] = {{.path = smaller}}, half[] = {{.path = MODEL, .type = "f8"}};
    const struct sdg_evaluate_params good = small_params(&t, models, 1, 2);
    struct sdg_evaluate_params params = good;
    params.prompt_count = 0;
    expect_refused(&params, &t, SDG_ERROR_INPUT, "no prompt");
    params = good;
    params.model_count = 0;
    expect_refused(&params, &t, SDG_ERROR_USAGE, "0 models");
    params = small_params(&t, NULL, 1, 1);
    expect_refused(&params, &t, SDG_ERROR_USAGE, "'models' is NULL");
    params.model_count = 65;
    expect_refused(&params, &t, SDG_ERROR_USAGE, "65 models");
    params = good;
    params.seeds = -1;
    expect_refused(&params, &t, SDG_ERROR_USAGE, "seeds is -1");
    params.seeds = 100000;
    params.generate.steps = 1000; // 2 * 10^5 pictures of 1000 latents
    expect_refused(&params, &t, SDG_ERROR_MEMORY, "GiB");
    params = good;
    params.models = missing;
    expect_refused(&params, &t, SDG_ERROR_INPUT, "/nowhere/model");
    params.models = half;
    expect_refused(&params, &t, SDG_ERROR_USAGE, "f8");
    params = good;
    params.models = other;
    params.generate.width = params.generate.height = 0; // each its own
    expect_refused(&params, &t, SDG_ERROR_INPUT, "4x8x8");
    params = good;
    params.generate.sampler = "euler_b";
    expect_refused(&params, &t, SDG_ERROR_USAGE, "euler_b");
    params = good;
    params.site_runs = -1;
    expect_refused(&params, &t, SDG_ERROR_USAGE, "site_runs is -1");
    params = good;
    params.pictures = -2;
    expect_refused(&params, &t, SDG_ERROR_USAGE, "pictures is -2");
    params = good;
    params.generate.prompt = "a";
    expect_refused(&params, &t, SDG_ERROR_USAGE, "generate.prompt");
    params = good;
    params.generate.progress = never_called;
    expect_refused(&params, &t, SDG_ERROR_USAGE, "generate.progress");
    params = good;
    params.pipeline.model = MODEL;
    expect_refused(&params, &t, SDG_ERROR_USAGE, "pipeline.model");
    params = good;
    params.pipeline.keep = SDG_KEEP_NETWORKS;
    expect_refused(&params, &t, SDG_ERROR_USAGE, "pipeline.keep");
    int calls = 0;
    params = good;
    params.progress = stop;
    params.progress_user = &calls;
    expect_refused(&params, &t, SDG_ERROR_CANCELLED, "cancelled");
    assert_int_equal(calls, 12);
    free(smaller);
}

static bool stop_at_once(void *user, const struct sdg_evaluate_progress *progress)
{
    (void)user, (void)progress;
    return false;
}

// Up to the first step, with one allocation after the other failing: spread evenly, there are thousands.
static void out_of_memory(void **state)
{
    (void)state;
    enum { TRIES = 40 };
    struct temp_log t;
    struct sdg_evaluation *e;
    const struct sdg_evaluate_model models[] = {{.path = MODEL, .type = "bf16"}};
    struct sdg_evaluate_params params = small_params(&t, models, 1, 2);
    params.progress = stop_at_once;
    sdg_test_fail_allocation(0);
    assert_int_equal(sdg_evaluate(&params, &e), SDG_ERROR_CANCELLED);
    size_t count = sdg_test_fail_allocation(0), failed = 0;
    assert_true(count > 100);
    for (size_t i = 0; i < TRIES; i++) {
        t.errors = 0;
        sdg_test_fail_allocation(1 + (count - 1) * i / TRIES);
        enum sdg_result result = sdg_evaluate(&params, &e);
        sdg_test_fail_allocation(0);
        failed += result == SDG_ERROR_MEMORY;
        if ((result != SDG_ERROR_MEMORY && result != SDG_ERROR_CANCELLED) || e || t.errors != 1)
            fail_msg("allocation %zu of %zu: result %d, %d errors, %s", 1 + (count - 1) * i / TRIES, count, result,
                     t.errors, t.last);
    }
    assert_true(failed > TRIES / 2);
}

int main(void)
{
    temp_make();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pictures_against_numpy), cmocka_unit_test(arrays_by_hand), cmocka_unit_test(itself),
        cmocka_unit_test(against_bf16),           cmocka_unit_test(sites_by_hand),  cmocka_unit_test(refusals),
        cmocka_unit_test(out_of_memory),
    };
    int failed = cmocka_run_group_tests_name("evaluate", tests, NULL, NULL);
    temp_remove();
    return failed;
}
