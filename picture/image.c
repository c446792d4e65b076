// The picture itself, and what is done to its pixels.
#include "picture/image.h"

#include "base/memory.h"
#include "sdgen/picture.h"

#include <string.h>

enum sdg_result sdg_image_create(int width, int height, struct sdg_image **out)
{
    if (!out)
        return SDG_ERROR_USAGE;
    *out = NULL;
    if (width < 1 || height < 1 || width > SDG_PICTURE_SIDE || height > SDG_PICTURE_SIDE)
        return SDG_ERROR_USAGE;
    struct sdg_image *image = sdg_alloc(NULL, 1, sizeof *image, "an image");
    uint8_t *pixels = sdg_alloc(NULL, (size_t)width * (size_t)height, 3, "an image");
    if (!image || !pixels) {
        sdg_free(image);
        sdg_free(pixels);
        return SDG_ERROR_MEMORY;
    }
    *image = (struct sdg_image){width, height, pixels};
    *out = image;
    return SDG_OK;
}

void sdg_image_destroy(struct sdg_image **image)
{
    if (!image || !*image)
        return;
    sdg_free((*image)->pixels);
    sdg_free(*image);
    *image = NULL;
}

enum sdg_result sdg_image_check(const struct sdg_log *log, const struct sdg_image *image)
{
    SDG_REQUIRE(log, image, "image");
    SDG_REQUIRE(log, image->pixels, "image.pixels");
    if (image->width < 1 || image->height < 1 || image->width > SDG_PICTURE_SIDE || image->height > SDG_PICTURE_SIDE)
        return sdg_fail(log, SDG_ERROR_USAGE, "a picture of %d x %d pixels: sides should be 1 to %d", image->width,
                        image->height, SDG_PICTURE_SIDE);
    return SDG_OK;
}

static uint8_t brightness(const uint8_t *rgb)
{
    return (uint8_t)((rgb[0] * 19595u + rgb[1] * 38470u + rgb[2] * 7471u + 0x8000u) >> 16);
}

void sdg_picture_brightness(const struct sdg_image *image, uint8_t *out)
{
    size_t pixels = (size_t)image->width * (size_t)image->height;
    for (size_t i = 0; i < pixels; i++)
        out[i] = brightness(image->pixels + 3 * i);
}

void sdg_picture_composite(struct sdg_image *image, const uint8_t *alpha, const uint8_t background[3])
{
    size_t pixels = (size_t)image->width * (size_t)image->height;
    for (size_t i = 0; i < 3 * pixels; i++) {
        unsigned a = alpha[i / 3];
        image->pixels[i] = (uint8_t)((image->pixels[i] * a + background[i % 3] * (255 - a) + 127) / 255);
    }
}

void sdg_picture_keep(struct sdg_image *image, const struct sdg_image *original, const uint8_t *mask)
{
    size_t pixels = (size_t)image->width * (size_t)image->height;
    for (size_t i = 0; i < pixels; i++)
        if (mask[i] < 128)
            memcpy(image->pixels + 3 * i, original->pixels + 3 * i, 3);
}

// ---- masks ----

// What the more opaque pixels of a mask look like.
struct strokes {
    size_t opaque, dark, light; // pixels; dark and light of the opaque ones
    uint8_t low[3], high[3];    // of their colours
    uint8_t densest;            // largest alpha
};

static struct strokes look_at(const struct sdg_image *image, const uint8_t *alpha)
{
    enum { DARK = 64, LIGHT = 192 };
    size_t pixels = (size_t)image->width * (size_t)image->height;
    struct strokes s = {.low = {255, 255, 255}};
    for (size_t i = 0; i < pixels; i++)
        s.densest = alpha[i] > s.densest ? alpha[i] : s.densest;
    for (size_t i = 0; i < pixels; i++) {
        const uint8_t *rgb = image->pixels + 3 * i;
        if (2 * alpha[i] <= s.densest)
            continue; // a brush's soft edge, whose colour may be anything
        s.opaque++;
        s.dark += brightness(rgb) < DARK;
        s.light += brightness(rgb) >= LIGHT;
        for (int c = 0; c < 3; c++) {
            s.low[c] = rgb[c] < s.low[c] ? rgb[c] : s.low[c];
            s.high[c] = rgb[c] > s.high[c] ? rgb[c] : s.high[c];
        }
    }
    return s;
}

// One colour that is not dark, or several light ones, on nothing: a brush. Black and white alone: a mask that was not
// filled to its edges. Else a picture, or black, of which something was erased.
static enum sdg_mask_kind kind_of(const struct strokes *s)
{
    enum { ONE_COLOUR = 48 };
    bool one = true;
    for (int c = 0; c < 3; c++)
        one = one && s->high[c] - s->low[c] <= ONE_COLOUR;
    if (!s->densest)
        return SDG_MASK_ERASED;
    if (s->light == s->opaque || (one && s->dark == 0))
        return SDG_MASK_BRUSH;
    if (s->dark + s->light >= s->opaque - s->opaque / 50 && s->dark >= s->opaque / 100 + 1 &&
        s->light >= s->opaque / 100 + 1)
        return SDG_MASK_BRIGHTNESS;
    return SDG_MASK_ERASED;
}

enum sdg_mask_kind sdg_picture_mask(const struct sdg_image *image, const uint8_t *alpha, uint8_t *out)
{
    size_t pixels = (size_t)image->width * (size_t)image->height;
    uint8_t least = 255, most = 0;
    for (size_t i = 0; alpha && i < pixels; i++) {
        least = alpha[i] < least ? alpha[i] : least;
        most = alpha[i] > most ? alpha[i] : most;
    }
    // Equally transparent all over says nothing about where, unless there is nothing at all.
    if (!alpha || (least == most && most > 0)) {
        sdg_picture_brightness(image, out);
        return SDG_MASK_BRIGHTNESS;
    }
    const struct strokes strokes = look_at(image, alpha);
    const enum sdg_mask_kind kind = kind_of(&strokes);
    for (size_t i = 0; i < pixels; i++) {
        unsigned density = strokes.densest ? alpha[i] * 255u / strokes.densest : 0;
        out[i] = (uint8_t)(kind == SDG_MASK_BRUSH        ? density
                               : kind == SDG_MASK_ERASED ? 255 - density
                                                         : brightness(image->pixels + 3 * i) * density / 255);
    }
    return kind;
}

// ---- scaling ----

// Resamples one line of `in` samples (3 values each, `stride` values apart) to `out` samples covering [from, from +
// span): a triangle as wide as a source or a target sample, whichever is larger.
static void resample_line(const float *source, size_t source_stride, int in, double from, double span, float *target,
                          size_t target_stride, int out)
{
    double step = span / out, reach = step > 1 ? step : 1;
    for (int i = 0; i < out; i++) {
        double center = from + (i + 0.5) * step - 0.5, total = 0, sum[3] = {0, 0, 0};
        int first = (int)(center - reach) - 1, last = (int)(center + reach) + 1;
        for (int j = first; j <= last; j++) {
            double weight = 1 - (j < center ? center - j : j - center) / reach;
            if (weight <= 0)
                continue;
            const float *sample = source + source_stride * (size_t)(j < 0 ? 0 : j >= in ? in - 1 : j);
            total += weight;
            for (int c = 0; c < 3; c++)
                sum[c] += weight * sample[c];
        }
        for (int c = 0; c < 3; c++)
            target[target_stride * (size_t)i + (size_t)c] = (float)(sum[c] / total);
    }
}

// `line` [in_w][3], `rows` [in_h][w][3] and `column` [h][3] are scratch.
static void fit(const struct sdg_image *source, float *line, float *rows, float *column, struct sdg_image *out)
{
    size_t in_w = (size_t)source->width, in_h = (size_t)source->height, w = (size_t)out->width, h = (size_t)out->height;
    // The part of the source that has the target's proportions.
    double scale_x = (double)out->width / source->width, scale_y = (double)out->height / source->height;
    double scale = scale_x > scale_y ? scale_x : scale_y;
    double part_w = out->width / scale, part_h = out->height / scale;
    for (size_t y = 0; y < in_h; y++) {
        for (size_t i = 0; i < 3 * in_w; i++)
            line[i] = source->pixels[3 * in_w * y + i];
        resample_line(line, 3, source->width, (source->width - part_w) / 2, part_w, rows + 3 * w * y, 3, out->width);
    }
    for (size_t x = 0; x < w; x++) {
        resample_line(rows + 3 * x, 3 * w, source->height, (source->height - part_h) / 2, part_h, column, 3,
                      out->height);
        for (size_t y = 0; y < h; y++)
            for (size_t c = 0; c < 3; c++)
                out->pixels[3 * (w * y + x) + c] = (uint8_t)(column[3 * y + c] + 0.5f);
    }
}

enum sdg_result sdg_picture_fit(const struct sdg_log *log, const struct sdg_image *image, int width, int height,
                                struct sdg_image **out)
{
    struct sdg_image *fitted = NULL;
    SDG_REQUIRE(log, out, "out");
    *out = NULL;
    SDG_TRY(sdg_image_check(log, image));
    enum sdg_result result = sdg_image_create(width, height, &fitted);
    if (result == SDG_ERROR_USAGE)
        return sdg_fail(log, result, "a picture cannot be scaled to %d x %d, sides should be 1 to %d", width, height,
                        SDG_PICTURE_SIDE);
    if (result != SDG_OK)
        return sdg_fail(log, result, "not enough memory to scale a picture to %d x %d", width, height);
    float *line = sdg_alloc_raw(log, (size_t)image->width, 3 * sizeof *line, "scaling"),
          *rows = sdg_alloc_raw(log, (size_t)width * (size_t)image->height, 3 * sizeof *rows, "scaling"),
          *column = sdg_alloc_raw(log, (size_t)height, 3 * sizeof *column, "scaling");
    if (line && rows && column) {
        fit(image, line, rows, column, fitted);
        *out = fitted;
    } else {
        sdg_image_destroy(&fitted);
        result = SDG_ERROR_MEMORY;
    }
    sdg_free(line);
    sdg_free(rows);
    sdg_free(column);
    return result;
}

// ---- placing ----

enum sdg_result sdg_picture_place(const struct sdg_log *log, const struct sdg_image *image, int width, int height,
                                  struct sdg_image **out)
{
    SDG_REQUIRE(log, out, "out");
    *out = NULL;
    SDG_TRY(sdg_image_check(log, image));
    enum sdg_result result = sdg_image_create(width, height, out);
    if (result == SDG_ERROR_USAGE)
        return sdg_fail(log, result, "a picture cannot be placed on %d x %d pixels, sides should be 1 to %d", width,
                        height, SDG_PICTURE_SIDE);
    if (result != SDG_OK)
        return sdg_fail(log, result, "not enough memory to place a picture on %d x %d", width, height);
    // Where the new picture's first pixel lies in the old one. Rounded so that placing on a larger picture and back
    // ends where it began.
    const int left = image->width >= width ? (image->width - width) / 2 : -((width - image->width) / 2),
              top = image->height >= height ? (image->height - height) / 2 : -((height - image->height) / 2);
    uint8_t *to = (*out)->pixels;
    for (int y = top; y < top + height; y++)
        for (int x = left; x < left + width; x++, to += 3) {
            size_t row = (size_t)(y < 0                    ? 0
                                      : y >= image->height ? image->height - 1
                                                           : y),
                   column = (size_t)(x < 0                   ? 0
                                         : x >= image->width ? image->width - 1
                                                             : x);
            memcpy(to, image->pixels + 3 * (row * (size_t)image->width + column), 3);
        }
    return SDG_OK;
}
