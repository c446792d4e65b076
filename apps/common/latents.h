// Latents that are kept after every step, for --dump-steps and --dump-latents.
#ifndef SDG_APPS_LATENTS_H
#define SDG_APPS_LATENTS_H

#include "ui.h"

struct app_latents {
    struct app_ui *ui;
    const char *last_path, *steps_path; // files to write at the end; NULL = not wanted
    int c, h, w, steps;                 // steps stored: all, or 1 if only the last is wanted
    float *data;                        // [steps][c][h][w]
    enum sdg_result result;             // of the callbacks, which cannot return one
};

// The `latent` callback of sdg_generate; `user` is a struct app_latents with ui and at least one path, the rest zero.
void app_latents_step(void *user, int step, int steps, const float *latent, int c, int h, int w);
// Writes the files; to be called after sdg_generate succeeded.
enum sdg_result app_latents_write(struct app_latents *latents);
void app_latents_free(struct app_latents *latents);

#endif
