// DPM-Solver++ (Lu et al. 2022b): solvers that are exact in the linear part, with h = log(sigma / sigma') the step in
// half log SNR, and predict the picture. In the comments D is a prediction, the latest without an index.
#include "scheduler/walk.h"

#include <math.h>

// Algorithm 2, midpoint, as diffusers computes it: variance preserving latents, first order at the start and, in short
// walks or where the walk ends at 0, at the end.
void sdg_walk_dpmpp2m(struct sdg_walk *walk)
{
    const struct sdg_steps *steps = &walk->steps;
    int first = walk->params->first_step, last = steps->count - 1;
    for (int i = first; i <= last; i++) {
        double from = steps->sigmas[i], to = steps->sigmas[i + 1];
        double alpha = sdg_alpha_of_sigma(from), alpha_to = sdg_alpha_of_sigma(to);
        struct sdg_call *call = sdg_walk_alpha_call(walk, i, steps->timesteps[i], alpha);
        sdg_call_predict(call, sdg_alpha_picture(walk->params->config->prediction, alpha));
        call->push = true;
        // x' = (sigma'/sigma) x + sqrt(a') (1 - exp(-h)) D, sigmas here those of the latent: sqrt(1 - a)
        double gain = sqrt(alpha_to) * (1 - to / from);
        call->update.latent = to / from * sqrt(alpha_to / alpha);
        call->update.prediction = gain;
        if (i == first || (i == last && (to <= 0 || steps->count < 15)) || to <= 0)
            continue;
        double h = log(from / to), h_before = log(steps->sigmas[i - 1] / from);
        if (h_before <= 0)
            continue;                       // the last two predictions were made at the same noise level
        double weight = h / (2 * h_before); // second order: D + (h / 2 h_before) (D - D[-1])
        call->update.prediction += gain * weight;
        call->update.history[0] = -gain * weight;
    }
}

// A call in sigma space that predicts the picture.
static struct sdg_call *picture_call(struct sdg_walk *walk, int step, double timestep, double sigma)
{
    struct sdg_call *call = sdg_walk_sigma_call(walk, step, timestep, sigma);
    sdg_call_predict(call, sdg_sigma_picture(walk->params->config->prediction, sigma));
    return call;
}

// The variant for few steps from https://github.com/AUTOMATIC1111/stable-diffusion-webui/discussions/8457: the ratio of
// the steps is taken the larger over the smaller, and the step used is the mean of the last two.
void sdg_walk_dpmpp2mv2(struct sdg_walk *walk)
{
    const struct sdg_steps *steps = &walk->steps;
    int first = walk->params->first_step;
    for (int i = first; i < steps->count; i++) {
        double from = steps->sigmas[i], to = steps->sigmas[i + 1];
        struct sdg_call *call = picture_call(walk, i, steps->timesteps[i], from);
        call->push = true;
        call->update.latent = to / from;
        call->update.prediction = 1 - to / from;
        if (i == first || to <= 0)
            continue;
        double h = log(from / to), h_before = log(steps->sigmas[i - 1] / from);
        if (h <= 0 || h_before <= 0)
            continue;
        double weight = fmin(h, h_before) / (2 * fmax(h, h_before));
        double gain = -expm1(-(h + h_before) / 2);
        call->update.prediction = gain * (1 + weight);
        call->update.history[0] = -gain * weight;
    }
}

// Algorithm 1 (singlestep, r = 1/2) down to the ancestral sigma, then fresh noise; Euler where that sigma is 0.
void sdg_walk_dpmpp2s_a(struct sdg_walk *walk)
{
    const struct sdg_steps *steps = &walk->steps;
    for (int i = walk->params->first_step; i < steps->count; i++) {
        double from = steps->sigmas[i], to = steps->sigmas[i + 1], down, up;
        sdg_ancestral(from, to, walk->eta, &down, &up);
        double middle = sqrt(from) * sqrt(down); // half the way in log sigma
        struct sdg_call *call = picture_call(walk, i, steps->timesteps[i], from);
        call->update.latent = middle / from;
        call->update.prediction = 1 - middle / from;
        if (middle > 0) {
            call->save = true;
            call = picture_call(walk, i, sdg_levels_timestep(&walk->levels, middle), middle);
            call->update.saved = down / from;
            call->update.prediction = 1 - down / from;
        }
        call->update.noise = up;
        call->draw = to > 0;
    }
}
