// picture/: pictures and arrays in files, whole and broken; fitting, previews, what a picture says about itself. Every
// cut and thousands of changed bytes of each must end in a picture or an error, never in a crash (the sanitizer build
// looks closer).
#define _GNU_SOURCE // memmem
#include "tests/cli/run.h"

#include "base/memory.h"
#include "scheduler/sampler.h"
#include "sdgen/array.h"
#include "sdgen/picture.h"

#include <math.h>

static char folder[64];
static char message[512]; // the last one
static int messages;

static void keep_message(void *user, enum sdg_log_level level, const char *text)
{
    (void)user;
    (void)level;
    snprintf(message, sizeof message, "%s", text);
    messages++;
}
static const struct sdg_log kept = {keep_message, NULL, SDG_LOG_ERROR};

static int enter(void **state)
{
    (void)state;
    folder_enter(folder, sizeof folder);
    return 0;
}

static int leave(void **state)
{
    (void)state;
    folder_leave(folder);
    return 0;
}

// Smooth, so that JPEG keeps it.
static struct sdg_image *make_picture(int width, int height)
{
    struct sdg_image *image = NULL;
    assert_int_equal(sdg_image_create(width, height, &image), SDG_OK);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            uint8_t *pixel = image->pixels + 3 * ((size_t)y * (size_t)width + (size_t)x);
            pixel[0] = (uint8_t)(255 * x / width);
            pixel[1] = (uint8_t)(255 * y / height);
            pixel[2] = (uint8_t)(128 + 100 * x / width - 100 * y / height);
        }
    return image;
}

static void write_picture(const char *path, const struct sdg_image *image, const char *text)
{
    enum sdg_picture_format format;
    assert_int_equal(sdg_picture_format_of(&kept, path, &format), SDG_OK);
    assert_int_equal(sdg_picture_write(&kept, path, format, image, text), SDG_OK);
}

static void test_round_trip(void **state)
{
    (void)state;
    static const int sizes[][2] = {{1, 1}, {3, 2}, {17, 5}, {64, 64}, {200, 1}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct sdg_image *image = make_picture(sizes[i][0], sizes[i][1]), *back = NULL;
        static const char *const names[] = {"a.png", "a.ppm"};
        for (size_t k = 0; k < 2; k++) {
            write_picture(names[k], image, NULL);
            assert_int_equal(sdg_picture_read(&kept, names[k], &back), SDG_OK);
            assert_true(back->width == image->width && back->height == image->height);
            assert_memory_equal(back->pixels, image->pixels, 3 * (size_t)image->width * (size_t)image->height);
            sdg_image_destroy(&back);
        }
        sdg_image_destroy(&image);
    }
}

static void test_text(void **state)
{
    (void)state;
    // Written text, text that comes back (control characters do not), chunk it is in.
    static const struct {
        const char *text, *back, *chunk;
    } cases[] = {
        {"plain", "plain", "tEXt"},
        {"caf\xc3\xa9", "caf\xc3\xa9", "tEXt"},
        {"\xf0\x9f\x9a\x80", "\xf0\x9f\x9a\x80", "iTXt"},
        {"line\nline\ttab", "line\nline\ttab", "tEXt"},
        {"escape \033[31m", "escape ?[31m", "tEXt"},
        {"c1 \xc2\x9b"
         "31m \xe2\x82\xac",
         "c1 ?31m \xe2\x82\xac", "iTXt"},
    };
    struct sdg_image *image = make_picture(4, 4);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = NULL;
        static char file[4096];
        write_picture("a.png", image, cases[i].text);
        size_t size = read_whole("a.png", file, sizeof file);
        assert_non_null(memmem(file, size, cases[i].chunk, 4));
        assert_int_equal(sdg_picture_text(&kept, "a.png", file, size, &text), SDG_OK);
        assert_string_equal(text, cases[i].back);
        sdg_picture_free(text);
    }
    sdg_image_destroy(&image);
}

static void test_fit(void **state)
{
    (void)state;
    struct sdg_image *image = make_picture(96, 64), *fitted = NULL;
    // The same size: the same picture.
    assert_int_equal(sdg_picture_fit(&kept, image, 96, 64, &fitted), SDG_OK);
    assert_memory_equal(fitted->pixels, image->pixels, 3 * 96 * 64);
    sdg_image_destroy(&fitted);
    // A narrower one: the middle columns, unscaled.
    assert_int_equal(sdg_picture_fit(&kept, image, 32, 64, &fitted), SDG_OK);
    for (size_t y = 0; y < 64; y++)
        assert_memory_equal(fitted->pixels + 3 * 32 * y, image->pixels + 3 * (96 * y + 32), 3 * 32);
    sdg_image_destroy(&fitted);
    // Larger and smaller: one colour stays it, a ramp stays a ramp with its middle in the middle.
    static const int sizes[][2] = {{192, 128}, {48, 32}, {8, 8}, {1, 1}, {7, 200}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        int width = sizes[i][0], height = sizes[i][1];
        assert_int_equal(sdg_picture_fit(&kept, image, width, height, &fitted), SDG_OK);
        assert_true(fitted->width == width && fitted->height == height);
        double sum = 0;
        for (int x = 0; x < width; x++) {
            const uint8_t *pixel = fitted->pixels + 3 * ((size_t)(height / 2) * (size_t)width + (size_t)x);
            assert_true(!x || pixel[0] >= pixel[-3]);
            sum += pixel[0];
        }
        assert_true(sum / width > 120 && sum / width < 132);
        sdg_image_destroy(&fitted);
    }
    memset(image->pixels, 77, 3 * 96 * 64);
    assert_int_equal(sdg_picture_fit(&kept, image, 33, 129, &fitted), SDG_OK);
    for (size_t i = 0; i < 3 * 33 * 129; i++)
        assert_int_equal(fitted->pixels[i], 77);
    sdg_image_destroy(&fitted);
    sdg_image_destroy(&image);
}

static void test_formats(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        enum sdg_result result;
        enum sdg_picture_format format;
    } cases[] = {
        {"a.png", SDG_OK, SDG_PICTURE_PNG},    {"d.jpg/a.PPM", SDG_OK, SDG_PICTURE_PPM},
        {"a.b.jpg", SDG_OK, SDG_PICTURE_JPEG}, {"a.JPEG", SDG_OK, SDG_PICTURE_JPEG},
        {"a.gif", SDG_ERROR_USAGE, 0},         {"png", SDG_ERROR_USAGE, 0},
        {"folder.png/a", SDG_ERROR_USAGE, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        enum sdg_picture_format format;
        assert_int_equal(sdg_picture_format_of(&kept, cases[i].path, &format), cases[i].result);
        assert_true(cases[i].result != SDG_OK || format == cases[i].format);
    }
    // Bytes in memory are those of the file, and a picture's kind is what it begins with, not what it is called.
    struct sdg_image *image = make_picture(64, 48), *back = NULL;
    static char file[1 << 16];
    for (int format = SDG_PICTURE_PNG; format <= SDG_PICTURE_JPEG; format++) {
        uint8_t *data;
        size_t size;
        assert_int_equal(sdg_picture_encode(&kept, (enum sdg_picture_format)format, image, NULL, &data, &size), SDG_OK);
        assert_int_equal(sdg_picture_write(&kept, "any", (enum sdg_picture_format)format, image, NULL), SDG_OK);
        assert_int_equal(read_whole("any", file, sizeof file), size);
        assert_memory_equal(file, data, size);
        assert_int_equal(sdg_picture_decode(&kept, "bytes", data, size, &back), SDG_OK);
        assert_true(back->width == 64 && back->height == 48);
        for (size_t i = 0; i < 3 * 64 * 48; i++)
            assert_true(abs(back->pixels[i] - image->pixels[i]) <= (format == SDG_PICTURE_JPEG ? 12 : 0));
        sdg_image_destroy(&back);
        sdg_picture_free(data);
    }
    sdg_image_destroy(&image);
}

static void test_fit_sizes(void **state)
{
    (void)state;
    struct sdg_image *image = make_picture(4, 4), *fitted = NULL;
    static const int bad[][2] = {{0, 4}, {4, -1}, {SDG_PICTURE_SIDE + 1, 4}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int before = messages;
        assert_int_equal(sdg_picture_fit(&kept, image, bad[i][0], bad[i][1], &fitted), SDG_ERROR_USAGE);
        assert_true(!fitted && messages == before + 1);
    }
    // Every allocation that fails is an error, and leaves nothing.
    sdg_test_fail_allocation(0);
    assert_int_equal(sdg_picture_fit(&kept, image, 8, 8, &fitted), SDG_OK);
    sdg_image_destroy(&fitted);
    size_t count = sdg_test_fail_allocation(0);
    assert_true(count >= 5);
    for (size_t n = 1; n <= count; n++) {
        sdg_test_fail_allocation(n);
        assert_int_equal(sdg_picture_fit(&kept, image, 8, 8, &fitted), SDG_ERROR_MEMORY);
        assert_null(fitted);
    }
    sdg_test_fail_allocation(0);
    sdg_image_destroy(&image);
}

static void test_brightness(void **state)
{
    (void)state;
    struct sdg_image *image = NULL;
    assert_int_equal(sdg_image_create(5, 1, &image), SDG_OK);
    static const uint8_t rgb[15] = {255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255, 100, 100, 100};
    // 0.299 R + 0.587 G + 0.114 B, rounded
    static const uint8_t expected[5] = {76, 150, 29, 255, 100};
    memcpy(image->pixels, rgb, sizeof rgb);
    uint8_t out[5];
    sdg_picture_brightness(image, out);
    assert_memory_equal(out, expected, 5);
    sdg_image_destroy(&image);
}

// ---- previews ----

static void test_preview(void **state)
{
    (void)state;
    // [4][1][2]: the second pixel is 0 in all channels. The first by the published map, in double:
    // (0.298 * 1 + 0.187 * 0.5 - 0.158 * -1 - 0.184 * 0.25, ...) + 1, times 127.5; the mean square is 0.29, no dimming.
    static const float latent[8] = {1, 0, 0.5f, 0, -1, 0, 0.25f, 0};
    static const double map[4][3] = {
        {0.298, 0.207, 0.208}, {0.187, 0.286, 0.173}, {-0.158, 0.189, 0.264}, {-0.184, -0.271, -0.473}};
    struct sdg_preview_params params = {.latent = latent, .channels = 4, .height = 1, .width = 2, .factor = 3};
    struct sdg_image *image = NULL;
    assert_true(sdg_preview_has(4) && !sdg_preview_has(16) && !sdg_preview_has(1));
    assert_int_equal(sdg_preview(&kept, &params, &image), SDG_OK);
    assert_true(image->width == 6 && image->height == 3);
    for (int y = 0; y < 3; y++)
        for (int x = 0; x < 6; x++)
            for (int k = 0; k < 3; k++) {
                double value = 0;
                for (int c = 0; c < 4; c++)
                    value += map[c][k] * (double)latent[2 * c + x / 3];
                assert_int_equal(image->pixels[3 * (6 * y + x) + k], lround((value + 1) * 127.5));
            }
    sdg_image_destroy(&image);
    // Noise of 15 times the size is dimmed to the same picture as noise of the size 1.
    float noise[8], loud[8];
    double square = 0;
    for (int i = 0; i < 8; i++) {
        noise[i] = i % 3 - 1.0f;
        square += (double)noise[i] * (double)noise[i] / 8;
    }
    for (int i = 0; i < 8; i++) {
        noise[i] /= (float)sqrt(square);
        loud[i] = 15 * noise[i];
    }
    struct sdg_image *quiet = NULL;
    params.latent = noise;
    assert_int_equal(sdg_preview(&kept, &params, &quiet), SDG_OK);
    params.latent = loud;
    assert_int_equal(sdg_preview(&kept, &params, &image), SDG_OK);
    for (size_t i = 0; i < 3 * 6 * 3; i++)
        assert_true(abs(image->pixels[i] - quiet->pixels[i]) <= 1);
    sdg_image_destroy(&quiet);
    sdg_image_destroy(&image);

    // Without a factor a pixel for each of the latent's.
    params.factor = 0;
    assert_int_equal(sdg_preview(&kept, &params, &image), SDG_OK);
    assert_true(image->width == 2 && image->height == 1);
    sdg_image_destroy(&image);

    static const struct {
        int channels, height, width, factor;
        enum sdg_result result;
    } bad[] = {
        {16, 1, 1, 8, SDG_ERROR_UNSUPPORTED}, {1, 1, 1, 8, SDG_ERROR_UNSUPPORTED}, {4, 0, 2, 3, SDG_ERROR_USAGE},
        {4, 1, 2, -1, SDG_ERROR_USAGE},       {4, 1, 2, 65, SDG_ERROR_USAGE},      {4, 2049, 1, 8, SDG_ERROR_USAGE},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        params = (struct sdg_preview_params){latent, bad[i].channels, bad[i].height, bad[i].width, bad[i].factor};
        int before = messages;
        assert_int_equal(sdg_preview(&kept, &params, &image), bad[i].result);
        assert_true(!image && messages == before + 1);
    }
}

// ---- how a picture was made ----

static void expect_text(const char *got, const char *want)
{
    assert_true((got == NULL) == (want == NULL));
    if (want)
        assert_string_equal(got, want);
}

static void expect_number(struct sdg_number got, struct sdg_number want)
{
    assert_true(got.given == want.given && got.value == want.value);
}

static void expect_same(const struct sdg_picture_parameters *got, const struct sdg_picture_parameters *want)
{
    expect_text(got->prompt, want->prompt);
    expect_text(got->negative_prompt, want->negative_prompt);
    expect_text(got->sampler, want->sampler);
    expect_text(got->schedule, want->schedule);
    expect_text(got->model, want->model);
    expect_text(got->vae, want->vae);
    expect_text(got->sigmas, want->sigmas);
    expect_text(got->rng, want->rng);
    expect_text(got->sampler_rng, want->sampler_rng);
    expect_text(got->type, want->type);
    expect_text(got->backend, want->backend);
    expect_text(got->init_image, want->init_image);
    expect_text(got->init_image_hash, want->init_image_hash);
    expect_text(got->init_alpha_color, want->init_alpha_color);
    expect_text(got->mask, want->mask);
    expect_text(got->mask_hash, want->mask_hash);
    expect_text(got->noise, want->noise);
    expect_text(got->scheme, want->scheme);
    expect_text(got->prediction, want->prediction);
    expect_text(got->tile_size, want->tile_size);
    expect_text(got->others, want->others);
    expect_number(got->tile_overlap, want->tile_overlap);
    assert_true(got->no_correction == want->no_correction && got->resampled_intervals == want->resampled_intervals &&
                got->unmasked_changed == want->unmasked_changed);
    expect_text(got->version, want->version);
    expect_number(got->cfg_scale, want->cfg_scale);
    expect_number(got->strength, want->strength);
    expect_number(got->eta, want->eta);
    assert_true(got->seed_given == want->seed_given && got->seed == want->seed);
    assert_true(got->plain_prompt == want->plain_prompt && got->steps == want->steps && got->width == want->width &&
                got->height == want->height && got->clip_skip == want->clip_skip);
}

static void test_parameters(void **state)
{
    (void)state;
    static const struct {
        struct sdg_picture_parameters parameters;
        const char *text;
    } cases[] = {
        {{.prompt = "a red apple, 3d",
          .negative_prompt = "blurry",
          .steps = 20,
          .width = 512,
          .height = 768,
          .sampler = "euler_a",
          .schedule = "ays",
          .cfg_scale = {true, 7.5},
          .seed_given = true,
          .seed = 42,
          .model = "sd15",
          .rng = "cuda",
          .version = "sdgen 0.1.0"},
         "a red apple, 3d\nNegative prompt: blurry\nSteps: 20, Sampler: Euler a, Schedule type: Align Your Steps, CFG "
         "scale: 7.5, Seed: 42, Size: 512x768, Model: sd15, RNG: cuda, Version: sdgen 0.1.0"},
        {{.prompt = "", .steps = 1, .seed_given = true, .seed = UINT64_MAX}, "\nSteps: 1, Seed: 18446744073709551615"},
        {{.prompt = "", .negative_prompt = "x", .steps = 3, .seed_given = true, .seed = 5},
         "\nNegative prompt: x\nSteps: 3, Seed: 5"},
        // What could be taken for something else: lines of a prompt, and values with quotes.
        {{.prompt = "two\nlines: \"quoted\", \\ and\nmore",
          .negative_prompt = "also\ntwo",
          .plain_prompt = true,
          .steps = 7,
          .clip_skip = 2,
          .sampler = "dpm++2m",
          .schedule = "sgm_uniform",
          .strength = {true, 0.3},
          .eta = {true, 0},
          .model = "a, \"b\": \\n c\nd",
          .vae = "back\\slash",
          .sigmas = "14.6,7,1"},
         NULL},
        {{.prompt = "x",
          .steps = 2,
          .sampler_rng = "cpu",
          .type = "bf16",
          .backend = "te=cpu,unet=vulkan:1,vae=cpu",
          .init_image = "a photo, of: me.jpg",
          .init_image_hash = "0123456789abcdef",
          .init_alpha_color = "#102030",
          .mask = "m.png",
          .mask_hash = "fedcba9876543210",
          .noise = "n.npy",
          .scheme = "w8a8-tdq",
          .no_correction = true,
          .resampled_intervals = true,
          .unmasked_changed = true,
          .prediction = "v",
          .tile_size = "32x32",
          .tile_overlap = {true, 0.25}},
         NULL},
        {{.prompt = "x", .steps = 2, .sampler = "a sampler, of others", .model = " spaces "}, NULL},
        {{.prompt = "\xf0\x9f\x9a\x80", .steps = 2, .model = "\""}, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = NULL;
        struct sdg_picture_parameters *back = NULL;
        assert_int_equal(sdg_picture_parameters_write(&kept, &cases[i].parameters, &text), SDG_OK);
        if (cases[i].text)
            assert_string_equal(text, cases[i].text);
        assert_int_equal(sdg_picture_parameters_read(&kept, text, &back), SDG_OK);
        expect_same(back, &cases[i].parameters);
        sdg_picture_parameters_destroy(&back);
        assert_null(back);
        sdg_picture_free(text);
    }
    // Every sampler and schedule comes back under its own name.
    for (int which = 0; which < 2; which++)
        for (int k = 0; k < (which == 0 ? SDG_METHOD_COUNT : SDG_SCHEDULE_COUNT); k++) {
            struct sdg_picture_parameters p = {.prompt = "x", .steps = 1}, *back = NULL;
            char *text = NULL;
            if (which == 0)
                p.sampler = sdg_method_name((enum sdg_method)k);
            else
                p.schedule = sdg_schedule_name((enum sdg_schedule)k);
            assert_int_equal(sdg_picture_parameters_write(&kept, &p, &text), SDG_OK);
            assert_int_equal(sdg_picture_parameters_read(&kept, text, &back), SDG_OK);
            expect_same(back, &p);
            sdg_picture_parameters_destroy(&back);
            sdg_picture_free(text);
        }
}

static void test_foreign_parameters(void **state)
{
    (void)state;
    struct sdg_picture_parameters *p = NULL;
    // A1111's web interface with an extension's entries, of which one holds what ours are called.
    assert_int_equal(sdg_picture_parameters_read(
                         &kept,
                         "cat, (hat:1.2)\nNegative prompt: dog\nSteps: 30, Sampler: PLMS, CFG scale: 7, Seed: 1, Size: "
                         "640x512, Model "
                         "hash: e1441589a6, Model: v1-5, Hashes: \"{\\\"Seed: 3, x\\\": 4}\", Version: v1.9.4",
                         &p),
                     SDG_OK);
    assert_string_equal(p->prompt, "cat, (hat:1.2)");
    assert_string_equal(p->negative_prompt, "dog");
    assert_string_equal(p->sampler, "pndm");
    assert_string_equal(p->model, "v1-5");
    assert_true(p->steps == 30 && p->seed_given && p->seed == 1 && p->width == 640 && p->height == 512 &&
                !p->schedule && !p->eta.given);
    assert_null(p->others); // hashes are none
    sdg_picture_parameters_destroy(&p);
    // The schedule in an old sampler's name; what may have changed the picture and has no counterpart is listed.
    assert_int_equal(
        sdg_picture_parameters_read(
            &kept,
            "x\nSteps: 20, Sampler: DPM++ 2M Karras, Seed: 18446744073709551615, Hires upscale: 2, ENSD: 31337, "
            "Model hash: 1",
            &p),
        SDG_OK);
    assert_string_equal(p->sampler, "dpm++2m");
    assert_string_equal(p->schedule, "karras");
    assert_string_equal(p->others, "Hires upscale, ENSD");
    assert_true(p->seed == UINT64_MAX);
    sdg_picture_parameters_destroy(&p);
    // No prompt at all, no entries at all.
    assert_int_equal(sdg_picture_parameters_read(&kept, "Steps: 4", &p), SDG_OK);
    assert_true(!*p->prompt && !p->negative_prompt && p->steps == 4);
    sdg_picture_parameters_destroy(&p);
    assert_int_equal(sdg_picture_parameters_read(&kept, "Negative prompt: dog\nSteps: 4", &p), SDG_OK);
    assert_true(!*p->prompt && !strcmp(p->negative_prompt, "dog") && p->steps == 4);
    sdg_picture_parameters_destroy(&p);
    assert_int_equal(sdg_picture_parameters_read(&kept, "just words\nin lines", &p), SDG_OK);
    assert_true(!strcmp(p->prompt, "just words\nin lines") && !p->steps);
    sdg_picture_parameters_destroy(&p);

    static const char *const broken[] = {
        "x\nSteps: many",          "x\nSteps: -1",           "x\nSteps: 1, Seed: 18446744073709551616",
        "x\nSteps: 1, Size: 8x",   "x\nSteps: 1, Size: 0x8", "x\nSteps: 1, CFG scale: nan",
        "x\nSteps: 1, Eta: 1e999", "x\nSteps: 99999999999",  "x\nSteps: 1, Clip skip: 2x",
    };
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        int before = messages;
        assert_int_equal(sdg_picture_parameters_read(&kept, broken[i], &p), SDG_ERROR_INPUT);
        assert_true(!p && messages == before + 1 && strstr(message, "no number"));
    }
    // Ends in the middle of everything.
    static const char whole[] = "a\nNegative prompt: b\nSteps: 20, Model: \"x\\\"y\", Sampler: Euler a, Seed: 3";
    for (size_t cut = 0; cut < sizeof whole; cut++) {
        char text[sizeof whole];
        memcpy(text, whole, cut);
        text[cut] = 0;
        enum sdg_result result = sdg_picture_parameters_read(&kept, text, &p);
        assert_true(result == SDG_OK || result == SDG_ERROR_INPUT);
        sdg_picture_parameters_destroy(&p);
    }
}

// A small generator, so that failures can be repeated.
static uint32_t random_state = 12345;
static uint32_t random_number(void)
{
    random_state = random_state * 1664525 + 1013904223;
    return random_state >> 8;
}

static int quick(int count)
{
    return getenv("SDG_TEST_QUICK") ? count / 10 : count;
}

enum reader { READ_IMAGE, READ_TEXT, READ_ARRAY };

static enum sdg_result read_text(const char *path, char **text)
{
    static char file[1 << 16];
    size_t size = read_whole(path, file, sizeof file);
    return sdg_picture_text(&kept, path, file, size, text);
}

static bool reads(enum reader reader, const char *path)
{
    struct sdg_image *image = NULL;
    struct sdg_array *array = NULL;
    char *text = NULL;
    int before = messages;
    enum sdg_result result = SDG_OK;
    if (reader == READ_IMAGE)
        result = sdg_picture_read(&kept, path, &image);
    else if (reader == READ_TEXT)
        result = read_text(path, &text);
    else
        result = sdg_array_read(&kept, path, "noise", &array);
    if (result != SDG_OK && result != SDG_ERROR_INPUT && result != SDG_ERROR_UNSUPPORTED && result != SDG_ERROR_MEMORY)
        fail_msg("result %d: %s", (int)result, message);
    bool got = image || text || array;
    assert_true(got == (result == SDG_OK));
    sdg_image_destroy(&image);
    sdg_picture_free(text);
    sdg_array_destroy(&array);
    assert_int_equal(messages - before, result != SDG_OK); // one line, or silence
    return got;
}

// All cuts (or some, of a long file) and `changes` versions with changed bytes of the file `path`.
static void mutate(enum reader reader, const char *path, int changes, bool cuts_fail)
{
    static char good[1 << 16], bad[1 << 16];
    char name[64];
    size_t size = read_whole(path, good, sizeof good), step = size / 200 + 1;
    const char *dot = strrchr(path, '.');
    snprintf(name, sizeof name, "bad%s", dot);
    assert_true(size > 0 && reads(reader, path));
    int accepted = 0;
    for (size_t cut = 0; cut + 1 < size; cut += step) {
        write_whole(name, good, cut);
        bool got = reads(reader, name);
        if (got && cuts_fail)
            fail_msg("%s cut to %zu of %zu bytes was read", path, cut, size);
    }
    for (int i = 0; i < changes; i++) {
        memcpy(bad, good, size);
        for (uint32_t k = 1 + random_number() % 4; k; k--)
            bad[random_number() % size] = (char)random_number();
        write_whole(name, bad, size);
        accepted += reads(reader, name);
    }
    unlink(name);
    print_message("%s: %zu cuts, %d changes (%d were read)\n", path, size / step, changes, accepted);
}

static void test_broken_pictures(void **state)
{
    (void)state;
    struct sdg_image *image = make_picture(40, 24);
    write_picture("a.png", image, "some parameters");
    write_picture("a.jpg", image, NULL);
    write_picture("a.ppm", image, NULL);
    mutate(READ_IMAGE, "a.png", quick(2000), false);
    mutate(READ_TEXT, "a.png", quick(2000), false);
    mutate(READ_IMAGE, "a.jpg", quick(2000), false);
    mutate(READ_IMAGE, "a.ppm", quick(1000), true);
    sdg_image_destroy(&image);
}

static void expect_refused(enum reader reader, const char *path, const void *data, size_t size)
{
    write_whole(path, data, size);
    if (reads(reader, path))
        fail_msg("%s of %zu bytes was read", path, size);
}

static void test_hostile_pictures(void **state)
{
    (void)state;
    // A correct header of 2^31 - 1 pixels a side, one of width 0, and pictures of other kinds that announce too much.
    static const unsigned char huge[] =
        "\x89PNG\r\n\x1a\n\0\0\0\rIHDR\x7f\xff\xff\xff\x7f\xff\xff\xff\x08\x02\0\0\0\xb3\x16\x9f\xb4";
    expect_refused(READ_IMAGE, "a.png", huge, sizeof huge - 1);
    expect_refused(READ_TEXT, "a.png", huge, sizeof huge - 1);
    static const char ppm_huge[] = "P6 100000 100000 255\nxxx", ppm_zero[] = "P6 0 4 255\n",
                      ppm_negative[] = "P6 -4 4 255\nxxx", ppm_short[] = "P6 100 100 255\nxxx";
    expect_refused(READ_IMAGE, "a.ppm", ppm_huge, sizeof ppm_huge - 1);
    expect_refused(READ_IMAGE, "a.ppm", ppm_zero, sizeof ppm_zero - 1);
    expect_refused(READ_IMAGE, "a.ppm", ppm_negative, sizeof ppm_negative - 1);
    expect_refused(READ_IMAGE, "a.ppm", ppm_short, sizeof ppm_short - 1);
    static const char gif[] = "GIF89a\1\0\1\0\0\0\0;";
    expect_refused(READ_IMAGE, "a.gif", gif, sizeof gif - 1); // a format that is not compiled in
    expect_refused(READ_IMAGE, "empty.png", "", 0);
    assert_false(reads(READ_IMAGE, "absent.png"));
    assert_false(reads(READ_IMAGE, "."));
}

static void test_arrays(void **state)
{
    (void)state;
    float numbers[24];
    for (int i = 0; i < 24; i++)
        numbers[i] = (float)i / 7 - 1;
    struct sdg_array arrays[2] = {{"noise", 4, {1, 2, 3, 4}, numbers}, {"other", 1, {5}, numbers + 3}}, *back = NULL;
    assert_int_equal(sdg_arrays_write(&kept, "a.safetensors", arrays, 2), SDG_OK);
    assert_int_equal(sdg_arrays_write(&kept, "a.npy", arrays, 1), SDG_OK);
    assert_int_equal(sdg_arrays_write(&kept, "b.npy", arrays + 1, 1), SDG_OK);
    static const char *const files[] = {"a.safetensors", "a.npy"};
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(sdg_array_read(&kept, files[i], "noise", &back), SDG_OK);
        assert_true(back->dims == 4 && back->shape[0] == 1 && back->shape[1] == 2 && back->shape[2] == 3 &&
                    back->shape[3] == 4);
        assert_memory_equal(back->data, numbers, sizeof numbers);
        sdg_array_destroy(&back);
    }
    assert_int_equal(sdg_array_read(&kept, "a.safetensors", "other", &back), SDG_OK);
    assert_true(back->dims == 1 && back->shape[0] == 5);
    assert_memory_equal(back->data, numbers + 3, 5 * sizeof(float));
    sdg_array_destroy(&back);
    assert_int_equal(sdg_array_read(&kept, "b.npy", "any", &back), SDG_OK);
    assert_true(back->dims == 1 && back->shape[0] == 5);
    sdg_array_destroy(&back);
    assert_int_equal(sdg_array_read(&kept, "a.safetensors", "third", &back), SDG_ERROR_INPUT);
    assert_null(back);
    // without a name: the only one
    assert_int_equal(sdg_array_read(&kept, "a.safetensors", NULL, &back), SDG_ERROR_INPUT);
    assert_null(back);
    assert_int_equal(sdg_array_read(&kept, "b.npy", NULL, &back), SDG_OK);
    assert_true(back->dims == 1 && back->shape[0] == 5);
    assert_string_equal(back->name, "");
    sdg_array_destroy(&back);
    assert_int_equal(sdg_arrays_write(&kept, "b.safetensors", arrays + 1, 1), SDG_OK);
    assert_int_equal(sdg_array_read(&kept, "b.safetensors", NULL, &back), SDG_OK);
    assert_true(back->dims == 1 && back->shape[0] == 5);
    assert_string_equal(back->name, "other");
    sdg_array_destroy(&back);
    assert_int_equal(sdg_arrays_write(&kept, "c.npy", arrays, 2), SDG_ERROR_USAGE);
    mutate(READ_ARRAY, "a.safetensors", quick(2000), true);
    mutate(READ_ARRAY, "a.npy", quick(2000), true);
}

// A .npy file as NumPy writes it, taken from its format description: version 1.0, spaces, line end, two numbers.
static void test_numpy_file(void **state)
{
    (void)state;
    static const char file[] =
        "\x93NUMPY\x01\x00\x46\x00{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }            \n"
        "\x00\x00\x80\x3f\x00\x00\x00\xc0";
    struct sdg_array *back = NULL;
    write_whole("a.npy", file, sizeof file - 1);
    assert_int_equal(sizeof file - 1, 10 + 0x46 + 8);
    assert_int_equal(sdg_array_read(&kept, "a.npy", "noise", &back), SDG_OK);
    assert_true(back->dims == 1 && back->shape[0] == 2 && back->data[0] == 1.0f && back->data[1] == -2.0f);
    sdg_array_destroy(&back);
}

static void test_hostile_arrays(void **state)
{
    (void)state;
    static const struct {
        const char *header;
    } cases[] = {
        {"{}"},
        {"[]"},
        {"{\"noise\":5}"},
        {"{\"noise\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[0,4]}}"},
        {"{\"noise\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}"},
        {"{\"noise\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}"},
        {"{\"noise\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[1000,1004]}}"},
        {"{\"noise\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}"},
        {"{\"noise\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}"},
        {"{\"noise\":{\"dtype\":\"F32\",\"shape\":[99999999999999999999],\"data_offsets\":[0,4]}}"},
        {"{\"noise\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}"},
        {"{\"noise\":{\"dtype\":\"F32\",\"shape\":[1]}}"},
        {"{\"noise\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]"},
        {"{\"noise\\"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char file[400] = {0};
        size_t length = strlen(cases[i].header);
        file[0] = (char)length;
        file[1] = (char)(length >> 8);
        memcpy(file + 8, cases[i].header, length);
        expect_refused(READ_ARRAY, "a.safetensors", file, 8 + length + 4);
    }
    expect_refused(READ_ARRAY, "a.safetensors", "\xff\xff\xff\xff\xff\xff\xff\xff{}", 10);
    expect_refused(READ_ARRAY, "a.safetensors", "", 0);
    expect_refused(READ_ARRAY, "a.npy", "", 0);
    expect_refused(READ_ARRAY, "a.npy", "\x93NUMPY\x02\x00\xff\xff\xff\xff{}", 14);
}

// Pointers that are not there, and pictures that are none: a line, and nothing to free.
static void test_missing_arguments(void **state)
{
    (void)state;
    uint8_t pixels[12] = {0}, *data = NULL;
    const struct sdg_image good = {2, 2, pixels}, none = {2, 2, NULL}, negative = {-2, 2, pixels},
                           flat = {2, 0, pixels};
    const struct sdg_image *const bad[] = {NULL, &none, &negative, &flat};
    struct sdg_image *image = NULL;
    struct sdg_array *array = NULL;
    struct sdg_picture_parameters *parameters = NULL;
    enum sdg_picture_format format;
    char *text = NULL;
    size_t size;
#define REFUSED(call)                            \
    do {                                         \
        messages = 0;                            \
        assert_int_equal(call, SDG_ERROR_USAGE); \
        assert_int_equal(messages, 1);           \
        assert_true(!image && !data && !text);   \
    } while (0)
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        REFUSED(sdg_picture_fit(&kept, bad[i], 8, 8, &image));
        REFUSED(sdg_picture_place(&kept, bad[i], 8, 8, &image));
        REFUSED(sdg_picture_encode(&kept, SDG_PICTURE_PNG, bad[i], NULL, &data, &size));
        REFUSED(sdg_picture_write(&kept, "/nonexistent/x.png", SDG_PICTURE_PNG, bad[i], NULL));
    }
    REFUSED(sdg_picture_fit(&kept, &good, 8, 8, NULL));
    REFUSED(sdg_picture_place(&kept, &good, 8, 8, NULL));
    REFUSED(sdg_picture_encode(&kept, SDG_PICTURE_PNG, &good, NULL, NULL, &size));
    REFUSED(sdg_picture_encode(&kept, SDG_PICTURE_PNG, &good, NULL, &data, NULL));
    REFUSED(sdg_picture_write(&kept, NULL, SDG_PICTURE_PNG, &good, NULL));
    REFUSED(sdg_picture_decode(&kept, "x", NULL, 5, &image));
    REFUSED(sdg_picture_decode(&kept, NULL, "abc", 3, &image));
    REFUSED(sdg_picture_decode(&kept, "x", "abc", 3, NULL));
    REFUSED(sdg_picture_decode_alpha(&kept, "x", "abc", 3, &image, NULL));
    REFUSED(sdg_picture_read(&kept, NULL, &image));
    REFUSED(sdg_picture_text(&kept, "x", NULL, 5, &text));
    REFUSED(sdg_picture_text(&kept, "x", "abc", 3, NULL));
    REFUSED(sdg_picture_format_of(&kept, NULL, &format));
    REFUSED(sdg_picture_format_of(&kept, "x.png", NULL));
    REFUSED(sdg_preview(&kept, NULL, &image));
    REFUSED(sdg_preview(&kept, &(struct sdg_preview_params){.channels = 4, .height = 1, .width = 1}, &image));
    REFUSED(sdg_picture_parameters_write(&kept, NULL, &text));
    REFUSED(sdg_picture_parameters_read(&kept, NULL, &parameters));
    REFUSED(sdg_array_read(&kept, NULL, NULL, &array));
    REFUSED(sdg_array_read(&kept, "x.npy", NULL, NULL));
    REFUSED(sdg_arrays_write(&kept, "x.npy", NULL, 1));
    REFUSED(sdg_arrays_write(&kept, "x.npy", &(struct sdg_array){.dims = 1, .shape = {1}}, 1));
#undef REFUSED
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, enter, leave),
        cmocka_unit_test_setup_teardown(test_text, enter, leave),
        cmocka_unit_test_setup_teardown(test_formats, enter, leave),
        cmocka_unit_test_setup_teardown(test_fit, enter, leave),
        cmocka_unit_test(test_fit_sizes),
        cmocka_unit_test(test_brightness),
        cmocka_unit_test(test_missing_arguments),
        cmocka_unit_test(test_preview),
        cmocka_unit_test(test_parameters),
        cmocka_unit_test(test_foreign_parameters),
        cmocka_unit_test_setup_teardown(test_broken_pictures, enter, leave),
        cmocka_unit_test_setup_teardown(test_hostile_pictures, enter, leave),
        cmocka_unit_test_setup_teardown(test_arrays, enter, leave),
        cmocka_unit_test_setup_teardown(test_numpy_file, enter, leave),
        cmocka_unit_test_setup_teardown(test_hostile_arrays, enter, leave),
    };
    return cmocka_run_group_tests_name("picture", tests, NULL, NULL);
}
