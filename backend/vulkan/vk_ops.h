// Lowering: from one operation of the graph to steps of a program. One file per operation in ops/.
#ifndef SDG_BACKEND_VULKAN_OPS_H
#define SDG_BACKEND_VULKAN_OPS_H

#include "backend/vulkan/vk_commands.h"
#include "backend/vulkan/vk_weights.h"

enum { SDG_VK_KERNEL_NAME = 64 };

// Per program; `op` and what follows change from operation to operation.
struct sdg_vk_lowering {
    struct sdg_vk *vk;
    const struct sdg_log *log; // the program's
    const struct sdg_graph *graph;
    const struct sdg_vk_place *places; // per value
    const struct sdg_vk_weights *weights;
    struct sdg_vk_step *steps;
    size_t step_count, step_capacity;
    struct sdg_vk_hazards hazards;
    const struct sdg_op *op;
    size_t op_index;
    struct sdg_vk_place scratch;
    char kernel[SDG_VK_KERNEL_NAME]; // of this operation, for describe
};

// What an operation asks for; unused fields are 0.
struct sdg_vk_dispatch {
    const char *family;              // of shaders/variants.txt
    enum sdg_dtype type;             // of activations
    int64_t columns;                 // what a variant's width must divide; 0: any
    const struct sdg_shader *shader; // NULL: the family's last that fits type, columns and features
    uint32_t local_size;
    uint32_t spec[SDG_SPEC_COUNT]; // by shaders/spec.h; emitting sets the local size
    uint32_t binding_count;
    struct sdg_vk_binding bindings[SDG_VK_MAX_BINDINGS];
    const void *push;
    size_t push_bytes;
    int64_t groups[3]; // 0 counts as 1
};

// Reports that no shader fits what is asked for.
enum sdg_result sdg_vk_no_shader(const struct sdg_vk_lowering *lo, const struct sdg_vk_dispatch *dispatch);
// Appends a dispatch. Fails if no shader fits, or if it is too large for the device.
enum sdg_result sdg_vk_emit(struct sdg_vk_lowering *lo, const struct sdg_vk_dispatch *dispatch);
// The same for `count` invocations, or workgroups of `local_size` > 0, in a row: folds them into a grid
// (folded_invocation() and folded_group() in shaders/types.glsl).
enum sdg_result sdg_vk_emit_elements(struct sdg_vk_lowering *lo, struct sdg_vk_dispatch *dispatch, int64_t count);
enum sdg_result sdg_vk_emit_groups(struct sdg_vk_lowering *lo, struct sdg_vk_dispatch *dispatch, int64_t count);

// The float type an operation touches, f32 where it touches integers only. Intervals, always f32, do not count.
enum sdg_dtype sdg_vk_float_type(const struct sdg_graph *graph, const struct sdg_op *op);
// How shaders find an interval: scales and zero points of a row of the table, 1 or one for each token; 0: measured, the
// same in every row.
uint32_t sdg_vk_pairs_per_row(const struct sdg_vk_lowering *lo, sdg_value interval);
// A convolution or linear layer on codes.
bool sdg_vk_is_integer(const struct sdg_graph *graph, const struct sdg_op *op);
// For a dispatch that ends in shaders/codes.glsl: appends the bindings of row and interval, and describes the codes.
void sdg_vk_add_interval(const struct sdg_vk_lowering *lo, struct sdg_vk_dispatch *dispatch, sdg_value interval,
                         int lowest, int highest);
// ... and the binding of smoothing, or 0, that follows them where the shader defines SMOOTHED_CODES.
void sdg_vk_add_smoothing(const struct sdg_vk_lowering *lo, struct sdg_vk_dispatch *dispatch, sdg_value smoothing);
// All three for the codes the operation emits, if it does; products have no smoothing.
void sdg_vk_add_codes(const struct sdg_vk_lowering *lo, struct sdg_vk_dispatch *dispatch);
// For an operation that only moves in[0]'s channels from `start` on, with shaders/move.glsl. Codes are moved as words
// of four where all rows allow it: the unit is 4 then, else 1, and all channels the shader hears of are in units.
int64_t sdg_vk_move_unit(const struct sdg_vk_lowering *lo, int64_t start);
enum sdg_result sdg_vk_emit_move(struct sdg_vk_lowering *lo, const char *family, int64_t unit, const void *push,
                                 size_t push_bytes);

// Bindings.
// 0: a placeholder that is never accessed
struct sdg_vk_binding sdg_vk_read(const struct sdg_vk_lowering *lo, sdg_value v);
struct sdg_vk_binding sdg_vk_write(const struct sdg_vk_lowering *lo, sdg_value v);
struct sdg_vk_binding sdg_vk_scratch(const struct sdg_vk_lowering *lo, size_t offset, size_t bytes, bool written);
struct sdg_vk_binding sdg_vk_row(void);

static inline const struct sdg_value_info *sdg_vk_value(const struct sdg_vk_lowering *lo, sdg_value v)
{
    return &lo->graph->values[v];
}
static inline int64_t sdg_vk_pixels(const struct sdg_value_info *v) // positions of a sample
{
    return v->dims[1] * v->dims[2];
}
static inline int64_t sdg_vk_ceil(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

// The smallest limits Vulkan lets a device have; workgroups of up to this many invocations fit everywhere.
enum { SDG_VK_INVOCATIONS = 128 };

// ops/matmul.c: what linear and conv2d share.
struct sdg_vk_matmul {
    const char *family; // for floats, and for integers, which are told apart by the operation
    const char *integer_family;
    int64_t m, n, k;         // k: channels, or words of four of them that are codes
    int64_t columns;         // length of a run of k that is contiguous in x
    int64_t rows_per_sample; // of the m
    uint32_t upsample;       // conv2d: see graph/graph.h
    const void *push;        // begins with struct sdg_push_product
    size_t push_bytes;
};

struct sdg_vk_op {
    enum sdg_result (*lower)(struct sdg_vk_lowering *lo);
    // bytes; NULL: none, or as sdg_vk_matmul_scratch says of a product
    size_t (*scratch)(const struct sdg_vk_lowering *lo); // of which vk, graph, weights and op are there
    // what it multiplies, but for what is to be pushed; NULL: it is no product
    struct sdg_vk_matmul (*product)(const struct sdg_graph *graph, const struct sdg_op *op);
};
// By enum sdg_op_kind, from graph/ops.def: ops/NAME.c defines sdg_vk_op_NAME. NULL: for training, which does not run
// here.
extern const struct sdg_vk_op *const sdg_vk_ops[SDG_OP_COUNT];
#define SDG_OP(name, upper, operands, result) extern const struct sdg_vk_op sdg_vk_op_##name;
#define SDG_TRAINING_OP(name, upper, operands, result)
#include "graph/ops.def"
#undef SDG_OP

// The first push constants of every product: of the n columns of a dispatch, where the outputs have `pitch` of them.
// Emitting fills them in. GLSL twins: Push of linear.glsl, conv2d.glsl and sum_parts_push.glsl.
struct sdg_push_product { uint32_t m, n, k, pitch, table_samples; };
// Bindings 0..7: x, weights, out, bias, table, residual, row, interval; of integers also 8, 9: interval of x, weight
// scales. Picks the tile for the shape and the device. Takes a dispatch for each band of the weight (vk_weights.h).
enum sdg_result sdg_vk_emit_matmul(struct sdg_vk_lowering *lo, const struct sdg_vk_matmul *matmul);
// Bytes of scratch memory that it will want; what is to be pushed may be missing. Of `lo`, vk, graph, weights and op.
size_t sdg_vk_matmul_scratch(const struct sdg_vk_lowering *lo, const struct sdg_vk_matmul *matmul);
// The slices in which its weight is to lie (vk_weights.h); 0: none. Of `lo`, vk, graph and op.
int64_t sdg_vk_matmul_slice(const struct sdg_vk_lowering *lo, const struct sdg_vk_matmul *matmul);

#endif
