// Weights: packed into few large allocations, loaded once in the order of use, laid out as the shaders want them.
#ifndef SDG_BACKEND_VULKAN_WEIGHTS_H
#define SDG_BACKEND_VULKAN_WEIGHTS_H

#include "backend/vulkan/vk_commands.h"
#include "graph/weights.h"

struct sdg_vk_weights {
    struct sdg_vk_weight { // per weight value that is used, in the order of its first use
        sdg_value value;
        enum sdg_dtype dtype; // on the device
        enum sdg_vk_layout {
            SDG_VK_LAYOUT_FILE,
            SDG_VK_LAYOUT_ROWS,  // [O][I][taps] becomes [O][taps][I], if need be in slices
            SDG_VK_LAYOUT_WORDS, // integers: as shaders/weights_s8.glsl says
            SDG_VK_LAYOUT_GATED, // ... those of a gated layer
        } layout;
        // Elements of a row, of integers words as stored, that lie together: shaders/weights.glsl; 0: all
        int64_t slice;
        // Outputs of a band: all, unless no binding holds the weights of a product. Bands are laid out as layers of
        // their own, one behind the other, each where a binding may begin.
        int64_t band;
        bool gated; // a band has as many values as gates, in this order, of a layer in which all gates come last
        // floats kept as codes of 8 or 4 bits, with their scales behind them: shaders/operands_float.glsl; else 0
        int code_bits;
        struct sdg_weight stored; // where it is read from, during creation; all zero when no weights were given
    } *list;
    size_t count, capacity;
    struct sdg_vk_buffer *blocks;
    size_t *block_bytes;
    size_t block_count, block_bytes_capacity;
    size_t total; // bytes of all blocks
};

// Decides type, layout and place of every weight the graph's operations use; places[] is per value. All are found in
// `from` and checked, which tells the weights that are codes; nothing is read. `from` may be NULL when only memory is
// planned.
enum sdg_result sdg_vk_weights_plan(struct sdg_vk *vk, const struct sdg_log *log, const struct sdg_graph *graph,
                                    const struct sdg_tensors *from, struct sdg_vk_weights *weights,
                                    struct sdg_vk_place *places);
// The bits of a planned weight's codes; 0: it is none, or not kept as codes.
int sdg_vk_weights_code_bits(const struct sdg_vk_weights *weights, sdg_value v);
// Outputs of a band of a planned weight, and the length of its slices; 0: it is none, or has none.
int64_t sdg_vk_weights_band(const struct sdg_vk_weights *weights, sdg_value v);
int64_t sdg_vk_weights_slice(const struct sdg_vk_weights *weights, sdg_value v);
// Where the band is that begins with output `first`; of other values their place.
struct sdg_vk_place sdg_vk_weights_place(const struct sdg_vk *vk, const struct sdg_graph *graph,
                                         const struct sdg_vk_weights *weights, const struct sdg_vk_place *places,
                                         sdg_value v, int64_t first);
// Allocates the blocks and fills them; with `release`, mapped pages of the file are given back as they are
// copied.
enum sdg_result sdg_vk_weights_load(struct sdg_vk *vk, const struct sdg_log *log, const struct sdg_graph *graph,
                                    bool release, struct sdg_vk_weights *weights, const struct sdg_vk_place *places);
void sdg_vk_weights_free(struct sdg_vk *vk, struct sdg_vk_weights *weights);

#endif
