#include "vae/tiny.h"

#include "graph/modules.h"

#include <stdio.h>

enum { PATH_BYTES = 96 };

// The modules are numbered as in one torch.nn.Sequential, activations and upsamplers included.
struct sequence {
    struct sdg_graph *g;
    const char *side; // "decoder" or "encoder"
    int index;        // number of the next module
    sdg_value x;
};

static sdg_value conv(struct sequence *s, const char *path, sdg_value x, int64_t out, int stride, bool bias,
                      struct sdg_epilogue epilogue)
{
    return sdg_module_conv3x3(s->g, path, x, out, stride == 1 ? SDG_CONV_SAME : SDG_CONV_HALF, bias, epilogue);
}

static void add_conv(struct sequence *s, int64_t out, int stride, bool bias, enum sdg_unary activation)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s.layers.%d", s->side, s->index++);
    s->x = conv(s, path, s->x, out, stride, bias, (struct sdg_epilogue){.activation = activation});
}

// relu(conv(relu(conv(relu(conv(x))))) + x)
static void add_blocks(struct sequence *s, int count, int64_t channels)
{
    for (int i = 0; i < count; i++) {
        char path[3][PATH_BYTES];
        for (int j = 0; j < 3; j++)
            snprintf(path[j], sizeof path[j], "%s.layers.%d.conv.%d", s->side, s->index, 2 * j);
        sdg_value h = conv(s, path[0], s->x, channels, 1, true, (struct sdg_epilogue){.activation = SDG_UNARY_RELU});
        h = conv(s, path[1], h, channels, 1, true, (struct sdg_epilogue){.activation = SDG_UNARY_RELU});
        s->x = conv(s, path[2], h, channels, 1, true,
                    (struct sdg_epilogue){.residual = s->x, .activation = SDG_UNARY_RELU});
        s->index++;
    }
}

void sdg_tiny_build_decoder(struct sdg_graph *g, const struct sdg_vae_config *c, int64_t batch, int64_t height,
                            int64_t width)
{
    struct sequence s = {g, "decoder", 0, sdg_graph_input(g, "latent", batch, height, width, c->latent_channels)};
    s.x = sdg_graph_affine(g, "decoder.clamp.in", s.x, 1.0f / 3.0f, 0); // 3 tanh(z / 3)
    s.x = sdg_graph_unary(g, "decoder.clamp", s.x, SDG_UNARY_TANH);
    s.x = sdg_graph_affine(g, "decoder.clamp.out", s.x, 3.0f, 0);
    add_conv(&s, c->decoder_channels[0], 1, true, SDG_UNARY_RELU);
    s.index++; // the activation after the first convolution is a module of its own
    for (int i = 0; i < c->levels; i++) {
        bool last = i == c->levels - 1;
        add_blocks(&s, c->decoder_blocks[i], c->decoder_channels[i]);
        if (!last) {
            const int64_t *dims = g->values[s.x].dims;
            s.x = sdg_graph_upsample_nearest(g, "decoder.upsample", s.x, 2 * dims[1], 2 * dims[2]);
            s.index++;
        }
        add_conv(&s, last ? c->out_channels : c->decoder_channels[i], 1, last, SDG_UNARY_NONE);
    }
    sdg_graph_output(g, "image", sdg_graph_affine(g, "decoder.scale", s.x, 2.0f, -1.0f));
}

void sdg_tiny_build_encoder(struct sdg_graph *g, const struct sdg_vae_config *c, int64_t batch, int64_t height,
                            int64_t width)
{
    struct sequence s = {g, "encoder", 0, sdg_graph_input(g, "image", batch, height, width, c->in_channels)};
    s.x = sdg_graph_affine(g, "encoder.scale", s.x, 0.5f, 0.5f);
    for (int i = 0; i < c->levels; i++) {
        add_conv(&s, c->channels[i], i == 0 ? 1 : 2, i == 0, SDG_UNARY_NONE);
        add_blocks(&s, c->encoder_blocks[i], c->channels[i]);
    }
    add_conv(&s, c->latent_channels, 1, true, SDG_UNARY_NONE);
    sdg_graph_output(g, "latent", s.x);
}
