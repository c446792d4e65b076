// The sampler's correction: how a quantized model's outputs differ from the full-precision model's, step by step,
// measured on a few prompts and stored with the model. sdgen then takes the foreseeable part out of every output, at no
// cost (sdg_pipeline_params.no_correction leaves it in).
#ifndef SDGEN_CORRECT_H
#define SDGEN_CORRECT_H

#include "sdgen/sdgen.h"

#ifdef __cplusplus
extern "C" {
#endif

#define sdg_correct SDG_LINK_NAME(sdg_correct_, SDG_API_VERSION)

struct sdg_corrected_row { // one timestep
    double timestep;
    double slope; // error per output; only positive ones are taken out
    double bias;  // root of the channels' mean square
    // of the model's outputs against full precision on the prompts measured, without and with correction; dB
    double sqnr, sqnr_after;
};

struct sdg_correct_params {
    const char *quantized;      // folder that sdg_quantize wrote: its UNet file and configuration are replaced
    const char *model;          // the full-precision model; NULL = the base that the folder names
    const char *const *prompts; // [prompt_count]
    size_t prompt_count;
    // How pictures are made: negative_prompt, plain_prompt, size, steps (0 = 20), cfg_scale, sampler (NULL = ddim),
    // schedule (NULL = model), eta, seed (prompt i uses seed + i), rng, sampler_rng, clip_skip, progress (stages
    // "sample" and "compare"). The rest must be zero.
    struct sdg_generate_params generate;
    // How both models are opened: backend, type, threads, memory, log ..; `model`, `files` and `keep` must be zero
    struct sdg_pipeline_params pipeline;
    // by timestep, when the folder is complete; NULL = not wanted
    void (*row)(void *user, const struct sdg_corrected_row *row);
    void *row_user;
};

// Lets the full-precision model draw, runs the quantized one on the same latents, and writes the tables into its
// folder, in place of older ones. Takes memory for the latents of all prompts and steps. SDG_ERROR_INPUT when the model
// is not the one that was quantized. Should this be interrupted between its two files, the folder is refused on loading
// until it is quantized again.
SDG_API enum sdg_result sdg_correct(const struct sdg_correct_params *params);

#ifdef __cplusplus
}
#endif
#endif
