#include "picture/webp.h"

#include "base/memory.h"
#include "sdgen/picture.h"

#include <string.h>

bool sdg_webp_is(const void *data, size_t size)
{
    return size >= 16 && memcmp(data, "RIFF", 4) == 0 && memcmp((const char *)data + 8, "WEBP", 4) == 0;
}

// The content of the first chunk of a kind; NULL if there is none. A chunk is four letters, a size and its bytes, of
// which there is an even number.
static const uint8_t *find_chunk(const uint8_t *data, size_t size, const char *kind, size_t *bytes)
{
    for (size_t at = 12; size >= 8 && at <= size - 8;) {
        const uint8_t *c = data + at;
        size_t length = (size_t)c[4] | (size_t)c[5] << 8 | (size_t)c[6] << 16 | (size_t)c[7] << 24;
        if (length > size - at - 8)
            return NULL;
        if (memcmp(c, kind, 4) == 0) {
            *bytes = length;
            return c + 8;
        }
        at += 8 + length + length % 2;
    }
    return NULL;
}

struct sdg_exif sdg_webp_exif(const void *data, size_t size)
{
    size_t bytes = 0;
    const uint8_t *block = find_chunk(data, size, "EXIF", &bytes);
    return block ? sdg_exif_block(block, bytes) : (struct sdg_exif){0};
}

#if SDG_HAVE_WEBP

#include <webp/decode.h>

static int orientation(const void *data, size_t size)
{
    size_t bytes = 0;
    int found = sdg_exif_orientation(sdg_webp_exif(data, size));
    const uint8_t *xmp = found ? NULL : find_chunk(data, size, "XMP ", &bytes);
    return xmp ? sdg_xmp_orientation(xmp, bytes) : found;
}

enum sdg_result sdg_webp_decode(const struct sdg_log *log, const char *name, const void *data, size_t size,
                                struct sdg_layers *out)
{
    WebPBitstreamFeatures features;
    int width = 0, height = 0;
    *out = (struct sdg_layers){0};
    if (WebPGetFeatures(data, size, &features) != VP8_STATUS_OK)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: is a broken WebP", name);
    if (features.has_animation)
        return sdg_fail(log, SDG_ERROR_UNSUPPORTED, "%s: is an animated WebP, a still picture is needed", name);
    if (features.width > SDG_PICTURE_SIDE || features.height > SDG_PICTURE_SIDE)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: is %d x %d pixels, at most %d a side can be read", name,
                        features.width, features.height, SDG_PICTURE_SIDE);
    uint8_t *rgba = WebPDecodeRGBA(data, size, &width, &height);
    if (!rgba)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: is a broken WebP, or needs more memory than there is", name);
    bool good = sdg_layers_split(rgba, width, height, out);
    WebPFree(rgba);
    if (!good)
        return sdg_fail(log, SDG_ERROR_MEMORY, "%s: not enough memory for %d x %d pixels", name, width, height);
    out->orientation = orientation(data, size);
    return SDG_OK;
}

#else

enum sdg_result sdg_webp_decode(const struct sdg_log *log, const char *name, const void *data, size_t size,
                                struct sdg_layers *out)
{
    (void)data;
    (void)size;
    *out = (struct sdg_layers){0};
    return sdg_fail(
        log, SDG_ERROR_UNSUPPORTED,
        "%s: is a WebP, and this build of sdgen has no libwebp to read it: convert it to PNG, or build with "
        "libwebp (Debian: libwebp-dev)",
        name);
}

#endif
