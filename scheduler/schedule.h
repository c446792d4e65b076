// Noise schedules: the levels a model was trained on, and the timesteps and sigmas of one walk through them.
//
// Notation: a(t) = alphas_cumprod, the share of the picture at timestep t, and sigma = sqrt((1 - a) / a), the noise
// beside a picture of unit scale. A "variance preserving" latent is sqrt(a) picture + sqrt(1 - a) noise; in "sigma
// space" it is picture + sigma noise.
#ifndef SDG_SCHEDULER_SCHEDULE_H
#define SDG_SCHEDULER_SCHEDULE_H

#include "scheduler/sampler.h"

struct sdg_levels { // of training; tables over t = 0 .. count-1, in float as diffusers has them
    int count;
    float *alphas; // alphas_cumprod, falling
    float *sigmas; // rising
    float *log_sigmas;
};

// SDG_ERROR_INPUT where the betas leave no signal or no noise. A model with zero terminal SNR has a(T-1) = 0; that is
// kept with `allow_zero`, else 2^-24 stands for it, which makes the last sigma finite (its sigma always is).
enum sdg_result sdg_levels_create(const struct sdg_log *log, const struct sdg_scheduler_config *config, bool allow_zero,
                                  struct sdg_levels *out);
void sdg_levels_destroy(struct sdg_levels *levels);

double sdg_levels_alpha(const struct sdg_levels *levels, int t);        // t is clamped to the table
double sdg_levels_sigma(const struct sdg_levels *levels, double t);     // linear between entries
double sdg_levels_sigma_log(const struct sdg_levels *levels, double t); // linear in log sigma between entries
// inverse of the latter, clamped to the table
double sdg_levels_timestep(const struct sdg_levels *levels, double sigma);

enum sdg_points {          // which timesteps N steps are
    SDG_POINTS_FRACTIONAL, // euler, heun, lms, ...: linspace has fractions
    SDG_POINTS_WHOLE,      // ddim, pndm, ddpm: rounded
    SDG_POINTS_SOLVER,     // dpm++2m, unipc: N + 1 rounded points without the smallest
    SDG_POINTS_LCM,        // lcm, tcd: some of the 50 the model was distilled for
};

enum sdg_rounding { // of a timestep that was found from a sigma
    SDG_ROUND_NEVER,
    SDG_ROUND_KARRAS, // only for karras (dpm2)
    SDG_ROUND_ALWAYS, // exponential and beta round down, the others to the nearest (dpm++2m, unipc)
};

struct sdg_schedule_rules { // of a method
    enum sdg_points points;
    enum sdg_rounding rounding;
    bool log_interpolation; // sigma of a fractional timestep as k-diffusion computes it
    bool final_sigma;       // knows final_sigmas_type "sigma_min"
    bool ends_at_previous;  // for which that is the last sigma again where the schedule is one of sigmas (unipc)
    bool dpm_solver;        // knows lambda_min_clipped, and rounds timesteps down for cosine betas (dpm++2m)
    bool own_range;         // karras, exponential and beta span the method's own timesteps instead of all
};

struct sdg_steps {
    int count;
    bool by_sigma;      // the schedule is one of sigmas: a(t) is 1 / (sigma^2 + 1), not a table entry
    double *timesteps;  // [count], falling
    double *sigmas;     // [count + 1], falling, the last is where the walk ends
    double first_scale; // what unit noise is multiplied with to start in sigma space
};

// `params` as checked by sdg_sampler_create.
enum sdg_result sdg_steps_create(const struct sdg_log *log, const struct sdg_sampler_params *params,
                                 const struct sdg_schedule_rules *rules, const struct sdg_levels *levels,
                                 struct sdg_steps *out);
void sdg_steps_destroy(struct sdg_steps *steps);

#endif
