// Models as users have them, through the public API: another autoencoder in place of an absent one, a decoder only, one
// in two files under its author's names, sizes in two numbers, weights that are no numbers.
#include "base/file.h"
#include "formats/tensors.h"
#include "sdgen/sdgen.h"
#include "tests/small_vae.h"
#include "tests/temp.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

#define MODEL SDG_SOURCE_DIR "/models/emoji-128"

enum { SIDE = 32, TENSORS_MAX = 600 };

struct said {
    int errors;
    char error[600];
};

static void listen(void *user, enum sdg_log_level level, const char *message)
{
    struct said *said = user;
    said->errors += level == SDG_LOG_ERROR;
    if (level == SDG_LOG_ERROR)
        snprintf(said->error, sizeof said->error, "%s", message);
}

static enum sdg_result create(const char *model, const char *vae, struct said *said, struct sdg_pipeline **p)
{
    *said = (struct said){0};
    *p = NULL;
    const struct sdg_pipeline_params params = {.model = model,
                                               .vae = vae,
                                               .backend = "cpu",
                                               .type = "f32",
                                               .cache_dir = "",
                                               .log = {listen, said, SDG_LOG_ERROR}};
    return sdg_pipeline_create(&params, p);
}

// Draws, or fails with *result; NULL then.
static struct sdg_image *draw(const char *model, const char *vae, const struct sdg_image *init, struct said *said,
                              enum sdg_result *result)
{
    struct sdg_pipeline *p;
    struct sdg_image *image = NULL;
    *result = create(model, vae, said, &p);
    const struct sdg_generate_params params = {.prompt = "a red apple, 3d",
                                               .width = SIDE,
                                               .height = SIDE,
                                               .steps = 1,
                                               .init_image = init,
                                               .strength = init ? sdg_number(1) : (struct sdg_number){0}};
    if (*result == SDG_OK)
        *result = sdg_generate(p, &params, &image, NULL);
    sdg_pipeline_destroy(&p);
    return image;
}

static struct sdg_image *must_draw(const char *model, const char *vae)
{
    struct said said;
    enum sdg_result result;
    struct sdg_image *image = draw(model, vae, NULL, &said, &result);
    if (!image)
        fail_msg("%s, %s: result %d, %s", model, vae ? vae : "-", (int)result, said.error);
    return image;
}

static void must_refuse(const char *model, const char *vae, const struct sdg_image *init, enum sdg_result want,
                        const char *words)
{
    struct said said;
    enum sdg_result result;
    struct sdg_image *image = draw(model, vae, init, &said, &result);
    if (image || result != want || said.errors != 1 || !strstr(said.error, words))
        fail_msg("result %d instead of %d, '%s' should have '%s'", (int)result, (int)want, said.error, words);
}

static bool same(const struct sdg_image *a, const struct sdg_image *b)
{
    return a->width == b->width && a->height == b->height &&
        memcmp(a->pixels, b->pixels, (size_t)a->width * (size_t)a->height * 3) == 0;
}

// ---- folders and files ----

// A model of links to the default one's components, but for `without`.
static const char *make_model(const char *name, const char *without)
{
    static const char *const parts[] = {"model_index.json", "scheduler", "text_encoder", "tokenizer", "unet", "vae"};
    char path[200];
    snprintf(path, sizeof path, "%s/.keep", name);
    temp_text(path, "");
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        char link[600];
        if (strcmp(parts[i], without) == 0)
            continue;
        snprintf(link, sizeof link, "%s/%s", temp_path(name), parts[i]);
        snprintf(path, sizeof path, MODEL "/%s", parts[i]);
        assert_int_equal(symlink(path, link), 0);
    }
    return temp_path(name);
}

static const char *in_part(const char *part)
{
    static char path[600];
    snprintf(path, sizeof path, MODEL "/%s/diffusion_pytorch_model.safetensors", part);
    return path;
}

static const char *keep_all(const char *name)
{
    return name;
}

// Copies a weights file, each tensor under the name that `rename` gives it; without those for which that is NULL.
static void copy_weights(const char *from, const char *to, const char *(*rename_tensor)(const char *name))
{
    static struct sdg_tensor all[TENSORS_MAX];
    static char names[TENSORS_MAX][120];
    struct sdg_tensors *source = NULL;
    size_t count = 0;
    assert_int_equal(sdg_tensors_open(NULL, from, &source), SDG_OK);
    for (size_t i = 0; i < sdg_tensors_count(source); i++) {
        const struct sdg_tensor *t = sdg_tensors_at(source, i);
        const char *name = rename_tensor(t->name);
        if (!name)
            continue;
        snprintf(names[count], sizeof names[count], "%s", name);
        all[count] = *t;
        all[count].name = names[count];
        count++;
    }
    char path[200];
    snprintf(path, sizeof path, "%s", to);
    temp_text(path, ""); // makes the folders
    assert_int_equal(sdg_tensors_write(NULL, temp_path(path), all, count, NULL, 0), SDG_OK);
    sdg_tensors_destroy(&source);
}

// ---- autoencoders ----

static const char *decoder_only(const char *name)
{
    return strncmp(name, "encoder.", 8) == 0 ? NULL : name;
}

static void test_replaced_autoencoder(void **state)
{
    (void)state;
    struct sdg_image *want = must_draw(MODEL, NULL), *got, *init;
    const char *bare = strdup(make_model("bare", "vae")), *file, *half;
    copy_weights(in_part("vae"), "v/whole.safetensors", keep_all);
    copy_weights(in_part("vae"), "v/decoder.safetensors", decoder_only);
    file = strdup(temp_path("v/whole.safetensors"));
    half = strdup(temp_path("v/decoder.safetensors"));
    must_refuse(bare, NULL, NULL, SDG_ERROR_INPUT, "--vae");
    const char *const replacements[] = {MODEL "/vae", MODEL, file, half};
    for (size_t i = 0; i < sizeof replacements / sizeof *replacements; i++) {
        got = must_draw(bare, replacements[i]);
        assert_true(same(got, want));
        sdg_image_destroy(&got);
    }
    assert_int_equal(sdg_image_create(SIDE, SIDE, &init), SDG_OK);
    must_refuse(MODEL, half, init, SDG_ERROR_USAGE, "only a decoder");
    must_refuse(MODEL, in_part("unet"), NULL, SDG_ERROR_INPUT, "not an autoencoder");
    sdg_image_destroy(&init);
    sdg_image_destroy(&want);
    free((char *)bare);
    free((char *)file);
    free((char *)half);
}

// As TAESD's author numbers its modules: the decoder's begin with a clamp.
static const char *author_decoder(const char *name)
{
    static char to[120];
    int number, end = 0;
    if (sscanf(name, "decoder.layers.%d%n", &number, &end) != 1)
        return NULL;
    snprintf(to, sizeof to, "%d%s", number + 1, name + end);
    return to;
}

static const char *author_encoder(const char *name)
{
    return strncmp(name, "encoder.layers.", 15) == 0 ? name + 15 : NULL;
}

static void test_taesd(void **state)
{
    (void)state;
    char weights[600], decoder[600];
    struct said said;
    enum sdg_result result;
    struct sdg_image *init;
    assert_true(small_vae_write(temp_path("tiny"), 4, 4));
    snprintf(weights, sizeof weights, "%s/diffusion_pytorch_model.safetensors", temp_path("tiny"));
    copy_weights(weights, "t/taesd_decoder.safetensors", author_decoder);
    snprintf(decoder, sizeof decoder, "%s", temp_path("t/taesd_decoder.safetensors"));
    assert_int_equal(sdg_image_create(SIDE, SIDE, &init), SDG_OK);
    struct sdg_image *want = must_draw(MODEL, temp_path("tiny")), *own = must_draw(MODEL, NULL),
                     *got = must_draw(MODEL, decoder);
    assert_true(same(got, want) && !same(got, own));
    must_refuse(MODEL, decoder, init, SDG_ERROR_USAGE, "only a decoder");
    copy_weights(weights, "t/taesd_encoder.safetensors", author_encoder); // found beside the decoder
    sdg_image_destroy(&got);
    sdg_image_destroy(&want);
    got = draw(MODEL, decoder, init, &said, &result);
    want = draw(MODEL, temp_path("tiny"), init, &said, &result);
    assert_true(got && want && same(got, want));
    sdg_image_destroy(&got);
    sdg_image_destroy(&want);
    sdg_image_destroy(&own);
    sdg_image_destroy(&init);
}

// ---- other habits ----

static void test_sample_size_pair(void **state)
{
    (void)state;
    struct sdg_pipeline *p;
    struct sdg_pipeline_info info;
    struct said said;
    char *json = NULL, link[600];
    size_t size;
    const char *model = make_model("pair", "unet");
    assert_int_equal(sdg_file_read(NULL, MODEL "/unet/config.json", 1 << 20, &json, &size), SDG_OK);
    char *at = strstr(json, "\"sample_size\": 16");
    assert_non_null(at);
    char *text = malloc(size + 20);
    snprintf(text, size + 20, "%.*s\"sample_size\": [8, 12]%s", (int)(at - json), json, at + 17);
    temp_text("pair/unet/config.json", text);
    snprintf(link, sizeof link, "%s/unet/diffusion_pytorch_model.safetensors", model);
    assert_int_equal(symlink(in_part("unet"), link), 0);
    if (create(model, NULL, &said, &p) != SDG_OK)
        fail_msg("%s", said.error);
    sdg_pipeline_info(p, &info);
    assert_true(info.height == 8 * info.factor && info.width == 12 * info.factor);
    struct sdg_image *image = NULL;
    assert_int_equal(sdg_generate(p, &(struct sdg_generate_params){.prompt = "x", .steps = 1}, &image, NULL), SDG_OK);
    assert_true(image->width == 96 && image->height == 64);
    sdg_image_destroy(&image);
    sdg_pipeline_destroy(&p);
    free(text);
    free(json);
}

// The file is blamed with the tensor's name, whichever network it belongs to.
static void test_bad_numbers(void **state)
{
    (void)state;
    static const struct {
        const char *part, *file, *tensor;
    } rows[] = {
        {"unet", "diffusion_pytorch_model.safetensors", "conv_in.weight"},
        {"unet", "diffusion_pytorch_model.safetensors", "time_embedding.linear_1.weight"},
        {"unet", "diffusion_pytorch_model.safetensors",
         "mid_block.attentions.0.transformer_blocks.0.attn2.to_v.weight"},
        {"vae", "diffusion_pytorch_model.safetensors", "decoder.conv_out.bias"},
        {"text_encoder", "model.safetensors", "text_model.final_layer_norm.weight"},
    };
    static struct sdg_tensor all[TENSORS_MAX];
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        char from[600], to[200], link[600], name[40];
        struct sdg_tensors *source = NULL;
        snprintf(name, sizeof name, "nan%zu", r);
        char *model = strdup(make_model(name, rows[r].part));
        snprintf(from, sizeof from, MODEL "/%s/%s", rows[r].part, rows[r].file);
        snprintf(to, sizeof to, "%s/%s/%s", name, rows[r].part, rows[r].file);
        assert_int_equal(sdg_tensors_open(NULL, from, &source), SDG_OK);
        unsigned short *numbers = NULL;
        const size_t count = sdg_tensors_count(source);
        for (size_t i = 0; i < count; i++) {
            all[i] = *sdg_tensors_at(source, i);
            if (strcmp(all[i].name, rows[r].tensor) != 0)
                continue;
            numbers = malloc(all[i].bytes);
            memcpy(numbers, all[i].data, all[i].bytes);
            assert_true(all[i].dtype == SDG_F16 || all[i].dtype == SDG_BF16);
            numbers[1] = 0x7fff; // no number in either type
            all[i].data = numbers;
        }
        assert_non_null(numbers);
        temp_text(to, "");
        assert_int_equal(sdg_tensors_write(NULL, temp_path(to), all, count, NULL, 0), SDG_OK);
        snprintf(from, sizeof from, MODEL "/%s/config.json", rows[r].part);
        snprintf(link, sizeof link, "%s/%s/config.json", model, rows[r].part);
        assert_int_equal(symlink(from, link), 0);
        must_refuse(model, NULL, NULL, SDG_ERROR_INPUT, rows[r].tensor);
        sdg_tensors_destroy(&source);
        free(numbers);
        free(model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replaced_autoencoder),
        cmocka_unit_test(test_taesd),
        cmocka_unit_test(test_sample_size_pair),
        cmocka_unit_test(test_bad_numbers),
    };
    return cmocka_run_group_tests(tests, temp_setup, temp_teardown);
}
