// PNDM without its Runge-Kutta start ("skip_prk_steps"), also known as PLMS: Liu et al. 2022.
#include "scheduler/walk.h"

#include <math.h>

// Adams-Bashforth of order 1 .. 4: weights of the last noise predictions, the latest first.
static const double weights[4][4] = {
    {1}, {3 / 2.0, -1 / 2.0}, {23 / 12.0, -16 / 12.0, 5 / 12.0}, {55 / 24.0, -59 / 24.0, 37 / 24.0, -9 / 24.0}};

static double alpha_before(const struct sdg_walk *walk, int t) // what the step leads to
{
    if (t < 0 && walk->params->config->set_alpha_to_one)
        return 1;
    return sdg_levels_alpha(&walk->levels, t);
}

// Liu et al. 2022, eq. 11: how latent and noise move from alpha to after.
static struct sdg_linear transfer(double alpha, double after)
{
    double denominator = alpha * sqrt(1 - after) + sqrt(alpha * (1 - alpha) * after);
    return (struct sdg_linear){sqrt(after / alpha), denominator > 0 ? -(after - alpha) / denominator : 0};
}

// The combined output, which goes from t to `to`, starts from the latent or from the saved one.
static void pndm_update(struct sdg_walk *walk, struct sdg_call *call, int t, int to, const double *weight,
                        bool from_saved)
{
    double alpha = sdg_levels_alpha(&walk->levels, t);
    struct sdg_linear move = transfer(alpha, alpha_before(walk, to));
    struct sdg_linear noise = sdg_alpha_noise(walk->params->config->prediction, alpha);
    double start = move.latent + move.output * noise.latent, output = move.output * noise.output;
    if (from_saved)
        call->update.saved = start;
    else
        call->update.latent = start;
    call->update.prediction = output * weight[0];
    for (int k = 0; k < SDG_WALK_HISTORY; k++)
        call->update.history[k] = output * weight[k + 1];
}

// diffusers visits the second timestep twice: the first call only looks ahead, the second takes the same step again
// with the mean of both outputs. An img2img walk that starts at step s drops the first s calls and does the same from
// there.
void sdg_walk_pndm(struct sdg_walk *walk)
{
    const struct sdg_steps *steps = &walk->steps;
    int first = walk->params->first_step, stride = walk->params->config->train_timesteps / steps->count;
    int calls = steps->count > 1 ? steps->count + 1 : 1;
    for (int c = first; c < calls; c++) {
        int done = c - first; // calls of this walk
        int step = c > 1 ? c - 1 : c, t = (int)steps->timesteps[step];
        struct sdg_call *call =
            sdg_walk_alpha_call(walk, first + (done > 1 ? done - 1 : 0), t, sdg_levels_alpha(&walk->levels, t));
        call->p_output = 1;
        if (done == 1) {
            static const double mean[4] = {1 / 2.0, 1 / 2.0};
            pndm_update(walk, call, t + stride, t, mean, true);
            continue;
        }
        int order = done == 0 ? 1 : done < 4 ? done : 4;
        pndm_update(walk, call, t, t - stride, weights[order - 1], false);
        call->save = done == 0;
        call->push = true;
    }
}
