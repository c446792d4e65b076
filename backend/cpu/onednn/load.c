// Weights: from the file's order to the kernel's, and from what is kept to what is multiplied.
//
// The library's reorders run on one thread, so the pool shares blocks and, of floats, slices of a block's outputs out.
// Weights of four bits stay packed: the ordered codes are packed again. Float weights that the file has as codes with
// one scale per output stay codes, in the kernel's order.
#include "backend/cpu/onednn/layer.h"

#include "backend/cpu/fast/kernels.h"
#include "backend/cpu/fast/tools.h"
#include "backend/cpu/onednn/onednn.h"
#include "base/memory.h"

#include <stdatomic.h>
#include <string.h>

// Weights on their way: `plain`, all outputs in the file's order, to `ordered`, blocks in the kernel's.
struct ordering {
    const struct sdg_cpu_step *step;
    const struct sdg_layer *layer;
    const_dnnl_memory_desc_t block; // as the kernel reads it
    bool conv, integers;
    const int64_t *dims; // [O,I,KH,KW]
    int64_t depth;       // of an output: numbers
    size_t size;         // of a number
    const char *plain;
    char *turned; // integers: in an order from which the library is fast
    char *ordered;
    int64_t slices, outputs; // of a block, of a slice (the last one may have fewer)
    atomic_int status;       // the first one that is no success
};

static dnnl_status_t reorder(dnnl_engine_t engine, const_dnnl_memory_desc_t from_md, void *from,
                             const_dnnl_memory_desc_t to_md, void *to)
{
    dnnl_primitive_desc_t description = NULL;
    dnnl_primitive_t primitive = NULL;
    dnnl_memory_t source = NULL, target = NULL;
    dnnl_stream_t stream = NULL;
    dnnl_status_t status = dnnl_stream_create(&stream, engine, dnnl_stream_default_flags);
    if (status == dnnl_success)
        status = dnnl_memory_create(&source, from_md, engine, from);
    if (status == dnnl_success)
        status = dnnl_memory_create(&target, to_md, engine, to);
    if (status == dnnl_success)
        status = dnnl_reorder_primitive_desc_create(&description, from_md, engine, to_md, engine, NULL);
    if (status == dnnl_success)
        status = dnnl_primitive_create(&primitive, description);
    if (status == dnnl_success)
        status = dnnl_primitive_execute(primitive, stream, 2,
                                        (dnnl_exec_arg_t[]){{DNNL_ARG_FROM, source}, {DNNL_ARG_TO, target}});
    if (status == dnnl_success)
        status = dnnl_stream_wait(stream);
    if (primitive)
        dnnl_primitive_destroy(primitive);
    if (description)
        dnnl_primitive_desc_destroy(description);
    if (target)
        dnnl_memory_destroy(target);
    if (source)
        dnnl_memory_destroy(source);
    if (stream)
        dnnl_stream_destroy(stream);
    return status;
}

// linear: [O,I] -> [I,O]. From the file's order the library takes 20 times as long (conv2d: 7 times).
static void transpose(const int8_t *from, int8_t *to, int64_t outputs, int64_t inputs)
{
    enum { SIDE = 64 };
    for (int64_t first = 0; first < inputs; first += SIDE)
        for (int64_t o = 0; o < outputs; o += SIDE)
            for (int64_t i = first; i < first + SIDE && i < inputs; i++)
                for (int64_t k = o; k < o + SIDE && k < outputs; k++)
                    to[i * outputs + k] = from[k * inputs + i];
}

// conv2d: [O,I,KH,KW] -> [O,KH,KW,I]
static void move_inputs_last(const int8_t *from, int8_t *to, int64_t outputs, int64_t inputs, int64_t positions)
{
    for (int64_t o = 0; o < outputs; o++)
        for (int64_t p = 0; p < positions; p++)
            for (int64_t i = 0; i < inputs; i++)
                to[(o * positions + p) * inputs + i] = from[(o * inputs + i) * positions + p];
}

// Outputs [first, first + count), at *data as described by *out; integers are brought into a better order before.
static dnnl_status_t describe_plain(const struct ordering *r, int64_t first, int64_t count, void **data,
                                    dnnl_memory_desc_t *out)
{
    const int64_t *w = r->dims;
    const size_t at = (size_t)(first * r->depth) * r->size;
    const dnnl_data_type_t type = sdg_request_weight_type(r->step);
    *data = (char *)r->plain + at;
    if (r->integers) {
        *data = r->turned + at;
        if (r->conv)
            move_inputs_last((const int8_t *)r->plain + at, *data, count, w[1], w[2] * w[3]);
        else
            transpose((const int8_t *)r->plain + at, *data, count, w[1]);
    }
    if (r->conv)
        return dnnl_memory_desc_create_with_tag(out, 4, (dnnl_dims_t){count, w[1], w[2], w[3]}, type,
                                                r->integers ? dnnl_ohwi : dnnl_oihw);
    return dnnl_memory_desc_create_with_tag(out, 2, (dnnl_dims_t){w[1], count}, type, r->integers ? dnnl_ab : dnnl_ba);
}

// Outputs [first, first + count) of a block, as part of it.
static dnnl_status_t describe_slice(const struct ordering *r, int64_t first, int64_t count, dnnl_memory_desc_t *out)
{
    const int64_t *w = r->dims;
    if (count == r->layer->grid.width)
        return dnnl_memory_desc_clone(out, r->block);
    if (r->conv)
        return dnnl_memory_desc_create_submemory(out, r->block, (dnnl_dims_t){count, w[1], w[2], w[3]},
                                                 (dnnl_dims_t){first, 0, 0, 0});
    return dnnl_memory_desc_create_submemory(out, r->block, (dnnl_dims_t){w[1], count}, (dnnl_dims_t){0, first});
}

static dnnl_status_t order_slice(const struct ordering *r, int64_t block, int64_t slice)
{
    const struct sdg_onednn *onednn = sdg_cpu_backend_of(r->step->program)->state;
    const int64_t first = slice * r->outputs, width = r->layer->grid.width,
                  count = width - first < r->outputs ? width - first : r->outputs;
    dnnl_memory_desc_t from = NULL, to = NULL;
    void *data = NULL;
    dnnl_status_t status = describe_plain(r, block * width + first, count, &data, &from);
    if (status == dnnl_success)
        status = describe_slice(r, first, count, &to);
    if (status == dnnl_success)
        status = reorder(onednn->engine, from, data, to, r->ordered + (size_t)block * r->layer->block_stride);
    if (from)
        dnnl_memory_desc_destroy(from);
    if (to)
        dnnl_memory_desc_destroy(to);
    return status;
}

static void order_part(void *context, int64_t index, int thread)
{
    struct ordering *r = context;
    (void)thread;
    (void)sdg_onednn_enter();
    const dnnl_status_t status = order_slice(r, index / r->slices, index % r->slices);
    if (status != dnnl_success)
        atomic_store(&r->status, (int)status);
}

// Outputs that lie together in the kernel's order.
static int64_t outputs_together(const struct ordering *r)
{
    dnnl_dims_t *blocks = NULL, *axes = NULL;
    int count = 0;
    if (dnnl_memory_desc_query(r->block, dnnl_query_inner_nblks_s32, &count) != dnnl_success ||
        dnnl_memory_desc_query(r->block, dnnl_query_inner_blks, &blocks) != dnnl_success ||
        dnnl_memory_desc_query(r->block, dnnl_query_inner_idxs, &axes) != dnnl_success)
        return r->layer->grid.width;
    int64_t outputs = 1;
    for (int i = 0; i < count; i++)
        outputs *= (*axes)[i] == (r->conv ? 0 : 1) ? (*blocks)[i] : 1;
    return outputs;
}

// Integers have sums of their weights behind them, which no slice has.
static void cut_blocks(struct ordering *r)
{
    enum { NUMBERS = 1 << 18 }; // of a slice, about
    const int64_t width = r->layer->grid.width, together = outputs_together(r);
    dnnl_memory_desc_t slice = NULL;
    r->slices = 1;
    r->outputs = width;
    if (r->integers || width * r->depth < 2 * NUMBERS)
        return;
    const int64_t outputs = (NUMBERS / r->depth / together + 1) * together;
    if (outputs >= width || describe_slice(r, outputs, width - outputs, &slice) != dnnl_success)
        return;
    dnnl_memory_desc_destroy(slice);
    r->outputs = outputs;
    r->slices = (width + outputs - 1) / outputs;
}

// turned: as large as the plain weights, for integers.
static enum sdg_result order_weights(const struct sdg_cpu_step *step, const char *plain, char *turned, char *ordered)
{
    const struct sdg_layer *layer = step->state;
    const int64_t *dims = sdg_cpu_value(step->program, step->op->in[1])->dims;
    const bool integers = sdg_request_on_integers(step->op);
    const enum sdg_dtype type = sdg_cpu_value(step->program, step->op->in[0])->dtype;
    struct ordering r = {
        .step = step,
        .layer = layer,
        .block = dnnl_primitive_desc_query_md(layer->descriptions[0], dnnl_query_weights_md, 0),
        .conv = step->op->kind == SDG_OP_CONV2D,
        .integers = integers,
        .dims = dims,
        .depth = dims[1] * dims[2] * dims[3],
        .size = integers ? 1 : sdg_dtype_size(type),
        .plain = plain,
        .turned = turned,
        .ordered = ordered,
    };
    atomic_init(&r.status, (int)dnnl_success);
    cut_blocks(&r);
    sdg_cpu_run(step->program, layer->grid.blocks * r.slices, order_part, &r);
    const dnnl_status_t status = (dnnl_status_t)atomic_load(&r.status);
    return status == dnnl_success ? SDG_OK : sdg_layer_report(step, status, "reorder the weights");
}

// ---- integers and floats ----

// Per block [packed codes][what comes behind them, as it is]
static void pack_block(void *context, int64_t block, int thread)
{
    const struct ordering *r = context;
    const struct sdg_layer *layer = r->layer;
    const char *from = r->ordered + (size_t)block * layer->block_stride;
    char *to = (char *)r->step->weights + (size_t)block * layer->packed_stride;
    (void)thread;
    sdg_fast_pack4(sdg_cpu_backend_of(r->step->program)->pool, (const int8_t *)from, (uint8_t *)to,
                   layer->packed_codes);
    memcpy(to + layer->packed_codes / 2, from + layer->packed_codes, layer->block_bytes - layer->packed_codes);
}

static void sum_output(void *context, int64_t output, int thread)
{
    const struct ordering *r = context;
    const int8_t *codes = (const int8_t *)r->plain + output * r->depth;
    int32_t sum = 0;
    (void)thread;
    for (int64_t i = 0; i < r->depth; i++)
        sum += codes[i];
    sdg_layer_weight_sums(r->step)[output] = sum;
}

// The weight as in the file, converted to the kernel's type, goes through a buffer that lives only here.
static enum sdg_result load_weights(struct sdg_cpu_step *step)
{
    const struct sdg_layer *layer = step->state;
    const struct sdg_value_info *weight = sdg_cpu_value(step->program, step->op->in[1]);
    const bool integers = sdg_request_on_integers(step->op);
    const enum sdg_dtype dtype = integers ? SDG_S8 : sdg_cpu_value(step->program, step->op->in[0])->dtype;
    const size_t plain_bytes = sdg_fast_align((size_t)sdg_value_elements(weight) * sdg_dtype_size(dtype));
    const size_t turned_bytes = integers ? plain_bytes : 0;
    const size_t ordered_bytes = layer->packed_codes ? (size_t)layer->grid.blocks * layer->block_stride : 0;
    char *buffer = sdg_alloc_raw(step->program->base.log, plain_bytes + turned_bytes + ordered_bytes, 1,
                                 "weights being reordered");
    if (!buffer)
        return SDG_ERROR_MEMORY;
    char *turned = buffer + plain_bytes, *ordered = ordered_bytes ? turned + turned_bytes : step->weights;
    sdg_cpu_read_weight(step->program, step->op->in[1], dtype, buffer);
    enum sdg_result result = order_weights(step, buffer, turned, ordered);
    if (result == SDG_OK && layer->packed_codes) {
        struct ordering packing = {.step = step, .layer = layer, .ordered = ordered};
        sdg_cpu_run(step->program, layer->grid.blocks, pack_block, &packing);
    }
    if (result == SDG_OK && sdg_request_sums_only(step)) {
        struct ordering sums = {.step = step, .depth = weight->dims[1], .plain = buffer};
        sdg_cpu_run(step->program, weight->dims[0], sum_output, &sums);
    }
    sdg_free(buffer);
    return result;
}

// ---- floats kept as codes ----

// Numbers of the kernel's type that are codes, to codes.
struct narrowing {
    const char *from;
    bool bf16;
    int8_t *codes;
};

static void narrow(void *context, int64_t first, int64_t end, int thread)
{
    const struct narrowing *n = context;
    (void)thread;
    for (int64_t i = first; i < end; i++)
        n->codes[i] =
            (int8_t)(n->bf16 ? sdg_f32_from_bf16(((const uint16_t *)n->from)[i]) : ((const float *)n->from)[i]);
}

// Codes as in the file become numbers, the library brings these into its order, and they become codes again.
static enum sdg_result order_codes(struct sdg_cpu_step *step, int8_t *codes, char *plain, char *ordered)
{
    enum { PART = 1 << 16 };
    const struct sdg_layer *layer = step->state;
    const int64_t outputs = sdg_cpu_value(step->program, step->op->out)->dims[3];
    const size_t count = (size_t)sdg_value_elements(sdg_cpu_value(step->program, step->op->in[1]));
    const bool bf16 = sdg_cpu_value(step->program, step->op->in[0])->dtype == SDG_BF16;
    struct narrowing n = {.from = ordered, .bf16 = bf16, .codes = layer->code_bits == 4 ? codes : step->weights};
    sdg_cpu_read_codes(step->program, step->op->in[1], codes, sdg_fast_code_scales(step, outputs));
    sdg_fast_expand(step, codes, 8, plain, bf16, count);
    SDG_TRY(order_weights(step, plain, NULL, ordered));
    sdg_cpu_run_parts(step->program, (int64_t)layer->code_count, PART, narrow, &n);
    if (layer->code_bits == 4)
        sdg_fast_pack4(sdg_cpu_backend_of(step->program)->pool, codes, step->weights, layer->code_count);
    return SDG_OK;
}

static enum sdg_result load_codes(struct sdg_cpu_step *step)
{
    const struct sdg_layer *layer = step->state;
    const size_t count = (size_t)sdg_value_elements(sdg_cpu_value(step->program, step->op->in[1]));
    const size_t plain_bytes =
        sdg_fast_align(count * sdg_dtype_size(sdg_cpu_value(step->program, step->op->in[0])->dtype));
    const size_t code_bytes = sdg_fast_align(count > layer->code_count ? count : layer->code_count);
    char *buffer = sdg_alloc_raw(step->program->base.log,
                                 code_bytes + plain_bytes + (size_t)layer->grid.blocks * layer->block_stride, 1,
                                 "weights being reordered");
    if (!buffer)
        return SDG_ERROR_MEMORY;
    const enum sdg_result result =
        order_codes(step, (int8_t *)buffer, buffer + code_bytes, buffer + code_bytes + plain_bytes);
    sdg_free(buffer);
    return result;
}

enum sdg_result sdg_layer_load(struct sdg_cpu_step *step)
{
    return sdg_layer_of(step)->code_bits ? load_codes(step) : load_weights(step);
}

// ---- in every run ----

static void unpack_block(void *context, int64_t block, int thread)
{
    const struct sdg_cpu_step *step = context;
    const struct sdg_layer *layer = step->state;
    const uint8_t *packed = (const uint8_t *)step->weights + (size_t)block * layer->packed_stride;
    int8_t *to = (int8_t *)step->scratch + layer->at.weights + (size_t)block * layer->block_stride;
    (void)thread;
    sdg_fast_unpack4(step, packed, to, layer->packed_codes);
    memcpy(to + layer->packed_codes, packed + layer->packed_codes / 2, layer->block_bytes - layer->packed_codes);
}

void sdg_layer_expand(const struct sdg_cpu_step *step)
{
    const struct sdg_layer *layer = step->state;
    if (layer->code_bits)
        sdg_fast_expand(step, step->weights, layer->code_bits, (char *)step->scratch + layer->at.weights,
                        sdg_cpu_value(step->program, step->op->in[0])->dtype == SDG_BF16, layer->code_count);
    else if (layer->grid.blocks == 1)
        unpack_block((void *)step, 0, 0); // by all threads, as this is no work of the pool
    else
        sdg_cpu_run(step->program, layer->grid.blocks, unpack_block, (void *)step);
}
