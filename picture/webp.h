// Inside picture/: WebP by libwebp, read only. Built without it, a WebP is SDG_ERROR_UNSUPPORTED with what to do.
#ifndef SDG_PICTURE_WEBP_H
#define SDG_PICTURE_WEBP_H

#include "picture/exif.h"
#include "picture/layers.h"

bool sdg_webp_is(const void *data, size_t size);
// `name` is for messages. *out is the caller's (sdg_layers_clear).
enum sdg_result sdg_webp_decode(const struct sdg_log *log, const char *name, const void *data, size_t size,
                                struct sdg_layers *out);
// The EXIF block; empty where there is none. Needs no libwebp.
struct sdg_exif sdg_webp_exif(const void *data, size_t size);

#endif
