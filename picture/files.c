// Pictures from and into files and bytes: which codec it is, and what every decoded picture goes through.
#include "sdgen/picture.h"

#include "base/file.h"
#include "picture/image.h"
#include "picture/jpeg.h"
#include "picture/jpeg_segments.h"
#include "picture/png.h"
#include "picture/pnm.h"
#include "picture/webp.h"

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
    SDG_REQUIRE(log, path, "path");
    SDG_REQUIRE(log, out, "out");
    const char *dot = strrchr(sdg_path_name(path), '.');
    if (dot && strcasecmp(dot, ".webp") == 0)
        return sdg_fail(log, SDG_ERROR_USAGE,
                        "'%s': WebP is only read, pictures are written as .png, .ppm, .jpg or .jpeg", path);
    for (size_t i = 0; dot && i < sizeof known / sizeof *known; i++)
        if (strcasecmp(dot, known[i].extension) == 0) {
            *out = known[i].format;
            return SDG_OK;
        }
    return sdg_fail(log, SDG_ERROR_USAGE,
                    "'%s': the extension says the picture's format, it should be .png, .ppm, .jpg or .jpeg", path);
}

// ---- reading ----

// What a file is that no decoder here is for; NULL for what nobody knows.
static const char *foreign_kind(const char *data, size_t size)
{
    static const struct {
        size_t at;
        const char *magic;
        size_t bytes;
        const char *name;
    } known[] = {
        {0, "GIF8", 4, "a GIF"},
        {0, "II*\0", 4, "a TIFF"},
        {0, "MM\0*", 4, "a TIFF"},
        {4, "ftypavif", 8, "an AVIF picture"},
        {4, "ftypavis", 8, "an AVIF picture"},
        {4, "ftyphe", 6, "a HEIC picture"},
        {4, "ftypmif1", 8, "a HEIF picture"},
        {4, "ftypmsf1", 8, "a HEIF picture"},
        {4, "ftyp", 4, "a video"},
        {0, "\xff\x0a", 2, "a JPEG XL picture"},
        {4, "JXL \r\n\x87\n", 8, "a JPEG XL picture"},
        {4, "jP  \r\n\x87\n", 8, "a JPEG 2000 picture"},
        {0, "8BPS", 4, "a Photoshop file"},
        {0, "gimp xcf", 8, "a GIMP file"},
        {0, "PK\3\4", 4, "a zip archive (OpenRaster and Krita files are some)"},
        {0, "%PDF", 4, "a PDF"},
        {0, "P7\n", 3, "a PAM picture"},
        {0, "PF\n", 3, "a PFM picture"},
        {0, "Pf\n", 3, "a PFM picture"},
        {0, "qoif", 4, "a QOI picture"},
        {0, "\x76\x2f\x31\x01", 4, "an OpenEXR picture"},
        {0, "#?RADIANCE", 10, "a Radiance picture"},
        {0, "<svg", 4, "an SVG"},
        {0, "<?xml", 5, "an XML file (SVG is some)"},
        {0, "<!DOCTYPE", 9, "a web page"},
        {0, "<!doctype", 9, "a web page"},
        {0, "<html", 5, "a web page"},
        {0, "version https://git-lfs", 23, "a pointer of git-lfs, not the picture itself"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (size >= known[i].at + known[i].bytes && memcmp(data + known[i].at, known[i].magic, known[i].bytes) == 0)
            return known[i].name;
    return NULL;
}

static enum sdg_result decode(const struct sdg_log *log, const char *name, const void *data, size_t size,
                              struct sdg_layers *out)
{
    *out = (struct sdg_layers){0};
    if (!size)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: is empty", name);
    if (size > most_bytes)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: has %zu bytes, at most %zu are accepted for a picture", name, size,
                        most_bytes);
    if (sdg_png_is(data, size))
        return sdg_png_decode(log, name, data, size, out);
    if (sdg_pnm_is(data, size))
        return sdg_pnm_decode(log, name, data, size, &out->image);
    if (sdg_webp_is(data, size))
        return sdg_webp_decode(log, name, data, size, out);
    const char *kind = foreign_kind(data, size);
    if (kind)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: is %s, which sdgen does not read: convert it to PNG or JPEG", name,
                        kind);
    return sdg_jpeg_decode(log, name, data, size, out);
}

enum sdg_result sdg_picture_decode_alpha(const struct sdg_log *log, const char *name, const void *data, size_t size,
                                         struct sdg_image **out, uint8_t **alpha)
{
    struct sdg_layers layers;
    SDG_REQUIRE(log, out, "out");
    *out = NULL;
    SDG_REQUIRE(log, alpha, "alpha");
    *alpha = NULL;
    SDG_REQUIRE(log, name, "name");
    SDG_REQUIRE(log, data || !size, "data");
    SDG_TRY(decode(log, name, data, size, &layers));
    if (!sdg_layers_turn(&layers)) {
        sdg_layers_clear(&layers);
        return sdg_fail(log, SDG_ERROR_MEMORY, "%s: not enough memory to turn it upright", name);
    }
    *out = layers.image;
    *alpha = layers.alpha;
    return SDG_OK;
}

enum sdg_result sdg_picture_decode(const struct sdg_log *log, const char *name, const void *data, size_t size,
                                   struct sdg_image **out)
{
    uint8_t *alpha;
    SDG_TRY(sdg_picture_decode_alpha(log, name, data, size, out, &alpha));
    if (alpha)
        sdg_picture_composite(*out, alpha, (const uint8_t[3]){255, 255, 255});
    sdg_free(alpha);
    return SDG_OK;
}

enum sdg_result sdg_picture_read(const struct sdg_log *log, const char *path, struct sdg_image **out)
{
    char *data;
    size_t size;
    SDG_REQUIRE(log, out, "out");
    *out = NULL;
    SDG_REQUIRE(log, path, "path");
    SDG_TRY(sdg_file_read(log, path, most_bytes, &data, &size));
    enum sdg_result result = sdg_picture_decode(log, path, data, size, out);
    sdg_free(data);
    return result;
}

enum sdg_result sdg_picture_text(const struct sdg_log *log, const char *name, const void *data, size_t size,
                                 char **text)
{
    SDG_REQUIRE(log, text, "text");
    *text = NULL;
    SDG_REQUIRE(log, name, "name");
    SDG_REQUIRE(log, data || !size, "data");
    if (sdg_png_is(data, size))
        return sdg_png_text(log, name, data, size, text);
    if (sdg_jpeg_is(data, size))
        return sdg_jpeg_text(log, name, data, size, text);
    if (!sdg_webp_is(data, size))
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: is no PNG, JPEG or WebP, only those carry parameters", name);
    SDG_TRY(sdg_exif_text(log, sdg_webp_exif(data, size), text));
    return *text ? SDG_OK
                 : sdg_fail(log, SDG_ERROR_INPUT, "%s: has no parameters: there is no comment in its EXIF data", name);
}

// ---- writing ----

static enum sdg_result encode(struct sdg_bytes *bytes, enum sdg_picture_format format, const struct sdg_image *image,
                              const char *text)
{
    switch (format) {
    case SDG_PICTURE_PNG: return sdg_png_encode(bytes, image, text);
    case SDG_PICTURE_PPM: return sdg_ppm_encode(bytes, image);
    case SDG_PICTURE_JPEG: return sdg_jpeg_encode(bytes, image, text);
    }
    return sdg_fail(bytes->log, SDG_ERROR_USAGE, "there is no picture format %d", (int)format);
}

enum sdg_result sdg_picture_encode(const struct sdg_log *log, enum sdg_picture_format format,
                                   const struct sdg_image *image, const char *text, uint8_t **data, size_t *size)
{
    struct sdg_bytes bytes = {.log = log};
    SDG_REQUIRE(log, data, "data");
    *data = NULL;
    SDG_REQUIRE(log, size, "size");
    SDG_TRY(sdg_image_check(log, image));
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
    SDG_REQUIRE(log, path, "path");
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
