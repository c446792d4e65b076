// What a picture will need, stage by stage, before anything is loaded: the plan decides about tiles and split guidance,
// and refuses what does not fit. Running out of memory at the last stage is the worst way to learn it.
#include "pipeline/memory_plan.h"

#include "backend/transfer.h"
#include "base/memory.h"
#include "base/platform.h"
#include "pipeline/stages.h"
#include "text/prompt.h"
#include "vae/vae.h"

#include <stdio.h>
#include <string.h>

static const double MIB = 1024.0 * 1024.0;

static int prompt_chunks(struct sdg_pipeline *p, const struct sdg_job *job)
{
    const struct sdg_branches *b = &job->branches;
    int chunks = job->chunks > 1 ? job->chunks : 1;
    for (int i = 0; i < b->text_count; i++) {
        struct sdg_prompt_tokens tokens;
        if (sdg_prompt_tokenize(p->tokenizer[0], NULL, job->params->plain_prompt ? SDG_PROMPT_PLAIN : SDG_PROMPT_A1111,
                                b->texts[i], &tokens) != SDG_OK)
            continue; // the text stage reports it
        if (tokens.chunks > chunks)
            chunks = tokens.chunks;
        sdg_prompt_tokens_clear(&tokens);
    }
    return chunks;
}

static int64_t prompt_tokens(struct sdg_pipeline *p, const struct sdg_job *job)
{
    const struct sdg_embedding *given = job->params->embedding;
    return given ? given->tokens : (int64_t)prompt_chunks(p, job) * sdg_tokenizer_length(p->tokenizer[0]);
}

static size_t saturating_add(size_t a, size_t b)
{
    size_t sum;
    return __builtin_add_overflow(a, b, &sum) ? SIZE_MAX : sum;
}

// Program and host memory of one network.
static enum sdg_result plan_network(struct sdg_pipeline *p, const struct sdg_job *job, enum sdg_network_kind kind,
                                    int64_t tokens, struct sdg_planned_network *out)
{
    const struct sdg_network_row *row = sdg_network_row(kind);
    const struct sdg_network_shape shape = row->shape(p, job, tokens);
    struct sdg_program *program;
    SDG_TRY(sdg_network_plan(p, kind, &shape, &program));
    *out = (struct sdg_planned_network){.tiled = row->tiles && sdg_job_is_tiled(job),
                                        .host = row->host ? row->host(p, job, &shape) : 0};
    sdg_program_memory(program, &out->memory);
    out->work = sdg_program_work(program);
    sdg_program_destroy(&program);
    out->total = saturating_add(out->memory.total, out->host);
    return SDG_OK;
}

// The largest of the networks that fill a stage's tables, and what is kept of what they make.
static enum sdg_result add_filling(struct sdg_pipeline *p, const struct sdg_job *job, enum sdg_stage stage,
                                   int64_t tokens, const struct sdg_branch_groups *groups, size_t *filling,
                                   size_t *kept)
{
    for (int i = 1; i < SDG_NETWORK_COUNT; i++) {
        const struct sdg_network_row *row = sdg_network_row((enum sdg_network_kind)i);
        struct sdg_memory memory;
        struct sdg_program *program;
        if (row->residency != SDG_RESIDENT_FILL || row->stage != stage)
            continue;
        const struct sdg_network_shape shape = row->shape(p, job, tokens);
        size_t copies;
        SDG_TRY(sdg_network_plan(p, (enum sdg_network_kind)i, &shape, &program));
        sdg_program_memory(program, &memory);
        *filling = memory.total > *filling ? memory.total : *filling;
        if (!sdg_mul_size((size_t)row->kept(p, groups), sdg_snapshot_bytes(program), &copies))
            copies = SIZE_MAX;
        *kept = saturating_add(*kept, copies);
        sdg_program_destroy(&program);
    }
    return SDG_OK;
}

// Those that fill a stage's tables are there together with its main program, whose arena is untouched meanwhile: of
// both the larger counts. What differs between the runs of the main program waits on the host.
static enum sdg_result plan_filling(struct sdg_pipeline *p, const struct sdg_job *job, enum sdg_stage stage,
                                    int64_t tokens, struct sdg_planned_network *filled)
{
    struct sdg_branch_groups groups;
    size_t filling = 0, kept = 0;
    SDG_TRY(sdg_branch_groups_create(&p->log, &job->branches, sdg_unet_batch(job), &groups));
    const enum sdg_result result = add_filling(p, job, stage, tokens, &groups, &filling, &kept);
    sdg_branch_groups_clear(&groups);
    if (result != SDG_OK)
        return result;
    filled->host = saturating_add(filled->host, kept);
    filled->total = saturating_add(filled->total, kept);
    if (filling > filled->memory.arena)
        filled->total = saturating_add(filled->total, filling - filled->memory.arena);
    return SDG_OK;
}

// What of network `other` is there while `runs` does its work; of one that is being loaded the arena is not touched
// yet.
static size_t beside(const struct sdg_memory_plan *plan, enum sdg_network_kind runs, enum sdg_network_kind other,
                     bool keep_networks, bool untouched)
{
    const struct sdg_memory *memory = &plan->networks[other].memory;
    const struct sdg_network_row *row = sdg_network_row(other);
    if (other == runs || !plan->networks[other].planned || sdg_network_row(runs)->residency == SDG_RESIDENT_ONCE)
        return 0;
    if (keep_networks && row->residency == SDG_RESIDENT_KEPT)
        return memory->total;
    return row->loads_during == runs ? untouched ? memory->total : memory->weights : 0;
}

// All that is there while one network does its work; 0 if the picture does not need it.
static size_t while_running(const struct sdg_memory_plan *plan, enum sdg_network_kind runs, bool keep_networks,
                            bool untouched)
{
    size_t total = plan->networks[runs].total;
    if (!plan->networks[runs].planned)
        return 0;
    for (int i = 1; i < SDG_NETWORK_COUNT; i++)
        total = saturating_add(total, beside(plan, runs, (enum sdg_network_kind)i, keep_networks, untouched));
    return total;
}

static size_t largest_of(const struct sdg_memory_plan *plan, bool keep_networks, bool untouched)
{
    size_t largest = 0;
    for (int i = 1; i < SDG_NETWORK_COUNT; i++) {
        const size_t total = while_running(plan, (enum sdg_network_kind)i, keep_networks, untouched);
        largest = total > largest ? total : largest;
    }
    return largest;
}

size_t sdg_memory_plan_largest(const struct sdg_memory_plan *plan, bool keep_networks)
{
    return largest_of(plan, keep_networks, false);
}

static bool runs(const struct sdg_job *job, enum sdg_network_kind kind)
{
    return !job->only || job->only & 1u << kind;
}

static bool tiles_allowed(const struct sdg_pipeline *p)
{
    return !p->params.vae_tiling || strcmp(p->params.vae_tiling, "off");
}

// A device may be unable to hold one activation of the whole picture in one buffer, whatever memory it has: then tiles
// it is.
static enum sdg_result find_tiles(struct sdg_pipeline *p, struct sdg_job *job)
{
    const struct sdg_network_shape shape = sdg_network_shape(p, job, SDG_NETWORK_DECODER, 0);
    bool whole = true;
    if (job->tile_vae || !tiles_allowed(p) || (!runs(job, SDG_NETWORK_DECODER) && !runs(job, SDG_NETWORK_ENCODER)))
        return SDG_OK;
    SDG_TRY(sdg_network_supported(p, SDG_NETWORK_DECODER, &shape, &whole));
    job->tile_vae = !whole;
    return SDG_OK;
}

static enum sdg_result make_plan(struct sdg_pipeline *p, struct sdg_job *job, int64_t tokens,
                                 struct sdg_memory_plan *plan)
{
    for (int i = 1; i < SDG_NETWORK_COUNT; i++) {
        const struct sdg_network_row *row = sdg_network_row((enum sdg_network_kind)i);
        struct sdg_planned_network *planned = &plan->networks[i];
        *planned = (struct sdg_planned_network){0};
        if (row->residency == SDG_RESIDENT_FILL || !runs(job, (enum sdg_network_kind)i) ||
            (!job->only && row->wanted && !row->wanted(p, job)))
            continue;
        SDG_TRY(plan_network(p, job, (enum sdg_network_kind)i, tokens, planned));
        if (!job->only)
            SDG_TRY(plan_filling(p, job, row->stage, tokens, planned));
        planned->planned = true;
    }
    const bool together = job->keep_networks || job->early_decoder;
    plan->peak = saturating_add(plan->base, sdg_memory_plan_largest(plan, together));
    plan->reserved = saturating_add(plan->base, largest_of(plan, together, true));
    return SDG_OK;
}

// Bytes that the process may have in all, SIZE_MAX = no limit; and in words what limits them.
struct sdg_budget {
    size_t resident, reserved;
    const char *resident_limit, *reserved_limit;
};

// `resident`: bytes that the process has already; what earlier pictures left behind is this picture's to use.
static struct sdg_budget find_budget(const struct sdg_pipeline *p, size_t resident)
{
    struct sdg_budget budget;
    budget.resident = saturating_add(sdg_platform_memory_free(&budget.resident_limit), resident);
    budget.reserved = saturating_add(sdg_platform_address_space_free(&budget.reserved_limit), resident);
    if (p->engine->max_memory > 0) {
        budget.resident = (size_t)p->engine->max_memory;
        budget.resident_limit = "are allowed";
    }
    return budget;
}

static enum sdg_result refuse(const struct sdg_pipeline *p, const struct sdg_job *job,
                              const struct sdg_memory_plan *plan, const struct sdg_budget *budget)
{
    const bool resident = plan->peak > budget->resident;
    char others[80] = "";
    if (plan->others)
        snprintf(others, sizeof others, " beside %.0f MiB of other pipelines", (double)plan->others / MIB);
    return sdg_fail(
        &p->log, SDG_ERROR_MEMORY,
        "a picture of %dx%d needs %.0f MiB of memory%s, %.0f MiB %s; try a smaller picture or --type bf16 / f16",
        job->width, job->height, (double)((resident ? plan->peak : plan->reserved) - plan->others) / MIB, others,
        (double)(resident ? budget->resident : budget->reserved) / MIB,
        resident ? budget->resident_limit : budget->reserved_limit);
}

// Cheaper ways to the same picture, in the order of what they cost: fewer pictures at once, previews without the
// decoder, networks made anew for every picture, tiles (the picture changes a little), then one branch at a time.
static bool economize(const struct sdg_pipeline *p, struct sdg_job *job, const struct sdg_memory_plan *plan,
                      const struct sdg_budget *budget)
{
    if (job->pictures > 1) {
        job->pictures = (job->pictures + 1) / 2;
        return true;
    }
    if (job->early_decoder) {
        job->early_decoder = false;
        return true;
    }
    if (job->keep_networks) {
        job->keep_networks = false;
        return true;
    }
    for (int i = 1; i < SDG_NETWORK_COUNT; i++)
        if (!job->tile_vae && tiles_allowed(p) && sdg_network_row((enum sdg_network_kind)i)->tiles &&
            (plan->base + plan->networks[i].total > budget->resident || plan->reserved > budget->reserved)) {
            job->tile_vae = true;
            return true;
        }
    if (job->guidance && !job->split_guidance) {
        job->split_guidance = true;
        return true;
    }
    return false;
}

enum sdg_result sdg_memory_plan(struct sdg_pipeline *p, struct sdg_job *job, struct sdg_memory_plan *plan)
{
    const int64_t tokens = prompt_tokens(p, job);
    const int tile = job->tile * sdg_vae_factor(&p->model->vae_config);
    *plan = (struct sdg_memory_plan){0};
    for (int i = 0; i < SDG_STAGE_COUNT; i++)
        SDG_TRY(sdg_stage_open(p, (enum sdg_stage)i));
    const size_t resident = sdg_resident_now(), code = sdg_backend_info(p->stage[SDG_STAGE_UNET].backend)->code_bytes;
    p->bare =
        sdg_engine_bare(p->engine, &p->share, p->bare, resident, code, job->keep_networks || sdg_networks_kept(p));
    const struct sdg_budget budget = find_budget(p, resident);
    SDG_TRY(find_tiles(p, job));
    for (;;) {
        plan->others = sdg_engine_others(p->engine, &p->share);
        plan->base = saturating_add(p->bare, plan->others);
        SDG_TRY(make_plan(p, job, tokens, plan));
        if (plan->peak <= budget.resident && plan->reserved <= budget.reserved) {
            if (sdg_engine_reserve(p->engine, &p->share, plan->peak - plan->base, budget.resident - p->bare))
                break;
            continue; // another pipeline was faster
        }
        if (!economize(p, job, plan, &budget))
            return refuse(p, job, plan, &budget);
    }
    if (job->tile_vae && !(p->params.vae_tiling && strcmp(p->params.vae_tiling, "on") == 0))
        sdg_say(&p->log, SDG_LOG_INFO,
                "the picture is decoded in tiles of %dx%d: memory is short, or the device's buffers are", tile, tile);
    if (job->split_guidance)
        sdg_say(&p->log, SDG_LOG_INFO, "memory is short: the two branches of guidance run one after the other");
    if (job->params->preview.kind == SDG_PREVIEW_DECODER && !job->early_decoder)
        sdg_say(&p->log, SDG_LOG_INFO, "memory is short: previews are projections of the latent");
    if (!job->keep_networks) // memory is short for the first time: the plan counts on what earlier pictures left
        sdg_networks_clear(p);
    job->planned = (double)plan->peak;
    return SDG_OK;
}
