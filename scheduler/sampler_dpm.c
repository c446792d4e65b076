// DPM-Solver and DPM-Solver++, multistep (Lu et al. 2022a, 2022b), with orders, algorithms and variants as diffusers
// has them: solvers that are exact in the linear part, on variance preserving latents. h = log(sigma / sigma') is the
// step in half log SNR, D a prediction: the picture for "++", the noise for the others.
#include "scheduler/walk.h"

#include <math.h>

// x' = latent x + d0 D + d1 D' + d2 D'' + noise z, where D' and D'' are derivatives in steps of h, from differences.
struct dpm_terms { double latent, d0, d1, d2, noise; };

struct dpm_step {
    double from, to;                // sigmas; `to` may be 0
    double alpha, alpha_to;         // sqrt(a), sqrt(a')
    double deviation, deviation_to; // sqrt(1 - a), sqrt(1 - a')
    double h, h_before[2];          // this step and the last two, h is infinite where `to` is 0
};

// The equations of the picture. `eta` scales the fresh noise: 0 is the ordinary equation (Lu et al. 2022b, eq. 9 and
// algorithm 2), 1 the stochastic one (eq. 12); in between as k-diffusion does it.
static struct dpm_terms picture_terms(const struct dpm_step *s, bool heun, double eta)
{
    if (s->to <= 0)
        return (struct dpm_terms){.d0 = 1};
    double g = (1 + eta) * s->h, lost = -expm1(-g); // share of the picture that the step replaces
    return (struct dpm_terms){
        .latent = s->deviation_to / s->deviation * exp(-eta * s->h),
        .d0 = s->alpha_to * lost,
        .d1 = s->alpha_to * (heun ? 1 - lost / g : lost / 2),
        // diffusers has the half of the stochastic third order with the other sign
        .d2 = s->alpha_to * ((lost - g) / (g * g) + (eta > 0 ? -0.5 : 0.5)),
        .noise = s->deviation_to * sqrt(fmax(-expm1(-2 * eta * s->h), 0)),
    };
}

// The equations of the noise (Lu et al. 2022a, eq. 3.3 and section 3.2; stochastic: 2022b, eq. 11). The step in sigma
// is sqrt(1 - a') (exp(h) - 1), finite also where it ends at 0.
static struct dpm_terms noise_terms(const struct dpm_step *s, bool heun, bool stochastic)
{
    double step = s->alpha_to * (s->from - s->to), share = stochastic ? 2 : 1, h = s->h;
    return (struct dpm_terms){
        .latent = s->alpha_to / s->alpha,
        .d0 = -share * step,
        .d1 = -share * (heun ? step / h - s->deviation_to : step / 2),
        .d2 = -((step - s->deviation_to * h) / (h * h) - s->deviation_to / 2),
        .noise = stochastic ? s->alpha_to * sqrt(fmax(s->from * s->from - s->to * s->to, 0)) : 0,
    };
}

// D' and D'' are differences of the last predictions. From the last two D' = (D - D[-1]) / r0; from the last three,
// with D1 = (D[-1] - D[-2]) / r1, D'' = (D' - D1) / (r0 + r1), and D' is taken at the step's start: D' + r0 D''.
static void dpm_differences(struct sdg_combination *c, const struct dpm_step *s, const struct dpm_terms *t, int order)
{
    if (order == 1)
        return;
    double r0 = s->h_before[0] / s->h, r1 = s->h_before[1] / s->h;
    double bend = order == 3 ? (t->d1 * r0 + t->d2) / (r0 + r1) : 0;
    double latest = (t->d1 + bend) / r0, earlier = order == 3 ? bend / r1 : 0;
    c->prediction += latest;
    c->history[0] -= latest + earlier;
    c->history[1] += earlier;
}

// diffusers' choice: lower orders at the start, and where the walk is short or ends at 0 also at the end.
static int dpm_order(const struct sdg_walk *walk, const struct dpm_step *s, int i)
{
    const struct sdg_solver *solver = &walk->solver;
    int count = walk->steps.count, done = i - walk->params->first_step;
    bool short_walk = !solver->full_order_final && count < 15;
    if (solver->order == 1 || done < 1 || s->to <= 0 || s->h_before[0] <= 0 ||
        (i == count - 1 && (solver->euler_at_final || short_walk)))
        return 1;
    return solver->order == 2 || done < 2 || s->h_before[1] <= 0 || (i == count - 2 && short_walk) ? 2 : 3;
}

static struct dpm_step dpm_step(const struct sdg_steps *steps, int i, int first)
{
    double from = steps->sigmas[i], to = steps->sigmas[i + 1];
    struct dpm_step s = {.from = from, .to = to, .h = to > 0 ? log(from / to) : INFINITY};
    s.alpha = sqrt(sdg_alpha_of_sigma(from));
    s.alpha_to = sqrt(sdg_alpha_of_sigma(to));
    s.deviation = from * s.alpha;
    s.deviation_to = to * s.alpha_to;
    for (int k = 0; k < 2 && i - 1 - k >= first; k++)
        s.h_before[k] = log(steps->sigmas[i - 1 - k] / steps->sigmas[i - k]);
    return s;
}

static void dpm_walk(struct sdg_walk *walk, enum sdg_algorithm algorithm)
{
    const struct sdg_solver *solver = &walk->solver;
    const int first = walk->params->first_step;
    const bool picture = algorithm == SDG_ALGORITHM_DPMPP || algorithm == SDG_ALGORITHM_SDE_DPMPP;
    const bool stochastic = algorithm == SDG_ALGORITHM_SDE_DPMPP || algorithm == SDG_ALGORITHM_SDE_DPM;
    for (int i = first; i < walk->steps.count; i++) {
        struct dpm_step s = dpm_step(&walk->steps, i, first);
        double alpha = sdg_alpha_of_sigma(s.from);
        struct sdg_call *call = sdg_walk_alpha_call(walk, i, walk->steps.timesteps[i], alpha);
        sdg_call_predict(call, picture ? sdg_alpha_picture(walk, alpha) : sdg_alpha_noise(walk, alpha));
        call->push = true;
        call->draw = stochastic; // also where the walk ends and nothing of it is used, as in diffusers
        call->update.latent = 1;
        if (fabs(s.h) < 1e-9)
            continue; // the walk ends where its last timestep is
        int order = dpm_order(walk, &s, i);
        bool heun = solver->heun || order == 3;
        struct dpm_terms t =
            picture ? picture_terms(&s, heun, stochastic ? walk->eta : 0) : noise_terms(&s, heun, stochastic);
        call->update.latent = t.latent;
        call->update.prediction = t.d0;
        call->update.noise = t.noise;
        dpm_differences(&call->update, &s, &t, order);
    }
}

void sdg_walk_dpm(struct sdg_walk *walk)
{
    dpm_walk(walk, walk->solver.algorithm);
}

// As the model's configuration has it, or the kind that is usually meant.
void sdg_walk_dpm_sde(struct sdg_walk *walk)
{
    bool noise = walk->solver.algorithm == SDG_ALGORITHM_SDE_DPM;
    dpm_walk(walk, noise ? SDG_ALGORITHM_SDE_DPM : SDG_ALGORITHM_SDE_DPMPP);
}
