// The compiled shaders, one per row of shaders/variants.txt that this build's compiler could make, in that order.
#ifndef SDG_SHADERS_SHADERS_H
#define SDG_SHADERS_SHADERS_H

#include "base/dtype.h"

#include <stddef.h>
#include <stdint.h>

struct sdg_shader {
    const char *name;    // "linear_f16_v4"
    const char *family;  // the source without its suffix: "linear"
    enum sdg_dtype type; // storage of activations
    unsigned width;      // elements a load; rows of operands must be a multiple
    unsigned needs;      // enum sdg_feature bits
    const uint32_t *code;
    size_t bytes;
};
extern const struct sdg_shader sdg_shaders[];
extern const size_t sdg_shader_count;

#endif
