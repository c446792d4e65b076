// Pictures for a classifier: of picture files, and of arrays of many, which may say their classes.
#ifndef SDG_APPS_EXAMPLES_H
#define SDG_APPS_EXAMPLES_H

#include "sdgen/classify.h"
#include "ui.h"

struct app_examples {
    float *pictures; // [count][channels][image_size][image_size], 0 to info->white
    size_t count;
    int *labels; // [count] classes; NULL where the file does not say them
};
// What classifiers like this one take. NAME.npy: an array [n, side, side], [n, channels, side, side] or [side, side],
// of f32 or bytes; NAME.safetensors: that array as "pictures", and maybe "labels" [n]. Anything else is a picture file,
// scaled and cut to the size. SDG_ERROR_INPUT saying what is wrong.
enum sdg_result app_examples_read(struct app_ui *ui, const char *path, const struct sdg_classifier_info *info,
                                  struct app_examples *out);
void app_examples_free(struct app_examples *examples);

#endif
