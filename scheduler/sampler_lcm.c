// Samplers of distilled models: latent consistency (Luo et al. 2023) and trajectory consistency (Zheng et al. 2024).
#include "scheduler/walk.h"

#include <math.h>

static double alpha_at(const struct sdg_walk *walk, int i)
{
    if (walk->steps.by_sigma)
        return sdg_alpha_of_sigma(walk->steps.sigmas[i]);
    return sdg_levels_alpha(&walk->levels, (int)walk->steps.timesteps[i]);
}

// Luo et al. 2023, algorithm 3: jump to the picture, noise it again to the next level. At the model's own timesteps the
// picture is mixed with the latent as eq. 9 asks for; on other schedules, as in k-diffusion, it is not.
void sdg_walk_lcm(struct sdg_walk *walk)
{
    const struct sdg_scheduler_config *config = walk->params->config;
    const double data_variance = 0.25;
    int first = walk->params->first_step;
    walk->clip = config->clip_sample;
    for (int i = first; i < walk->steps.count; i++) {
        bool last = i + 1 == walk->steps.count;
        double alpha = alpha_at(walk, i), after = last ? 1 : alpha_at(walk, i + 1), skip = 0, out = 1;
        if (!walk->steps.by_sigma) {
            double scaled = walk->steps.timesteps[i] * (double)config->timestep_scaling;
            skip = data_variance / (scaled * scaled + data_variance);
            out = scaled / sqrt(scaled * scaled + data_variance);
        }
        struct sdg_call *call = sdg_walk_alpha_call(walk, i, walk->steps.timesteps[i], alpha);
        sdg_call_predict(call, sdg_alpha_picture(walk, alpha));
        call->update.prediction = sqrt(after) * out;
        call->update.latent = sqrt(after) * skip;
        call->update.noise = sqrt(1 - after);
        call->draw = !last;
    }
}

// Zheng et al. 2024, algorithm 1 (strategic stochastic sampling): along the trajectory to s = (1 - eta) t', then noise
// up to t'. diffusers takes 0 as the end, so the last step leaves the noise of t = 0.
void sdg_walk_tcd(struct sdg_walk *walk)
{
    int first = walk->params->first_step;
    for (int i = first; i < walk->steps.count; i++) {
        bool last = i + 1 == walk->steps.count;
        int next = last ? 0 : (int)walk->steps.timesteps[i + 1];
        double alpha = alpha_at(walk, i), after = sdg_levels_alpha(&walk->levels, next);
        double through = sdg_levels_alpha(&walk->levels, (int)floorf((float)(1 - walk->eta) * (float)next)); // a(s)
        double kept = last || walk->eta <= 0 ? 1 : after / through;
        struct sdg_call *call = sdg_walk_alpha_call(walk, i, walk->steps.timesteps[i], alpha);
        struct sdg_linear picture = sdg_alpha_picture(walk, alpha), noise = sdg_alpha_noise(walk, alpha);
        call->update.latent = sqrt(kept) * (sqrt(through) * picture.latent + sqrt(1 - through) * noise.latent);
        call->update.output = sqrt(kept) * (sqrt(through) * picture.output + sqrt(1 - through) * noise.output);
        call->update.noise = sqrt(fmax(1 - kept, 0));
        call->draw = walk->eta > 0 && !last;
    }
}
