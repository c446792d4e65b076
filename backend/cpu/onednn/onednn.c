// conv2d and linear by oneDNN.
//
// select() asks oneDNN for a kernel with activations as they lie (nhwc) and weights in any format; prepare() makes the
// primitive (which generates code; the library's own cache returns it for equal shapes) and reorders the weights; run()
// only moves pointers. The epilogue runs inside the kernel: bias and row table are summed into one vector beforehand,
// once per run, then the residual is added and the activation applied. A table with a row per sample makes the
// primitive one for a single sample, run N times.
//
// On integers scales and the zero point are arguments of the primitive, so that they may be any row's. Weights of four
// bits stay packed: prepare() packs the blocked codes again, run() unpacks them into scratch memory. Where codes are
// wanted as the result, the primitive writes f32 into scratch memory, and our own kernel makes the codes.
//
// Float weights that the file has as codes with one scale per output stay codes, in the kernel's order: run() expands
// them into scratch memory. What follows the sums then begins with the scales, so the bias is added after them by the
// epilogue, too.
#include "backend/cpu/onednn/onednn.h"

#include "backend/cpu/fast/sets.h"
#include "backend/cpu/fast/tools.h"

#if SDG_HAVE_ONEDNN

#include "base/memory.h"

#include <oneapi/dnnl/dnnl.h>
#include <stdio.h>
#include <string.h>

struct sdg_onednn {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
};

enum { SRC, WEIGHTS, BIAS, DST, RESIDUAL, SCRATCHPAD, SRC_SCALE, WEIGHT_SCALE, SRC_ZERO, CODE_SCALE, MEMORIES };

struct state {
    dnnl_primitive_desc_t description;
    dnnl_primitive_t primitive;
    dnnl_memory_t memory[MEMORIES]; // NULL where the operation has none
    dnnl_exec_arg_t args[MEMORIES];
    int arg_count;
    int64_t repeat;      // executions per run: 1, or N where every sample has its own table row
    int64_t channels;    // of the output
    size_t weight_bytes; // as the kernel reads them, compensation included
    size_t packed_codes; // how many of them are kept as four bits, the first ones
    int code_bits;       // floats kept as codes, of so many bits; 0: kept as they are multiplied
    size_t code_count;   // of these
    // Where things lie in the step's scratch memory, behind the library's own.
    struct { size_t bias, zero, result, weights; } at;
};

// ---- engine ----

enum sdg_result sdg_onednn_open(const struct sdg_log *log, struct sdg_onednn **out)
{
    *out = NULL;
    struct sdg_onednn *onednn = sdg_alloc(log, 1, sizeof *onednn, "the oneDNN engine");
    if (!onednn)
        return SDG_ERROR_MEMORY;
    dnnl_status_t status = dnnl_engine_create(&onednn->engine, dnnl_cpu, 0);
    if (status == dnnl_success)
        status = dnnl_stream_create(&onednn->stream, onednn->engine, dnnl_stream_default_flags);
    if (status != dnnl_success) {
        sdg_onednn_close(&onednn);
        return sdg_fail(log, SDG_ERROR_DEVICE, "oneDNN does not start on this machine (status %d)", (int)status);
    }
    *out = onednn;
    return SDG_OK;
}

void sdg_onednn_close(struct sdg_onednn **onednn)
{
    if (!*onednn)
        return;
    dnnl_stream_destroy((*onednn)->stream);
    dnnl_engine_destroy((*onednn)->engine);
    sdg_free(*onednn);
    *onednn = NULL;
}

// Must not ask for the effective set before it is limited: the library's answer is final.
bool sdg_onednn_limit(unsigned features)
{
#if defined(__x86_64__)
#define BIT(feature) SDG_CPU_##feature
    enum { VNNI = SDG_FAST_NEEDS_AVX512(BIT, |) | SDG_CPU_avx512vnni };
    static const struct {
        dnnl_cpu_isa_t isa;
        unsigned needs;
    } sets[] = {
        {dnnl_cpu_isa_avx512_core_bf16, VNNI | SDG_CPU_avx512bf16},
        {dnnl_cpu_isa_avx512_core_vnni, VNNI},
        {dnnl_cpu_isa_avx512_core, SDG_FAST_NEEDS_AVX512(BIT, |)},
        {dnnl_cpu_isa_avx2, SDG_FAST_NEEDS_AVX2(BIT, |)},
    };
#undef BIT
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++)
        if (!(sets[i].needs & ~features)) {
            dnnl_set_max_cpu_isa(sets[i].isa); // an error if it is too late, which the next line finds out
            return ((unsigned)dnnl_get_effective_cpu_isa() & ~(unsigned)sets[i].isa) == 0;
        }
#else
    (void)features;
#endif
    return false;
}

static const char *isa_name(void)
{
    switch (dnnl_get_effective_cpu_isa()) {
    case dnnl_cpu_isa_sse41: return "sse41";
    case dnnl_cpu_isa_avx: return "avx";
    case dnnl_cpu_isa_avx2: return "avx2";
    case dnnl_cpu_isa_avx2_vnni: return "avx2_vnni";
    case dnnl_cpu_isa_avx2_vnni_2: return "avx2_vnni_2";
    case dnnl_cpu_isa_avx512_core: return "avx512_core";
    case dnnl_cpu_isa_avx512_core_vnni: return "avx512_core_vnni";
    case dnnl_cpu_isa_avx512_core_bf16: return "avx512_core_bf16";
    case dnnl_cpu_isa_avx512_core_fp16: return "avx512_core_fp16";
    case dnnl_cpu_isa_avx512_core_amx: return "avx512_core_amx";
    case dnnl_cpu_isa_avx512_core_amx_fp16: return "avx512_core_amx_fp16";
    default: return "any processor";
    }
}

void sdg_onednn_describe(char *text, size_t size)
{
    const dnnl_version_t *version = dnnl_version();
    snprintf(text, size, "oneDNN %d.%d.%d, %s", version->major, version->minor, version->patch, isa_name());
}

bool sdg_onednn_has_bf16(void)
{
    const int bf16 = dnnl_cpu_isa_avx512_core_bf16; // the instruction sets' values are sets of bits
    return ((int)dnnl_get_effective_cpu_isa() & bf16) == bf16;
}

// Integers only where sums are exact: without VNNI products of bytes saturate in 16 bits.
static bool has_integers(void)
{
    const int isa = (int)dnnl_get_effective_cpu_isa(), avx512 = dnnl_cpu_isa_avx512_core_vnni,
              avx2 = dnnl_cpu_isa_avx2_vnni;
    return (isa & avx512) == avx512 || (isa & avx2) == avx2;
}

// ---- what is asked of the library ----

// One conv2d or linear in the library's words.
struct request {
    dnnl_memory_desc_t md[MEMORIES];
    dnnl_primitive_attr_t attributes;
    int code_bits; // as in the state
};

static bool native_type(enum sdg_dtype dtype, dnnl_data_type_t *out)
{
    switch (dtype) {
    case SDG_F32: *out = dnnl_f32; return true;
    case SDG_BF16: *out = dnnl_bf16; return true;
    case SDG_S8: *out = dnnl_s8; return has_integers();
    case SDG_U8: *out = dnnl_u8; return has_integers();
    default: return false;
    }
}

static bool on_integers(const struct sdg_op *op)
{
    return op->in[2] != 0;
}

// What the weights become: of the input's type, or bytes.
static dnnl_data_type_t weight_type(const struct sdg_cpu_step *step)
{
    dnnl_data_type_t type = dnnl_s8;
    if (!on_integers(step->op))
        native_type(sdg_cpu_value(step->program, step->op->in[0])->dtype, &type);
    return type;
}

// Codes without sign have a zero point; those with a sign are symmetric, and the library is faster at them if it need
// not expect one.
static bool has_zero_point(const struct sdg_cpu_step *step)
{
    return on_integers(step->op) && sdg_cpu_value(step->program, step->op->in[0])->dtype == SDG_U8;
}

static dnnl_status_t append_activation(dnnl_post_ops_t ops, enum sdg_unary activation)
{
    switch (activation) {
    case SDG_UNARY_NONE: return dnnl_success;
    case SDG_UNARY_SILU: return dnnl_post_ops_append_eltwise(ops, dnnl_eltwise_swish, 1, 0);
    case SDG_UNARY_GELU_ERF: return dnnl_post_ops_append_eltwise(ops, dnnl_eltwise_gelu_erf, 0, 0);
    case SDG_UNARY_GELU_TANH: return dnnl_post_ops_append_eltwise(ops, dnnl_eltwise_gelu_tanh, 0, 0);
    case SDG_UNARY_QUICK_GELU: return dnnl_post_ops_append_eltwise(ops, dnnl_eltwise_swish, 1.702f, 0);
    case SDG_UNARY_RELU: return dnnl_post_ops_append_eltwise(ops, dnnl_eltwise_relu, 0, 0);
    case SDG_UNARY_TANH: return dnnl_post_ops_append_eltwise(ops, dnnl_eltwise_tanh, 0, 0);
    case SDG_UNARY_SIGMOID: return dnnl_post_ops_append_eltwise(ops, dnnl_eltwise_logistic, 0, 0);
    default: return dnnl_unimplemented;
    }
}

static dnnl_status_t set_integer_attributes(const struct sdg_cpu_step *step, dnnl_primitive_attr_t attributes)
{
    // the axis of outputs: weights [O,I,KH,KW], [I,O]
    const int per_channel = step->op->kind == SDG_OP_CONV2D ? 1 << 0 : 1 << 1;
    dnnl_status_t status = dnnl_primitive_attr_set_scales_mask(attributes, DNNL_ARG_SRC, 0);
    if (status == dnnl_success)
        status = dnnl_primitive_attr_set_scales_mask(attributes, DNNL_ARG_WEIGHTS, per_channel);
    if (status == dnnl_success && has_zero_point(step))
        status = dnnl_primitive_attr_set_zero_points_mask(attributes, DNNL_ARG_SRC, 0);
    return status;
}

static bool adds_vector(const struct sdg_cpu_step *step)
{
    return step->op->epilogue.bias || step->op->epilogue.table;
}

// A vector over the channels of the result.
static dnnl_status_t describe_vector(const struct sdg_cpu_step *step, dnnl_memory_desc_t *out)
{
    const int64_t channels = sdg_cpu_value(step->program, step->op->out)->dims[3];
    if (step->op->kind == SDG_OP_CONV2D)
        return dnnl_memory_desc_create_with_tag(out, 4, (dnnl_dims_t){1, channels, 1, 1}, dnnl_f32, dnnl_abcd);
    return dnnl_memory_desc_create_with_tag(out, 2, (dnnl_dims_t){1, channels}, dnnl_f32, dnnl_ab);
}

// sums * scale [+ bias and table]
static dnnl_status_t append_scales(const struct sdg_cpu_step *step, dnnl_post_ops_t ops, struct request *request)
{
    dnnl_status_t status = describe_vector(step, &request->md[CODE_SCALE]);
    if (status == dnnl_success)
        status = dnnl_post_ops_append_binary(ops, dnnl_binary_mul, request->md[CODE_SCALE]);
    if (status == dnnl_success && adds_vector(step))
        status = dnnl_post_ops_append_binary(ops, dnnl_binary_add, request->md[CODE_SCALE]);
    return status;
}

// How many of them there are.
static int scale_ops(const struct sdg_cpu_step *step, int code_bits)
{
    return code_bits ? 1 + adds_vector(step) : 0;
}

static dnnl_status_t make_attributes(const struct sdg_cpu_step *step, struct request *request)
{
    const struct sdg_epilogue *epilogue = &step->op->epilogue;
    dnnl_post_ops_t ops = NULL;
    dnnl_status_t status = dnnl_primitive_attr_create(&request->attributes);
    if (status == dnnl_success)
        status = dnnl_primitive_attr_set_scratchpad_mode(request->attributes, dnnl_scratchpad_mode_user);
    if (status == dnnl_success) // f32 means f32, whatever the environment says
        status = dnnl_primitive_attr_set_fpmath_mode(request->attributes, dnnl_fpmath_mode_strict);
    if (status == dnnl_success && on_integers(step->op))
        status = set_integer_attributes(step, request->attributes);
    if (status == dnnl_success)
        status = dnnl_post_ops_create(&ops);
    if (status == dnnl_success && request->code_bits)
        status = append_scales(step, ops, request);
    if (status == dnnl_success && epilogue->residual)
        status = dnnl_post_ops_append_binary(ops, dnnl_binary_add, request->md[RESIDUAL]);
    if (status == dnnl_success)
        status = append_activation(ops, epilogue->activation);
    if (status == dnnl_success)
        status = dnnl_primitive_attr_set_post_ops(request->attributes, ops);
    if (ops)
        dnnl_post_ops_destroy(ops);
    return status;
}

static void free_request(struct request *request)
{
    for (int i = 0; i < MEMORIES; i++)
        if (request->md[i])
            dnnl_memory_desc_destroy(request->md[i]);
    if (request->attributes)
        dnnl_primitive_attr_destroy(request->attributes);
}

// An activation of `n` samples: [n, C, H, W] lying as nhwc for convolutions, [n H W, C] for products.
static dnnl_status_t describe_activation(const struct sdg_cpu_step *step, sdg_value v, int64_t n, bool image,
                                         dnnl_memory_desc_t *out)
{
    const struct sdg_value_info *info = sdg_cpu_value(step->program, v);
    dnnl_data_type_t type = dnnl_f32;
    const bool becomes_codes = v == step->op->out && step->op->codes.interval;
    if (!becomes_codes && !native_type(info->dtype, &type))
        return dnnl_unimplemented;
    if (image)
        return dnnl_memory_desc_create_with_tag(out, 4, (dnnl_dims_t){n, info->dims[3], info->dims[1], info->dims[2]},
                                                type, dnnl_nhwc);
    return dnnl_memory_desc_create_with_tag(out, 2, (dnnl_dims_t){n * info->dims[1] * info->dims[2], info->dims[3]},
                                            type, dnnl_ab);
}

static dnnl_status_t describe_activations(const struct sdg_cpu_step *step, int64_t n, bool image,
                                          struct request *request)
{
    const struct sdg_op *op = step->op;
    dnnl_status_t status = describe_activation(step, op->in[0], n, image, &request->md[SRC]);
    if (status == dnnl_success)
        status = describe_activation(step, op->out, n, image, &request->md[DST]);
    if (status == dnnl_success && op->epilogue.residual)
        status = describe_activation(step, op->epilogue.residual, n, image, &request->md[RESIDUAL]);
    return status;
}

static dnnl_status_t make_conv2d(const struct sdg_cpu_step *step, int64_t n, dnnl_engine_t engine,
                                 struct request *request, dnnl_primitive_desc_t *out)
{
    const struct sdg_op *op = step->op;
    const int64_t *w = sdg_cpu_value(step->program, op->in[1])->dims;
    const dnnl_data_type_t type = weight_type(step);
    dnnl_status_t status = describe_activations(step, n, true, request);
    if (status == dnnl_success)
        status = dnnl_memory_desc_create_with_tag(&request->md[WEIGHTS], 4, (dnnl_dims_t){w[0], w[1], w[2], w[3]}, type,
                                                  dnnl_format_tag_any);
    if (status == dnnl_success && adds_vector(step) && !request->code_bits)
        status = dnnl_memory_desc_create_with_tag(&request->md[BIAS], 1, (dnnl_dims_t){w[0]}, dnnl_f32, dnnl_a);
    if (status == dnnl_success)
        status = make_attributes(step, request);
    if (status != dnnl_success)
        return status;
    return dnnl_convolution_forward_primitive_desc_create(
        out, engine, dnnl_forward_inference, dnnl_convolution_direct, request->md[SRC], request->md[WEIGHTS],
        request->md[BIAS], request->md[DST], (dnnl_dims_t){op->u.conv2d.stride, op->u.conv2d.stride},
        (dnnl_dims_t){0, 0}, (dnnl_dims_t){op->u.conv2d.pad_top, op->u.conv2d.pad_left},
        (dnnl_dims_t){op->u.conv2d.pad_bottom, op->u.conv2d.pad_right}, request->attributes);
}

static dnnl_status_t make_linear(const struct sdg_cpu_step *step, int64_t n, dnnl_engine_t engine,
                                 struct request *request, dnnl_primitive_desc_t *out)
{
    const struct sdg_op *op = step->op;
    const int64_t *w = sdg_cpu_value(step->program, op->in[1])->dims;
    const dnnl_data_type_t type = weight_type(step);
    dnnl_status_t status = describe_activations(step, n, false, request);
    if (status == dnnl_success)
        status = dnnl_memory_desc_create_with_tag(&request->md[WEIGHTS], 2, (dnnl_dims_t){w[1], w[0]}, type,
                                                  dnnl_format_tag_any);
    if (status == dnnl_success && adds_vector(step) && !request->code_bits)
        status = dnnl_memory_desc_create_with_tag(&request->md[BIAS], 2, (dnnl_dims_t){1, w[0]}, dnnl_f32, dnnl_ab);
    if (status == dnnl_success)
        status = make_attributes(step, request);
    if (status != dnnl_success)
        return status;
    return dnnl_matmul_primitive_desc_create(out, engine, request->md[SRC], request->md[WEIGHTS], request->md[BIAS],
                                             request->md[DST], request->attributes);
}

// ---- select ----

static const_dnnl_memory_desc_t description_of(const struct state *state, dnnl_query_t what)
{
    return dnnl_primitive_desc_query_md(state->description, what, 0);
}

static void destroy(struct sdg_cpu_step *step)
{
    struct state *state = step->state;
    for (int i = 0; i < MEMORIES; i++)
        if (state->memory[i])
            dnnl_memory_destroy(state->memory[i]);
    if (state->primitive)
        dnnl_primitive_destroy(state->primitive);
    if (state->description)
        dnnl_primitive_desc_destroy(state->description);
    sdg_free(state);
    step->state = NULL;
}

static enum sdg_result prepare(struct sdg_cpu_step *step);
static enum sdg_result run(const struct sdg_cpu_step *step, int64_t row);

// How many of the kernel's weights can be kept as four bits: all its codes, if it adds nothing but what comes behind
// them.
static size_t packable_codes(const struct sdg_cpu_step *step, const struct state *state)
{
    const_dnnl_memory_desc_t md = description_of(state, dnnl_query_weights_md);
    dnnl_dims_t *padded = NULL;
    int rank = 0;
    if (sdg_cpu_value(step->program, step->op->in[1])->bits != 4)
        return 0;
    if (dnnl_memory_desc_query(md, dnnl_query_padded_dims, &padded) != dnnl_success ||
        dnnl_memory_desc_query(md, dnnl_query_ndims_s32, &rank) != dnnl_success)
        return 0;
    size_t codes = 1;
    for (int i = 0; i < rank; i++)
        codes *= (size_t)(*padded)[i];
    return codes % SDG_FAST_NIBBLES == 0 && codes <= state->weight_bytes ? codes : 0;
}

static void fill_step(struct sdg_cpu_step *step, struct state *state)
{
    const struct sdg_op *op = step->op;
    const struct sdg_value_info *out = sdg_cpu_value(step->program, op->out);
    const char *name = "?";
    dnnl_primitive_desc_query(state->description, dnnl_query_impl_info_str, 0, (void *)&name);
    state->channels = out->dims[3];
    state->weight_bytes = dnnl_memory_desc_get_size(description_of(state, dnnl_query_weights_md));
    state->packed_codes = packable_codes(step, state);
    step->weight_bytes = state->weight_bytes - state->packed_codes / 2;
    if (state->code_bits) { // in the kernel's own order, with what it pads
        state->code_count = state->weight_bytes / sdg_dtype_size(sdg_cpu_value(step->program, op->in[0])->dtype);
        step->weight_bytes = sdg_fast_plan_codes(&state->code_bits, state->code_count, state->channels);
    }
    snprintf(step->kernel, sizeof step->kernel, "%s%s", name,
             state->packed_codes || state->code_bits == 4 ? ", 4-bit weights"
                 : state->code_bits                       ? ", 8-bit weights"
                                                          : "");
    sdg_fast_reserve(step, dnnl_memory_desc_get_size(description_of(state, dnnl_query_scratchpad_md)));
    state->at.bias = sdg_fast_reserve(step, op->epilogue.table ? (size_t)state->channels * sizeof(float) : 0);
    state->at.zero = sdg_fast_reserve(step, has_zero_point(step) ? sizeof(int32_t) : 0);
    state->at.result = sdg_fast_reserve(step, op->codes.interval ? (size_t)sdg_value_elements(out) * sizeof(float) : 0);
    state->at.weights = sdg_fast_reserve(step, state->packed_codes || state->code_bits ? state->weight_bytes : 0);
    sdg_cpu_want_weight(step->program, op->epilogue.bias);
    if (on_integers(op))
        sdg_cpu_want_weight(step->program, op->in[3]);
    step->state = state;
    step->prepare = prepare;
    step->run = run;
    step->destroy = destroy;
}

// True for the library's general matrix product, which it uses where it has no better kernel, as for f32 with AVX2:
// that divides sums among threads, so its results depend on their number.
static bool depends_on_threads(const struct state *state)
{
    const char *name = "";
    dnnl_primitive_desc_query(state->description, dnnl_query_impl_info_str, 0, (void *)&name);
    return strncmp(name, "gemm:", 5) == 0;
}

static enum sdg_result select(struct sdg_cpu_program *program, struct sdg_cpu_step *step, bool *taken)
{
    const struct sdg_op *op = step->op;
    const struct sdg_epilogue *epilogue = &op->epilogue;
    const struct sdg_onednn *onednn = sdg_cpu_backend_of(program)->state;
    if ((op->kind != SDG_OP_CONV2D && op->kind != SDG_OP_LINEAR) ||
        sdg_cpu_value(program, op->in[1])->kind != SDG_VALUE_WEIGHT)
        return SDG_OK;
    if (epilogue->bias && sdg_cpu_value(program, epilogue->bias)->dtype != SDG_F32)
        return SDG_OK;
    // The library has no scale and zero point per row of the source: our own kernels do.
    if (on_integers(op) && sdg_cpu_value(program, op->in[2])->dims[1] != 1)
        return SDG_OK;
    const int64_t samples = sdg_cpu_value(program, op->out)->dims[0];
    const bool by_sample = epilogue->table && sdg_cpu_table_stride(program, epilogue->table) != 0;
    struct state *state = sdg_alloc(program->base.log, 1, sizeof *state, "a kernel");
    if (!state)
        return SDG_ERROR_MEMORY;
    state->code_bits = on_integers(op) ? 0 : sdg_cpu_code_bits(program, op->in[1]);
    struct request request = {.code_bits = state->code_bits};
    state->repeat = by_sample ? samples : 1;
    dnnl_status_t status = (op->kind == SDG_OP_CONV2D ? make_conv2d : make_linear)(
        step, samples / state->repeat, onednn->engine, &request, &state->description);
    free_request(&request);
    if (status != dnnl_success) {
        sdg_free(state);
        return status == dnnl_out_of_memory
            ? sdg_fail(program->base.log, SDG_ERROR_MEMORY, "not enough memory for a kernel")
            : SDG_OK;
    }
    if (depends_on_threads(state)) {
        dnnl_primitive_desc_destroy(state->description);
        sdg_free(state);
        return SDG_OK;
    }
    fill_step(step, state);
    *taken = true;
    return SDG_OK;
}

// ---- prepare ----

static enum sdg_result report(const struct sdg_cpu_step *step, dnnl_status_t status, const char *what)
{
    enum sdg_result result = status == dnnl_out_of_memory ? SDG_ERROR_MEMORY : SDG_ERROR_DEVICE;
    return sdg_fail(step->program->base.log, result, "%s: oneDNN cannot %s (kernel %s, status %d)", step->op->name,
                    what, step->kernel, (int)status);
}

static dnnl_status_t reorder(const struct sdg_onednn *onednn, const_dnnl_memory_desc_t from_md, void *from,
                             const_dnnl_memory_desc_t to_md, void *to)
{
    dnnl_primitive_desc_t description = NULL;
    dnnl_primitive_t primitive = NULL;
    dnnl_memory_t source = NULL, target = NULL;
    dnnl_status_t status = dnnl_memory_create(&source, from_md, onednn->engine, from);
    if (status == dnnl_success)
        status = dnnl_memory_create(&target, to_md, onednn->engine, to);
    if (status == dnnl_success)
        status = dnnl_reorder_primitive_desc_create(&description, from_md, onednn->engine, to_md, onednn->engine, NULL);
    if (status == dnnl_success)
        status = dnnl_primitive_create(&primitive, description);
    if (status == dnnl_success)
        status = dnnl_primitive_execute(primitive, onednn->stream, 2,
                                        (dnnl_exec_arg_t[]){{DNNL_ARG_FROM, source}, {DNNL_ARG_TO, target}});
    if (status == dnnl_success)
        status = dnnl_stream_wait(onednn->stream);
    if (primitive)
        dnnl_primitive_destroy(primitive);
    if (description)
        dnnl_primitive_desc_destroy(description);
    if (target)
        dnnl_memory_destroy(target);
    if (source)
        dnnl_memory_destroy(source);
    return status;
}

// [packed codes][what comes behind them, as it is]
static void pack_weights(const struct sdg_cpu_step *step, const char *weights)
{
    const struct state *state = step->state;
    sdg_fast_pack4(sdg_cpu_backend_of(step->program)->pool, (const int8_t *)weights, step->weights, state->packed_codes);
    memcpy((char *)step->weights + state->packed_codes / 2, weights + state->packed_codes,
           state->weight_bytes - state->packed_codes);
}

static void unpack_weights(const struct sdg_cpu_step *step)
{
    const struct state *state = step->state;
    const uint8_t *packed = step->weights;
    int8_t *weights = (int8_t *)step->scratch + state->at.weights;
    const size_t codes = state->packed_codes;
    sdg_fast_unpack4(step, packed, weights, codes);
    memcpy(weights + codes, packed + codes / 2, state->weight_bytes - codes);
}

// Integers in an order from which the library reorders them fast; from the file's it takes 7 (conv2d) to 20 times
// (linear) as long. linear: [O,I] -> [I,O]
static void transpose(const int8_t *from, int8_t *to, int64_t outputs, int64_t inputs)
{
    enum { SIDE = 64 };
#pragma omp parallel for schedule(static)
    for (int64_t first = 0; first < inputs; first += SIDE)
        for (int64_t o = 0; o < outputs; o += SIDE)
            for (int64_t i = first; i < first + SIDE && i < inputs; i++)
                for (int64_t k = o; k < o + SIDE && k < outputs; k++)
                    to[i * outputs + k] = from[k * inputs + i];
}

// conv2d: [O,I,KH,KW] -> [O,KH,KW,I]
static void move_inputs_last(const int8_t *from, int8_t *to, int64_t outputs, int64_t inputs, int64_t positions)
{
#pragma omp parallel for schedule(static)
    for (int64_t o = 0; o < outputs; o++)
        for (int64_t p = 0; p < positions; p++)
            for (int64_t i = 0; i < inputs; i++)
                to[(o * positions + p) * inputs + i] = from[(o * inputs + i) * positions + p];
}

// Describes the weights at `buffer` (as in the file) to the library; integers are brought into a better order at
// `ordered`.
static dnnl_status_t describe_plain_weights(const struct sdg_cpu_step *step, const char *buffer, char *ordered,
                                            dnnl_memory_desc_t *out)
{
    const int64_t *w = sdg_cpu_value(step->program, step->op->in[1])->dims;
    const bool conv = step->op->kind == SDG_OP_CONV2D, integers = on_integers(step->op);
    if (integers && conv)
        move_inputs_last((const int8_t *)buffer, (int8_t *)ordered, w[0], w[1], w[2] * w[3]);
    else if (integers)
        transpose((const int8_t *)buffer, (int8_t *)ordered, w[0], w[1]);
    if (conv)
        return dnnl_memory_desc_create_with_tag(out, 4, (dnnl_dims_t){w[0], w[1], w[2], w[3]}, weight_type(step),
                                                integers ? dnnl_ohwi : dnnl_oihw);
    return dnnl_memory_desc_create_with_tag(out, 2, (dnnl_dims_t){w[1], w[0]}, weight_type(step),
                                            integers ? dnnl_ab : dnnl_ba);
}

// Numbers of the kernel's type that are codes, to codes.
static void narrow(const char *from, bool bf16, int8_t *codes, size_t count)
{
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < count; i++)
        codes[i] = (int8_t)(bf16 ? sdg_f32_from_bf16(((const uint16_t *)from)[i]) : ((const float *)from)[i]);
}

// Codes as in the file become numbers, the library brings these into its order, and they become codes again.
static enum sdg_result load_codes(struct sdg_cpu_step *step)
{
    const struct state *state = step->state;
    const struct sdg_onednn *onednn = sdg_cpu_backend_of(step->program)->state;
    const size_t count = (size_t)sdg_value_elements(sdg_cpu_value(step->program, step->op->in[1]));
    const bool bf16 = sdg_cpu_value(step->program, step->op->in[0])->dtype == SDG_BF16;
    const size_t plain_bytes = sdg_fast_align(count * (bf16 ? 2 : 4));
    dnnl_memory_desc_t plain = NULL;
    char *numbers =
        sdg_alloc_raw(step->program->base.log, plain_bytes + state->weight_bytes, 1, "weights being reordered");
    int8_t *codes = numbers
        ? sdg_alloc_raw(step->program->base.log, count > state->code_count ? count : state->code_count, 1,
                        "weights being reordered")
        : NULL;
    enum sdg_result result = codes ? SDG_OK : SDG_ERROR_MEMORY;
    if (result == SDG_OK) {
        sdg_cpu_read_codes(step->program, step->op->in[1], codes, sdg_fast_code_scales(step, state->channels));
        sdg_fast_expand(step, codes, 8, numbers, bf16, count);
        dnnl_status_t status = describe_plain_weights(step, numbers, numbers, &plain);
        if (status == dnnl_success)
            status =
                reorder(onednn, plain, numbers, description_of(state, dnnl_query_weights_md), numbers + plain_bytes);
        if (status != dnnl_success)
            result = report(step, status, "reorder the weights");
    }
    if (result == SDG_OK) {
        narrow(numbers + plain_bytes, bf16, state->code_bits == 4 ? codes : step->weights, state->code_count);
        if (state->code_bits == 4)
            sdg_fast_pack4(sdg_cpu_backend_of(step->program)->pool, codes, step->weights, state->code_count);
    }
    if (plain)
        dnnl_memory_desc_destroy(plain);
    sdg_free(codes);
    sdg_free(numbers);
    return result;
}

// The weight as in the file, converted to the kernel's type, goes through a buffer that lives only here.
static enum sdg_result load_weights(struct sdg_cpu_step *step)
{
    const struct state *state = step->state;
    const struct sdg_onednn *onednn = sdg_cpu_backend_of(step->program)->state;
    const struct sdg_value_info *weight = sdg_cpu_value(step->program, step->op->in[1]);
    const enum sdg_dtype dtype = on_integers(step->op) ? SDG_S8 : sdg_cpu_value(step->program, step->op->in[0])->dtype;
    dnnl_memory_desc_t plain = NULL;
    const size_t plain_bytes = sdg_fast_align((size_t)sdg_value_elements(weight) * sdg_dtype_size(dtype));
    const size_t ordered_bytes = on_integers(step->op) ? plain_bytes : 0;
    char *buffer = sdg_alloc_raw(step->program->base.log,
                                 plain_bytes + ordered_bytes + (state->packed_codes ? state->weight_bytes : 0), 1,
                                 "weights being reordered");
    if (!buffer)
        return SDG_ERROR_MEMORY;
    char *ordered = buffer + ordered_bytes, *reordered = state->packed_codes ? ordered + plain_bytes : step->weights;
    enum sdg_result result = SDG_OK;
    sdg_cpu_read_weight(step->program, step->op->in[1], dtype, buffer);
    dnnl_status_t status = describe_plain_weights(step, buffer, ordered, &plain);
    if (status == dnnl_success)
        status = reorder(onednn, plain, ordered, description_of(state, dnnl_query_weights_md), reordered);
    if (status != dnnl_success)
        result = report(step, status, "reorder the weights");
    else if (state->packed_codes)
        pack_weights(step, reordered);
    if (plain)
        dnnl_memory_desc_destroy(plain);
    sdg_free(buffer);
    return result;
}

static dnnl_status_t add_argument(struct sdg_cpu_step *step, int which, int name, const_dnnl_memory_desc_t md,
                                  void *data)
{
    struct state *state = step->state;
    const struct sdg_onednn *onednn = sdg_cpu_backend_of(step->program)->state;
    dnnl_status_t status = dnnl_memory_create(&state->memory[which], md, onednn->engine, data);
    if (status == dnnl_success)
        state->args[state->arg_count++] = (dnnl_exec_arg_t){name, state->memory[which]};
    return status;
}

// Where the vector added to every output pixel lies: the summed one behind the scratchpad, the bias itself, or (NULL) a
// row of the table.
static float *bias_data(const struct sdg_cpu_step *step)
{
    const struct sdg_epilogue *epilogue = &step->op->epilogue;
    const struct state *state = step->state;
    if (epilogue->bias && epilogue->table)
        return (float *)((char *)step->scratch + state->at.bias);
    return epilogue->bias ? sdg_cpu_data(step->program, epilogue->bias) : NULL;
}

// An argument of one axis.
static dnnl_status_t add_vector(struct sdg_cpu_step *step, int which, int name, int64_t count, dnnl_data_type_t type,
                                void *data)
{
    dnnl_memory_desc_t md = NULL;
    dnnl_status_t status = dnnl_memory_desc_create_with_tag(&md, 1, (dnnl_dims_t){count}, type, dnnl_a);
    if (status == dnnl_success)
        status = add_argument(step, which, name, md, data);
    if (md)
        dnnl_memory_desc_destroy(md);
    return status;
}

static dnnl_status_t make_integer_arguments(struct sdg_cpu_step *step)
{
    const struct state *state = step->state;
    dnnl_status_t status = add_vector(step, SRC_SCALE, DNNL_ARG_ATTR_SCALES | DNNL_ARG_SRC, 1, dnnl_f32, NULL);
    if (status == dnnl_success)
        status = add_vector(step, WEIGHT_SCALE, DNNL_ARG_ATTR_SCALES | DNNL_ARG_WEIGHTS, state->channels, dnnl_f32,
                            sdg_cpu_data(step->program, step->op->in[3]));
    if (status == dnnl_success && has_zero_point(step))
        status = add_vector(step, SRC_ZERO, DNNL_ARG_ATTR_ZERO_POINTS | DNNL_ARG_SRC, 1, dnnl_s32,
                            (char *)step->scratch + state->at.zero);
    return status;
}

static dnnl_status_t make_scale_arguments(struct sdg_cpu_step *step)
{
    const int scale = DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1,
              bias = DNNL_ARG_ATTR_MULTIPLE_POST_OP(1) | DNNL_ARG_SRC_1;
    const struct state *state = step->state;
    dnnl_status_t status = add_argument(step, CODE_SCALE, scale,
                                        dnnl_primitive_desc_query_md(state->description, dnnl_query_exec_arg_md, scale),
                                        sdg_fast_code_scales(step, state->channels));
    if (status == dnnl_success && adds_vector(step))
        status = add_argument(step, BIAS, bias,
                              dnnl_primitive_desc_query_md(state->description, dnnl_query_exec_arg_md, bias),
                              bias_data(step));
    return status;
}

// Where the primitive's result goes.
static char *result_data(const struct sdg_cpu_step *step)
{
    const struct state *state = step->state;
    return step->op->codes.interval ? (char *)step->scratch + state->at.result
                                    : sdg_cpu_data(step->program, step->op->out);
}

static dnnl_status_t make_arguments(struct sdg_cpu_step *step)
{
    const struct sdg_op *op = step->op;
    const struct state *state = step->state;
    void *weights = state->packed_codes || state->code_bits ? (char *)step->scratch + state->at.weights : step->weights;
    const int post_op = DNNL_ARG_ATTR_MULTIPLE_POST_OP(scale_ops(step, state->code_bits)) | DNNL_ARG_SRC_1;
    dnnl_status_t status = add_argument(step, SRC, DNNL_ARG_SRC, description_of(state, dnnl_query_src_md),
                                        sdg_cpu_data(step->program, op->in[0]));
    if (status == dnnl_success)
        status = add_argument(step, WEIGHTS, DNNL_ARG_WEIGHTS, description_of(state, dnnl_query_weights_md), weights);
    if (status == dnnl_success)
        status = add_argument(step, DST, DNNL_ARG_DST, description_of(state, dnnl_query_dst_md), result_data(step));
    if (status == dnnl_success)
        status = add_argument(step, SCRATCHPAD, DNNL_ARG_SCRATCHPAD, description_of(state, dnnl_query_scratchpad_md),
                              step->scratch);
    if (status == dnnl_success && state->code_bits)
        status = make_scale_arguments(step);
    if (status == dnnl_success && adds_vector(step) && !state->code_bits)
        status =
            add_argument(step, BIAS, DNNL_ARG_BIAS,
                         dnnl_primitive_desc_query_md(state->description, dnnl_query_weights_md, 1), bias_data(step));
    if (status == dnnl_success && op->epilogue.residual)
        status = add_argument(step, RESIDUAL, post_op,
                              dnnl_primitive_desc_query_md(state->description, dnnl_query_exec_arg_md, post_op),
                              sdg_cpu_data(step->program, op->epilogue.residual));
    if (status == dnnl_success && on_integers(op))
        status = make_integer_arguments(step);
    return status;
}

static enum sdg_result prepare(struct sdg_cpu_step *step)
{
    struct state *state = step->state;
    SDG_TRY(state->code_bits ? load_codes(step) : load_weights(step));
    dnnl_status_t status = dnnl_primitive_create(&state->primitive, state->description);
    if (status == dnnl_success)
        status = make_arguments(step);
    return status == dnnl_success ? SDG_OK : report(step, status, "make the kernel");
}

// ---- run ----

// Points the bias at bias + table for this row and sample.
static dnnl_status_t set_bias(const struct sdg_cpu_step *step, int64_t row, int64_t sample)
{
    const struct state *state = step->state;
    const struct sdg_epilogue *epilogue = &step->op->epilogue;
    const float *table = sdg_cpu_table(step->program, epilogue->table, row) +
        sample * sdg_cpu_table_stride(step->program, epilogue->table);
    float *sum = bias_data(step);
    if (!sum)
        return dnnl_memory_set_data_handle(state->memory[BIAS], (void *)table);
    const float *bias = sdg_cpu_data(step->program, epilogue->bias);
    for (int64_t c = 0; c < state->channels; c++)
        sum[c] = bias[c] + table[c];
    return dnnl_success;
}

// This row's scale and zero point of the input.
static enum sdg_result set_interval(const struct sdg_cpu_step *step, int64_t row)
{
    const struct state *state = step->state;
    const float *interval = sdg_fast_intervals(step->program, step->op->in[2], row).pairs;
    if (has_zero_point(step))
        *(int32_t *)((char *)step->scratch + state->at.zero) = (int32_t)interval[1];
    else if (interval[1] != 0)
        return sdg_fail(step->program->base.log, SDG_ERROR_INPUT,
                        "%s: codes with a sign have zero point %g, should be 0", step->op->name, (double)interval[1]);
    dnnl_status_t status = dnnl_memory_set_data_handle(state->memory[SRC_SCALE], (void *)interval);
    return status == dnnl_success ? SDG_OK : report(step, status, "run");
}

// Points one activation, whose samples lie at `data`, at its part for `sample`.
static dnnl_status_t move_to_sample(const struct sdg_cpu_step *step, int which, char *data, int64_t sample)
{
    const struct state *state = step->state;
    const_dnnl_memory_desc_t md = NULL;
    dnnl_status_t status = dnnl_memory_get_memory_desc(state->memory[which], &md);
    if (status == dnnl_success)
        status =
            dnnl_memory_set_data_handle(state->memory[which], data + (size_t)sample * dnnl_memory_desc_get_size(md));
    return status;
}

static dnnl_status_t move_all_to_sample(const struct sdg_cpu_step *step, int64_t sample)
{
    const struct sdg_op *op = step->op;
    dnnl_status_t status = move_to_sample(step, SRC, sdg_cpu_data(step->program, op->in[0]), sample);
    if (status == dnnl_success)
        status = move_to_sample(step, DST, result_data(step), sample);
    if (status == dnnl_success && op->epilogue.residual)
        status = move_to_sample(step, RESIDUAL, sdg_cpu_data(step->program, op->epilogue.residual), sample);
    return status;
}

static enum sdg_result run(const struct sdg_cpu_step *step, int64_t row)
{
    const struct state *state = step->state;
    const struct sdg_onednn *onednn = sdg_cpu_backend_of(step->program)->state;
    dnnl_status_t status = dnnl_success;
    if (on_integers(step->op))
        SDG_TRY(set_interval(step, row));
    if (state->packed_codes)
        unpack_weights(step);
    if (state->code_bits)
        sdg_fast_expand(step, step->weights, state->code_bits, (char *)step->scratch + state->at.weights,
                        sdg_cpu_value(step->program, step->op->in[0])->dtype == SDG_BF16, state->code_count);
    for (int64_t i = 0; i < state->repeat && status == dnnl_success; i++) {
        if (state->repeat > 1)
            status = move_all_to_sample(step, i);
        if (status == dnnl_success && step->op->epilogue.table)
            status = set_bias(step, row, i);
        if (status == dnnl_success)
            status = dnnl_primitive_execute(state->primitive, onednn->stream, state->arg_count, state->args);
        if (status == dnnl_success)
            status = dnnl_stream_wait(onednn->stream);
    }
    if (status == dnnl_success && step->op->codes.interval)
        sdg_fast_make_codes(step, row, result_data(step), false);
    return status == dnnl_success ? SDG_OK : report(step, status, "run");
}

const struct sdg_cpu_provider sdg_onednn_provider = {.name = "oneDNN", .select = select};

#endif
