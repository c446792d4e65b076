#include "frame.h"

int app_main(const struct app_program *program, int argc, char **argv)
{
    struct app_ui ui = app_ui_create(program->name);
    struct app_arguments arguments;
    app_signals_install(&ui);
    enum sdg_result result = app_parse(program->command, &ui, argc, argv, program->values, &arguments);
    if (program->quiet && *program->quiet)
        ui.level = SDG_LOG_ERROR;
    else if (program->verbose && *program->verbose)
        ui.level = SDG_LOG_DEBUG;
    if (result == SDG_OK && !arguments.helped)
        result = program->run(&ui, program->values, &arguments);
    return app_exit_status(result);
}

const char *const *app_sampler_names(void)
{
    return sdg_names(SDG_NAMES_SAMPLER);
}
const char *const *app_schedule_names(void)
{
    return sdg_names(SDG_NAMES_SCHEDULE);
}
const char *const *app_rng_names(void)
{
    return sdg_names(SDG_NAMES_RNG);
}
const char *const *app_type_names(void)
{
    return sdg_names(SDG_NAMES_TYPE);
}
const char *const *app_interval_names(void)
{
    static const char *const names[] = {"calibrated", "resample", NULL};
    return names;
}
const char *const *app_prediction_names(void)
{
    return sdg_names(SDG_NAMES_PREDICTION);
}
const char *const *app_preview_names(void)
{
    return sdg_names(SDG_NAMES_PREVIEW);
}
const char *const *app_feature_names(void)
{
    return sdg_names(SDG_NAMES_FEATURE);
}
