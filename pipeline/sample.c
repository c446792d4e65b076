// The denoising loop. Everything that depends on the step or on the prompt alone is computed before it; a step is one
// run of the recorded UNet program with another row, the guidance and the sampler's arithmetic on the host.
#include "pipeline/sample.h"

#include "backend/transfer.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/platform.h"
#include "pipeline/decode.h"
#include "pipeline/intervals.h"
#include "pipeline/networks.h"
#include "pipeline/planar.h"
#include "pipeline/progress.h"
#include "pipeline/text.h"
#include "unet/unet.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

// ---- before the loop: time tables ----

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

// SDXL: pooled prompt embedding (of the samples from `first` on) followed by six embedded numbers: original size, crop
// corner, target size.
static enum sdg_result write_added(struct sdg_pipeline *p, const struct sdg_job *job, struct sdg_program *program,
                                   int64_t rows, int64_t per_row, int first)
{
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
        memcpy(row, p->context.pooled + (first + r % per_row) * pooled, (size_t)pooled * sizeof *row);
        for (int i = 0; i < 6; i++)
            sdg_timestep_embedding(ids[i], each, c->flip_sin_to_cos, c->freq_shift, row + pooled + i * each);
    }
    enum sdg_result result = sdg_program_write(program, "added", data, (size_t)rows * (size_t)dim);
    sdg_free(data);
    return result;
}

// Whether the time tables differ from sample to sample.
static bool has_added(const struct sdg_pipeline *p)
{
    return p->model->unet_config.addition_time_embed_dim > 0;
}

// Fills the tables of all calls, for the samples from `first` on.
static enum sdg_result run_time(struct sdg_pipeline *p, const struct sdg_job *job, int first, int64_t rows,
                                struct sdg_program *time)
{
    int64_t per_row = rows / sdg_sampler_calls(job->sampler);
    SDG_TRY(write_timesteps(p, job, time, rows, per_row));
    if (p->model->unet_config.time_cond_proj_dim)
        SDG_TRY(write_guidance(p, job, time, rows));
    if (has_added(p))
        SDG_TRY(write_added(p, job, time, rows, per_row, first));
    return sdg_program_run(time, 0);
}

static enum sdg_result fill_tables(struct sdg_pipeline *p, const struct sdg_job *job, struct sdg_program *unet)
{
    struct sdg_program *time = NULL;
    const struct sdg_network_shape shape = sdg_network_shape(p, job, SDG_NETWORK_UNET_TIME, p->context.tokens);
    enum sdg_result result = sdg_network_compile(p, SDG_NETWORK_UNET_TIME, &shape, &time);
    if (result == SDG_OK)
        result = run_time(p, job, 0, shape.rows, time);
    if (result == SDG_OK)
        result = sdg_program_copy(time, unet);
    sdg_program_destroy(&time);
    return result;
}

// ---- before the loop: keys and values of the prompt ----

static enum sdg_result run_context(struct sdg_pipeline *p, int first, int64_t samples, struct sdg_program *program)
{
    size_t per_prompt = (size_t)p->context.tokens * (size_t)p->context.dim;
    SDG_TRY(sdg_program_write(program, "context", p->context.embedding + (size_t)first * per_prompt,
                              (size_t)samples * per_prompt));
    return sdg_program_run(program, 0);
}

static enum sdg_result fill_context(struct sdg_pipeline *p, const struct sdg_job *job, struct sdg_program *unet)
{
    struct sdg_program *program = NULL;
    const struct sdg_network_shape shape = sdg_network_shape(p, job, SDG_NETWORK_UNET_CONTEXT, p->context.tokens);
    enum sdg_result result = sdg_network_compile(p, SDG_NETWORK_UNET_CONTEXT, &shape, &program);
    if (result == SDG_OK)
        result = run_context(p, 0, shape.batch, program);
    if (result == SDG_OK)
        result = sdg_program_copy(program, unet);
    sdg_program_destroy(&program);
    return result;
}

// ---- before the loop: guidance one branch at a time ----
// What differs between the branches is computed for both and kept on the host; the step program gets it by turns.

static enum sdg_result keep_tables(struct sdg_pipeline *p, const struct sdg_job *job, struct sdg_snapshot *branches[2])
{
    struct sdg_program *time = NULL;
    const struct sdg_network_shape shape = sdg_network_shape(p, job, SDG_NETWORK_UNET_TIME, p->context.tokens);
    enum sdg_result result = sdg_network_compile(p, SDG_NETWORK_UNET_TIME, &shape, &time);
    for (int i = 0; i < 2 && result == SDG_OK; i++) {
        result = run_time(p, job, i, shape.rows, time);
        if (result == SDG_OK)
            result = sdg_snapshot_add(branches[i], time);
    }
    sdg_program_destroy(&time);
    return result;
}

static enum sdg_result keep_context(struct sdg_pipeline *p, const struct sdg_job *job, struct sdg_snapshot *branches[2])
{
    struct sdg_program *program = NULL;
    const struct sdg_network_shape shape = sdg_network_shape(p, job, SDG_NETWORK_UNET_CONTEXT, p->context.tokens);
    enum sdg_result result = sdg_network_compile(p, SDG_NETWORK_UNET_CONTEXT, &shape, &program);
    for (int i = 0; i < 2 && result == SDG_OK; i++) {
        result = run_context(p, i, shape.batch, program);
        if (result == SDG_OK)
            result = sdg_snapshot_add(branches[i], program);
    }
    sdg_program_destroy(&program);
    return result;
}

static enum sdg_result keep_branches(struct sdg_pipeline *p, const struct sdg_job *job,
                                     struct sdg_snapshot *branches[2])
{
    for (int i = 0; i < 2; i++)
        SDG_TRY(sdg_snapshot_create(&p->log, &branches[i]));
    if (has_added(p))
        SDG_TRY(keep_tables(p, job, branches));
    SDG_TRY(keep_context(p, job, branches));
    sdg_memory_trim();
    return SDG_OK;
}

// ---- the loop ----

struct loop {
    struct sdg_pipeline *p;
    struct sdg_job *job;
    struct sdg_start *start;
    struct sdg_program *unet;
    int batch;       // samples per program run
    int channels;    // of the UNet's input
    size_t elements; // of one latent
    float *input;    // [elements] as the sampler scales it, planar
    float *nhwc;     // [batch][pixels][channels]
    float *noise;    // [batch][elements] the UNet's answer, nhwc
    float *guided;   // [elements] planar
    // with job->split_guidance: what the step program is given before it runs for a branch
    struct sdg_snapshot *branches[2];
};

// An inpainting model sees the latent, the mask and the latent of the masked picture side by side.
static void pack_input(struct loop *l, const float *input)
{
    size_t pixels = (size_t)l->job->latent_w * (size_t)l->job->latent_h, c = (size_t)l->job->latent_c;
    if ((size_t)l->channels == c) {
        sdg_planar_to_nhwc(input, l->nhwc, (int)c, pixels);
        return;
    }
    for (size_t i = 0; i < pixels; i++) {
        float *to = l->nhwc + i * (size_t)l->channels;
        for (size_t k = 0; k < c; k++) {
            to[k] = input[k * pixels + i];
            to[c + 1 + k] = l->start->masked[k * pixels + i];
        }
        to[c] = l->start->mask[i];
    }
}

static enum sdg_result predict(struct loop *l, int call, const float *input, float *out)
{
    size_t sample = (size_t)l->job->latent_w * (size_t)l->job->latent_h * (size_t)l->channels;
    pack_input(l, input);
    for (int i = 1; i < l->batch; i++)
        memcpy(l->nhwc + (size_t)i * sample, l->nhwc, sample * sizeof *l->nhwc);
    SDG_TRY(sdg_program_write(l->unet, "sample", l->nhwc, (size_t)l->batch * sample));
    SDG_TRY(sdg_program_run(l->unet, call));
    if (l->p->hooks.after_run)
        SDG_TRY(l->p->hooks.after_run(l->p->hooks.user, l->unet, call));
    return sdg_program_read(l->unet, "noise", out, (size_t)l->batch * l->elements);
}

// Inpainting with an ordinary model: outside the mask the latent is the picture's, noised to the level of the next
// call.
static void keep_unmasked(struct loop *l, int next_call)
{
    size_t pixels = (size_t)l->job->latent_w * (size_t)l->job->latent_h;
    float *kept = l->input; // free until the next call
    memcpy(kept, l->start->picture, l->elements * sizeof *kept);
    sdg_sampler_add_noise(l->job->sampler, next_call, kept, l->start->noise);
    for (size_t i = 0; i < l->elements; i++)
        if (l->start->mask[i % pixels] == 0)
            l->start->latent[i] = kept[i];
}

// The model's answer for one call in l->guided: uncond + scale (cond - uncond).
static enum sdg_result evaluate(struct loop *l, int call)
{
    const struct sdg_job *job = l->job;
    size_t pixels = (size_t)job->latent_w * (size_t)job->latent_h;
    if (job->split_guidance) {
        for (int i = 0; i < 2; i++) {
            SDG_TRY(sdg_snapshot_write(l->branches[i], l->unet));
            SDG_TRY(predict(l, call, l->input, l->noise + (size_t)i * l->elements));
        }
    } else {
        SDG_TRY(predict(l, call, l->input, l->noise));
    }
    if (l->p->correction)
        sdg_correction_apply(l->p->correction, sdg_sampler_timestep(job->sampler, call), l->noise,
                             (job->guidance ? 2 : 1) * pixels);
    if (job->guidance) {
        const float *cond = l->noise + l->elements;
        float scale = (float)job->cfg_scale;
        for (size_t i = 0; i < l->elements; i++)
            l->noise[i] += scale * (cond[i] - l->noise[i]);
    }
    char what[96];
    snprintf(what, sizeof what, "the UNet's output at step %d of %d", sdg_sampler_step_of_call(job->sampler, call) + 1,
             sdg_sampler_steps(job->sampler));
    SDG_TRY(sdg_program_check_finite(l->unet, l->noise, l->elements, what));
    sdg_nhwc_to_planar(l->noise, l->guided, job->latent_c, pixels);
    return SDG_OK;
}

// The decoder is prepared by another thread while the last step runs.
struct preparation {
    struct sdg_pipeline *p;
    const struct sdg_job *job;
    pthread_t thread;
    bool running;
    enum sdg_result result;
};

static void *prepare(void *argument)
{
    struct preparation *preparation = argument;
    preparation->result = sdg_decoder_prepare(preparation->p, preparation->job);
    return NULL;
}

static void preparation_begin(struct preparation *preparation)
{
    // Without a thread the decoder is simply prepared later.
    preparation->running = pthread_create(&preparation->thread, NULL, prepare, preparation) == 0;
}

static enum sdg_result preparation_end(struct preparation *preparation)
{
    if (!preparation->running)
        return SDG_OK;
    pthread_join(preparation->thread, NULL);
    preparation->running = false;
    return preparation->result;
}

static enum sdg_result run_loop(struct loop *l)
{
    float *latent = l->start->latent;
    struct sdg_job *job = l->job;
    struct sdg_sampler *s = job->sampler;
    struct sdg_rng *rng = job->one_rng ? &job->rng : &job->sampler_rng;
    struct preparation preparation = {.p = l->p, .job = job};
    int calls = sdg_sampler_calls(s), steps = sdg_sampler_steps(s);
    enum sdg_result result = SDG_OK;
    double mean = 0;
    for (int call = 0; call < calls && result == SDG_OK; call++) {
        double start = sdg_clock();
        if (call == calls - 1 && !job->latent_only)
            preparation_begin(&preparation);
        sdg_sampler_scale_input(s, call, latent, l->input);
        result = evaluate(l, call);
        if (result != SDG_OK)
            break;
        sdg_sampler_step(s, call, l->guided, latent, rng);
        if (l->start->picture && l->start->mask)
            keep_unmasked(l, call + 1);
        int step = sdg_sampler_step_of_call(s, call) + 1;
        bool ends_step = call == calls - 1 || sdg_sampler_step_of_call(s, call + 1) + 1 != step;
        double seconds = sdg_clock() - start;
        mean += (seconds - mean) / (call + 1);
        if (ends_step && job->params->latent)
            job->params->latent(job->params->latent_user, step, steps, latent, job->latent_c, job->latent_h,
                                job->latent_w);
        if (ends_step)
            result = sdg_progress_report(l->p, job, "sample", step, steps, seconds,
                                         mean * (calls - 1 - call + job->decode_share));
    }
    enum sdg_result prepared = preparation_end(&preparation);
    return result != SDG_OK ? result : prepared;
}

static double timestep_of_row(const void *user, int64_t row)
{
    return sdg_sampler_timestep(user, (int)row);
}

enum sdg_result sdg_sample_prepare(struct sdg_pipeline *p, struct sdg_job *job)
{
    const struct sdg_network_shape shape = sdg_network_shape(p, job, SDG_NETWORK_UNET_STEP, p->context.tokens);
    bool made;
    SDG_TRY(sdg_network_prepare(p, SDG_NETWORK_UNET_STEP, &shape, &made));
    struct sdg_program *unet = p->kept[SDG_NETWORK_UNET_STEP].program;
    if (made)
        p->unet_context = -1;
    if (!job->split_guidance || !has_added(p))
        SDG_TRY(fill_tables(p, job, unet));
    SDG_TRY(sdg_quantized_write_intervals(p, unet, shape.rows, timestep_of_row, job->sampler));
    if (job->split_guidance) {
        p->unet_context = -1; // the branches take turns
    } else if (p->unet_context != p->context_serial) {
        SDG_TRY(fill_context(p, job, unet));
        p->unet_context = p->context_serial;
    }
    sdg_memory_trim();
    return SDG_OK;
}

// All that the loop needs: after this it allocates nothing.
static enum sdg_result loop_begin(struct loop *l)
{
    const struct sdg_job *job = l->job;
    const struct sdg_network *unet = &l->p->kept[SDG_NETWORK_UNET_STEP];
    size_t answers = job->guidance ? 2 : 1, packed = l->elements / (size_t)job->latent_c * (size_t)l->channels;
    SDG_TRY(sdg_sample_prepare(l->p, l->job));
    l->unet = unet->program;
    l->batch = (int)unet->shape.batch;
    if (job->split_guidance)
        SDG_TRY(keep_branches(l->p, job, l->branches));
    l->input =
        sdg_alloc_raw(&l->p->log, l->elements * (2 + answers) + packed * (size_t)l->batch, sizeof *l->input, "latents");
    if (!l->input)
        return SDG_ERROR_MEMORY;
    l->guided = l->input + l->elements;
    l->noise = l->guided + l->elements;
    l->nhwc = l->noise + l->elements * answers;
    return SDG_OK;
}

static void loop_end(struct loop *l)
{
    for (int i = 0; i < 2; i++)
        sdg_snapshot_destroy(&l->branches[i]);
    sdg_free(l->input);
}

enum sdg_result sdg_stage_sample(struct sdg_pipeline *p, struct sdg_job *job, struct sdg_start *start)
{
    struct loop l = {.p = p,
                     .job = job,
                     .start = start,
                     .channels = p->model->unet_config.in_channels,
                     .elements = job->latent_elements};
    enum sdg_result result = loop_begin(&l);
    if (result == SDG_OK && p->correction)
        sdg_correction_absorb(p->correction, job->sampler, job->guidance ? job->cfg_scale : 1);
    if (result == SDG_OK)
        result = run_loop(&l);
    loop_end(&l);
    if (result != SDG_OK) // also what was prepared during the last step
        sdg_networks_clear(p);
    else if (!job->keep_networks)
        sdg_network_clear(p, SDG_NETWORK_UNET_STEP);
    sdg_memory_trim();
    return result;
}

enum sdg_result sdg_sample_latents(struct sdg_pipeline *p, const struct sdg_generate_params *generate)
{
    struct sdg_job job;
    struct sdg_start start = {0};
    enum sdg_result result = sdg_job_create(p, generate, &job);
    job.latent_only = true;
    job.keep_networks = true;
    if (result == SDG_OK)
        result = sdg_stage_text(p, &job);
    if (result == SDG_OK)
        result = sdg_start_create(p, &job, &start);
    if (result == SDG_OK)
        result = sdg_stage_sample(p, &job, &start);
    sdg_start_clear(&start);
    sdg_job_clear(&job);
    return result;
}
