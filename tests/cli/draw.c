// sdgen draws with the default model: exit codes, files, names, metadata, interruption. Small and few steps: what is in
// the picture is tested elsewhere.
#include "run.h"

#include "base/clock.h"

#include <cjson/cJSON.h>
#include <pty.h>

#include "apps/common/ui.h"
#include "sdgen/array.h"
#include "sdgen/picture.h"
#include "tests/small_vae.h"
#include "tests/temp.h"

// One thread: tests run beside each other. test_picture compares it with two.
#define SMALL "--backend", "cpu", "-t", "1", "-W", "64", "-H", "64", "--steps", "2"

static void expect_error(const struct run *run, int status, const char *word, int files)
{
    const char *error = strstr(run->err, "error: ");
    if (run->status != status || !error || strstr(error + 1, "error: ") || !strstr(error, word) ||
        count_files() != files)
        fail_msg("expected exit status %d, one error with '%s' and %d files, got %d, %d files and: %s", status, word,
                 files, run->status, count_files(), run->err);
}

static struct sdg_image *load(const char *path)
{
    struct app_ui ui = app_ui_create("test");
    struct sdg_image *image = NULL;
    assert_int_equal(sdg_picture_read(app_log_of(&ui), path, &image), SDG_OK);
    return image;
}

static void test_picture(void **state)
{
    (void)state;
    const struct run *run = sdgen("a red apple", SMALL, "-o", "a.png", "--seed", "7");
    expect_done(run);
    assert_int_equal(run->out_size, 0);
    assert_non_null(strstr(run->err, "seed 7\n"));
    assert_true(count_lines(run->err) < 20);
    assert_null(strchr(run->err, '\r')); // no bar: stderr is no terminal
    assert_int_equal(count_files(), 1);
    struct sdg_image *image = load("a.png");
    assert_int_equal(image->width, 64);
    assert_int_equal(image->height, 64);
    sdg_image_destroy(&image);
    struct stat status;
    assert_int_equal(stat("a.png", &status), 0);
    mode_t mask = umask(0);
    umask(mask);
    assert_int_equal(status.st_mode & 0777, 0666 & ~mask);

    // The same again, over an existing file, quietly, and by the other ways to give a prompt.
    write_whole("b.png", "old", 3);
    run = sdgen("-p", "a red apple", SMALL, "-o", "b.png", "-s", "7", "-q");
    expect_done(run);
    assert_string_equal(run->err, "");
    assert_true(same_files("a.png", "b.png"));
    write_whole("prompt.txt", "a red apple\n", 12);
    expect_done(sdgen("--prompt-file", "prompt.txt", SMALL, "-o", "c.png", "-s", "7"));
    assert_true(same_files("a.png", "c.png"));
    expect_done(run_with((char *const[]){SDGEN_PROGRAM, "--prompt-file", "-", SMALL, "-o", "c.png", "-s7", NULL},
                         "prompt.txt"));
    assert_true(same_files("a.png", "c.png"));
    write_whole("prompt.txt",
                "\xef\xbb\xbf"
                "a red apple\r\n",
                16); // from an editor on Windows
    expect_done(sdgen("--prompt-file", "prompt.txt", SMALL, "-o", "c.png", "-s", "7"));
    assert_true(same_files("a.png", "c.png"));
    expect_done(sdgen("-p",
                      "\xef\xbb\xbf"
                      "a red apple",
                      SMALL, "-o", "c.png", "-s", "7"));
    assert_true(same_files("a.png", "c.png"));
    expect_done(sdgen("a red apple", SMALL, "-o", "c.png", "-s", "7", "-t", "2"));
    assert_true(same_files("a.png", "c.png")); // the same bytes for any number of threads
    expect_done(sdgen("a red apple", SMALL, "-o", "c.png", "-s", "8"));
    assert_false(same_files("a.png", "c.png"));

    // Through a link: it stays one.
    assert_int_equal(symlink("c.png", "link.png"), 0);
    expect_done(sdgen("a red apple", SMALL, "-o", "link.png", "-s", "7"));
    assert_int_equal(lstat("link.png", &status), 0);
    assert_true(S_ISLNK(status.st_mode));
    assert_true(same_files("a.png", "c.png"));
}

static void test_formats(void **state)
{
    (void)state;
    expect_done(sdgen("x", SMALL, "-o", "a.png"));
    expect_done(sdgen("x", SMALL, "-o", "a.ppm"));
    expect_done(sdgen("x", SMALL, "-o", "a.JPG"));
    struct sdg_image *png = load("a.png"), *ppm = load("a.ppm"), *jpeg = load("a.JPG");
    assert_memory_equal(png->pixels, ppm->pixels, 3 * 64 * 64);
    // JPEG at quality 90: the mean difference stays small, the colours are not swapped.
    double difference = 0;
    for (size_t i = 0; i < 3 * 64 * 64; i++)
        difference += abs(png->pixels[i] - jpeg->pixels[i]) / (3.0 * 64 * 64);
    assert_true(jpeg->width == 64 && jpeg->height == 64 && difference < 12);
    sdg_image_destroy(&png);
    sdg_image_destroy(&ppm);
    sdg_image_destroy(&jpeg);

    const struct run *run = sdgen("x", SMALL, "-o", "-", "-q");
    expect_done(run);
    assert_string_equal(run->err, "");
    write_whole("b.png", run->out, run->out_size);
    assert_true(same_files("a.png", "b.png"));
}

static void test_batch(void **state)
{
    (void)state;
    expect_done(sdgen("x", SMALL, "-o", "a.png", "-s", "5", "-b", "2"));
    assert_int_equal(count_files(), 2);
    expect_done(sdgen("x", SMALL, "-o", "%03d-b.png", "-s", "5", "-b", "2"));
    assert_int_equal(count_files(), 4);
    expect_done(sdgen("x", SMALL, "-o", "c%d.png", "-s", "6"));
    // One rule for both kinds of names: numbers begin with 1, or where the user says.
    assert_true(same_files("a_1.png", "001-b.png"));
    assert_true(same_files("a_2.png", "002-b.png"));
    assert_true(same_files("a_2.png", "c1.png"));
    expect_done(sdgen("x", SMALL, "-o", "a.png", "-s", "6", "-b", "2", "--output-begin-idx", "2"));
    assert_true(same_files("a_2.png", "c1.png")); // drawn anew
    assert_true(file_exists("a_3.png"));
    // Not replaced where that was asked for: found before anything is computed.
    write_whole("c2.png", "old", 3);
    const struct run *run = sdgen("x", SMALL, "-o", "c%d.png", "-b", "3", "--output-begin-idx", "0", "--no-clobber");
    expect_error(run, 2, "c1.png: exists already", 7);
    assert_null(strstr(run->err, "seed"));
    expect_done(sdgen("x", SMALL, "-o", "c%d.png", "-b", "2", "--output-begin-idx", "3", "--no-clobber"));
    assert_int_equal(count_files(), 9);
    assert_false(same_files("a_1.png", "a_2.png"));
}

static void test_metadata(void **state)
{
    (void)state;
    static const struct {
        const char *prompt, *negative;
    } texts[] = {{"a red apple, 3d", "blurry"},
                 {"caf\xc3\xa9 \xc2\xa3", ""},
                 {"\xe6\x9d\xb1\xe4\xba\xac \xf0\x9f\x9a\x80", "\xc3\xa9"},
                 {"two\nlines", "also\ntwo"},
                 {"", NULL}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char expected[400];
        const char *negative = texts[i].negative;
        expect_done(run_with((char *const[]){SDGEN_PROGRAM,
                                             "-q",
                                             "-o",
                                             "a.png",
                                             SMALL,
                                             "-s",
                                             "9",
                                             "--cfg-scale",
                                             "4.5",
                                             "--sampling-method",
                                             "euler_a",
                                             "--scheduler",
                                             "discrete",
                                             "--eta",
                                             "0.5",
                                             "-p",
                                             (char *)texts[i].prompt,
                                             negative ? (char *)"-n" : NULL,
                                             (char *)negative,
                                             NULL},
                             NULL));
        snprintf(expected, sizeof expected,
                 "%s%s%s\nSteps: 2, Sampler: Euler a, Schedule type: Discrete, CFG scale: 4.5, Seed: 9, Size: 64x64, "
                 "Model: emoji-128, Eta: 0.5, Type: f32, Backend: cpu, RNG: cuda, Version: sdgen 0.1.0\n",
                 texts[i].prompt, negative && *negative ? "\nNegative prompt: " : "", negative ? negative : "");
        const struct run *run = sdgen("-M", "metadata", "--image", "a.png");
        expect_done(run);
        assert_string_equal(run->out, expected);
    }
    expect_done(sdgen("x", "-q", SMALL, "-o", "a.png", "--disable-image-metadata"));
    const struct run *run = sdgen("-M", "metadata", "--image", "a.png");
    expect_error(run, 2, "a.png", 1);
    write_whole("b.png", "no picture", 10);
    expect_error(sdgen("-M", "metadata", "--image", "b.png"), 2, "b.png", 2);
    expect_error(sdgen("-M", "metadata", "--image", "absent.png"), 2, "absent.png", 2);
    expect_error(sdgen("-M", "metadata", "--image", "."), 2, ".", 2);
}

static void test_seed(void **state)
{
    (void)state;
    const struct run *run = sdgen("x", SMALL, "-o", "a.png", "-s", "-1");
    expect_done(run);
    long long seed = -1;
    const char *at = strstr(run->err, "seed ");
    assert_non_null(at);
    assert_int_equal(sscanf(at, "seed %lld", &seed), 1);
    assert_true(seed >= 0);
    char expected[64];
    snprintf(expected, sizeof expected, "Seed: %lld,", seed);
    run = sdgen("-M", "metadata", "--image", "a.png");
    assert_non_null(strstr(run->out, expected));
    run = sdgen("x", SMALL, "-o", "b.png", "-s", "-1");
    expect_done(run);
    assert_false(same_files("a.png", "b.png")); // 2^-32 that they are
    snprintf(expected, sizeof expected, "%lld", seed);
    expect_done(sdgen("x", SMALL, "-o", "b.png", "-s", expected));
    assert_true(same_files("a.png", "b.png"));
}

static void test_init_image(void **state)
{
    (void)state;
    expect_done(sdgen("x", "--backend", "cpu", "-t", "1", "-W", "64", "-H", "96", "--steps", "2", "-o", "a.ppm", "-q"));
    // the size is the init image's
    expect_done(sdgen("x", "--backend", "cpu", "-t", "1", "--steps", "2", "-i", "a.ppm", "--strength", "0.5", "-o",
                      "b.png", "-q"));
    struct sdg_image *image = load("b.png");
    assert_true(image->width == 64 && image->height == 96);
    sdg_image_destroy(&image);
    const struct run *run = sdgen("-M", "metadata", "--image", "b.png");
    assert_non_null(strstr(run->out, "Denoising strength: 0.5,"));
    run = sdgen("x", SMALL, "-i", "a.ppm", "-o", "c.ppm");
    expect_done(run);
    assert_non_null(strstr(run->err, "middle"));
    image = load("c.ppm");
    assert_true(image->width == 64 && image->height == 64);
    sdg_image_destroy(&image);
    expect_done(run_with((char *const[]){SDGEN_PROGRAM, "x", SMALL, "-i", "-", "-o", "d.ppm", "-q", NULL}, "a.ppm"));
    assert_true(same_files("c.ppm", "d.ppm"));
    write_whole("broken.png", "\x89PNG\r\n\x1a\n and nothing", 20);
    expect_error(sdgen("x", SMALL, "-i", "broken.png", "-o", "e.png"), 2, "broken.png", 5);
    expect_error(sdgen("x", SMALL, "-i", "absent.png", "-o", "e.png"), 2, "absent.png", 5);
    expect_error(run_with((char *const[]){SDGEN_PROGRAM, "x", SMALL, "-i", "-", "-o", "e.png", NULL}, NULL), 2,
                 "standard input", 5);
}

static void test_arrays(void **state)
{
    (void)state;
    struct app_ui ui = app_ui_create("test");
    expect_done(sdgen("x", SMALL, "-o", "a.png", "--dump-latents", "last.npy", "--dump-steps", "steps.safetensors"));
    expect_done(sdgen("x", SMALL, "-o", "a.png", "--dump-latents", "last.safetensors", "--dump-steps", "steps.npy"));
    struct sdg_array *npy, *tensor, *last, *first, *steps;
    assert_int_equal(sdg_array_read(app_log_of(&ui), "last.npy", "latents", &npy), SDG_OK);
    assert_int_equal(sdg_array_read(app_log_of(&ui), "last.safetensors", "latents", &tensor), SDG_OK);
    assert_int_equal(sdg_array_read(app_log_of(&ui), "steps.safetensors", "latents", &last), SDG_OK);
    assert_int_equal(sdg_array_read(app_log_of(&ui), "steps.safetensors", "latents_step0", &first), SDG_OK);
    assert_int_equal(sdg_array_read(app_log_of(&ui), "steps.npy", "latents", &steps), SDG_OK);
    const size_t size = 4 * 8 * 8;
    assert_true(npy->dims == 4 && npy->shape[0] == 1 && npy->shape[1] == 4 && npy->shape[2] == 8 && npy->shape[3] == 8);
    assert_true(steps->dims == 4 && steps->shape[0] == 2);
    assert_memory_equal(npy->data, tensor->data, size * sizeof(float));
    assert_memory_equal(npy->data, last->data, size * sizeof(float));
    assert_memory_equal(steps->data, first->data, size * sizeof(float));
    assert_memory_equal(steps->data + size, last->data, size * sizeof(float));

    // Noise from a file is used: the same picture for any seed with a sampler that draws nothing else; its size is the
    // picture's.
    struct sdg_array noise = {"noise", 4, {1, 4, 8, 8}, npy->data};
    assert_int_equal(sdg_arrays_write(app_log_of(&ui), "noise.safetensors", &noise, 1), SDG_OK);
    assert_int_equal(sdg_arrays_write(app_log_of(&ui), "noise.npy", &noise, 1), SDG_OK);
    expect_done(sdgen("x", "--backend", "cpu", "-t", "1", "--steps", "2", "-s", "1", "-o", "b.ppm", "--sampling-method",
                      "euler", "--load-noise", "noise.npy"));
    expect_done(
        sdgen("x", SMALL, "-s", "2", "-o", "c.ppm", "--sampling-method", "euler", "--load-noise", "noise.safetensors"));
    expect_done(sdgen("x", SMALL, "-s", "2", "-o", "d.ppm", "--sampling-method", "euler"));
    assert_true(same_files("b.ppm", "c.ppm"));
    assert_false(same_files("c.ppm", "d.ppm"));
    int files = count_files();
    expect_error(sdgen("x", "-W", "128", "-H", "128", "--load-noise", "noise.npy", "-o", "e.png"), 1, "--load-noise",
                 files);
    noise.shape[1] = 2;
    noise.shape[2] = 16;
    assert_int_equal(sdg_arrays_write(app_log_of(&ui), "noise.npy", &noise, 1), SDG_OK);
    expect_error(sdgen("x", "--load-noise", "noise.npy", "-o", "e.png"), 2, "noise.npy", files);
    sdg_array_destroy(&npy);
    sdg_array_destroy(&tensor);
    sdg_array_destroy(&last);
    sdg_array_destroy(&first);
    sdg_array_destroy(&steps);
}

// Without flags a model is drawn as its folder says; what is unusual about a picture is said once.
static void test_model_by_itself(void **state)
{
    (void)state;
    const struct run *run = sdgen("a dinosaur", "--backend", "cpu", "-W", "64", "-H", "64", "-o", "a.ppm", "-v");
    expect_done(run);
    assert_non_null(strstr(run->err, "20 steps of dpm++2m / karras"));
    assert_non_null(strstr(run->err, "guidance: 2.5"));
    assert_non_null(strstr(run->err, "emoji-128 does not know the word 'dinosaur': it draws something else\n"));
    assert_non_null(strstr(run->err, "emoji-128 was made for 128x128: pictures of 64x64 tend to be blurred\n"));
    expect_done(sdgen("a dinosaur", "--backend", "cpu", "-W", "64", "-H", "64", "-o", "b.ppm", "--steps", "20",
                      "--sampling-method", "dpm++2m", "--scheduler", "karras", "--cfg-scale", "2.5"));
    assert_true(same_files("a.ppm", "b.ppm"));
    run = sdgen("a cat face", "--backend", "cpu", "--steps", "1", "-W", "128", "-H", "192", "-o", "c%d.ppm");
    expect_done(run); // neither far from its size nor unknown
    assert_null(strstr(run->err, "tend to"));
    assert_null(strstr(run->err, "does not know"));
    run = sdgen("a cat face", "--backend", "cpu", "--steps", "1", "-W", "256", "-H", "192", "-o", "d%d.ppm", "-b", "2");
    expect_done(run);
    const char *hint = strstr(run->err, "pictures of 256x192 tend to repeat objects");
    assert_non_null(hint);
    assert_null(strstr(hint, "was made for")); // the second picture does not say it again
    expect_done(sdgen("x", "-q", SMALL, "-o", "e.png"));
    assert_non_null(strstr(sdgen("-M", "metadata", "--image", "e.png")->out,
                           "Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 2.5,"));
}

// The guidance is the model's unless it is given: of an LCM 8.5. The text in the picture holds what was used.
static void test_guidance_of_model(void **state)
{
    (void)state;
    static const char *const shared[] = {"text_encoder", "tokenizer", "unet", "vae"};
    static char index[1 << 14];
    static const char scheduler[] = "{\"_class_name\":\"LCMScheduler\"}";
    char path[600], target[600];
    assert_int_equal(mkdir("lcm", 0777), 0);
    assert_int_equal(mkdir("lcm/scheduler", 0777), 0);
    write_whole("lcm/scheduler/scheduler_config.json", scheduler, sizeof scheduler - 1);
    for (size_t i = 0; i < sizeof shared / sizeof *shared; i++) {
        snprintf(path, sizeof path, "lcm/%s", shared[i]);
        snprintf(target, sizeof target, SDG_SOURCE_DIR "/models/emoji-128/%s", shared[i]);
        assert_int_equal(symlink(target, path), 0);
    }
    size_t size = read_whole(SDG_SOURCE_DIR "/models/emoji-128/model_index.json", index, sizeof index);
    char *name = strstr(index, "\"DDIMScheduler\"");
    assert_non_null(name);
    memcpy(name, "\"LCMScheduler\" ", 15);
    name = strstr(index, "\"_sdgen\""); // the default model's wishes are not an LCM's
    assert_non_null(name);
    memcpy(name, "\"_other\"", 8);
    write_whole("lcm/model_index.json", index, size);
    expect_done(sdgen("x", "-q", SMALL, "-m", "lcm", "-o", "a.png"));
    assert_non_null(strstr(sdgen("-M", "metadata", "--image", "a.png")->out, "CFG scale: 8.5,"));
    expect_done(sdgen("x", "-q", SMALL, "-m", "lcm", "--cfg-scale", "7", "-o", "a.png"));
    assert_non_null(strstr(sdgen("-M", "metadata", "--image", "a.png")->out, "CFG scale: 7,"));
    for (size_t i = 0; i < sizeof shared / sizeof *shared; i++) {
        snprintf(path, sizeof path, "lcm/%s", shared[i]);
        unlink(path);
    }
    unlink("lcm/model_index.json");
    unlink("lcm/scheduler/scheduler_config.json");
    rmdir("lcm/scheduler");
    rmdir("lcm");
}

// An autoencoder of factor 4: sizes, noise and latents follow it.
static void test_other_factor(void **state)
{
    (void)state;
    struct app_ui ui = app_ui_create("test");
    static float data[4 * 16 * 16];
    struct sdg_array noise = {"noise", 4, {1, 4, 8, 8}, data}, *last;
    for (size_t i = 0; i < 4 * 16 * 16; i++)
        data[i] = (float)((i * 53) % 29) / 10.0f - 1.4f;
    assert_true(small_vae_write("vae4", 3, 4));
#define FACTOR4 "x", "--backend", "cpu", "-t", "1", "--steps", "2", "--vae", "vae4"
    assert_int_equal(sdg_arrays_write(app_log_of(&ui), "noise.npy", &noise, 1), SDG_OK);
    int files = count_files();
    expect_error(sdgen(FACTOR4, "-W", "64", "-H", "64", "--load-noise", "noise.npy", "-o", "a.ppm"), 1, "32 x 32",
                 files);
    expect_done(sdgen(FACTOR4, "--load-noise", "noise.npy", "-o", "a.ppm", "--dump-latents", "last.npy", "--preview",
                      "proj", "--preview-path", "p.ppm"));
    struct sdg_image *picture = load("a.ppm"), *preview = load("p.ppm");
    assert_true(picture->width == 32 && picture->height == 32 && preview->width == 32 && preview->height == 32);
    sdg_image_destroy(&picture);
    sdg_image_destroy(&preview);
    assert_true(same_files("a.ppm", "p.ppm"));
    assert_int_equal(sdg_array_read(app_log_of(&ui), "last.npy", "latents", &last), SDG_OK);
    assert_true(last->shape[1] == 4 && last->shape[2] == 8 && last->shape[3] == 8);
    sdg_array_destroy(&last);
    // Another size is drawn larger, and cut.
    const struct run *cut = sdgen(FACTOR4, "-W", "31", "-H", "18", "-o", "b.ppm");
    expect_done(cut);
    assert_non_null(strstr(cut->err, "31 x 18 pixels: drawn at 32 x 20, multiples of 4"));
    picture = load("b.ppm");
    assert_true(picture->width == 31 && picture->height == 18);
    sdg_image_destroy(&picture);
    // 36 x 20 pixels are no size for the usual factor.
    expect_done(sdgen(FACTOR4, "-W", "36", "-H", "20", "-o", "b.ppm"));
    picture = load("b.ppm");
    assert_true(picture->width == 36 && picture->height == 20);
    sdg_image_destroy(&picture);
    expect_done(sdgen(FACTOR4, "-i", "b.ppm", "-o", "c.ppm"));
    picture = load("c.ppm");
    assert_true(picture->width == 36 && picture->height == 20);
    sdg_image_destroy(&picture);
    unlink("vae4/config.json");
    unlink("vae4/diffusion_pytorch_model.safetensors");
}

// Whether it is a weight of the network's ends, which become `channels` wide; then *bytes is its new size.
static bool widen(cJSON *entry, int channels, size_t *bytes)
{
    cJSON *shape = cJSON_GetObjectItem(entry, "shape"), *side;
    const bool first = !strcmp(entry->string, "conv_in.weight");
    if (!first && strcmp(entry->string, "conv_out.weight") && strcmp(entry->string, "conv_out.bias"))
        return false;
    assert_string_equal(cJSON_GetObjectItem(entry, "dtype")->valuestring, "F16");
    cJSON_SetNumberValue(cJSON_GetArrayItem(shape, first), channels);
    *bytes = 2;
    cJSON_ArrayForEach(side, shape) *bytes *= (size_t)side->valuedouble;
    return true;
}

// The header of the default model's UNet weights with both ends of the network `channels` wide; *written bytes of data
// go to `out`, the wide weights any numbers that the file has.
static cJSON *wide_model(const char *from, size_t size, const char *data, int channels, char *out, size_t *written)
{
    cJSON *header = cJSON_ParseWithLength(from, size), *entry;
    assert_non_null(header);
    *written = 0;
    cJSON_ArrayForEach(entry, header)
    {
        cJSON *offsets = cJSON_GetObjectItem(entry, "data_offsets");
        if (!offsets) // __metadata__
            continue;
        const size_t begin = (size_t)cJSON_GetArrayItem(offsets, 0)->valuedouble;
        size_t bytes = (size_t)cJSON_GetArrayItem(offsets, 1)->valuedouble - begin;
        memcpy(out + *written, data + (widen(entry, channels, &bytes) ? 0 : begin), bytes);
        cJSON_SetNumberValue(cJSON_GetArrayItem(offsets, 0), (double)*written);
        *written += bytes;
        cJSON_SetNumberValue(cJSON_GetArrayItem(offsets, 1), (double)*written);
    }
    return header;
}

// The default model with latents of `channels` channels, in the folder `to`: what it draws is no picture.
static void write_wide_model(const char *to, int channels)
{
    static char weights[32 << 20], wide[32 << 20];
    static const char *const shared[] = {"model_index.json", "scheduler", "text_encoder", "tokenizer"};
    char path[600], target[600], *text;
    assert_int_equal(mkdir(to, 0777), 0);
    for (size_t i = 0; i < sizeof shared / sizeof *shared; i++) {
        snprintf(path, sizeof path, "%s/%s", to, shared[i]);
        snprintf(target, sizeof target, SDG_SOURCE_DIR "/models/emoji-128/%s", shared[i]);
        assert_int_equal(symlink(target, path), 0);
    }
    snprintf(path, sizeof path, "%s/vae", to);
    assert_true(small_vae_write(path, 4, channels));
    snprintf(path, sizeof path, "%s/unet", to);
    assert_int_equal(mkdir(path, 0777), 0);

    read_whole(SDG_SOURCE_DIR "/models/emoji-128/unet/config.json", weights, sizeof weights);
    cJSON *json = cJSON_Parse(weights);
    cJSON_SetNumberValue(cJSON_GetObjectItem(json, "in_channels"), channels);
    cJSON_SetNumberValue(cJSON_GetObjectItem(json, "out_channels"), channels);
    text = cJSON_PrintUnformatted(json);
    snprintf(path, sizeof path, "%s/unet/config.json", to);
    write_whole(path, text, strlen(text));
    cJSON_free(text);
    cJSON_Delete(json);

    size_t size = read_whole(SDG_SOURCE_DIR "/models/emoji-128/unet/diffusion_pytorch_model.safetensors", weights,
                             sizeof weights);
    uint64_t old = 0;
    assert_true(size > 8 && size < sizeof weights - 1);
    memcpy(&old, weights, 8);
    size_t data;
    json = wide_model(weights + 8, old, weights + 8 + old, channels, wide + 8 + old, &data);
    text = cJSON_PrintUnformatted(json);
    size_t length = strlen(text);
    assert_true(length <= old && 8 + old + data <= sizeof wide); // what was printed is no longer, the rest is spaces
    memcpy(wide, &old, 8);
    memset(wide + 8, ' ', old);
    memcpy(wide + 8, text, length);
    cJSON_free(text);
    cJSON_Delete(json);
    snprintf(path, sizeof path, "%s/unet/diffusion_pytorch_model.safetensors", to);
    write_whole(path, wide, 8 + old + data);
}

static void remove_wide_model(const char *to)
{
    static const char *const names[] = {"model_index.json",
                                        "scheduler",
                                        "text_encoder",
                                        "tokenizer",
                                        "vae/config.json",
                                        "vae/diffusion_pytorch_model.safetensors",
                                        "vae",
                                        "unet/config.json",
                                        "unet/diffusion_pytorch_model.safetensors",
                                        "unet"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[600];
        snprintf(path, sizeof path, "%s/%s", to, names[i]);
        assert_int_equal(remove(path), 0);
    }
}

// Latents of 8 channels: drawn and stored as any others, shown by the decoder, with one warning that there is no
// projection of them.
static void test_other_channels(void **state)
{
    (void)state;
    struct app_ui ui = app_ui_create("test");
    struct sdg_array *last;
    write_wide_model("wide", 8);
    const struct run *run =
        sdgen("x", SMALL, "-m", "wide", "-o", "a.ppm", "-b", "2", "--preview", "proj", "--preview-path", "p.ppm");
    expect_done(run);
    const char *warning = strstr(run->err, "warning: --preview: there is no proj for latents of 8 channels");
    assert_true(warning && !strstr(warning + 1, "warning: "));
    assert_true(file_exists("a_1.ppm") && file_exists("a_2.ppm") && !file_exists("p.ppm"));
    run = sdgen("x", SMALL, "-m", "wide", "-o", "b.ppm", "--preview", "vae", "--preview-path", "p.ppm");
    expect_done(run);
    assert_null(strstr(run->err, "warning: --preview"));
    assert_true(same_files("a_1.ppm", "b.ppm") && same_files("p.ppm", "b.ppm")); // at the end the picture itself
    unlink("p.ppm");
    expect_done(sdgen("x", SMALL, "-m", "wide", "-o", "b.ppm", "--dump-latents", "last.npy"));
    assert_true(same_files("a_1.ppm", "b.ppm"));
    assert_int_equal(sdg_array_read(app_log_of(&ui), "last.npy", "latents", &last), SDG_OK);
    assert_true(last->dims == 4 && last->shape[1] == 8 && last->shape[2] == 8 && last->shape[3] == 8);
    sdg_array_destroy(&last);
    remove_wide_model("wide");
}

// The default model with another scheduler_config.json (NULL: none) and class of pipeline, as the folder "m".
static void write_scheduler(const char *config, const char *pipeline)
{
    static const char *const shared[] = {"text_encoder", "tokenizer", "unet", "vae"};
    char index[200], path[100], target[600];
    if (!file_exists("m")) {
        assert_true(mkdir("m", 0777) == 0 && mkdir("m/scheduler", 0777) == 0);
        for (size_t i = 0; i < sizeof shared / sizeof *shared; i++) {
            snprintf(path, sizeof path, "m/%s", shared[i]);
            snprintf(target, sizeof target, SDG_SOURCE_DIR "/models/emoji-128/%s", shared[i]);
            assert_int_equal(symlink(target, path), 0);
        }
    }
    snprintf(index, sizeof index, "{\"_class_name\":\"%s\"}", pipeline);
    write_whole("m/model_index.json", index, strlen(index));
    remove("m/scheduler/scheduler_config.json");
    if (config)
        write_whole("m/scheduler/scheduler_config.json", config, strlen(config));
}

static void remove_scheduler(void)
{
    static const char *const names[] = {
        "text_encoder", "tokenizer", "unet", "vae", "model_index.json", "scheduler/scheduler_config.json", "scheduler"};
    char path[100];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "m/%s", names[i]);
        remove(path);
    }
}

#define TRAINED "\"beta_start\":0.00085,\"beta_end\":0.012,\"beta_schedule\":\"scaled_linear\""

// What diffusers' pipelines correct: the default model has clip_sample false and steps_offset 1, an old configuration
// has neither key, which stands for true and 0.
static void test_old_scheduler(void **state)
{
    (void)state;
    static const char old[] = "{\"_class_name\":\"DDIMScheduler\",\"set_alpha_to_one\":false," TRAINED "}";
    expect_done(sdgen("x", SMALL, "--cfg-scale", "7", "--scheduler", "model", "-o", "right.ppm"));
    write_scheduler(old, "StableDiffusionPipeline");
    expect_done(sdgen("x", SMALL, "-m", "m", "--scheduler", "model", "-o", "old.ppm"));
    assert_true(same_files("right.ppm", "old.ppm"));
    write_scheduler(old, "LatentConsistencyModelPipeline"); // corrects nothing
    expect_done(sdgen("x", SMALL, "-m", "m", "--scheduler", "model", "-o", "other.ppm"));
    assert_false(same_files("right.ppm", "other.ppm"));
    remove_scheduler();
}

static void test_foreign_scheduler(void **state)
{
    (void)state;
    static const char flow[] = "{\"_class_name\":\"FlowMatchEulerDiscreteScheduler\",\"shift\":3}",
                      solver[] = "{\"_class_name\":\"SASolverScheduler\"," TRAINED "}",
                      nonsense[] = "{\"_class_name\":\"DPMSolverMultistepScheduler\",\"lambda_min_clipped\":-Infinity,"
                                   "\"algorithm_type\":\"nonsense\"," TRAINED "}",
                      flow_sigmas[] =
                          "{\"_class_name\":\"UniPCMultistepScheduler\",\"use_flow_sigmas\":true," TRAINED "}",
                      timesteps[] =
                          "{\"_class_name\":\"EulerDiscreteScheduler\",\"timestep_type\":\"odd\"," TRAINED "}";
    static const struct {
        const char *config, *method, *schedule;
        int status;
        const char *words;
    } cases[] = {
        {flow, NULL, NULL, 1, "class is 'FlowMatchEulerDiscreteScheduler'"},
        {flow, NULL, "model", 1, "class is 'FlowMatchEulerDiscreteScheduler'"},
        {flow, "euler", "karras", 1, "class is 'FlowMatchEulerDiscreteScheduler'"},
        {flow_sigmas, "euler", NULL, 1, "use_flow_sigmas is true"},
        {solver, NULL, NULL, 1, "class 'SASolverScheduler'"},
        {solver, NULL, "model", 1, "class 'SASolverScheduler'"},
        {solver, "euler", NULL, 0, "class 'SASolverScheduler'"},
        {solver, NULL, "karras", 0, "class 'SASolverScheduler'"},
        {nonsense, NULL, NULL, 1, "algorithm_type is \"nonsense\", supported: dpmsolver++"},
        {nonsense, NULL, "model", 1, "algorithm_type is \"nonsense\""},
        {nonsense, "dpm++2m", "model", 0, "algorithm_type is \"nonsense\""},
        {timesteps, NULL, NULL, 1, "timestep_type is \"odd\", supported: discrete"},
        {timesteps, "dpm++2m", "model", 1, "timestep_type is \"odd\""},
        {timesteps, "dpm++2m", NULL, 0, "timestep_type is \"odd\""},
        {NULL, NULL, "model", 1, "has no scheduler/scheduler_config.json"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *arguments[32] = {SDGEN_PROGRAM, "x", SMALL, "--steps", "1", "-m", "m", "-o", "a.ppm"};
        int n = 0;
        while (arguments[n])
            n++;
        if (cases[i].method) {
            arguments[n++] = "--sampling-method";
            arguments[n++] = (char *)(uintptr_t)cases[i].method;
        }
        if (cases[i].schedule) {
            arguments[n++] = "--scheduler";
            arguments[n++] = (char *)(uintptr_t)cases[i].schedule;
        }
        write_scheduler(cases[i].config, "StableDiffusionPipeline");
        struct run run = {.status = finish(start(arguments, NULL, "/dev/null", "err"))};
        read_whole("err", run.err, sizeof run.err);
        if (run.status != cases[i].status || !strstr(run.err, cases[i].words) ||
            !strstr(run.err, run.status ? "error: " : "warning: ") || file_exists("a.ppm") != (run.status == 0))
            fail_msg("case %zu: status %d, %s", i, run.status, run.err);
        remove("a.ppm");
        remove("err");
    }
    remove_scheduler();
}

// Without flags the model's own scheduler draws where the usual one would contradict the model.
static void test_model_decides(void **state)
{
    (void)state;
    static const struct {
        const char *config, *method, *word;
        bool decides;
    } cases[] = {
        {"{\"_class_name\":\"EDMEulerScheduler\"}", "euler", "EDM", true},
        {"{\"_class_name\":\"EulerDiscreteScheduler\",\"timestep_spacing\":\"trailing\"," TRAINED "}", "euler",
         "trailing timesteps", true},
        {"{\"_class_name\":\"EulerDiscreteScheduler\",\"timestep_spacing\":\"leading\"," TRAINED "}", "euler", "seed",
         false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_scheduler(cases[i].config, "StableDiffusionPipeline");
        const struct run *run = sdgen("x", SMALL, "--steps", "2", "-m", "m", "-o", "own.ppm");
        expect_done(run);
        assert_non_null(strstr(run->err, cases[i].word));
        expect_done(sdgen("x", SMALL, "--steps", "2", "-m", "m", "--sampling-method",
                          (char *)(uintptr_t)cases[i].method, "--scheduler", "model", "-o", "named.ppm"));
        assert_true(same_files("own.ppm", "named.ppm") == cases[i].decides);
    }
    remove_scheduler();
}

// Models by descriptors, which a shell or the program that starts this one has opened: a folder, and single files.
static void test_descriptors(void **state)
{
    (void)state;
    if (!file_exists("/proc/self/fd")) {
        print_message("skipped: there is no /proc/self/fd\n");
        return;
    }
    static char model[] = SDG_SOURCE_DIR "/models/emoji-128", fd[] = "/proc/self/fd/0",
                vae[] = SDG_SOURCE_DIR "/models/emoji-128/vae/diffusion_pytorch_model.safetensors";
    expect_done(sdgen("x", SMALL, "-s", "7", "--vae", vae, "-o", "a.ppm"));
    expect_done(run_with((char *const[]){SDGEN_PROGRAM, "x", SMALL, "-s", "7", "--vae", fd, "-o", "b.ppm", NULL}, vae));
    assert_true(same_files("a.ppm", "b.ppm"));
    expect_done(sdgen("x", SMALL, "-s", "7", "-o", "a.ppm"));
    expect_done(run_with((char *const[]){SDGEN_PROGRAM, "x", SMALL, "-s", "7", "-m", fd, "-o", "b.ppm", NULL}, model));
    assert_true(same_files("a.ppm", "b.ppm"));
    // A file as a checkpoint: it is read, and found to be a part of one.
    expect_error(run_with((char *const[]){SDGEN_PROGRAM, "x", SMALL, "-m", fd, NULL}, vae), 2,
                 "/proc/self/fd/0: is only an autoencoder", 2);
}

static void test_failures(void **state)
{
    (void)state;
    unsetenv("SDGEN_MODEL");
    expect_error(sdgen("x", "-m", "absent"), 2, "absent", 0);
    expect_error(sdgen("x", "-o", "absent/a.png"), 2, "absent/a.png", 0);
    expect_error(sdgen("x", "-o", "/proc/a.png"), 2, "/proc/a.png", 0);
    expect_error(sdgen("x", "--dump-latents", "absent/a.npy"), 2, "absent/a.npy", 0);
    expect_error(sdgen("x", "--preview", "proj", "--preview-path", "absent/a.png"), 2, "absent/a.png", 0);
    // what would be lost
    expect_error(sdgen("x", "-o", "a.png", "--preview", "vae", "--preview-path", "./a.png"), 1, "one file", 0);
    expect_error(sdgen("x", "-b", "2", "-o", "a_%d.png", "--preview", "vae", "--preview-path", "a_2.png"), 1,
                 "--preview-path and --output", 0);
    expect_error(sdgen("x", "--dump-latents", "a.npy", "--dump-steps", "a.npy"), 1, "one file", 0);
    expect_error(sdgen("x", "--prompt-file", "absent.txt"), 1, "twice", 0);
    expect_error(sdgen("--prompt-file", "absent.txt"), 2, "absent.txt", 0);
    static const struct {
        const char *text, *word;
        size_t size;
    } files[] = {
        {"\xff\xfe"
         "a\0",
         "UTF-16", 4},
        {"a\0 \0", "UTF-16", 4},
        {"a\0b", "zero byte", 3},
        {"a\0b\n", "zero byte", 4},
        {"a\ncaf\xe9\n", "line 2", 7},
        {"a <lyco:x:1>", "<lyco:x:1>", 12},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        write_whole("prompt.txt", files[i].text, files[i].size);
        const int status = files[i].word[0] == '<' ? 1 : 2;
        expect_error(sdgen("--prompt-file", "prompt.txt"), status, files[i].word, 1);
        expect_error(sdgen("x", "--negative-prompt-file", "prompt.txt"), status, files[i].word, 1);
    }
    unlink("prompt.txt");
    expect_error(sdgen("x", "--max-vram", "0.001"), 3, "MiB", 0);
    expect_error(sdgen("x", SMALL, "-W", "16384", "-H", "16384", "--max-vram", "0.25"), 3, "MiB", 0);
    assert_int_equal(mkdir("folder.png", 0777), 0);
    expect_error(sdgen("x", "-o", "folder.png"), 1, "folder.png", 1);
    const struct run *run = sdgen("x", "--backend", "vulkan:99");
    assert_true(run->status == 3 || run->status == 1); // 1: this build has no Vulkan
    assert_non_null(strstr(run->err, "ulkan"));
    assert_int_equal(count_files(), 1);

    // A full disk: found while writing, nothing is left.
    if (file_exists("/dev/full")) {
        char *arguments[] = {SDGEN_PROGRAM, "x", SMALL, "-o", "-", NULL};
        int status = finish(start(arguments, NULL, "/dev/full", "err"));
        struct run failed = {.status = status};
        read_whole("err", failed.err, sizeof failed.err);
        expect_error(&failed, 2, "standard output", 2);
        assert_int_equal(symlink("/dev/full", "full.png"), 0);
        expect_error(sdgen("x", SMALL, "-o", "full.png"), 2, "full.png", 3);
        expect_error(sdgen("x", SMALL, "-o", "a.png", "--dump-latents", "full.npy", "-i", "absent.png"), 2,
                     "absent.png", 3);
    }
}

static void test_lists(void **state)
{
    (void)state;
    const struct run *run = sdgen("--version");
    expect_done(run);
    assert_int_equal(strncmp(run->out, "sdgen 0.", 8), 0);
    assert_string_equal(run->err, "");
    run = sdgen("--list-devices");
    expect_done(run);
    assert_non_null(strstr(run->out, "cpu"));
    assert_non_null(strstr(run->out, "reference"));
    run = sdgen("--plan", "--backend", "cpu", SMALL);
    expect_done(run);
    assert_non_null(strstr(run->out, "UNet"));
    assert_non_null(strstr(run->out, "64x64"));
    int lines = 0;
    for (const char *line = run->out, *end; (end = strchr(line, '\n')); line = end + 1) {
        lines++;
        if (end - line > 80 && strncmp(line, "model: ", 7))
            fail_msg("longer than 80 columns: %s", line);
    }
    assert_in_range(lines, 10, 24);
    assert_non_null(strstr(run->out, "UNet kernels: "));
    assert_non_null(strstr(run->out, "a run of the UNet: "));
    assert_non_null(strstr(run->out, "dispatches move "));
    assert_null(strstr(run->out, "down_blocks"));
    run = sdgen("--plan", "-v", "--backend", "cpu", SMALL); // operation by operation
    expect_done(run);
    assert_non_null(strstr(run->out, "down_blocks.1.resnets.0.conv1"));
    run = sdgen("--plan", "--cpu-mask", "generic", SMALL);
    expect_done(run);
    assert_non_null(strstr(run->out, "own kernels generic"));
    assert_non_null(strstr(run->out, "conv2d:generic")); // oneDNN has nothing that small
    assert_null(strstr(run->out, "avx"));
    static char *const anywhere[] = {"cpu", "reference", "vulkan", "auto"}; // wrong, whoever would use it
    for (size_t i = 0; i < sizeof anywhere / sizeof *anywhere; i++)
        expect_error(sdgen("--plan", "--backend", anywhere[i], "--cpu-mask", "generic,mmx2", SMALL), 1,
                     "'mmx2', should be some of generic", 0);
#if defined(__x86_64__)
    expect_error(sdgen("--plan", "--cpu-mask", "sse9", SMALL), 1, "avx512bf16 or the features fma, avx512f, avx512bw",
                 0);
    run = sdgen("--plan", "--cpu-mask", "avx2", SMALL); // oneDNN's kernels as well
    expect_done(run);
    assert_null(strstr(run->out, "avx512"));
#endif
    assert_int_equal(count_files(), 0);
}

// What was decided, and why.
static void test_verbose(void **state)
{
    (void)state;
    static const char *const said[] = {
        "tokenizer: ",  "sampler: heun, as asked", "cpu: ", "planned peak: ", "predicts eps", "seconds: ",
        "evaluations, "};
    const struct run *run = sdgen("-v", "--backend", "cpu", SMALL, "--sampling-method", "heun", "x", "-o", "v.png");
    expect_done(run);
    for (size_t i = 0; i < sizeof said / sizeof *said; i++)
        if (!strstr(run->err, said[i]))
            fail_msg("'%s' is missing in %s", said[i], run->err);
    assert_string_equal(run->out, "");
    unlink("v.png");
}

// Ctrl-C, or a request to end, in the middle of sampling.
static void interrupt(int number, const char *kind)
{
    char *arguments[] = {
        SDGEN_PROGRAM, "x",   "--backend", "cpu",   "-t",        "1",          "--steps",        "1000",  "-W", "256",
        "-H",          "256", "-o",        "a.png", "--preview", (char *)kind, "--preview-path", "p.ppm", NULL};
    pid_t child = start(arguments, NULL, "/dev/null", "err");
    double begin = sdg_clock();
    while (!file_exists("p.ppm") && sdg_clock() - begin < 120 && waitpid(child, NULL, WNOHANG) == 0)
        usleep(20000);
    assert_true(file_exists("p.ppm")); // sampling has begun
    kill(child, number);
    begin = sdg_clock();
    assert_int_equal(finish(child), 130);
    assert_true(sdg_clock() - begin < 60); // a step, not the thousand
    assert_int_equal(count_files(), 2);    // err, p.ppm: no a.png, no temporary file
    char err[4096];
    read_whole("err", err, sizeof err);
    assert_non_null(strstr(err, "interrupted"));
    assert_null(strstr(err, "error"));
    unlink("p.ppm");
}

static void test_interrupt(void **state)
{
    (void)state;
    interrupt(SIGINT, "proj");
    interrupt(SIGTERM, "vae");
}

// On a terminal there is a bar in one line that is gone at the end, and no picture is written to it.
static void test_terminal(void **state)
{
    (void)state;
    int master, slave;
    static char text[1 << 16];
    size_t size = 0;
    assert_int_equal(openpty(&master, &slave, NULL, NULL, NULL), 0);
    pid_t child = fork();
    if (child == 0) {
        close(master);
        dup2(slave, 1);
        dup2(slave, 2);
        execl(SDGEN_PROGRAM, "sdgen", "x", SMALL, "-o", "a.png", (char *)NULL);
        _exit(127);
    }
    close(slave);
    ssize_t got;
    while (size < sizeof text - 1 && (got = read(master, text + size, sizeof text - 1 - size)) > 0)
        size += (size_t)got;
    text[size] = 0;
    close(master);
    assert_int_equal(finish(child), 0);
    assert_non_null(strstr(text, "\r"));
    assert_non_null(strstr(text, "2/2"));
    assert_non_null(strstr(text, "\r\033[K"));

    assert_int_equal(openpty(&master, &slave, NULL, NULL, NULL), 0);
    child = fork();
    if (child == 0) {
        int err = open("err", O_WRONLY | O_CREAT, 0666);
        dup2(slave, 1);
        dup2(err, 2);
        execl(SDGEN_PROGRAM, "sdgen", "x", SMALL, "-o", "-", (char *)NULL);
        _exit(127);
    }
    close(slave);
    assert_int_equal(finish(child), 1);
    close(master);
    read_whole("err", text, sizeof text);
    assert_non_null(strstr(text, "terminal"));
}

#define sdbench(...) run_with((char *const[]){SDBENCH_PROGRAM, __VA_ARGS__, NULL}, NULL)
#define BENCH "--backend", "cpu", "-t", "1", "-W", "64", "-H", "64"
#define QUANTIZED SDG_SOURCE_DIR "/models/emoji-128-w8a8-tdq"

static void test_bench(void **state)
{
    (void)state;
    static const char *const networks[] = {"text", "unet", "vae"};
    for (size_t i = 0; i < 3; i++) {
        const struct run *run = sdbench((char *)networks[i], BENCH, "--repeat", "2", "--kernels", "--json", "b.json");
        expect_done(run);
        assert_non_null(strstr(run->out, "Gop/s"));
        char json[1 << 16];
        assert_true(read_whole("b.json", json, sizeof json) > 100);
        assert_non_null(strstr(json, "\"median\""));
        assert_null(strstr(json, "\"versus\"")); // there is one model only
    }
    expect_done(sdbench("e2e", BENCH, "--repeat", "1", "--steps", "1"));
    assert_int_equal(sdbench("unte")->status, 1);
    assert_int_equal(run_with((char *const[]){SDBENCH_PROGRAM, NULL}, NULL)->status, 1);
    assert_int_equal(sdbench("unet", "--repeat", "0")->status, 1);
    assert_int_equal(sdbench("unet", "-m", "absent")->status, 2);
    assert_int_equal(count_files(), 1);
}

// A model of random weights opens as any other does, and its answers are finite numbers.
static void test_bench_of_a_made_model(void **state)
{
    (void)state;
    expect_done(sdbench("make", "small", "-o", "made"));
    expect_done(sdbench("unet", "-m", "made", BENCH, "--repeat", "1"));
    expect_done(sdbench("vae", "-m", "made", BENCH, "--repeat", "1"));
    expect_done(run_with(
        (char *const[]){SDGEN_PROGRAM, "a cat", "-m", "made", BENCH, "--steps", "1", "-o", "made.ppm", NULL}, NULL));
    assert_int_equal(sdbench("make", "small", "-o", "made")->status, 2); // it is there already
    assert_int_equal(sdbench("make", "huge", "-o", "other")->status, 1);
    assert_int_equal(sdbench("make", "small")->status, 1);
    assert_int_equal(sdbench("make", "-o", "other")->status, 1);
    assert_int_equal(sdbench("peaks", "--backend", "reference")->status, 1);
    assert_non_null(strstr(sdbench("peaks", "--backend", "cpu", "--seconds", "0.2")->out, "f32 exponential "));
    assert_int_equal(sdbench("tune", "--backend", "cpu")->status, 1);
    assert_int_equal(sdbench("unet", BENCH, "--peaks")->status, 1); // without --kernels
    unlink("made.ppm");
    temp_remove_tree("made");
}

enum { ROUNDS = 25 }; // 1 more than a multiple of 4: the quartiles and the median are single rounds
#define ROUNDS_TEXT "25"

static double number(const cJSON *object, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    if (!cJSON_IsNumber(item))
        fail_msg("%s is no number", key);
    return item->valuedouble;
}

static void read_seconds(const cJSON *object, double seconds[ROUNDS])
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(object, "seconds");
    assert_int_equal(cJSON_GetArraySize(list), ROUNDS);
    for (int i = 0; i < ROUNDS; i++) {
        seconds[i] = cJSON_GetArrayItem(list, i)->valuedouble;
        assert_true(seconds[i] > 0 && seconds[i] < 600);
    }
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static bool is_sorted(const double *values)
{
    for (int i = 1; i < ROUNDS; i++)
        if (values[i] < values[i - 1])
            return false;
    return true;
}

static void check_ratio(const cJSON *first, const cJSON *other)
{
    static const char *const keys[] = {"ratio_low", "ratio", "ratio_high"};
    double base[ROUNDS], seconds[ROUNDS], ratios[ROUNDS];
    read_seconds(first, base);
    read_seconds(other, seconds);
    assert_false(is_sorted(base) || is_sorted(seconds)); // they stand in the order of measurement
    for (int i = 0; i < ROUNDS; i++)
        ratios[i] = seconds[i] / base[i];
    qsort(ratios, ROUNDS, sizeof *ratios, by_value);
    for (int i = 0; i < 3; i++) {
        double told = number(other, keys[i]), expected = ratios[(i + 1) * (ROUNDS - 1) / 4];
        if (!(told > 0.9999 * expected && told < 1.0001 * expected))
            fail_msg("%s is %g, should be %g", keys[i], told, expected);
    }
    qsort(seconds, ROUNDS, sizeof *seconds, by_value);
    double middle = seconds[ROUNDS / 2], told = number(other, "median");
    assert_true(told > middle - 1e-6 && told < middle + 1e-6);
}

// Several models in turns: each has its row, its ratio to the first one and its kernels.
static void test_bench_versus(void **state)
{
    (void)state;
    static char text[1 << 19];
    const struct run *run = sdbench("unet", QUANTIZED, BENCH, "--repeat", ROUNDS_TEXT, "--kernels", "--json", "b.json");
    expect_done(run);
    assert_non_null(strstr(run->out, "unet, " ROUNDS_TEXT " rounds"));
    assert_non_null(strstr(run->out, "\n" SDG_SOURCE_DIR "/models/emoji-128 "));
    assert_non_null(strstr(run->out, "\n" QUANTIZED " "));
    assert_non_null(strstr(run->out, "\n" QUANTIZED "\n\nkernel"));
    assert_true(read_whole("b.json", text, sizeof text) < sizeof text - 1);
    cJSON *json = cJSON_Parse(text);
    const cJSON *versus = cJSON_GetObjectItemCaseSensitive(json, "versus"), *other = cJSON_GetArrayItem(versus, 0);
    assert_int_equal(cJSON_GetArraySize(versus), 1);
    assert_string_equal(cJSON_GetObjectItemCaseSensitive(json, "model")->valuestring,
                        SDG_SOURCE_DIR "/models/emoji-128");
    assert_string_equal(cJSON_GetObjectItemCaseSensitive(other, "model")->valuestring, QUANTIZED);
    check_ratio(json, other);
    // weights of a quarter of the size
    assert_true(number(other, "planned") > 0 && number(other, "planned") < number(json, "planned"));
    assert_true(number(other, "macs") > 1e6 && number(other, "gops") > 0 && number(other, "min") > 0 &&
                number(other, "max") >= number(other, "min"));
    assert_true(cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(json, "kernels")) > 10);
    assert_true(cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(other, "kernels")) > 10);
    cJSON_Delete(json);

    run = sdbench("e2e", QUANTIZED, BENCH, "--repeat", "1", "--steps", "1");
    expect_done(run);
    assert_non_null(strstr(run->out, "\n" QUANTIZED " "));
    assert_int_equal(count_files(), 1);
    expect_error(sdbench("unet", "absent", BENCH), 2, "absent", 1);
    expect_error(sdbench("vae", QUANTIZED, "absent", BENCH, "--json", "c.json"), 2, "absent", 1);
    expect_error(sdbench("ops", QUANTIZED), 1, "ops takes no models", 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_picture, enter_with_model, leave_with_model),
        cmocka_unit_test_setup_teardown(test_descriptors, enter_with_model, leave_with_model),
        cmocka_unit_test_setup_teardown(test_formats, enter_with_model, leave_with_model),
        cmocka_unit_test_setup_teardown(test_batch, enter_with_model, leave_with_model),
        cmocka_unit_test_setup_teardown(test_metadata, enter_with_model, leave_with_model),
        cmocka_unit_test_setup_teardown(test_seed, enter_with_model, leave_with_model),
        cmocka_unit_test_setup_teardown(test_init_image, enter_with_model, leave_with_model),
        cmocka_unit_test_setup_teardown(test_arrays, enter_with_model, leave_with_model),
        cmocka_unit_test_setup_teardown(test_model_by_itself, enter_with_model, leave_with_model),
        cmocka_unit_test_setup_teardown(test_guidance_of_model, enter_with_model, leave_with_model),
        cmocka_unit_test_setup_teardown(test_other_factor, enter_with_model, leave_with_model),
        cmocka_unit_test_setup_teardown(test_other_channels, enter_with_model, leave_with_model),
        cmocka_unit_test_setup_teardown(test_old_scheduler, enter_with_model, leave_with_model),
        cmocka_unit_test_setup_teardown(test_foreign_scheduler, enter_with_model, leave_with_model),
        cmocka_unit_test_setup_teardown(test_model_decides, enter_with_model, leave_with_model),
        cmocka_unit_test_setup_teardown(test_failures, enter_with_model, leave_with_model),
        cmocka_unit_test_setup_teardown(test_lists, enter_with_model, leave_with_model),
        cmocka_unit_test_setup_teardown(test_verbose, enter_with_model, leave_with_model),
        cmocka_unit_test_setup_teardown(test_interrupt, enter_with_model, leave_with_model),
        cmocka_unit_test_setup_teardown(test_terminal, enter_with_model, leave_with_model),
        cmocka_unit_test_setup_teardown(test_bench, enter_with_model, leave_with_model),
        cmocka_unit_test_setup_teardown(test_bench_of_a_made_model, enter_with_model, leave_with_model),
        cmocka_unit_test_setup_teardown(test_bench_versus, enter_with_model, leave_with_model),
    };
    return cmocka_run_group_tests_name("cli_draw", tests, NULL, NULL);
}
