// Inside picture/: PNG by libpng, with limits. Built without picture files all but sdg_png_is answer
// SDG_ERROR_UNSUPPORTED.
#ifndef SDG_PICTURE_PNG_H
#define SDG_PICTURE_PNG_H

#include "picture/bytes.h"
#include "picture/layers.h"

bool sdg_png_is(const void *data, size_t size);
// `name` is for messages. *out is the caller's (sdg_layers_clear).
enum sdg_result sdg_png_decode(const struct sdg_log *log, const char *name, const void *data, size_t size,
                               struct sdg_layers *out);
// The text "parameters", else EXIF's comment. *text is the caller's (sdg_free).
enum sdg_result sdg_png_text(const struct sdg_log *log, const char *name, const void *data, size_t size, char **text);
// Latin-1 texts go into tEXt, others into iTXt; NULL = none.
enum sdg_result sdg_png_encode(struct sdg_bytes *bytes, const struct sdg_image *image, const char *text);

#endif
