#include "unet/unet.h"

#include "graph/modules.h"
#include "mamba/mamba.h"
#include "unet/layout.h"

#include <math.h>
#include <stdio.h>

static const float TRANSFORMER_NORM_EPS = 1e-6f; // fixed in diffusers' Transformer2DModel, unlike norm_eps
static const float LAYER_NORM_EPS = 1e-5f;

void sdg_timestep_embedding(double t, int dim, bool flip, double shift, float *out)
{
    int half = dim / 2;
    // diffusers computes frequencies and angles in f32; the angle's rounding is visible at t near 1000, so follow it.
    for (int k = 0; k < half; k++) {
        float frequency = expf((float)-log(10000.0) * (float)k / (float)(half - shift));
        float angle = (float)t * frequency;
        out[flip ? half + k : k] = sinf(angle);
        out[flip ? k : half + k] = cosf(angle);
    }
    if (dim % 2)
        out[dim - 1] = 0;
}

// ---- time: everything that depends on the step alone ----

// TimestepEmbedding: linear_1, silu, linear_2.
static sdg_value embedding_mlp(struct sdg_graph *g, const char *prefix, sdg_value x, int64_t hidden, sdg_value residual)
{
    char path[SDG_MODULE_PATH_BYTES];
    x = sdg_module_linear(g, sdg_module_path(path, prefix, "linear_1"), x, hidden, true,
                          (struct sdg_epilogue){.activation = SDG_UNARY_SILU});
    return sdg_module_linear(g, sdg_module_path(path, prefix, "linear_2"), x, hidden, true,
                             (struct sdg_epilogue){.residual = residual});
}

static void build_time(struct sdg_graph *g, const struct sdg_unet_config *c, const struct sdg_unet_layout *layout,
                       int64_t rows)
{
    int64_t in = c->channels[0], hidden = 4 * in;
    sdg_value t = sdg_graph_input(g, "timestep", rows, 1, 1, in);
    if (c->time_cond_proj_dim) {
        sdg_value guidance = sdg_graph_input(g, "guidance", rows, 1, 1, c->time_cond_proj_dim);
        t = sdg_module_linear(g, "time_embedding.cond_proj", guidance, in, false, (struct sdg_epilogue){.residual = t});
    }
    sdg_value added = 0;
    if (c->addition_time_embed_dim)
        added = embedding_mlp(g, "add_embedding", sdg_graph_input(g, "added", rows, 1, 1, c->addition_embed_dim),
                              hidden, 0);
    t = embedding_mlp(g, "time_embedding", t, hidden, added);
    t = sdg_graph_unary(g, "time_embedding.act", t, SDG_UNARY_SILU); // every resnet's time_emb_proj starts with it
    for (size_t i = 0; i < layout->count; i++) {
        const struct sdg_unet_module *m = &layout->modules[i];
        char path[SDG_MODULE_PATH_BYTES];
        if (m->kind == SDG_UNET_RESNET) {
            sdg_module_path(path, m->path, "time_emb_proj");
            sdg_graph_output(g, path, sdg_module_linear(g, path, t, m->out_channels, true, (struct sdg_epilogue){0}));
        }
    }
}

// ---- context: everything that depends on the prompt alone ----

static void build_context(struct sdg_graph *g, const struct sdg_unet_config *c, const struct sdg_unet_layout *layout,
                          int64_t batch, int64_t tokens)
{
    sdg_value context = sdg_graph_input(g, "context", batch, 1, tokens, c->cross_attention_dim);
    for (size_t i = 0; i < layout->count; i++) {
        const struct sdg_unet_module *m = &layout->modules[i];
        for (int j = 0; m->kind == SDG_UNET_TRANSFORMER && j < 2 * m->layers; j++) {
            char path[SDG_MODULE_PATH_BYTES];
            snprintf(path, sizeof path, "%s.transformer_blocks.%d.attn2.%s", m->path, j / 2, j % 2 ? "to_v" : "to_k");
            sdg_graph_output(g, path,
                             sdg_module_linear(g, path, context, m->out_channels, false, (struct sdg_epilogue){0}));
        }
    }
}

// ---- the step ----

int64_t sdg_unet_table_batch(const struct sdg_unet_config *config, int64_t batch)
{
    return config->addition_time_embed_dim ? batch : 1;
}

struct sdg_unet_shape sdg_unet_smallest_shape(const struct sdg_unet_config *config)
{
    const int64_t side = (int64_t)1 << (config->levels - 1);
    return (struct sdg_unet_shape){.batch = 1, .height = side, .width = side, .tokens = 1, .rows = 1};
}

struct step {
    struct sdg_graph *g;
    const struct sdg_unet_config *config;
    const struct sdg_unet_shape *shape;
};

static sdg_value resnet(struct step *s, const struct sdg_unet_module *m, sdg_value x)
{
    struct sdg_graph *g = s->g;
    const struct sdg_unet_config *c = s->config;
    char path[SDG_MODULE_PATH_BYTES];
    int64_t in = m->in_channels + m->skip_channels, out = m->out_channels;
    int64_t table_batch = s->shape->table_batch ? s->shape->table_batch : sdg_unet_table_batch(c, s->shape->batch);
    sdg_value shortcut = in == out
        ? x
        : sdg_module_linear(g, sdg_module_path(path, m->path, "conv_shortcut"), x, out, true, (struct sdg_epilogue){0});
    sdg_value time =
        sdg_graph_table(g, sdg_module_path(path, m->path, "time_emb_proj"), s->shape->rows, table_batch, out);
    sdg_value h = sdg_module_group_norm(g, sdg_module_path(path, m->path, "norm1"), x, c->norm_groups, c->norm_eps,
                                        SDG_UNARY_SILU);
    h = sdg_module_conv3x3(g, sdg_module_path(path, m->path, "conv1"), h, out, SDG_CONV_SAME, true,
                           (struct sdg_epilogue){.table = time});
    h = sdg_module_group_norm(g, sdg_module_path(path, m->path, "norm2"), h, c->norm_groups, c->norm_eps,
                              SDG_UNARY_SILU);
    return sdg_module_conv3x3(g, sdg_module_path(path, m->path, "conv2"), h, out, SDG_CONV_SAME, true,
                              (struct sdg_epilogue){.residual = shortcut});
}

static sdg_value self_attention(struct sdg_graph *g, const char *prefix, sdg_value x, sdg_value residual,
                                int64_t channels, int heads)
{
    char path[SDG_MODULE_PATH_BYTES];
    float scale = 1.0f / sqrtf((float)channels / (float)heads);
    sdg_value q =
        sdg_module_linear(g, sdg_module_path(path, prefix, "to_q"), x, channels, false, (struct sdg_epilogue){0});
    sdg_value k =
        sdg_module_linear(g, sdg_module_path(path, prefix, "to_k"), x, channels, false, (struct sdg_epilogue){0});
    sdg_value v =
        sdg_module_linear(g, sdg_module_path(path, prefix, "to_v"), x, channels, false, (struct sdg_epilogue){0});
    x = sdg_graph_attention(g, prefix, q, k, v, heads, scale, false);
    return sdg_module_linear(g, sdg_module_path(path, prefix, "to_out.0"), x, channels, true,
                             (struct sdg_epilogue){.residual = residual});
}

static sdg_value cross_attention(struct step *s, const char *prefix, sdg_value x, sdg_value residual, int64_t channels,
                                 int heads)
{
    struct sdg_graph *g = s->g;
    char path[SDG_MODULE_PATH_BYTES];
    float scale = 1.0f / sqrtf((float)channels / (float)heads);
    sdg_value q =
        sdg_module_linear(g, sdg_module_path(path, prefix, "to_q"), x, channels, false, (struct sdg_epilogue){0});
    sdg_value k =
        sdg_graph_input(g, sdg_module_path(path, prefix, "to_k"), s->shape->batch, 1, s->shape->tokens, channels);
    sdg_value v =
        sdg_graph_input(g, sdg_module_path(path, prefix, "to_v"), s->shape->batch, 1, s->shape->tokens, channels);
    x = sdg_graph_attention(g, prefix, q, k, v, heads, scale, false);
    return sdg_module_linear(g, sdg_module_path(path, prefix, "to_out.0"), x, channels, true,
                             (struct sdg_epilogue){.residual = residual});
}

// What mixes a transformer block's tokens, the pixels row by row.
static sdg_value self_mixer(struct step *s, const struct sdg_unet_module *m, const char *block, sdg_value x,
                            sdg_value residual)
{
    const struct sdg_mamba_sizes *sizes = &s->config->mamba;
    char path[SDG_MODULE_PATH_BYTES];
    if (!sizes->d_state)
        return self_attention(s->g, sdg_module_path(path, block, "attn1"), x, residual, m->out_channels, m->heads);
    const struct sdg_mamba_config config = {.d_state = sizes->d_state,
                                            .d_conv = sizes->d_conv,
                                            .expand = sizes->expand,
                                            .bidirectional = true,
                                            .halve = true,
                                            .hadamard = sizes->hadamard};
    return sdg_mamba_block(s->g, sdg_module_path(path, block, "mamba"), x, residual, &config);
}

// BasicTransformerBlock: self-attention or what is in its place, cross-attention, gated feed-forward, each behind a
// layer norm and around a residual.
static sdg_value transformer_block(struct step *s, const struct sdg_unet_module *m, int index, sdg_value x)
{
    struct sdg_graph *g = s->g;
    char prefix[96], attention[SDG_MODULE_PATH_BYTES], path[SDG_MODULE_PATH_BYTES];
    int64_t channels = m->out_channels, inner = 4 * channels;
    snprintf(prefix, sizeof prefix, "%s.transformer_blocks.%d", m->path, index);
    sdg_value h = sdg_module_layer_norm(g, sdg_module_path(path, prefix, "norm1"), x, LAYER_NORM_EPS);
    x = self_mixer(s, m, prefix, h, x);
    h = sdg_module_layer_norm(g, sdg_module_path(path, prefix, "norm2"), x, LAYER_NORM_EPS);
    x = cross_attention(s, sdg_module_path(attention, prefix, "attn2"), h, x, channels, m->heads);
    h = sdg_module_layer_norm(g, sdg_module_path(path, prefix, "norm3"), x, LAYER_NORM_EPS);
    h = sdg_module_linear(g, sdg_module_path(path, prefix, "ff.net.0.proj"), h, 2 * inner, true,
                          (struct sdg_epilogue){0});
    h = sdg_graph_geglu(g, sdg_module_path(path, prefix, "ff.net.0"), h);
    return sdg_module_linear(g, sdg_module_path(path, prefix, "ff.net.2"), h, channels, true,
                             (struct sdg_epilogue){.residual = x});
}

// Transformer2DModel. proj_in and proj_out are 1x1 convolutions or linear layers: the same operation on channels-last
// data.
static sdg_value transformer(struct step *s, const struct sdg_unet_module *m, sdg_value x)
{
    char path[SDG_MODULE_PATH_BYTES];
    int64_t channels = m->out_channels;
    sdg_value h = sdg_module_group_norm(s->g, sdg_module_path(path, m->path, "norm"), x, s->config->norm_groups,
                                        TRANSFORMER_NORM_EPS, SDG_UNARY_NONE);
    h = sdg_module_linear(s->g, sdg_module_path(path, m->path, "proj_in"), h, channels, true, (struct sdg_epilogue){0});
    for (int i = 0; i < m->layers; i++)
        h = transformer_block(s, m, i, h);
    return sdg_module_linear(s->g, sdg_module_path(path, m->path, "proj_out"), h, channels, true,
                             (struct sdg_epilogue){.residual = x});
}

static sdg_value upsample(struct step *s, const struct sdg_unet_module *m, sdg_value x, sdg_value skip)
{
    // To the skip tensor's size, which is twice the own one except for latents not divisible by 2^levels.
    int64_t height = s->g->values[skip].dims[1], width = s->g->values[skip].dims[2];
    x = sdg_graph_upsample_nearest(s->g, m->path, x, height, width);
    return sdg_module_conv3x3(s->g, m->path, x, m->out_channels, SDG_CONV_SAME, true, (struct sdg_epilogue){0});
}

static void build_step(struct step *s, const struct sdg_unet_layout *layout)
{
    struct sdg_graph *g = s->g;
    const struct sdg_unet_config *c = s->config;
    sdg_value skips[SDG_UNET_MAX_MODULES];
    int depth = 0;
    sdg_value x = sdg_graph_input(g, "sample", s->shape->batch, s->shape->height, s->shape->width, c->in_channels);
    x = sdg_module_conv3x3(g, "conv_in", x, c->channels[0], SDG_CONV_SAME, true, (struct sdg_epilogue){0});
    for (size_t i = 0; i < layout->count && sdg_graph_check(g) == SDG_OK; i++) {
        const struct sdg_unet_module *m = &layout->modules[i];
        switch (m->kind) {
        case SDG_UNET_PUSH: skips[depth++] = x; break;
        case SDG_UNET_RESNET:
            if (m->skip_channels)
                x = sdg_graph_concat(g, m->path, x, skips[--depth]);
            x = resnet(s, m, x);
            break;
        case SDG_UNET_TRANSFORMER: x = transformer(s, m, x); break;
        case SDG_UNET_DOWNSAMPLE:
            x = sdg_module_conv3x3(g, m->path, x, m->out_channels, SDG_CONV_HALF, true, (struct sdg_epilogue){0});
            break;
        case SDG_UNET_UPSAMPLE: x = upsample(s, m, x, skips[depth - 1]); break;
        }
    }
    x = sdg_module_group_norm(g, "conv_norm_out", x, c->norm_groups, c->norm_eps, SDG_UNARY_SILU);
    sdg_graph_output(
        g, "noise",
        sdg_module_conv3x3(g, "conv_out", x, c->out_channels, SDG_CONV_SAME, true, (struct sdg_epilogue){0}));
}

// Creates a graph and the module list, lets `fill` build, and hands the graph out if it is sound.
struct request {
    const struct sdg_unet_config *config;
    const struct sdg_unet_shape *shape;
    void (*fill)(struct sdg_graph *g, const struct request *r, const struct sdg_unet_layout *layout);
};

static enum sdg_result create(const struct sdg_log *log, const struct request *r, struct sdg_graph **out)
{
    *out = NULL;
    struct sdg_unet_layout layout;
    struct sdg_graph *g = NULL;
    SDG_TRY(sdg_unet_layout_create(log, r->config, &layout));
    enum sdg_result result = sdg_graph_create(log, &g);
    if (result == SDG_OK) {
        r->fill(g, r, &layout);
        result = sdg_graph_check(g);
    }
    if (result != SDG_OK)
        sdg_graph_destroy(&g);
    sdg_unet_layout_clear(&layout);
    *out = g;
    return result;
}

static void fill_time(struct sdg_graph *g, const struct request *r, const struct sdg_unet_layout *layout)
{
    build_time(g, r->config, layout, r->shape->rows);
}

static void fill_context(struct sdg_graph *g, const struct request *r, const struct sdg_unet_layout *layout)
{
    build_context(g, r->config, layout, r->shape->batch, r->shape->tokens);
}

static void fill_step(struct sdg_graph *g, const struct request *r, const struct sdg_unet_layout *layout)
{
    build_step(&(struct step){g, r->config, r->shape}, layout);
}

enum sdg_result sdg_unet_time_graph(const struct sdg_log *log, const struct sdg_unet_config *config, int64_t rows,
                                    struct sdg_graph **out)
{
    return create(log, &(struct request){config, &(struct sdg_unet_shape){.rows = rows}, fill_time}, out);
}

enum sdg_result sdg_unet_context_graph(const struct sdg_log *log, const struct sdg_unet_config *config, int64_t batch,
                                       int64_t tokens, struct sdg_graph **out)
{
    return create(
        log, &(struct request){config, &(struct sdg_unet_shape){.batch = batch, .tokens = tokens}, fill_context}, out);
}

enum sdg_result sdg_unet_step_graph(const struct sdg_log *log, const struct sdg_unet_config *config,
                                    const struct sdg_unet_shape *shape, struct sdg_graph **out)
{
    return create(log, &(struct request){config, shape, fill_step}, out);
}

enum sdg_result sdg_unet_fused_step_graph(const struct sdg_log *log, const struct sdg_unet_config *config,
                                          const struct sdg_unet_shape *shape, struct sdg_graph **out)
{
    SDG_TRY(sdg_unet_step_graph(log, config, shape, out));
    enum sdg_result result = sdg_graph_fuse(*out);
    if (result != SDG_OK)
        sdg_graph_destroy(out);
    return result;
}
