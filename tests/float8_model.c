// A model whose weights are 8-bit floats draws what the same model draws with those numbers stored as f32.
#include "base/file.h"
#include "base/memory.h"
#include "formats/stored.h"
#include "sdgen/sdgen.h"
#include "tests/float8.h"
#include "tests/temp.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define MODEL SDG_SOURCE_DIR "/models/emoji-128"
static const char weights_file[] = "unet/diffusion_pytorch_model.safetensors";

// torch's table, as numbers.
static float number_of(const uint32_t *torch, unsigned byte)
{
    float value;
    memcpy(&value, &torch[byte], sizeof value);
    return value;
}

// The byte whose number is nearest; looked for among all of one sign, whose order is that of their numbers.
static uint8_t nearest(const uint32_t *torch, unsigned largest, float value)
{
    unsigned low = 0, high = largest;
    while (high - low > 1) {
        const unsigned middle = (low + high) / 2;
        *(number_of(torch, middle) <= fabsf(value) ? &low : &high) = middle;
    }
    const bool up = number_of(torch, high) - fabsf(value) < fabsf(value) - number_of(torch, low);
    return (uint8_t)((up ? high : low) | (value < 0 ? 0x80 : 0));
}

// The default model in a folder of its own, with another file for the UNet.
static void link_model(const char *root)
{
    static const char *const names[] = {"model_index.json", "scheduler", "text_encoder",
                                        "tokenizer",        "vae",       "unet/config.json"};
    char name[200], target[600];
    snprintf(name, sizeof name, "%s/unet/none", root);
    temp_text(name, ""); // makes the folders
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(name, sizeof name, "%s/%s", root, names[i]);
        snprintf(target, sizeof target, MODEL "/%s", names[i]);
        assert_int_equal(symlink(target, temp_path(name)), 0);
    }
}

static void write_unet(const char *root, const struct sdg_tensor *tensors, size_t count)
{
    char name[200];
    link_model(root);
    snprintf(name, sizeof name, "%s/%s", root, weights_file);
    assert_int_equal(sdg_tensors_write(NULL, temp_path(name), tensors, count, NULL, 0), SDG_OK);
}

// "f8", a model of 8-bit floats, and "f32", of the same numbers.
static void make_models(enum sdg_dtype dtype, const uint32_t *torch, unsigned largest)
{
    struct sdg_tensors *unet;
    assert_int_equal(sdg_tensors_open(NULL, MODEL "/unet/diffusion_pytorch_model.safetensors", &unet), SDG_OK);
    const size_t count = sdg_tensors_count(unet);
    struct sdg_tensor *narrow = sdg_alloc(NULL, count, sizeof *narrow, "a test"),
                      *wide = sdg_alloc(NULL, count, sizeof *wide, "a test");
    for (size_t i = 0; i < count; i++) {
        const struct sdg_stored stored = sdg_stored_numbers(sdg_tensors_at(unet, i));
        const size_t elements = stored.outputs * stored.inputs;
        float *numbers = sdg_alloc(NULL, elements, sizeof *numbers, "a test");
        uint8_t *bytes = sdg_alloc(NULL, elements, 1, "a test");
        sdg_stored_expand(&stored, 0, elements, SDG_F32, numbers);
        for (size_t k = 0; k < elements; k++) {
            bytes[k] = nearest(torch, largest, numbers[k]);
            numbers[k] = number_of(torch, bytes[k]);
        }
        narrow[i] = wide[i] = *stored.tensor;
        narrow[i].dtype = dtype, narrow[i].data = bytes, narrow[i].bytes = elements;
        wide[i].dtype = SDG_F32, wide[i].data = numbers, wide[i].bytes = elements * sizeof *numbers;
    }
    write_unet("f8", narrow, count);
    write_unet("f32", wide, count);
    for (size_t i = 0; i < count; i++) {
        sdg_free((void *)(uintptr_t)narrow[i].data);
        sdg_free((void *)(uintptr_t)wide[i].data);
    }
    sdg_free(narrow);
    sdg_free(wide);
    sdg_tensors_destroy(&unet);
}

static struct sdg_image *draw(const char *model, const char *backend, const char *type)
{
    struct temp_log t;
    const struct sdg_log *log = temp_log(&t);
    struct sdg_pipeline *p;
    struct sdg_image *image;
    const struct sdg_pipeline_params params = {
        .model = temp_path(model), .backend = backend, .type = type, .threads = 2, .log = *log, .cache_dir = ""};
    if (sdg_pipeline_create(&params, &p) != SDG_OK)
        fail_msg("%s", t.last);
    if (sdg_generate(p, &(struct sdg_generate_params){.prompt = "a red apple, 3d", .steps = 2, .seed = 3}, &image,
                     NULL) != SDG_OK)
        fail_msg("%s", t.last);
    sdg_pipeline_destroy(&p);
    return image;
}

static void same_picture(const char *backend, const char *type)
{
    struct sdg_image *narrow = draw("f8", backend, type), *wide = draw("f32", backend, type);
    assert_int_equal(narrow->width, wide->width);
    assert_int_equal(narrow->height, wide->height);
    assert_memory_equal(narrow->pixels, wide->pixels, (size_t)wide->width * (size_t)wide->height * 3);
    sdg_image_destroy(&narrow);
    sdg_image_destroy(&wide);
}

static void test_pictures(void **state)
{
    (void)state;
    static const struct {
        enum sdg_dtype dtype;
        const uint32_t *torch;
        unsigned largest; // finite
    } types[] = {{SDG_F8_E4M3, float8_e4m3, 0x7e}, {SDG_F8_E5M2, float8_e5m2, 0x7b}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        make_models(types[i].dtype, types[i].torch, types[i].largest);
        same_picture("cpu", "f32");
        same_picture("cpu", NULL); // nobody says what to compute in: a small model on a processor does in f32
        temp_remove_tree(temp_path("f8"));
        temp_remove_tree(temp_path("f32"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_pictures)};
    temp_make();
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    temp_remove();
    return failed;
}
