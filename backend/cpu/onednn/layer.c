// Which conv2d and linear oneDNN computes, and their memory.
//
// select() cuts the layer (grid.h) and asks the library for a kernel per shape of pieces: bands at an image's borders
// have padding, inner ones none. All must read the weights in the same order, so that they share them; else the layer
// is not cut. prepare() makes the kernels (the library's own cache returns them for equal shapes), reorders the weights
// and makes the arguments; run() moves pointers.
#include "backend/cpu/onednn/layer.h"

#include "backend/cpu/fast/kernels.h"
#include "backend/cpu/fast/tools.h"
#include "backend/cpu/onednn/onednn.h"
#include "base/memory.h"

#include <stdio.h>
#include <string.h>

enum sdg_result sdg_layer_report(const struct sdg_cpu_step *step, dnnl_status_t status, const char *what)
{
    const struct sdg_log *log = step->program->base.log;
    if (status == dnnl_out_of_memory)
        return sdg_fail(log, SDG_ERROR_MEMORY, "%s: not enough memory to %s", step->op->name, what);
    return sdg_fail(log, SDG_ERROR_DEVICE, "%s: oneDNN cannot %s (kernel %s, status %d)", step->op->name, what,
                    step->kernel, (int)status);
}

// ---- shapes ----

struct sdg_piece_shape sdg_layer_shape(const struct sdg_cpu_step *step, int64_t first, int64_t rows, int64_t *begin)
{
    *begin = first;
    if (step->op->kind == SDG_OP_LINEAR)
        return (struct sdg_piece_shape){.out_rows = rows, .in_rows = rows};
    const int64_t stride = step->op->u.conv2d.stride, top = step->op->u.conv2d.pad_top,
                  height = sdg_cpu_value(step->program, step->op->in[0])->dims[1];
    *begin = first * stride - top;
    const int64_t end = *begin + (rows - 1) * stride + step->op->u.conv2d.kernel_h;
    if (sdg_request_copies_border(step))
        return (struct sdg_piece_shape){.out_rows = rows, .in_rows = end - *begin};
    return (struct sdg_piece_shape){
        .out_rows = rows,
        .in_rows = (end < height ? end : height) - (*begin > 0 ? *begin : 0),
        .pad_top = *begin < 0 ? -*begin : 0,
        .pad_bottom = end > height ? end - height : 0,
    };
}

static bool equal_shapes(const struct sdg_piece_shape *a, const struct sdg_piece_shape *b)
{
    return a->out_rows == b->out_rows && a->in_rows == b->in_rows && a->pad_top == b->pad_top &&
        a->pad_bottom == b->pad_bottom;
}

// False if there are too many, or a band sees nothing but padding.
static bool collect_shapes(const struct sdg_cpu_step *step, int64_t height, struct sdg_layer *layer)
{
    layer->shape_count = 0;
    for (int64_t first = 0; first < height; first += layer->grid.rows) {
        int64_t begin;
        const int64_t rows = height - first < layer->grid.rows ? height - first : layer->grid.rows;
        const struct sdg_piece_shape shape = sdg_layer_shape(step, first, rows, &begin);
        int i = 0;
        while (i < layer->shape_count && !equal_shapes(&layer->shapes[i], &shape))
            i++;
        if (i == SDG_LAYER_SHAPES || shape.in_rows <= 0)
            return false;
        layer->shapes[i] = shape;
        if (i == layer->shape_count)
            layer->shape_count++;
    }
    return true;
}

// ---- kernels ----

static const_dnnl_memory_desc_t weights_of(const struct sdg_layer *layer)
{
    return dnnl_primitive_desc_query_md(layer->descriptions[0], dnnl_query_weights_md, 0);
}

static const char *kernel_name(const struct sdg_layer *layer, int shape)
{
    const char *name = "?";
    dnnl_primitive_desc_query(layer->descriptions[shape], dnnl_query_impl_info_str, 0, (void *)&name);
    return name;
}

// Its plain loops: our own kernels are faster.
static bool is_slow(const char *name)
{
    return strncmp(name, "ref", 3) == 0;
}

static void free_descriptions(struct sdg_layer *layer)
{
    for (int i = 0; i < SDG_LAYER_SHAPES; i++) {
        if (layer->descriptions[i])
            dnnl_primitive_desc_destroy(layer->descriptions[i]);
        layer->descriptions[i] = NULL;
    }
}

static dnnl_status_t ask_for_kernels(const struct sdg_cpu_step *step, struct sdg_layer *layer)
{
    const struct sdg_onednn *onednn = sdg_cpu_backend_of(step->program)->state;
    for (int i = 0; i < layer->shape_count; i++) {
        const_dnnl_memory_desc_t weights = i ? weights_of(layer) : NULL;
        dnnl_status_t status = sdg_request_kernel(step, &layer->shapes[i], layer->grid.width, layer->code_bits, weights,
                                                  onednn->engine, &layer->descriptions[i]);
        if (status != dnnl_success)
            return status;
        if (is_slow(kernel_name(layer, i)) || strcmp(kernel_name(layer, i), kernel_name(layer, 0)) != 0)
            return dnnl_unimplemented;
    }
    layer->block_bytes = dnnl_memory_desc_get_size(weights_of(layer));
    layer->block_stride = sdg_fast_align(layer->block_bytes);
    // Floats kept as codes have no gaps between blocks.
    return layer->code_bits && layer->grid.blocks > 1 && layer->block_stride != layer->block_bytes ? dnnl_unimplemented
                                                                                                   : dnnl_success;
}

static dnnl_status_t try_grid(const struct sdg_cpu_step *step, int64_t height, struct sdg_layer *layer)
{
    dnnl_status_t status = collect_shapes(step, height, layer) ? ask_for_kernels(step, layer) : dnnl_unimplemented;
    if (status != dnnl_success)
        free_descriptions(layer);
    return status;
}

// How the cut sees the layer. A linear's samples are one image, unless they differ in what is added or how codes are
// made.
static struct sdg_grid_layer describe_layer(const struct sdg_cpu_step *step)
{
    const struct sdg_op *op = step->op;
    const int64_t *in = sdg_cpu_value(step->program, op->in[0])->dims,
                  *w = sdg_cpu_value(step->program, op->in[1])->dims;
    const int64_t *out = sdg_cpu_value(step->program, op->out)->dims;
    const bool linear = op->kind == SDG_OP_LINEAR;
    const bool by_sample = (op->epilogue.table && sdg_cpu_table_stride(step->program, op->epilogue.table)) ||
        (op->codes.interval && sdg_cpu_value(step->program, op->codes.interval)->dims[1] > 1);
    const int64_t bytes = (int64_t)sdg_dtype_size(sdg_cpu_value(step->program, op->in[0])->dtype);
    const int64_t images = linear && !by_sample ? 1 : out[0], merged = out[0] / images;
    return (struct sdg_grid_layer){
        .in_blocks = true,
        .samples = images,
        .height = linear ? merged * out[1] * out[2] : out[1],
        .width = linear ? 1 : out[2],
        .channels = out[3],
        .depth = w[1] * w[2] * w[3],
        .number_bytes = bytes,
        .input_bytes = merged * in[1] * in[2] * in[3] * bytes,
        .bytes_out_of_place =
            op->codes.interval || sdg_request_sums_only(step) ? 0 : merged * out[1] * out[2] * out[3] * bytes * 4,
    };
}

// A cut with bands 2^log2 times as high.
static dnnl_status_t try_bands(const struct sdg_cpu_step *step, int64_t height, const struct sdg_grid *cut, int log2,
                               struct sdg_layer *layer)
{
    const int64_t rows = log2 < 0 ? cut->rows >> -log2 : cut->rows << log2;
    if (rows < 1 || rows >= height)
        return dnnl_unimplemented;
    layer->grid = *cut;
    layer->grid.rows = rows;
    layer->grid.bands = (height + rows - 1) / rows;
    return try_grid(step, height, layer);
}

// The cut, else one that shares all weights, else lower or higher bands (for some heights of a band the library has
// another kernel where it ends inside the image than at the border), else none.
static dnnl_status_t choose_kernels(const struct sdg_cpu_step *step, struct sdg_layer *layer)
{
    static const int heights[] = {-1, 1, 2, 3, 4};
    struct sdg_grid_layer size = describe_layer(step);
    sdg_grid_cut(&size, &layer->grid);
    dnnl_status_t status = try_grid(step, size.height, layer);
    if (status == dnnl_unimplemented && layer->grid.blocks > 1) {
        size.in_blocks = false;
        sdg_grid_cut(&size, &layer->grid);
        status = try_grid(step, size.height, layer);
    }
    const struct sdg_grid cut = layer->grid;
    for (size_t i = 0; i < sizeof heights / sizeof *heights && status == dnnl_unimplemented && cut.bands > 1; i++)
        status = try_bands(step, size.height, &cut, heights[i], layer);
    if (status == dnnl_unimplemented && cut.bands > 1) {
        sdg_grid_whole(&size, &layer->grid);
        status = try_grid(step, size.height, layer);
    }
    return status;
}

// ---- memory ----

// How many of a block's weights can be kept as four bits: all its codes, if the kernel's order adds nothing but what
// comes behind them.
static size_t packable_codes(const struct sdg_cpu_step *step, const struct sdg_layer *layer)
{
    dnnl_dims_t *padded = NULL;
    int rank = 0;
    if (sdg_cpu_value(step->program, step->op->in[1])->bits != 4)
        return 0;
    if (dnnl_memory_desc_query(weights_of(layer), dnnl_query_padded_dims, &padded) != dnnl_success ||
        dnnl_memory_desc_query(weights_of(layer), dnnl_query_ndims_s32, &rank) != dnnl_success)
        return 0;
    size_t codes = 1;
    for (int i = 0; i < rank; i++)
        codes *= (size_t)(*padded)[i];
    return codes % SDG_FAST_NIBBLES == 0 && codes <= layer->block_bytes ? codes : 0;
}

static void plan_weights(struct sdg_cpu_step *step, struct sdg_layer *layer)
{
    const size_t blocks = (size_t)layer->grid.blocks;
    layer->packed_codes = packable_codes(step, layer);
    layer->packed_stride = sdg_fast_align(layer->block_bytes - layer->packed_codes / 2);
    step->weight_bytes = blocks * (layer->packed_codes ? layer->packed_stride : layer->block_stride);
    if (sdg_request_sums_only(step))
        step->weight_bytes += sizeof(int32_t) * (size_t)sdg_cpu_value(step->program, step->op->out)->dims[3];
    if (!layer->code_bits)
        return;
    layer->code_count =
        blocks * layer->block_bytes / sdg_dtype_size(sdg_cpu_value(step->program, step->op->in[0])->dtype);
    step->weight_bytes =
        sdg_fast_plan_codes(&layer->code_bits, layer->code_count, sdg_cpu_value(step->program, step->op->out)->dims[3]);
}

static size_t add(size_t *sum, size_t bytes)
{
    const size_t at = *sum;
    *sum += sdg_fast_align(bytes);
    return at;
}

static void plan_lanes(struct sdg_cpu_step *step, struct sdg_layer *layer)
{
    enum { MEMORY_BYTES = 1024 }; // the library's description of one argument, about
    const struct sdg_op *op = step->op;
    const struct sdg_grid *grid = &layer->grid;
    const int64_t *out = sdg_cpu_value(step->program, op->out)->dims;
    const size_t pixels = (size_t)(grid->rows * (op->kind == SDG_OP_CONV2D ? out[2] : 1));
    const size_t numbers = pixels * (size_t)grid->width;
    const int64_t pieces = sdg_grid_pieces(grid), threads = sdg_cpu_backend_of(step->program)->threads;
    size_t scratchpad = 0, residual = 0, result = 0;
    for (int i = 0; i < layer->shape_count; i++) {
        const size_t bytes = dnnl_memory_desc_get_size(
            dnnl_primitive_desc_query_md(layer->descriptions[i], dnnl_query_scratchpad_md, 0));
        scratchpad = bytes > scratchpad ? bytes : scratchpad;
    }
    if (op->epilogue.residual && grid->blocks > 1 && !sdg_request_sums_only(step))
        residual = numbers * sdg_dtype_size(sdg_cpu_value(step->program, op->epilogue.residual)->dtype);
    if (sdg_request_sums_only(step))
        result = numbers * sizeof(int32_t) + SDG_CPU_ALIGNMENT; // the last row is read in whole vectors
    else if (op->codes.interval || grid->blocks > 1)
        result = numbers *
            (op->codes.interval ? sizeof(float) : sdg_dtype_size(sdg_cpu_value(step->program, op->out)->dtype));
    layer->in_lane.scratchpad = add(&layer->lane_bytes, scratchpad);
    layer->in_lane.bias = add(&layer->lane_bytes, op->epilogue.table ? (size_t)grid->width * sizeof(float) : 0);
    layer->in_lane.residual = add(&layer->lane_bytes, residual);
    layer->in_lane.result = add(&layer->lane_bytes, result);
    layer->lane_count = threads < pieces ? threads : pieces;
    layer->at.lanes = sdg_fast_reserve(step, (size_t)layer->lane_count * layer->lane_bytes);
    step->program->extra_bytes +=
        (size_t)layer->lane_count * (size_t)(SDG_ROLES + (layer->shape_count - 1) * SDG_ROLE_WEIGHTS) * MEMORY_BYTES;
}

static void plan_scratch(struct sdg_cpu_step *step, struct sdg_layer *layer)
{
    const struct sdg_op *op = step->op;
    const int64_t *in = sdg_cpu_value(step->program, op->in[0])->dims,
                  *out = sdg_cpu_value(step->program, op->out)->dims;
    size_t image = 0;
    if (sdg_request_copies_border(step))
        image = (size_t)(in[0] * ((out[1] - 1) * op->u.conv2d.stride + op->u.conv2d.kernel_h) *
                         ((out[2] - 1) * op->u.conv2d.stride + op->u.conv2d.kernel_w) * in[3]);
    layer->at.weights =
        sdg_fast_reserve(step, sdg_layer_expands(layer) ? (size_t)layer->grid.blocks * layer->block_stride : 0);
    layer->at.zero = sdg_fast_reserve(step, sdg_request_has_zero_point(step) ? sizeof(int32_t) : 0);
    layer->at.image = sdg_fast_reserve(step, image);
    plan_lanes(step, layer);
}

// ---- prepare, destroy ----

static void destroy(struct sdg_cpu_step *step)
{
    struct sdg_layer *layer = step->state;
    sdg_layer_close_lanes(layer);
    for (int i = 0; i < SDG_LAYER_SHAPES; i++)
        if (layer->primitives[i])
            dnnl_primitive_destroy(layer->primitives[i]);
    free_descriptions(layer);
    sdg_free(layer);
    step->state = NULL;
}

static enum sdg_result make_kernels(struct sdg_cpu_step *step)
{
    struct sdg_layer *layer = step->state;
    for (int i = 0; i < layer->shape_count; i++) {
        const dnnl_status_t status = dnnl_primitive_create(&layer->primitives[i], layer->descriptions[i]);
        if (status != dnnl_success)
            return sdg_layer_report(step, status, "make the kernel");
    }
    return sdg_layer_open_lanes(step);
}

static enum sdg_result prepare(struct sdg_cpu_step *step)
{
    const int before = sdg_onednn_enter();
    enum sdg_result result = sdg_layer_load(step);
    if (result == SDG_OK)
        result = make_kernels(step);
    sdg_onednn_leave(before);
    return result;
}

// ---- select ----

static void fill_step(struct sdg_cpu_step *step, struct sdg_layer *layer)
{
    step->state = layer;
    step->prepare = prepare;
    step->run = sdg_layer_run;
    step->destroy = destroy;
    plan_weights(step, layer);
    plan_scratch(step, layer);
    snprintf(step->kernel, sizeof step->kernel, "%s%s", kernel_name(layer, 0),
             layer->packed_codes || layer->code_bits == 4 ? ", 4-bit weights"
                 : layer->code_bits                       ? ", 8-bit weights"
                                                          : "");
    sdg_cpu_want_weight(step->program, step->op->epilogue.bias);
    if (sdg_request_on_integers(step->op))
        sdg_cpu_want_weight(step->program, step->op->in[3]);
}

static bool is_for_us(const struct sdg_cpu_program *program, const struct sdg_op *op)
{
    if ((op->kind != SDG_OP_CONV2D && op->kind != SDG_OP_LINEAR) || sdg_op_is_fused(op) ||
        sdg_cpu_value(program, op->in[1])->kind != SDG_VALUE_WEIGHT)
        return false;
    if (op->epilogue.bias && sdg_cpu_value(program, op->epilogue.bias)->dtype != SDG_F32)
        return false;
    return true;
}

// What our own epilogue of sums reads and writes.
static bool has_epilogue_types(const struct sdg_cpu_step *step)
{
    const struct sdg_op *op = step->op;
    const enum sdg_dtype out = sdg_cpu_value(step->program, op->out)->dtype,
                         type = op->epilogue.residual ? sdg_cpu_value(step->program, op->epilogue.residual)->dtype
        : op->codes.interval                          ? SDG_F32
                                                      : out;
    return (type == SDG_F32 || type == SDG_BF16) && (op->codes.interval || type == out);
}

static enum sdg_result select(struct sdg_cpu_program *program, struct sdg_cpu_step *step, bool *taken)
{
    if (!is_for_us(program, step->op) || (sdg_request_sums_only(step) && !has_epilogue_types(step)))
        return SDG_OK;
    struct sdg_layer *layer = sdg_alloc(program->base.log, 1, sizeof *layer, "a kernel");
    if (!layer)
        return SDG_ERROR_MEMORY;
    layer->code_bits = sdg_request_on_integers(step->op) ? 0 : sdg_cpu_code_bits(program, step->op->in[1]);
    const int before = sdg_onednn_enter();
    const dnnl_status_t status = choose_kernels(step, layer);
    sdg_onednn_leave(before);
    if (status != dnnl_success) {
        sdg_free(layer);
        return status == dnnl_out_of_memory
            ? sdg_fail(program->base.log, SDG_ERROR_MEMORY, "not enough memory for a kernel")
            : SDG_OK;
    }
    fill_step(step, layer);
    *taken = true;
    return SDG_OK;
}

const struct sdg_cpu_provider sdg_onednn_provider = {.name = "oneDNN", .select = select};
