// Picture files. Written: PNG, PPM, JPEG. Read: PNG, JPEG, BMP, PPM/PGM. No file is trusted: sides are limited to
// APP_IMAGE_SIDE, files to APP_IMAGE_BYTES, and a broken one is an error with a message.
#ifndef SDG_APPS_IMAGE_H
#define SDG_APPS_IMAGE_H

#include "ui.h"

#define APP_IMAGE_SIDE 16384
#define APP_IMAGE_BYTES ((size_t)256 << 20)

enum app_image_format { APP_IMAGE_PNG, APP_IMAGE_PPM, APP_IMAGE_JPEG };

// The format an output name asks for; "-" is PNG. SDG_ERROR_USAGE if the extension is none of .png .ppm .jpg .jpeg.
enum sdg_result app_image_format(struct app_ui *ui, const char *path, enum app_image_format *format);

// Writes the picture under a temporary name and renames it. `parameters` (UTF-8) goes into a PNG's text chunk of that
// name; NULL = none. Other formats carry no text.
enum sdg_result app_image_write(struct app_ui *ui, const char *path, enum app_image_format format,
                                const struct sdg_image *image, const char *parameters);

// Reads a picture as RGB; transparency is dropped. "-" is standard input. *image is the caller's (sdg_image_destroy).
enum sdg_result app_image_read(struct app_ui *ui, const char *path, struct sdg_image **image);

// Scales the picture to cover width x height, keeping its proportions, and cuts the middle out of it. *image is the
// caller's.
enum sdg_result app_image_fit(struct app_ui *ui, const struct sdg_image *source, int width, int height,
                              struct sdg_image **image);

// The text "parameters" of a PNG as UTF-8; control characters except line ends and tabs are replaced. *text is the
// caller's (free). SDG_ERROR_INPUT if the file is no PNG, is broken before the text, or has none.
enum sdg_result app_png_parameters(struct app_ui *ui, const char *path, char **text);

// Reads a whole file ("-" = standard input) of at most `limit` bytes; *data is zero-terminated and the caller's (free).
enum sdg_result app_file_read(struct app_ui *ui, const char *path, size_t limit, char **data, size_t *size);

#endif
