// The frame of a program: command line, level of talk, help, exit status; and lists of names for option tables.
#ifndef SDG_APPS_FRAME_H
#define SDG_APPS_FRAME_H

#include "options.h"

struct app_program {
    const char *name;
    const struct app_command *command;
    void *values;                // what the command's fields belong to, zeroed
    const bool *quiet, *verbose; // among them; NULL = there is no such option
    enum sdg_result (*run)(struct app_ui *ui, const void *values, const struct app_arguments *arguments);
};
// The rest of main(). Returns the exit status.
int app_main(const struct app_program *program, int argc, char **argv);

// For options of a picture's width and height.
#define APP_SIDE_HELP "pixels, a multiple of what the model's autoencoder asks for (mostly 8)"

// For struct app_option.names.
const char *const *app_sampler_names(void);
const char *const *app_schedule_names(void);
const char *const *app_rng_names(void);
const char *const *app_type_names(void);
const char *const *app_interval_names(void); // calibrated, resample
const char *const *app_prediction_names(void);
const char *const *app_preview_names(void);
const char *const *app_feature_names(void);

#endif
