// Measures the sampler's correction (correction.h): full-precision trajectories first, then the quantized UNet at every
// point of them.
#include "measure/fit_correction.h"

#include "base/decibel.h"
#include "base/memory.h"
#include "base/platform.h"
#include "measure/trajectory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// ---- moments of outputs and errors ----

enum { X_UNCOND, E_UNCOND, X_COND, E_COND, VARIABLES }; // x: full-precision output, e: error

struct moments {                                                 // of one timestep and channel
    double count, sum[VARIABLES], product[VARIABLES][VARIABLES]; // product[i][j] for i <= j
};

static void add_moments(struct moments *m, const double v[VARIABLES])
{
    m->count++;
    for (int i = 0; i < VARIABLES; i++) {
        m->sum[i] += v[i];
        for (int j = i; j < VARIABLES; j++)
            m->product[i][j] += v[i] * v[j];
    }
}

// Both branches, or the only one twice, which makes their residuals fully correlated.
static void observe(struct moments *moments, const float *full, const float *quantized, size_t channels, size_t pixels,
                    bool guidance)
{
    const float *full_cond = guidance ? full + channels * pixels : full,
                *quantized_cond = guidance ? quantized + channels * pixels : quantized;
    for (size_t i = 0; i < channels * pixels; i++) {
        const double u = (double)full[i], c = (double)full_cond[i];
        add_moments(&moments[i % channels],
                    (const double[VARIABLES]){u, (double)quantized[i] - u, c, (double)quantized_cond[i] - c});
    }
}

// Least squares of e = k x + b[channel] over both branches: b from the means, k from what varies around them.
static double find_slope(const struct moments *moments, size_t channels)
{
    double xx = 0, xe = 0;
    for (size_t i = 0; i < channels; i++) {
        const struct moments *m = &moments[i];
        const double x = m->sum[X_UNCOND] + m->sum[X_COND], e = m->sum[E_UNCOND] + m->sum[E_COND], n = 2 * m->count;
        xx += m->product[X_UNCOND][X_UNCOND] + m->product[X_COND][X_COND] - x * x / n;
        xe += m->product[X_UNCOND][E_UNCOND] + m->product[X_COND][E_COND] - x * e / n;
    }
    return xx > 0 ? xe / xx : 0;
}

static double find_bias(const struct moments *m, double slope)
{
    return (m->sum[E_UNCOND] + m->sum[E_COND] - slope * (m->sum[X_UNCOND] + m->sum[X_COND])) / (2 * m->count);
}

static double product(const struct moments *m, int i, int j)
{
    return i <= j ? m->product[i][j] : m->product[j][i];
}

// Sum of r[a] r[b] with r = e - slope x - bias of the branches whose variables begin at a and b.
static double residual(const struct moments *m, int a, int b, double slope, double bias)
{
    const int xa = a, ea = a + 1, xb = b, eb = b + 1;
    return product(m, ea, eb) - slope * (product(m, ea, xb) + product(m, xa, eb)) + slope * slope * product(m, xa, xb) -
        bias * (m->sum[ea] + m->sum[eb] - slope * (m->sum[xa] + m->sum[xb])) + bias * bias * m->count;
}

// One row of the tables. What is told to the user refers to outputs before guidance.
static void conclude(const struct moments *moments, struct sdg_correction *c, size_t row,
                     struct sdg_corrected_row *told)
{
    const double measured = find_slope(moments, c->channels), slope = fmax(measured, 0);
    double signal = 0, error = 0, count = 0, squares = 0, covariance[3] = {0};
    for (size_t i = 0; i < c->channels; i++) {
        const struct moments *m = &moments[i];
        const float bias = (float)find_bias(m, slope); // as it will be taken out
        c->bias[row * c->channels + i] = bias;
        squares += (double)bias * (double)bias;
        count += m->count;
        signal += m->product[X_UNCOND][X_UNCOND] + m->product[X_COND][X_COND];
        error += m->product[E_UNCOND][E_UNCOND] + m->product[E_COND][E_COND];
        covariance[0] += residual(m, X_UNCOND, X_UNCOND, slope, (double)bias);
        covariance[1] += residual(m, X_UNCOND, X_COND, slope, (double)bias);
        covariance[2] += residual(m, X_COND, X_COND, slope, (double)bias);
    }
    c->slope[row] = (float)measured;
    // a difference of sums: rounding may leave less than 0
    c->covariance[row * 3] = (float)(fmax(covariance[0], 0) / count);
    c->covariance[row * 3 + 1] = (float)(covariance[1] / count);
    c->covariance[row * 3 + 2] = (float)(fmax(covariance[2], 0) / count);
    const double most = sqrt((double)c->covariance[row * 3] * (double)c->covariance[row * 3 + 2]);
    c->covariance[row * 3 + 1] = (float)fmin(fmax((double)c->covariance[row * 3 + 1], -most), most);
    *told = (struct sdg_corrected_row){
        .timestep = c->timesteps[row],
        .slope = measured,
        .bias = sqrt(squares / (double)c->channels),
        .sqnr = sdg_decibel(signal, error),
        .sqnr_after = sdg_decibel(signal, fmax(covariance[0] + covariance[2], 0) / ((1 + slope) * (1 + slope))),
    };
}

// ---- the measurement ----

struct measurement {
    const struct sdg_correct_params *params;
    const struct sdg_log *log;
    struct sdg_trajectory *trajectories; // [prompts] of the full-precision model
    size_t *row_of_call;                 // [calls]
    struct sdg_correction *correction;
    struct moments *moments;            // [rows][channels]
    const struct sdg_trajectory *shown; // the one that is being replayed
};

static struct sdg_generate_params prompt_params(const struct measurement *m, size_t prompt)
{
    const struct sdg_generate_params *g = &m->params->generate;
    return (struct sdg_generate_params){
        .prompt = m->params->prompts[prompt],
        .negative_prompt = g->negative_prompt,
        .plain_prompt = g->plain_prompt,
        .width = g->width,
        .height = g->height,
        .steps = g->steps ? g->steps : 20,
        .cfg_scale = g->cfg_scale,
        .sampler = g->sampler ? g->sampler : "ddim",
        .schedule = g->schedule ? g->schedule : "model",
        .eta = g->eta,
        .seed = g->seed + (uint64_t)prompt,
        .rng = g->rng,
        .sampler_rng = g->sampler_rng,
        .clip_skip = g->clip_skip,
        .image = (int)prompt,
        .images = (int)m->params->prompt_count,
        .progress = g->progress,
        .progress_user = g->progress_user,
    };
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// Rows are the different timesteps: some samplers visit one twice.
static enum sdg_result plan_rows(struct measurement *m, const struct sdg_trajectory *t)
{
    double *times = sdg_alloc(m->log, t->calls, sizeof *times, "timesteps");
    m->row_of_call = sdg_alloc(m->log, t->calls, sizeof *m->row_of_call, "timesteps");
    if (!times || !m->row_of_call) {
        sdg_free(times);
        return SDG_ERROR_MEMORY;
    }
    memcpy(times, t->timesteps, t->calls * sizeof *times);
    qsort(times, t->calls, sizeof *times, by_value);
    size_t rows = 1;
    for (size_t i = 1; i < t->calls; i++)
        if (times[i] > times[rows - 1])
            times[rows++] = times[i];
    enum sdg_result result = sdg_correction_create(m->log, rows, t->channels, &m->correction);
    for (size_t i = 0; i < t->calls && result == SDG_OK; i++)
        while (times[m->row_of_call[i]] < t->timesteps[i])
            m->row_of_call[i]++;
    if (result == SDG_OK)
        memcpy(m->correction->timesteps, times, rows * sizeof *times);
    sdg_free(times);
    return result;
}

static void compare(void *user, int call, float *answer)
{
    const struct measurement *m = user;
    const struct sdg_trajectory *t = m->shown;
    observe(m->moments + m->row_of_call[call] * t->channels, sdg_trajectory_answer(t, call), answer, t->channels,
            t->pixels, t->branches > 1);
}

static enum sdg_result record_all(struct measurement *m, struct sdg_pipeline *p)
{
    m->trajectories = sdg_alloc(m->log, m->params->prompt_count, sizeof *m->trajectories, "trajectories");
    if (!m->trajectories)
        return SDG_ERROR_MEMORY;
    for (size_t i = 0; i < m->params->prompt_count; i++) {
        const struct sdg_generate_params generate = prompt_params(m, i);
        SDG_TRY(sdg_trajectory_record(p, &generate, &m->trajectories[i]));
    }
    SDG_TRY(plan_rows(m, &m->trajectories[0])); // all have the same timesteps
    m->moments =
        sdg_alloc(m->log, m->correction->rows * m->correction->channels, sizeof *m->moments, "moments of errors");
    return m->moments ? SDG_OK : SDG_ERROR_MEMORY;
}

static enum sdg_result replay_all(struct measurement *m, struct sdg_pipeline *p)
{
    for (size_t i = 0; i < m->params->prompt_count; i++) {
        const struct sdg_generate_params generate = prompt_params(m, i);
        m->shown = &m->trajectories[i];
        SDG_TRY(sdg_trajectory_replay(p, &generate, m->shown, compare, m));
    }
    return SDG_OK;
}

static void clear(struct measurement *m)
{
    for (size_t i = 0; m->trajectories && i < m->params->prompt_count; i++)
        sdg_trajectory_clear(&m->trajectories[i]);
    sdg_free(m->trajectories);
    sdg_correction_destroy(&m->correction);
    sdg_free(m->row_of_call);
    sdg_free(m->moments);
}

static enum sdg_result conclude_all(struct measurement *m, struct sdg_correction **out, struct sdg_corrected_row **rows)
{
    *rows = sdg_alloc(m->log, m->correction->rows, sizeof **rows, "a report");
    if (!*rows)
        return SDG_ERROR_MEMORY;
    for (size_t i = 0; i < m->correction->rows; i++)
        conclude(m->moments + i * m->correction->channels, m->correction, i, &(*rows)[i]);
    *out = m->correction;
    m->correction = NULL;
    return SDG_OK;
}

static enum sdg_result run_model(struct measurement *m, const char *path,
                                 enum sdg_result (*run)(struct measurement *m, struct sdg_pipeline *p))
{
    struct sdg_pipeline_params params = m->params->pipeline;
    struct sdg_pipeline *p;
    params.model = path;
    params.no_correction = true;
    SDG_TRY(sdg_pipeline_create(&params, &p));
    enum sdg_result result = run(m, p);
    sdg_pipeline_destroy(&p);
    sdg_memory_trim();
    return result;
}

enum sdg_result sdg_correction_measure(const struct sdg_correct_params *params, const char *full, const char *quantized,
                                       struct sdg_correction **out, struct sdg_corrected_row **rows)
{
    const struct sdg_log log = params->pipeline.log;
    struct measurement m = {.params = params, .log = &log};
    enum sdg_result result = run_model(&m, full, record_all);
    if (result == SDG_OK)
        result = run_model(&m, quantized, replay_all);
    if (result == SDG_OK)
        result = conclude_all(&m, out, rows);
    clear(&m);
    return result;
}
