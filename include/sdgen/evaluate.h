// Evaluation: how far other models' pictures are from a reference model's, on equal prompts and equal noise.
//
// The other models are usually quantized ones of the same network; they may also be the reference itself in another
// type. All draw the same pictures ("runs": every prompt with every seed); latents are compared after every step, the
// finished pictures in 8 bit. Where a model quantizes its activations, the values that the reference has at each of its
// sites are also compared with themselves after that model's quantization: what the intervals alone cost, site by site
// and step by step. (Not if the reference is quantized itself.)
//
// Decibels are 10 log10 of a ratio of powers; INFINITY where nothing differs, NAN where there is nothing to compare.
#ifndef SDGEN_EVALUATE_H
#define SDGEN_EVALUATE_H

#include "sdgen/sdgen.h"

#ifdef __cplusplus
extern "C" {
#endif

#define sdg_psnr SDG_LINK_NAME(sdg_psnr_, SDG_API_VERSION)
#define sdg_ssim SDG_LINK_NAME(sdg_ssim_, SDG_API_VERSION)
#define sdg_evaluate SDG_LINK_NAME(sdg_evaluate_, SDG_API_VERSION)

// ---- measures: pure functions of their arguments ----

// Signal to noise: sum of reference^2 over sum of (reference - other)^2, in dB, of `reference` and `other` [count]. NAN
// for an empty or silent reference.
SDG_API double sdg_sqnr(const float *reference, const float *other, size_t count);
// Of the 8-bit values of two pictures of equal size, peak 255, in dB. NAN if the sizes differ.
SDG_API double sdg_psnr(const struct sdg_image *a, const struct sdg_image *b);
// Structural similarity (Wang, Bovik, Sheikh, Simoncelli 2004) in -1..1: a Gaussian window of 11x11 pixels and
// sigma 1.5 at every place where it lies in the picture as a whole, K1 = 0.01, K2 = 0.03, peak 255; the mean over
// places and over R, G and B. NAN if the sizes differ, a side is below 11, or there is no memory for a few rows.
SDG_API double sdg_ssim(const struct sdg_image *a, const struct sdg_image *b);

// ---- an evaluation ----

struct sdg_evaluate_model {
    const char *path;           // NULL = sdg_default_model()
    const char *name;           // what it is called in the results; NULL = made from folder and what is said below
    const char *type, *backend; // NULL = those of sdg_evaluate_params.pipeline
    bool no_correction;         // of the sampler, where the model has one
};

struct sdg_evaluate_progress {
    const char *stage;          // "pictures", "outputs", "sites"
    const char *model;          // name
    int model_index, models;    // 0 is the reference
    int run, runs, step, steps; // 0-based run; steps done of it
    double seconds_left;        // of the whole evaluation; negative if unknown
};

struct sdg_evaluate_params {
    struct sdg_evaluate_model reference;
    const struct sdg_evaluate_model *models; // [model_count], 1..64
    size_t model_count;
    const char *const *prompts; // [prompt_count]
    size_t prompt_count;
    // pictures of each prompt; 0 = 1. Prompt i, seed k is run i * seeds + k and uses generate.seed + run
    int seeds;
    int site_runs; // runs whose outputs and sites are compared, evenly spread; 0 = none
    int pictures;  // runs whose pictures are kept, the first ones; 0 = none
    // How pictures are made: negative_prompt, plain_prompt, size, steps, cfg_scale, sampler, schedule, eta, seed, rng,
    // sampler_rng, clip_skip. The rest must be zero.
    struct sdg_generate_params generate;
    // How all models are opened: backend, type, threads, memory, log ... `model`, `files` and `keep` must be zero.
    struct sdg_pipeline_params pipeline;
    // after every step; false = cancel. NULL = none
    bool (*progress)(void *user, const struct sdg_evaluate_progress *progress);
    void *progress_user;
};

enum { SDG_EVALUATION_TIMES = 200 };

// What a model does to one site.
struct sdg_evaluation_interval {
    int bits;           // 0: this model does not quantize this site, the rest is absent
    const double *sqnr; // [calls] of this model's codes, signal and noise summed over the runs observed; dB
    double total;       // summed over all calls too
    // The least and the largest value that have a code: at timestep 999 i / (SDG_EVALUATION_TIMES - 1), NULL under the
    // dynamic rule,
    const float *low, *high; // [SDG_EVALUATION_TIMES]
    // and at the timesteps of the evaluated calls (dynamic: mean over the runs observed).
    const float *call_low, *call_high; // [calls]
    // Of a site with an interval for each token, whose grid has `height` rows: what that of each token reaches, the
    // mean over the calls. NULL where all tokens share one.
    size_t height, width;
    const float *token_low, *token_high; // [height * width]
};

struct sdg_evaluation_model {
    const char *name, *path, *scheme; // scheme: "w8a8-tdq", or the type of an unquantized model
    // of the intervals: "static", "table", .. (sdg_quantize_params.intervals); "none" = activations are not quantized
    const char *rule;
    bool corrected;            // by the sampler
    const double *latent_sqnr; // [steps] dB, signal and noise summed over all runs
    const double *latent_mse;  // [steps] mean squared difference of the latents after each step
    // Of what the network answers to the reference's own latents, both guidance branches, corrected if the model is:
    // what is wrong with single steps before errors add up. Summed over sdg_evaluation.output_runs runs.
    const double *output_sqnr; // [calls] dB; NULL if not measured
    double output;             // mean of output_sqnr; NAN if not measured
    const double *run_sqnr;    // [runs] of the last latent, dB
    const double *run_psnr;    // [runs] of the picture, dB
    const double *run_ssim;    // [runs]
    // mean of run_sqnr: unlike the pooled one it is not ruled by the few pictures that go another way
    double sqnr;
    double psnr;            // mean of run_psnr (INFINITY as soon as one is)
    double psnr_pooled;     // of the mean squared difference over all runs
    double ssim;            // mean of run_ssim
    double seconds_step;    // median
    double seconds_picture; // median, from the prompt to the pixels
    size_t peak_planned;    // bytes of networks and their buffers at the peak, by the memory plan
    // bytes of the whole process while this model drew; 0 where the system does not say
    size_t peak_resident;
    uint64_t weight_bytes;                   // as stored, all networks
    uint64_t unet_bytes;                     // of them the UNet's
    const struct sdg_image *const *pictures; // [sdg_evaluation.pictures]
    // [sdg_evaluation.sites]; NULL if its activations are not quantized or no sites were asked for
    const struct sdg_evaluation_interval *sites;
};

// One site of the network, in order of execution.
struct sdg_evaluation_site {
    const char *name, *kind; // "symmetric" or "silu"
    size_t channels;
    const float *min, *max; // [calls] of the reference's values in the runs observed
};

// All of it is read-only and lives until sdg_evaluation_destroy; any number of threads may read it.
struct sdg_evaluation {
    size_t runs, pictures, calls, sites, models, site_runs, output_runs;
    int steps, seeds, width, height, latent_channels, latent_width, latent_height;
    uint64_t seed; // of run 0
    double cfg_scale;
    const char *sampler, *schedule, *rng;
    const char *const *prompts; // [runs]
    const double *timesteps;    // [calls] at which the network ran
    const int *step_of_call;    // [calls] 0-based
    // [1 + models]: the reference first, whose own measures are those of equality
    const struct sdg_evaluation_model *model;
    const struct sdg_evaluation_site *site; // [sites]
};

// Draws all runs with every model. Latents of another shape, another number of steps: SDG_ERROR_INPUT. *out is the
// caller's. Takes memory for every latent of the reference; a demand beyond 4 GiB is SDG_ERROR_MEMORY before anything
// is drawn.
SDG_API enum sdg_result sdg_evaluate(const struct sdg_evaluate_params *params, struct sdg_evaluation **out);
SDG_API void sdg_evaluation_destroy(struct sdg_evaluation **evaluation);

#ifdef __cplusplus
}
#endif
#endif
