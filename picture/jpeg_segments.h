// Inside picture/: what stands in a JPEG before its pixels. Needs no stb.
#ifndef SDG_PICTURE_JPEG_SEGMENTS_H
#define SDG_PICTURE_JPEG_SEGMENTS_H

#include "picture/bytes.h"

bool sdg_jpeg_is(const void *data, size_t size);
// As EXIF or XMP has it, 1..8; 0 where neither says, or it is no JPEG.
int sdg_jpeg_orientation(const void *data, size_t size);
// EXIF's comment, else the JPEG's own. *text is the caller's (sdg_free).
enum sdg_result sdg_jpeg_text(const struct sdg_log *log, const char *name, const void *data, size_t size, char **text);
// Puts `text` (UTF-8) as EXIF's comment into an encoded picture that begins as stb's do; leaves it out with a warning
// where it is longer than a segment.
enum sdg_result sdg_jpeg_add_text(struct sdg_bytes *bytes, const char *text);

#endif
