// How samplers are written down. A sampler's formulas depend on the model output and the latent linearly; everything
// else in them depends on time alone. So a sampler is a table of coefficients, one row per call of the model, computed
// before the first step, and one function walks the table. A family of samplers is a function that fills the table.
#ifndef SDG_SCHEDULER_WALK_H
#define SDG_SCHEDULER_WALK_H

#include "scheduler/schedule.h"

enum { SDG_WALK_HISTORY = 9 }; // PNDM's start by Runge-Kutta steps looks so far back, the others at most 3

struct sdg_combination {              // of vectors
    double latent;                    // before the call
    double saved;                     // the latent kept by an earlier call
    double output;                    // of the model, as it is
    double prediction;                // this call's
    double history[SDG_WALK_HISTORY]; // predictions that earlier calls pushed, the latest first
    double noise;
};

struct sdg_call {
    int step;
    double timestep, sigma;
    double input_scale;                // the model sees latent * this
    double picture_scale, noise_scale; // the latent stands for picture_scale picture + noise_scale unit noise
    // prediction = p_latent latent + p_output output, then clipped where the model asks for it
    double p_latent, p_output;
    bool correct; // unipc: the latent is replaced by `correction` first
    struct sdg_combination correction;
    bool save;                     // the (corrected) latent is kept
    struct sdg_combination update; // the new latent
    bool push;                     // the prediction goes to the history
    bool draw;                     // a draw of noise is made
};

struct sdg_walk { // what a family fills, and from what
    const struct sdg_sampler_params *params;
    struct sdg_levels levels;
    struct sdg_steps steps;
    struct sdg_solver solver; // the model's for its own schedule, else diffusers' defaults
    double eta;
    double init_noise_sigma; // set by the first call
    bool clip;               // predictions are clipped to +- clip_range
    struct sdg_call *calls;  // [sdg_walk_most_calls(steps.count)]
    int count;               // of them in use
};

typedef void sdg_walk_fill(struct sdg_walk *walk);

sdg_walk_fill sdg_walk_euler, sdg_walk_euler_a, sdg_walk_heun, sdg_walk_dpm2; // sampler_euler.c
sdg_walk_fill sdg_walk_lms;                                                   // sampler_lms.c
sdg_walk_fill sdg_walk_dpmpp2mv2, sdg_walk_dpmpp2s_a;                         // sampler_dpmpp.c
sdg_walk_fill sdg_walk_dpm, sdg_walk_dpm_sde;                                 // sampler_dpm.c
sdg_walk_fill sdg_walk_unipc;                                                 // sampler_unipc.c
sdg_walk_fill sdg_walk_ddim, sdg_walk_ddpm;                                   // sampler_ddim.c
sdg_walk_fill sdg_walk_pndm;                                                  // sampler_pndm.c
sdg_walk_fill sdg_walk_lcm, sdg_walk_tcd;                                     // sampler_lcm.c

// Two calls a step, and three times four for PNDM's start.
static inline size_t sdg_walk_most_calls(int steps)
{
    return 2 * (size_t)steps + 12;
}

// Appends a call for a latent in sigma space (picture + sigma noise). The network sees it at unit variance, under the
// model's name for the level: `timestep`, or log(sigma) / 4.
struct sdg_call *sdg_walk_sigma_call(struct sdg_walk *walk, int step, double timestep, double sigma);
// Appends a call for a variance preserving latent, sqrt(alpha) picture + sqrt(1 - alpha) noise.
struct sdg_call *sdg_walk_alpha_call(struct sdg_walk *walk, int step, double timestep, double alpha);

// A prediction as a combination of the latent and the model's output.
struct sdg_linear { double latent, output; };
// In sigma space: the picture, and the derivative d latent / d sigma, which is the noise.
struct sdg_linear sdg_sigma_picture(const struct sdg_walk *walk, double sigma);
struct sdg_linear sdg_sigma_derivative(const struct sdg_walk *walk, double sigma);
// Variance preserving: the picture and the noise.
struct sdg_linear sdg_alpha_picture(const struct sdg_walk *walk, double alpha);
struct sdg_linear sdg_alpha_noise(const struct sdg_walk *walk, double alpha);

static inline double sdg_alpha_of_sigma(double sigma)
{
    return 1 / (sigma * sigma + 1);
}
static inline void sdg_call_predict(struct sdg_call *call, struct sdg_linear p)
{
    call->p_latent = p.latent;
    call->p_output = p.output;
}
// An ancestral step from one sigma to a lower one: down to `down` by the model, up again by fresh noise `up`.
void sdg_ancestral(double from, double to, double eta, double *down, double *up);

#endif
