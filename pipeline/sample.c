// The denoising loop: the UNet's answers, the guidance and the sampler's arithmetic on the host.
#include "pipeline/sample.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/platform.h"
#include "pipeline/answers.h"
#include "pipeline/decode.h"
#include "pipeline/networks.h"
#include "pipeline/planar.h"
#include "pipeline/preview_pictures.h"
#include "pipeline/progress.h"
#include "pipeline/text.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

struct loop {
    struct sdg_pipeline *p;
    struct sdg_job *job;     // [pictures], alike but for their seeds; what they share is asked of the first
    struct sdg_start *start; // [pictures]
    struct sdg_answers answers;
    size_t elements; // of one latent
    float *input;    // [pictures][elements] as the sampler scales it, planar
    float *noise;    // [pictures][branches][elements] the UNet's answers, nhwc
    float *guided;   // [elements] of one picture, planar
};

// Inpainting with an ordinary model: outside the mask the latent is the picture's, noised to the level of the next
// call.
static void keep_unmasked(struct loop *l, int picture, int next_call)
{
    const struct sdg_start *start = &l->start[picture];
    size_t pixels = (size_t)l->job->latent_w * (size_t)l->job->latent_h;
    float *kept = l->input + (size_t)picture * l->elements; // free until the next call
    memcpy(kept, start->picture, l->elements * sizeof *kept);
    sdg_sampler_add_noise(l->job[picture].sampler, next_call, kept, start->noise);
    for (size_t i = 0; i < l->elements; i++)
        if (start->mask[i % pixels] == 0)
            start->latent[i] = kept[i];
}

// Several parts of a prompt that err alike add up as one with all their weights.
static double guidance_of(const struct sdg_job *job)
{
    double scale = 0;
    if (!job->branches.guided)
        return 1;
    for (int i = 1; i < job->branches.count; i++)
        scale += (double)job->branches.weights[i];
    return scale * sdg_job_scale(job);
}

// A picture's answers become negative + sum of scale weight (part - negative), in the first branch. The parts are taken
// in turn, so that a prompt of one part gives what it always gave.
static void guide(struct loop *l, float *answers)
{
    const struct sdg_branches *b = &l->job->branches;
    float *const negative = answers, *const sum = l->guided; // free until the end of the call
    if (b->count == 2) {
        const float *cond = answers + l->elements, scale = (float)sdg_job_scale(l->job) * b->weights[1];
        for (size_t i = 0; i < l->elements; i++)
            negative[i] += scale * (cond[i] - negative[i]);
        return;
    }
    memcpy(sum, negative, l->elements * sizeof *sum);
    for (int k = 1; k < b->count; k++) {
        const float *cond = answers + (size_t)k * l->elements, scale = (float)sdg_job_scale(l->job) * b->weights[k];
        for (size_t i = 0; i < l->elements; i++)
            sum[i] += scale * (cond[i] - negative[i]);
    }
    memcpy(negative, sum, l->elements * sizeof *sum);
}

// The model's answers for one call, of all pictures.
static enum sdg_result evaluate(struct loop *l, int call)
{
    const struct sdg_job *job = l->job;
    const size_t pixels = (size_t)job->latent_w * (size_t)job->latent_h;
    for (int i = 0; i < job->pictures; i++)
        sdg_sampler_scale_input(job[i].sampler, call, l->start[i].latent, l->input + (size_t)i * l->elements);
    SDG_TRY(sdg_answers_run(&l->answers, call, l->input, l->noise));
    if (l->p->correction)
        sdg_correction_apply(l->p->correction, sdg_sampler_timestep(job->sampler, call), l->noise,
                             (size_t)(job->pictures * job->branches.count) * pixels);
    return SDG_OK;
}

// Moves one picture's latent by the model's answers for it.
static enum sdg_result step(struct loop *l, int picture, int call)
{
    struct sdg_job *job = &l->job[picture];
    struct sdg_start *start = &l->start[picture];
    const size_t pixels = (size_t)job->latent_w * (size_t)job->latent_h;
    float *answers = l->noise + (size_t)(picture * job->branches.count) * l->elements;
    char what[96];
    if (job->branches.guided)
        guide(l, answers);
    snprintf(what, sizeof what, "the UNet's output at step %d of %d", sdg_sampler_step_of_call(job->sampler, call) + 1,
             sdg_sampler_steps(job->sampler));
    SDG_TRY(sdg_program_check_finite(l->answers.unet, answers, l->elements, what));
    sdg_nhwc_to_planar(answers, l->guided, job->latent_c, pixels);
    sdg_sampler_step(job->sampler, call, l->guided, start->latent, job->one_rng ? &job->rng : &job->sampler_rng);
    if (start->picture && start->mask)
        keep_unmasked(l, picture, call + 1);
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

// What the caller wants to see of a step that is done.
static enum sdg_result show(struct loop *l, int done)
{
    const int steps = sdg_sampler_steps(l->job->sampler);
    for (int i = 0; i < l->job->pictures; i++) {
        const struct sdg_job *job = &l->job[i];
        if (job->params->latent)
            job->params->latent(job->params->latent_user, done, steps, l->start[i].latent, job->latent_c, job->latent_h,
                                job->latent_w);
        SDG_TRY(sdg_preview_show(l->p, job, done, steps, l->start[i].latent));
    }
    return SDG_OK;
}

static enum sdg_result run_loop(struct loop *l)
{
    struct sdg_job *job = l->job;
    const struct sdg_sampler *s = job->sampler;
    struct preparation preparation = {.p = l->p, .job = job};
    int calls = sdg_sampler_calls(s), steps = sdg_sampler_steps(s);
    enum sdg_result result = SDG_OK;
    double mean = 0;
    for (int call = 0; call < calls && result == SDG_OK; call++) {
        double start = sdg_clock();
        if (call == calls - 1 && !job->latent_only)
            preparation_begin(&preparation);
        result = evaluate(l, call);
        for (int i = 0; i < job->pictures && result == SDG_OK; i++)
            result = step(l, i, call);
        if (result != SDG_OK)
            break;
        int done = sdg_sampler_step_of_call(s, call) + 1;
        bool ends_step = call == calls - 1 || sdg_sampler_step_of_call(s, call + 1) + 1 != done;
        double seconds = sdg_clock() - start;
        mean += (seconds - mean) / (call + 1);
        if (ends_step)
            result = show(l, done);
        if (ends_step && result == SDG_OK)
            result = sdg_progress_report(l->p, job, "sample", done, steps, seconds,
                                         mean * (calls - 1 - call + job->decode_share));
    }
    enum sdg_result prepared = preparation_end(&preparation);
    return result != SDG_OK ? result : prepared;
}

// All that the loop needs: after this it allocates nothing.
static enum sdg_result loop_begin(struct loop *l)
{
    const size_t pictures = (size_t)l->job->pictures, branches = (size_t)l->job->branches.count;
    SDG_TRY(sdg_answers_begin(l->p, l->job, l->start, &l->answers));
    l->input = sdg_alloc_raw(&l->p->log, l->elements * (1 + pictures * (1 + branches)), sizeof *l->input, "latents");
    if (!l->input)
        return SDG_ERROR_MEMORY;
    l->noise = l->input + pictures * l->elements;
    l->guided = l->noise + pictures * branches * l->elements;
    return SDG_OK;
}

static void loop_end(struct loop *l)
{
    sdg_answers_end(&l->answers);
    sdg_free(l->input);
}

enum sdg_result sdg_stage_sample(struct sdg_pipeline *p, struct sdg_job *job, struct sdg_start *start)
{
    struct loop l = {.p = p, .job = job, .start = start, .elements = job->latent_elements};
    enum sdg_result result = loop_begin(&l);
    for (int i = 0; i < job->pictures && result == SDG_OK && p->correction; i++)
        sdg_correction_absorb(p->correction, job[i].sampler, guidance_of(job));
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
