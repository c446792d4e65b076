#include "scheduler/walk.h"

#include <math.h>

static double level_name(const struct sdg_walk *walk, double timestep, double sigma)
{
    const struct sdg_scheduler_config *config = walk->params->config;
    return config->edm.used || config->continuous ? log(sigma) / 4 : timestep;
}

// What a latent in sigma space is multiplied with for the network.
static double input_scale(const struct sdg_walk *walk, double sigma)
{
    const struct sdg_edm *edm = &walk->params->config->edm;
    double data = edm->used ? (double)edm->sigma_data : 1;
    return 1 / sqrt(sigma * sigma + data * data);
}

struct sdg_call *sdg_walk_sigma_call(struct sdg_walk *walk, int step, double timestep, double sigma)
{
    if (walk->count == 0)
        walk->init_noise_sigma = walk->steps.first_scale;
    struct sdg_call *call = &walk->calls[walk->count++];
    *call = (struct sdg_call){.step = step,
                              .timestep = level_name(walk, timestep, sigma),
                              .sigma = sigma,
                              .input_scale = input_scale(walk, sigma),
                              .picture_scale = 1,
                              .noise_scale = sigma};
    return call;
}

struct sdg_call *sdg_walk_alpha_call(struct sdg_walk *walk, int step, double timestep, double alpha)
{
    if (walk->count == 0)
        walk->init_noise_sigma = 1;
    struct sdg_call *call = &walk->calls[walk->count++];
    double sigma = sqrt((1 - alpha) / fmax(alpha, 0x1p-24)); // finite for a latent that is noise alone
    *call = (struct sdg_call){.step = step,
                              .timestep = level_name(walk, timestep, sigma),
                              .sigma = sigma,
                              .input_scale = 1,
                              .picture_scale = sqrt(alpha),
                              .noise_scale = sqrt(1 - alpha)};
    if (walk->params->config->edm.used)
        call->input_scale = input_scale(walk, sigma) / sqrt(alpha);
    return call;
}

// Karras et al. 2022, table 1: the picture is skip latent + out output.
static struct sdg_linear edm_picture(const struct sdg_scheduler_config *config, double sigma)
{
    double data = (double)config->edm.sigma_data, variance = sigma * sigma + data * data;
    double out = sigma * data / sqrt(variance);
    return (struct sdg_linear){data * data / variance, config->prediction == SDG_PREDICT_V ? -out : out};
}

struct sdg_linear sdg_sigma_picture(const struct sdg_walk *walk, double sigma)
{
    const struct sdg_scheduler_config *config = walk->params->config;
    double variance = sigma * sigma + 1;
    if (config->edm.used)
        return edm_picture(config, sigma);
    switch (config->prediction) {
    case SDG_PREDICT_V: return (struct sdg_linear){1 / variance, -sigma / sqrt(variance)};
    case SDG_PREDICT_SAMPLE: return (struct sdg_linear){0, 1};
    default: return (struct sdg_linear){1, -sigma};
    }
}

struct sdg_linear sdg_sigma_derivative(const struct sdg_walk *walk, double sigma)
{
    const struct sdg_scheduler_config *config = walk->params->config;
    double variance = sigma * sigma + 1;
    if (config->edm.used) {
        struct sdg_linear picture = edm_picture(config, sigma);
        return (struct sdg_linear){(1 - picture.latent) / sigma, -picture.output / sigma};
    }
    switch (config->prediction) {
    case SDG_PREDICT_V: return (struct sdg_linear){sigma / variance, 1 / sqrt(variance)};
    case SDG_PREDICT_SAMPLE: return (struct sdg_linear){1 / sigma, -1 / sigma};
    default: return (struct sdg_linear){0, 1};
    }
}

// Salimans and Ho 2022, appendix D: v = sqrt(a) noise - sqrt(1 - a) picture.
struct sdg_linear sdg_alpha_picture(const struct sdg_walk *walk, double alpha)
{
    const struct sdg_scheduler_config *config = walk->params->config;
    double a = sqrt(alpha), b = sqrt(1 - alpha);
    if (config->edm.used) {
        struct sdg_linear picture = edm_picture(config, b / a);
        return (struct sdg_linear){picture.latent / a, picture.output};
    }
    switch (config->prediction) {
    case SDG_PREDICT_V: return (struct sdg_linear){a, -b};
    case SDG_PREDICT_SAMPLE: return (struct sdg_linear){0, 1};
    default: return (struct sdg_linear){1 / a, -b / a};
    }
}

struct sdg_linear sdg_alpha_noise(const struct sdg_walk *walk, double alpha)
{
    const struct sdg_scheduler_config *config = walk->params->config;
    double a = sqrt(alpha), b = sqrt(1 - alpha);
    if (config->edm.used) {
        struct sdg_linear picture = sdg_alpha_picture(walk, alpha);
        return (struct sdg_linear){(1 - a * picture.latent) / b, -a * picture.output / b};
    }
    switch (config->prediction) {
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
