// PNG files by libpng, with limits. Used by image.c.
#ifndef SDG_APPS_PNG_H
#define SDG_APPS_PNG_H

#include <stdio.h>

#include "ui.h"

bool app_png_is(const char *data, size_t size);
// `name` is for messages. *image is the caller's.
enum sdg_result app_png_read(struct app_ui *ui, const char *name, const char *data, size_t size,
                             struct sdg_image **image);
// Writes to an open file, which stays open. Latin-1 texts go into tEXt, others into iTXt.
enum sdg_result app_png_write(struct app_ui *ui, const char *name, FILE *file, const struct sdg_image *image,
                              const char *parameters);

#endif
