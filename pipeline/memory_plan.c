// What a picture will need, stage by stage, before anything is loaded: the plan decides about tiles and split guidance,
// and refuses what does not fit. Running out of memory at the last stage is the worst way to learn it.
#include "pipeline/pipeline.h"

#include "base/memory.h"
#include "vae/vae.h"

#include <stdio.h>
#include <string.h>
#if defined(__linux__)
#include <stdlib.h>
#endif

static const double MIB = 1024.0 * 1024.0;
// What the CPU backend's own code grows by while networks run: pages of the kernel library and the kernels it
// generates. Measured on the default model (21 MiB) and on SD 1.5 (17 MiB); it does not depend on sizes.
static const size_t CPU_KERNEL_CODE = 20 * 1024 * 1024;

// Bytes that could be used without swapping; 0 if the system does not say.
static size_t available_memory(void)
{
    size_t kib = 0;
#if defined(__linux__)
    FILE *file = fopen("/proc/meminfo", "r");
    char line[256];
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, "MemAvailable:", 13) == 0)
            kib = strtoull(line + 13, NULL, 10);
    if (file)
        fclose(file);
#endif
    return kib * 1024;
}

static struct sdg_stage_memory *add(struct sdg_memory_plan *plan, const char *name, struct sdg_program **program,
                                    size_t host)
{
    struct sdg_stage_memory *s = &plan->stages[plan->count++];
    *s = (struct sdg_stage_memory){.name = name, .host = host};
    sdg_program_memory(*program, &s->memory);
    s->total = s->memory.total + host;
    sdg_program_destroy(program);
    return s;
}

static int prompt_chunks(struct sdg_pipeline *p, const struct sdg_job *job)
{
    const char *texts[2] = {job->prompt, job->guidance ? job->negative : ""};
    int chunks = 1;
    for (int i = 0; i < 2; i++) {
        struct sdg_prompt_tokens tokens;
        if (sdg_prompt_tokenize(p->tokenizer[0], NULL, job->params->plain_prompt ? SDG_PROMPT_PLAIN : SDG_PROMPT_A1111,
                                texts[i], &tokens) != SDG_OK)
            continue; // the text stage reports it
        if (tokens.chunks > chunks)
            chunks = tokens.chunks;
        sdg_prompt_tokens_clear(&tokens);
    }
    return chunks;
}

static enum sdg_result plan_text(struct sdg_pipeline *p, const struct sdg_job *job, int chunks,
                                 struct sdg_memory_plan *plan)
{
    static const char *const names[2] = {"text encoder", "text encoder 2"};
    int batch = (job->guidance ? 2 : 1) * chunks;
    for (int i = 0; i < p->model->text_encoders; i++) {
        struct sdg_program *program;
        SDG_TRY(sdg_make_text(p, i, batch, job->clip_skip, true, &program));
        add(plan, names[i], &program,
            (size_t)batch * SDG_TEXT_TOKENS * (size_t)p->model->text_config[i].hidden * sizeof(float));
    }
    return SDG_OK;
}

// The UNet step with the programs that fill it: time tables and keys and values are computed while its weights are
// there.
static enum sdg_result plan_unet(struct sdg_pipeline *p, const struct sdg_job *job, int chunks,
                                 struct sdg_memory_plan *plan)
{
    int64_t calls = sdg_sampler_calls(job->sampler), batch = job->guidance && !job->split_guidance ? 2 : 1,
            tokens = (int64_t)chunks * SDG_TEXT_TOKENS;
    int64_t rows = calls * (p->model->unet_config.addition_time_embed_dim ? batch : 1);
    struct sdg_memory time_memory, context_memory;
    struct sdg_program *program;
    SDG_TRY(sdg_make_unet_time(p, rows, true, &program));
    sdg_program_memory(program, &time_memory);
    sdg_program_destroy(&program);
    SDG_TRY(sdg_make_unet_context(p, batch, tokens, true, &program));
    sdg_program_memory(program, &context_memory);
    sdg_program_destroy(&program);
    SDG_TRY(sdg_make_unet_step(p, batch, job->latent_h, job->latent_w, tokens, calls, true, &program));
    struct sdg_stage_memory *s = add(plan, "UNet", &program, job->latent_elements * sizeof(float) * 12);
    // The arena is untouched while the tables are filled, so the larger of the two counts.
    size_t filling = time_memory.total > context_memory.total ? time_memory.total : context_memory.total;
    if (filling > s->memory.arena)
        s->total += filling - s->memory.arena;
    return SDG_OK;
}

static enum sdg_result plan_decoder(struct sdg_pipeline *p, const struct sdg_job *job, struct sdg_memory_plan *plan)
{
    int64_t h, w;
    sdg_tile_size(job, &h, &w);
    bool tiled = h < job->latent_h || w < job->latent_w;
    int factor = sdg_vae_factor(&p->model->vae_config);
    size_t pixels = (size_t)job->width * (size_t)job->height;
    size_t host = pixels * 3 * (sizeof(float) + 1) +
        (tiled ? (pixels + (size_t)(h * w) * (size_t)(factor * factor) * 3) * sizeof(float) : 0);
    struct sdg_program *program;
    SDG_TRY(sdg_make_decoder(p, h, w, true, &program));
    add(plan, tiled ? "VAE decoder, tiled" : "VAE decoder", &program, host);
    return SDG_OK;
}

static enum sdg_result plan_encoder(struct sdg_pipeline *p, const struct sdg_job *job, struct sdg_memory_plan *plan)
{
    int factor = sdg_vae_factor(&p->model->vae_config);
    int64_t h, w;
    sdg_tile_size(job, &h, &w);
    struct sdg_program *program;
    SDG_TRY(sdg_make_encoder(p, h * factor, w * factor, true, &program));
    add(plan, "VAE encoder", &program, (size_t)job->width * (size_t)job->height * 3 * sizeof(float));
    return SDG_OK;
}

static const struct sdg_stage_memory *find(const struct sdg_memory_plan *plan, const char *name)
{
    for (int i = 0; i < plan->count; i++)
        if (strncmp(plan->stages[i].name, name, strlen(name)) == 0)
            return &plan->stages[i];
    return NULL;
}

static size_t largest(const struct sdg_memory_plan *plan, bool keep_networks)
{
    const struct sdg_stage_memory *unet = find(plan, "UNet"), *decoder = find(plan, "VAE decoder");
    size_t peak = 0;
    for (int i = 0; i < plan->count; i++) {
        const struct sdg_stage_memory *s = &plan->stages[i];
        size_t total = s->total;
        if (s == unet) // the decoder's weights are loaded while the UNet runs its last step
            total += keep_networks ? decoder->memory.total : decoder->memory.weights;
        else if (keep_networks && strncmp(s->name, "VAE", 3) == 0)
            total += unet->memory.total + (s == decoder ? 0 : decoder->memory.total);
        if (total > peak)
            peak = total;
    }
    return peak;
}

static bool tiles_allowed(const struct sdg_pipeline *p)
{
    return !p->params.vae_tiling || strcmp(p->params.vae_tiling, "off");
}

// A device may be unable to hold one activation of the whole picture in one buffer, whatever memory it has: then tiles
// it is.
static enum sdg_result plan_decoder_or_tiles(struct sdg_pipeline *p, struct sdg_job *job, struct sdg_memory_plan *plan)
{
    if (job->tile_vae || !tiles_allowed(p))
        return plan_decoder(p, job, plan);
    struct sdg_log log = p->log;
    p->log.fn = NULL; // a failure of the first attempt is no news
    enum sdg_result result = plan_decoder(p, job, plan);
    p->log = log;
    if (result == SDG_OK)
        return SDG_OK;
    job->tile_vae = result == SDG_ERROR_UNSUPPORTED;
    return plan_decoder(p, job, plan);
}

static enum sdg_result make_plan(struct sdg_pipeline *p, struct sdg_job *job, int chunks, struct sdg_memory_plan *plan)
{
    plan->count = 0;
    SDG_TRY(plan_text(p, job, chunks, plan));
    SDG_TRY(plan_unet(p, job, chunks, plan));
    SDG_TRY(plan_decoder_or_tiles(p, job, plan));
    if (job->params->init_image)
        SDG_TRY(plan_encoder(p, job, plan));
    plan->peak = plan->base + largest(plan, job->keep_networks);
    return SDG_OK;
}

// Cheaper ways to the same picture, in the order of what they cost: networks made anew for every picture,
// tiles (the picture changes a little), then one branch at a time.
static bool economize(const struct sdg_pipeline *p, struct sdg_job *job, const struct sdg_memory_plan *plan,
                      size_t budget)
{
    if (job->keep_networks) {
        job->keep_networks = false;
        return true;
    }
    for (int i = 0; i < plan->count; i++)
        if (!job->tile_vae && tiles_allowed(p) && strncmp(plan->stages[i].name, "VAE", 3) == 0 &&
            plan->base + plan->stages[i].total > budget) {
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
    int chunks = prompt_chunks(p, job), factor = sdg_vae_factor(&p->model->vae_config);
    *plan = (struct sdg_memory_plan){0};
    for (int i = 0; i < SDG_STAGE_COUNT; i++)
        SDG_TRY(sdg_stage_open(p, (enum sdg_stage)i));
    size_t resident = sdg_resident_now();
    // What earlier pictures left behind is this picture's to use: networks that stayed, and freed memory.
    if (!p->bare || (!job->keep_networks && !p->unet.program && !p->decoder.program))
        p->bare =
            resident + (!p->planned_before && strcmp(p->stage[SDG_STAGE_UNET].name, "cpu") == 0 ? CPU_KERNEL_CODE : 0);
    p->planned_before = true;
    plan->base = p->bare;
    size_t free_bytes = available_memory(), held = resident > p->bare ? resident : p->bare;
    size_t budget = p->params.max_memory > 0 ? (size_t)p->params.max_memory : free_bytes ? free_bytes + held : SIZE_MAX;
    for (;;) {
        SDG_TRY(make_plan(p, job, chunks, plan));
        if (plan->peak <= budget)
            break;
        if (!economize(p, job, plan, budget))
            return sdg_fail(
                &p->log, SDG_ERROR_MEMORY,
                "a picture of %dx%d needs %.0f MiB, %.0f MiB %s; try a smaller picture or --type bf16 / f16",
                job->width, job->height, (double)plan->peak / MIB, (double)budget / MIB,
                p->params.max_memory > 0 ? "are allowed" : "are free");
    }
    if (job->tile_vae && !(p->params.vae_tiling && strcmp(p->params.vae_tiling, "on") == 0))
        sdg_say(&p->log, SDG_LOG_INFO,
                "the picture is decoded in tiles of %dx%d: memory is short, or the device's buffers are",
                job->tile * factor, job->tile * factor);
    if (job->split_guidance)
        sdg_say(&p->log, SDG_LOG_INFO, "memory is short: the two branches of guidance run one after the other");
    job->planned = (double)plan->peak;
    return SDG_OK;
}
