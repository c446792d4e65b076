// PNDM (Liu et al. 2022), and without its Runge-Kutta start ("skip_prk_steps"), which is known as PLMS.
#include "scheduler/walk.h"

#include <math.h>

enum { RK_STEPS = 3, RK_CALLS = 4 };

// Adams-Bashforth of order 1 .. 4: weights of the last noise predictions, the latest first.
static const double weights_of[4][SDG_WALK_HISTORY + 1] = {
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

// The combined output, which goes from t to `to`, starts from the latent or from the saved one. weight[0] is this
// call's, the others those of the history.
static void pndm_update(struct sdg_walk *walk, struct sdg_call *call, int t, int to, const double *weight,
                        bool from_saved)
{
    double alpha = sdg_levels_alpha(&walk->levels, t);
    struct sdg_linear move = transfer(alpha, alpha_before(walk, to));
    struct sdg_linear noise = sdg_alpha_noise(walk, alpha);
    double start = move.latent + move.output * noise.latent, output = move.output * noise.output;
    if (from_saved)
        call->update.saved = start;
    else
        call->update.latent = start;
    call->update.prediction = output * weight[0];
    for (int k = 0; k < SDG_WALK_HISTORY; k++)
        call->update.history[k] = output * weight[k + 1];
}

static struct sdg_call *pndm_call(struct sdg_walk *walk, int step, int t)
{
    struct sdg_call *call = sdg_walk_alpha_call(walk, step, t, sdg_levels_alpha(&walk->levels, t));
    call->p_output = 1;
    return call;
}

// Three steps by Runge-Kutta's method of order 4 (Liu et al. 2022, eq. 13), whose halves are T / N / 2 long; each
// leaves its first output for the steps that follow. Pushed are the outputs of the first three calls of each.
static void pndm_start(struct sdg_walk *walk)
{
    static const double weights[RK_CALLS][SDG_WALK_HISTORY + 1] = {{1}, {1}, {1}, {1 / 6.0, 1 / 3.0, 1 / 3.0, 1 / 6.0}};
    const struct sdg_steps *steps = &walk->steps;
    const int half = walk->params->config->train_timesteps / steps->count / 2;
    for (int step = 0; step < RK_STEPS; step++) {
        int t = (int)steps->timesteps[step], end = (int)steps->timesteps[step + 1], middle = end + half;
        const int at[RK_CALLS] = {t, middle, middle, end}, to[RK_CALLS] = {t - half, middle, end, end};
        for (int c = 0; c < RK_CALLS; c++) {
            struct sdg_call *call = pndm_call(walk, step, at[c]);
            call->save = c == 0;
            call->push = c < RK_CALLS - 1;
            pndm_update(walk, call, t, to[c], weights[c], c > 0);
        }
    }
}

// The steps that follow are of order 4 at once: of what pndm_start pushed they take the first outputs of its steps.
static void pndm_after_start(struct sdg_walk *walk)
{
    const struct sdg_steps *steps = &walk->steps;
    const int stride = walk->params->config->train_timesteps / steps->count, each = RK_CALLS - 1;
    for (int i = RK_STEPS; i < steps->count; i++) {
        int done = i - RK_STEPS, t = (int)steps->timesteps[i];
        double weight[SDG_WALK_HISTORY + 1] = {weights_of[3][0]};
        for (int k = 1; k < 4; k++) // the k-th output before this one
            weight[k <= done ? k : done + (k - done) * each] = weights_of[3][k];
        struct sdg_call *call = pndm_call(walk, i, t);
        call->push = true;
        pndm_update(walk, call, t, t - stride, weight, false);
    }
}

// diffusers visits the second timestep twice: the first call only looks ahead, the second takes the same step again
// with the mean of both outputs. An img2img walk that starts at step s drops the first s calls and does the same from
// there.
static void plms(struct sdg_walk *walk)
{
    const struct sdg_steps *steps = &walk->steps;
    int first = walk->params->first_step, stride = walk->params->config->train_timesteps / steps->count;
    int calls = steps->count > 1 ? steps->count + 1 : 1;
    for (int c = first; c < calls; c++) {
        int done = c - first; // calls of this walk
        int step = c > 1 ? c - 1 : c, t = (int)steps->timesteps[step];
        struct sdg_call *call = pndm_call(walk, first + (done > 1 ? done - 1 : 0), t);
        if (done == 1) {
            static const double mean[SDG_WALK_HISTORY + 1] = {1 / 2.0, 1 / 2.0};
            pndm_update(walk, call, t + stride, t, mean, true);
            continue;
        }
        int order = done == 0 ? 1 : done < 4 ? done : 4;
        pndm_update(walk, call, t, t - stride, weights_of[order - 1], false);
        call->save = done == 0;
        call->push = true;
    }
}

void sdg_walk_pndm(struct sdg_walk *walk)
{
    if (!walk->solver.runge_kutta_start) {
        plms(walk);
        return;
    }
    pndm_start(walk);
    pndm_after_start(walk);
}
