#include "pipeline/answers.h"

#include "backend/transfer.h"
#include "base/memory.h"
#include "base/platform.h"
#include "pipeline/intervals.h"
#include "pipeline/networks.h"
#include "pipeline/planar.h"
#include "unet/unet.h"

#include <string.h>

// ---- time tables ----

static enum sdg_result write_timesteps(struct sdg_pipeline *p, const struct sdg_job *job, struct sdg_program *program,
                                       int64_t rows, int64_t per_row)
{
    const struct sdg_unet_config *c = &p->model->unet_config;
    int dim = c->channels[0];
    float *data = sdg_alloc_raw(&p->log, (size_t)rows * (size_t)dim, sizeof *data, "time embeddings");
    if (!data)
        return SDG_ERROR_MEMORY;
    for (int64_t r = 0; r < rows; r++)
        sdg_timestep_embedding(sdg_sampler_timestep(job->sampler, (int)(r / per_row)), dim, c->flip_sin_to_cos,
                               c->freq_shift, data + r * dim);
    enum sdg_result result = sdg_program_write(program, "timestep", data, (size_t)rows * (size_t)dim);
    sdg_free(data);
    return result;
}

// LCM: the guidance scale is an input of the network (diffusers' get_guidance_scale_embedding).
static enum sdg_result write_guidance(struct sdg_pipeline *p, const struct sdg_job *job, struct sdg_program *program,
                                      int64_t rows)
{
    int dim = p->model->unet_config.time_cond_proj_dim;
    float *data = sdg_alloc_raw(&p->log, (size_t)rows * (size_t)dim, sizeof *data, "guidance embeddings");
    if (!data)
        return SDG_ERROR_MEMORY;
    for (int64_t r = 0; r < rows; r++)
        sdg_timestep_embedding((float)(job->cfg_scale - 1.0) * 1000.0f, dim, false, 1.0, data + r * dim);
    enum sdg_result result = sdg_program_write(program, "guidance", data, (size_t)rows * (size_t)dim);
    sdg_free(data);
    return result;
}

// The text of sample `i` of run `run` of a call.
static int text_of(const struct sdg_answers *a, int call, int run, int64_t i)
{
    const struct sdg_branch_groups *g = &a->groups;
    return g->text[g->at[sdg_sampler_step_of_call(a->job->sampler, call) * g->runs + run] * g->batch + i];
}

// SDXL: pooled prompt embeddings of one run of each call, followed by six embedded numbers: original size, crop corner,
// target size.
static enum sdg_result write_added(const struct sdg_answers *a, struct sdg_program *program, int64_t rows,
                                   int64_t per_row, int run)
{
    struct sdg_pipeline *p = a->p;
    const struct sdg_job *job = a->job;
    const struct sdg_unet_config *c = &p->model->unet_config;
    int each = c->addition_time_embed_dim, pooled = p->context.pooled_dim, dim = c->addition_embed_dim;
    const double ids[6] = {job->height, job->width, 0, 0, job->height, job->width};
    if (pooled + 6 * each != dim)
        return sdg_fail(&p->log, SDG_ERROR_INPUT,
                        "%s: the pooled prompt embedding has %d numbers, the UNet's add_embedding leaves room for %d",
                        p->model->path, pooled, dim - 6 * each);
    float *data = sdg_alloc_raw(&p->log, (size_t)rows * (size_t)dim, sizeof *data, "size embeddings");
    if (!data)
        return SDG_ERROR_MEMORY;
    for (int64_t r = 0; r < rows; r++) {
        float *row = data + r * dim;
        const int text = text_of(a, (int)(r / per_row), run, r % per_row % a->groups.batch);
        memcpy(row, p->context.pooled + (size_t)text * (size_t)pooled, (size_t)pooled * sizeof *row);
        for (int i = 0; i < 6; i++)
            sdg_timestep_embedding(ids[i], each, c->flip_sin_to_cos, c->freq_shift, row + pooled + i * each);
    }
    enum sdg_result result = sdg_program_write(program, "added", data, (size_t)rows * (size_t)dim);
    sdg_free(data);
    return result;
}

// Fills the tables of one run of each call.
static enum sdg_result run_time(const struct sdg_answers *a, int run, int64_t rows, struct sdg_program *time)
{
    const struct sdg_unet_config *c = &a->p->model->unet_config;
    int64_t per_row = rows / sdg_sampler_calls(a->job->sampler);
    SDG_TRY(write_timesteps(a->p, a->job, time, rows, per_row));
    if (c->time_cond_proj_dim)
        SDG_TRY(write_guidance(a->p, a->job, time, rows));
    if (c->addition_time_embed_dim > 0)
        SDG_TRY(write_added(a, time, rows, per_row, run));
    return sdg_program_run(time, 0);
}

// ---- keys and values of the prompts ----

static enum sdg_result run_context(const struct sdg_answers *a, int group, struct sdg_program *program, float *context)
{
    const struct sdg_context *c = &a->p->context;
    const struct sdg_branch_groups *g = &a->groups;
    const size_t per_text = (size_t)c->tokens * (size_t)c->dim;
    const int samples = a->job->pictures * g->batch;
    for (int i = 0; i < samples; i++)
        memcpy(context + (size_t)i * per_text,
               c->embedding + (size_t)g->text[group * g->batch + i % g->batch] * per_text, per_text * sizeof *context);
    SDG_TRY(sdg_program_write(program, "context", context, (size_t)samples * per_text));
    return sdg_program_run(program, 0);
}

// ---- what differs between runs is computed for all and kept on the host; the step's program gets it by turns ----

// Fills one after the other the tables that program `filler` makes: for a single run straight into the step's program.
static enum sdg_result fill_times(struct sdg_answers *a, struct sdg_program *filler, int64_t rows)
{
    if (!a->times) {
        SDG_TRY(run_time(a, 0, rows, filler));
        return sdg_program_copy(filler, a->unet);
    }
    for (int run = 0; run < a->groups.runs; run++) {
        SDG_TRY(sdg_snapshot_create(&a->p->log, &a->times[run]));
        SDG_TRY(run_time(a, run, rows, filler));
        SDG_TRY(sdg_snapshot_add(a->times[run], filler));
    }
    return SDG_OK;
}

static enum sdg_result fill_contexts(struct sdg_answers *a, struct sdg_program *filler, float *context)
{
    if (!a->contexts) {
        SDG_TRY(run_context(a, 0, filler, context));
        return sdg_program_copy(filler, a->unet);
    }
    for (int group = 0; group < a->groups.count; group++) {
        SDG_TRY(sdg_snapshot_create(&a->p->log, &a->contexts[group]));
        SDG_TRY(run_context(a, group, filler, context));
        SDG_TRY(sdg_snapshot_add(a->contexts[group], filler));
    }
    return SDG_OK;
}

static enum sdg_result prepare_times(struct sdg_answers *a)
{
    struct sdg_pipeline *p = a->p;
    struct sdg_program *filler = NULL;
    const struct sdg_network_shape shape = sdg_network_shape(p, a->job, SDG_NETWORK_UNET_TIME, p->context.tokens);
    enum sdg_result result = sdg_network_compile(p, SDG_NETWORK_UNET_TIME, &shape, &filler);
    if (result == SDG_OK)
        result = fill_times(a, filler, shape.rows);
    sdg_program_destroy(&filler);
    return result;
}

static enum sdg_result prepare_contexts(struct sdg_answers *a)
{
    struct sdg_pipeline *p = a->p;
    const struct sdg_context *c = &p->context;
    struct sdg_program *filler = NULL;
    const struct sdg_network_shape shape = sdg_network_shape(p, a->job, SDG_NETWORK_UNET_CONTEXT, c->tokens);
    float *context = sdg_alloc_raw(&p->log, (size_t)shape.batch * (size_t)c->tokens * (size_t)c->dim, sizeof *context,
                                   "prompt embeddings");
    enum sdg_result result = context ? SDG_OK : SDG_ERROR_MEMORY;
    if (result == SDG_OK)
        result = sdg_network_compile(p, SDG_NETWORK_UNET_CONTEXT, &shape, &filler);
    if (result == SDG_OK)
        result = fill_contexts(a, filler, context);
    if (filler)
        sdg_program_destroy(&filler);
    sdg_free(context);
    return result;
}

static double timestep_of_row(const void *user, int64_t row)
{
    return sdg_sampler_timestep(user, (int)row);
}

// The program of the step, with what is the same in all its runs in its tables.
static enum sdg_result prepare(struct sdg_answers *a, const struct sdg_network_shape *shape)
{
    struct sdg_pipeline *p = a->p;
    bool made;
    SDG_TRY(sdg_network_prepare(p, SDG_NETWORK_UNET_STEP, shape, &made));
    a->unet = p->kept[SDG_NETWORK_UNET_STEP].program;
    if (made || a->contexts)
        p->unet_context = -1;
    SDG_TRY(prepare_times(a));
    SDG_TRY(sdg_quantized_write_intervals(p, a->unet, shape->rows, timestep_of_row, a->job->sampler));
    if (a->contexts || p->unet_context != p->context_serial)
        SDG_TRY(prepare_contexts(a));
    if (!a->contexts)
        p->unet_context = p->context_serial;
    sdg_memory_trim();
    return SDG_OK;
}

static enum sdg_result allocate(struct sdg_answers *a)
{
    const struct sdg_log *log = &a->p->log;
    const struct sdg_branch_groups *g = &a->groups;
    const size_t pixels = a->elements / (size_t)a->job->latent_c, samples = (size_t)(a->job->pictures * g->batch);
    a->nhwc = sdg_alloc_raw(log, samples * pixels * (size_t)a->channels, sizeof *a->nhwc, "latents");
    if (!a->nhwc)
        return SDG_ERROR_MEMORY;
    if (g->runs * g->batch > a->job->branches.count || (a->job->pictures > 1 && g->runs > 1)) {
        a->extra = sdg_alloc_raw(log, samples * a->elements, sizeof *a->extra, "latents");
        if (!a->extra)
            return SDG_ERROR_MEMORY;
    }
    if (sdg_keeps_times(a->p, g)) {
        a->times = sdg_alloc(log, (size_t)g->runs, sizeof *a->times, "time tables");
        if (!a->times)
            return SDG_ERROR_MEMORY;
    }
    if (g->count > 1) {
        a->contexts = sdg_alloc(log, (size_t)g->count, sizeof *a->contexts, "keys and values of prompts");
        if (!a->contexts)
            return SDG_ERROR_MEMORY;
    }
    return SDG_OK;
}

enum sdg_result sdg_answers_begin(struct sdg_pipeline *p, const struct sdg_job *job, const struct sdg_start *start,
                                  struct sdg_answers *out)
{
    const struct sdg_network_shape shape = sdg_network_shape(p, job, SDG_NETWORK_UNET_STEP, p->context.tokens);
    *out = (struct sdg_answers){.p = p,
                                .job = job,
                                .start = start,
                                .context = -1,
                                .elements = job->latent_elements,
                                .channels = p->model->unet_config.in_channels};
    SDG_TRY(sdg_branch_groups_create(&p->log, &job->branches, sdg_unet_batch(job), &out->groups));
    SDG_TRY(allocate(out));
    return prepare(out, &shape);
}

void sdg_answers_end(struct sdg_answers *a)
{
    for (int i = 0; a->times && i < a->groups.runs; i++)
        sdg_snapshot_destroy(&a->times[i]);
    for (int i = 0; a->contexts && i < a->groups.count; i++)
        sdg_snapshot_destroy(&a->contexts[i]);
    sdg_free(a->times);
    sdg_free(a->contexts);
    sdg_free(a->nhwc);
    sdg_free(a->extra);
    sdg_branch_groups_clear(&a->groups);
    *a = (struct sdg_answers){0};
}

// ---- a call ----

// An inpainting model sees the latent, the mask and the latent of the masked picture side by side.
static void pack_sample(const struct sdg_answers *a, const struct sdg_start *start, const float *input, float *nhwc)
{
    const size_t c = (size_t)a->job->latent_c, pixels = a->elements / c;
    if ((size_t)a->channels == c) {
        sdg_planar_to_nhwc(input, nhwc, (int)c, pixels);
        return;
    }
    for (size_t i = 0; i < pixels; i++) {
        float *to = nhwc + i * (size_t)a->channels;
        for (size_t k = 0; k < c; k++) {
            to[k] = input[k * pixels + i];
            to[c + 1 + k] = start->masked[k * pixels + i];
        }
        to[c] = start->mask[i];
    }
}

// The samples of a picture's branches are equal.
static void pack_input(const struct sdg_answers *a, const float *input)
{
    const size_t sample = a->elements / (size_t)a->job->latent_c * (size_t)a->channels, batch = (size_t)a->groups.batch;
    for (size_t picture = 0; picture < (size_t)a->job->pictures; picture++) {
        float *first = a->nhwc + picture * batch * sample;
        pack_sample(a, a->start ? a->start + picture : NULL, input + picture * a->elements, first);
        for (size_t i = 1; i < batch; i++)
            memcpy(first + i * sample, first, sample * sizeof *first);
    }
}

static enum sdg_result give_prompts(struct sdg_answers *a, int call, int run)
{
    const int group = a->groups.at[sdg_sampler_step_of_call(a->job->sampler, call) * a->groups.runs + run];
    if (a->times)
        SDG_TRY(sdg_snapshot_write(a->times[run], a->unet));
    if (!a->contexts || a->context == group)
        return SDG_OK;
    a->context = -1;
    SDG_TRY(sdg_snapshot_write(a->contexts[group], a->unet));
    a->context = group;
    return SDG_OK;
}

enum sdg_result sdg_answers_run(struct sdg_answers *a, int call, const float *input, float *out)
{
    const struct sdg_branch_groups *g = &a->groups;
    const struct sdg_hooks *hooks = &a->p->hooks;
    const size_t batch = (size_t)g->batch, branches = (size_t)a->job->branches.count,
                 pictures = (size_t)a->job->pictures,
                 sample = a->elements / (size_t)a->job->latent_c * (size_t)a->channels;
    pack_input(a, input);
    for (size_t run = 0; run < (size_t)g->runs; run++) {
        const size_t wanted = branches - run * batch < batch ? branches - run * batch : batch;
        const bool apart = wanted < batch || (pictures > 1 && g->runs > 1);
        float *to = apart ? a->extra : out + run * batch * a->elements;
        SDG_TRY(give_prompts(a, call, (int)run));
        SDG_TRY(sdg_program_write(a->unet, "sample", a->nhwc, pictures * batch * sample));
        SDG_TRY(sdg_program_run(a->unet, call));
        if (hooks->after_run)
            SDG_TRY(hooks->after_run(hooks->user, a->unet, call));
        SDG_TRY(sdg_program_read(a->unet, "noise", to, pictures * batch * a->elements));
        for (size_t i = 0; apart && i < pictures; i++)
            memcpy(out + (i * branches + run * batch) * a->elements, to + i * batch * a->elements,
                   wanted * a->elements * sizeof *to);
    }
    return hooks->after_call ? hooks->after_call(hooks->user, call, input, out) : SDG_OK;
}
