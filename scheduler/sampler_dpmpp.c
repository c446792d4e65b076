// DPM-Solver++ (Lu et al. 2022b) as k-diffusion has it, in sigma space, with h = log(sigma / sigma') the step in half
// log SNR. D is a prediction of the picture.
#include "scheduler/walk.h"

#include <math.h>

// A call in sigma space that predicts the picture.
static struct sdg_call *picture_call(struct sdg_walk *walk, int step, double timestep, double sigma)
{
    struct sdg_call *call = sdg_walk_sigma_call(walk, step, timestep, sigma);
    sdg_call_predict(call, sdg_sigma_picture(walk, sigma));
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
