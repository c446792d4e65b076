// sdg_plan: the memory plan and the chosen kernels in words.
#include "pipeline/call.h"
#include "pipeline/memory_plan.h"
#include "pipeline/stages.h"
#include "text/tokenizer.h"

#include <stdarg.h>
#include <stdio.h>

struct printer {
    void (*fn)(void *user, const char *line);
    void *user;
};

SDG_PRINTF(2, 3) static void line(const struct printer *out, const char *format, ...)
{
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    out->fn(out->user, text);
}

static void print_network(const struct printer *out, const struct sdg_pipeline *p, enum sdg_network_kind kind,
                          const struct sdg_planned_network *n)
{
    const double mib = 1024.0 * 1024.0;
    const struct sdg_network_row *row = sdg_network_row(kind);
    const struct sdg_stage_backend *b = &p->stage[row->stage];
    char name[32];
    snprintf(name, sizeof name, "%s%s", row->name, n->tiled ? ", tiled" : "");
    line(out,
         "%-18s %-10s %-5s weights %8.1f  activations %8.1f  inputs %7.1f  scratch %7.1f  host %7.1f  total %8.1f MiB",
         name, b->name, sdg_dtype_name(b->dtype), (double)n->memory.weights / mib, (double)n->memory.arena / mib,
         (double)n->memory.inputs / mib, (double)n->memory.scratch / mib, (double)n->host / mib,
         (double)n->total / mib);
}

static void print_kernel(void *user, const char *op, const char *kernel)
{
    line(user, "  %-70s %s", op, kernel);
}

static enum sdg_result print_kernels(const struct printer *out, struct sdg_pipeline *p, const struct sdg_job *job,
                                     const struct sdg_memory_plan *plan)
{
    for (int i = 1; i < SDG_NETWORK_COUNT; i++) {
        const enum sdg_network_kind kind = (enum sdg_network_kind)i;
        const struct sdg_network_row *row = sdg_network_row(kind);
        if (row->residency != SDG_RESIDENT_KEPT || !plan->networks[i].planned)
            continue;
        const struct sdg_network_shape shape = row->shape(p, job, sdg_tokenizer_length(p->tokenizer[0]));
        struct sdg_program *program;
        line(out, "kernels of the %s:", row->name);
        SDG_TRY(sdg_network_plan(p, kind, &shape, &program));
        sdg_program_describe(program, print_kernel, (void *)out);
        sdg_program_destroy(&program);
    }
    return SDG_OK;
}

static void print_quantization(const struct printer *out, const struct sdg_pipeline *p)
{
    const struct sdg_quantization_config *c = &p->model->unet_config.quantization;
    const struct sdg_quantized *q = p->quantized;
    if (!q)
        return;
    line(out, "quantization: %s, %zu layers (weights %s-rounded%s)", c->scheme, q->layer_count, c->weight_rounding,
         p->correction ? ", sampler corrected" : "");
    if (q->scheme.rule == SDG_INTERVAL_DYNAMIC)
        line(out, "intervals: %zu sites, measured in every step", q->site_count);
    else if (q->site_count)
        line(out, "intervals: %zu sites, %zu depend on the timestep, %zu are constant", q->site_count,
             q->temporal_sites, q->site_count - q->temporal_sites);
}

// Nothing for a prompt that is the same at all steps.
static enum sdg_result print_branches(const struct printer *out, struct sdg_pipeline *p, const struct sdg_job *job)
{
    const struct sdg_branches *b = &job->branches;
    struct sdg_branch_groups groups;
    if (b->count <= 2 && b->text_count == b->count)
        return SDG_OK;
    SDG_TRY(sdg_branch_groups_create(&p->log, b, sdg_unet_batch(job), &groups));
    line(out, "prompt: %d part%s%s, %d texts in all, %d run%s of the UNet per evaluation", b->count - b->guided,
         b->count - b->guided > 1 ? "s" : "", b->guided ? " beside the negative prompt" : "", b->text_count,
         groups.runs, groups.runs > 1 ? "s" : "");
    sdg_branch_groups_clear(&groups);
    return SDG_OK;
}

static enum sdg_result print_plan(const struct printer *out, struct sdg_pipeline *p, struct sdg_job *job, bool kernels)
{
    const double mib = 1024.0 * 1024.0;
    struct sdg_memory_plan plan;
    SDG_TRY(sdg_memory_plan(p, job, &plan));
    line(out, "model: %s", p->model->path);
    line(out, "picture: %dx%d, %s / %s, %d steps, %d model evaluations, guidance %g%s", job->width, job->height,
         sdg_method_name(job->method), sdg_schedule_name(job->schedule), job->steps, sdg_sampler_calls(job->sampler),
         job->cfg_scale,
         job->guidance_embedding   ? " as an input"
             : !job->guidance      ? ", off"
             : job->split_guidance ? ", one branch at a time"
                                   : ", as batch 2");
    SDG_TRY(print_branches(out, p, job));
    print_quantization(out, p);
    for (int i = 0; i < SDG_STAGE_COUNT; i++) {
        const struct sdg_device_info *info = sdg_backend_info(p->stage[i].backend);
        line(out, "%s on %s: %s (%s)", sdg_stage_row((enum sdg_stage)i)->name, p->stage[i].name, info->name,
             info->note);
    }
    for (int i = 1; i < SDG_NETWORK_COUNT; i++)
        if (plan.networks[i].planned)
            print_network(out, p, (enum sdg_network_kind)i, &plan.networks[i]);
    line(out, "the process itself %.1f MiB", (double)plan.base / mib);
    line(out, "planned peak: %.1f MiB (%zu bytes)", (double)plan.peak / mib, plan.peak);
    return kernels ? print_kernels(out, p, job, &plan) : SDG_OK;
}

enum sdg_result sdg_plan(struct sdg_pipeline *pipeline, const struct sdg_generate_params *params, bool kernels,
                         void (*fn)(void *user, const char *line), void *user)
{
    SDG_REQUIRE(NULL, pipeline, "pipeline");
    SDG_REQUIRE(&pipeline->log, params, "params");
    SDG_REQUIRE(&pipeline->log, fn, "fn");
    SDG_TRY(sdg_call_enter(pipeline, "sdg_plan"));
    struct printer out = {fn, user};
    struct sdg_job job;
    enum sdg_result result = sdg_job_create(pipeline, params, &job);
    if (result == SDG_OK)
        result = print_plan(&out, pipeline, &job, kernels);
    sdg_job_clear(&job);
    return sdg_call_leave(pipeline, result);
}
