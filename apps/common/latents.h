// What is done with the latent after every step: kept for --dump-steps and --dump-latents, shown by --preview.
#ifndef SDG_APPS_LATENTS_H
#define SDG_APPS_LATENTS_H

#include "sdgen/picture.h"
#include "ui.h"

struct app_latents {
    struct app_ui *ui;
    const char *last_path, *steps_path; // files to write at the end; NULL = not wanted
    const char *preview_path;           // NULL = no preview; else sdg_preview_has the model's latents
    enum sdg_picture_format preview_format;
    int preview_interval;
    int factor;             // pixels of the picture per latent pixel, as the model has it
    int c, h, w, steps;     // steps stored: all, or 1 if only the last is wanted
    float *data;            // [steps][c][h][w]
    enum sdg_result result; // of the callbacks, which cannot return one
};

// The `latent` callback of sdg_generate; `user` is a struct app_latents with ui, paths, what belongs to them and factor
// set, the rest zero.
void app_latents_step(void *user, int step, int steps, const float *latent, int c, int h, int w);
// Writes the files; to be called after sdg_generate succeeded.
enum sdg_result app_latents_write(struct app_latents *latents);
void app_latents_free(struct app_latents *latents);

#endif
