// The public API on the default model: determinism, batches, tiles, memory limits, cancelling, bad parameters. Its
// pictures are compared with diffusers' in tests/default_pictures.c.
#include "backend/backend.h"
#include "base/file.h"
#include "base/memory.h"
#include "pipeline/parameter_names.h"
#include "pipeline/pipeline.h"
#include "pipeline/tiles.h"
#include "scheduler/sampler.h"
#include "sdgen/sdgen.h"
#include "tests/small_vae.h"
#include "tests/support/pictures.h"
#include "tests/temp.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MODEL SDG_SOURCE_DIR "/models/emoji-128"

struct messages {
    int errors;
    char last[600];
};

static void collect(void *user, enum sdg_log_level level, const char *message)
{
    struct messages *m = user;
    if (level == SDG_LOG_ERROR) {
        m->errors++;
        snprintf(m->last, sizeof m->last, "%s", message);
    }
}

static struct sdg_pipeline *open_pipeline(const char *backend, struct messages *messages, int threads,
                                          const char *tiling)
{
    *messages = (struct messages){0};
    struct sdg_pipeline *p = NULL;
    struct sdg_pipeline_params params = {
        .model = MODEL,
        .backend = backend,
        .type = "f32",
        .threads = threads,
        .validation = true,
        .vae_tiling = tiling,
        .log = {.fn = collect, .user = messages},
        .cache_dir = "",
    };
    enum sdg_result result = sdg_pipeline_create(&params, &p);
    if (result == SDG_ERROR_DEVICE || result == SDG_ERROR_UNSUPPORTED)
        return NULL;
    if (result != SDG_OK)
        fail_msg("%s", messages->last);
    return p;
}

static struct sdg_pipeline *open_with(const char *model, const char *vae, enum sdg_keep keep, struct messages *messages)
{
    struct sdg_pipeline *p = NULL;
    const struct sdg_pipeline_params params = {.model = model,
                                               .vae = vae,
                                               .backend = "cpu",
                                               .type = "f32",
                                               .threads = 2,
                                               .keep = keep,
                                               .log = {.fn = collect, .user = messages}};
    *messages = (struct messages){0};
    if (sdg_pipeline_create(&params, &p) != SDG_OK)
        fail_msg("%s", messages->last);
    return p;
}

// ---- the API's promises ----

static struct sdg_generate_params quick(void)
{
    return (struct sdg_generate_params){.prompt = "pizza, flat", .steps = 3, .seed = 1, .width = 64, .height = 64};
}

static struct sdg_image *draw(struct sdg_pipeline *p, const struct sdg_generate_params *g,
                              struct sdg_generate_info *info)
{
    struct sdg_image *image;
    assert_int_equal(sdg_generate(p, g, &image, info), SDG_OK);
    return image;
}

static void assert_same(const struct sdg_image *a, const struct sdg_image *b)
{
    assert_int_equal(a->width, b->width);
    assert_memory_equal(a->pixels, b->pixels, (size_t)a->width * (size_t)a->height * 3);
}

static void same_bytes(void **state)
{
    (void)state;
    struct messages messages;
    struct sdg_generate_params g = quick();
    struct sdg_image *first = NULL;
    for (int threads = 1; threads <= 3; threads++) {
        struct sdg_pipeline *p = open_pipeline("cpu", &messages, threads, NULL);
        for (int again = 0; again < 2; again++) {
            struct sdg_image *image = draw(p, &g, NULL);
            if (first)
                assert_same(first, image);
            else {
                first = image;
                continue;
            }
            sdg_image_destroy(&image);
        }
        sdg_pipeline_destroy(&p);
    }
    sdg_image_destroy(&first);
}

// A picture of a batch (programs kept between pictures) equals the picture made alone, also after another prompt.
static void batch_equals_single(void **state)
{
    (void)state;
    struct messages messages;
    struct sdg_pipeline *p = open_pipeline("cpu", &messages, 2, NULL);
    struct sdg_generate_params g = quick(), other = quick();
    g.seed = 9;
    struct sdg_image *alone = draw(p, &g, NULL);
    sdg_pipeline_destroy(&p);
    p = open_with(MODEL, NULL, SDG_KEEP_NETWORKS, &messages);
    other.prompt = "a dog";
    struct sdg_image *before = draw(p, &other, NULL);
    struct sdg_image *second = draw(p, &g, NULL);
    assert_same(alone, second);
    sdg_image_destroy(&alone);
    sdg_image_destroy(&before);
    sdg_image_destroy(&second);
    sdg_pipeline_destroy(&p);
}

static void note_line(void *user, const char *line)
{
    (void)user, (void)line;
}

static bool stop_at_two(void *user, const struct sdg_progress *progress)
{
    int *calls = user;
    (*calls)++;
    return !(strcmp(progress->stage, "sample") == 0 && progress->step >= 2);
}

static void cancelling(void **state)
{
    (void)state;
    struct messages messages;
    struct sdg_pipeline *p = open_pipeline("cpu", &messages, 2, NULL);
    struct sdg_generate_params g = quick();
    int calls = 0;
    g.steps = 6;
    g.progress = stop_at_two;
    g.progress_user = &calls;
    struct sdg_image *image = (struct sdg_image *)1;
    assert_int_equal(sdg_generate(p, &g, &image, NULL), SDG_ERROR_CANCELLED);
    assert_null(image);
    assert_true(calls >= 4); // text, sampling begins, steps 1 and 2; on a slow machine also in between
    assert_int_equal(messages.errors, 1);
    g.progress = NULL; // and the pipeline is usable afterwards
    image = draw(p, &g, NULL);
    sdg_image_destroy(&image);
    sdg_pipeline_destroy(&p);
}

// ---- one call at a time, ended from elsewhere ----

struct reentry {
    struct sdg_pipeline *p;
    struct messages *messages;
    int refused;
};

// A callback that uses the pipeline it is called from.
static bool reenter(void *user, const struct sdg_progress *progress)
{
    struct reentry *r = user;
    struct sdg_image *image = NULL;
    struct sdg_generate_params g = quick();
    struct sdg_pipeline_info info;
    if (strcmp(progress->stage, "sample") || progress->step != 1 || r->refused)
        return true;
    if (sdg_generate(r->p, &g, &image, NULL) == SDG_ERROR_USAGE && !image &&
        strstr(r->messages->last, "another call uses this pipeline"))
        r->refused++;
    if (sdg_plan(r->p, &g, SDG_PLAN_NO_KERNELS, note_line, NULL) == SDG_ERROR_USAGE)
        r->refused++;
    sdg_pipeline_info(r->p, &info); // allowed
    r->refused += info.width == 128;
    return true;
}

static void busy(void **state)
{
    (void)state;
    struct messages messages;
    struct sdg_pipeline *p = open_pipeline("cpu", &messages, 2, NULL);
    struct sdg_generate_params g = quick();
    struct sdg_image *alone = draw(p, &g, NULL), *image;
    struct reentry r = {p, &messages, 0};
    g.progress = reenter;
    g.progress_user = &r;
    image = draw(p, &g, NULL);
    assert_int_equal(r.refused, 3);
    assert_same(alone, image); // the call that was there is not disturbed
    sdg_image_destroy(&alone);
    sdg_image_destroy(&image);
    sdg_pipeline_destroy(&p);
}

struct canceller {
    struct sdg_pipeline *p;
    _Atomic bool begun;
};

static bool note_begin(void *user, const struct sdg_progress *progress)
{
    struct canceller *c = user;
    if (strcmp(progress->stage, "sample") == 0)
        c->begun = true;
    return true;
}

static void *cancel_it(void *user)
{
    struct canceller *c = user;
    while (!c->begun)
        usleep(1000);
    sdg_cancel(c->p);
    return NULL;
}

// From another thread, in the middle of a step.
static void cancelled_by_thread(void **state)
{
    (void)state;
    struct messages messages;
    struct sdg_pipeline *p = open_pipeline("cpu", &messages, 2, NULL);
    struct canceller c = {.p = p};
    struct sdg_generate_params g = quick();
    struct sdg_image *image = NULL;
    pthread_t thread;
    g.steps = 1000;
    g.progress = note_begin;
    g.progress_user = &c;
    assert_int_equal(pthread_create(&thread, NULL, cancel_it, &c), 0);
    assert_int_equal(sdg_generate(p, &g, &image, NULL), SDG_ERROR_CANCELLED);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(messages.errors, 1);
    assert_non_null(strstr(messages.last, "cancelled in stage 'sample'"));
    g.steps = 1;
    sdg_cancel(p); // nothing runs: the next call is not affected
    sdg_cancel(NULL);
    image = draw(p, &g, NULL);
    sdg_image_destroy(&image);
    sdg_pipeline_destroy(&p);
}

static void null_arguments(void **state)
{
    (void)state;
    struct messages messages;
    struct sdg_pipeline *p = open_pipeline("cpu", &messages, 2, NULL), *none = (struct sdg_pipeline *)1;
    struct sdg_generate_params g = quick();
    struct sdg_image *image = (struct sdg_image *)1, empty = {.width = 64, .height = 64};
    struct sdg_pipeline_info info = {.width = 3};
    assert_int_equal(sdg_pipeline_create(NULL, &none), SDG_ERROR_USAGE);
    assert_null(none);
    assert_int_equal(sdg_pipeline_create(&(struct sdg_pipeline_params){.model = MODEL}, NULL), SDG_ERROR_USAGE);
    assert_int_equal(sdg_generate(NULL, &g, &image, NULL), SDG_ERROR_USAGE);
    assert_int_equal(sdg_generate(p, NULL, &image, NULL), SDG_ERROR_USAGE);
    assert_null(image);
    assert_non_null(strstr(messages.last, "'params' is NULL"));
    assert_int_equal(sdg_generate(p, &g, NULL, NULL), SDG_ERROR_USAGE);
    assert_int_equal(sdg_plan(p, &g, SDG_PLAN_NO_KERNELS, NULL, NULL), SDG_ERROR_USAGE);
    assert_int_equal(sdg_plan(NULL, &g, SDG_PLAN_NO_KERNELS, note_line, NULL), SDG_ERROR_USAGE);
    g.init_image = &empty;
    assert_int_equal(sdg_generate(p, &g, &image, NULL), SDG_ERROR_USAGE);
    assert_non_null(strstr(messages.last, "no pixels"));
    sdg_pipeline_info(NULL, &info);
    assert_int_equal(info.width, 0);
    sdg_pipeline_info(p, NULL);
    sdg_list_devices(NULL, NULL, NULL);
    sdg_pipeline_destroy(NULL);
    sdg_image_destroy(NULL);
    assert_int_equal(sdg_image_create(8, 8, NULL), SDG_ERROR_USAGE);
    sdg_pipeline_destroy(&p);
}

static void note_steps(void *user, const char *line)
{
    char *lines = user;
    strncat(lines, line, 8191 - strlen(lines));
    strncat(lines, "\n", 8191 - strlen(lines));
}

static bool note_sampled(void *user, const struct sdg_progress *progress)
{
    if (strcmp(progress->stage, "sample") == 0)
        *(int *)user = progress->steps;
    return true;
}

// Sigmas say how many steps there are; a 0 at their end is none.
static void own_sigmas(void **state)
{
    (void)state;
    static const double sigmas[5] = {14, 6, 3, 1, 0};
    struct messages messages;
    struct sdg_pipeline *p = open_pipeline("cpu", &messages, 2, NULL);
    struct sdg_generate_info info;
    struct sdg_generate_params g = quick();
    g.sampler = "euler";
    g.steps = 0;
    g.schedule = NULL;
    g.sigmas = sigmas;
    g.sigma_count = 5;
    struct sdg_image *five = draw(p, &g, &info);
    assert_int_equal(info.steps, 4);
    g.sigma_count = 4;
    g.steps = 4; // says the same
    struct sdg_image *four = draw(p, &g, &info);
    assert_int_equal(info.steps, 4);
    assert_same(five, four);
    char lines[8192] = "";
    assert_int_equal(sdg_plan(p, &g, SDG_PLAN_NO_KERNELS, note_steps, lines), SDG_OK);
    if (!strstr(lines, "4 steps"))
        fail_msg("%s", lines);
    g.steps = 0;
    int steps = 0;
    g.init_image = five;
    g.strength = sdg_number(0.5); // of four: the last two
    g.sigma_count = 5;
    g.progress = note_sampled;
    g.progress_user = &steps;
    struct sdg_image *last = draw(p, &g, &info);
    assert_int_equal(info.steps, 4);
    assert_int_equal(steps, 2);
    sdg_image_destroy(&last);
    sdg_image_destroy(&four);
    sdg_image_destroy(&five);
    sdg_pipeline_destroy(&p);
}

static void bad_parameters(void **state)
{
    (void)state;
    static const float noise[4 * 8 * 8];
    static const uint8_t mask[64 * 64];
    static const double sigmas[2] = {2, 1};
    static double many[1001];
    static float broken[4 * 8 * 8];
    broken[6] = NAN;
    for (int i = 0; i < 1001; i++)
        many[i] = 1001 - i;
    struct sdg_image *small, *fitting;
    assert_int_equal(sdg_image_create(32, 32, &small), SDG_OK);
    assert_int_equal(sdg_image_create(64, 64, &fitting), SDG_OK);
    const struct {
        const char *word; // in the message
        struct sdg_generate_params change;
    } cases[] = {
        {"width is 63", {.width = 63}},
        {"height is -8", {.height = -8}},
        {"height is 1048576", {.height = 1 << 20}},
        {"steps is -1", {.steps = -1}},
        {"steps is 1001", {.steps = 1001}},
        {"'eulr'", {.sampler = "eulr"}},
        {"scheduler", {.schedule = ""}},
        {"cfg scale", {.cfg_scale = {true, NAN}}},
        {"eta is -1", {.eta = {true, -1}}},
        {"eta is 1.5", {.eta = {true, 1.5}}},
        {"clip skip is 4", {.clip_skip = 4}},
        {"32x32", {.init_image = small}},
        {"strength is 0", {.init_image = fitting, .strength = {true, 0}}},
        {"255 numbers, a picture of 64x64 starts from 4x8x8", {.noise = noise, .noise_count = 255}},
        {"0 numbers", {.noise = noise}},
        {"noise_count is 256, but there is no noise", {.noise_count = 256}},
        {"number 7 of the noise is not finite", {.noise = broken, .noise_count = 256}},
        {"4095 pixels", {.init_image = fitting, .mask = mask, .mask_count = 4095}},
        {"0 pixels", {.init_image = fitting, .mask = mask}},
        {"a mask needs an init image", {.mask = mask, .mask_count = 4096}},
        {"0 sigmas", {.sigmas = sigmas}},
        {"-1 sigmas", {.sigmas = sigmas, .sigma_count = -1}},
        {"2 sigmas", {.sigma_count = 2}},
        {"1002 sigmas", {.sigmas = sigmas, .sigma_count = 1002}},
        {"steps is 7, but the sigmas are of 2", {.sampler = "euler", .sigmas = sigmas, .sigma_count = 2, .steps = 7}},
        {"scheduler is 'karras', but the sigmas",
         {.sampler = "euler", .sigmas = sigmas, .sigma_count = 2, .schedule = "karras"}},
        {"steps is 1001", {.sampler = "euler", .sigmas = many, .sigma_count = 1001}},
        {"a strength needs an init image", {.strength = {true, 0.5}}},
    };
    struct messages messages;
    struct sdg_pipeline *p = open_pipeline("cpu", &messages, 2, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sdg_image *image;
        struct sdg_generate_params g = cases[i].change;
        g.width = g.width ? g.width : 64;
        g.height = g.height ? g.height : 64;
        messages.errors = 0;
        enum sdg_result result = sdg_generate(p, &g, &image, NULL);
        if (result != SDG_ERROR_USAGE || image || messages.errors != 1 || !strstr(messages.last, cases[i].word))
            fail_msg("bad parameter %zu gave result %d, %d messages, '%s' should have '%s'", i, (int)result,
                     messages.errors, messages.last, cases[i].word);
    }
    sdg_pipeline_destroy(&p);
    sdg_image_destroy(&small);
    sdg_image_destroy(&fitting);
}

static void bad_pipeline_parameters(void **state)
{
    (void)state;
    const struct {
        const char *word;
        struct sdg_pipeline_params change;
    } cases[] = {
        {"threads is -1", {.threads = -1}},
        {"memory limit", {.max_memory = NAN}},
        {"what to keep is 7", {.keep = (enum sdg_keep)7}},
        {"'warp', should be one of: onednn, bf16, subgroup, lanes, f16, pairs, dot, coopmat", {.disable = "f16,warp"}},
        {"''", {.disable = "f16,"}},
        {"no instruction set 'bogus', should be some of generic", {.backend = "reference", .cpu_mask = "bogus"}},
        {"no instruction set ''", {.cpu_mask = "generic,"}},
        {"VAE tile size is 4", {.vae_tile_size = 4}},
        {"VAE tile overlap is -0.1", {.vae_tile_overlap = {true, -0.1}}},
        {"VAE tile overlap is 0.8", {.vae_tile_overlap = {true, 0.8}}},
        {"VAE tiling is 'yes'", {.vae_tiling = "yes"}},
        {"prediction is 'x0'", {.prediction = "x0"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct messages messages = {0};
        struct sdg_pipeline_params params = cases[i].change;
        struct sdg_pipeline *p;
        params.model = MODEL;
        params.log.fn = collect;
        params.log.user = &messages;
        if (sdg_pipeline_create(&params, &p) != SDG_ERROR_USAGE || p || messages.errors != 1 ||
            !strstr(messages.last, cases[i].word))
            fail_msg("bad parameter %zu: '%s' should have '%s'", i, messages.last, cases[i].word);
    }
}

// ---- what the library tells about a model, and models that are not as usual ----

static void infos(void **state)
{
    (void)state;
    struct messages messages;
    struct sdg_pipeline_info info;
    struct sdg_pipeline *p = open_with(MODEL "/", NULL, SDG_KEEP_NOTHING, &messages);
    sdg_pipeline_info(p, &info);
    assert_string_equal(info.model, "emoji-128");
    assert_true(info.width == 128 && info.height == 128 && info.factor == 8 && info.latent_channels == 4);
    // what the folder prefers
    assert_true(info.cfg_scale == 2.5 && info.steps == 20 && !info.eta.given);
    assert_string_equal(info.sampler, "dpm++2m");
    assert_string_equal(info.schedule, "karras");
    assert_string_equal(info.prediction, "eps");
    assert_null(info.scheme);
    assert_false(info.inpainting || info.sdxl || info.lcm);
    sdg_pipeline_destroy(&p);
    p = open_with(SDG_SOURCE_DIR "/models/emoji-128-w8a8-tdq", NULL, SDG_KEEP_NOTHING, &messages);
    sdg_pipeline_info(p, &info);
    assert_string_equal(info.scheme, "w8a8-tdq");
    sdg_pipeline_destroy(&p);
    p = open_with(SDG_SOURCE_DIR "/tests/goldens/networks/pipelines/sd2-small", NULL, SDG_KEEP_NOTHING, &messages);
    sdg_pipeline_info(p, &info);
    assert_string_equal(info.prediction, "v");
    sdg_pipeline_destroy(&p);
    const struct {
        const char *model;
        bool inpainting, sdxl, lcm;
    } others[] = {
        {"inpaint-tiny", true, false, false}, {"sdxl-tiny", false, true, false}, {"lcm-tiny", false, false, true}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        char path[600];
        snprintf(path, sizeof path, SDG_SHARED_DIR "/goldens/pipelines/%s", others[i].model);
        if (access(path, R_OK))
            continue;
        p = open_with(path, NULL, SDG_KEEP_NOTHING, &messages);
        sdg_pipeline_info(p, &info);
        assert_true(info.inpainting == others[i].inpainting && info.sdxl == others[i].sdxl &&
                    info.lcm == others[i].lcm);
        assert_true(info.cfg_scale == (others[i].lcm ? 8.5 : 7));
        sdg_pipeline_destroy(&p);
    }
}

static const char *vae_folder(int levels, int channels)
{
    assert_true(small_vae_write(temp_path("vae"), levels, channels));
    return temp_path("vae");
}

// Noise is as large as the latent, which another factor makes four times as large.
static void other_factor(void **state)
{
    (void)state;
    static float noise[4 * 16 * 16];
    struct messages messages;
    struct sdg_pipeline_info info;
    struct sdg_pipeline *p = open_with(MODEL, vae_folder(3, 4), SDG_KEEP_NOTHING, &messages);
    sdg_pipeline_info(p, &info);
    assert_true(info.factor == 4 && info.width == 64 && info.latent_channels == 4);
    struct sdg_generate_params g = quick();
    struct sdg_image *image;
    float *short_noise = calloc(4 * 8 * 8, sizeof *short_noise); // the sanitizer sees reading beyond its end
    assert_non_null(short_noise);
    g.noise = short_noise;
    g.noise_count = 4 * 8 * 8;
    assert_int_equal(sdg_generate(p, &g, &image, NULL), SDG_ERROR_USAGE);
    assert_non_null(strstr(messages.last, "256 numbers, a picture of 64x64 starts from 4x16x16"));
    free(short_noise);
    g.noise = noise;
    g.noise_count = 4 * 16 * 16;
    image = draw(p, &g, NULL);
    assert_true(image->width == 64 && image->height == 64);
    sdg_image_destroy(&image);
    sdg_pipeline_destroy(&p);
}

// An autoencoder whose latents the UNet does not take is refused on opening.
static void other_channels(void **state)
{
    (void)state;
    struct messages messages = {0};
    struct sdg_pipeline *p;
    const struct sdg_pipeline_params params = {
        .model = MODEL, .vae = vae_folder(4, 16), .backend = "cpu", .log = {.fn = collect, .user = &messages}};
    assert_int_equal(sdg_pipeline_create(&params, &p), SDG_ERROR_INPUT);
    assert_null(p);
    assert_non_null(strstr(messages.last, "16 latent channels"));
}

// What stays is what sdg_pipeline_params.keep says, and nothing that a picture's parameters say.
static void keeping(void **state)
{
    (void)state;
    struct sdg_image *first = NULL;
    for (int keep = SDG_KEEP_NOTHING; keep <= SDG_KEEP_NETWORKS; keep++) {
        struct messages messages;
        struct sdg_pipeline *p = open_with(MODEL, NULL, (enum sdg_keep)keep, &messages);
        struct sdg_generate_params g = quick();
        g.images = 2;
        for (g.image = 0; g.image < 2; g.image++) {
            struct sdg_image *image = draw(p, &g, NULL);
            assert_int_equal(p->kept[SDG_NETWORK_UNET_STEP].program != NULL, keep == SDG_KEEP_NETWORKS);
            assert_int_equal(p->kept[SDG_NETWORK_DECODER].program != NULL, keep == SDG_KEEP_NETWORKS);
            if (first)
                assert_same(first, image), sdg_image_destroy(&image);
            else
                first = image;
        }
        sdg_pipeline_destroy(&p);
    }
    sdg_image_destroy(&first);
}

// Both defaults of the rule "zero, or left out": equal to the values that the header names.
static void defaults(void **state)
{
    (void)state;
    struct messages messages;
    struct sdg_pipeline *p = open_with(MODEL, NULL, SDG_KEEP_NETWORKS, &messages);
    struct sdg_generate_params g = quick(), named = quick();
    struct sdg_generate_info info;
    named.sampler = "dpm++2m"; // the folder's
    named.schedule = "karras";
    named.cfg_scale = sdg_number(2.5);
    struct sdg_image *liked = draw(p, &g, &info), *same = draw(p, &named, NULL);
    assert_same(liked, same);
    assert_string_equal(info.sampler, "dpm++2m");
    assert_string_equal(info.schedule, "karras");
    assert_true(info.cfg_scale == 2.5);
    sdg_image_destroy(&liked);
    sdg_image_destroy(&same);
    g.cfg_scale = named.cfg_scale = sdg_number(7);
    g.sampler = named.sampler = "euler_a";
    g.schedule = named.schedule = "discrete";
    named.eta = sdg_number(1); // euler_a's
    struct sdg_image *a = draw(p, &g, &info), *b = draw(p, &named, NULL);
    assert_same(a, b);
    assert_true(info.cfg_scale == 7 && info.eta == 1);
    sdg_image_destroy(&b);
    named.eta = sdg_number(0); // a number, not the default
    b = draw(p, &named, &info);
    assert_true(info.eta == 0);
    assert_memory_not_equal(a->pixels, b->pixels, 64 * 64 * 3);
    sdg_image_destroy(&a);
    sdg_image_destroy(&b);
    sdg_pipeline_destroy(&p);
}

// "oneDNN 3.2.0, Vulkan shaders f32 f16, GNU 12.2.0"
static void build_info(void **state)
{
    (void)state;
    int numbers[3];
    const char *info = sdg_build_info(), *vulkan = strstr(info, ", Vulkan ");
    assert_null(strchr(info, '\n'));
    assert_non_null(vulkan);
    assert_int_equal(sscanf(info, "oneDNN %d.%d.%d", &numbers[0], &numbers[1], &numbers[2]), SDG_HAVE_ONEDNN ? 3 : 0);
    assert_int_equal(!strncmp(vulkan, ", Vulkan shaders f32", 20), SDG_HAVE_VULKAN);
    assert_non_null(strchr(vulkan + 2, ',')); // and the compiler
    char version[40];
    snprintf(version, sizeof version, "%d.%d.%d", SDGEN_VERSION_MAJOR, SDGEN_VERSION_MINOR, SDGEN_VERSION_PATCH);
    assert_string_equal(sdg_version(), version);
}

static void memory_limits(void **state)
{
    (void)state;
    struct messages messages;
    struct sdg_generate_params g = quick();
    g.width = g.height = 128;
    struct sdg_generate_info info;
    struct sdg_pipeline *p = open_pipeline("cpu", &messages, 2, NULL);
    struct sdg_image *whole = draw(p, &g, &info);
    sdg_pipeline_destroy(&p);
    assert_true(info.peak_planned > 30e6);
    // Nothing fits into a tenth: refused before any work.
    struct sdg_pipeline_params params = {.model = MODEL,
                                         .backend = "cpu",
                                         .type = "f32",
                                         .threads = 2,
                                         .max_memory = (double)info.peak_planned / 10,
                                         .log = {.fn = collect, .user = &messages}};
    assert_int_equal(sdg_pipeline_create(&params, &p), SDG_OK);
    struct sdg_image *image;
    messages.errors = 0;
    assert_int_equal(sdg_generate(p, &g, &image, NULL), SDG_ERROR_MEMORY);
    assert_int_equal(messages.errors, 1);
    assert_non_null(strstr(messages.last, "MiB"));
    sdg_pipeline_destroy(&p);
    sdg_image_destroy(&whole);
}

// ---- guidance one branch at a time ----

struct plan_lines {
    bool split;
    double peak; // bytes
};

static void see_line(void *user, const char *line)
{
    struct plan_lines *seen = user;
    const char *bytes = strstr(line, "planned peak") == line ? strchr(line, '(') : NULL;
    if (strstr(line, "one branch at a time"))
        seen->split = true;
    if (bytes)
        seen->peak = atof(bytes + 1);
}

// A memory limit that leaves room for one branch of guidance, not for both: the middle of all there are.
static double find_split_limit(struct sdg_pipeline *p, const struct sdg_generate_params *g)
{
    struct plan_lines seen = {false, 0};
    double least = 0, most = 0;
    p->engine->max_memory = 0;
    assert_int_equal(sdg_plan(p, g, SDG_PLAN_NO_KERNELS, see_line, &seen), SDG_OK);
    for (double limit = seen.peak; limit > 0; limit -= 64 * 1024) {
        seen.split = false;
        p->engine->max_memory = limit;
        if (sdg_plan(p, g, SDG_PLAN_NO_KERNELS, see_line, &seen) != SDG_OK)
            break;
        if (!seen.split)
            continue;
        assert_true(seen.peak <= limit);
        least = limit;
        most = most > 0 ? most : limit;
    }
    return (least + most) / 2;
}

struct steps {
    int count, last;
    size_t allocations; // during all steps but the first and the last
};

static bool count_allocations(void *user, const struct sdg_progress *progress)
{
    struct steps *steps = user;
    size_t since = sdg_test_fail_allocation(0);
    if (strcmp(progress->stage, "sample"))
        return true;
    const bool ends = progress->step != steps->last; // else asked in between
    const int step = ends ? progress->step : progress->step + 1;
    if (step > 1 && step < progress->steps) // the decoder is made during the last step
        steps->allocations += since;
    steps->count += ends;
    steps->last = progress->step;
    return true;
}

// With a limit that allows one branch only, the picture is the same, and the steps only run what was made before: no
// allocation, so no program and no weight either.
static void check_split(const char *model, double bound)
{
    struct messages messages = {0};
    struct sdg_pipeline *p;
    struct sdg_pipeline_params params = {.model = model,
                                         .backend = "cpu",
                                         .type = "f32",
                                         .threads = 2,
                                         .vae_tiling = "on",
                                         .vae_tile_size = 8,
                                         .keep = SDG_KEEP_NETWORKS, // what the process takes is measured once
                                         .log = {.fn = collect, .user = &messages},
                                         .cache_dir = ""};
    struct sdg_generate_params g = quick();
    struct sdg_generate_info info;
    struct steps steps = {0};
    g.width = g.height = 256;
    g.steps = 4;
    g.negative_prompt = "a dog";
    assert_int_equal(sdg_pipeline_create(&params, &p), SDG_OK);
    struct sdg_image *whole = draw(p, &g, NULL);
    double limit = find_split_limit(p, &g);
    assert_true(limit > 0);
    p->engine->max_memory = limit;
    g.progress = count_allocations;
    g.progress_user = &steps;
    struct sdg_image *split = NULL;
    messages = (struct messages){0};
    if (sdg_generate(p, &g, &split, &info) != SDG_OK)
        fail_msg("%s", messages.last);
    assert_true((double)info.peak_planned <= limit);
    double quality = psnr(whole, split);
    print_message("one branch at a time against both at once: %.1f dB, %zu allocations in %d steps\n", quality,
                  steps.allocations, steps.count);
    assert_int_equal(steps.count, 4);
    assert_int_equal(steps.allocations, 0);
    assert_true(quality >= bound);
    sdg_image_destroy(&whole);
    sdg_image_destroy(&split);
    sdg_pipeline_destroy(&p);
}

static void split_guidance(void **state)
{
    (void)state;
    check_split(MODEL, 60); // rounding only
}

// Time tables of SDXL hold a part of the prompt, so they differ between the branches.
static void split_guidance_sdxl(void **state)
{
    (void)state;
    const char *model = SDG_SHARED_DIR "/goldens/pipelines/sdxl-tiny";
    if (sdg_path_kind(model) != SDG_PATH_FOLDER) {
        print_message("skipped: there is no %s\n", model);
        return;
    }
    check_split(model, 60);
}

// Fails the n-th allocation of opening a model and drawing a picture.
static enum sdg_result draw_failing(size_t n, struct messages *messages, size_t *allocations)
{
    struct sdg_pipeline *p = NULL;
    struct sdg_image *image = NULL;
    struct sdg_generate_params g = quick();
    g.steps = 1;
    *messages = (struct messages){0};
    sdg_test_fail_allocation(n);
    struct sdg_pipeline_params params = {.model = MODEL,
                                         .backend = "cpu",
                                         .type = "f32",
                                         .threads = 2,
                                         .log = {.fn = collect, .user = messages},
                                         .cache_dir = ""};
    enum sdg_result result = sdg_pipeline_create(&params, &p);
    if (result == SDG_OK)
        result = sdg_generate(p, &g, &image, NULL);
    *allocations = sdg_test_fail_allocation(0);
    assert_true((result == SDG_OK) == (image != NULL));
    sdg_image_destroy(&image);
    sdg_pipeline_destroy(&p);
    return result;
}

// Every allocation of a run fails once (a sample of them, spread evenly): an error, no crash, and (under sanitizers) no
// leak.
static void failing_allocations(void **state)
{
    (void)state;
    struct messages messages;
    size_t all, ignored, refused = 0, tried = 0;
    assert_int_equal(draw_failing(0, &messages, &all), SDG_OK);
    size_t runs = getenv("SDG_TEST_QUICK") ? 40 : 150, stride = all / runs + 1;
    for (size_t n = 1; n <= all; n += stride, tried++) {
        enum sdg_result result = draw_failing(n, &messages, &ignored);
        // Losing the prompt cache or the plan's preview is not fatal; anything else must say why.
        if (result == SDG_OK)
            continue;
        if (result != SDG_ERROR_MEMORY || messages.errors < 1)
            fail_msg("allocation %zu of %zu failing gave result %d, %d messages: %s", n, all, result, messages.errors,
                     messages.last);
        refused++;
    }
    print_message("%zu allocations, %zu made to fail, %zu runs refused\n", all, tried, refused);
    assert_true(refused > tried * 3 / 4);
}

// ---- tiles ----

// A network that only enlarges must give the same picture tiled or whole: the blending weights sum to one everywhere.
static void tiles_blend_to_one(void **state)
{
    (void)state;
    struct sdg_backend *backend;
    const struct sdg_tiling tilings[] = {
        {.height = 13, .width = 9, .tile_h = 5, .tile_w = 4, .step = 3},
        {.height = 8, .width = 8, .tile_h = 4, .tile_w = 8, .step = 4},
        {.height = 7, .width = 20, .tile_h = 7, .tile_w = 8, .step = 2},
        {.height = 6, .width = 5, .tile_h = 6, .tile_w = 5, .step = 2},
    };
    assert_int_equal(sdg_backend_create(NULL, "reference", &(struct sdg_backend_params){0}, &backend), SDG_OK);
    for (size_t i = 0; i < sizeof tilings / sizeof *tilings; i++) {
        struct sdg_tiling t = tilings[i];
        t.in_scale = 1, t.out_scale = 2, t.in_channels = t.out_channels = 3;
        struct sdg_graph *g;
        struct sdg_program *program;
        assert_int_equal(sdg_graph_create(NULL, &g), SDG_OK);
        sdg_value x = sdg_graph_input(g, "in", 1, t.tile_h, t.tile_w, 3);
        sdg_graph_output(g, "out", sdg_graph_upsample_nearest(g, "up", x, 2 * t.tile_h, 2 * t.tile_w));
        assert_int_equal(sdg_program_create(backend, g, &(struct sdg_program_params){0}, &program), SDG_OK);
        float in[13 * 20 * 3], out[4 * 13 * 20 * 3];
        for (int k = 0; k < t.height * t.width * 3; k++)
            in[k] = (float)((k * 37) % 101) - 50.0f;
        assert_int_equal(sdg_tiles_run(NULL, program, "in", "out", &t, in, out, NULL, NULL), SDG_OK);
        for (int y = 0; y < 2 * t.height; y++)
            for (int xx = 0; xx < 2 * t.width; xx++)
                for (int c = 0; c < 3; c++)
                    assert_true(fabsf(out[(y * 2 * t.width + xx) * 3 + c] - in[(y / 2 * t.width + xx / 2) * 3 + c]) <
                                1e-4f);
        sdg_program_destroy(&program);
        sdg_graph_destroy(&g);
    }
    sdg_backend_destroy(&backend);
}

static void tiled_decoding(void **state)
{
    (void)state;
    struct messages messages;
    struct sdg_generate_params g = quick();
    g.width = 192, g.height = 128, g.steps = 8;
    struct sdg_pipeline *p = open_pipeline("cpu", &messages, 2, "off");
    struct sdg_image *whole = draw(p, &g, NULL);
    sdg_pipeline_destroy(&p);
    struct sdg_pipeline_params params = {
        .model = MODEL, .backend = "cpu", .type = "f32", .threads = 2, .vae_tiling = "on", .vae_tile_size = 12};
    assert_int_equal(sdg_pipeline_create(&params, &p), SDG_OK);
    struct sdg_image *tiled = draw(p, &g, NULL);
    sdg_pipeline_destroy(&p);
    // Attention and norms see one tile instead of the picture, so colours shift a little; a seam or a misplaced tile
    // costs far more.
    double quality = psnr(whole, tiled);
    print_message("tiled against whole: %.1f dB\n", quality);
    assert_true(quality > 20);
    sdg_image_destroy(&whole);
    sdg_image_destroy(&tiled);
}

// ---- names ----

// The names that users write in scripts: what is here must not change. Position i is the i-th value of the enumeration.
static void names_match(void **state)
{
    (void)state;
    static const struct {
        enum sdg_names which;
        int (*find)(const char *name);
        const char *names;
    } lists[] = {
        {SDG_NAMES_SAMPLER, sdg_method_from_name,
         "euler, euler_a, heun, dpm2, dpm++2s_a, dpm++2m, dpm++2mv2, dpm++2m_sde, ddim, ddim_trailing, pndm, unipc, "
         "lms, lcm, tcd, "
         "ddpm"},
        {SDG_NAMES_SCHEDULE, sdg_schedule_from_name,
         "discrete, karras, exponential, sgm_uniform, simple, ays, beta, model"},
        {SDG_NAMES_RNG, sdg_rng_from_name, "cuda, cpu, std_default"},
    };
    for (size_t l = 0; l < sizeof lists / sizeof *lists; l++) {
        char joined[400];
        sdg_names_join(lists[l].which, joined, sizeof joined);
        assert_string_equal(joined, lists[l].names);
        const char *const *names = sdg_names(lists[l].which);
        for (int i = 0; names[i]; i++)
            assert_int_equal(lists[l].find(names[i]), i);
        assert_int_equal(lists[l].find("absent"), -1);
    }
    assert_int_equal(sdg_method_from_name("plms"), SDG_METHOD_PNDM);
    const char *const *features = sdg_names(SDG_NAMES_FEATURE);
    unsigned mask;
    for (int i = 0; features[i]; i++) {
        assert_int_equal(sdg_features_parse(NULL, features[i], &mask), SDG_OK);
        assert_int_equal(mask, 1u << i);
    }
    assert_int_equal(sdg_features_parse(NULL, "subgroup,f16", &mask), SDG_OK);
    assert_int_equal(mask, SDG_FEATURE_SUBGROUP | SDG_FEATURE_F16);
    assert_int_equal(sdg_features_parse(NULL, "onednn,bf16,dot,coopmat", &mask), SDG_OK);
    assert_int_equal(mask, SDG_FEATURE_ONEDNN | SDG_FEATURE_BF16 | SDG_FEATURE_DOT | SDG_FEATURE_COOPMAT);
    assert_int_equal(sdg_features_parse(NULL, NULL, &mask), SDG_OK);
    assert_int_equal(mask, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_match),
        cmocka_unit_test(build_info),
        cmocka_unit_test(infos),
        cmocka_unit_test(tiles_blend_to_one),
        cmocka_unit_test(same_bytes),
        cmocka_unit_test(batch_equals_single),
        cmocka_unit_test(keeping),
        cmocka_unit_test(defaults),
        cmocka_unit_test(cancelling),
        cmocka_unit_test(busy),
        cmocka_unit_test(cancelled_by_thread),
        cmocka_unit_test(null_arguments),
        cmocka_unit_test(own_sigmas),
        cmocka_unit_test(bad_parameters),
        cmocka_unit_test(bad_pipeline_parameters),
        cmocka_unit_test(other_factor),
        cmocka_unit_test(other_channels),
        cmocka_unit_test(memory_limits),
        cmocka_unit_test(failing_allocations),
        cmocka_unit_test(tiled_decoding),
        cmocka_unit_test(split_guidance),
        cmocka_unit_test(split_guidance_sdxl),
    };
    temp_make();
    int failed = cmocka_run_group_tests_name("pipeline", tests, NULL, NULL);
    temp_remove();
    return failed;
}
