// A conv2d or linear that oneDNN computes: its state, and what the files of this folder do with it.
#ifndef SDG_BACKEND_CPU_ONEDNN_LAYER_H
#define SDG_BACKEND_CPU_ONEDNN_LAYER_H

#include "backend/cpu/onednn/grid.h"
#include "backend/cpu/onednn/request.h"

struct sdg_onednn { dnnl_engine_t engine; };

enum { SDG_LAYER_SHAPES = 4 }; // of pieces, in one layer: the first, inner ones, the last two

// Memory of the library's with what it points to now.
struct sdg_argument {
    dnnl_memory_t memory; // NULL where the operation has none
    const void *data;
};

// What is used by one thread at a time.
struct sdg_lane {
    dnnl_stream_t stream;
    struct sdg_argument arguments[SDG_LAYER_SHAPES][SDG_ROLES]; // from SDG_ROLE_WEIGHTS on of the first shape only
};

struct sdg_layer {
    struct sdg_grid grid;
    int shape_count;
    struct sdg_piece_shape shapes[SDG_LAYER_SHAPES];
    dnnl_primitive_desc_t descriptions[SDG_LAYER_SHAPES]; // all read weights in one order
    dnnl_primitive_t primitives[SDG_LAYER_SHAPES];
    struct sdg_lane *lanes;
    int64_t lane_count; // one per thread, or one per piece where there are fewer pieces

    // Weights: those of a block as the kernel reads them, compensation included, begin block_stride bytes after those
    // of the block before.
    size_t block_bytes, block_stride;
    // Integers of four bits: how many of a block's are kept as such, the first ones; and the blocks' distance then.
    size_t packed_codes, packed_stride;
    int code_bits;     // floats kept as codes, of so many bits; 0: kept as they are multiplied
    size_t code_count; // of these, in all blocks

    // Where things lie in the step's scratch memory.
    struct { size_t weights, zero, image, lanes; } at;
    size_t lane_bytes;
    struct { size_t scratchpad, bias, residual, result; } in_lane;
};

// Rows of the input for output rows [first, first + rows) of an image: *begin is the first one, < 0 if above it.
struct sdg_piece_shape sdg_layer_shape(const struct sdg_cpu_step *step, int64_t first, int64_t rows, int64_t *begin);
static inline const struct sdg_layer *sdg_layer_of(const struct sdg_cpu_step *step)
{
    return step->state;
}
// True if float weights or packed ones become what the kernel reads in every run.
static inline bool sdg_layer_expands(const struct sdg_layer *layer)
{
    return layer->packed_codes || layer->code_bits;
}
// True if pieces are computed in a lane's memory: results that become codes, sums, and blocks of channels.
static inline bool sdg_layer_computes_aside(const struct sdg_cpu_step *step)
{
    return step->op->codes.interval || sdg_request_sums_only(step) || sdg_layer_of(step)->grid.blocks > 1;
}
// Where the library gives sums only: those of each output's weights, behind the weights.
static inline int32_t *sdg_layer_weight_sums(const struct sdg_cpu_step *step)
{
    return (int32_t *)((char *)step->weights + step->weight_bytes) -
        sdg_cpu_value(step->program, step->op->out)->dims[3];
}
// SDG_ERROR_MEMORY or SDG_ERROR_DEVICE: "<layer>: oneDNN cannot <what> ...".
enum sdg_result sdg_layer_report(const struct sdg_cpu_step *step, dnnl_status_t status, const char *what);

// Reads the weights into step->weights, in the kernel's order, on all threads.
enum sdg_result sdg_layer_load(struct sdg_cpu_step *step);
// Makes what the kernel reads of packed ones or codes, in scratch memory, on all threads.
void sdg_layer_expand(const struct sdg_cpu_step *step);

// The lanes' memory. What was made is freed by sdg_layer_close_lanes also after a failure.
enum sdg_result sdg_layer_open_lanes(struct sdg_cpu_step *step);
void sdg_layer_close_lanes(struct sdg_layer *layer);

enum sdg_result sdg_layer_run(const struct sdg_cpu_step *step, int64_t row);

#endif
