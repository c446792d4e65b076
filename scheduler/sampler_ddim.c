// DDIM and DDPM: variance preserving latents, one call a step.
#include "scheduler/walk.h"

#include <math.h>

// a(t) where step i's call stands, and where the step leads to.
static double alpha_at(const struct sdg_walk *walk, int i)
{
    if (walk->steps.by_sigma)
        return sdg_alpha_of_sigma(walk->steps.sigmas[i]);
    return sdg_levels_alpha(&walk->levels, (int)walk->steps.timesteps[i]);
}

// diffusers' DDIM goes to t - T / N, whatever the spacing; below 0 to set_alpha_to_one's choice.
static double ddim_alpha_after(const struct sdg_walk *walk, int i)
{
    const struct sdg_scheduler_config *config = walk->params->config;
    if (walk->steps.by_sigma)
        return alpha_at(walk, i + 1);
    int previous = (int)walk->steps.timesteps[i] - config->train_timesteps / walk->steps.count;
    if (previous < 0)
        return config->set_alpha_to_one ? 1 : sdg_levels_alpha(&walk->levels, 0);
    return sdg_levels_alpha(&walk->levels, previous);
}

// Song et al. 2021 (DDIM), eq. 12 and 16. With eta > 0 a draw on every step, the last included.
void sdg_walk_ddim(struct sdg_walk *walk)
{
    int first = walk->params->first_step;
    walk->clip = walk->params->config->clip_sample;
    for (int i = first; i < walk->steps.count; i++) {
        double alpha = alpha_at(walk, i), after = ddim_alpha_after(walk, i);
        double variance = (1 - after) / (1 - alpha) * (1 - alpha / after);
        double deviation = walk->eta * sqrt(fmax(variance, 0));
        double direction = sqrt(fmax(1 - after - deviation * deviation, 0));
        struct sdg_call *call = sdg_walk_alpha_call(walk, i, walk->steps.timesteps[i], alpha);
        sdg_call_predict(call, sdg_alpha_picture(walk, alpha));
        struct sdg_linear noise = sdg_alpha_noise(walk, alpha);
        call->update = (struct sdg_combination){.latent = direction * noise.latent,
                                                .output = direction * noise.output,
                                                .prediction = sqrt(after),
                                                .noise = deviation};
        call->draw = walk->eta > 0;
    }
}

// Ho et al. 2020 (DDPM), eq. 6 and 7, with the variance of eq. 7 ("fixed small") or the step's beta ("fixed large"). No
// draw where the walk ends at t = 0.
void sdg_walk_ddpm(struct sdg_walk *walk)
{
    int first = walk->params->first_step;
    walk->clip = walk->params->config->clip_sample;
    for (int i = first; i < walk->steps.count; i++) {
        bool last = i + 1 == walk->steps.count;
        double alpha = alpha_at(walk, i), after = last ? 1 : alpha_at(walk, i + 1);
        double kept = alpha / after; // the step's own alpha; its beta is 1 - kept
        struct sdg_call *call = sdg_walk_alpha_call(walk, i, walk->steps.timesteps[i], alpha);
        sdg_call_predict(call, sdg_alpha_picture(walk, alpha));
        call->update.prediction = sqrt(after) * (1 - kept) / (1 - alpha);
        call->update.latent = sqrt(kept) * (1 - after) / (1 - alpha);
        call->draw = walk->steps.timesteps[i] > 0;
        if (call->draw)
            call->update.noise =
                sqrt(walk->solver.large_variance ? 1 - kept : fmax((1 - after) / (1 - alpha) * (1 - kept), 1e-20));
    }
}
