#include "picture/jpeg.h"

#include "picture/jpeg_segments.h"
#include "sdgen/picture.h"

#include <limits.h>
#include <string.h>

#if SDG_HAVE_PICTURES

// Only the formats that are needed, and inside this file: whoever links the static library may have an stb of his own.
// Somebody else's code, so this file is compiled without warnings, and without the sanitizer that would object to its
// shifts of negative numbers.
#define STBI_ONLY_JPEG
#define STBI_ONLY_BMP
#define STBI_NO_STDIO
#define STBI_MAX_DIMENSIONS 16384
#define STB_IMAGE_STATIC
#define STB_IMAGE_IMPLEMENTATION
#include <stb/stb_image.h>
#define STBI_WRITE_NO_STDIO
#define STB_IMAGE_WRITE_STATIC
#define STB_IMAGE_WRITE_IMPLEMENTATION
#include <stb/stb_image_write.h>

_Static_assert(STBI_MAX_DIMENSIONS == SDG_PICTURE_SIDE, "stb's limit is ours");

enum { QUALITY = 90 };

enum sdg_result sdg_jpeg_decode(const struct sdg_log *log, const char *name, const void *data, size_t size,
                                struct sdg_layers *out)
{
    int width = 0, height = 0, channels = 0;
    const stbi_uc *bytes = data;
    *out = (struct sdg_layers){0};
    if (size > INT_MAX || !stbi_info_from_memory(bytes, (int)size, &width, &height, &channels))
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: is no picture that can be read (PNG, JPEG, BMP%s or PNM)", name,
                        SDG_HAVE_WEBP ? ", WebP" : "");
    if (width < 1 || height < 1 || width > SDG_PICTURE_SIDE || height > SDG_PICTURE_SIDE)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: is %d x %d pixels, at most %d a side can be read", name, width,
                        height, SDG_PICTURE_SIDE);
    stbi_uc *rgba = stbi_load_from_memory(bytes, (int)size, &width, &height, &channels, 4);
    if (!rgba)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: is a broken picture (%s)", name, stbi_failure_reason());
    bool good = sdg_layers_split(rgba, width, height, out);
    stbi_image_free(rgba);
    if (!good)
        return sdg_fail(log, SDG_ERROR_MEMORY, "%s: not enough memory for %d x %d pixels", name, width, height);
    out->orientation = sdg_jpeg_orientation(data, size);
    return SDG_OK;
}

static void write_part(void *context, void *data, int size)
{
    sdg_bytes_add(context, data, (size_t)size);
}

enum sdg_result sdg_jpeg_encode(struct sdg_bytes *bytes, const struct sdg_image *image, const char *text)
{
    if (!stbi_write_jpg_to_func(write_part, bytes, image->width, image->height, 3, image->pixels, QUALITY))
        return sdg_fail(bytes->log, SDG_ERROR_OUTPUT, "the JPEG encoder failed");
    if (bytes->failed)
        return SDG_ERROR_MEMORY;
    return text ? sdg_jpeg_add_text(bytes, text) : SDG_OK;
}

#else

enum sdg_result sdg_jpeg_decode(const struct sdg_log *log, const char *name, const void *data, size_t size,
                                struct sdg_layers *out)
{
    (void)data;
    (void)size;
    *out = (struct sdg_layers){0};
    return sdg_fail(log, SDG_ERROR_UNSUPPORTED,
                    "%s: is no PNM (PPM, PGM, PBM), the only pictures that this build of sdgen knows", name);
}

enum sdg_result sdg_jpeg_encode(struct sdg_bytes *bytes, const struct sdg_image *image, const char *text)
{
    (void)image;
    (void)text;
    return sdg_fail(bytes->log, SDG_ERROR_UNSUPPORTED, "this build of sdgen knows no JPEG files, only PPM");
}

#endif
