// Inside picture/: JPEG (read and written) and BMP (read) by stb, with limits. Built without picture files they answer
// SDG_ERROR_UNSUPPORTED.
#ifndef SDG_PICTURE_JPEG_H
#define SDG_PICTURE_JPEG_H

#include "picture/bytes.h"
#include "picture/layers.h"

// `name` is for messages. What is neither is "no picture that can be read". *out is the caller's (sdg_layers_clear).
enum sdg_result sdg_jpeg_decode(const struct sdg_log *log, const char *name, const void *data, size_t size,
                                struct sdg_layers *out);
// `text` (UTF-8; NULL = none) becomes EXIF's comment, or is left out with a warning where it is longer than a segment.
enum sdg_result sdg_jpeg_encode(struct sdg_bytes *bytes, const struct sdg_image *image, const char *text);

#endif
