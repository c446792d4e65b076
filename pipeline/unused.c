#include "pipeline/unused.h"

#include "formats/quantized_folder.h"
#include "graph/leftovers.h"
#include "graph/weights.h"
#include "mamba/mamba.h"
#include "pipeline/networks.h"
#include "text/text_encoder.h"
#include "unet/unet.h"
#include "vae/vae.h"

#include <string.h>

enum { GRAPHS_MAX = 3 };

struct networks {
    struct sdg_graph *graphs[GRAPHS_MAX];
    size_t count;
    size_t needed; // of them, the first ones: by every picture
};

// Names do not depend on shapes: the smallest ones do.
static enum sdg_result add_network(const struct sdg_pipeline *p, struct networks *n, enum sdg_network_kind kind,
                                   struct sdg_network_shape shape)
{
    return sdg_network_build(p, kind, &shape, &n->graphs[n->count++]);
}

static enum sdg_result add_unet(const struct sdg_pipeline *p, struct networks *n)
{
    const struct sdg_unet_shape s = sdg_unet_smallest_shape(&p->model->unet_config);
    const struct sdg_network_shape shape = {
        .batch = s.batch, .height = s.height, .width = s.width, .tokens = s.tokens, .rows = s.rows};
    SDG_TRY(add_network(p, n, SDG_NETWORK_UNET_TIME, shape));
    SDG_TRY(add_network(p, n, SDG_NETWORK_UNET_CONTEXT, shape));
    return add_network(p, n, SDG_NETWORK_UNET_STEP, shape);
}

static enum sdg_result add_vae(const struct sdg_pipeline *p, struct networks *n)
{
    const int64_t factor = sdg_vae_factor(&p->model->vae_config);
    SDG_TRY(add_network(p, n, SDG_NETWORK_DECODER, (struct sdg_network_shape){.height = 1, .width = 1}));
    n->needed = n->count;
    if (p->model->vae_config.decoder_only)
        return SDG_OK;
    return add_network(p, n, SDG_NETWORK_ENCODER, (struct sdg_network_shape){.height = factor, .width = factor});
}

// All of an encoder, though no picture may ask for its last layer or its last norm.
static enum sdg_result add_text(const struct sdg_pipeline *p, struct networks *n, int encoder)
{
    const struct sdg_text_params whole = {
        .batch = 1, .tokens = 1, .skip = 1, .final_norm = true, .pooled = encoder == 1};
    return sdg_text_graph(&p->log, &p->model->text_config[encoder], &whole, &n->graphs[n->count++]);
}

// What quant/quantized.h and pipeline/correction.h read and check.
static bool belongs_to_quantization(const char *name)
{
    return sdg_quantized_is_tensor(name) || sdg_correction_is_tensor(name);
}

// What every picture reads is there, has its shape and makes sense, before anything is computed.
static enum sdg_result check_weights(const struct sdg_pipeline *p, const struct sdg_graph *graph,
                                     const struct sdg_tensors *tensors)
{
    struct sdg_weight weight;
    for (size_t i = 1; i < graph->value_count; i++)
        if (graph->values[i].kind == SDG_VALUE_WEIGHT)
            SDG_TRY(sdg_weight_find(&p->log, tensors, &graph->values[i], &weight));
    return sdg_mamba_check_weights(&p->log, graph, tensors);
}

// Left over from an encoder that was taken out.
static bool belongs_to_encoder(const char *name)
{
    return strncmp(name, "quant_conv.", strlen("quant_conv.")) == 0;
}

static const char *why_not_beside_attention(const char *name)
{
    return strstr(name, ".mamba.") ? "self_mixer in config.json is \"attention\", also where it is absent" : NULL;
}

static const char *why_not_beside_mamba(const char *name)
{
    return strstr(name, ".attn1.") ? "self_mixer in config.json is \"mamba\", which takes the attention's place" : NULL;
}

static enum sdg_result finish(const struct sdg_pipeline *p, struct networks *n, enum sdg_result result,
                              const struct sdg_tensors *tensors, bool (*expected)(const char *name),
                              const char *(*why)(const char *name))
{
    if (result == SDG_OK)
        result =
            sdg_leftovers_check(&p->log, tensors, (const struct sdg_graph *const *)n->graphs, n->count, expected, why);
    for (size_t i = 0; result == SDG_OK && i < (n->needed ? n->needed : n->count); i++)
        result = check_weights(p, n->graphs[i], tensors);
    for (size_t i = 0; i < n->count; i++)
        sdg_graph_destroy(&n->graphs[i]);
    return result;
}

enum sdg_result sdg_unused_check(const struct sdg_pipeline *p)
{
    const struct sdg_model *m = p->model;
    struct networks unet = {0}, vae = {0};
    const bool quantized = m->unet_config.quantization.present;
    SDG_TRY(finish(p, &unet, add_unet(p, &unet), m->unet, quantized ? belongs_to_quantization : NULL,
                   m->unet_config.mamba.d_state ? why_not_beside_mamba : why_not_beside_attention));
    SDG_TRY(finish(p, &vae, add_vae(p, &vae), m->vae, m->vae_config.decoder_only ? belongs_to_encoder : NULL, NULL));
    for (int i = 0; i < m->text_encoders; i++) {
        struct networks text = {0};
        SDG_TRY(finish(p, &text, add_text(p, &text, i), m->text[i], NULL, NULL));
    }
    return SDG_OK;
}
