// Calibration on the default model: shards merge to the bytes of one run, also when interrupted and resumed; what does
// not belong together is refused.
#include "sdgen/calibrate.h"

#include "formats/stored.h"
#include "quant/layer_hessians.h"
#include "tests/temp.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const prompts[] = {"a red apple, 3d", "a cat face, flat", "blue heart", "rocket, noto style"};
enum { PROMPTS = 4 };

struct messages {
    int errors;
    char last[600];
};

static void collect_message(void *user, enum sdg_log_level level, const char *message)
{
    struct messages *m = user;
    if (level == SDG_LOG_ERROR) {
        m->errors++;
        snprintf(m->last, sizeof m->last, "%s", message);
    }
}

static const char *smooth; // statistics to smooth by; NULL: none

static enum sdg_result run_both(const char *output, const char *hessians, int shard, int shards, bool resume, int steps,
                                sdg_progress_fn progress, void *user, struct messages *messages)
{
    struct sdg_pipeline *p;
    *messages = (struct messages){0};
    struct sdg_pipeline_params params = {.model = SDG_SOURCE_DIR "/models/emoji-128",
                                         .backend = "cpu",
                                         .type = "f32",
                                         .threads = 2,
                                         .log = {.fn = collect_message, .user = messages},
                                         .cache_dir = ""};
    assert_int_equal(sdg_pipeline_create(&params, &p), SDG_OK);
    struct sdg_collect_params collect = {
        .prompts = prompts,
        .prompt_count = PROMPTS,
        .shard = shard,
        .shards = shards,
        .output = output,
        .hessians = hessians,
        .tokens = "attn1\\.to_q$",
        .relative = smooth != NULL,
        .smooth = smooth,
        .resume = resume,
        .generate = {.steps = steps, .width = 64, .height = 64, .seed = 5, .progress = progress, .progress_user = user},
    };
    enum sdg_result result = sdg_collect(p, &collect);
    sdg_pipeline_destroy(&p);
    return result;
}

static enum sdg_result run(const char *output, int shard, int shards, bool resume, int steps, sdg_progress_fn progress,
                           void *user, struct messages *messages)
{
    return run_both(output, NULL, shard, shards, resume, steps, progress, user, messages);
}

static void assert_same_file(const char *a, const char *b)
{
    FILE *x = fopen(a, "rb"), *y = fopen(b, "rb");
    assert_true(x && y);
    static char left[1 << 16], right[1 << 16];
    size_t n, total = 0;
    do {
        n = fread(left, 1, sizeof left, x);
        assert_int_equal(fread(right, 1, sizeof right, y), n);
        assert_memory_equal(left, right, n);
        total += n;
    } while (n);
    assert_true(total > 100000); // 92 sites with histograms
    fclose(x);
    fclose(y);
}

static char *path_of(const char *name) // the caller frees
{
    char *copy = strdup(temp_path(name));
    assert_non_null(copy);
    return copy;
}

static bool stop_after_two(void *user, const struct sdg_progress *progress)
{
    int *done = user;
    if (!strcmp(progress->stage, "sample") && progress->step == progress->steps)
        (*done)++;
    return *done < 3; // stops at the last step of the third prompt, before it counts
}

static void shards_and_resume(void **state)
{
    (void)state;
    struct messages m;
    char *all = path_of("all.safetensors"), *one = path_of("1.safetensors"), *two = path_of("2.safetensors"),
         *sum = path_of("sum.safetensors"), *torn = path_of("torn.safetensors");
    assert_int_equal(run(all, 0, 0, false, 3, NULL, NULL, &m), SDG_OK);
    assert_int_equal(run(one, 1, 2, false, 3, NULL, NULL, &m), SDG_OK);
    assert_int_equal(run(two, 2, 2, false, 3, NULL, NULL, &m), SDG_OK);
    const char *const parts[] = {two, one};
    assert_int_equal(sdg_collect_merge(&(struct sdg_log){.fn = collect_message, .user = &m}, parts, 2, sum), SDG_OK);
    assert_same_file(all, sum);

    int done = 0;
    assert_int_equal(run(torn, 0, 0, false, 3, stop_after_two, &done, &m), SDG_ERROR_CANCELLED);
    assert_int_equal(run(torn, 0, 0, false, 3, NULL, NULL, &m), SDG_ERROR_OUTPUT); // not without resume
    assert_int_equal(m.errors, 1);
    smooth = all;
    assert_int_equal(run(torn, 0, 0, true, 3, NULL, NULL, &m), SDG_ERROR_INPUT); // nor with other options
    assert_non_null(strstr(m.last, "is weighed in one of them"));
    smooth = NULL;
    assert_int_equal(run(torn, 0, 0, true, 3, NULL, NULL, &m), SDG_OK);
    assert_same_file(all, torn);
    free(all), free(one), free(two), free(sum), free(torn);
}

static void empty_shard_merges(void **state)
{
    (void)state;
    struct messages m;
    char *all = path_of("all.safetensors"), *none = path_of("none.safetensors"), *sum = path_of("sum5.safetensors");
    assert_int_equal(run(none, 5, 5, false, 3, NULL, NULL, &m), SDG_OK); // prompts 5, 10, ..: there is none
    const char *const parts[] = {none, all};
    assert_int_equal(sdg_collect_merge(&(struct sdg_log){.fn = collect_message, .user = &m}, parts, 2, sum), SDG_OK);
    assert_same_file(all, sum);
    free(all), free(none), free(sum);
}

// The largest magnitude of each column over the matrices that read the site.
static void add_columns(const struct sdg_tensors *unet, const char *name, size_t channels, float *wmax)
{
    const struct sdg_tensor *t = sdg_tensors_find(unet, name);
    assert_non_null(t);
    const struct sdg_stored stored = sdg_stored_numbers(t);
    float *row = malloc(channels * sizeof *row);
    assert_int_equal(stored.inputs, channels);
    for (size_t o = 0; o < stored.outputs; o++) {
        sdg_stored_expand(&stored, o * channels, channels, SDG_F32, row);
        for (size_t k = 0; k < channels; k++)
            wmax[k] = fmaxf(wmax[k], fabsf(row[k]));
    }
    free(row);
}

// Sites that keep tokens are smoothed by the formula, and what is recorded is of the products: the largest magnitude of
// a channel is that without smoothing times the factor, to the bit. Their values are weighed where that is asked for.
static void smoothing(void **state)
{
    (void)state;
    struct messages m;
    struct sdg_statistics *plain, *smoothed;
    struct sdg_tensors *unet;
    char *all = path_of("all.safetensors"), *out = path_of("smooth.safetensors");
    smooth = all;
    assert_int_equal(run(out, 0, 0, false, 3, NULL, NULL, &m), SDG_OK);
    smooth = out; // smoothed already
    char *again = path_of("again.safetensors");
    assert_int_equal(run(again, 0, 0, false, 3, NULL, NULL, &m), SDG_ERROR_INPUT);
    assert_non_null(strstr(m.last, "not smoothed"));
    smooth = NULL;
    assert_int_equal(sdg_statistics_read(NULL, all, &plain), SDG_OK);
    assert_int_equal(sdg_statistics_read(NULL, out, &smoothed), SDG_OK);
    assert_int_equal(
        sdg_tensors_open(NULL, SDG_SOURCE_DIR "/models/emoji-128/unet/diffusion_pytorch_model.safetensors", &unet),
        SDG_OK);
    size_t sites = 0;
    for (size_t i = 0; i < plain->site_count; i++) {
        const struct sdg_site_statistics *a = &plain->sites[i], *b = &smoothed->sites[i];
        assert_string_equal(a->name, b->name);
        assert_true(!b->smoothing == !a->tokens && a->height == b->height && !a->smoothing);
        assert_true(!b->weights == !a->tokens && !a->weights);
        if (!b->smoothing)
            continue;
        float *amax = calloc(2 * a->channels, sizeof *amax), *wmax = amax + a->channels;
        for (size_t r = 0; r < plain->info.rows; r++)
            for (size_t k = 0; k < a->channels; k++) {
                amax[k] = fmaxf(amax[k], a->largest[r * a->channels + k]);
                assert_true(b->largest[r * a->channels + k] == a->largest[r * a->channels + k] * b->smoothing[k]);
            }
        for (int which = 0; which < 3; which++) { // to_q, to_k, to_v read it
            char name[300];
            snprintf(name, sizeof name, "%.*s%c.weight", (int)strlen(a->name) - 1, a->name, "qkv"[which]);
            add_columns(unet, name, a->channels, wmax);
        }
        for (size_t k = 0; k < a->channels; k++) {
            const double sigma = sqrt(fmax((double)amax[k], 1e-3)) / sqrt(fmax((double)wmax[k], 1e-5));
            assert_true(fabs((double)b->smoothing[k] * fmax(sigma, 1e-5) - 1) < 1e-6);
        }
        free(amax);
        sites++;
    }
    assert_true(sites > 3);
    sdg_tensors_destroy(&unet);
    sdg_statistics_destroy(&plain);
    sdg_statistics_destroy(&smoothed);
    free(all), free(out), free(again);
}

static void different_runs_do_not_merge(void **state)
{
    (void)state;
    struct messages m;
    char *one = path_of("1.safetensors"), *other = path_of("other.safetensors"), *sum = path_of("sum-bad.safetensors");
    assert_int_equal(run(other, 2, 2, false, 2, NULL, NULL, &m), SDG_OK); // two steps instead of three
    const char *const parts[] = {one, other}, *const twice[] = {one, one};
    m = (struct messages){0};
    assert_int_equal(sdg_collect_merge(&(struct sdg_log){.fn = collect_message, .user = &m}, parts, 2, sum),
                     SDG_ERROR_INPUT);
    assert_int_equal(m.errors, 1);
    // its prompts would count twice
    assert_int_equal(sdg_collect_merge(&(struct sdg_log){.fn = collect_message, .user = &m}, twice, 2, sum),
                     SDG_ERROR_INPUT);
    assert_int_not_equal(access(sum, F_OK), 0);
    free(one), free(other), free(sum);
}

static void wrong_shards_are_refused(void **state)
{
    (void)state;
    struct messages m;
    char *path = path_of("never.safetensors");
    static const int bad[][2] = {{0, 3}, {4, 3}, {-1, 3}, {1, -1}};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(run(path, bad[i][0], bad[i][1], false, 3, NULL, NULL, &m), SDG_ERROR_USAGE);
        assert_int_equal(m.errors, 1);
    }
    assert_int_not_equal(access(path, F_OK), 0);
    free(path);
}

// Files of Hessians do what statistics do. The inputs of a site's first layer, taps of its kernel included, are 64 to
// 3456, so all have one.
static void hessians(void **state)
{
    (void)state;
    struct messages m;
    struct sdg_hessians *h;
    char *all = path_of("h-all.safetensors"), *one = path_of("h-1.safetensors"), *two = path_of("h-2.safetensors"),
         *sum = path_of("h-sum.safetensors"), *torn = path_of("h-torn.safetensors");
    char *statistics = path_of("h-stats.safetensors"), *other = path_of("h-stats-other.safetensors"),
         *plain = path_of("all.safetensors");
    assert_int_equal(run_both(statistics, all, 0, 0, false, 3, NULL, NULL, &m), SDG_OK);
    assert_same_file(statistics, plain); // a second file does not change the first
    assert_int_equal(run_both(temp_path("h-stats-1.safetensors"), one, 1, 2, false, 3, NULL, NULL, &m), SDG_OK);
    assert_int_equal(run_both(temp_path("h-stats-2.safetensors"), two, 2, 2, false, 3, NULL, NULL, &m), SDG_OK);
    const char *const parts[] = {two, one}, *const mixed[] = {one, plain}, *const twice[] = {one, one};
    assert_int_equal(sdg_collect_merge(&(struct sdg_log){.fn = collect_message, .user = &m}, parts, 2, sum), SDG_OK);
    assert_same_file(all, sum);

    // The statistics are complete, the Hessians have still to be made; then the other way round.
    assert_int_equal(run_both(statistics, torn, 0, 0, true, 3, NULL, NULL, &m), SDG_OK);
    assert_same_file(all, torn);
    assert_same_file(statistics, plain);
    int done = 0;
    assert_int_equal(run_both(other, torn, 0, 0, true, 3, stop_after_two, &done, &m), SDG_ERROR_CANCELLED);
    assert_int_equal(run_both(other, torn, 0, 0, false, 3, NULL, NULL, &m), SDG_ERROR_OUTPUT);
    assert_int_equal(run_both(other, torn, 0, 0, true, 3, NULL, NULL, &m), SDG_OK);
    assert_same_file(all, torn);
    assert_same_file(other, plain);

    m = (struct messages){0};
    assert_int_equal(sdg_collect_merge(&(struct sdg_log){.fn = collect_message, .user = &m}, mixed, 2,
                                       temp_path("h-bad.safetensors")),
                     SDG_ERROR_INPUT);
    assert_int_equal(sdg_collect_merge(&(struct sdg_log){.fn = collect_message, .user = &m}, twice, 2,
                                       temp_path("h-bad.safetensors")),
                     SDG_ERROR_INPUT);
    assert_int_equal(m.errors, 2);
    assert_int_equal(sdg_hessians_read(NULL, all, &h), SDG_OK);
    assert_int_equal(h->count, 92);
    // every row of the maps that have no more, 64 of the others, in each of 3 steps of 4 prompts
    for (size_t i = 0; i < h->count; i++) {
        const struct sdg_layer_hessian *l = &h->layers[i];
        assert_in_range(l->hessian.inputs, 64, 3456);
        assert_int_equal(l->hessian.inputs, l->channels * l->kernel_h * l->kernel_w);
        assert_true(l->hessian.samples >= 12 * 8 && l->hessian.samples <= 12 * 64 &&
                    sdg_hessian_at(&l->hessian, 0, 0) > 0);
    }
    sdg_hessians_destroy(&h);
    free(all), free(one), free(two), free(sum), free(torn), free(statistics), free(other), free(plain);
}

struct seen {
    size_t sites, silu;
    struct sdg_collected_info info;
};

static void see_info(void *user, const struct sdg_collected_info *info)
{
    ((struct seen *)user)->info = *info;
}

static void see_site(void *user, const struct sdg_collected_site *site)
{
    struct seen *s = user;
    s->sites++;
    s->silu += !strcmp(site->kind, "silu");
    assert_true(site->correlation >= -1 && site->correlation <= 1);
    for (size_t r = 0; r < site->rows; r++) {
        assert_true(site->min[r] <= site->max[r]);
        assert_true(strcmp(site->kind, "silu") || site->min[r] >= -0.27847f); // the least value of x sigmoid(x)
    }
}

static void showing(void **state)
{
    (void)state;
    struct messages m = {0};
    struct seen seen = {0};
    char *all = path_of("all.safetensors");
    assert_int_equal(
        sdg_collect_show(&(struct sdg_log){.fn = collect_message, .user = &m}, all, NULL, see_info, see_site, &seen),
        SDG_OK);
    assert_int_equal(seen.sites, seen.info.sites);
    assert_int_equal(seen.silu, 22);
    assert_int_equal(seen.info.rows, 3);
    assert_int_equal(seen.info.prompts_done, PROMPTS);
    assert_int_equal(sdg_collect_show(&(struct sdg_log){.fn = collect_message, .user = &m}, all, "no.such.site",
                                      see_info, see_site, &seen),
                     SDG_ERROR_USAGE);
    assert_int_equal(m.errors, 1);
    free(all);
}

// What belongs to a single picture is refused, not ignored, and so is what would change nothing.
static void what_has_no_effect_is_refused(void **state)
{
    (void)state;
    static const float noise[1];
    static const double sigmas[] = {2, 1};
    struct sdg_image *image;
    assert_int_equal(sdg_image_create(64, 64, &image), SDG_OK);
    const struct {
        const char *word;
        struct sdg_collect_params collect;
    } cases[] = {
        {"generate.prompt", {.generate = {.prompt = "a"}}},
        {"generate.sigmas", {.generate = {.sigmas = sigmas, .sigma_count = 2}}},
        {"generate.init_image", {.generate = {.init_image = image}}},
        {"generate.strength", {.generate = {.strength = {true, 0.5}}}},
        {"generate.mask", {.generate = {.mask = image->pixels}}},
        {"generate.noise", {.generate = {.noise = noise}}},
        {"generate.noise", {.generate = {.noise_count = 1}}},
        {"generate.image", {.generate = {.image = 1}}},
        {"generate.images", {.generate = {.images = 2}}},
        {"with tokens: 'conv1$' matches none", {.tokens = "conv1$"}},
        {"smoothing with an exponent needs", {.smooth_alpha = {true, 0.5}}},
        {"smoothing for a scheme needs", {.smooth_scheme = "w8a8"}},
    };
    struct messages m = {0};
    struct sdg_pipeline *p;
    const struct sdg_pipeline_params params = {
        .model = SDG_SOURCE_DIR "/models/emoji-128", .backend = "cpu", .log = {.fn = collect_message, .user = &m}};
    assert_int_equal(sdg_pipeline_create(&params, &p), SDG_OK);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sdg_collect_params collect = cases[i].collect;
        collect.prompts = prompts;
        collect.prompt_count = PROMPTS;
        collect.output = temp_path("single.safetensors");
        m.errors = 0;
        assert_int_equal(sdg_collect(p, &collect), SDG_ERROR_USAGE);
        if (m.errors != 1 || !strstr(m.last, cases[i].word))
            fail_msg("'%s' should have '%s'", m.last, cases[i].word);
    }
    sdg_pipeline_destroy(&p);
    sdg_image_destroy(&image);
}

int main(void)
{
    temp_make();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shards_and_resume),
        cmocka_unit_test(empty_shard_merges),
        cmocka_unit_test(smoothing),
        cmocka_unit_test(different_runs_do_not_merge),
        cmocka_unit_test(wrong_shards_are_refused),
        cmocka_unit_test(what_has_no_effect_is_refused),
        cmocka_unit_test(showing),
        cmocka_unit_test(hessians),
    };
    int failed = cmocka_run_group_tests_name("calibrate", tests, NULL, NULL);
    temp_remove();
    return failed;
}
