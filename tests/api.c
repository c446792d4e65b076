// What programs embed: pictures in their own memory, several at once, previews, texts of errors, names, prompts,
// embeddings, and the autoencoder alone.
#include "base/file.h"
#include "base/memory.h"
#include "sdgen/array.h"
#include "sdgen/parts.h"
#include "sdgen/picture.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MODEL SDG_SOURCE_DIR "/models/emoji-128"
#define GOLDENS SDG_SHARED_DIR "/goldens"

enum { SIDE = 64, PIXELS = SIDE * SIDE };

static bool missing(const char *path)
{
    if (sdg_path_kind(path) == SDG_PATH_FOLDER)
        return false;
    print_message("skipped: there is no %s\n", path);
    return true;
}

static struct sdg_pipeline *open_model(const char *model, const char *tiling)
{
    struct sdg_pipeline *p = NULL;
    char error[300];
    const struct sdg_pipeline_params params = {.model = model,
                                               .backend = "cpu",
                                               .type = "f32",
                                               .threads = 2,
                                               .keep = SDG_KEEP_NETWORKS,
                                               .vae_tiling = tiling,
                                               .cache_dir = "",
                                               .error = error,
                                               .error_size = sizeof error};
    if (sdg_pipeline_create(&params, &p) != SDG_OK)
        fail_msg("%s: %s", model, error);
    assert_string_equal(error, "");
    return p;
}

static struct sdg_generate_params quick(void)
{
    return (struct sdg_generate_params){.prompt = "pizza, flat", .steps = 3, .seed = 7, .width = SIDE, .height = SIDE};
}

static void expect_ok(const struct sdg_pipeline *p, enum sdg_result result)
{
    if (result != SDG_OK)
        fail_msg("%s: %s", sdg_result_name(result), sdg_pipeline_error(p));
    assert_string_equal(sdg_pipeline_error(p), "");
}

static void expect_error(const struct sdg_pipeline *p, enum sdg_result result, enum sdg_result want, const char *text)
{
    if (result != want || !strstr(sdg_pipeline_error(p), text))
        fail_msg("%s, '%s', should be %s with '%s'", sdg_result_name(result), sdg_pipeline_error(p),
                 sdg_result_name(want), text);
}

static struct sdg_pixels pixels_in(enum sdg_pixel_format format, void *data, size_t stride, size_t size)
{
    return (struct sdg_pixels){
        .format = format, .width = SIDE, .height = SIDE, .data = data, .stride = stride, .size = size};
}

static struct sdg_image *draw(struct sdg_pipeline *p, const struct sdg_generate_params *g)
{
    struct sdg_image *image = NULL;
    expect_ok(p, sdg_generate(p, g, &image, NULL));
    return image;
}

static void draw_into(struct sdg_pipeline *p, const struct sdg_generate_params *g, const struct sdg_pixels *pixels)
{
    expect_ok(p, sdg_generate_into(p, g, pixels, 1, NULL));
}

// ---- pixels ----

// All formats against the picture of sdg_generate, with rows apart; what lies between rows is not touched.
static void formats(void **state)
{
    enum { GAP = 20, MARK = 0xa5 };
    (void)state;
    struct sdg_pipeline *p = open_model(MODEL, NULL);
    const struct sdg_generate_params g = quick();
    struct sdg_image *want = draw(p, &g);
    static const struct {
        enum sdg_pixel_format format;
        size_t bytes;
        int order[3]; // of R G B
    } cases[] = {{SDG_PIXELS_RGB8, 3, {0, 1, 2}}, {SDG_PIXELS_RGBA8, 4, {0, 1, 2}}, {SDG_PIXELS_BGRA8, 4, {2, 1, 0}}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const size_t row = SIDE * cases[i].bytes, stride = row + GAP, size = stride * (SIDE - 1) + row;
        uint8_t *data = malloc(size);
        assert_int_equal(sdg_pixel_bytes(cases[i].format), cases[i].bytes);
        memset(data, MARK, size);
        const struct sdg_pixels pixels = pixels_in(cases[i].format, data, stride, size);
        draw_into(p, &g, &pixels);
        for (size_t y = 0; y < SIDE; y++) {
            for (size_t x = 0; x < SIDE; x++) {
                const uint8_t *pixel = data + y * stride + x * cases[i].bytes;
                for (size_t k = 0; k < 3; k++)
                    assert_int_equal(pixel[cases[i].order[k]], want->pixels[(y * SIDE + x) * 3 + k]);
                assert_true(cases[i].bytes == 3 || pixel[3] == 255);
            }
            for (size_t x = row; x < stride && y + 1 < SIDE; x++)
                assert_int_equal(data[y * stride + x], MARK);
        }
        free(data);
    }
    const uint32_t argb = 0xff010203; // as the comment has it
    if (*(const uint8_t *)&argb == 3)
        assert_true(((const uint8_t *)&argb)[3] == 255 && ((const uint8_t *)&argb)[2] == 1);
    sdg_image_destroy(&want);
    sdg_pipeline_destroy(&p);
}

static void floats(void **state)
{
    enum { STRIDE = SIDE * 3 + 5 };
    (void)state;
    struct sdg_pipeline *p = open_model(MODEL, NULL);
    const struct sdg_generate_params g = quick();
    struct sdg_image *want = draw(p, &g);
    float *data = calloc(STRIDE * SIDE, sizeof *data);
    double most = 0;
    size_t between = 0; // levels of eight bits
    const struct sdg_pixels pixels =
        pixels_in(SDG_PIXELS_RGB_F32, data, STRIDE * sizeof *data, STRIDE * SIDE * sizeof *data);
    draw_into(p, &g, &pixels);
    for (size_t i = 0; i < (size_t)PIXELS * 3; i++) {
        const float got = data[i / (SIDE * 3) * STRIDE + i % (SIDE * 3)];
        assert_true(got >= 0 && got <= 1);
        most = fmax(most, fabs((double)got * 255 - want->pixels[i]));
        between += fabs((double)got * 255 - want->pixels[i]) > 0.01;
    }
    print_message("floats are up to %.4f levels from bytes, %zu of %d lie between\n", most, between, PIXELS * 3);
    assert_true(most <= 0.5001);
    assert_true(between > PIXELS / 2); // they are not made of bytes
    free(data);
    sdg_image_destroy(&want);
    sdg_pipeline_destroy(&p);
}

static void bad_pixels(void **state)
{
    static uint8_t data[PIXELS * 12 + 8];
    const struct {
        const char *says;
        struct sdg_pixels pixels;
    } cases[] = {
        {"data is NULL", pixels_in(SDG_PIXELS_RGB8, NULL, 0, PIXELS * 3)},
        {"stride is 191 bytes", pixels_in(SDG_PIXELS_RGB8, data, SIDE * 3 - 1, sizeof data)},
        {"size is 12287 bytes", pixels_in(SDG_PIXELS_RGB8, data, 0, PIXELS * 3 - 1)},
        {"size is 12911 bytes", pixels_in(SDG_PIXELS_RGB8, data, 202, 202 * 63 + 185)},
        {"size is 100 bytes", pixels_in(SDG_PIXELS_RGB8, data, SIZE_MAX / 2, 100)},
        {"size is 49160 bytes", pixels_in(SDG_PIXELS_RGB8, data, SIZE_MAX / 2, sizeof data)},
        {"no value of enum sdg_pixel_format", pixels_in((enum sdg_pixel_format)9, data, 0, sizeof data)},
        {"no value of enum sdg_pixel_format", pixels_in((enum sdg_pixel_format) - 1, data, 0, sizeof data)},
        {"multiples of 4 bytes", pixels_in(SDG_PIXELS_RGB_F32, data, SIDE * 12 + 2, sizeof data * 2)},
        {"32x64 pixels, the picture has 64x64", {SDG_PIXELS_RGB8, 32, 64, data, 0, sizeof data}},
        {"64x-1 pixels", {SDG_PIXELS_RGB8, 64, -1, data, 0, sizeof data}},
    };
    (void)state;
    struct sdg_pipeline *p = open_model(MODEL, NULL);
    const struct sdg_generate_params g = quick();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_error(p, sdg_generate_into(p, &g, &cases[i].pixels, 1, NULL), SDG_ERROR_USAGE, cases[i].says);
    const struct sdg_pixels good = pixels_in(SDG_PIXELS_RGB8, data, 0, PIXELS * 3), both[2] = {good, cases[2].pixels};
    expect_error(p, sdg_generate_into(p, &g, both, 2, NULL), SDG_ERROR_USAGE, "pixels[1]");
    expect_error(p, sdg_generate_into(p, &g, NULL, 1, NULL), SDG_ERROR_USAGE, "'pixels' is NULL");
    expect_error(p, sdg_generate_into(p, &g, &good, 0, NULL), SDG_ERROR_USAGE, "count of pictures is 0");
    expect_error(p, sdg_generate_into(p, NULL, &good, 1, NULL), SDG_ERROR_USAGE, "'params' is NULL");
    expect_error(p, sdg_generate(p, &g, NULL, NULL), SDG_ERROR_USAGE, "'out' is NULL");
    assert_int_equal(sdg_generate_into(NULL, &g, &good, 1, NULL), SDG_ERROR_USAGE);
    sdg_pipeline_destroy(&p);
}

// ---- several at once ----

// Each of `count` pictures, `batch` at once, against the one that is drawn alone.
static void compare_batches(const char *model, const struct sdg_generate_params *g, int count, int batch, bool equal)
{
    struct sdg_pipeline *p = open_model(model, NULL);
    struct sdg_generate_info infos[8];
    struct sdg_pixels pixels[8];
    struct sdg_generate_params many = *g;
    double worst = 0;
    for (int i = 0; i < count; i++)
        pixels[i] = pixels_in(SDG_PIXELS_RGB8, calloc(PIXELS, 3), 0, PIXELS * 3);
    many.batch = batch;
    expect_ok(p, sdg_generate_into(p, &many, pixels, (size_t)count, infos));
    for (int i = 0; i < count; i++) {
        struct sdg_generate_params one = *g;
        one.seed += (uint64_t)i;
        struct sdg_image *want = draw(p, &one);
        const uint8_t *got = pixels[i].data;
        double error = 0;
        for (size_t k = 0; k < (size_t)PIXELS * 3; k++)
            error += ((double)got[k] - want->pixels[k]) * ((double)got[k] - want->pixels[k]);
        worst = fmax(worst, error / (PIXELS * 3));
        assert_true(i == 0 || memcmp(got, pixels[0].data, PIXELS * 3)); // they do differ
        assert_int_equal(infos[i].seed, one.seed);
        assert_int_equal(infos[i].width, SIDE);
        sdg_image_destroy(&want);
    }
    print_message("%s: %d pictures, %d at once: mean square error of levels %.6f\n", strrchr(model, '/') + 1, count,
                  batch, worst);
    assert_true(equal ? worst == 0 : worst < 255.0 * 255.0 / 1e6); // 60 dB
    for (int i = 0; i < count; i++)
        free(pixels[i].data);
    sdg_pipeline_destroy(&p);
}

static void batches(void **state)
{
    (void)state;
    struct sdg_generate_params g = quick();
    compare_batches(MODEL, &g, 5, 2, false); // two, two and one
    compare_batches(MODEL, &g, 3, 0, false);
    compare_batches(SDG_SOURCE_DIR "/models/emoji-128-w8a8-tdq", &g, 2, 2, false);
    g.cfg_scale = sdg_number(1);
    compare_batches(MODEL, &g, 3, 3, false);
    g.cfg_scale = sdg_number(5);
    g.prompt = "a [cat|dog] AND a hat :0.5"; // three branches, groups that change
    g.sampler = "dpm++2m";                   // with a history
    compare_batches(MODEL, &g, 3, 3, false);
}

static void batches_of_other_models(void **state)
{
    (void)state;
    if (missing(GOLDENS "/pipelines/sdxl-tiny"))
        return;
    struct sdg_generate_params g = quick();
    compare_batches(GOLDENS "/pipelines/sdxl-tiny", &g, 3, 3, false);
    struct sdg_image *init = NULL;
    static uint8_t mask[PIXELS];
    memset(mask, 255, PIXELS / 2);
    assert_int_equal(sdg_image_create(SIDE, SIDE, &init), SDG_OK);
    for (size_t i = 0; i < (size_t)PIXELS * 3; i++)
        init->pixels[i] = (uint8_t)(i * 7);
    g.init_image = init;
    compare_batches(GOLDENS "/pipelines/sd15-tiny", &g, 2, 2, false);
    g.mask = mask;
    g.mask_count = PIXELS;
    compare_batches(GOLDENS "/pipelines/sd15-tiny", &g, 2, 2, false);
    compare_batches(GOLDENS "/pipelines/inpaint-tiny", &g, 2, 2, false);
    sdg_image_destroy(&init);
}

// ---- previews ----

struct seen {
    int previews, last_step, steps;
    enum sdg_preview_kind kind;
    uint8_t pixels[PIXELS * 4]; // of the preview after step 2
    float latent[4 * PIXELS];
    int c, h, w;
};

static void see_preview(void *user, const struct sdg_preview_picture *preview)
{
    struct seen *s = user;
    assert_int_equal(preview->pixels.width, SIDE);
    assert_int_equal(preview->pixels.stride, SIDE * 4);
    assert_int_equal(preview->pixels.size, PIXELS * 4);
    s->previews++;
    s->last_step = preview->step;
    s->steps = preview->steps;
    s->kind = preview->kind;
    if (preview->step == 2)
        memcpy(s->pixels, preview->pixels.data, preview->pixels.size);
}

static void see_latent(void *user, int step, int steps, const float *latent, int c, int h, int w)
{
    struct seen *s = user;
    (void)steps;
    if (step != 2)
        return;
    memcpy(s->latent, latent, (size_t)(c * h * w) * sizeof *latent);
    s->c = c;
    s->h = h;
    s->w = w;
}

static struct seen *draw_seen(struct sdg_pipeline *p, enum sdg_preview_kind kind, int interval)
{
    struct seen *s = calloc(1, sizeof *s);
    struct sdg_generate_params g = quick();
    g.steps = 5;
    g.latent = see_latent;
    g.latent_user = s;
    g.preview = (struct sdg_preview_request){kind, interval, SDG_PIXELS_BGRA8, see_preview, s};
    struct sdg_image *image = draw(p, &g);
    g.preview = (struct sdg_preview_request){0};
    struct sdg_image *plain = draw(p, &g);
    assert_memory_equal(image->pixels, plain->pixels, PIXELS * 3); // they change nothing
    sdg_image_destroy(&image);
    sdg_image_destroy(&plain);
    return s;
}

static void same_colours(const uint8_t *bgra, const uint8_t *rgb)
{
    for (size_t i = 0; i < PIXELS; i++)
        for (size_t k = 0; k < 3; k++)
            assert_int_equal(bgra[4 * i + 2 - k], rgb[3 * i + k]);
}

static void projections(void **state)
{
    (void)state;
    struct sdg_pipeline *p = open_model(MODEL, NULL);
    struct sdg_pipeline_info info;
    sdg_pipeline_info(p, &info);
    struct seen *s = draw_seen(p, SDG_PREVIEW_PROJECTION, 2);
    assert_int_equal(s->previews, 2); // after steps 2 and 4
    assert_int_equal(s->last_step, 4);
    assert_int_equal(s->steps, 5);
    assert_int_equal(s->kind, SDG_PREVIEW_PROJECTION);
    const struct sdg_preview_params params = {
        .latent = s->latent, .channels = s->c, .height = s->h, .width = s->w, .factor = info.factor};
    struct sdg_image *want = NULL;
    assert_int_equal(sdg_preview(NULL, &params, &want), SDG_OK);
    same_colours(s->pixels, want->pixels);
    sdg_image_destroy(&want);
    free(s);
    sdg_pipeline_destroy(&p);
}

// The decoder's picture of the latent brought to unit size.
static void decoder_previews(void **state)
{
    (void)state;
    struct sdg_pipeline *p = open_model(MODEL, NULL);
    struct seen *s = draw_seen(p, SDG_PREVIEW_DECODER, 0);
    assert_int_equal(s->previews, 4);
    assert_int_equal(s->kind, SDG_PREVIEW_DECODER);
    const size_t numbers = (size_t)(s->c * s->h * s->w);
    double square = 0;
    for (size_t i = 0; i < numbers; i++)
        square += (double)s->latent[i] * s->latent[i] / (double)numbers;
    for (size_t i = 0; i < numbers; i++)
        s->latent[i] *= (float)(1 / fmax(1, sqrt(square)));
    uint8_t *rgb = calloc(PIXELS, 3);
    const struct sdg_pixels pixels = pixels_in(SDG_PIXELS_RGB8, rgb, 0, PIXELS * 3);
    expect_ok(p, sdg_decode(p, &(struct sdg_decode_params){.latent = s->latent, .numbers = numbers}, &pixels));
    int most = 0;
    for (size_t i = 0; i < PIXELS; i++)
        for (size_t k = 0; k < 3; k++) {
            const int d = abs((int)s->pixels[4 * i + 2 - k] - (int)rgb[3 * i + k]);
            most = d > most ? d : most;
        }
    assert_true(most <= 1); // the scale is rounded otherwise
    free(rgb);
    free(s);
    sdg_pipeline_destroy(&p);
}

static void bad_previews(void **state)
{
    (void)state;
    struct sdg_pipeline *p = open_model(MODEL, NULL);
    struct sdg_generate_params g = quick();
    struct sdg_image *image = NULL;
    const struct {
        struct sdg_preview_request request;
        const char *says;
    } cases[] = {
        {{.kind = SDG_PREVIEW_PROJECTION}, "need a function"},
        {{.kind = (enum sdg_preview_kind)7, .fn = see_preview}, "no value of enum sdg_preview_kind"},
        {{.kind = SDG_PREVIEW_DECODER, .interval = -1, .fn = see_preview}, "out of range"},
        {{.kind = SDG_PREVIEW_DECODER, .format = (enum sdg_pixel_format)4, .fn = see_preview}, "out of range"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        g.preview = cases[i].request;
        expect_error(p, sdg_generate(p, &g, &image, NULL), SDG_ERROR_USAGE, cases[i].says);
        assert_null(image);
    }
    sdg_pipeline_destroy(&p);
}

// ---- errors and names ----

static void errors_as_text(void **state)
{
    struct sdg_pipeline *p = NULL;
    char error[200] = "before", small[10];
    (void)state;
    struct sdg_pipeline_params params = {.model = "/nowhere", .error = error, .error_size = sizeof error};
    assert_int_equal(sdg_pipeline_create(&params, &p), SDG_ERROR_INPUT);
    assert_true(strstr(error, "/nowhere"));
    params.error = small;
    params.error_size = sizeof small;
    assert_int_equal(sdg_pipeline_create(&params, &p), SDG_ERROR_INPUT);
    assert_int_equal(strlen(small), sizeof small - 1); // cut
    params.error = NULL;
    assert_int_equal(sdg_pipeline_create(&params, &p), SDG_ERROR_INPUT);

    p = open_model(MODEL, NULL);
    struct sdg_generate_params g = quick();
    struct sdg_image *image = NULL;
    g.steps = 5000;
    expect_error(p, sdg_generate(p, &g, &image, NULL), SDG_ERROR_USAGE, "5000");
    struct sdg_pipeline_info info; // no call that changes it
    sdg_pipeline_info(p, &info);
    assert_true(strstr(sdg_pipeline_error(p), "5000"));
    g.steps = 1;
    image = draw(p, &g); // and it is empty again
    sdg_image_destroy(&image);
    assert_string_equal(sdg_pipeline_error(NULL), "");
    sdg_pipeline_destroy(&p);
}

static void names(void **state)
{
    (void)state;
    for (int which = 0; sdg_names((enum sdg_names)which); which++) {
        const char *const *list = sdg_names((enum sdg_names)which);
        int count = 0;
        for (; list[count]; count++) {
            assert_string_equal(sdg_name_at((enum sdg_names)which, count), list[count]);
            assert_int_equal(sdg_name_index((enum sdg_names)which, list[count]), count);
            assert_string_equal(sdg_name_nearest((enum sdg_names)which, list[count]), list[count]);
        }
        assert_true(count > 0);
        assert_null(sdg_name_at((enum sdg_names)which, count));
        assert_null(sdg_name_at((enum sdg_names)which, count + 5));
        assert_null(sdg_name_at((enum sdg_names)which, -1));
        assert_int_equal(sdg_name_index((enum sdg_names)which, "no such name"), -1);
        assert_int_equal(sdg_name_index((enum sdg_names)which, NULL), -1);
        assert_null(sdg_name_nearest((enum sdg_names)which, "xxxxxxxxxxxxxxxxxxx"));
    }
    assert_null(sdg_names((enum sdg_names)(SDG_NAMES_PLAN_KERNELS + 1)));
    assert_int_equal(sdg_name_index((enum sdg_names) - 1, "a"), -1);
    assert_string_equal(sdg_name_nearest(SDG_NAMES_SAMPLER, "eulr_a"), "euler_a");
    assert_int_equal(sdg_name_index(SDG_NAMES_RESULT, "cancelled"), SDG_ERROR_CANCELLED);
    assert_int_equal(sdg_name_index(SDG_NAMES_PIXEL_FORMAT, "bgra8"), SDG_PIXELS_BGRA8);
    assert_int_equal(sdg_name_index(SDG_NAMES_KEEP, "networks"), SDG_KEEP_NETWORKS);
    assert_string_equal(sdg_result_name(SDG_ERROR_CANCELLED), "cancelled");
    assert_string_equal(sdg_result_name((enum sdg_result)99), "unknown");
}

// ---- prompts ----

static struct sdg_prompt_report *check(struct sdg_pipeline *p, const char *prompt, bool plain)
{
    struct sdg_prompt_report *report = NULL;
    expect_ok(p, sdg_pipeline_check_prompt(p, &(struct sdg_prompt_params){.prompt = prompt, .plain = plain}, &report));
    return report;
}

static void expect_token(const struct sdg_prompt_text *text, int index, const char *bytes, double weight)
{
    const struct sdg_prompt_token *t = &text->tokens[index];
    char got[100];
    snprintf(got, sizeof got, "%.*s", (int)(t->end - t->begin), text->text + t->begin);
    if (strcmp(got, bytes) || fabs((double)t->weight - weight) > 1e-6)
        fail_msg("token %d of '%s' is '%s' with weight %g", index, text->text, got, (double)t->weight);
}

static void prompt_tokens(void **state)
{
    (void)state;
    struct sdg_pipeline *p = open_model(MODEL, NULL);
    struct sdg_prompt_report *r = check(p, "a (red:1.5) \\(apple\\), [3d]", false);
    assert_int_equal(r->room, 75);
    assert_int_equal(r->text_count, 1);
    const struct sdg_prompt_text *t = r->texts;
    assert_int_equal(t->chunks, 1);
    assert_int_equal(t->chunk_tokens[0], t->token_count);
    assert_int_equal(t->cut, 0);
    static const struct {
        const char *bytes;
        double weight;
    } want[] = {{"a", 1}, {"red", 1.5}, {"(", 1}, {"apple", 1}, {"\\),", 1}, {"3", 1 / 1.1}, {"d", 1 / 1.1}};
    // ")" and "," are one word of two characters for the pattern, so that bytes between them belong to it
    for (int i = 0, k = 0; i < (int)(sizeof want / sizeof *want); i++, k++) {
        const char *bytes = want[i].bytes;
        if (!strcmp(bytes, "\\),")) { // whatever the vocabulary makes of it
            while (k < t->token_count && t->tokens[k + 1].weight == 1)
                k++;
            continue;
        }
        expect_token(t, k, bytes, want[i].weight);
    }
    sdg_prompt_report_destroy(&r);
    assert_null(r);

    r = check(p, "a cat BREAK a dog", false);
    assert_int_equal(r->texts[0].chunks, 2);
    assert_int_equal(r->texts[0].chunk_tokens[0], 2);
    assert_int_equal(r->texts[0].chunk_tokens[1], 2);
    expect_token(r->texts, 3, "dog", 1);
    assert_int_equal(r->texts[0].tokens[3].chunk, 1);
    sdg_prompt_report_destroy(&r);

    r = check(p, "a [cat|dog] AND a hat", false);
    assert_int_equal(r->text_count, 3);
    assert_string_equal(r->texts[0].text, "a cat");
    assert_string_equal(r->texts[1].text, "a dog");
    assert_string_equal(r->texts[2].text, " a hat");
    sdg_prompt_report_destroy(&r);
    sdg_pipeline_destroy(&p);
}

// Plain text is cut after 75 tokens, weighed text after 16 chunks of them.
static void prompt_cut(void **state)
{
    (void)state;
    struct sdg_pipeline *p = open_model(MODEL, NULL);
    char *text = calloc(1300 * 4 + 1, 1);
    for (int i = 0; i < 1300; i++)
        strcat(text, "cat ");
    struct sdg_prompt_report *r = check(p, text, true);
    assert_int_equal(r->texts[0].token_count, 1300);
    assert_int_equal(r->texts[0].cut, 1300 - 75);
    assert_int_equal(r->texts[0].tokens[75].chunk, 1);
    assert_int_equal(r->texts[0].tokens[75].begin, 75 * 4); // "left out is all from here on"
    sdg_prompt_report_destroy(&r);
    r = check(p, text, false);
    assert_int_equal(r->texts[0].chunks, 16);
    assert_int_equal(r->texts[0].cut, 1300 - 16 * 75);
    assert_int_equal(r->texts[0].tokens[1200].begin, 1200 * 4);
    assert_int_equal(r->texts[0].tokens[1299].end, 1300 * 4 - 1);
    for (int i = 0; i < 16; i++)
        assert_int_equal(r->texts[0].chunk_tokens[i], 75);
    sdg_prompt_report_destroy(&r);
    free(text);
    sdg_pipeline_destroy(&p);
}

static void prompt_words(void **state)
{
    (void)state;
    struct sdg_pipeline *p = open_model(MODEL, NULL);
    struct sdg_prompt_report *r = check(p, "a red rockett, zzyzxqwv and zzyzxqwv", false);
    assert_true(r->words_known);
    assert_int_equal(r->unknown_count, 2);
    assert_string_equal(r->unknown[0].word, "rockett");
    assert_string_equal(r->unknown[0].nearest, "rocket");
    assert_string_equal(r->unknown[1].word, "zzyzxqwv");
    assert_null(r->unknown[1].nearest);
    sdg_prompt_report_destroy(&r);
    expect_error(p, sdg_pipeline_check_prompt(p, &(struct sdg_prompt_params){.prompt = "<lora:x:1>"}, &r),
                 SDG_ERROR_UNSUPPORTED, "lora");
    assert_null(r);
    expect_error(p, sdg_pipeline_check_prompt(p, NULL, &r), SDG_ERROR_USAGE, "'params' is NULL");
    expect_error(p, sdg_pipeline_check_prompt(p, &(struct sdg_prompt_params){.prompt = "a"}, NULL), SDG_ERROR_USAGE,
                 "'out' is NULL");
    expect_error(p, sdg_pipeline_check_prompt(p, &(struct sdg_prompt_params){.steps = -1}, &r), SDG_ERROR_USAGE,
                 "steps is -1");
    expect_error(p, sdg_pipeline_check_prompt(p, &(struct sdg_prompt_params){.clip_skip = 99}, &r), SDG_ERROR_USAGE,
                 "clip skip is 99");
    assert_int_equal(sdg_check_prompt(NULL, "the prompt", NULL, false), SDG_ERROR_USAGE);
    sdg_pipeline_destroy(&p);
}

// ---- embeddings ----

static struct sdg_embedding *embed(struct sdg_pipeline *p, struct sdg_prompt_params params)
{
    struct sdg_embedding *e = NULL;
    expect_ok(p, sdg_encode_prompt(p, &params, &e));
    return e;
}

// The picture of embeddings is the prompts'.
static void compare_embeddings(const char *model, const char *prompt, const char *negative, int chunks)
{
    struct sdg_pipeline *p = open_model(model, NULL);
    struct sdg_pipeline_info info;
    struct sdg_generate_params g = quick();
    sdg_pipeline_info(p, &info);
    g.prompt = prompt;
    g.negative_prompt = negative;
    struct sdg_image *want = draw(p, &g);
    struct sdg_embedding *e = embed(p, (struct sdg_prompt_params){.prompt = prompt, .chunks = chunks}),
                         *n = embed(p,
                                    (struct sdg_prompt_params){.prompt = negative, .negative = true, .chunks = chunks});
    assert_int_equal(e->tokens, 77 * chunks);
    assert_int_equal(e->dim, info.embedding_dim);
    assert_int_equal(e->pooled_dim, info.pooled_dim);
    assert_true((e->pooled != NULL) == info.sdxl);
    g.prompt = g.negative_prompt = NULL;
    g.embedding = e;
    g.negative_embedding = n;
    struct sdg_image *got = draw(p, &g);
    assert_memory_equal(got->pixels, want->pixels, PIXELS * 3);
    g.embedding = n; // the other way round: another picture
    g.negative_embedding = e;
    struct sdg_image *other = draw(p, &g);
    assert_memory_not_equal(other->pixels, want->pixels, PIXELS * 3);
    g.embedding = g.negative_embedding = NULL;
    g.prompt = prompt;
    g.negative_prompt = negative;
    sdg_image_destroy(&other);
    other = draw(p, &g); // embeddings are not taken for the prompt's
    assert_memory_equal(other->pixels, want->pixels, PIXELS * 3);
    sdg_image_destroy(&want);
    sdg_image_destroy(&got);
    sdg_image_destroy(&other);
    sdg_embedding_destroy(&e);
    sdg_embedding_destroy(&n);
    assert_null(e);
    sdg_pipeline_destroy(&p);
}

static void embeddings_draw(void **state)
{
    (void)state;
    compare_embeddings(MODEL, "a (red:1.3) apple BREAK 3d", "blurry", 2);
    compare_embeddings(MODEL, "a red apple", NULL, 1);
    if (missing(GOLDENS "/pipelines/sdxl-tiny"))
        return;
    compare_embeddings(GOLDENS "/pipelines/sdxl-tiny", "a city", "blurry", 1);
    compare_embeddings(GOLDENS "/pipelines/sdxl-tiny", "a city", NULL, 1); // zeros
}

static struct sdg_array *read_array(const char *path, const char *name)
{
    struct sdg_array *array = NULL;
    assert_int_equal(sdg_array_read(NULL, path, name, &array), SDG_OK);
    return array;
}

static double difference(const float *a, const float *b, size_t count)
{
    double most = 0;
    for (size_t i = 0; i < count; i++)
        most = fmax(most, fabs((double)a[i] - (double)b[i]));
    return most;
}

static size_t size_of(const struct sdg_array *a)
{
    size_t size = 1;
    for (int i = 0; i < a->dims; i++)
        size *= (size_t)a->shape[i];
    return size;
}

// Of diffusers' pipeline: embeddings of prompts, and the picture's last latent from these, drawn here.
static void embeddings_of_diffusers(void **state)
{
    static const char *const path = GOLDENS "/cases/sd15-64x64-cfg7.5.safetensors";
    (void)state;
    if (missing(GOLDENS "/pipelines/sd15-tiny"))
        return;
    struct sdg_pipeline *p = open_model(GOLDENS "/pipelines/sd15-tiny", NULL);
    struct sdg_array *want = read_array(path, "prompt_embeds"),
                     *want_negative = read_array(path, "negative_prompt_embeds"), *noise = read_array(path, "noise"),
                     *latents = read_array(path, "latents");
    struct sdg_embedding *
        e =
           embed(p, (struct sdg_prompt_params){.prompt = "a photograph of an astronaut riding a horse", .plain = true}),
       *n = embed(p, (struct sdg_prompt_params){.prompt = "blurry, low quality", .negative = true, .plain = true});
    assert_int_equal(size_of(want), e->tokens * e->dim);
    const double off =
        fmax(difference(e->data, want->data, size_of(want)), difference(n->data, want_negative->data, size_of(want)));
    print_message("embeddings differ from diffusers' by %.2g at most\n", off);
    assert_true(off < 1e-4);

    struct sdg_embedding given = *e, given_negative = *n;
    given.data = want->data;
    given_negative.data = want_negative->data;
    const struct sdg_generate_params g = {.embedding = &given,
                                          .negative_embedding = &given_negative,
                                          .width = SIDE,
                                          .height = SIDE,
                                          .steps = 10,
                                          .cfg_scale = {true, 7.5},
                                          .sampler = "pndm",
                                          .schedule = "model",
                                          .noise = noise->data,
                                          .noise_count = size_of(noise)};
    float *got = calloc(size_of(latents), sizeof *got);
    expect_ok(p, sdg_generate_latents(p, &g, got, size_of(latents), 1, NULL));
    const double latent_off = difference(got, latents->data, size_of(latents));
    print_message("latents drawn from diffusers' embeddings differ from diffusers' by %.2g at most\n", latent_off);
    assert_true(latent_off < 5e-3); // of numbers up to 30; diffusers' own f32 is 1.4e-3 from f64
    free(got);
    sdg_embedding_destroy(&e);
    sdg_embedding_destroy(&n);
    sdg_array_destroy(&want);
    sdg_array_destroy(&want_negative);
    sdg_array_destroy(&noise);
    sdg_array_destroy(&latents);
    sdg_pipeline_destroy(&p);
}

static void bad_embeddings(void **state)
{
    (void)state;
    struct sdg_pipeline *p = open_model(MODEL, NULL);
    struct sdg_embedding *e = embed(p, (struct sdg_prompt_params){.prompt = "a"}),
                         *long_one = embed(p, (struct sdg_prompt_params){.prompt = "a", .chunks = 2}), odd = *e,
                         infinite = *e, empty = *e;
    struct sdg_image *image = NULL;
    odd.tokens = 50;
    empty.data = NULL;
    infinite.data = malloc(sizeof *e->data * (size_t)(e->tokens * e->dim));
    memcpy(infinite.data, e->data, sizeof *e->data * (size_t)(e->tokens * e->dim));
    infinite.data[5] = (float)INFINITY;
    struct sdg_embedding wide = *e;
    wide.dim++;
    const struct {
        struct sdg_generate_params g;
        const char *says;
    } cases[] = {
        {{.embedding = e}, "needs an embedding of the negative prompt"},
        {{.negative_embedding = e}, "none of the prompt"},
        {{.embedding = e, .negative_embedding = long_one}, "77 and 154 tokens"},
        {{.embedding = &odd, .negative_embedding = e}, "50 tokens"},
        {{.embedding = &wide, .negative_embedding = e}, "numbers per token"},
        {{.embedding = &empty, .negative_embedding = e}, "no numbers"},
        {{.embedding = &infinite, .negative_embedding = e}, "number 6 of the embedding of the prompt is not finite"},
        {{.embedding = e, .negative_embedding = e, .prompt = "a"}, "embeddings and a prompt"},
        {{.embedding = e, .negative_embedding = e, .clip_skip = 1}, "clip skip is 1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_error(p, sdg_generate(p, &cases[i].g, &image, NULL), SDG_ERROR_USAGE, cases[i].says);
    struct sdg_embedding *none = e;
    expect_error(p, sdg_encode_prompt(p, &(struct sdg_prompt_params){.prompt = "a AND b"}, &none),
                 SDG_ERROR_UNSUPPORTED, "2 texts");
    assert_null(none);
    expect_error(p, sdg_encode_prompt(p, &(struct sdg_prompt_params){.chunks = 17}, &none), SDG_ERROR_USAGE, "17");
    free(infinite.data);
    sdg_embedding_destroy(&e);
    sdg_embedding_destroy(&long_one);
    sdg_pipeline_destroy(&p);
}

// ---- the autoencoder ----

// Of torch, in one piece: a picture's mean, and a latent's picture.
static void autoencoder_of_diffusers(void **state)
{
    static const char *const path = GOLDENS "/modules/sd15-tiny/vae.safetensors";
    const double scale = 0.18215; // the model's, which the file's latents are without
    (void)state;
    if (missing(GOLDENS "/pipelines/sd15-tiny"))
        return;
    struct sdg_pipeline *p = open_model(GOLDENS "/pipelines/sd15-tiny", NULL);
    static const char *const names_of[][4] = {{"0.image", "0.mean", "0.latent", "0.decoded"},
                                              {"1.image", "1.mean", "1.latent", "1.decoded"}};
    for (size_t i = 0; i < 2; i++) {
        struct sdg_array *image = read_array(path, names_of[i][0]), *mean = read_array(path, names_of[i][1]),
                         *latent = read_array(path, names_of[i][2]), *decoded = read_array(path, names_of[i][3]);
        const int height = (int)image->shape[2], width = (int)image->shape[3];
        const size_t pixels = (size_t)(width * height), numbers = size_of(mean);
        float *rgb = calloc(pixels * 3, sizeof *rgb), *got = calloc(numbers, sizeof *got);
        double most = 0;
        for (size_t k = 0; k < pixels * 3; k++) // [3][h][w] in -1..1
            rgb[k] = image->data[k % 3 * pixels + k / 3] / 2 + 0.5f;
        struct sdg_encode_params encode = {
            .picture = {SDG_PIXELS_RGB_F32, width, height, rgb, 0, pixels * 3 * sizeof *rgb}};
        expect_ok(p, sdg_encode_picture(p, &encode, got, numbers));
        for (size_t k = 0; k < numbers; k++)
            most = fmax(most, fabs((double)got[k] / scale - (double)mean->data[k]));
        print_message("%dx%d: means differ from diffusers' by %.2g", width, height, most);
        assert_true(most < 1e-4);
        for (size_t k = 0; k < numbers; k++)
            got[k] = (float)(scale * (double)latent->data[k]);
        expect_ok(p, sdg_decode(p, &(struct sdg_decode_params){.latent = got, .numbers = numbers}, &encode.picture));
        most = 0;
        for (size_t k = 0; k < pixels * 3; k++) {
            const double want = (double)decoded->data[k % 3 * pixels + k / 3] / 2 + 0.5;
            most = fmax(most, fabs((double)rgb[k] - fmin(fmax(want, 0), 1)));
        }
        print_message(", pictures by %.2g\n", most);
        assert_true(most < 1e-4);
        free(rgb);
        free(got);
        sdg_array_destroy(&image);
        sdg_array_destroy(&mean);
        sdg_array_destroy(&latent);
        sdg_array_destroy(&decoded);
    }
    sdg_pipeline_destroy(&p);
}

// Stage by stage it is the picture of sdg_generate, in tiles too; and image to image from its latent.
static void stages_make_the_picture(void **state)
{
    static const char *const tilings[] = {"off", "on"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct sdg_pipeline *p = open_model(MODEL, tilings[i]);
        struct sdg_pipeline_info info;
        sdg_pipeline_info(p, &info);
        struct sdg_generate_params g = quick();
        g.width = 2 * SIDE + info.factor; // more than a tile
        const int side = g.width / info.factor, height = SIDE / info.factor;
        const size_t numbers = (size_t)(info.latent_channels * side * height);
        struct sdg_image *want = draw(p, &g), *got = NULL;
        float *latents = calloc(3 * numbers, sizeof *latents);
        assert_int_equal(sdg_image_create(g.width, SIDE, &got), SDG_OK);
        const struct sdg_pixels pixels = {SDG_PIXELS_RGB8, g.width, SIDE, got->pixels, 0, (size_t)g.width * SIDE * 3};
        expect_ok(p, sdg_generate_latents(p, &g, latents, 3 * numbers, 3, NULL));
        expect_ok(p, sdg_decode(p, &(struct sdg_decode_params){.latent = latents, .numbers = numbers}, &pixels));
        assert_memory_equal(got->pixels, want->pixels, pixels.size);
        assert_memory_not_equal(latents, latents + numbers, numbers * sizeof *latents);

        g.init_image = want;
        g.strength = sdg_number(0.7);
        sdg_image_destroy(&got);
        got = draw(p, &g);
        struct sdg_encode_params encode = {.picture = pixels, .sample = true, .seed = g.seed};
        encode.picture.data = want->pixels;
        expect_ok(p, sdg_encode_picture(p, &encode, latents, numbers));
        expect_ok(
            p,
            sdg_encode_picture(p, &(struct sdg_encode_params){.picture = encode.picture}, latents + numbers, numbers));
        assert_memory_not_equal(latents, latents + numbers, numbers * sizeof *latents); // a draw and the mean
        // The picture's generator goes on behind that draw, so that the noise has to be given here.
        g.init_image = NULL;
        g.init_latent = latents;
        g.init_latent_count = numbers;
        struct sdg_image *other = draw(p, &g);
        assert_memory_not_equal(other->pixels, want->pixels, pixels.size);
        sdg_image_destroy(&other);
        sdg_image_destroy(&want);
        sdg_image_destroy(&got);
        free(latents);
        sdg_pipeline_destroy(&p);
    }
}

// diffusers' image to image from the latent that its own mean and this draw make would need its generator: what is left
// to compare is the first step's arithmetic. An init latent of zeros at full strength is text to image but for the
// zeros' share of the first latent, and noise that is given stays what it is.
static void init_latents(void **state)
{
    (void)state;
    struct sdg_pipeline *p = open_model(MODEL, NULL);
    struct sdg_pipeline_info info;
    sdg_pipeline_info(p, &info);
    const size_t numbers = (size_t)(info.latent_channels * (SIDE / info.factor) * (SIDE / info.factor));
    float *zeros = calloc(numbers, sizeof *zeros), *got = calloc(numbers, sizeof *got),
          *want = calloc(numbers, sizeof *want);
    struct sdg_generate_params g = quick();
    g.sampler = "ddim";
    expect_ok(p, sdg_generate_latents(p, &g, want, numbers, 1, NULL));
    g.init_latent = zeros;
    g.init_latent_count = numbers;
    g.strength = sdg_number(1);
    expect_ok(p, sdg_generate_latents(p, &g, got, numbers, 1, NULL));
    const double off = difference(got, want, numbers);
    print_message("from zeros at full strength: %.3g from text to image\n", off);
    assert_true(off < 0.5); // sqrt(1 - alpha) of the last timestep is 0.998
    struct sdg_image *image = NULL;
    g.init_latent_count--;
    expect_error(p, sdg_generate(p, &g, &image, NULL), SDG_ERROR_USAGE, "init_latent has");
    g.init_latent_count++;
    assert_int_equal(sdg_image_create(SIDE, SIDE, &image), SDG_OK);
    g.init_image = image;
    struct sdg_image *none = NULL;
    expect_error(p, sdg_generate(p, &g, &none, NULL), SDG_ERROR_USAGE, "one of them");
    sdg_image_destroy(&image);
    free(zeros);
    free(got);
    free(want);
    sdg_pipeline_destroy(&p);
}

static void bad_latents(void **state)
{
    static float latent[4 * PIXELS];
    static uint8_t data[PIXELS * 3];
    (void)state;
    struct sdg_pipeline *p = open_model(MODEL, NULL);
    const struct sdg_pixels pixels = pixels_in(SDG_PIXELS_RGB8, data, 0, sizeof data),
                            odd = {SDG_PIXELS_RGB8, 63, 64, data, 0, sizeof data};
    expect_error(p, sdg_decode(p, &(struct sdg_decode_params){.latent = latent, .numbers = 5}, &pixels),
                 SDG_ERROR_USAGE, "5 numbers");
    expect_error(p, sdg_decode(p, &(struct sdg_decode_params){.numbers = 5}, &pixels), SDG_ERROR_USAGE, "NULL");
    expect_error(p, sdg_decode(p, &(struct sdg_decode_params){.latent = latent, .numbers = 5}, &odd), SDG_ERROR_USAGE,
                 "width is 63");
    expect_error(p, sdg_encode_picture(p, &(struct sdg_encode_params){.picture = pixels}, latent, 7), SDG_ERROR_USAGE,
                 "7 numbers");
    expect_error(p, sdg_encode_picture(p, &(struct sdg_encode_params){.picture = pixels}, NULL, 7), SDG_ERROR_USAGE,
                 "'latent' is NULL");
    expect_error(p, sdg_encode_picture(p, &(struct sdg_encode_params){.picture = {0}}, latent, 7), SDG_ERROR_USAGE,
                 "picture: 0x0");
    expect_error(p, sdg_encode_picture(p, &(struct sdg_encode_params){.picture = pixels, .rng = "dice"}, latent, 7),
                 SDG_ERROR_USAGE, "dice");
    struct sdg_generate_params g = quick();
    expect_error(p, sdg_generate_latents(p, &g, latent, 3, 2, NULL), SDG_ERROR_USAGE, "room for 3");
    expect_error(p, sdg_generate_latents(p, &g, NULL, 3, 2, NULL), SDG_ERROR_USAGE, "'latents' is NULL");
    sdg_pipeline_destroy(&p);
}

// ---- cancelling ----

struct stopper {
    struct sdg_pipeline *pipeline;
    int asked;
    bool by_answer;
};

static void *cancel(void *user)
{
    sdg_cancel(user);
    return NULL;
}

// From another thread, while the call runs.
static bool stop(void *user, const struct sdg_progress *progress)
{
    struct stopper *s = user;
    pthread_t thread;
    (void)progress;
    s->asked++;
    if (s->by_answer)
        return false;
    assert_int_equal(pthread_create(&thread, NULL, cancel, s->pipeline), 0);
    pthread_join(thread, NULL);
    return true;
}

static void every_call_is_cancelled(void **state)
{
    static float latent[4 * PIXELS];
    static uint8_t data[PIXELS * 3];
    (void)state;
    struct sdg_pipeline *p = open_model(MODEL, NULL);
    struct sdg_pipeline_info info;
    sdg_pipeline_info(p, &info);
    const size_t numbers = (size_t)(info.latent_channels * (SIDE / info.factor) * (SIDE / info.factor));
    const struct sdg_pixels pixels = pixels_in(SDG_PIXELS_RGB8, data, 0, sizeof data), both[2] = {pixels, pixels};
    for (int i = 0; i < 2; i++) {
        struct stopper s = {p, 0, i == 1};
        struct sdg_generate_params g = quick();
        g.progress = stop;
        g.progress_user = &s;
        struct sdg_embedding *e = NULL;
        const struct sdg_prompt_params prompt = {.prompt = "a", .progress = stop, .progress_user = &s};
        const struct sdg_encode_params encode = {.picture = pixels, .progress = stop, .progress_user = &s};
        const struct sdg_decode_params decode = {latent, numbers, stop, &s};
        expect_error(p, sdg_generate_into(p, &g, both, 2, NULL), SDG_ERROR_CANCELLED, "cancelled in stage 'text'");
        expect_error(p, sdg_generate_latents(p, &g, latent, numbers, 1, NULL), SDG_ERROR_CANCELLED, "cancelled");
        expect_error(p, sdg_encode_prompt(p, &prompt, &e), SDG_ERROR_CANCELLED, "cancelled in stage 'text'");
        assert_null(e);
        expect_error(p, sdg_encode_picture(p, &encode, latent, numbers), SDG_ERROR_CANCELLED,
                     "cancelled in stage 'encode'");
        memset(latent, 0, sizeof latent);
        expect_error(p, sdg_decode(p, &decode, &pixels), SDG_ERROR_CANCELLED, "cancelled in stage 'decode'");
        assert_int_equal(s.asked, 5);
        sdg_cancel(p); // nothing runs: the next call is not affected
        struct sdg_image *image =
            draw(p, &(struct sdg_generate_params){.prompt = "a", .steps = 1, .width = SIDE, .height = SIDE});
        sdg_image_destroy(&image);
    }
    sdg_pipeline_destroy(&p);
}

// ---- memory ----

// Every call with the n-th allocation failing: an error, no crash, and under sanitizers no leak.
static enum sdg_result call_all(struct sdg_pipeline *p)
{
    static uint8_t data[2][PIXELS * 3];
    static float latent[4 * PIXELS];
    struct sdg_generate_params g = quick();
    struct sdg_prompt_report *report = NULL;
    struct sdg_embedding *e = NULL;
    struct sdg_generate_info infos[2];
    const struct sdg_pixels both[2] = {pixels_in(SDG_PIXELS_RGB8, data[0], 0, sizeof data[0]),
                                       pixels_in(SDG_PIXELS_RGB8, data[1], 0, sizeof data[1])};
    struct sdg_pipeline_info info;
    sdg_pipeline_info(p, &info);
    const size_t numbers = (size_t)(info.latent_channels * (SIDE / info.factor) * (SIDE / info.factor));
    g.steps = 1;
    enum sdg_result result = sdg_pipeline_check_prompt(p, &(struct sdg_prompt_params){.prompt = "(a:2) aple"}, &report);
    sdg_prompt_report_destroy(&report);
    if (result == SDG_OK)
        result = sdg_encode_prompt(p, &(struct sdg_prompt_params){.prompt = "a"}, &e);
    sdg_embedding_destroy(&e);
    if (result == SDG_OK)
        result = sdg_encode_picture(p, &(struct sdg_encode_params){.picture = both[0]}, latent, numbers);
    if (result == SDG_OK)
        result = sdg_decode(p, &(struct sdg_decode_params){.latent = latent, .numbers = numbers}, &both[0]);
    if (result == SDG_OK)
        result = sdg_generate_into(p, &g, both, 2, infos);
    return result;
}

static void failing_allocations(void **state)
{
    enum { RUNS = 15 };
    (void)state;
    struct sdg_pipeline *p = open_model(MODEL, NULL);
    sdg_test_fail_allocation(0);
    expect_ok(p, call_all(p));
    const size_t all = sdg_test_fail_allocation(0);
    size_t refused = 0, tried = 0;
    for (size_t n = 1; n <= all; n += all / RUNS + 1, tried++) {
        sdg_test_fail_allocation(n);
        const enum sdg_result result = call_all(p);
        sdg_test_fail_allocation(0);
        assert_true(result == SDG_OK || result == SDG_ERROR_MEMORY);
        assert_true((result == SDG_OK) == (*sdg_pipeline_error(p) == 0));
        refused += result != SDG_OK;
    }
    print_message("%zu allocations, %zu made to fail, %zu refused\n", all, tried, refused);
    assert_true(refused > tried / 2);
    expect_ok(p, call_all(p));
    sdg_pipeline_destroy(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),
        cmocka_unit_test(errors_as_text),
        cmocka_unit_test(formats),
        cmocka_unit_test(floats),
        cmocka_unit_test(bad_pixels),
        cmocka_unit_test(batches),
        cmocka_unit_test(batches_of_other_models),
        cmocka_unit_test(projections),
        cmocka_unit_test(decoder_previews),
        cmocka_unit_test(bad_previews),
        cmocka_unit_test(prompt_tokens),
        cmocka_unit_test(prompt_cut),
        cmocka_unit_test(prompt_words),
        cmocka_unit_test(embeddings_draw),
        cmocka_unit_test(embeddings_of_diffusers),
        cmocka_unit_test(bad_embeddings),
        cmocka_unit_test(autoencoder_of_diffusers),
        cmocka_unit_test(stages_make_the_picture),
        cmocka_unit_test(init_latents),
        cmocka_unit_test(bad_latents),
        cmocka_unit_test(every_call_is_cancelled),
        cmocka_unit_test(failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
