// Output files: how they are called, and where the programs send them.
#ifndef SDG_APPS_OUTPUT_H
#define SDG_APPS_OUTPUT_H

#include "base/file.h"
#include "sdgen/picture.h"
#include "ui.h"

// The name of picture `number` of a batch of `count`. One %d (or %3d, %03d) in the pattern's last part is replaced by
// the number, and %% there by %; without a %d a batch gets "_NUMBER" before the extension. Any other % is one, and
// folders are taken as they are. SDG_ERROR_USAGE for two numbers, and one of more than 20 digits. *name is the caller's
// (free).
enum sdg_result app_output_name(struct app_ui *ui, const char *pattern, int64_t number, int64_t count, char **name);

// Fails now if app_output_open would fail: no such folder, not writable, a folder of that name, standard output closed.
// Leaves nothing behind.
enum sdg_result app_output_check(struct app_ui *ui, const char *path);
// Fails if both options name one file, so that one of them would be lost. NULL and "-" name none.
enum sdg_result app_output_check_apart(struct app_ui *ui, const char *option, const char *path, const char *other,
                                       const char *other_path);
// Fails if there is anything at `path` that would be replaced; pipes and devices are not.
enum sdg_result app_output_check_absent(struct app_ui *ui, const char *path);

// An output (base/file.h) that "-" leads to standard output, to be committed or discarded.
enum sdg_result app_output_open(struct app_ui *ui, const char *path, struct sdg_output **output);
// A picture with the text that belongs to it (sdg_picture_encode); NULL: none.
enum sdg_result app_output_picture(struct app_ui *ui, const char *path, enum sdg_picture_format format,
                                   const struct sdg_image *image, const char *text);
// A whole file.
enum sdg_result app_output_bytes(struct app_ui *ui, const char *path, const void *data, size_t size);

#endif
