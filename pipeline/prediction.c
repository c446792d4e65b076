// Whether a network predicts noise or v shows at the noisiest timestep. There x = sqrt(a) picture + sqrt(1 - a) noise
// with sqrt(a) = 0.07, nearly all noise, so that
//     a prediction of noise, (x - sqrt(a) picture) / sqrt(1 - a), is nearly x: correlation close to 1;
//     v = sqrt(a) noise - sqrt(1 - a) picture (Salimans and Ho 2022) is a picture that x says nothing of, and has 7 %
//     of the noise: correlation close to 0,
// whatever the network was trained on. Other programs decide the same by the mean of one such output or by the spread
// of one tensor's numbers, with bounds that were found by trying.
#include "pipeline/prediction.h"

#include "backend/transfer.h"
#include "base/memory.h"
#include "base/platform.h"
#include "pipeline/networks.h"
#include "scheduler/rng.h"
#include "unet/unet.h"

#include <math.h>
#include <string.h>

static const double LEAST_CORRELATION = 0.5;

struct probe {
    struct sdg_pipeline *p;
    struct sdg_network_shape shape;
    size_t count;         // of numbers in the latent
    float *input, *noise; // [count]
};

// Runs one of the networks that fill the step's tables, with `data` as its only input.
static enum sdg_result fill(struct probe *probe, enum sdg_network_kind kind, const char *input, const float *data,
                            size_t count, struct sdg_program *unet)
{
    struct sdg_program *program = NULL;
    enum sdg_result result = sdg_network_compile(probe->p, kind, &probe->shape, &program);
    if (result == SDG_OK)
        result = sdg_program_write(program, input, data, count);
    if (result == SDG_OK)
        result = sdg_program_run(program, 0);
    if (result == SDG_OK)
        result = sdg_program_copy(program, unet);
    sdg_program_destroy(&program);
    return result;
}

// The last timestep, and a prompt of zeros, of which any number of tokens is the same.
static enum sdg_result fill_tables(struct probe *probe, struct sdg_program *unet)
{
    const struct sdg_unet_config *c = &probe->p->model->unet_config;
    const size_t time = (size_t)c->channels[0], context = (size_t)c->cross_attention_dim;
    float *data = sdg_alloc(&probe->p->log, time + context, sizeof *data, "embeddings");
    if (!data)
        return SDG_ERROR_MEMORY;
    sdg_timestep_embedding(probe->p->model->scheduler.train_timesteps - 1, (int)time, c->flip_sin_to_cos, c->freq_shift,
                           data);
    enum sdg_result result = fill(probe, SDG_NETWORK_UNET_TIME, "timestep", data, time, unet);
    if (result == SDG_OK)
        result = fill(probe, SDG_NETWORK_UNET_CONTEXT, "context", data + time, context, unet);
    sdg_free(data);
    return result;
}

static enum sdg_result run(struct probe *probe)
{
    struct sdg_program *unet = NULL;
    struct sdg_rng rng;
    sdg_rng_seed(&rng, SDG_RNG_CUDA, 0);
    sdg_rng_normal(&rng, probe->input, probe->count);
    enum sdg_result result = sdg_network_compile(probe->p, SDG_NETWORK_UNET_STEP, &probe->shape, &unet);
    if (result == SDG_OK)
        result = fill_tables(probe, unet);
    if (result == SDG_OK)
        result = sdg_program_write(unet, "sample", probe->input, probe->count);
    if (result == SDG_OK)
        result = sdg_program_run(unet, 0);
    if (result == SDG_OK)
        result = sdg_program_read(unet, "noise", probe->noise, probe->count);
    if (result == SDG_OK)
        result = sdg_program_check_finite(unet, probe->noise, probe->count, "the UNet's output");
    sdg_program_destroy(&unet);
    sdg_memory_trim();
    return result;
}

// Of two lists of numbers, without regard to their means and scales; 0 where one of them does not vary.
static double correlation(const float *a, const float *b, size_t count)
{
    double mean_a = 0, mean_b = 0, ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < count; i++) {
        mean_a += (double)a[i] / (double)count;
        mean_b += (double)b[i] / (double)count;
    }
    for (size_t i = 0; i < count; i++) {
        const double x = a[i] - mean_a, y = b[i] - mean_b;
        ab += x * y;
        aa += x * x;
        bb += y * y;
    }
    return aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : 0;
}

static enum sdg_result measure(struct sdg_pipeline *p, double *out)
{
    const struct sdg_unet_config *c = &p->model->unet_config;
    const int64_t side = 2 * sdg_unet_smallest_shape(c).height;
    struct probe probe = {.p = p, .shape = {.batch = 1, .height = side, .width = side, .tokens = 1, .rows = 1}};
    probe.count = (size_t)(side * side * c->in_channels);
    probe.input = sdg_alloc_raw(&p->log, 2 * probe.count, sizeof *probe.input, "a small latent");
    if (!probe.input)
        return SDG_ERROR_MEMORY;
    probe.noise = probe.input + probe.count;
    const enum sdg_result result = run(&probe);
    if (result == SDG_OK)
        *out = correlation(probe.input, probe.noise, probe.count);
    sdg_free(probe.input);
    return result;
}

enum sdg_result sdg_prediction_settle(struct sdg_pipeline *p)
{
    const char *given = p->params.prediction;
    double correlated;
    if (given)
        sdg_model_set_prediction(p->model, strcmp(given, "v") == 0 ? SDG_PREDICT_V : SDG_PREDICT_EPSILON);
    if (given || !p->model->prediction_open)
        return SDG_OK;
    SDG_TRY(measure(p, &correlated));
    const bool noise = correlated > LEAST_CORRELATION;
    sdg_model_set_prediction(p->model, noise ? SDG_PREDICT_EPSILON : SDG_PREDICT_V);
    sdg_say(&p->log, SDG_LOG_INFO,
            "%s: a Stable Diffusion 2.x checkpoint that predicts %s, as its output for noise shows (correlation %.2f); "
            "--prediction %s if not",
            p->model->path, noise ? "noise (eps)" : "v", correlated, noise ? "v" : "eps");
    return SDG_OK;
}
