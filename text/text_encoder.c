#include "text/text_encoder.h"

#include "graph/modules.h"

#include <math.h>
#include <stdio.h>

// Attention that does not see keys of padding: head by head, with channels beside the head's own whose products are
// what `padding` holds, 0 or a number so low that nothing is left of the key. No published encoder of Stable Diffusion
// is used like that; what it costs does not matter.
static sdg_value masked_attention(struct sdg_graph *g, const char *path, const sdg_value qkv[3], sdg_value padding,
                                  const struct sdg_text_config *c, float scale)
{
    const int64_t depth = c->hidden / c->heads;
    sdg_value all = 0;
    for (int head = 0; head < c->heads; head++) {
        sdg_value part[3];
        for (int i = 0; i < 3; i++)
            part[i] = sdg_graph_slice(g, path, qkv[i], head * depth, depth);
        const sdg_value ones = sdg_graph_affine(g, path, part[0], 0, 1);
        const sdg_value q = sdg_graph_concat(g, path, part[0], ones), k = sdg_graph_concat(g, path, part[1], padding);
        const sdg_value h = sdg_graph_attention(g, path, q, k, part[2], 1, scale, true);
        all = all ? sdg_graph_concat(g, path, all, h) : h;
    }
    return all;
}

// Pre-norm transformer layer: x + attention(norm(x)), then x + mlp(norm(x)). Attention is causal; padding is not masked
// unless there is `padding`.
static sdg_value layer(struct sdg_graph *g, const struct sdg_text_config *c, int index, sdg_value x, sdg_value padding)
{
    char prefix[64], path[SDG_MODULE_PATH_BYTES];
    snprintf(prefix, sizeof prefix, "text_model.encoder.layers.%d", index);
    const float scale = 1.0f / sqrtf((float)c->hidden / (float)c->heads);
    enum sdg_unary activation = c->activation == SDG_TEXT_QUICK_GELU ? SDG_UNARY_QUICK_GELU : SDG_UNARY_GELU_ERF;

    sdg_value h = sdg_module_layer_norm(g, sdg_module_path(path, prefix, "layer_norm1"), x, c->eps);
    sdg_value q = sdg_module_linear(g, sdg_module_path(path, prefix, "self_attn.q_proj"), h, c->hidden, true,
                                    (struct sdg_epilogue){0});
    sdg_value k = sdg_module_linear(g, sdg_module_path(path, prefix, "self_attn.k_proj"), h, c->hidden, true,
                                    (struct sdg_epilogue){0});
    sdg_value v = sdg_module_linear(g, sdg_module_path(path, prefix, "self_attn.v_proj"), h, c->hidden, true,
                                    (struct sdg_epilogue){0});
    sdg_module_path(path, prefix, "self_attn");
    h = padding ? masked_attention(g, path, (const sdg_value[]){q, k, v}, padding, c, scale)
                : sdg_graph_attention(g, path, q, k, v, c->heads, scale, true);
    x = sdg_module_linear(g, sdg_module_path(path, prefix, "self_attn.out_proj"), h, c->hidden, true,
                          (struct sdg_epilogue){.residual = x});

    h = sdg_module_layer_norm(g, sdg_module_path(path, prefix, "layer_norm2"), x, c->eps);
    h = sdg_module_linear(g, sdg_module_path(path, prefix, "mlp.fc1"), h, c->intermediate, true,
                          (struct sdg_epilogue){.activation = activation});
    return sdg_module_linear(g, sdg_module_path(path, prefix, "mlp.fc2"), h, c->hidden, true,
                             (struct sdg_epilogue){.residual = x});
}

static void build(struct sdg_graph *g, const struct sdg_text_config *c, const struct sdg_text_params *p)
{
    const char *final = "text_model.final_layer_norm";
    sdg_value ids = sdg_graph_input_s32(g, "ids", p->batch, p->tokens);
    sdg_value tokens =
        sdg_graph_linear_weight(g, c->vocab_size, c->hidden, "text_model.embeddings.token_embedding.weight");
    sdg_value positions =
        sdg_graph_linear_weight(g, c->positions, c->hidden, "text_model.embeddings.position_embedding.weight");
    sdg_value x = sdg_graph_embed(g, "text_model.embeddings", ids, tokens, positions), hidden = x;
    const sdg_value padding =
        p->mask_padding ? sdg_graph_input(g, "padding", p->batch, 1, p->tokens, c->hidden / c->heads) : 0;
    int last = p->pooled ? c->layers : c->layers - p->skip + 1;
    for (int i = 0; i < last; i++) {
        x = layer(g, c, i, x, padding);
        if (i == c->layers - p->skip)
            hidden = x;
    }
    sdg_value normed = sdg_module_layer_norm(g, final, x, c->eps);
    if (p->final_norm)
        hidden = hidden == x ? normed : sdg_module_layer_norm(g, final, hidden, c->eps);
    sdg_graph_output(g, "hidden", hidden);
    if (p->pooled)
        sdg_graph_output(
            g, "projected",
            sdg_module_linear(g, "text_projection", normed, c->projection_dim, false, (struct sdg_epilogue){0}));
}

enum sdg_result sdg_text_graph(const struct sdg_log *log, const struct sdg_text_config *config,
                               const struct sdg_text_params *params, struct sdg_graph **out)
{
    *out = NULL;
    if (params->skip < 1 || params->skip > config->layers + 1)
        return sdg_fail(log, SDG_ERROR_USAGE, "clip skip is %d, should be 1..%d (the text encoder has %d layers)",
                        params->skip, config->layers + 1, config->layers);
    if (params->tokens > config->positions)
        return sdg_fail(log, SDG_ERROR_INPUT, "the text encoder has %d positions, %d are needed", config->positions,
                        params->tokens);
    struct sdg_graph *g;
    SDG_TRY(sdg_graph_create(log, &g));
    build(g, config, params);
    enum sdg_result result = sdg_graph_check(g);
    if (result != SDG_OK)
        sdg_graph_destroy(&g);
    *out = g;
    return result;
}

void sdg_text_padding(const struct sdg_text_config *config, const int32_t *ids, int tokens, float *out)
{
    // Times the scale of attention, at least 2^-7, this is far below any score, and f16 holds the sum of all channels.
    const float nothing = -16384.0f;
    const int depth = config->hidden / config->heads, end = sdg_text_end_position(config, ids, tokens);
    for (int i = 0; i < tokens; i++)
        for (int c = 0; c < depth; c++)
            out[i * depth + c] = i > end ? nothing / (float)depth : 0;
}

int sdg_text_end_position(const struct sdg_text_config *config, const int32_t *ids, int tokens)
{
    int best = 0;
    // 2 is a historical value in published configs and never the id of the end token.
    if (config->eos_token_id != 2) {
        for (int i = 0; i < tokens; i++)
            if (ids[i] == config->eos_token_id)
                return i;
        return 0;
    }
    for (int i = 1; i < tokens; i++)
        if (ids[i] > ids[best])
            best = i;
    return best;
}
