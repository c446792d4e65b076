#include "parameters.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// sdgen's name, the name A1111 uses for the same. Names it does not know stay as they are.
static const char *const sampler_words[] = {
    "euler",         "Euler",         "euler_a", "Euler a",  "heun",      "Heun",        "dpm2", "DPM2",
    "dpm++2s_a",     "DPM++ 2S a",    "dpm++2m", "DPM++ 2M", "dpm++2mv2", "DPM++ 2M v2", "ddim", "DDIM",
    "ddim_trailing", "DDIM trailing", "pndm",    "PLMS",     "unipc",     "UniPC",       "lms",  "LMS",
    "lcm",           "LCM",           "tcd",     "TCD",      "ddpm",      "DDPM",        NULL,
};
static const char *const schedule_words[] = {
    "discrete",    "Discrete",    "karras", "Karras", "exponential", "Exponential",
    "sgm_uniform", "SGM Uniform", "simple", "Simple", "ays",         "Align Your Steps",
    "beta",        "Beta",        "model",  "Model",  NULL,
};

static const char *word(const char *const *words, const char *name)
{
    for (; name && *words; words += 2)
        if (!strcmp(words[0], name))
            return words[1];
    return name ? name : "?";
}

// A value with a comma, a colon, a quote or a line end is quoted as in JSON.
static void print_value(FILE *to, const char *value)
{
    if (!strpbrk(value, ",:\"\n")) {
        fputs(value, to);
        return;
    }
    fputc('"', to);
    for (; *value; value++) {
        if (*value == '"' || *value == '\\')
            fputc('\\', to);
        if (*value == '\n')
            fputs("\\n", to);
        else
            fputc(*value, to);
    }
    fputc('"', to);
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

static void print_all(FILE *to, const struct app_parameters *p)
{
    const struct sdg_generate_info *info = p->info;
    fputs(p->prompt ? p->prompt : "", to);
    if (p->negative && *p->negative)
        fprintf(to, "\nNegative prompt: %s", p->negative);
    fprintf(to, "\nSteps: %d, Sampler: %s, Schedule type: %s, CFG scale: %.10g, Seed: %lld, Size: %dx%d, Model: ",
            info->steps, word(sampler_words, info->sampler), word(schedule_words, info->schedule), info->cfg_scale,
            (long long)info->seed, info->width, info->height);
    print_value(to, info->model_name ? info->model_name : "?");
    if (p->vae) {
        fputs(", VAE: ", to);
        print_value(to, base_name(p->vae));
    }
    if (p->strength.given)
        fprintf(to, ", Denoising strength: %.10g", p->strength.value);
    if (p->clip_skip > 0)
        fprintf(to, ", Clip skip: %d", p->clip_skip);
    if (p->eta.given)
        fprintf(to, ", Eta: %.10g", p->eta.value);
    if (p->sigmas) {
        fputs(", Sigmas: ", to);
        print_value(to, p->sigmas);
    }
    if (p->plain)
        fputs(", Prompt syntax: plain", to);
    fprintf(to, ", RNG: %s, Version: sdgen %s", info->rng ? info->rng : "?", sdg_version());
}

enum sdg_result app_parameters_text(struct app_ui *ui, const struct app_parameters *parameters, char **text)
{
    size_t size = 0;
    *text = NULL;
    FILE *to = open_memstream(text, &size);
    if (to)
        print_all(to, parameters);
    if (!to || fclose(to) || !*text) {
        free(*text);
        *text = NULL;
        return app_fail(ui, SDG_ERROR_MEMORY, "not enough memory for the parameters");
    }
    return SDG_OK;
}
