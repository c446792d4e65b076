// Euler, Euler ancestral, Heun and DPM-Solver-2 in sigma space: latent' = d(latent, sigma), see Karras et al. 2022,
// eq. 3.
#include "scheduler/walk.h"

#include <math.h>

static struct sdg_call *derivative_call(struct sdg_walk *walk, int step, double timestep, double sigma)
{
    struct sdg_call *call = sdg_walk_sigma_call(walk, step, timestep, sigma);
    sdg_call_predict(call, sdg_sigma_derivative(walk, sigma));
    return call;
}

// latent + d (to - sigma)
static void euler_update(struct sdg_call *call, double to)
{
    call->update.latent = 1;
    call->update.prediction = to - call->sigma;
}

void sdg_walk_euler(struct sdg_walk *walk)
{
    const struct sdg_steps *steps = &walk->steps;
    for (int i = walk->params->first_step; i < steps->count; i++)
        euler_update(derivative_call(walk, i, steps->timesteps[i], steps->sigmas[i]), steps->sigmas[i + 1]);
}

// A draw is made on every step, the last included (of which nothing is used), as in diffusers.
void sdg_walk_euler_a(struct sdg_walk *walk)
{
    const struct sdg_steps *steps = &walk->steps;
    for (int i = walk->params->first_step; i < steps->count; i++) {
        struct sdg_call *call = derivative_call(walk, i, steps->timesteps[i], steps->sigmas[i]);
        double down;
        sdg_ancestral(steps->sigmas[i], steps->sigmas[i + 1], walk->eta, &down, &call->update.noise);
        euler_update(call, down);
        call->draw = true;
    }
}

// Karras et al. 2022, algorithm 1 without churn: an Euler step, then again with the mean of both ends' derivatives.
// Pictures D are predicted, not derivatives (latent - D) / sigma, since that is what a model may want clipped.
void sdg_walk_heun(struct sdg_walk *walk)
{
    const struct sdg_steps *steps = &walk->steps;
    walk->clip = walk->params->config->clip_sample;
    for (int i = walk->params->first_step; i < steps->count; i++) {
        double from = steps->sigmas[i], to = steps->sigmas[i + 1], half = (to - from) / 2;
        struct sdg_call *first = sdg_walk_sigma_call(walk, i, steps->timesteps[i], from);
        sdg_call_predict(first, sdg_sigma_picture(walk, from));
        first->update.latent = to / from;
        first->update.prediction = 1 - to / from;
        if (i + 1 == steps->count)
            break;
        first->save = first->push = true;
        struct sdg_call *second = sdg_walk_sigma_call(walk, i, steps->timesteps[i + 1], to);
        sdg_call_predict(second, sdg_sigma_picture(walk, to));
        second->update.saved = 1 + half / from;
        second->update.history[0] = -half / from;
        second->update.latent = half / to;
        second->update.prediction = -half / to;
    }
}

// Lu et al. 2022 (DPM-Solver), algorithm 1 with r = 1/2: the derivative at the geometric mean of both sigmas.
void sdg_walk_dpm2(struct sdg_walk *walk)
{
    const struct sdg_steps *steps = &walk->steps;
    for (int i = walk->params->first_step; i < steps->count; i++) {
        double from = steps->sigmas[i], to = steps->sigmas[i + 1], middle = sqrt(from) * sqrt(to);
        struct sdg_call *first = derivative_call(walk, i, steps->timesteps[i], from);
        euler_update(first, middle);
        if (middle <= 0)
            break; // the last step: Euler to 0
        first->save = true;
        struct sdg_call *second = derivative_call(walk, i, sdg_levels_timestep(&walk->levels, middle), middle);
        second->update.saved = 1;
        second->update.prediction = to - from;
    }
}
