// Schedules (which timesteps and sigmas) and samplers (how a model output moves the latent), as diffusers computes
// them; dpm++2s_a and dpm++2mv2 as k-diffusion does. Pure functions of numbers on host arrays in f32 (coefficients in
// double).
//
// Schedules. discrete: timesteps evenly from the last to 0 (trailing ones for ddim_trailing; lcm and tcd: every
// so-many-th of the 50 they were distilled for). model: spacing, offset and sigmas as scheduler_config.json says.
// karras, exponential, beta: sigmas between the first and last of discrete, as diffusers. sgm_uniform, simple: as in
// ComfyUI and stable-diffusion.cpp. ays: Align Your Steps' levels for Stable Diffusion 1.5. On the last six, ddim, ddpm
// and lcm take a(t) = 1 / (sigma^2 + 1) with fractional timesteps; pndm and tcd refuse them. With the model's schedule
// go its options of the solver (struct sdg_solver); with any other the sampler is diffusers' default, or k-diffusion's.
// A model of EDM's kind has its own range of sigmas, which discrete, simple and the like take from an even table in log
// sigma; all samplers draw with it.
//
// One sampler object walks one picture: for call i = 0 .. calls-1
//     sdg_sampler_scale_input(s, i, latent, model_input)    what the UNet sees
//     eps = UNet(model_input, sdg_sampler_timestep(s, i))
//     sdg_sampler_step(s, i, eps, latent, rng)              latent is updated in place
// in this order, from call 0 on; a walk may be made again. Multi-evaluation samplers (heun, dpm2, dpm++2s_a; pndm,
// which visits its second timestep twice) simply have more calls than steps. Thread-safety: one call at a time per
// sampler.
//
// On purpose not as diffusers 0.42 does it: image to image with lms begins with first-order steps (diffusers applies a
// fourth-order coefficient to a single derivative); a linspace schedule of one step starts at t = 999, not at 0;
// ddim_trailing stays trailing whatever the schedule.
#ifndef SDG_SCHEDULER_SAMPLER_H
#define SDG_SCHEDULER_SAMPLER_H

#include "base/log.h"
#include "formats/config.h"
#include "scheduler/rng.h"

enum sdg_method {
#define SDG_METHOD(upper, name, label) SDG_METHOD_##upper,
#include "scheduler/names.def"
    SDG_METHOD_COUNT
};
enum sdg_schedule {
#define SDG_SCHEDULE(upper, name, label) SDG_SCHEDULE_##upper,
#include "scheduler/names.def"
    SDG_SCHEDULE_COUNT
};

const char *sdg_method_name(enum sdg_method method); // as in names.def
int sdg_method_from_name(const char *name);          // aliases too (plms, ddim_leading); -1 if unknown
const char *sdg_schedule_name(enum sdg_schedule schedule);
int sdg_schedule_from_name(const char *name);
// As A1111's web interface writes them ("DPM++ 2M", "Align Your Steps").
const char *sdg_method_label(enum sdg_method method);
const char *sdg_schedule_label(enum sdg_schedule schedule);
// The sampler that a scheduler_config.json describes by its class (PNDMScheduler -> pndm, ...) and, for DPM-Solver, its
// algorithm; -1 if there is none like it.
int sdg_method_of_config(const struct sdg_scheduler_config *config);

struct sdg_sampler_params {
    enum sdg_method method;
    enum sdg_schedule schedule;
    const struct sdg_scheduler_config *config; // betas, prediction type, spacing, offset of the model
    int steps; // 1 .. 1000, and at most the model's timesteps (lcm and tcd: at most the 50 of their own)
    // img2img: so many steps of the schedule are left out at the front (0 = txt2img), 0 .. steps - 1;
    // diffusers' strength means steps - (int)(steps * strength)
    int first_step;
    // share of fresh noise, 0 .. 1, for ddim, euler_a, dpm++2s_a, dpm++2m_sde, tcd; negative = the method's default (0,
    // 1, 1, 1, 0.3)
    double eta;
    // custom sigmas (--sigmas), falling, `sigma_count` of them (a final 0 is appended if missing); or NULL.
    const double *sigmas;
    int sigma_count; // They replace `schedule` and `steps`. Methods: euler*, heun, dpm2, dpm++*, lms
    size_t elements; // of one latent
    // Image to image as diffusers' pipeline for latent consistency models has it: lcm and tcd choose among the lowest
    // so many of the model's original_inference_steps timesteps, steps .. original; 0 = all. No step is left out then.
    int lcm_points;
};

struct sdg_sampler;

// SDG_ERROR_USAGE naming the parameter where a combination is impossible (steps > 50 for lcm, karras for pndm, ...),
// SDG_ERROR_INPUT where the model's betas are no usable schedule. `params` and its config only have to live until this
// returns.
enum sdg_result sdg_sampler_create(const struct sdg_log *log, const struct sdg_sampler_params *params,
                                   struct sdg_sampler **out);
void sdg_sampler_destroy(struct sdg_sampler **sampler);

int sdg_sampler_calls(const struct sdg_sampler *s);                  // model evaluations
int sdg_sampler_steps(const struct sdg_sampler *s);                  // steps as the user counts them, after first_step
int sdg_sampler_step_of_call(const struct sdg_sampler *s, int call); // 0-based, for progress
double sdg_sampler_timestep(const struct sdg_sampler *s, int call);  // may be fractional
// noise beside a picture of unit scale; finite, above 0
double sdg_sampler_sigma(const struct sdg_sampler *s, int call);
double sdg_sampler_eta(const struct sdg_sampler *s); // what was asked for, or the method's default
// The first latent of txt2img is noise * this.
double sdg_sampler_init_noise_sigma(const struct sdg_sampler *s);
// A picture's latent noised to the level of a call (scheduler.add_noise): 0 for the start of img2img, later ones for
// the part that an inpainting mask keeps; call = sdg_sampler_calls(s) is the end of the walk, without noise. In place.
void sdg_sampler_add_noise(const struct sdg_sampler *s, int call, float *latent, const float *noise);
void sdg_sampler_scale_input(const struct sdg_sampler *s, int call, const float *latent, float *model_input);
// The model outputs of this call have an error of this variance per element, as random as fresh noise: as much of it as
// reaches the latent is left out of the noise that the step adds. For ddim that is the formula of PTQD (He et al.
// 2023); any step's latent is linear in the output. Nothing changes where the step adds no noise or clips predictions.
// Once per call at most, before the walk.
void sdg_sampler_absorb(struct sdg_sampler *s, int call, double variance);
// `rng` supplies this step's noise draws where the method has any (one draw of `elements` numbers each). No allocation.
void sdg_sampler_step(struct sdg_sampler *s, int call, const float *model_output, float *latent, struct sdg_rng *rng);

#endif
