// Inside picture/: the PNM family, P1 to P6: bits, grey and RGB, as numbers in text or as bytes, of 1 to 16 bits.
#ifndef SDG_PICTURE_PNM_H
#define SDG_PICTURE_PNM_H

#include "picture/bytes.h"
#include "sdgen/sdgen.h"

bool sdg_pnm_is(const void *data, size_t size);
// `name` is for messages. *out is the caller's.
enum sdg_result sdg_pnm_decode(const struct sdg_log *log, const char *name, const void *data, size_t size,
                               struct sdg_image **out);
// P6 of 8 bits.
enum sdg_result sdg_ppm_encode(struct sdg_bytes *bytes, const struct sdg_image *image);

#endif
