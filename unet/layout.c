#include "unet/layout.h"

#include "base/memory.h"

#include <stdarg.h>
#include <stdio.h>

struct builder {
    struct sdg_unet_layout *layout;
    int channels;                    // of the current value
    int skips[SDG_UNET_MAX_MODULES]; // channels of the skip tensors, a stack
    int depth;
};

SDG_PRINTF(3, 4)
static struct sdg_unet_module *add(struct builder *b, enum sdg_unet_module_kind kind, const char *format, ...)
{
    // 8 levels of at most 64 layers with 3 modules each, both ways, stay below SDG_UNET_MAX_MODULES for every checked
    // config up to 40 layers; beyond it the layout is refused.
    if (b->layout->count == SDG_UNET_MAX_MODULES - 1)
        b->layout->inconsistent = true;
    else
        b->layout->count++;
    struct sdg_unet_module *m = &b->layout->modules[b->layout->count - 1];
    va_list args;
    va_start(args, format);
    vsnprintf(m->path, sizeof m->path, format, args);
    va_end(args);
    m->kind = kind;
    m->in_channels = m->out_channels = b->channels;
    return m;
}

static void push(struct builder *b)
{
    add(b, SDG_UNET_PUSH, "skip");
    b->skips[b->depth] = b->channels;
    if (b->depth < SDG_UNET_MAX_MODULES - 1)
        b->depth++;
}

static void resnet(struct builder *b, const char *block, int index, int out, bool with_skip)
{
    struct sdg_unet_module *m = add(b, SDG_UNET_RESNET, "%s.resnets.%d", block, index);
    if (with_skip) {
        if (b->depth == 0)
            b->layout->inconsistent = true;
        else
            m->skip_channels = b->skips[--b->depth];
    }
    m->out_channels = b->channels = out;
}

static void transformer(struct builder *b, const char *block, int index, int heads, int layers)
{
    struct sdg_unet_module *m = add(b, SDG_UNET_TRANSFORMER, "%s.attentions.%d", block, index);
    m->heads = heads;
    m->layers = layers;
}

static void down_path(struct builder *b, const struct sdg_unet_config *c)
{
    char block[48];
    for (int i = 0; i < c->levels; i++) {
        snprintf(block, sizeof block, "down_blocks.%d", i);
        for (int j = 0; j < c->layers_per_block[i]; j++) {
            resnet(b, block, j, c->channels[i], false);
            if (c->down_attention[i])
                transformer(b, block, j, c->heads[i], c->transformer_layers[i]);
            push(b);
        }
        if (i < c->levels - 1) {
            add(b, SDG_UNET_DOWNSAMPLE, "%s.downsamplers.0.conv", block);
            push(b);
        }
    }
}

static void middle(struct builder *b, const struct sdg_unet_config *c)
{
    int last = c->levels - 1;
    for (int i = 0; i < c->mid_resnets; i++) {
        resnet(b, "mid_block", i, c->channels[last], false);
        if (i == 0 && c->mid_attention)
            transformer(b, "mid_block", 0, c->heads[last], c->transformer_layers[last]);
    }
}

static void up_path(struct builder *b, const struct sdg_unet_config *c)
{
    char block[48];
    for (int i = 0; i < c->levels; i++) {
        int level = c->levels - 1 - i;
        snprintf(block, sizeof block, "up_blocks.%d", i);
        for (int j = 0; j < c->layers_per_block[level] + 1; j++) {
            resnet(b, block, j, c->channels[level], true);
            if (c->up_attention[i])
                transformer(b, block, j, c->heads[level], c->transformer_layers[level]);
        }
        if (i < c->levels - 1)
            add(b, SDG_UNET_UPSAMPLE, "%s.upsamplers.0.conv", block);
    }
}

enum sdg_result sdg_unet_layout_create(const struct sdg_log *log, const struct sdg_unet_config *config,
                                       struct sdg_unet_layout *out)
{
    *out = (struct sdg_unet_layout){0};
    struct builder *b = sdg_alloc(log, 1, sizeof *b, "the UNet's module list");
    out->modules = sdg_alloc(log, SDG_UNET_MAX_MODULES, sizeof *out->modules, "the UNet's module list");
    enum sdg_result result = b && out->modules ? SDG_OK : SDG_ERROR_MEMORY;
    if (result == SDG_OK) {
        b->layout = out;
        b->channels = config->channels[0];
        push(b); // conv_in's output
        down_path(b, config);
        middle(b, config);
        up_path(b, config);
        if (out->inconsistent || b->depth != 0)
            result = sdg_fail(log, SDG_ERROR_INPUT,
                              "UNet configuration: layers_per_block and block types do not fit each other (%d skip "
                              "connections left over)",
                              b->depth);
    }
    sdg_free(b);
    if (result != SDG_OK)
        sdg_unet_layout_clear(out);
    return result;
}

void sdg_unet_layout_clear(struct sdg_unet_layout *layout)
{
    sdg_free(layout->modules);
    *layout = (struct sdg_unet_layout){0};
}
