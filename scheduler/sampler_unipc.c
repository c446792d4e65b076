// UniPC (Zhao et al. 2023), predicting the picture or the noise, with B(h) = exp(h) - 1 ("bh2") or h ("bh1"), variance
// preserving latents. Every call first corrects the step that led to it, with what the model now says at its end, then
// predicts the next one. For the picture the signs of h are turned.
#include "scheduler/walk.h"

#include <math.h>

enum { UNIPC_ORDER = 3 };

// One step: from node[0] to `to`; node[k] are the earlier sigmas, each with a prediction.
struct unipc_step {
    double latent, prediction; // x' = latent x + prediction D[0] + ...
    double gain;               // sqrt(a') B(h), or sqrt(1 - a') B(h)
    double ratio[UNIPC_ORDER]; // r_k: where node[k] lies, in steps; ratio[order - 1] = 1 is the step's end
    double right[UNIPC_ORDER]; // right side of eq. 5's linear system
};

static struct unipc_step unipc_step(const struct sdg_solver *solver, const double *node, int order, double to)
{
    double from = node[0], h = log(from / to); // infinite where `to` is 0
    double alpha_from = sdg_alpha_of_sigma(from), alpha_to = sdg_alpha_of_sigma(to);
    bool noise = solver->predict_noise;
    double signed_h = noise ? h : -h, phi_1 = (noise ? from / to : to / from) - 1; // exp(signed_h) - 1
    double moved = sqrt(alpha_to) * (noise ? from - to : to / from - 1); // sqrt(1 - a') or sqrt(a'), times that
    double b = solver->bh1 ? signed_h : phi_1;
    struct unipc_step step = {.latent = (noise ? 1 : to / from) * sqrt(alpha_to / alpha_from),
                              .prediction = -moved,
                              .gain = solver->bh1 ? moved * (signed_h / phi_1) : moved};
    for (int k = 1; k < order; k++)
        step.ratio[k - 1] = log(from / node[k]) / h;
    step.ratio[order - 1] = 1;
    double phi = phi_1 / signed_h - 1, factorial = 1;
    for (int k = 1; k <= order; k++) {
        step.right[k - 1] = phi * factorial / b;
        factorial *= k + 1;
        phi = phi / signed_h - 1 / factorial;
    }
    return step;
}

// Solves sum_j ratio[j]^i rho[j] = right[i], i = 0 .. n-1: a Vandermonde system in distinct ratios, by Gauss
// elimination with pivoting.
static void unipc_solve(const struct unipc_step *step, int n, double *rho)
{
    double m[UNIPC_ORDER][UNIPC_ORDER + 1];
    for (int j = 0; j < n; j++) {
        double power = 1;
        for (int i = 0; i < n; i++, power *= step->ratio[j])
            m[i][j] = power;
        m[j][n] = step->right[j];
    }
    for (int c = 0; c < n; c++) {
        int pivot = c;
        for (int i = c + 1; i < n; i++)
            if (fabs(m[i][c]) > fabs(m[pivot][c]))
                pivot = i;
        for (int j = c; j <= n; j++) {
            double swap = m[c][j];
            m[c][j] = m[pivot][j];
            m[pivot][j] = swap;
        }
        for (int i = 0; i < n; i++) {
            double factor = m[i][c] / m[c][c];
            for (int j = c; i != c && j <= n; j++)
                m[i][j] -= factor * m[c][j];
        }
    }
    for (int i = 0; i < n; i++)
        rho[i] = m[i][n] / m[i][i];
}

// x' = latent x + prediction D0 - gain (sum_k rho_k (D_k - D0) / r_k), where `base` weighs D0 and `others` the D_k.
static void unipc_differences(const struct unipc_step *step, const double *rho, int count, double *base, double *others)
{
    *base += step->prediction;
    for (int k = 0; k < count; k++) {
        double weight = step->gain * rho[k] / step->ratio[k];
        *base += weight;
        others[k] -= weight;
    }
}

static void unipc_predict(struct sdg_call *call, const struct sdg_solver *solver, const double *node, int order,
                          double to)
{
    struct unipc_step step = unipc_step(solver, node, order, to);
    double rho[UNIPC_ORDER] = {0.5};
    if (order > 2)
        unipc_solve(&step, order - 1, rho);
    call->update.latent = step.latent;
    unipc_differences(&step, rho, order - 1, &call->update.prediction, call->update.history);
}

static void unipc_correct(struct sdg_call *call, const struct sdg_solver *solver, const double *node, int order,
                          double to)
{
    struct unipc_step step = unipc_step(solver, node, order, to);
    double rho[UNIPC_ORDER] = {0.5};
    if (order > 1)
        unipc_solve(&step, order, rho);
    struct sdg_combination *c = &call->correction;
    call->correct = true;
    c->saved = step.latent;
    unipc_differences(&step, rho, order - 1, &c->history[0], c->history + 1);
    c->prediction = -step.gain * rho[order - 1]; // the difference at the step's end, r = 1
    c->history[0] += step.gain * rho[order - 1];
}

// Whether the step that led to call i is corrected.
static bool corrects(const struct sdg_solver *solver, int i)
{
    const int bits = 64, step = i - 1;
    return step >= bits * (int)(sizeof solver->uncorrected / sizeof *solver->uncorrected) ||
        !(solver->uncorrected[step / bits] >> (step % bits) & 1);
}

void sdg_walk_unipc(struct sdg_walk *walk)
{
    const struct sdg_steps *steps = &walk->steps;
    const struct sdg_solver *solver = &walk->solver;
    int first = walk->params->first_step, most = solver->order, order = 1;
    double node[UNIPC_ORDER] = {0}, before[UNIPC_ORDER] = {0}; // this and the previous step's sigmas, the latest first
    int nodes = 0;
    for (int i = first; i < steps->count; i++) {
        double from = steps->sigmas[i], to = steps->sigmas[i + 1], alpha = sdg_alpha_of_sigma(from);
        struct sdg_call *call = sdg_walk_alpha_call(walk, i, steps->timesteps[i], alpha);
        sdg_call_predict(call, solver->predict_noise ? sdg_alpha_noise(walk, alpha) : sdg_alpha_picture(walk, alpha));
        call->push = call->save = true;
        for (int k = 0; k < UNIPC_ORDER; k++)
            before[k] = node[k];
        if (nodes && before[0] <= from)
            nodes = 0; // the last step led nowhere: earlier predictions do not count
        for (int k = UNIPC_ORDER - 1; k > 0; k--)
            node[k] = node[k - 1];
        node[0] = from;
        nodes = nodes < UNIPC_ORDER ? nodes + 1 : nodes;

        if (nodes > 1 && corrects(solver, i))
            unipc_correct(call, solver, before, order, from);
        order = solver->full_order_final || most < steps->count - i ? most : steps->count - i;
        order = nodes < order ? nodes : order;
        if (to <= 0)
            order = 1; // nothing else is finite
        if (fabs(to / from - 1) > 1e-9)
            unipc_predict(call, solver, node, order, to);
        else
            call->update.latent = 1;
    }
}
