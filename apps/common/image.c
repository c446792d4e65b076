#include "image.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define STBI_NO_STDIO
#define STBI_WRITE_NO_STDIO
#include <stb/stb_image.h>
#include <stb/stb_image_write.h>

#include "output.h"
#include "png.h"

enum { JPEG_QUALITY = 90 };

enum sdg_result app_file_read(struct app_ui *ui, const char *path, size_t limit, char **data, size_t *size)
{
    bool standard = !strcmp(path, "-");
    const char *name = standard ? "standard input" : path;
    FILE *file = standard ? stdin : fopen(path, "rb");
    if (!file)
        return app_fail(ui, SDG_ERROR_INPUT, "%.200s: cannot be opened: %s", name, strerror(errno));
    size_t used = 0, room = 0;
    char *bytes = NULL;
    enum sdg_result result = SDG_OK;
    while (result == SDG_OK) {
        if (used + 1 >= room) {
            room = room ? 2 * room : 65536;
            char *grown = realloc(bytes, room);
            if (!grown) {
                result = app_fail(ui, SDG_ERROR_MEMORY, "%.200s: not enough memory to read it", name);
                break;
            }
            bytes = grown;
        }
        size_t got = fread(bytes + used, 1, room - used - 1, file);
        used += got;
        if (used > limit)
            result = app_fail(ui, SDG_ERROR_INPUT, "%.200s: larger than %zu bytes, too large for what it should be",
                              name, limit);
        else if (ferror(file))
            result = app_fail(ui, SDG_ERROR_INPUT, "%.200s: cannot be read: %s", name, strerror(errno));
        else if (!got)
            break;
    }
    if (!standard)
        fclose(file);
    if (result != SDG_OK) {
        free(bytes);
        return result;
    }
    bytes[used] = 0;
    *data = bytes;
    *size = used;
    return SDG_OK;
}

enum sdg_result app_image_format(struct app_ui *ui, const char *path, enum app_image_format *format)
{
    static const struct {
        const char *extension;
        enum app_image_format format;
    } known[] = {{".png", APP_IMAGE_PNG}, {".ppm", APP_IMAGE_PPM}, {".jpg", APP_IMAGE_JPEG}, {".jpeg", APP_IMAGE_JPEG}};
    if (!strcmp(path, "-")) {
        *format = APP_IMAGE_PNG;
        return SDG_OK;
    }
    const char *slash = strrchr(path, '/'), *dot = strrchr(slash ? slash : path, '.');
    for (size_t i = 0; dot && i < sizeof known / sizeof *known; i++)
        if (!strcasecmp(dot, known[i].extension)) {
            *format = known[i].format;
            return SDG_OK;
        }
    return app_fail(ui, SDG_ERROR_USAGE,
                    "'%.200s': the extension says the picture's format, it should be .png, .ppm, .jpg or .jpeg", path);
}

static void jpeg_write(void *context, void *data, int size)
{
    fwrite(data, 1, (size_t)size, context); // errors stick to the file, app_output_commit looks
}

enum sdg_result app_image_write(struct app_ui *ui, const char *path, enum app_image_format format,
                                const struct sdg_image *image, const char *parameters)
{
    struct app_output output;
    enum sdg_result result = app_output_open(ui, path, &output);
    if (result != SDG_OK)
        return result;
    if (format == APP_IMAGE_PNG) {
        result = app_png_write(ui, path, output.file, image, parameters);
    } else if (format == APP_IMAGE_PPM) {
        fprintf(output.file, "P6\n%d %d\n255\n", image->width, image->height);
        fwrite(image->pixels, 3 * (size_t)image->width, (size_t)image->height, output.file);
    } else if (!stbi_write_jpg_to_func(jpeg_write, output.file, image->width, image->height, 3, image->pixels,
                                       JPEG_QUALITY)) {
        result = app_fail(ui, SDG_ERROR_OUTPUT, "%.200s: the JPEG encoder failed", path);
    }
    if (result == SDG_OK)
        return app_output_commit(ui, &output);
    app_output_discard(&output);
    return result;
}

// -------------------------------------------------------------------------------------------------- reading

// A number of a PNM header, after spaces and comments; -1 if there is none.
static int pnm_number(const char **at, const char *end)
{
    const char *c = *at;
    int value = -1;
    while (c < end && (*c == ' ' || *c == '\t' || *c == '\r' || *c == '\n' || *c == '#'))
        if (*c == '#')
            while (c < end && *c != '\n')
                c++;
        else
            c++;
    for (; c < end && *c >= '0' && *c <= '9' && value < 1 << 24; c++)
        value = (value < 0 ? 0 : 10 * value) + (*c - '0');
    *at = c;
    return value;
}

// P6 (RGB) and P5 (grey), 8 bit.
static enum sdg_result read_pnm(struct app_ui *ui, const char *name, const char *data, size_t size,
                                struct sdg_image **image)
{
    const char *at = data + 2, *end = data + size;
    int width = pnm_number(&at, end), height = pnm_number(&at, end), most = pnm_number(&at, end);
    size_t channels = data[1] == '6' ? 3 : 1;
    if (width < 1 || height < 1 || most != 255 || at == end)
        return app_fail(ui, SDG_ERROR_INPUT, "%.200s: is a PPM with a broken header, or not of 8 bits", name);
    if (width > APP_IMAGE_SIDE || height > APP_IMAGE_SIDE)
        return app_fail(ui, SDG_ERROR_INPUT, "%.200s: is %d x %d pixels, at most %d a side can be read", name, width,
                        height, APP_IMAGE_SIDE);
    at++; // one space
    size_t pixels = (size_t)width * (size_t)height;
    if ((size_t)(end - at) < channels * pixels)
        return app_fail(ui, SDG_ERROR_INPUT, "%.200s: the file ends too early", name);
    if (sdg_image_create(width, height, image) != SDG_OK)
        return app_fail(ui, SDG_ERROR_MEMORY, "%.200s: not enough memory for %d x %d pixels", name, width, height);
    for (size_t i = 0; i < 3 * pixels; i++)
        (*image)->pixels[i] = (uint8_t)at[channels == 3 ? i : i / 3];
    return SDG_OK;
}

static enum sdg_result read_with_stb(struct app_ui *ui, const char *name, const char *data, size_t size,
                                     struct sdg_image **image)
{
    int width = 0, height = 0, channels = 0;
    const stbi_uc *bytes = (const stbi_uc *)data;
    if (!stbi_info_from_memory(bytes, (int)size, &width, &height, &channels))
        return app_fail(ui, SDG_ERROR_INPUT, "%.200s: is no picture that can be read (PNG, JPEG, BMP or PPM)", name);
    if (width < 1 || height < 1 || width > APP_IMAGE_SIDE || height > APP_IMAGE_SIDE)
        return app_fail(ui, SDG_ERROR_INPUT, "%.200s: is %d x %d pixels, at most %d a side can be read", name, width,
                        height, APP_IMAGE_SIDE);
    stbi_uc *pixels = stbi_load_from_memory(bytes, (int)size, &width, &height, &channels, 3);
    if (!pixels)
        return app_fail(ui, SDG_ERROR_INPUT, "%.200s: is a broken picture (%s)", name, stbi_failure_reason());
    struct sdg_image *copy = NULL;
    enum sdg_result result = sdg_image_create(width, height, &copy);
    if (result == SDG_OK)
        memcpy(copy->pixels, pixels, 3 * (size_t)width * (size_t)height);
    else
        app_fail(ui, result, "%.200s: not enough memory for %d x %d pixels", name, width, height);
    stbi_image_free(pixels);
    *image = copy;
    return result;
}

enum sdg_result app_image_read(struct app_ui *ui, const char *path, struct sdg_image **image)
{
    char *data = NULL;
    size_t size = 0;
    *image = NULL;
    enum sdg_result result = app_file_read(ui, path, APP_IMAGE_BYTES, &data, &size);
    if (result != SDG_OK)
        return result;
    const char *name = strcmp(path, "-") ? path : "standard input";
    if (!size)
        result = app_fail(ui, SDG_ERROR_INPUT, "%.200s: is empty", name);
    else if (app_png_is(data, size))
        result = app_png_read(ui, name, data, size, image);
    else if (size > 2 && data[0] == 'P' && (data[1] == '5' || data[1] == '6'))
        result = read_pnm(ui, name, data, size, image);
    else
        result = read_with_stb(ui, name, data, size, image);
    free(data);
    return result;
}

// -------------------------------------------------------------------------------------------------- scaling

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

enum sdg_result app_image_fit(struct app_ui *ui, const struct sdg_image *source, int width, int height,
                              struct sdg_image **image)
{
    size_t in_w = (size_t)source->width, in_h = (size_t)source->height, w = (size_t)width, h = (size_t)height;
    // The part of the source that has the target's proportions.
    double scale_x = (double)width / source->width, scale_y = (double)height / source->height;
    double scale = scale_x > scale_y ? scale_x : scale_y;
    double part_w = width / scale, part_h = height / scale;
    float *line = malloc(3 * in_w * sizeof *line), *rows = malloc(3 * w * in_h * sizeof *rows),
          *column = malloc(3 * h * sizeof *column);
    struct sdg_image *result = NULL;
    *image = NULL;
    if (!line || !rows || !column || sdg_image_create(width, height, &result) != SDG_OK) {
        free(line);
        free(rows);
        free(column);
        return app_fail(ui, SDG_ERROR_MEMORY, "not enough memory to scale the picture to %d x %d", width, height);
    }
    for (size_t y = 0; y < in_h; y++) {
        for (size_t i = 0; i < 3 * in_w; i++)
            line[i] = source->pixels[3 * in_w * y + i];
        resample_line(line, 3, source->width, (source->width - part_w) / 2, part_w, rows + 3 * w * y, 3, width);
    }
    for (size_t x = 0; x < w; x++) {
        resample_line(rows + 3 * x, 3 * w, source->height, (source->height - part_h) / 2, part_h, column, 3, height);
        for (size_t y = 0; y < h; y++)
            for (size_t c = 0; c < 3; c++)
                result->pixels[3 * (w * y + x) + c] = (uint8_t)(column[3 * y + c] + 0.5f);
    }
    free(line);
    free(rows);
    free(column);
    *image = result;
    return SDG_OK;
}
