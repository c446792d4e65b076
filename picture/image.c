// The picture itself, and what is done to its pixels.
#include "sdgen/picture.h"

#include "base/memory.h"

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

void sdg_picture_brightness(const struct sdg_image *image, uint8_t *out)
{
    const uint8_t *rgb = image->pixels;
    size_t pixels = (size_t)image->width * (size_t)image->height;
    for (size_t i = 0; i < pixels; i++)
        out[i] = (uint8_t)((rgb[3 * i] * 19595u + rgb[3 * i + 1] * 38470u + rgb[3 * i + 2] * 7471u + 0x8000u) >> 16);
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
    *out = NULL;
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
