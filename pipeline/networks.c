// Graphs of the model's networks, rewritten and compiled for the backend and type of their stage.
#include "pipeline/pipeline.h"

#include "text/text_encoder.h"
#include "unet/unet.h"
#include "vae/vae.h"

enum sdg_result sdg_stage_open(struct sdg_pipeline *p, enum sdg_stage stage)
{
    struct sdg_stage_backend *s = &p->stage[stage];
    if (s->backend)
        return SDG_OK;
    struct sdg_backend_params params = {
        .threads = p->params.threads,
        .device = s->device,
        .validation = p->params.validation,
        .disable = p->disable,
        .cache_dir = p->cache_dir,
    };
    return sdg_backend_create(&p->log, s->name, &params, &s->backend);
}

void sdg_network_clear(struct sdg_network *network)
{
    if (network->program)
        sdg_program_destroy(&network->program);
    *network = (struct sdg_network){0};
}

// Takes ownership of the graph. `step`: it is the UNet's step, which calibration looks at and quantized models change.
static enum sdg_result compile_graph(struct sdg_pipeline *p, enum sdg_stage stage, struct sdg_graph *graph,
                                     const struct sdg_tensors *weights, enum sdg_dtype dtype, bool plan_only, bool step,
                                     struct sdg_program **out)
{
    *out = NULL;
    enum sdg_result result = sdg_stage_open(p, stage);
    if (result == SDG_OK)
        result = sdg_graph_fuse(graph);
    if (result == SDG_OK && step && p->hooks.rewrite)
        result = p->hooks.rewrite(p->hooks.user, graph);
    if (result == SDG_OK && step)
        result = sdg_quantized_rewrite(p, graph);
    if (result == SDG_OK)
        result = sdg_graph_set_type(graph, dtype);
    struct sdg_program_params params = {.weights = weights, .release_weights = true, .plan_only = plan_only};
    if (result == SDG_OK)
        result = sdg_program_create(p->stage[stage].backend, graph, &params, out);
    sdg_graph_destroy(&graph);
    return result;
}

static enum sdg_result compile(struct sdg_pipeline *p, enum sdg_stage stage, struct sdg_graph *graph,
                               const struct sdg_tensors *weights, enum sdg_dtype dtype, bool plan_only,
                               struct sdg_program **out)
{
    return compile_graph(p, stage, graph, weights, dtype, plan_only, false, out);
}

enum sdg_result sdg_make_text(struct sdg_pipeline *p, int encoder, int batch, int clip_skip, bool plan_only,
                              struct sdg_program **out)
{
    bool sdxl = p->model->text_encoders > 1;
    struct sdg_text_params params = {
        .batch = batch,
        .tokens = SDG_TEXT_TOKENS,
        .skip = clip_skip,
        .final_norm = !sdxl,
        .pooled = sdxl && encoder == 1,
    };
    struct sdg_graph *graph;
    SDG_TRY(sdg_text_graph(&p->log, &p->model->text_config[encoder], &params, &graph));
    return compile(p, SDG_STAGE_TEXT, graph, p->model->text[encoder], p->stage[SDG_STAGE_TEXT].dtype, plan_only, out);
}

// Time tables and cross-attention keys and values are computed once, so in f32 whatever the step's type is.
enum sdg_result sdg_make_unet_time(struct sdg_pipeline *p, int64_t rows, bool plan_only, struct sdg_program **out)
{
    struct sdg_graph *graph;
    SDG_TRY(sdg_unet_time_graph(&p->log, &p->model->unet_config, rows, &graph));
    return compile(p, SDG_STAGE_UNET, graph, p->model->unet, SDG_F32, plan_only, out);
}

enum sdg_result sdg_make_unet_context(struct sdg_pipeline *p, int64_t batch, int64_t tokens, bool plan_only,
                                      struct sdg_program **out)
{
    struct sdg_graph *graph;
    SDG_TRY(sdg_unet_context_graph(&p->log, &p->model->unet_config, batch, tokens, &graph));
    return compile(p, SDG_STAGE_UNET, graph, p->model->unet, p->stage[SDG_STAGE_UNET].dtype, plan_only, out);
}

enum sdg_result sdg_make_unet_step(struct sdg_pipeline *p, int64_t batch, int64_t h, int64_t w, int64_t tokens,
                                   int64_t rows, bool plan_only, struct sdg_program **out)
{
    bool added = p->model->unet_config.addition_time_embed_dim > 0;
    struct sdg_unet_shape shape = {
        .batch = batch, .height = h, .width = w, .tokens = tokens, .rows = rows, .table_batch = added ? batch : 1};
    struct sdg_graph *graph;
    SDG_TRY(sdg_unet_step_graph(&p->log, &p->model->unet_config, &shape, &graph));
    return compile_graph(p, SDG_STAGE_UNET, graph, p->model->unet, p->stage[SDG_STAGE_UNET].dtype, plan_only, true,
                         out);
}

enum sdg_result sdg_make_decoder(struct sdg_pipeline *p, int64_t h, int64_t w, bool plan_only, struct sdg_program **out)
{
    struct sdg_graph *graph;
    SDG_TRY(sdg_vae_decoder_graph(&p->log, &p->model->vae_config, 1, h, w, &graph));
    return compile(p, SDG_STAGE_VAE, graph, p->model->vae, p->stage[SDG_STAGE_VAE].dtype, plan_only, out);
}

enum sdg_result sdg_make_encoder(struct sdg_pipeline *p, int64_t h, int64_t w, bool plan_only, struct sdg_program **out)
{
    struct sdg_graph *graph;
    SDG_TRY(sdg_vae_encoder_graph(&p->log, &p->model->vae_config, 1, h, w, &graph));
    return compile(p, SDG_STAGE_VAE, graph, p->model->vae, p->stage[SDG_STAGE_VAE].dtype, plan_only, out);
}

enum sdg_result sdg_estimate_decode_share(struct sdg_pipeline *p, const struct sdg_job *job, double *share)
{
    int64_t batch = job->guidance ? 2 : 1;
    struct sdg_unet_shape shape = {.batch = batch,
                                   .height = job->latent_h,
                                   .width = job->latent_w,
                                   .tokens = SDG_TEXT_TOKENS,
                                   .rows = 1,
                                   .table_batch = 1};
    struct sdg_graph *unet = NULL, *decoder = NULL;
    enum sdg_result result = sdg_unet_step_graph(&p->log, &p->model->unet_config, &shape, &unet);
    if (result == SDG_OK)
        result = sdg_vae_decoder_graph(&p->log, &p->model->vae_config, 1, job->latent_h, job->latent_w, &decoder);
    if (result == SDG_OK)
        *share = sdg_graph_macs(decoder) / sdg_graph_macs(unet);
    sdg_graph_destroy(&unet);
    sdg_graph_destroy(&decoder);
    return result;
}
