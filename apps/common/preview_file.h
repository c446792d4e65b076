// The unfinished picture in a file (--preview): what the library shows is written over what was shown before.
#ifndef SDG_APPS_PREVIEW_FILE_H
#define SDG_APPS_PREVIEW_FILE_H

#include "sdgen/picture.h"
#include "ui.h"

struct app_preview {
    struct app_ui *ui;
    const char *path;
    enum sdg_picture_format format;
    enum sdg_result result; // of the callback, which cannot return one; after a failure nothing more is written
};

// The `preview` callback of sdg_generate, for pixels in SDG_PIXELS_RGB8; `user` is a struct app_preview with result
// zero.
void app_preview_show(void *user, const struct sdg_preview_picture *picture);
// The finished picture in the file's place. The first failure of all.
enum sdg_result app_preview_end(struct app_preview *preview, const struct sdg_image *image);

#endif
