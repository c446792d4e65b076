// A folder as sdg_quantize writes it, broken in every way that matters, each with a fingerprint that fits again: the
// pipeline refuses to open it with one line that names file, tensor and reason. Unbroken, it draws.
#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "formats/quantized_folder.h"
#include "formats/tensors.h"
#include "sdgen/calibrate.h"
#include "sdgen/evaluate.h"
#include "sdgen/quantize.h"
#include "tests/temp.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define MODEL SDG_SOURCE_DIR "/models/emoji-128"
#define WEIGHTS "unet/diffusion_pytorch_model.safetensors"
static const char silu_site[] = "down_blocks.0.resnets.0.conv1",
                  plain_site[] = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q",
                  half[] = "up_blocks.0.resnets.0.conv_shortcut[192:384]";

// ---- a sound folder ----

static char whole[200], sound[200], broken[200];

static void make_sound(void)
{
    static const char *const prompts[] = {"a red apple, 3d"};
    // a few layers will do
    static const char *const skip[] = {
        "resnets.1",        "blocks.[12]", "ff", "attn2", "down_blocks.0.attentions", "up_blocks.0.attentions",
        "mid_block.resnets"};
    struct temp_log t;
    char statistics[200];
    struct sdg_pipeline *p;
    temp_log(&t);
    snprintf(statistics, sizeof statistics, "%s", temp_path("statistics.safetensors"));
    snprintf(sound, sizeof sound, "%s", temp_path("sound"));
    snprintf(broken, sizeof broken, "%s", temp_path("broken"));
    struct sdg_pipeline_params params = {.model = MODEL,
                                         .backend = "cpu",
                                         .type = "f32",
                                         .threads = 2,
                                         .log = {.fn = temp_log_say, .user = &t},
                                         .cache_dir = ""};
    struct sdg_collect_params collect = {.prompts = prompts,
                                         .prompt_count = 1,
                                         .output = statistics,
                                         .generate = {.steps = 3, .width = 64, .height = 64}};
    struct sdg_quantize_params quantize = {.model = MODEL,
                                           .statistics = statistics,
                                           .output = sound,
                                           .scheme = "w8a8-table",
                                           .skip = skip,
                                           .skip_count = sizeof skip / sizeof *skip,
                                           .delta = true,
                                           .threads = 2,
                                           .log = {.fn = temp_log_say, .user = &t}};
    if (sdg_pipeline_create(&params, &p) != SDG_OK || sdg_collect(p, &collect) != SDG_OK)
        fail_msg("%s", t.last);
    sdg_pipeline_destroy(&p);
    if (sdg_quantize(&quantize) != SDG_OK)
        fail_msg("%s", t.last);
    snprintf(whole, sizeof whole, "%s", temp_path("whole"));
    quantize.output = whole;
    quantize.delta = false;
    if (sdg_quantize(&quantize) != SDG_OK)
        fail_msg("%s", t.last);
}

// ---- breaking it ----

struct content {
    struct sdg_tensors *file; // of the sound folder
    struct sdg_tensor tensors[2000];
    size_t count;
};

// What the folder has beside its base, with the codes, which sdquant leaves out of such a folder.
static void read_sound(struct content *c)
{
    char path[300];
    snprintf(path, sizeof path, "%s/" WEIGHTS, whole);
    assert_int_equal(sdg_tensors_open(NULL, path, &c->file), SDG_OK);
    assert_true(sdg_tensors_count(c->file) + 4 < sizeof c->tensors / sizeof *c->tensors);
    c->count = 0;
    for (size_t i = 0; i < sdg_tensors_count(c->file); i++) {
        const struct sdg_tensor *t = sdg_tensors_at(c->file, i);
        if (t->dtype == SDG_S8 || strstr(t->name, "_scale") || strstr(t->name, ".input_zero_point"))
            c->tensors[c->count++] = *t;
    }
    assert_true(c->count > 20);
}

static struct sdg_tensor *find(struct content *c, const char *name)
{
    for (size_t i = 0; i < c->count; i++)
        if (strcmp(c->tensors[i].name, name) == 0)
            return &c->tensors[i];
    fail_msg("there is no tensor %s", name);
    return NULL;
}

static void put_config(const char *from, const char *key, cJSON *value, const char *fingerprint)
{
    char path[300], *text;
    struct sdg_json json;
    snprintf(path, sizeof path, "%s/unet/config.json", from);
    assert_int_equal(sdg_file_read_text(NULL, path, 1 << 20, &text), SDG_OK);
    assert_int_equal(sdg_json_parse(NULL, path, text, &json), SDG_OK);
    cJSON *config = cJSON_GetObjectItemCaseSensitive(json.object, "quantization_config");
    assert_non_null(config);
    if (key) {
        cJSON_DeleteItemFromObjectCaseSensitive(config, key);
        assert_true(cJSON_AddItemToObject(config, key, value));
    }
    if (fingerprint)
        assert_true(cJSON_ReplaceItemInObjectCaseSensitive(config, "fingerprint", cJSON_CreateString(fingerprint)));
    char *printed = cJSON_Print(json.object);
    temp_text("broken/unet/config.json", printed);
    cJSON_free(printed);
    sdg_json_free(&json);
    sdg_free(text);
}

// Writes the content as the folder "broken", with the configuration of the sound one and a fingerprint that fits.
static void write_broken(struct content *c, const char *key, cJSON *value)
{
    char path[300], fingerprint[17];
    struct sdg_tensors *file;
    temp_text("broken/" WEIGHTS, "");
    snprintf(path, sizeof path, "%s/" WEIGHTS, broken);
    assert_int_equal(sdg_tensors_write(NULL, path, c->tensors, c->count, NULL, 0), SDG_OK);
    assert_int_equal(sdg_tensors_open(NULL, path, &file), SDG_OK);
    sdg_tensors_fingerprint(file, fingerprint);
    sdg_tensors_destroy(&file);
    put_config(sound, key, value, fingerprint);
}

static enum sdg_result open_on(const char *backend, const char *folder, struct temp_log *t, struct sdg_pipeline **p)
{
    temp_log(t);
    struct sdg_pipeline_params params = {.model = folder,
                                         .backend = backend,
                                         .type = "f32",
                                         .threads = 2,
                                         .log = {.fn = temp_log_say, .user = t},
                                         .cache_dir = ""};
    return sdg_pipeline_create(&params, p);
}

static enum sdg_result open_folder(const char *folder, struct temp_log *t, struct sdg_pipeline **p)
{
    return open_on("cpu", folder, t, p);
}

static void expect_refused(enum sdg_result want, const char *file, const char *tensor, const char *reason)
{
    struct temp_log t;
    struct sdg_pipeline *p = NULL;
    enum sdg_result result = open_folder(broken, &t, &p);
    if (result != want || p || t.errors != 1 || !strstr(t.last, file) || !strstr(t.last, tensor) ||
        !strstr(t.last, reason))
        fail_msg("result %d instead of %d, %d errors: '%s' should have '%s', '%s', '%s'", (int)result, (int)want,
                 t.errors, t.last, file, tensor, reason);
}

static void test_sound_folder_draws(void **state)
{
    (void)state;
    struct temp_log t;
    struct sdg_pipeline *p;
    struct sdg_image *image;
    struct content *c = sdg_alloc(NULL, 1, sizeof *c, "test");
    read_sound(c);
    write_broken(c, NULL, NULL); // nothing is
    sdg_tensors_destroy(&c->file);
    sdg_free(c);
    struct sdg_generate_params generate = {.prompt = "a red apple, 3d", .width = 64, .height = 64, .steps = 2};
    if (open_folder(broken, &t, &p) != SDG_OK || sdg_generate(p, &generate, &image, NULL) != SDG_OK)
        fail_msg("%s", t.last);
    sdg_image_destroy(&image);
    sdg_pipeline_destroy(&p);
}

// ---- an interval for each token ----

enum { SIDE = 2, TOKENS = SIDE * SIDE }; // of the middle of the network, in a picture of 64x64

static void add_tensor(struct content *c, const char *name, enum sdg_dtype dtype, const struct sdg_tensor *shape,
                       const void *data)
{
    struct sdg_tensor *t = &c->tensors[c->count++];
    *t = *shape;
    t->name = name;
    t->dtype = dtype;
    t->data = data;
}

// Each of the tokens gets the site's own scales, of all timesteps or (times 1) of the first, in steps of `step` more,
// and codes 0..255 about 128, which have the values of -128..127.
static float *spread_scales(struct content *c, const char *site, int64_t times, float step)
{
    static int32_t zeros[SDG_INTERVAL_TIMES * TOKENS];
    static float timesteps[SDG_INTERVAL_TIMES];
    static char names[2][300];
    const int64_t tokens = TOKENS;
    bool known = false;
    char name[300];
    snprintf(name, sizeof name, "%s.input_scale", site);
    struct sdg_tensor *t = find(c, name);
    const float *from = t->data;
    float *scales = sdg_alloc(NULL, (size_t)(times * tokens), sizeof *scales, "scales");
    assert_true(t->rank == 1 && t->dims[0] >= times);
    for (int64_t i = 0; i < times * tokens; i++)
        scales[i] = from[i / tokens] * (1 + step * (float)(i % tokens));
    t->rank = 3;
    t->dims[0] = times;
    t->dims[1] = t->dims[2] = SIDE;
    t->data = scales;
    t->bytes = (size_t)(times * tokens) * sizeof *scales;
    for (int i = 0; i < SDG_INTERVAL_TIMES * TOKENS; i++)
        zeros[i] = 128;
    for (int i = 0; i < SDG_INTERVAL_TIMES; i++)
        timesteps[i] = (float)i;
    char *zeros_name = names[site == half];
    snprintf(zeros_name, sizeof names[0], "%s.input_zero_point", site);
    add_tensor(c, zeros_name, SDG_S32, t, zeros);
    for (size_t i = 0; i < c->count; i++)
        known = known || strcmp(c->tensors[i].name, SDG_INTERVAL_TIMESTEPS) == 0;
    if (!known)
        add_tensor(c, SDG_INTERVAL_TIMESTEPS, SDG_F32,
                   &(struct sdg_tensor){.rank = 1, .dims = {SDG_INTERVAL_TIMES}, .bytes = sizeof timesteps}, timesteps);
    return scales;
}

static void keep_latent(void *user, int step, int steps, const float *latent, int channels, int height, int width)
{
    if (step == steps)
        memcpy(user, latent, (size_t)channels * (size_t)height * (size_t)width * sizeof *latent);
}

static void draw_latent(const char *backend, const char *folder, float latent[4 * 8 * 8])
{
    struct temp_log t;
    struct sdg_pipeline *p;
    struct sdg_image *image;
    struct sdg_generate_params generate = {.prompt = "a red apple, 3d",
                                           .width = 64,
                                           .height = 64,
                                           .steps = 2,
                                           .latent = keep_latent,
                                           .latent_user = latent};
    if (open_on(backend, folder, &t, &p) != SDG_OK || sdg_generate(p, &generate, &image, NULL) != SDG_OK)
        fail_msg("%s", t.last);
    sdg_image_destroy(&image);
    sdg_pipeline_destroy(&p);
}

// What sdeval finds at one site of the sound folder and of the broken one.
static void evaluate_site(const char *site, struct sdg_evaluation **out, struct sdg_evaluation_interval found[2])
{
    static const char *const prompts[] = {"a red apple, 3d"};
    const struct sdg_evaluate_model models[] = {{.path = sound}, {.path = broken}};
    struct temp_log t;
    temp_log(&t);
    const struct sdg_evaluate_params params = {
        .reference = {.path = MODEL},
        .models = models,
        .model_count = 2,
        .prompts = prompts,
        .prompt_count = 1,
        .site_runs = 1,
        .generate = {.width = 64, .height = 64, .steps = 2},
        .pipeline =
            {.backend = "cpu", .type = "f32", .threads = 2, .log = {temp_log_say, &t, SDG_LOG_ERROR}, .cache_dir = ""},
    };
    if (sdg_evaluate(&params, out) != SDG_OK)
        fail_msg("%s", t.last);
    for (size_t i = 0; i < (*out)->sites; i++)
        if (strcmp((*out)->site[i].name, site) == 0)
            for (int m = 0; m < 2; m++)
                found[m] = (*out)->model[1 + m].sites[i];
    assert_true(found[0].bits == 8 && found[1].bits == 8);
}

// Tokens with the site's own interval have its errors; what tokens with wider ones reach is what the widest does.
static void check_evaluation(bool wider)
{
    struct sdg_evaluation *e;
    struct sdg_evaluation_interval found[2] = {{0}};
    evaluate_site(half, &e, found);
    for (size_t c = 0; c < e->calls; c++) {
        assert_true(found[0].call_high[c] > 0);
        assert_true(wider ? found[0].sqnr[c] != found[1].sqnr[c] : found[0].sqnr[c] == found[1].sqnr[c]);
        assert_true(fabsf(found[1].call_high[c] / found[0].call_high[c] - (wider ? 1.9f : 1)) < 1e-5f);
        assert_true(fabsf(found[1].call_low[c] / found[0].call_low[c] - (wider ? 1.9f : 1)) < 1e-5f);
    }
    sdg_evaluation_destroy(&e);
}

// Where all tokens have what the site had, nothing changes, to the last bit in the reference; where they have not,
// something does, and cpu agrees with the reference. Another number of tokens is refused when the picture is known.
static void test_intervals_of_tokens(void **state)
{
    (void)state;
    static const char *const backends[] = {"reference", "cpu"};
    float plain[4 * 8 * 8], same[4 * 8 * 8], other[2][4 * 8 * 8];
    struct content *c = sdg_alloc(NULL, 1, sizeof *c, "test");
    read_sound(c);
    const struct content sites = *c;
    draw_latent("reference", sound, plain);
    float *scales[] = {spread_scales(c, plain_site, 1000, 0), spread_scales(c, half, 1000, 0)};
    write_broken(c, "scan_order", cJSON_CreateString("rows"));
    draw_latent("reference", broken, same);
    assert_memory_equal(plain, same, sizeof plain);
    check_evaluation(false);
    *c = sites;
    float *own[] = {spread_scales(c, plain_site, 1, 0.3f), spread_scales(c, half, 1000, 0.3f)};
    write_broken(c, "scan_order", cJSON_CreateString("rows"));
    for (int i = 0; i < 2; i++)
        draw_latent(backends[i], broken, other[i]);
    double power = 0, change = 0, difference = 0;
    for (int i = 0; i < 4 * 8 * 8; i++) {
        power += (double)plain[i] * plain[i];
        change += pow((double)other[0][i] - plain[i], 2);
        difference += pow((double)other[0][i] - other[1][i], 2);
    }
    print_message("tokens of their own change the latent by NMSE %.1e, cpu differs by %.1e\n", change / power,
                  difference / power);
    assert_true(change > 1e-6 * power && difference < 0.1 * change);
    check_evaluation(true);

    struct temp_log t;
    struct sdg_pipeline *p;
    struct sdg_image *image = NULL;
    assert_int_equal(open_folder(broken, &t, &p), SDG_OK);
    struct sdg_generate_params large = {.prompt = "a red apple, 3d", .width = 128, .height = 64, .steps = 2};
    assert_int_equal(sdg_generate(p, &large, &image, NULL), SDG_ERROR_INPUT);
    assert_true(!image && t.errors == 1);
    if (!strstr(t.last, plain_site) || !strstr(t.last, "are for 2x2 tokens, but 4x2 come with this width and height"))
        fail_msg("%s", t.last);
    sdg_pipeline_destroy(&p);
    const struct sdg_pipeline_params resampling = {.model = broken,
                                                   .backend = "cpu",
                                                   .type = "f32",
                                                   .threads = 2,
                                                   .intervals = "resample",
                                                   .log = {.fn = temp_log_say, .user = temp_log(&t)->user},
                                                   .cache_dir = ""};
    assert_int_equal(sdg_pipeline_create(&resampling, &p), SDG_OK);
    assert_int_equal(sdg_generate(p, &large, &image, NULL), SDG_OK);
    assert_true(image && image->width == 128 && image->height == 64);
    sdg_image_destroy(&image);
    sdg_pipeline_destroy(&p);
    struct sdg_pipeline_params wrong = resampling;
    wrong.intervals = "stretch";
    assert_int_equal(sdg_pipeline_create(&wrong, &p), SDG_ERROR_USAGE);
    assert_non_null(strstr(t.last, "should be calibrated or resample"));
    sdg_tensors_destroy(&c->file);
    for (int i = 0; i < 2; i++) {
        sdg_free(scales[i]);
        sdg_free(own[i]);
    }
    sdg_free(c);
}

struct damage {
    const char *owner, *suffix; // of the tensor damaged
    enum { LOST, SHORTER, RETYPED, FLOAT, INTEGER } how;
    int index;
    double value;
    const char *says;
};

static void apply(struct content *c, const struct damage *d, void **copy)
{
    char name[300];
    snprintf(name, sizeof name, "%s.%s", d->owner, d->suffix);
    struct sdg_tensor *t = find(c, name);
    *copy = sdg_alloc(NULL, t->bytes, 1, "test");
    memcpy(*copy, t->data, t->bytes);
    t->data = *copy;
    switch (d->how) {
    case LOST: *t = c->tensors[--c->count]; break;
    case SHORTER:
        t->bytes -= t->bytes / (size_t)t->dims[0];
        t->dims[0]--;
        break;
    case RETYPED:
        t->dtype = t->dtype == SDG_F32 ? SDG_S32 : SDG_F32;
        t->bytes = sdg_dtype_size(t->dtype);
        for (int i = 0; i < t->rank; i++)
            t->bytes *= (size_t)t->dims[i];
        break;
    case FLOAT: ((float *)*copy)[d->index] = (float)d->value; break;
    case INTEGER: ((int32_t *)*copy)[d->index] = (int32_t)d->value; break;
    }
    if (d->how == RETYPED && t->bytes > 0) { // wider elements need room
        void *wide = sdg_alloc(NULL, t->bytes, 1, "test");
        sdg_free(*copy);
        t->data = *copy = wide;
    }
}

static void test_damaged_tensors(void **state)
{
    (void)state;
    static const struct damage damages[] = {
        {plain_site, "input_scale", LOST, 0, 0, "is missing"},
        {plain_site, "input_scale", SHORTER, 0, 0, "999"},
        {plain_site, "input_scale", RETYPED, 0, 0, "s32"},
        {plain_site, "input_scale", FLOAT, 0, NAN, "nan"},
        {plain_site, "input_scale", FLOAT, 999, NAN, "scale 999 is nan"},
        {plain_site, "input_scale", FLOAT, 500, 0, "scale 500 is 0"},
        {plain_site, "input_scale", FLOAT, 3, -1, "scale 3 is -1"},
        {plain_site, "input_scale", FLOAT, 3, INFINITY, "scale 3 is inf"},
        {silu_site, "input_scale", LOST, 0, 0, "is missing"},
        {silu_site, "input_scale", FLOAT, 700, 1e-3, "zero point 700"}, // the zero points do not fit any more
        {silu_site, "input_zero_point", LOST, 0, 0, "is missing"},
        {silu_site, "input_zero_point", SHORTER, 0, 0, "999"},
        {silu_site, "input_zero_point", RETYPED, 0, 0, "f32"},
        {silu_site, "input_zero_point", INTEGER, 0, -1, "zero point 0 is -1"},
        {silu_site, "input_zero_point", INTEGER, 999, 256, "zero point 999 is 256"},
        {silu_site, "weight_scale", LOST, 0, 0, "is missing"},
        {silu_site, "weight_scale", SHORTER, 0, 0, "63"},
        {silu_site, "weight_scale", RETYPED, 0, 0, "s32"},
        {silu_site, "weight_scale", FLOAT, 5, NAN, "scale 5 is nan"},
        {silu_site, "weight_scale", FLOAT, 5, 0, "scale 5 is 0"},
        {silu_site, "weight_scale", FLOAT, 63, -2, "scale 63 is -2"},
        {silu_site, "weight", SHORTER, 0, 0, "["},
        {silu_site, "weight", LOST, 0, 0, "the integers of"}, // the base has floats of that name
        {half, "weight_scale", LOST, 0, 0, "is missing"},     // of one half of a split skip connection
        {half, "input_scale", FLOAT, 10, NAN, "scale 10 is nan"},
    };
    static struct content c;
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        void *copy = NULL;
        read_sound(&c);
        apply(&c, &damages[i], &copy);
        write_broken(&c, NULL, NULL);
        expect_refused(SDG_ERROR_INPUT, "broken/" WEIGHTS, damages[i].owner, damages[i].says);
        sdg_tensors_destroy(&c.file);
        sdg_free(copy);
    }
    print_message("%zu damaged tensors\n", sizeof damages / sizeof *damages);
}

static void test_damaged_configurations(void **state)
{
    (void)state;
    static struct content c;
    read_sound(&c);
    write_broken(&c, "weight_bits", cJSON_CreateNumber(9));
    expect_refused(SDG_ERROR_INPUT, "broken/unet/config.json", "weight_bits", "is 9, should be 4, 6 or 8");
    write_broken(&c, "activation_bits", cJSON_CreateNumber(9));
    expect_refused(SDG_ERROR_INPUT, "broken/unet/config.json", "activation_bits", "is 9");
    write_broken(&c, "base", cJSON_CreateString("0123456789abcdef"));
    expect_refused(SDG_ERROR_INPUT, "emoji-128/" WEIGHTS, "0123456789abcdef",
                   "this is not the model that was quantized");
    write_broken(&c, "base_path", cJSON_CreateString("../gone"));
    expect_refused(SDG_ERROR_INPUT, "broken/../gone", "base_path", "put that model there");
    write_broken(&c, "static_sites", cJSON_CreateNumber(777));
    expect_refused(SDG_ERROR_INPUT, "broken", "static_sites is 777", "sites with a constant interval");
    const struct sdg_tensor scale = {.rank = 1, .dims = {1}, .bytes = sizeof(float)};
    add_tensor(&c, "no.such.layer.input_scale", SDG_F32, &scale, &(float){1});
    write_broken(&c, NULL, NULL);
    expect_refused(SDG_ERROR_INPUT, "broken/" WEIGHTS, "no.such.layer.input_scale",
                   "has no input no.such.layer to quantize");
    c.tensors[c.count - 1].name = "time_embedding.linear_1.input_smoothing";
    write_broken(&c, NULL, NULL);
    expect_refused(SDG_ERROR_INPUT, "broken/" WEIGHTS, "time_embedding.linear_1.input_smoothing", "has no input");
    c.count--;
    write_broken(&c, "corrected", cJSON_CreateTrue());
    expect_refused(SDG_ERROR_INPUT, "broken/" WEIGHTS, "correction.timesteps", "is missing");
    write_broken(&c, NULL, NULL);
    put_config(sound, NULL, NULL, "0123456789abcdef");
    expect_refused(SDG_ERROR_INPUT, "broken/" WEIGHTS, "0123456789abcdef", "was replaced or changed");
    for (size_t i = 0; i < c.count; i++) { // the base's float weights in place of all integers
        const char *name = c.tensors[i].name, *end = name + strlen(name);
        if (c.tensors[i].dtype == SDG_S8 || (end - name > 13 && strcmp(end - 13, ".weight_scale") == 0))
            c.tensors[i--] = c.tensors[--c.count];
    }
    write_broken(&c, NULL, NULL);
    expect_refused(SDG_ERROR_INPUT, "broken/" WEIGHTS, "", "no layer has integer weights");
    sdg_tensors_destroy(&c.file);
}

static int set_up(void **state)
{
    (void)state;
    make_sound();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sound_folder_draws), cmocka_unit_test(test_intervals_of_tokens),
        cmocka_unit_test(test_damaged_tensors), cmocka_unit_test(test_damaged_configurations)};
    temp_make();
    int failed = cmocka_run_group_tests(tests, set_up, NULL);
    temp_remove();
    return failed;
}
