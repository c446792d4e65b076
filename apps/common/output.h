// Output files: they appear under their name complete or not at all.
#ifndef SDG_APPS_OUTPUT_H
#define SDG_APPS_OUTPUT_H

#include <stdio.h>

#include "ui.h"

struct app_output {
    FILE *file;
    char *path; // where it will be
    char *temp; // where it is now; NULL = written in place (standard output, a pipe, a device)
};

// The name of picture `number` (0-based) of `count`. One %d (or %3d, %03d) in the pattern is replaced by the number;
// without it a batch gets "_1", "_2", ... before the extension. SDG_ERROR_USAGE for any other use of '%'. *name is the
// caller's (free).
enum sdg_result app_output_name(struct app_ui *ui, const char *pattern, int64_t number, int64_t count, char **name);
// Whether the pattern contains the number of the picture.
bool app_output_numbered(const char *pattern);

// Fails now if app_output_open would fail: no such folder, not writable, a folder of that name. Leaves nothing behind.
enum sdg_result app_output_check(struct app_ui *ui, const char *path);

// Opens a file that replaces `path` when committed; "-" is standard output. On failure *output is empty.
enum sdg_result app_output_open(struct app_ui *ui, const char *path, struct app_output *output);
// Flushes, closes and gives the file its name. Closes and removes it on failure (a full disk is found here at the
// latest).
enum sdg_result app_output_commit(struct app_ui *ui, struct app_output *output);
// Closes and removes it; an empty output is fine.
void app_output_discard(struct app_output *output);

#endif
