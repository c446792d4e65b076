// The tables of shaders/variants.txt as this build has them.
#ifndef SDG_SHADERS_SHADERS_H
#define SDG_SHADERS_SHADERS_H

#include "base/dtype.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// A rung of the ladder. Tests turn rungs off by these names: sdg_vk_rungs() in backend/vulkan/vk_pipeline.h.
struct sdg_rung {
    const char *name; // "dot"
    unsigned feature; // its bit of enum sdg_feature
    bool built;       // this build's compiler could make shaders of it
};
extern const struct sdg_rung sdg_rungs[];
extern const size_t sdg_rung_count;

struct sdg_tile {
    uint32_t m, n, k; // outputs of a workgroup, and the length of a slice
    uint32_t threads;
    uint32_t tm, tn; // outputs of an invocation
};

// One per shader that could be built, in the order of the table.
struct sdg_shader {
    const char *name;    // "linear_f16_v4"
    const char *family;  // the source without its suffix: "linear"
    enum sdg_dtype type; // storage of activations
    unsigned width;      // elements a load; rows of operands must be a multiple
    unsigned needs;      // enum sdg_feature bits
    const struct sdg_tile *tiles;
    size_t tile_count;           // 0: no product
    const unsigned char *packed; // the SPIR-V, sdg_vk_unpack_shader()
    size_t packed_bytes, bytes;  // as stored, and of the SPIR-V; raw deflate (RFC 1951) where the library has zlib
};
extern const struct sdg_shader sdg_shaders[];
extern const size_t sdg_shader_count;

#endif
