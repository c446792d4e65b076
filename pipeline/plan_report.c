// sdg_plan: the memory plan and the chosen kernels in words.
#include "pipeline/plan_report.h"

#include "pipeline/call.h"
#include "pipeline/stages.h"
#include "text/tokenizer.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

SDG_PRINTF(2, 3) static void line(const struct sdg_plan_printer *out, const char *format, ...)
{
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    out->fn(out->user, text);
}

static const double mib = 1024.0 * 1024.0;

static void print_network(const struct sdg_plan_printer *out, const struct sdg_pipeline *p, enum sdg_network_kind kind,
                          const struct sdg_planned_network *n)
{
    const struct sdg_network_row *row = sdg_network_row(kind);
    const struct sdg_stage_backend *b = &p->stage[row->stage];
    char name[32];
    snprintf(name, sizeof name, "%s%s", row->name, n->tiled ? ", tiled" : "");
    line(out, "%-18s %-4s %9.1f %12.1f %7.1f %8.1f %6.1f %9.1f", name, sdg_dtype_name(b->dtype),
         (double)n->memory.weights / mib, (double)n->memory.arena / mib, (double)n->memory.inputs / mib,
         (double)n->memory.scratch / mib, (double)n->host / mib, (double)n->total / mib);
}

static void print_memory(const struct sdg_plan_printer *out, const struct sdg_pipeline *p,
                         const struct sdg_memory_plan *plan)
{
    line(out, "%-18s %-4s %9s %12s %7s %8s %6s %9s", "memory, MiB", "type", "weights", "activations", "inputs",
         "scratch", "host", "total");
    for (int i = 1; i < SDG_NETWORK_COUNT; i++)
        if (plan->networks[i].planned)
            print_network(out, p, (enum sdg_network_kind)i, &plan->networks[i]);
    line(out, "%-18s %59.1f", "the process itself", (double)plan->base / mib);
    line(out, "planned peak: %.1f MiB (%zu bytes)", (double)plan->peak / mib, plan->peak);
}

// "a run of the UNet: 412 dispatches move 812.3 MiB", of those that run again and again.
static void print_work(const struct sdg_plan_printer *out, const struct sdg_memory_plan *plan)
{
    for (int i = 1; i < SDG_NETWORK_COUNT; i++) {
        const struct sdg_network_row *row = sdg_network_row((enum sdg_network_kind)i);
        const struct sdg_work *work = &plan->networks[i].work;
        if (plan->networks[i].planned && row->residency == SDG_RESIDENT_KEPT)
            line(out, "a run of the %s%s: %zu dispatches move %.1f MiB", row->name,
                 plan->networks[i].tiled ? " on a tile" : "", work->dispatches, work->bytes / mib);
    }
}

// ---- kernels ----

static void print_kernel(void *user, const char *op, const char *kernel)
{
    line(user, "  %-70s %s", op, kernel);
}

enum { KERNEL_KINDS = 64 }; // more are counted together
struct kernel_counts {
    struct {
        char name[48];
        int count;
    } kinds[KERNEL_KINDS];
    int used, others;
};

static void count_kernel(void *user, const char *op, const char *kernel)
{
    (void)op;
    struct kernel_counts *c = user;
    int i = 0;
    while (i < c->used && strncmp(c->kinds[i].name, kernel, sizeof c->kinds[i].name - 1))
        i++;
    if (i == KERNEL_KINDS) {
        c->others++;
        return;
    }
    if (i == c->used) {
        snprintf(c->kinds[i].name, sizeof c->kinds[i].name, "%s", kernel);
        c->used++;
    }
    c->kinds[i].count++;
    for (; i > 0 && c->kinds[i].count > c->kinds[i - 1].count; i--) { // the most frequent first
        const struct kernel_counts copy = *c;
        c->kinds[i] = copy.kinds[i - 1];
        c->kinds[i - 1] = copy.kinds[i];
    }
}

// "UNet kernels: 61 brg:avx512_core, 31 group_norm:avx512bf16", in lines that fit.
static void print_counts(const struct sdg_plan_printer *out, const char *network, const struct kernel_counts *c)
{
    enum { WIDTH = 80 };
    char text[200];
    int length = snprintf(text, sizeof text, "%s kernels:", network);
    for (int i = 0; i < c->used + (c->others > 0); i++) {
        char item[80];
        if (i < c->used)
            snprintf(item, sizeof item, " %d %s", c->kinds[i].count, c->kinds[i].name);
        else
            snprintf(item, sizeof item, " %d on others", c->others);
        const bool last = i + 1 >= c->used + (c->others > 0);
        if (length + (int)strlen(item) + !last > WIDTH) {
            line(out, "%s", text);
            length = snprintf(text, sizeof text, " ");
        }
        length += snprintf(text + length, sizeof text - (size_t)length, "%s%s", item, last ? "" : ",");
    }
    line(out, "%s", text);
}

static enum sdg_result print_kernels(const struct sdg_plan_printer *out, struct sdg_pipeline *p,
                                     const struct sdg_job *job, const struct sdg_memory_plan *plan, bool every)
{
    for (int i = 1; i < SDG_NETWORK_COUNT; i++) {
        const enum sdg_network_kind kind = (enum sdg_network_kind)i;
        const struct sdg_network_row *row = sdg_network_row(kind);
        if (row->residency != SDG_RESIDENT_KEPT || !plan->networks[i].planned)
            continue;
        const struct sdg_network_shape shape = row->shape(p, job, sdg_tokenizer_length(p->tokenizer[0]));
        struct sdg_program *program;
        struct kernel_counts counts = {.used = 0};
        SDG_TRY(sdg_network_plan(p, kind, &shape, &program));
        if (every)
            line(out, "kernels of the %s:", row->name);
        sdg_program_describe(program, every ? print_kernel : count_kernel, every ? (void *)out : (void *)&counts);
        if (!every)
            print_counts(out, row->name, &counts);
        sdg_program_destroy(&program);
    }
    return SDG_OK;
}

// ---- the model and the picture ----

static void print_quantization(const struct sdg_plan_printer *out, const struct sdg_pipeline *p)
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
    if (q->token_sites)
        line(out, "intervals by token: %zu sites%s", q->token_sites,
             q->resample ? ", interpolated at other sizes than the calibrated one" : "");
}

// Nothing for a prompt that is the same at all steps.
static enum sdg_result print_branches(const struct sdg_plan_printer *out, struct sdg_pipeline *p,
                                      const struct sdg_job *job)
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

// One line for stages that run on the same device.
static void print_devices(const struct sdg_plan_printer *out, const struct sdg_pipeline *p)
{
    bool told[SDG_STAGE_COUNT] = {false};
    for (int i = 0; i < SDG_STAGE_COUNT; i++) {
        char stages[64] = "";
        const struct sdg_device_info *info = sdg_backend_info(p->stage[i].backend);
        for (int k = i; k < SDG_STAGE_COUNT && !told[i]; k++)
            if (strcmp(p->stage[k].name, p->stage[i].name) == 0 && p->stage[k].device == p->stage[i].device) {
                size_t used = strlen(stages);
                snprintf(stages + used, sizeof stages - used, "%s%s", used ? ", " : "",
                         sdg_stage_row((enum sdg_stage)k)->name);
                told[k] = k != i;
            }
        if (!told[i]) {
            line(out, "%s on %s: %s", stages, p->stage[i].name, info->name);
            if (*info->note)
                line(out, "  %s", info->note);
        }
    }
}

enum sdg_result sdg_plan_print(const struct sdg_plan_printer *out, struct sdg_pipeline *p, const struct sdg_job *job,
                               const struct sdg_memory_plan *plan)
{
    line(out, "model: %s", p->model->path);
    line(out, "picture: %dx%d, %d steps of %s / %s, %d model evaluations", job->width, job->height, job->steps,
         sdg_method_name(job->method), sdg_schedule_name(job->schedule), sdg_sampler_calls(job->sampler));
    if (job->pictures > 1)
        line(out, "pictures at once: %d", job->pictures);
    if (job->guidance)
        line(out, "guidance: %g, %s", job->cfg_scale,
             job->split_guidance ? "one branch at a time" : "both branches as a batch of 2");
    else if (job->guidance_embedding)
        line(out, "guidance: %g, an input of the network", job->cfg_scale);
    else
        line(out, "guidance: off");
    SDG_TRY(print_branches(out, p, job));
    print_quantization(out, p);
    print_devices(out, p);
    print_memory(out, p, plan);
    print_work(out, plan);
    return SDG_OK;
}

static enum sdg_result plan_picture(struct sdg_pipeline *p, const struct sdg_generate_params *params,
                                    enum sdg_plan_kernels kernels, const struct sdg_plan_printer *out)
{
    struct sdg_job job;
    struct sdg_memory_plan plan;
    SDG_REQUIRE(&p->log, params, "params");
    SDG_REQUIRE(&p->log, out->fn, "fn");
    enum sdg_result result = sdg_job_create(p, params, &job);
    if (result == SDG_OK && params->batch > 1)
        job.pictures = params->batch;
    if (result == SDG_OK)
        result = sdg_memory_plan(p, &job, &plan);
    if (result == SDG_OK)
        result = sdg_plan_print(out, p, &job, &plan);
    if (result == SDG_OK && kernels != SDG_PLAN_NO_KERNELS)
        result = print_kernels(out, p, &job, &plan, kernels == SDG_PLAN_EVERY_KERNEL);
    sdg_job_clear(&job);
    return result;
}

enum sdg_result sdg_plan(struct sdg_pipeline *pipeline, const struct sdg_generate_params *params,
                         enum sdg_plan_kernels kernels, void (*fn)(void *user, const char *line), void *user)
{
    SDG_REQUIRE(NULL, pipeline, "pipeline");
    SDG_TRY(sdg_call_enter(pipeline, "sdg_plan"));
    const struct sdg_plan_printer out = {fn, user};
    return sdg_call_leave(pipeline, plan_picture(pipeline, params, kernels, &out));
}
