// Pictures of prompts that change with the step and of composed ones: latents against diffusers
// (tests/goldens/prompts), the ways to run the branches against each other, what stays for the next picture, what a
// step allocates.
#include "base/decibel.h"
#include "base/file.h"
#include "base/memory.h"
#include "pipeline/pipeline.h"
#include "sdgen/sdgen.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MODEL SDG_SOURCE_DIR "/models/emoji-128"
#define GOLDENS SDG_SOURCE_DIR "/tests/goldens/prompts/latents.json"

enum { SIZE = 64, LATENT = 4 * (SIZE / 8) * (SIZE / 8) };

struct heard {
    char last[600];
    int warnings;
};

static void hear(void *user, enum sdg_log_level level, const char *message)
{
    struct heard *h = user;
    h->warnings += level == SDG_LOG_WARNING;
    snprintf(h->last, sizeof h->last, "%s", message);
}

static struct sdg_pipeline *open_pipeline(const char *model, const char *backend, struct heard *heard)
{
    struct sdg_pipeline *p = NULL;
    const struct sdg_pipeline_params params = {.model = model,
                                               .backend = backend,
                                               .type = "f32",
                                               .threads = 2,
                                               .keep = SDG_KEEP_NETWORKS,
                                               .cache_dir = "",
                                               .log = {hear, heard, SDG_LOG_WARNING}};
    const enum sdg_result result = sdg_pipeline_create(&params, &p);
    if (result == SDG_ERROR_DEVICE || result == SDG_ERROR_UNSUPPORTED)
        return NULL;
    if (result != SDG_OK)
        fail_msg("%s", heard->last);
    return p;
}

struct drawn {
    size_t count, allocations;
    float latent[LATENT];
};

static void see(void *user, int step, int steps, const float *latent, int c, int h, int w)
{
    struct drawn *d = user;
    const size_t allocations = sdg_test_fail_allocation(0);
    d->allocations += step > 1 && step < steps ? allocations : 0; // during the last one the decoder is prepared
    d->count = (size_t)(c * h * w);
    assert_true(d->count <= LATENT);
    memcpy(d->latent, latent, d->count * sizeof *latent);
}

static float noise[LATENT]; // of the formula in make.py

static struct sdg_generate_params small(const char *prompt, const char *negative, struct drawn *drawn)
{
    for (int i = 0; i < LATENT; i++)
        noise[i] = (float)(sqrt(2) * sin(0.37 * i * i + 0.5));
    return (struct sdg_generate_params){.prompt = prompt,
                                        .negative_prompt = negative,
                                        .width = SIZE,
                                        .height = SIZE,
                                        .steps = 3,
                                        .cfg_scale = sdg_number(5),
                                        .sampler = "euler",
                                        .schedule = "model",
                                        .noise = noise,
                                        .noise_count = LATENT,
                                        .latent = see,
                                        .latent_user = drawn};
}

static void draw(struct sdg_pipeline *p, const struct sdg_generate_params *g, const struct heard *heard)
{
    struct sdg_image *image = NULL;
    struct drawn *drawn = g->latent_user;
    *drawn = (struct drawn){0};
    if (sdg_generate(p, g, &image, NULL) != SDG_OK)
        fail_msg("%s", heard->last);
    assert_int_equal(drawn->allocations, 0);
    sdg_image_destroy(&image);
}

static double likeness(const float *a, const float *b, size_t count)
{
    double signal = 0, difference = 0;
    for (size_t i = 0; i < count; i++) {
        signal += (double)a[i] * (double)a[i];
        difference += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    }
    return sdg_decibel(signal, difference);
}

static cJSON *read_goldens(void)
{
    char *text;
    size_t size;
    assert_int_equal(sdg_input_read(NULL, GOLDENS, 1 << 20, &text, &size), SDG_OK);
    cJSON *cases = cJSON_Parse(text);
    sdg_free(text);
    assert_non_null(cases);
    return cases;
}

static const char *text_of(const cJSON *item, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(item, name)->valuestring;
}

// Every case at once and one branch at a time, on one backend.
static void check_goldens(const char *backend)
{
    struct heard heard = {0};
    struct sdg_pipeline *p = open_pipeline(MODEL, backend, &heard);
    if (!p) {
        print_message("skipped: %s\n", heard.last);
        return;
    }
    cJSON *cases = read_goldens(), *item;
    assert_true(cJSON_GetArraySize(cases) >= 3);
    cJSON_ArrayForEach(item, cases)
    {
        static struct drawn drawn;
        struct sdg_generate_params g = small(text_of(item, "prompt"), text_of(item, "negative"), &drawn);
        const cJSON *expected = cJSON_GetObjectItemCaseSensitive(item, "latent"), *number;
        float latent[LATENT];
        int i = 0;
        g.sampler = text_of(item, "sampler");
        draw(p, &g, &heard);
        assert_int_equal(cJSON_GetArraySize(expected), drawn.count);
        cJSON_ArrayForEach(number, expected) latent[i++] = (float)number->valuedouble;
        const double quality = likeness(latent, drawn.latent, drawn.count);
        print_message("%s, %s: %.1f dB\n", backend, g.prompt, quality);
        assert_true(quality > 70);
    }
    cJSON_Delete(cases);
    sdg_pipeline_destroy(&p);
}

static void goldens_cpu(void **state)
{
    (void)state;
    check_goldens("cpu");
}

static void goldens_vulkan(void **state)
{
    (void)state;
    check_goldens("vulkan");
}

// What equals a plain prompt is drawn as one, to the last bit, also after a prompt that changes has left its tables.
static void equal_prompts(void **state)
{
    (void)state;
    static const struct {
        const char *prompt, *equal;
    } pairs[] = {
        {"a [cat:dog:0]", "a dog"},
        {"a [cat:dog:3]", "a cat"},
        {"[a|a] cat", "a cat"},
    };
    struct heard heard = {0};
    struct sdg_pipeline *p = open_pipeline(MODEL, "cpu", &heard);
    static struct drawn one, other, changing;
    struct sdg_generate_params g = small("[cat|dog]", "", &changing);
    draw(p, &g, &heard);
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        g.prompt = pairs[i].prompt;
        g.latent_user = &one;
        draw(p, &g, &heard);
        g.prompt = pairs[i].equal;
        g.latent_user = &other;
        draw(p, &g, &heard);
        assert_memory_equal(one.latent, other.latent, one.count * sizeof(float));
        assert_true(likeness(one.latent, changing.latent, one.count) < 40);
        g.prompt = "[cat|dog]"; // again as before, whatever was drawn meanwhile
        draw(p, &g, &heard);
        assert_memory_equal(other.latent, changing.latent, other.count * sizeof(float));
    }
    sdg_pipeline_destroy(&p);
}

// Weights of parts: 0 leaves a part out, and equal parts share a weight.
static void weights_of_parts(void **state)
{
    (void)state;
    struct heard heard = {0};
    struct sdg_pipeline *p = open_pipeline(MODEL, "cpu", &heard);
    static struct drawn plain, composed;
    struct sdg_generate_params g = small("a cat", "bad", &plain);
    draw(p, &g, &heard);
    g.latent_user = &composed;
    g.prompt = "a cat AND a dog :0";
    draw(p, &g, &heard);
    assert_true(likeness(plain.latent, composed.latent, plain.count) > 100);
    g.prompt = "a cat :.5 AND a cat :0.5";
    draw(p, &g, &heard);
    assert_true(likeness(plain.latent, composed.latent, plain.count) > 100);
    // without guidance one part is its prompt alone; the negative prompt drops out of two that weigh 1 together
    g.cfg_scale = sdg_number(1);
    g.prompt = "a cat :.5 AND a cat :0.5";
    draw(p, &g, &heard);
    g.prompt = "a cat";
    g.latent_user = &plain;
    draw(p, &g, &heard);
    assert_true(likeness(plain.latent, composed.latent, plain.count) > 100);
    assert_int_equal(heard.warnings, 0);
    sdg_pipeline_destroy(&p);
}

// The plan counts what is kept of each text, and one branch at a time gives the same.
static double limit_of(struct sdg_pipeline *p, const struct sdg_generate_params *g, double least)
{
    struct sdg_generate_info info;
    struct sdg_image *image = NULL;
    p->engine->max_memory = least;
    const enum sdg_result result = sdg_generate(p, g, &image, &info);
    sdg_image_destroy(&image);
    return result == SDG_OK ? (double)info.peak_planned : 0;
}

static void short_memory(void **state)
{
    (void)state;
    struct heard heard = {0};
    struct sdg_pipeline *p = open_pipeline(MODEL, "cpu", &heard);
    static struct drawn whole, split;
    struct sdg_generate_params g = small("[cat|dog|tree] AND a [red:green:1] house", "[bad|poor]", &whole);
    const double plain = (g.prompt = "cat", limit_of(p, &g, 0)),
                 changing = (g.prompt = "[cat|dog|tree] AND a [red:green:1] house", limit_of(p, &g, 0));
    assert_true(plain > 0 && changing > plain);
    draw(p, &g, &heard);
    g.latent_user = &split;
    bool found = false;
    for (double limit = changing; limit > 0 && !found; limit -= 1 << 22) {
        struct sdg_image *image = NULL;
        p->engine->max_memory = limit;
        heard.last[0] = 0;
        p->log.level = SDG_LOG_INFO;
        if (sdg_generate(p, &g, &image, NULL) != SDG_OK)
            break;
        found = p->kept[SDG_NETWORK_UNET_STEP].shape.batch == 1 || strstr(heard.last, "one after the other");
        sdg_image_destroy(&image);
    }
    print_message("planned %.2f MiB, of a plain prompt %.2f; one branch at a time: %s\n", changing / (1 << 20),
                  plain / (1 << 20), found ? "found" : "no room between");
    if (found)
        assert_true(likeness(whole.latent, split.latent, whole.count) > 80);
    sdg_pipeline_destroy(&p);
}

// SDXL has a part of the prompt in its time tables.
static void sdxl(void **state)
{
    (void)state;
    static const char model[] = SDG_SHARED_DIR "/goldens/pipelines/sdxl-tiny";
    if (sdg_path_kind(model) != SDG_PATH_FOLDER) {
        print_message("skipped: there is no %s\n", model);
        return;
    }
    struct heard heard = {0};
    struct sdg_pipeline *p = open_pipeline(model, "cpu", &heard);
    static struct drawn first, second, changing;
    struct sdg_generate_params g = small("a cat", NULL, &first);
    struct sdg_pipeline_info info;
    sdg_pipeline_info(p, &info);
    g.width = g.height = 8 * info.factor; // as many latent pixels as the noise has
    g.steps = 1;
    draw(p, &g, &heard);
    g.prompt = "a dog";
    g.latent_user = &second;
    draw(p, &g, &heard);
    g.prompt = "[a cat|a dog]"; // the first step is a cat's, to the last bit
    g.latent_user = &changing;
    draw(p, &g, &heard);
    assert_memory_equal(first.latent, changing.latent, first.count * sizeof(float));
    g.prompt = "a cat:0 AND a dog"; // runs of one call that differ in their tables
    draw(p, &g, &heard);
    assert_true(likeness(second.latent, changing.latent, second.count) > 100);
    assert_true(likeness(first.latent, changing.latent, first.count) < 60);
    sdg_pipeline_destroy(&p);
}

static void refused(void **state)
{
    (void)state;
    struct heard heard = {0};
    struct sdg_pipeline *p = open_pipeline(MODEL, "cpu", &heard);
    static struct drawn drawn;
    struct sdg_image *image;
    struct sdg_generate_params g = small("a <LoRA:x:1> cat", "", &drawn);
    p->log.level = SDG_LOG_WARNING;
    assert_int_equal(sdg_generate(p, &g, &image, NULL), SDG_ERROR_UNSUPPORTED);
    assert_non_null(strstr(heard.last, "<LoRA:x:1>"));
    g.prompt = "caf\xe9";
    assert_int_equal(sdg_generate(p, &g, &image, NULL), SDG_ERROR_USAGE);
    assert_non_null(strstr(heard.last, "UTF-8"));
    g.prompt = "cat";
    g.negative_prompt = "<hypernet:y:1>";
    assert_int_equal(sdg_generate(p, &g, &image, NULL), SDG_ERROR_UNSUPPORTED);
    g.negative_prompt = "";
    g.prompt = "a (cat:1,2)";
    draw(p, &g, &heard);
    assert_int_equal(heard.warnings, 1);
    draw(p, &g, &heard); // the next picture of a batch does not repeat it
    assert_int_equal(heard.warnings, 1);
    sdg_pipeline_destroy(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goldens_cpu),      cmocka_unit_test(goldens_vulkan), cmocka_unit_test(equal_prompts),
        cmocka_unit_test(weights_of_parts), cmocka_unit_test(short_memory),   cmocka_unit_test(sdxl),
        cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
