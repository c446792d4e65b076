#include "backend/vulkan/vk_ops.h"

struct sdg_push_embed { // GLSL twin: Push in shaders/embed.comp
    uint32_t total, c, per_sample, first, count;
};
_Static_assert(sizeof(struct sdg_push_embed) == 20, "as in the shader");

// A vocabulary can be longer than what a shader sees of a buffer (128 MiB on many devices): one dispatch per part of
// it.
static enum sdg_result lower(struct sdg_vk_lowering *lo)
{
    const struct sdg_op *op = lo->op;
    const struct sdg_vk_caps *caps = &lo->vk->caps;
    const struct sdg_value_info *out = sdg_vk_value(lo, op->out);
    const int64_t vocabulary = sdg_vk_value(lo, op->in[1])->dims[0], total = sdg_value_elements(out);
    const size_t row_bytes = (size_t)out->dims[3] * sdg_dtype_size(out->dtype);
    int64_t part = vocabulary;
    if ((uint64_t)vocabulary * row_bytes > caps->max_range) // a multiple of the alignment in rows is one in bytes too
        part = (int64_t)(caps->max_range / row_bytes / caps->alignment * caps->alignment);
    if (part == 0)
        part = vocabulary; // refused by sdg_vk_emit
    for (int64_t first = 0; first < vocabulary; first += part) {
        int64_t count = vocabulary - first < part ? vocabulary - first : part;
        const struct sdg_push_embed push = {
            .total = (uint32_t)total,
            .c = (uint32_t)out->dims[3],
            .per_sample = (uint32_t)sdg_vk_pixels(out),
            .first = (uint32_t)first,
            .count = (uint32_t)count,
        };
        struct sdg_vk_binding tokens = sdg_vk_read(lo, op->in[1]);
        tokens.place.offset += (size_t)first * row_bytes;
        tokens.place.bytes = (size_t)count * row_bytes;
        struct sdg_vk_dispatch d = {
            .family = "embed",
            .type = out->dtype,
            .binding_count = 4,
            .bindings = {sdg_vk_read(lo, op->in[0]), tokens, sdg_vk_read(lo, op->in[2]), sdg_vk_write(lo, op->out)},
            .push = &push,
            .push_bytes = sizeof push,
        };
        SDG_TRY(sdg_vk_emit_elements(lo, &d, total));
    }
    return SDG_OK;
}

const struct sdg_vk_op sdg_vk_op_embed = {.lower = lower};
