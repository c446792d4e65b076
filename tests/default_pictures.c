// Pictures of the project's models against diffusers'.
//
//     default_pictures [BACKEND [RUNGS]]  on that backend only, without these features (default: cpu all cases, vulkan
//     the
//                                         shortest)
#include "sdgen/sdgen.h"
#include "tests/support/pictures.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cjson/cJSON.h>
#include <png.h>

#define GOLDENS SDG_SOURCE_DIR "/tests/goldens/default-model"

enum { LOG_BYTES = 600 };

static const char shortest[] = "cat";
static const char *without; // features that the backend does without, or NULL

static void keep_error(void *user, enum sdg_log_level level, const char *message)
{
    if (level == SDG_LOG_ERROR)
        snprintf(user, LOG_BYTES, "%s", message);
}

// NULL if the backend is not here.
static struct sdg_pipeline *open_model(const char *model, const char *backend, char error[LOG_BYTES])
{
    struct sdg_pipeline *p = NULL;
    char path[300];
    snprintf(path, sizeof path, SDG_SOURCE_DIR "/models/%s", model);
    const struct sdg_pipeline_params params = {
        .model = path,
        .backend = backend,
        .type = "f32",
        .threads = 2,
        .validation = true,
        .disable = without,
        .log = {.fn = keep_error, .user = error},
        .cache_dir = "",
    };
    const enum sdg_result result = sdg_pipeline_create(&params, &p);
    if (result != SDG_OK && result != SDG_ERROR_DEVICE && result != SDG_ERROR_UNSUPPORTED)
        fail_msg("%s", error);
    return p;
}

static struct sdg_image *read_png(const char *name)
{
    char path[600];
    png_image png = {.version = PNG_IMAGE_VERSION};
    struct sdg_image *image;
    snprintf(path, sizeof path, GOLDENS "/%s", name);
    if (!png_image_begin_read_from_file(&png, path))
        fail_msg("%s: %s", path, png.message);
    png.format = PNG_FORMAT_RGB;
    assert_int_equal(sdg_image_create((int)png.width, (int)png.height, &image), SDG_OK);
    assert_true(png_image_finish_read(&png, NULL, image->pixels, 0, NULL));
    return image;
}

// The arguments of a case in cases.json as parameters.
struct parsed {
    struct sdg_generate_params params;
    struct sdg_image *init;
};

static void parse_case(const cJSON *args, struct parsed *out)
{
    *out = (struct parsed){.params = {.plain_prompt = true}};
    struct sdg_generate_params *g = &out->params;
    for (const cJSON *a = args->child; a && a->next; a = a->next->next) {
        const char *flag = a->valuestring, *value = a->next->valuestring;
        if (!strcmp(flag, "-p"))
            g->prompt = value;
        else if (!strcmp(flag, "-n"))
            g->negative_prompt = value;
        else if (!strcmp(flag, "--steps"))
            g->steps = atoi(value);
        else if (!strcmp(flag, "--cfg-scale"))
            g->cfg_scale = sdg_number(atof(value));
        else if (!strcmp(flag, "-s"))
            g->seed = atoll(value);
        else if (!strcmp(flag, "--rng"))
            g->rng = value;
        else if (!strcmp(flag, "--sampling-method"))
            g->sampler = value;
        else if (!strcmp(flag, "--scheduler"))
            g->schedule = value;
        else if (!strcmp(flag, "-W"))
            g->width = atoi(value);
        else if (!strcmp(flag, "-H"))
            g->height = atoi(value);
        else if (!strcmp(flag, "--strength"))
            g->strength = sdg_number(atof(value));
        else if (!strcmp(flag, "-i"))
            g->init_image = out->init = read_png(value);
        else
            fail_msg("cases.json has the flag %s", flag);
    }
}

static cJSON *read_cases(void)
{
    FILE *file = fopen(GOLDENS "/cases.json", "rb");
    assert_non_null(file);
    char text[20000];
    size_t n = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[n] = 0;
    cJSON *cases = cJSON_Parse(text);
    assert_non_null(cases);
    return cases;
}

static bool is_case_of(const cJSON *c, const char *model)
{
    const cJSON *name = cJSON_GetObjectItem(c, "model");
    return strcmp(name ? name->valuestring : "emoji-128", model) == 0;
}

// Of one of the project's models.
static int compare_pictures(const char *model, const char *backend, double bound, const char *only)
{
    char error[LOG_BYTES] = "";
    struct sdg_pipeline *p = open_model(model, backend, error);
    if (!p) {
        print_message("skipped: backend %s is not here: %s\n", backend, error);
        return 0;
    }
    cJSON *cases = read_cases();
    int compared = 0;
    for (const cJSON *c = cases->child; c; c = c->next) {
        const char *name = cJSON_GetObjectItem(c, "name")->valuestring;
        if ((only && strcmp(only, name)) || !is_case_of(c, model))
            continue;
        struct parsed parsed;
        struct sdg_image *got = NULL;
        char file[100];
        parse_case(cJSON_GetObjectItem(c, "args"), &parsed);
        if (sdg_generate(p, &parsed.params, &got, NULL) != SDG_OK)
            fail_msg("%s on %s: %s", name, backend, error);
        snprintf(file, sizeof file, "%s.png", name);
        struct sdg_image *want = read_png(file);
        double quality = psnr(got, want);
        print_message("%-12s on %-10s PSNR against diffusers %.2f dB\n", name, backend, quality);
        if (quality < bound)
            fail_msg("%s on %s: PSNR %.2f dB is below %.0f", name, backend, quality, bound);
        sdg_image_destroy(&got);
        sdg_image_destroy(&want);
        sdg_image_destroy(&parsed.init);
        compared++;
    }
    cJSON_Delete(cases);
    sdg_pipeline_destroy(&p);
    return compared;
}

// Float rounding between two engines gives 69 dB and more on such pictures; a wrong constant somewhere costs more.
static void pictures_cpu(void **state)
{
    (void)state;
    assert_int_equal(compare_pictures("emoji-128", "cpu", 60, NULL), 5);
}

static void pictures_vulkan(void **state)
{
    (void)state;
    compare_pictures("emoji-128", "vulkan", 55, shortest);
}

static void pictures_mamba(void **state)
{
    (void)state;
    if (access(SDG_SOURCE_DIR "/models/emoji-128-mamba/unet/mamba_blocks.safetensors", R_OK)) {
        print_message("skipped: models/emoji-128-mamba has no blocks\n");
        skip();
    }
    assert_int_equal(compare_pictures("emoji-128-mamba", "cpu", 60, NULL), 1);
    compare_pictures("emoji-128-mamba", "vulkan", 55, NULL);
}

int main(int argc, char **argv)
{
    without = argc > 2 ? argv[2] : NULL;
    if (argc > 1)
        return compare_pictures("emoji-128", argv[1], 55, without ? shortest : NULL) > 0 ? 0 : 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pictures_cpu),
        cmocka_unit_test(pictures_vulkan),
        cmocka_unit_test(pictures_mamba),
    };
    return cmocka_run_group_tests_name("default_pictures", tests, NULL, NULL);
}
