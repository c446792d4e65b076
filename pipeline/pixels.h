// Pixels of the caller's: where pictures go, and what they are read from.
#ifndef SDG_PIPELINE_PIXELS_H
#define SDG_PIPELINE_PIXELS_H

#include "base/log.h"
#include "sdgen/sdgen.h"

// SDG_ERROR_USAGE, naming `what`, unless it has memory for a picture of this size in its format.
enum sdg_result sdg_pixels_check(const struct sdg_log *log, const char *what, const struct sdg_pixels *pixels,
                                 int width, int height);
// A picture's own.
struct sdg_pixels sdg_pixels_of(const struct sdg_image *image);

// From and to [height][width][3] in -1..1, what the autoencoder makes and takes; larger and smaller numbers are cut.
void sdg_pixels_write(const struct sdg_pixels *pixels, const float *image);
void sdg_pixels_read(const struct sdg_pixels *pixels, float *image);
// A picture of the same size.
void sdg_pixels_copy(const struct sdg_pixels *pixels, const struct sdg_image *image);

#endif
