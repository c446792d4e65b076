// A run of a layer: pieces, shared out over the pool's threads.
#include "backend/cpu/onednn/layer.h"

#include "backend/cpu/fast/kernels.h"
#include "backend/cpu/fast/tools.h"
#include "backend/cpu/onednn/onednn.h"

#include <stdatomic.h>
#include <string.h>

// One run.
struct pass {
    const struct sdg_cpu_step *step;
    const struct sdg_layer *layer;
    int64_t row;
    const float *interval;              // of the input, where that is codes
    struct sdg_fast_intervals tokens;   // ... one for each token
    const struct sdg_fast_codes *codes; // that the result becomes, or NULL
    atomic_int status;                  // the first one that is no success
};

// One piece of it.
struct piece {
    const struct pass *pass;
    struct sdg_lane *lane;
    char *memory; // the lane's
    int shape;
    int64_t sample, input_row;   // the latter without padding
    int64_t first_pixel, pixels; // of the output, in the sample
    int64_t first_channel, block;
};

// ---- where things are ----

static int64_t pixels_of_row(const struct sdg_cpu_step *step)
{
    return step->op->kind == SDG_OP_CONV2D ? sdg_cpu_value(step->program, step->op->out)->dims[2] : 1;
}

// Pixels of a sample, as the grid counts samples.
static int64_t pixels_of_sample(const struct sdg_cpu_step *step)
{
    const int64_t *out = sdg_cpu_value(step->program, step->op->out)->dims;
    return out[0] * out[1] * out[2] / sdg_layer_of(step)->grid.samples;
}

static struct piece piece_at(const struct pass *pass, int64_t index, int thread)
{
    const struct sdg_cpu_step *step = pass->step;
    const struct sdg_layer *layer = pass->layer;
    const struct sdg_grid_piece at = sdg_grid_piece_at(&layer->grid, index);
    const int64_t width = pixels_of_row(step), height = pixels_of_sample(step) / width,
                  first = at.band * layer->grid.rows;
    const int64_t rows = height - first < layer->grid.rows ? height - first : layer->grid.rows;
    const int64_t lane = layer->lane_count < sdg_grid_pieces(&layer->grid) ? thread : index;
    struct piece p = {.pass = pass, .lane = &layer->lanes[lane], .sample = at.sample, .block = at.block};
    const struct sdg_piece_shape shape = sdg_layer_shape(step, first, rows, &p.input_row);
    while (memcmp(&layer->shapes[p.shape], &shape, sizeof shape) != 0)
        p.shape++;
    if (p.input_row < 0)
        p.input_row = 0;
    p.memory = (char *)step->scratch + layer->at.lanes + (size_t)lane * layer->lane_bytes;
    p.first_pixel = first * width;
    p.pixels = rows * width;
    p.first_channel = at.block * layer->grid.width;
    return p;
}

static const void *source(const struct piece *p)
{
    const struct sdg_cpu_step *step = p->pass->step;
    const struct sdg_value_info *in = sdg_cpu_value(step->program, step->op->in[0]);
    const int64_t *out = sdg_cpu_value(step->program, step->op->out)->dims;
    const int64_t size = (int64_t)sdg_dtype_size(in->dtype);
    const char *data = sdg_cpu_data(step->program, step->op->in[0]);
    if (step->op->kind == SDG_OP_LINEAR)
        return data + (p->sample * pixels_of_sample(step) + p->first_pixel) * in->dims[3] * size;
    if (!sdg_request_copies_border(step))
        return data + (p->sample * in->dims[1] + p->input_row) * in->dims[2] * in->dims[3] * size;
    const int64_t stride = step->op->u.conv2d.stride;
    const int64_t height = (out[1] - 1) * stride + step->op->u.conv2d.kernel_h,
                  width = (out[2] - 1) * stride + step->op->u.conv2d.kernel_w;
    return (char *)step->scratch + p->pass->layer->at.image +
        (p->sample * height + p->first_pixel / out[2] * stride) * width * in->dims[3];
}

// Where the piece begins in a tensor of the result's shape.
static char *in_result(const struct piece *p, sdg_value v)
{
    const struct sdg_cpu_step *step = p->pass->step;
    const struct sdg_value_info *info = sdg_cpu_value(step->program, v);
    return (char *)sdg_cpu_data(step->program, v) +
        ((p->sample * pixels_of_sample(step) + p->first_pixel) * info->dims[3] + p->first_channel) *
        (int64_t)sdg_dtype_size(info->dtype);
}

static const char *weights(const struct piece *p)
{
    const struct sdg_layer *layer = p->pass->layer;
    const char *all = sdg_layer_expands(layer) ? (const char *)p->pass->step->scratch + layer->at.weights
                                               : (const char *)p->pass->step->weights;
    return all + (size_t)p->block * layer->block_stride;
}

// The vector that is added to every pixel: the bias, the sample's row of the table, or their sum.
static const float *vector(const struct piece *p)
{
    const struct sdg_cpu_step *step = p->pass->step;
    const struct sdg_epilogue *epilogue = &step->op->epilogue;
    const float *bias =
        epilogue->bias ? (const float *)sdg_cpu_data(step->program, epilogue->bias) + p->first_channel : NULL;
    if (!epilogue->table)
        return bias;
    const float *table = sdg_cpu_table(step->program, epilogue->table, p->pass->row) + p->first_channel +
        p->sample * sdg_cpu_table_stride(step->program, epilogue->table);
    if (!bias)
        return table;
    float *sum = (float *)(p->memory + p->pass->layer->in_lane.bias);
    for (int64_t c = 0; c < p->pass->layer->grid.width; c++)
        sum[c] = bias[c] + table[c];
    return sum;
}

static const void *residual(const struct piece *p)
{
    const struct sdg_cpu_step *step = p->pass->step;
    const struct sdg_layer *layer = p->pass->layer;
    const char *from = in_result(p, step->op->epilogue.residual);
    if (layer->grid.blocks == 1)
        return from;
    const struct sdg_value_info *info = sdg_cpu_value(step->program, step->op->epilogue.residual);
    const size_t size = sdg_dtype_size(info->dtype), bytes = (size_t)layer->grid.width * size;
    char *to = p->memory + layer->in_lane.residual;
    for (int64_t i = 0; i < p->pixels; i++)
        memcpy(to + (size_t)i * bytes, from + (size_t)(i * info->dims[3]) * size, bytes);
    return to;
}

static const void *place(const struct piece *p, enum sdg_memory_role role)
{
    const struct sdg_cpu_step *step = p->pass->step;
    const struct sdg_layer *layer = p->pass->layer;
    switch (role) {
    case SDG_ROLE_SRC: return source(p);
    case SDG_ROLE_DST:
        return sdg_layer_computes_aside(step) ? p->memory + layer->in_lane.result : in_result(p, step->op->out);
    case SDG_ROLE_RESIDUAL: return residual(p);
    case SDG_ROLE_SCRATCHPAD: return p->memory + layer->in_lane.scratchpad;
    case SDG_ROLE_WEIGHTS: return weights(p);
    case SDG_ROLE_BIAS: return vector(p);
    case SDG_ROLE_SRC_SCALE: return p->pass->interval;
    case SDG_ROLE_SRC_ZERO: return (char *)step->scratch + layer->at.zero;
    case SDG_ROLE_WEIGHT_SCALE: return (const float *)sdg_cpu_data(step->program, step->op->in[3]) + p->first_channel;
    case SDG_ROLE_CODE_SCALE:
        return sdg_fast_code_scales(step, sdg_cpu_value(step->program, step->op->out)->dims[3]) + p->first_channel;
    default: return NULL;
    }
}

// ---- a piece ----

static dnnl_status_t execute(const struct piece *p)
{
    const struct sdg_layer *layer = p->pass->layer;
    dnnl_exec_arg_t arguments[SDG_ROLES];
    int count = 0;
    dnnl_status_t status = dnnl_success;
    for (int role = 0; role < SDG_ROLES && status == dnnl_success; role++) {
        struct sdg_argument *a = &p->lane->arguments[role < SDG_ROLE_WEIGHTS ? p->shape : 0][role];
        if (!a->memory)
            continue;
        const void *data = place(p, (enum sdg_memory_role)role);
        if (a->data != data)
            status = dnnl_memory_set_data_handle(a->memory, (void *)data);
        a->data = data;
        const int name = sdg_request_argument(p->pass->step, layer->code_bits, (enum sdg_memory_role)role);
        arguments[count++] = (dnnl_exec_arg_t){name, a->memory};
    }
    if (status == dnnl_success)
        status = dnnl_primitive_execute(layer->primitives[p->shape], p->lane->stream, count, arguments);
    return status == dnnl_success ? dnnl_stream_wait(p->lane->stream) : status;
}

// Codes of the piece's results. Their tokens are those of its sample.
static void store_codes(const struct piece *p)
{
    const struct sdg_cpu_step *step = p->pass->step;
    const struct sdg_fast_kernels *kernels = sdg_fast_kernels_for(step);
    const int64_t channels = sdg_cpu_value(step->program, step->op->out)->dims[3], width = p->pass->layer->grid.width;
    const float *from = (const float *)(p->memory + p->pass->layer->in_lane.result);
    uint8_t *to = (uint8_t *)in_result(p, step->op->out);
    struct sdg_fast_codes codes = *p->pass->codes;
    codes.intervals.pairs += p->first_pixel * codes.intervals.stride;
    if (width == channels) {
        kernels->quantize(from, to, false, &codes, channels, 0, p->pixels);
        return;
    }
    for (int64_t i = 0; i < p->pixels; i++) {
        kernels->quantize(from + i * width, to + i * channels, false, &codes, width, 0, 1);
        codes.intervals.pairs += codes.intervals.stride;
    }
}

// Results of the piece's sums: activation(s[l] s_w[n] (sum - z[l] sum_k w[n,k]) + bias + table + residual), or their
// codes.
static void finish_sums(const struct piece *p)
{
    const struct sdg_cpu_step *step = p->pass->step;
    const struct sdg_fast_kernels *kernels = sdg_fast_kernels_for(step);
    const struct sdg_epilogue *e = &step->op->epilogue;
    const struct sdg_value_info *out = sdg_cpu_value(step->program, step->op->out);
    const int64_t width = p->pass->layer->grid.width, token = p->sample * pixels_of_sample(step) + p->first_pixel,
                  pixels = out->dims[1] * out->dims[2];
    const float *sums = (const float *)(p->memory + p->pass->layer->in_lane.result);
    const char *residual = e->residual ? in_result(p, e->residual) : NULL;
    char *to = in_result(p, step->op->out);
    struct sdg_fast_epilogue end = {
        .integers = true,
        .scales = (const float *)sdg_cpu_data(step->program, step->op->in[3]) + p->first_channel,
        .weight_sums = sdg_layer_weight_sums(step) + p->first_channel,
        .bias = e->bias ? (const float *)sdg_cpu_data(step->program, e->bias) + p->first_channel : NULL,
        .activation = e->activation,
        .half = sdg_cpu_value(step->program, e->residual ? e->residual : step->op->out)->dtype == SDG_BF16,
        .codes = p->pass->codes,
    };
    for (int64_t i = 0; i < p->pixels; i++) {
        const float *pair = p->pass->tokens.pairs + (token + i) % p->pass->tokens.tokens * p->pass->tokens.stride;
        end.token = token + i;
        end.scale = pair[0];
        end.zero = (int32_t)pair[1];
        if (e->table)
            end.table = sdg_cpu_table(step->program, e->table, p->pass->row) + p->first_channel +
                end.token / pixels * sdg_cpu_table_stride(step->program, e->table);
        end.residual = residual ? residual + i * out->dims[3] * (end.half ? 2 : 4) : NULL;
        kernels->epilogue(&end, sums + i * width, to + i * out->dims[3] * (int64_t)sdg_dtype_size(out->dtype), width);
    }
}

static void store(const struct piece *p)
{
    const struct sdg_cpu_step *step = p->pass->step;
    if (sdg_request_sums_only(step)) {
        finish_sums(p);
        return;
    }
    if (p->pass->codes) {
        store_codes(p);
        return;
    }
    const struct sdg_value_info *out = sdg_cpu_value(step->program, step->op->out);
    const size_t size = sdg_dtype_size(out->dtype), bytes = (size_t)p->pass->layer->grid.width * size;
    const char *from = p->memory + p->pass->layer->in_lane.result;
    char *to = in_result(p, step->op->out);
    for (int64_t i = 0; i < p->pixels; i++)
        memcpy(to + (size_t)(i * out->dims[3]) * size, from + (size_t)i * bytes, bytes);
}

static void compute_piece(void *context, int64_t index, int thread)
{
    struct pass *pass = context;
    const struct piece p = piece_at(pass, index, thread);
    (void)sdg_onednn_enter(); // the caller's thread leaves when all is done; the pool's do nothing else
    const dnnl_status_t status = execute(&p);
    if (status != dnnl_success)
        atomic_store(&pass->status, (int)status);
    else if (sdg_layer_computes_aside(pass->step))
        store(&p);
}

// ---- a run ----

// This row's scale and zero point of the input.
static enum sdg_result set_interval(struct pass *pass)
{
    const struct sdg_cpu_step *step = pass->step;
    pass->tokens = sdg_fast_intervals(step->program, step->op->in[2], pass->row);
    pass->interval = pass->tokens.pairs;
    if (sdg_request_sums_only(step))
        return SDG_OK;
    if (sdg_request_has_zero_point(step))
        *(int32_t *)((char *)step->scratch + pass->layer->at.zero) = (int32_t)pass->interval[1];
    else if (pass->interval[1] != 0)
        return sdg_fail(step->program->base.log, SDG_ERROR_INPUT,
                        "%s: codes with a sign have zero point %g, should be 0", step->op->name,
                        (double)pass->interval[1]);
    return SDG_OK;
}

// Rows of the image with its border, which is the zero point.
static void copy_rows(void *context, int64_t first, int64_t end, int thread)
{
    const struct pass *pass = context;
    const struct sdg_cpu_step *step = pass->step;
    const struct sdg_op *op = step->op;
    const int64_t *in = sdg_cpu_value(step->program, op->in[0])->dims,
                  *out = sdg_cpu_value(step->program, op->out)->dims;
    const int64_t height = (out[1] - 1) * op->u.conv2d.stride + op->u.conv2d.kernel_h,
                  width = (out[2] - 1) * op->u.conv2d.stride + op->u.conv2d.kernel_w, left = op->u.conv2d.pad_left;
    const int64_t columns = in[2] < width - left ? in[2] : width - left;
    const uint8_t *from = sdg_cpu_data(step->program, op->in[0]);
    uint8_t *to = (uint8_t *)step->scratch + pass->layer->at.image;
    const int zero = (int)pass->interval[1];
    (void)thread;
    for (int64_t i = first; i < end; i++) {
        const int64_t y = i % height - op->u.conv2d.pad_top;
        uint8_t *row = to + i * width * in[3];
        if (y < 0 || y >= in[1]) {
            memset(row, zero, (size_t)(width * in[3]));
            continue;
        }
        memset(row, zero, (size_t)(left * in[3]));
        memcpy(row + left * in[3], from + (i / height * in[1] + y) * in[2] * in[3], (size_t)(columns * in[3]));
        memset(row + (left + columns) * in[3], zero, (size_t)((width - left - columns) * in[3]));
    }
}

static void copy_image(struct pass *pass)
{
    enum { PART = 1 << 16 }; // bytes
    const struct sdg_op *op = pass->step->op;
    const int64_t *in = sdg_cpu_value(pass->step->program, op->in[0])->dims,
                  *out = sdg_cpu_value(pass->step->program, op->out)->dims;
    const int64_t height = (out[1] - 1) * op->u.conv2d.stride + op->u.conv2d.kernel_h, bytes = in[2] * in[3];
    sdg_cpu_run_parts(pass->step->program, in[0] * height, bytes < PART ? PART / bytes : 1, copy_rows, pass);
}

enum sdg_result sdg_layer_run(const struct sdg_cpu_step *step, int64_t row)
{
    struct sdg_fast_codes codes;
    struct pass pass = {.step = step, .layer = step->state, .row = row, .codes = sdg_fast_codes(step, row, &codes)};
    atomic_init(&pass.status, (int)dnnl_success);
    if (sdg_request_on_integers(step->op))
        SDG_TRY(set_interval(&pass));
    if (sdg_request_copies_border(step))
        copy_image(&pass);
    if (sdg_layer_expands(pass.layer))
        sdg_layer_expand(step);
    const int before = sdg_onednn_enter();
    sdg_cpu_run(step->program, sdg_grid_pieces(&pass.layer->grid), compute_piece, &pass);
    sdg_onednn_leave(before);
    const dnnl_status_t status = (dnnl_status_t)atomic_load(&pass.status);
    return status == dnnl_success ? SDG_OK : sdg_layer_report(step, status, "run");
}
