#include "scheduler/walk.h"

#include <math.h>

struct sdg_call *sdg_walk_sigma_call(struct sdg_walk *walk, int step, double timestep, double sigma)
{
    if (walk->count == 0)
        walk->init_noise_sigma = walk->steps.first_scale;
    struct sdg_call *call = &walk->calls[walk->count++];
    *call = (struct sdg_call){.step = step,
                              .timestep = timestep,
                              .sigma = sigma,
                              .input_scale = 1 / sqrt(sigma * sigma + 1),
                              .picture_scale = 1,
                              .noise_scale = sigma};
    return call;
}

struct sdg_call *sdg_walk_alpha_call(struct sdg_walk *walk, int step, double timestep, double alpha)
{
    if (walk->count == 0)
        walk->init_noise_sigma = 1;
    struct sdg_call *call = &walk->calls[walk->count++];
    *call = (struct sdg_call){.step = step,
                              .timestep = timestep,
                              // finite for a latent that is noise alone
                              .sigma = sqrt((1 - alpha) / fmax(alpha, 0x1p-24)),
                              .input_scale = 1,
                              .picture_scale = sqrt(alpha),
                              .noise_scale = sqrt(1 - alpha)};
    return call;
}

struct sdg_linear sdg_sigma_picture(enum sdg_prediction kind, double sigma)
{
    double variance = sigma * sigma + 1;
    switch (kind) {
    case SDG_PREDICT_V: return (struct sdg_linear){1 / variance, -sigma / sqrt(variance)};
    case SDG_PREDICT_SAMPLE: return (struct sdg_linear){0, 1};
    default: return (struct sdg_linear){1, -sigma};
    }
}

struct sdg_linear sdg_sigma_derivative(enum sdg_prediction kind, double sigma)
{
    double variance = sigma * sigma + 1;
    switch (kind) {
    case SDG_PREDICT_V: return (struct sdg_linear){sigma / variance, 1 / sqrt(variance)};
    case SDG_PREDICT_SAMPLE: return (struct sdg_linear){1 / sigma, -1 / sigma};
    default: return (struct sdg_linear){0, 1};
    }
}

// Salimans and Ho 2022, appendix D: v = sqrt(a) noise - sqrt(1 - a) picture.
struct sdg_linear sdg_alpha_picture(enum sdg_prediction kind, double alpha)
{
    double a = sqrt(alpha), b = sqrt(1 - alpha);
    switch (kind) {
    case SDG_PREDICT_V: return (struct sdg_linear){a, -b};
    case SDG_PREDICT_SAMPLE: return (struct sdg_linear){0, 1};
    default: return (struct sdg_linear){1 / a, -b / a};
    }
}

struct sdg_linear sdg_alpha_noise(enum sdg_prediction kind, double alpha)
{
    double a = sqrt(alpha), b = sqrt(1 - alpha);
    switch (kind) {
    case SDG_PREDICT_V: return (struct sdg_linear){b, a};
    case SDG_PREDICT_SAMPLE: return (struct sdg_linear){1 / b, -a / b};
    default: return (struct sdg_linear){0, 1};
    }
}

void sdg_ancestral(double from, double to, double eta, double *down, double *up)
{
    double share = to / from;
    *up = fmin(to, eta * to * sqrt(fmax(1 - share * share, 0)));
    *down = sqrt(fmax(to * to - *up * *up, 0));
}
