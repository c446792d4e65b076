#include "pipeline/pixels.h"

#include <math.h>

enum { MAX_SIDE = 16384 };

// Where the channels of a format are. Eight-bit ones have room for 255 levels, floats for themselves.
struct layout {
    size_t bytes;  // of a pixel
    bool floats;   // R G B
    size_t rgb[3]; // bytes from the pixel's begin
    int alpha;     // the same; -1 = none
};

static const struct layout *layout_of(enum sdg_pixel_format format)
{
    static const struct layout layouts[] = {
        [SDG_PIXELS_RGB8] = {.bytes = 3, .rgb = {0, 1, 2}, .alpha = -1},
        [SDG_PIXELS_RGBA8] = {.bytes = 4, .rgb = {0, 1, 2}, .alpha = 3},
        [SDG_PIXELS_BGRA8] = {.bytes = 4, .rgb = {2, 1, 0}, .alpha = 3},
        [SDG_PIXELS_RGB_F32] = {.bytes = 3 * sizeof(float), .floats = true, .alpha = -1},
    };
    return (unsigned)format < sizeof layouts / sizeof *layouts ? &layouts[format] : NULL;
}

size_t sdg_pixel_bytes(enum sdg_pixel_format format)
{
    const struct layout *layout = layout_of(format);
    return layout ? layout->bytes : 0;
}

static size_t stride_of(const struct sdg_pixels *p)
{
    return p->stride ? p->stride : (size_t)p->width * sdg_pixel_bytes(p->format);
}

enum sdg_result sdg_pixels_check(const struct sdg_log *log, const char *what, const struct sdg_pixels *p, int width,
                                 int height)
{
    const struct layout *layout = layout_of(p->format);
    const size_t alignment = layout && layout->floats ? sizeof(float) : 1;
    if (!layout)
        return sdg_fail(log, SDG_ERROR_USAGE, "%s: format is %d, no value of enum sdg_pixel_format", what,
                        (int)p->format);
    if (p->width < 1 || p->height < 1 || p->width > MAX_SIDE || p->height > MAX_SIDE)
        return sdg_fail(log, SDG_ERROR_USAGE, "%s: %dx%d pixels, sides should be 1 to %d", what, p->width, p->height,
                        MAX_SIDE);
    if (p->width != width || p->height != height)
        return sdg_fail(log, SDG_ERROR_USAGE, "%s: %dx%d pixels, the picture has %dx%d", what, p->width, p->height,
                        width, height);
    if (!p->data)
        return sdg_fail(log, SDG_ERROR_USAGE, "%s: data is NULL", what);
    const size_t row = (size_t)width * layout->bytes, stride = stride_of(p);
    if (stride < row)
        return sdg_fail(log, SDG_ERROR_USAGE, "%s: stride is %zu bytes, a row of %d pixels has %zu", what, stride,
                        width, row);
    if (stride % alignment || (uintptr_t)p->data % alignment)
        return sdg_fail(log, SDG_ERROR_USAGE, "%s: data and stride should be multiples of %zu bytes for floats", what,
                        alignment);
    if (p->size < row || (height > 1 && (p->size - row) / (size_t)(height - 1) < stride))
        return sdg_fail(log, SDG_ERROR_USAGE, "%s: size is %zu bytes, %d rows of %zu bytes need more", what, p->size,
                        height, stride);
    return SDG_OK;
}

struct sdg_pixels sdg_pixels_of(const struct sdg_image *image)
{
    return (struct sdg_pixels){.format = SDG_PIXELS_RGB8,
                               .width = image->width,
                               .height = image->height,
                               .data = image->pixels,
                               .size = (size_t)image->width * (size_t)image->height * 3};
}

static void *pixel_at(const struct sdg_pixels *p, size_t x, size_t y)
{
    return (uint8_t *)p->data + y * stride_of(p) + x * sdg_pixel_bytes(p->format);
}

static float unit(float x)
{
    x = x * 0.5f + 0.5f;
    return x < 0 ? 0 : x > 1 ? 1 : x;
}

static void write_bytes(const struct layout *layout, uint8_t *to, const uint8_t rgb[3])
{
    for (size_t k = 0; k < 3; k++)
        to[layout->rgb[k]] = rgb[k];
    if (layout->alpha >= 0)
        to[layout->alpha] = 255;
}

static void write_pixel(const struct layout *layout, void *to, const float *from)
{
    float *floats = to;
    uint8_t rgb[3];
    if (layout->floats) {
        for (size_t k = 0; k < 3; k++)
            floats[k] = unit(from[k]);
        return;
    }
    for (size_t k = 0; k < 3; k++)
        rgb[k] = (uint8_t)lrintf(unit(from[k]) * 255.0f); // half to even, as numpy's round
    write_bytes(layout, to, rgb);
}

void sdg_pixels_write(const struct sdg_pixels *p, const float *image)
{
    const struct layout *layout = layout_of(p->format);
    for (size_t y = 0; y < (size_t)p->height; y++)
        for (size_t x = 0; x < (size_t)p->width; x++, image += 3)
            write_pixel(layout, pixel_at(p, x, y), image);
}

void sdg_pixels_read(const struct sdg_pixels *p, float *image)
{
    const struct layout *layout = layout_of(p->format);
    for (size_t y = 0; y < (size_t)p->height; y++)
        for (size_t x = 0; x < (size_t)p->width; x++, image += 3) {
            const void *from = pixel_at(p, x, y);
            const float *floats = from;
            const uint8_t *bytes = from;
            for (size_t k = 0; k < 3; k++)
                image[k] = (layout->floats ? floats[k] : (float)bytes[layout->rgb[k]] / 255.0f) * 2.0f - 1.0f;
        }
}

void sdg_pixels_copy(const struct sdg_pixels *p, const struct sdg_image *image)
{
    const struct layout *layout = layout_of(p->format);
    const uint8_t *from = image->pixels;
    for (size_t y = 0; y < (size_t)p->height; y++)
        for (size_t x = 0; x < (size_t)p->width; x++, from += 3) {
            void *to = pixel_at(p, x, y);
            float *floats = to;
            for (size_t k = 0; layout->floats && k < 3; k++)
                floats[k] = (float)from[k] / 255.0f;
            if (!layout->floats)
                write_bytes(layout, to, from);
        }
}
