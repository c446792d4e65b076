// The text that goes into a PNG, so that the picture can be made again; in the form A1111's web interface writes and
// reads.
#ifndef SDG_APPS_PARAMETERS_H
#define SDG_APPS_PARAMETERS_H

#include "ui.h"

struct app_parameters {
    const char *prompt, *negative; // negative NULL = absent
    bool plain;                    // --prompt-syntax plain
    struct sdg_number strength;    // img2img
    struct sdg_number eta;
    const char *sigmas; // given, else NULL
    const char *vae;    // given, else NULL
    int clip_skip;      // 0 = the model's
    const struct sdg_generate_info *info;
};

// Three lines: prompt, "Negative prompt: ...", "Steps: 20, Sampler: Euler a, ...". *text is the caller's (free).
enum sdg_result app_parameters_text(struct app_ui *ui, const struct app_parameters *parameters, char **text);

#endif
