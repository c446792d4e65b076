// The table of networks: their graphs, rewritten and compiled for the backend and type of their stage.
#include "pipeline/networks.h"

#include "pipeline/intervals.h"
#include "pipeline/stages.h"
#include "text/text_encoder.h"
#include "text/tokenizer.h"
#include "unet/unet.h"
#include "vae/vae.h"

// ---- text encoders ----

static bool has_text(const struct sdg_pipeline *p, const struct sdg_job *job)
{
    (void)p;
    return !job->params->embedding;
}

static bool has_second_encoder(const struct sdg_pipeline *p, const struct sdg_job *job)
{
    return has_text(p, job) && p->model->text_encoders > 1;
}

// A run takes a prompt and its negative, or one prompt; where there are more texts they take turns.
static struct sdg_network_shape text_shape(const struct sdg_pipeline *p, const struct sdg_job *job, int64_t tokens)
{
    const int length = sdg_tokenizer_length(p->tokenizer[0]);
    return (struct sdg_network_shape){
        .batch = (job->guidance ? 2 : 1) * (tokens / length), .tokens = length, .skip = job->clip_skip};
}

static enum sdg_result build_text(const struct sdg_pipeline *p, int encoder, const struct sdg_network_shape *shape,
                                  struct sdg_graph **out)
{
    bool sdxl = p->model->text_encoders > 1;
    struct sdg_text_params params = {
        .batch = (int)shape->batch,
        .tokens = (int)shape->tokens,
        .skip = (int)shape->skip,
        .final_norm = !sdxl,
        .pooled = sdxl && encoder == 1,
        .mask_padding = !sdxl && p->model->text_config[encoder].mask_padding,
    };
    SDG_TRY(sdg_text_graph(&p->log, &p->model->text_config[encoder], &params, out));
    return sdg_graph_fuse(*out);
}

static enum sdg_result build_text_1(const struct sdg_pipeline *p, const struct sdg_network_shape *shape,
                                    struct sdg_graph **out)
{
    return build_text(p, 0, shape, out);
}

static enum sdg_result build_text_2(const struct sdg_pipeline *p, const struct sdg_network_shape *shape,
                                    struct sdg_graph **out)
{
    return build_text(p, 1, shape, out);
}

static const struct sdg_tensors *text_1_weights(const struct sdg_model *model)
{
    return model->text[0];
}

static const struct sdg_tensors *text_2_weights(const struct sdg_model *model)
{
    return model->text[1];
}

// Prompt embeddings of the whole picture.
static size_t context_bytes(const struct sdg_pipeline *p, const struct sdg_job *job, int64_t tokens)
{
    return (size_t)job->branches.text_count * (size_t)tokens * (size_t)p->model->unet_config.cross_attention_dim *
        sizeof(float);
}

static size_t text_host(const struct sdg_pipeline *p, const struct sdg_job *job, int encoder,
                        const struct sdg_network_shape *shape)
{
    const int64_t tokens = shape->batch * shape->tokens; // of a prompt and its negative, where there is guidance
    return (size_t)tokens * (size_t)p->model->text_config[encoder].hidden * sizeof(float) +
        context_bytes(p, job, tokens / (job->guidance ? 2 : 1));
}

static size_t text_1_host(const struct sdg_pipeline *p, const struct sdg_job *job,
                          const struct sdg_network_shape *shape)
{
    return text_host(p, job, 0, shape);
}

static size_t text_2_host(const struct sdg_pipeline *p, const struct sdg_job *job,
                          const struct sdg_network_shape *shape)
{
    return text_host(p, job, 1, shape);
}

// ---- UNet ----

int sdg_unet_batch(const struct sdg_job *job)
{
    return job->guidance && !job->split_guidance ? 2 : 1;
}

static int64_t samples(const struct sdg_job *job)
{
    return (int64_t)job->pictures * sdg_unet_batch(job);
}

static struct sdg_network_shape time_shape(const struct sdg_pipeline *p, const struct sdg_job *job, int64_t tokens)
{
    (void)tokens;
    return (struct sdg_network_shape){.rows = sdg_sampler_calls(job->sampler) *
                                          sdg_unet_table_batch(&p->model->unet_config, samples(job))};
}

static struct sdg_network_shape context_shape(const struct sdg_pipeline *p, const struct sdg_job *job, int64_t tokens)
{
    (void)p;
    return (struct sdg_network_shape){.batch = samples(job), .tokens = tokens};
}

static struct sdg_network_shape step_shape(const struct sdg_pipeline *p, const struct sdg_job *job, int64_t tokens)
{
    (void)p;
    return (struct sdg_network_shape){.batch = samples(job),
                                      .height = job->latent_h,
                                      .width = job->latent_w,
                                      .tokens = tokens,
                                      .rows = sdg_sampler_calls(job->sampler)};
}

static enum sdg_result build_time(const struct sdg_pipeline *p, const struct sdg_network_shape *shape,
                                  struct sdg_graph **out)
{
    SDG_TRY(sdg_unet_time_graph(&p->log, &p->model->unet_config, shape->rows, out));
    return sdg_graph_fuse(*out);
}

static enum sdg_result build_context(const struct sdg_pipeline *p, const struct sdg_network_shape *shape,
                                     struct sdg_graph **out)
{
    SDG_TRY(sdg_unet_context_graph(&p->log, &p->model->unet_config, shape->batch, shape->tokens, out));
    return sdg_graph_fuse(*out);
}

static enum sdg_result build_step(const struct sdg_pipeline *p, const struct sdg_network_shape *shape,
                                  struct sdg_graph **out)
{
    const struct sdg_unet_shape unet = {.batch = shape->batch,
                                        .height = shape->height,
                                        .width = shape->width,
                                        .tokens = shape->tokens,
                                        .rows = shape->rows};
    return sdg_unet_fused_step_graph(&p->log, &p->model->unet_config, &unet, out);
}

// Time tables of SDXL hold a part of the prompt. They have a row per call, so that a prompt may change with the step.
bool sdg_keeps_times(const struct sdg_pipeline *p, const struct sdg_branch_groups *groups)
{
    return groups->runs > 1 && sdg_unet_table_batch(&p->model->unet_config, 2) == 2;
}

static int times_kept(const struct sdg_pipeline *p, const struct sdg_branch_groups *groups)
{
    return sdg_keeps_times(p, groups) ? groups->runs : 0;
}

static int contexts_kept(const struct sdg_pipeline *p, const struct sdg_branch_groups *groups)
{
    (void)p;
    return groups->count > 1 ? groups->count : 0;
}

static const struct sdg_tensors *unet_weights(const struct sdg_model *model)
{
    return model->unet;
}

// The loop's latents: the sampler's history, the start, what goes in and comes out; and the prompts.
static size_t step_host(const struct sdg_pipeline *p, const struct sdg_job *job, const struct sdg_network_shape *shape)
{
    return job->latent_elements * sizeof(float) * (size_t)(10 + job->branches.count) * (size_t)job->pictures +
        context_bytes(p, job, shape->tokens);
}

// ---- autoencoder ----

static bool has_init_image(const struct sdg_pipeline *p, const struct sdg_job *job)
{
    (void)p;
    return job->params->init_image != NULL;
}

static struct sdg_network_shape decoder_shape(const struct sdg_pipeline *p, const struct sdg_job *job, int64_t tokens)
{
    struct sdg_network_shape shape = {0};
    (void)p, (void)tokens;
    sdg_tile_size(job, &shape.height, &shape.width);
    return shape;
}

static struct sdg_network_shape encoder_shape(const struct sdg_pipeline *p, const struct sdg_job *job, int64_t tokens)
{
    const int64_t factor = sdg_vae_factor(&p->model->vae_config);
    const struct sdg_network_shape latent = decoder_shape(p, job, tokens);
    return (struct sdg_network_shape){.height = latent.height * factor, .width = latent.width * factor};
}

static enum sdg_result build_decoder(const struct sdg_pipeline *p, const struct sdg_network_shape *shape,
                                     struct sdg_graph **out)
{
    SDG_TRY(sdg_vae_decoder_graph(&p->log, &p->model->vae_config, 1, shape->height, shape->width, out));
    return sdg_graph_fuse(*out);
}

static enum sdg_result build_encoder(const struct sdg_pipeline *p, const struct sdg_network_shape *shape,
                                     struct sdg_graph **out)
{
    SDG_TRY(sdg_vae_encoder_graph(&p->log, &p->model->vae_config, 1, shape->height, shape->width, out));
    return sdg_graph_fuse(*out);
}

static const struct sdg_tensors *vae_weights(const struct sdg_model *model)
{
    return model->vae;
}

// The picture in floats and bytes, and where there are tiles one of them and the weights they are blended with.
static size_t decoder_host(const struct sdg_pipeline *p, const struct sdg_job *job,
                           const struct sdg_network_shape *shape)
{
    const int factor = sdg_vae_factor(&p->model->vae_config);
    const size_t pixels = (size_t)job->width * (size_t)job->height,
                 tile = (size_t)(shape->height * shape->width) * (size_t)(factor * factor);
    return pixels * 3 * (sizeof(float) + 1) + (sdg_job_is_tiled(job) ? (pixels + tile * 3) * sizeof(float) : 0);
}

static size_t encoder_host(const struct sdg_pipeline *p, const struct sdg_job *job,
                           const struct sdg_network_shape *shape)
{
    (void)p, (void)shape;
    return (size_t)job->width * (size_t)job->height * 3 * sizeof(float);
}

// ---- the table ----

const struct sdg_network_row *sdg_network_row(enum sdg_network_kind kind)
{
    static const struct sdg_network_row rows[SDG_NETWORK_COUNT] = {
        [SDG_NETWORK_TEXT] = {.name = "text encoder",
                              .timed = {"text", 1},
                              .stage = SDG_STAGE_TEXT,
                              .residency = SDG_RESIDENT_ONCE,
                              .wanted = has_text,
                              .shape = text_shape,
                              .build = build_text_1,
                              .weights = text_1_weights,
                              .host = text_1_host},
        [SDG_NETWORK_TEXT_2] = {.name = "text encoder 2",
                                .stage = SDG_STAGE_TEXT,
                                .residency = SDG_RESIDENT_ONCE,
                                .wanted = has_second_encoder,
                                .shape = text_shape,
                                .build = build_text_2,
                                .weights = text_2_weights,
                                .host = text_2_host},
        [SDG_NETWORK_UNET_TIME] = {.name = "UNet, time",
                                   .stage = SDG_STAGE_UNET,
                                   .residency = SDG_RESIDENT_FILL,
                                   .exact = true,
                                   .shape = time_shape,
                                   .build = build_time,
                                   .weights = unet_weights,
                                   .kept = times_kept},
        [SDG_NETWORK_UNET_CONTEXT] = {.name = "UNet, context",
                                      .stage = SDG_STAGE_UNET,
                                      .residency = SDG_RESIDENT_FILL,
                                      .shape = context_shape,
                                      .build = build_context,
                                      .weights = unet_weights,
                                      .kept = contexts_kept},
        [SDG_NETWORK_UNET_STEP] = {.name = "UNet",
                                   .timed = {"unet", 2},
                                   .stage = SDG_STAGE_UNET,
                                   .residency = SDG_RESIDENT_KEPT,
                                   .rewritten = true,
                                   .shape = step_shape,
                                   .build = build_step,
                                   .weights = unet_weights,
                                   .host = step_host},
        [SDG_NETWORK_DECODER] = {.name = "VAE decoder",
                                 .timed = {"vae", 1},
                                 .stage = SDG_STAGE_VAE,
                                 .residency = SDG_RESIDENT_KEPT,
                                 .tiles = true,
                                 .loads_during = SDG_NETWORK_UNET_STEP,
                                 .shape = decoder_shape,
                                 .build = build_decoder,
                                 .weights = vae_weights,
                                 .host = decoder_host},
        [SDG_NETWORK_ENCODER] = {.name = "VAE encoder",
                                 .stage = SDG_STAGE_VAE,
                                 .residency = SDG_RESIDENT_CALL,
                                 .tiles = true,
                                 .wanted = has_init_image,
                                 .shape = encoder_shape,
                                 .build = build_encoder,
                                 .weights = vae_weights,
                                 .host = encoder_host},
    };
    return &rows[kind];
}

struct sdg_network_shape sdg_network_shape(const struct sdg_pipeline *p, const struct sdg_job *job,
                                           enum sdg_network_kind kind, int64_t tokens)
{
    return sdg_network_row(kind)->shape(p, job, tokens);
}

// ---- programs ----

static enum sdg_result rewrite(const struct sdg_pipeline *p, struct sdg_graph *graph)
{
    if (p->hooks.rewrite)
        SDG_TRY(p->hooks.rewrite(p->hooks.user, graph));
    return sdg_quantized_rewrite(p, graph);
}

enum sdg_result sdg_network_build(const struct sdg_pipeline *p, enum sdg_network_kind kind,
                                  const struct sdg_network_shape *shape, struct sdg_graph **out)
{
    *out = NULL;
    enum sdg_result result = sdg_network_row(kind)->build(p, shape, out);
    if (result != SDG_OK)
        sdg_graph_destroy(out);
    return result;
}

enum sdg_result sdg_network_graph(const struct sdg_pipeline *p, enum sdg_network_kind kind,
                                  const struct sdg_network_shape *shape, struct sdg_graph **out)
{
    const struct sdg_network_row *row = sdg_network_row(kind);
    SDG_TRY(sdg_network_build(p, kind, shape, out));
    enum sdg_result result = row->rewritten ? rewrite(p, *out) : SDG_OK;
    if (result == SDG_OK)
        result = sdg_graph_set_type(*out, row->exact ? SDG_F32 : p->stage[row->stage].dtype);
    if (result != SDG_OK)
        sdg_graph_destroy(out);
    return result;
}

static enum sdg_result make_program(struct sdg_pipeline *p, enum sdg_network_kind kind,
                                    const struct sdg_network_shape *shape, struct sdg_program_params params,
                                    struct sdg_program **out)
{
    const struct sdg_network_row *row = sdg_network_row(kind);
    struct sdg_graph *graph;
    *out = NULL;
    SDG_TRY(sdg_stage_open(p, row->stage));
    SDG_TRY(sdg_network_graph(p, kind, shape, &graph));
    params.weights = row->weights(p->model);
    enum sdg_result result = sdg_program_create(p->stage[row->stage].backend, graph, &params, out);
    sdg_graph_destroy(&graph);
    return result;
}

enum sdg_result sdg_network_compile(struct sdg_pipeline *p, enum sdg_network_kind kind,
                                    const struct sdg_network_shape *shape, struct sdg_program **out)
{
    return make_program(p, kind, shape, (struct sdg_program_params){.release_weights = true}, out);
}

enum sdg_result sdg_network_plan(struct sdg_pipeline *p, enum sdg_network_kind kind,
                                 const struct sdg_network_shape *shape, struct sdg_program **out)
{
    return make_program(p, kind, shape, (struct sdg_program_params){.plan_only = true}, out);
}

enum sdg_result sdg_network_supported(struct sdg_pipeline *p, enum sdg_network_kind kind,
                                      const struct sdg_network_shape *shape, bool *supported)
{
    const struct sdg_network_row *row = sdg_network_row(kind);
    struct sdg_graph *graph;
    SDG_TRY(sdg_stage_open(p, row->stage));
    SDG_TRY(sdg_network_graph(p, kind, shape, &graph));
    *supported = sdg_backend_supports(p->stage[row->stage].backend, graph, row->weights(p->model));
    sdg_graph_destroy(&graph);
    return SDG_OK;
}

static bool same_shape(const struct sdg_network_shape *a, const struct sdg_network_shape *b)
{
    return a->batch == b->batch && a->height == b->height && a->width == b->width && a->tokens == b->tokens &&
        a->rows == b->rows && a->skip == b->skip;
}

enum sdg_result sdg_network_prepare(struct sdg_pipeline *p, enum sdg_network_kind kind,
                                    const struct sdg_network_shape *shape, bool *made)
{
    struct sdg_network *network = &p->kept[kind];
    bool fits = network->program && same_shape(&network->shape, shape);
    if (made)
        *made = !fits;
    if (fits)
        return SDG_OK;
    sdg_network_clear(p, kind);
    SDG_TRY(sdg_network_compile(p, kind, shape, &network->program));
    network->shape = *shape;
    return SDG_OK;
}

void sdg_network_clear(struct sdg_pipeline *p, enum sdg_network_kind kind)
{
    if (p->kept[kind].program)
        sdg_program_destroy(&p->kept[kind].program);
    p->kept[kind] = (struct sdg_network){0};
}

void sdg_networks_clear(struct sdg_pipeline *p)
{
    for (int i = 1; i < SDG_NETWORK_COUNT; i++)
        sdg_network_clear(p, (enum sdg_network_kind)i);
}

bool sdg_networks_kept(const struct sdg_pipeline *p)
{
    for (int i = 1; i < SDG_NETWORK_COUNT; i++)
        if (p->kept[i].program)
            return true;
    return false;
}

size_t sdg_networks_kept_bytes(const struct sdg_pipeline *p)
{
    size_t bytes = 0;
    for (int i = 1; i < SDG_NETWORK_COUNT; i++) {
        struct sdg_memory memory = {0};
        if (p->kept[i].program)
            sdg_program_memory(p->kept[i].program, &memory);
        bytes += memory.total;
    }
    return bytes;
}
