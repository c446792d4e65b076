// The modules of a UNet2DConditionModel in the order they run. One list serves three graphs: the step, the time
// projections (before the loop) and the cross-attention keys and values (once per prompt).
#ifndef SDG_UNET_LAYOUT_H
#define SDG_UNET_LAYOUT_H

#include "base/log.h"
#include "formats/config.h"

#include <stddef.h>

enum sdg_unet_module_kind {
    SDG_UNET_RESNET, // pops a skip tensor first if skip_channels > 0
    SDG_UNET_TRANSFORMER,
    SDG_UNET_DOWNSAMPLE,
    SDG_UNET_UPSAMPLE, // to the size of the skip tensor on top
    SDG_UNET_PUSH,     // the current value becomes a skip tensor
};

struct sdg_unet_module {
    enum sdg_unet_module_kind kind;
    char path[64];   // "down_blocks.0.resnets.1"
    int in_channels; // of the current value, without the skip tensor
    int skip_channels;
    int out_channels;
    int heads, layers; // transformers
};

enum { SDG_UNET_MAX_MODULES = 2048 };

struct sdg_unet_layout {
    struct sdg_unet_module *modules; // owned
    size_t count;
    bool inconsistent; // a skip tensor was missing: the config contradicts itself
};

enum sdg_result sdg_unet_layout_create(const struct sdg_log *log, const struct sdg_unet_config *config,
                                       struct sdg_unet_layout *out);
void sdg_unet_layout_clear(struct sdg_unet_layout *layout);

#endif
