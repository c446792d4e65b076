// Learning: a quantized model's blocks are made to answer what the full-precision model's do, one after the other, by
// gradients with respect to how they are quantized (PTQ4VM's joint learning of smoothing and steps, arXiv 2412.20386).
#ifndef SDGEN_LEARN_H
#define SDGEN_LEARN_H

#include "sdgen/sdgen.h"

#ifdef __cplusplus
extern "C" {
#endif

#define sdg_learn SDG_LINK_NAME(sdg_learn_, SDG_API_VERSION)

struct sdg_learned_block {
    const char *name;
    // mean loss of its results beside the float block's, on the last eighth of the prompts, which nothing was learned
    // from (of a single prompt, on that)
    double loss_before, loss_after;
    bool kept;    // it was better, and is in the model; else the block is as it was
    bool resumed; // it was learned in an earlier call
    size_t layers;
    double seconds; // 0 if resumed
};

struct sdg_learn_report {
    size_t blocks, samples; // samples: of each block, those held back included
    double seconds;
    double peak_bytes; // of the process during this call, 0 where the system does not say
};

struct sdg_learn_params {
    const char *quantized; // folder that sdg_quantize wrote: its UNet file and configuration are replaced
    const char *model;     // the full-precision model; NULL = the base that the folder names
    // Blocks: everything in modules of this name ("down_blocks.1.attentions.0.transformer_blocks.0.mamba" is one of
    // "mamba"), as long as gradients can be computed of it; NULL = mamba
    const char *module;
    const char *const *prompts; // [prompt_count] whose pictures' latents are learned from
    size_t prompt_count;
    // What is made small: "error", the squared error of a block's result as a share of its squares, or "cosine", one
    // minus the cosine of each token as in the paper; NULL = error
    const char *loss;
    int updates; // of each block; 0 = 50
    // How far an update moves: steps of weights and scales of activations, in codes at the outermost code (default 0.04
    // and 0.01), and smoothing vectors, relatively (0.005); they fall to zero along half a cosine
    struct sdg_number weight_rate, activation_rate, smoothing_rate;
    uint64_t order_seed; // of the order in which samples are learned from
    const char *state;   // file that says what is learned already, until all is; NULL = QUANTIZED.learning
    bool resume;         // go on where `state` ends, if it is there; without it such a file is an error
    // smoothing vectors stay by themselves instead of becoming part of norms and of other layers' rows; what is learned
    // is the same
    bool keep_smoothing;
    // How pictures are made: negative_prompt, plain_prompt, size, steps (0 = 20), cfg_scale, sampler (NULL = ddim),
    // schedule (NULL = model), eta, seed (prompt i uses seed + i), rng, sampler_rng, clip_skip,
    // progress (stages "sample", "compare" and "learn": updates of all blocks). The rest must be zero.
    struct sdg_generate_params generate;
    // How both models are opened: threads, memory, log ..; `model`, `files`, `keep` and `type` must be zero (f32).
    // Blocks are learned on the processor whatever the backend.
    struct sdg_pipeline_params pipeline;
    void (*block)(void *user, const struct sdg_learned_block *block);  // after each; NULL = not wanted
    void (*report)(void *user, const struct sdg_learn_report *report); // when the folder is complete; NULL = not wanted
    void *user;
};

// Lets the full-precision model draw, and learns block by block in the order of execution: a block's inputs are those
// of the quantized network on the same latents, with the blocks before it as learned, its targets what the float block
// answers to the inputs of the float network. Learned are the steps of integer weights, the scales of their inputs,
// each token's own where it has one, and smoothing vectors where there are some; weights are rounded to the nearest
// anew. The same parameters give the same bytes on the same kind of processor, with any number of threads and also
// after an interruption.
// SDG_ERROR_INPUT when the model is not the one that was quantized, when nothing of the blocks is quantized with scales
// that can be learned, or when the folder has been learned or corrected already.
SDG_API enum sdg_result sdg_learn(const struct sdg_learn_params *params);

#ifdef __cplusplus
}
#endif
#endif
