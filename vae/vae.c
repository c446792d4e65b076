#include "vae/vae.h"

#include "graph/modules.h"
#include "vae/tiny.h"

#include <math.h>
#include <stdio.h>

static const float NORM_EPS = 1e-6f; // everywhere in AutoencoderKL, unlike the UNet's blocks

struct build {
    struct sdg_graph *g;
    const struct sdg_vae_config *config;
};

static int64_t channels_of(const struct build *b, sdg_value x)
{
    return b->g->values[x].dims[3];
}

static sdg_value linear(struct build *b, const char *path, sdg_value x, int64_t out, sdg_value residual)
{
    return sdg_module_linear(b->g, path, x, out, true, (struct sdg_epilogue){.residual = residual});
}

static sdg_value conv(struct build *b, const char *path, sdg_value x, int64_t out, struct sdg_conv_params params,
                      sdg_value residual)
{
    return sdg_module_conv3x3(b->g, path, x, out, params, true, (struct sdg_epilogue){.residual = residual});
}

static const struct sdg_conv_params DOWN = {2, 0, 0, 1, 1}; // padded right and bottom only

static sdg_value group_norm(struct build *b, const char *path, sdg_value x, enum sdg_unary activation)
{
    return sdg_module_group_norm(b->g, path, x, b->config->norm_groups, NORM_EPS, activation);
}

static sdg_value resnet(struct build *b, const char *prefix, sdg_value x, int64_t out)
{
    char path[SDG_MODULE_PATH_BYTES];
    sdg_value shortcut =
        channels_of(b, x) == out ? x : linear(b, sdg_module_path(path, prefix, "conv_shortcut"), x, out, 0);
    sdg_value h = group_norm(b, sdg_module_path(path, prefix, "norm1"), x, SDG_UNARY_SILU);
    h = conv(b, sdg_module_path(path, prefix, "conv1"), h, out, SDG_CONV_SAME, 0);
    h = group_norm(b, sdg_module_path(path, prefix, "norm2"), h, SDG_UNARY_SILU);
    return conv(b, sdg_module_path(path, prefix, "conv2"), h, out, SDG_CONV_SAME, shortcut);
}

// One head over all channels, every pixel a token.
static sdg_value attention(struct build *b, const char *prefix, sdg_value x)
{
    char path[SDG_MODULE_PATH_BYTES];
    int64_t n = channels_of(b, x);
    sdg_value h = group_norm(b, sdg_module_path(path, prefix, "group_norm"), x, SDG_UNARY_NONE);
    sdg_value q = linear(b, sdg_module_path(path, prefix, "to_q"), h, n, 0);
    sdg_value k = linear(b, sdg_module_path(path, prefix, "to_k"), h, n, 0);
    sdg_value v = linear(b, sdg_module_path(path, prefix, "to_v"), h, n, 0);
    h = sdg_graph_attention(b->g, prefix, q, k, v, 1, 1.0f / sqrtf((float)n), false);
    return linear(b, sdg_module_path(path, prefix, "to_out.0"), h, n, x);
}

static sdg_value middle(struct build *b, const char *side, sdg_value x)
{
    char prefix[SDG_MODULE_PATH_BYTES];
    int64_t n = channels_of(b, x);
    snprintf(prefix, sizeof prefix, "%s.mid_block.resnets.0", side);
    x = resnet(b, prefix, x, n);
    if (b->config->mid_attention) {
        snprintf(prefix, sizeof prefix, "%s.mid_block.attentions.0", side);
        x = attention(b, prefix, x);
    }
    snprintf(prefix, sizeof prefix, "%s.mid_block.resnets.1", side);
    return resnet(b, prefix, x, n);
}

static sdg_value ends(struct build *b, const char *side, sdg_value x, int64_t out)
{
    char path[SDG_MODULE_PATH_BYTES];
    x = group_norm(b, sdg_module_path(path, side, "conv_norm_out"), x, SDG_UNARY_SILU);
    return conv(b, sdg_module_path(path, side, "conv_out"), x, out, SDG_CONV_SAME, 0);
}

static void build_decoder(struct build *b, int64_t batch, int64_t height, int64_t width)
{
    const struct sdg_vae_config *c = b->config;
    char prefix[SDG_MODULE_PATH_BYTES];
    sdg_value x = sdg_graph_input(b->g, "latent", batch, height, width, c->latent_channels);
    if (c->post_quant_conv)
        x = linear(b, "post_quant_conv", x, c->latent_channels, 0);
    x = conv(b, "decoder.conv_in", x, c->channels[c->levels - 1], SDG_CONV_SAME, 0);
    x = middle(b, "decoder", x);
    for (int i = 0; i < c->levels; i++) {
        int64_t out = c->channels[c->levels - 1 - i];
        for (int j = 0; j < c->layers_per_block + 1; j++) {
            snprintf(prefix, sizeof prefix, "decoder.up_blocks.%d.resnets.%d", i, j);
            x = resnet(b, prefix, x, out);
        }
        if (i < c->levels - 1) {
            snprintf(prefix, sizeof prefix, "decoder.up_blocks.%d.upsamplers.0.conv", i);
            const int64_t *dims = b->g->values[x].dims;
            x = sdg_graph_upsample_nearest(b->g, prefix, x, 2 * dims[1], 2 * dims[2]);
            x = conv(b, prefix, x, out, SDG_CONV_SAME, 0);
        }
    }
    sdg_graph_output(b->g, "image", ends(b, "decoder", x, c->out_channels));
}

static void build_encoder(struct build *b, int64_t batch, int64_t height, int64_t width)
{
    const struct sdg_vae_config *c = b->config;
    char prefix[SDG_MODULE_PATH_BYTES];
    sdg_value x = sdg_graph_input(b->g, "image", batch, height, width, c->in_channels);
    x = conv(b, "encoder.conv_in", x, c->channels[0], SDG_CONV_SAME, 0);
    for (int i = 0; i < c->levels; i++) {
        for (int j = 0; j < c->layers_per_block; j++) {
            snprintf(prefix, sizeof prefix, "encoder.down_blocks.%d.resnets.%d", i, j);
            x = resnet(b, prefix, x, c->channels[i]);
        }
        if (i < c->levels - 1) {
            snprintf(prefix, sizeof prefix, "encoder.down_blocks.%d.downsamplers.0.conv", i);
            x = conv(b, prefix, x, c->channels[i], DOWN, 0);
        }
    }
    x = middle(b, "encoder", x);
    x = ends(b, "encoder", x, 2 * c->latent_channels);
    if (c->quant_conv)
        x = linear(b, "quant_conv", x, 2 * c->latent_channels, 0);
    sdg_graph_output(b->g, "moments", x);
}

static enum sdg_result create(const struct sdg_log *log, const struct sdg_vae_config *config, bool decode,
                              int64_t batch, int64_t height, int64_t width, struct sdg_graph **out)
{
    *out = NULL;
    struct sdg_graph *g;
    SDG_TRY(sdg_graph_create(log, &g));
    struct build b = {g, config};
    if (config->tiny && decode)
        sdg_tiny_build_decoder(g, config, batch, height, width);
    else if (config->tiny)
        sdg_tiny_build_encoder(g, config, batch, height, width);
    else if (decode)
        build_decoder(&b, batch, height, width);
    else
        build_encoder(&b, batch, height, width);
    enum sdg_result result = sdg_graph_check(g);
    if (result != SDG_OK)
        sdg_graph_destroy(&g);
    *out = g;
    return result;
}

enum sdg_result sdg_vae_decoder_graph(const struct sdg_log *log, const struct sdg_vae_config *config, int64_t batch,
                                      int64_t height, int64_t width, struct sdg_graph **out)
{
    return create(log, config, true, batch, height, width, out);
}

enum sdg_result sdg_vae_encoder_graph(const struct sdg_log *log, const struct sdg_vae_config *config, int64_t batch,
                                      int64_t height, int64_t width, struct sdg_graph **out)
{
    return create(log, config, false, batch, height, width, out);
}

int sdg_vae_factor(const struct sdg_vae_config *config)
{
    return 1 << (config->levels - 1);
}
