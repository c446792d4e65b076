// Pictures from and into files and bytes: which codec, and PPM, which needs none.
#include "sdgen/picture.h"

#include "base/file.h"
#include "picture/jpeg.h"
#include "picture/png.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static const size_t most_bytes = (size_t)256 << 20;

enum sdg_result sdg_picture_format_of(const struct sdg_log *log, const char *path, enum sdg_picture_format *out)
{
    static const struct {
        const char *extension;
        enum sdg_picture_format format;
    } known[] = {
        {".png", SDG_PICTURE_PNG}, {".ppm", SDG_PICTURE_PPM}, {".jpg", SDG_PICTURE_JPEG}, {".jpeg", SDG_PICTURE_JPEG}};
    const char *dot = strrchr(sdg_path_name(path), '.');
    for (size_t i = 0; dot && i < sizeof known / sizeof *known; i++)
        if (strcasecmp(dot, known[i].extension) == 0) {
            *out = known[i].format;
            return SDG_OK;
        }
    return sdg_fail(log, SDG_ERROR_USAGE,
                    "'%s': the extension says the picture's format, it should be .png, .ppm, .jpg or .jpeg", path);
}

// ---- PPM ----

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
static enum sdg_result decode_pnm(const struct sdg_log *log, const char *name, const char *data, size_t size,
                                  struct sdg_image **out)
{
    const char *at = data + 2, *end = data + size;
    int width = pnm_number(&at, end), height = pnm_number(&at, end), most = pnm_number(&at, end);
    size_t channels = data[1] == '6' ? 3 : 1;
    if (width < 1 || height < 1 || most != 255 || at == end)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: is a PPM with a broken header, or not of 8 bits", name);
    if (width > SDG_PICTURE_SIDE || height > SDG_PICTURE_SIDE)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: is %d x %d pixels, at most %d a side can be read", name, width,
                        height, SDG_PICTURE_SIDE);
    at++; // one space
    size_t pixels = (size_t)width * (size_t)height;
    if ((size_t)(end - at) < channels * pixels)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: the file ends too early", name);
    if (sdg_image_create(width, height, out) != SDG_OK)
        return sdg_fail(log, SDG_ERROR_MEMORY, "%s: not enough memory for %d x %d pixels", name, width, height);
    for (size_t i = 0; i < 3 * pixels; i++)
        (*out)->pixels[i] = (uint8_t)at[channels == 3 ? i : i / 3];
    return SDG_OK;
}

static enum sdg_result encode_ppm(struct sdg_bytes *bytes, const struct sdg_image *image)
{
    char header[48];
    int length = snprintf(header, sizeof header, "P6\n%d %d\n255\n", image->width, image->height);
    sdg_bytes_add(bytes, header, (size_t)length);
    sdg_bytes_add(bytes, image->pixels, 3 * (size_t)image->width * (size_t)image->height);
    return bytes->failed ? SDG_ERROR_MEMORY : SDG_OK;
}

// ---- reading ----

enum sdg_result sdg_picture_decode(const struct sdg_log *log, const char *name, const void *data, size_t size,
                                   struct sdg_image **out)
{
    const char *magic = data;
    *out = NULL;
    if (!size)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: is empty", name);
    if (size > most_bytes)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: has %zu bytes, at most %zu are accepted for a picture", name, size,
                        most_bytes);
    if (sdg_png_is(data, size))
        return sdg_png_decode(log, name, data, size, out);
    if (size > 2 && magic[0] == 'P' && (magic[1] == '5' || magic[1] == '6'))
        return decode_pnm(log, name, data, size, out);
    return sdg_jpeg_decode(log, name, data, size, out);
}

enum sdg_result sdg_picture_read(const struct sdg_log *log, const char *path, struct sdg_image **out)
{
    char *data;
    size_t size;
    *out = NULL;
    SDG_TRY(sdg_file_read(log, path, most_bytes, &data, &size));
    enum sdg_result result = sdg_picture_decode(log, path, data, size, out);
    sdg_free(data);
    return result;
}

enum sdg_result sdg_picture_text(const struct sdg_log *log, const char *name, const void *data, size_t size,
                                 char **text)
{
    *text = NULL;
    if (!sdg_png_is(data, size))
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: is not a PNG, only those carry parameters", name);
    return sdg_png_text(log, name, data, size, text);
}

// ---- writing ----

static enum sdg_result encode(struct sdg_bytes *bytes, enum sdg_picture_format format, const struct sdg_image *image,
                              const char *text)
{
    switch (format) {
    case SDG_PICTURE_PNG: return sdg_png_encode(bytes, image, text);
    case SDG_PICTURE_PPM: return encode_ppm(bytes, image);
    case SDG_PICTURE_JPEG: return sdg_jpeg_encode(bytes, image);
    }
    return sdg_fail(bytes->log, SDG_ERROR_USAGE, "there is no picture format %d", (int)format);
}

enum sdg_result sdg_picture_encode(const struct sdg_log *log, enum sdg_picture_format format,
                                   const struct sdg_image *image, const char *text, uint8_t **data, size_t *size)
{
    struct sdg_bytes bytes = {.log = log};
    *data = NULL;
    enum sdg_result result = encode(&bytes, format, image, text);
    if (result != SDG_OK) {
        sdg_free(bytes.data);
        return result;
    }
    *data = bytes.data;
    *size = bytes.size;
    return SDG_OK;
}

enum sdg_result sdg_picture_write(const struct sdg_log *log, const char *path, enum sdg_picture_format format,
                                  const struct sdg_image *image, const char *text)
{
    struct sdg_output *output;
    uint8_t *data;
    size_t size;
    SDG_TRY(sdg_picture_encode(log, format, image, text, &data, &size));
    enum sdg_result result = sdg_output_open(log, path, &output);
    if (result == SDG_OK) {
        sdg_output_write(output, data, size); // a failure stays with the output
        result = sdg_output_commit(&output);
    }
    sdg_free(data);
    return result;
}

void sdg_picture_free(void *memory)
{
    sdg_free(memory);
}
