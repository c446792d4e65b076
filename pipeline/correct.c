// Measures the sampler's correction (correction.h): full-precision trajectories first, then the quantized UNet at every point of them.
#include "pipeline/correct.h"

#include "base/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// ---- moments of outputs and errors ----

enum { X_UNCOND, E_UNCOND, X_COND, E_COND, VARIABLES }; // x: full-precision output, e: error

struct moments { // of one timestep and channel
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
static void observe(struct moments *moments, const float *full, const float *quantized, size_t channels, size_t pixels, bool guidance)
{
    const float *full_cond = guidance ? full + channels * pixels : full, *quantized_cond = guidance ? quantized + channels * pixels : quantized;
    for (size_t i = 0; i < channels * pixels; i++) {
        const double u = (double)full[i], c = (double)full_cond[i];
        add_moments(&moments[i % channels], (const double[VARIABLES]){u, (double)quantized[i] - u, c, (double)quantized_cond[i] - c});
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

static double decibel(double signal, double noise)
{
    return noise > 0 ? 10 * log10(signal / noise) : INFINITY;
}

// One row of the tables. What is told to the user refers to outputs before guidance.
static void conclude(const struct moments *moments, struct sdg_correction *c, size_t row, struct sdg_corrected_row *told)
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
    c->covariance[row * 3] = (float)(fmax(covariance[0], 0) / count); // a difference of sums: rounding may leave less than 0
    c->covariance[row * 3 + 1] = (float)(covariance[1] / count);
    c->covariance[row * 3 + 2] = (float)(fmax(covariance[2], 0) / count);
    const double most = sqrt((double)c->covariance[row * 3] * (double)c->covariance[row * 3 + 2]);
    c->covariance[row * 3 + 1] = (float)fmin(fmax((double)c->covariance[row * 3 + 1], -most), most);
    *told = (struct sdg_corrected_row){
        .timestep = c->timesteps[row], .slope = measured, .bias = sqrt(squares / (double)c->channels), .sqnr = decibel(signal, error),
        .sqnr_after = decibel(signal, fmax(covariance[0] + covariance[2], 0) / ((1 + slope) * (1 + slope))),
    };
}

// ---- the measurement ----

struct measurement {
    const struct sdg_correct_params *params;
    const struct sdg_log *log;
    struct sdg_pipeline *p; // the model that is running
    size_t channels, pixels, elements, branches;
    int calls;
    float *points;          // [prompts][calls][1 + branches][elements]: what the UNet sees, planar, then what it answers
    float *point;           // of the running prompt
    const struct sdg_job *job;
    const struct sdg_start *start;
    size_t *row_of_call;    // [calls]
    struct sdg_correction *correction;
    struct moments *moments; // [rows][channels]
};

static struct sdg_generate_params prompt_params(const struct measurement *m, size_t prompt)
{
    const struct sdg_generate_params *g = &m->params->generate;
    return (struct sdg_generate_params){
        .prompt = m->params->prompts[prompt], .negative_prompt = g->negative_prompt, .plain_prompt = g->plain_prompt, .width = g->width, .height = g->height,
        .steps = g->steps ? g->steps : 20, .cfg_scale = g->cfg_scale, .sampler = g->sampler ? g->sampler : "ddim", .schedule = g->schedule ? g->schedule : "model",
        .eta = g->eta, .seed = g->seed + (int64_t)prompt, .rng = g->rng, .sampler_rng = g->sampler_rng, .clip_skip = g->clip_skip, .image = (int)prompt,
        .images = (int)m->params->prompt_count, .progress = g->progress, .progress_user = g->progress_user,
    };
}

static size_t point_size(const struct measurement *m)
{
    return (1 + m->branches) * m->elements;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// Rows are the different timesteps: some samplers visit one twice.
static enum sdg_result plan_rows(struct measurement *m)
{
    double *times = sdg_alloc(m->log, (size_t)m->calls, sizeof *times, "timesteps");
    m->row_of_call = sdg_alloc(m->log, (size_t)m->calls, sizeof *m->row_of_call, "timesteps");
    if (!times || !m->row_of_call) {
        sdg_free(times);
        return SDG_ERROR_MEMORY;
    }
    for (int i = 0; i < m->calls; i++)
        times[i] = sdg_sampler_timestep(m->job->sampler, i);
    qsort(times, (size_t)m->calls, sizeof *times, by_value);
    size_t rows = 1;
    for (int i = 1; i < m->calls; i++)
        if (times[i] > times[rows - 1])
            times[rows++] = times[i];
    enum sdg_result result = sdg_correction_create(m->log, rows, m->channels, &m->correction);
    for (int i = 0; i < m->calls && result == SDG_OK; i++)
        while (times[m->row_of_call[i]] < sdg_sampler_timestep(m->job->sampler, i))
            m->row_of_call[i]++;
    if (result == SDG_OK)
        memcpy(m->correction->timesteps, times, rows * sizeof *times);
    sdg_free(times);
    return result;
}

// All prompts have the same size and steps, so the first job tells what is needed.
static enum sdg_result plan(struct measurement *m, const struct sdg_job *job)
{
    m->job = job;
    m->channels = (size_t)job->latent_c;
    m->elements = job->latent_elements;
    m->pixels = m->elements / m->channels;
    m->branches = job->guidance ? 2 : 1;
    m->calls = sdg_sampler_calls(job->sampler);
    SDG_TRY(plan_rows(m));
    size_t points;
    if (!sdg_mul_size(m->params->prompt_count, (size_t)m->calls * point_size(m), &points))
        points = SIZE_MAX;
    m->moments = sdg_alloc(m->log, m->correction->rows * m->channels, sizeof *m->moments, "moments of errors");
    m->points = m->moments ? sdg_alloc_raw(m->log, points, sizeof *m->points, "the trajectories of the full-precision model") : NULL;
    return m->points ? SDG_OK : SDG_ERROR_MEMORY;
}

static enum sdg_result record(void *user, struct sdg_program *program, int call)
{
    struct measurement *m = user;
    float *point = m->point + (size_t)call * point_size(m);
    sdg_sampler_scale_input(m->job->sampler, call, m->start->latent, point);
    return sdg_program_read(program, "noise", point + m->elements, m->branches * m->elements);
}

static enum sdg_result draw(struct measurement *m, struct sdg_job *job, struct sdg_start *start)
{
    m->job = job;
    m->start = start;
    SDG_TRY(sdg_stage_text(m->p, job));
    SDG_TRY(sdg_start_create(m->p, job, start));
    return sdg_stage_sample(m->p, job, start);
}

// The quantized model's answers at the points of one trajectory.
static enum sdg_result compare(struct measurement *m, struct sdg_job *job, float *input, float *answer)
{
    struct sdg_program *program;
    SDG_TRY(sdg_stage_text(m->p, job));
    SDG_TRY(sdg_sample_prepare(m->p, job, (int)m->branches));
    program = m->p->unet.program;
    for (int call = 0; call < m->calls; call++) {
        const float *point = m->point + (size_t)call * point_size(m);
        double began = sdg_clock();
        for (size_t b = 0; b < m->branches; b++)
            sdg_planar_to_nhwc(point, input + b * m->elements, (int)m->channels, m->pixels);
        SDG_TRY(sdg_program_write(program, "sample", input, m->branches * m->elements));
        SDG_TRY(sdg_program_run(program, call));
        SDG_TRY(sdg_program_read(program, "noise", answer, m->branches * m->elements));
        SDG_TRY(sdg_check_finite(m->log, answer, m->branches * m->elements, "the quantized UNet's output"));
        observe(m->moments + m->row_of_call[call] * m->channels, point + m->elements, answer, m->channels, m->pixels, job->guidance);
        SDG_TRY(sdg_progress_report(m->p, job, "compare", call + 1, m->calls, sdg_clock() - began, -1));
    }
    return SDG_OK;
}

static enum sdg_result compare_buffered(struct measurement *m, struct sdg_job *job)
{
    float *buffers = sdg_alloc_raw(m->log, 2 * m->branches * m->elements, sizeof *buffers, "latents");
    if (!buffers)
        return SDG_ERROR_MEMORY;
    enum sdg_result result = compare(m, job, buffers, buffers + m->branches * m->elements);
    sdg_free(buffers);
    return result;
}

static enum sdg_result run_prompt(struct measurement *m, size_t prompt, bool full)
{
    const struct sdg_generate_params generate = prompt_params(m, prompt);
    struct sdg_job job;
    struct sdg_start start = {0};
    enum sdg_result result = sdg_job_create(m->p, &generate, &job);
    job.latent_only = job.keep_networks = true;
    if (result == SDG_OK && !m->points)
        result = plan(m, &job);
    if (result == SDG_OK) {
        m->point = m->points + prompt * (size_t)m->calls * point_size(m);
        result = full ? draw(m, &job, &start) : compare_buffered(m, &job);
    }
    sdg_start_clear(&start);
    sdg_job_clear(&job);
    return result;
}

static enum sdg_result run_prompts(struct measurement *m, struct sdg_pipeline *p, bool full)
{
    enum sdg_result result = SDG_OK;
    m->p = p;
    p->hooks = full ? (struct sdg_hooks){.after_run = record, .user = m} : (struct sdg_hooks){0};
    for (size_t i = 0; i < m->params->prompt_count && result == SDG_OK; i++)
        result = run_prompt(m, i, full);
    p->hooks = (struct sdg_hooks){0};
    sdg_network_clear(&p->unet);
    return result;
}

static void clear(struct measurement *m)
{
    sdg_correction_destroy(&m->correction);
    sdg_free(m->row_of_call);
    sdg_free(m->moments);
    sdg_free(m->points);
}

static enum sdg_result conclude_all(struct measurement *m, struct sdg_correction **out, struct sdg_corrected_row **rows)
{
    *rows = sdg_alloc(m->log, m->correction->rows, sizeof **rows, "a report");
    if (!*rows)
        return SDG_ERROR_MEMORY;
    for (size_t i = 0; i < m->correction->rows; i++)
        conclude(m->moments + i * m->channels, m->correction, i, &(*rows)[i]);
    *out = m->correction;
    m->correction = NULL;
    return SDG_OK;
}

static enum sdg_result run_model(struct measurement *m, const char *path, bool full)
{
    struct sdg_pipeline_params params = m->params->pipeline;
    struct sdg_pipeline *p;
    params.model = path;
    params.no_correction = true;
    SDG_TRY(sdg_pipeline_create(&params, &p));
    enum sdg_result result = run_prompts(m, p, full);
    sdg_pipeline_destroy(&p);
    sdg_memory_trim();
    return result;
}

enum sdg_result sdg_correction_measure(const struct sdg_correct_params *params, const char *full, const char *quantized, struct sdg_correction **out,
                                       struct sdg_corrected_row **rows)
{
    const struct sdg_log log = {params->pipeline.log, params->pipeline.log_user, params->pipeline.log_level};
    struct measurement m = {.params = params, .log = &log};
    if (!params->prompt_count)
        return sdg_fail(&log, SDG_ERROR_INPUT, "there is no prompt to measure the correction with");
    enum sdg_result result = run_model(&m, full, true);
    if (result == SDG_OK)
        result = run_model(&m, quantized, false);
    if (result == SDG_OK)
        result = conclude_all(&m, out, rows);
    clear(&m);
    return result;
}
