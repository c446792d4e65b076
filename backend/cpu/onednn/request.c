// Asks for a kernel with activations as they lie (nhwc) and weights in any format. The epilogue runs inside the kernel:
// bias and table row are one vector, then the residual is added and the activation applied.
//
// On integers scales and the zero point are arguments of the kernel, so that they may be any row's. What follows the
// sums of float weights that are kept as codes begins with their scales, so the bias is added after them, by the
// epilogue, too. Where codes are wanted as the result, the kernel writes f32, and our own makes the codes. Of codes
// with an interval for each token only the sums are asked for.
#include "backend/cpu/onednn/request.h"

#include "backend/cpu/onednn/onednn.h"

// One kernel's request.
struct request {
    const struct sdg_cpu_step *step;
    const struct sdg_piece_shape *shape;
    int64_t channels; // of the output
    int code_bits;
    dnnl_memory_desc_t md[SDG_ROLES];
    dnnl_primitive_attr_t attributes;
};

static bool native_type(enum sdg_dtype dtype, dnnl_data_type_t *out)
{
    switch (dtype) {
    case SDG_F32: *out = dnnl_f32; return true;
    case SDG_BF16: *out = dnnl_bf16; return true;
    case SDG_S8: *out = dnnl_s8; return sdg_onednn_has_integers();
    case SDG_U8: *out = dnnl_u8; return sdg_onednn_has_integers();
    default: return false;
    }
}

bool sdg_request_on_integers(const struct sdg_op *op)
{
    return op->in[2] != 0;
}

dnnl_data_type_t sdg_request_weight_type(const struct sdg_cpu_step *step)
{
    dnnl_data_type_t type = dnnl_s8;
    if (!sdg_request_on_integers(step->op))
        native_type(sdg_cpu_value(step->program, step->op->in[0])->dtype, &type);
    return type;
}

bool sdg_request_sums_only(const struct sdg_cpu_step *step)
{
    return sdg_request_on_integers(step->op) && sdg_cpu_value(step->program, step->op->in[2])->dims[1] > 1;
}

// True if the library knows the codes' scale and the weights'.
static bool scales_integers(const struct sdg_cpu_step *step)
{
    return sdg_request_on_integers(step->op) && !sdg_request_sums_only(step);
}

// True if it adds the residual.
static bool adds_residual(const struct sdg_cpu_step *step)
{
    return step->op->epilogue.residual && !sdg_request_sums_only(step);
}

bool sdg_request_has_zero_point(const struct sdg_cpu_step *step)
{
    return scales_integers(step) && sdg_cpu_value(step->program, step->op->in[0])->dtype == SDG_U8;
}

bool sdg_request_adds_vector(const struct sdg_cpu_step *step)
{
    return (step->op->epilogue.bias || step->op->epilogue.table) && !sdg_request_sums_only(step);
}

bool sdg_request_copies_border(const struct sdg_cpu_step *step)
{
    enum { LARGE = 48 * 48 }; // an image from which the correction costs less than the copy
    const struct sdg_op *op = step->op;
    const int64_t *out = sdg_cpu_value(step->program, op->out)->dims;
    return op->kind == SDG_OP_CONV2D && sdg_request_on_integers(op) && out[1] * out[2] <= LARGE &&
        (op->u.conv2d.pad_top || op->u.conv2d.pad_left || op->u.conv2d.pad_bottom || op->u.conv2d.pad_right);
}

// ---- attributes ----

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
    if (status == dnnl_success && sdg_request_has_zero_point(step))
        status = dnnl_primitive_attr_set_zero_points_mask(attributes, DNNL_ARG_SRC, 0);
    return status;
}

// A vector over the channels of the result.
static dnnl_status_t describe_vector(const struct request *r, dnnl_memory_desc_t *out)
{
    if (r->step->op->kind == SDG_OP_CONV2D)
        return dnnl_memory_desc_create_with_tag(out, 4, (dnnl_dims_t){1, r->channels, 1, 1}, dnnl_f32, dnnl_abcd);
    return dnnl_memory_desc_create_with_tag(out, 2, (dnnl_dims_t){1, r->channels}, dnnl_f32, dnnl_ab);
}

// sums * scale [+ bias and table]
static dnnl_status_t append_scales(struct request *r, dnnl_post_ops_t ops)
{
    dnnl_memory_desc_t *vector = &r->md[SDG_ROLE_CODE_SCALE];
    dnnl_status_t status = describe_vector(r, vector);
    if (status == dnnl_success)
        status = dnnl_post_ops_append_binary(ops, dnnl_binary_mul, *vector);
    if (status == dnnl_success && sdg_request_adds_vector(r->step))
        status = dnnl_post_ops_append_binary(ops, dnnl_binary_add, *vector);
    return status;
}

// How many of them there are.
static int scale_ops(const struct sdg_cpu_step *step, int code_bits)
{
    return code_bits ? 1 + sdg_request_adds_vector(step) : 0;
}

static dnnl_status_t append_epilogue(struct request *r, dnnl_post_ops_t ops)
{
    const struct sdg_epilogue *epilogue = &r->step->op->epilogue;
    dnnl_status_t status = r->code_bits ? append_scales(r, ops) : dnnl_success;
    if (sdg_request_sums_only(r->step))
        return status;
    if (status == dnnl_success && epilogue->residual)
        status = dnnl_post_ops_append_binary(ops, dnnl_binary_add, r->md[SDG_ROLE_RESIDUAL]);
    return status == dnnl_success ? append_activation(ops, epilogue->activation) : status;
}

static dnnl_status_t make_attributes(struct request *r)
{
    dnnl_post_ops_t ops = NULL;
    dnnl_status_t status = dnnl_primitive_attr_create(&r->attributes);
    if (status == dnnl_success)
        status = dnnl_primitive_attr_set_scratchpad_mode(r->attributes, dnnl_scratchpad_mode_user);
    if (status == dnnl_success) // f32 means f32, whatever the environment says
        status = dnnl_primitive_attr_set_fpmath_mode(r->attributes, dnnl_fpmath_mode_strict);
    if (status == dnnl_success && scales_integers(r->step))
        status = set_integer_attributes(r->step, r->attributes);
    if (status == dnnl_success)
        status = dnnl_post_ops_create(&ops);
    if (status == dnnl_success)
        status = append_epilogue(r, ops);
    if (status == dnnl_success)
        status = dnnl_primitive_attr_set_post_ops(r->attributes, ops);
    if (ops)
        dnnl_post_ops_destroy(ops);
    return status;
}

// ---- memory ----

// [1, C, rows, W] lying as nhwc for convolutions, [rows, C] for products.
static dnnl_status_t describe_rows(const struct request *r, int64_t rows, int64_t width, int64_t channels,
                                   dnnl_data_type_t type, dnnl_memory_desc_t *out)
{
    if (r->step->op->kind == SDG_OP_CONV2D)
        return dnnl_memory_desc_create_with_tag(out, 4, (dnnl_dims_t){1, channels, rows, width}, type, dnnl_nhwc);
    return dnnl_memory_desc_create_with_tag(out, 2, (dnnl_dims_t){rows, channels}, type, dnnl_ab);
}

static dnnl_status_t describe_src(struct request *r)
{
    const struct sdg_value_info *in = sdg_cpu_value(r->step->program, r->step->op->in[0]);
    const int64_t columns = sdg_cpu_value(r->step->program, r->step->op->out)->dims[2] - 1;
    const int64_t width = sdg_request_copies_border(r->step)
        ? columns * r->step->op->u.conv2d.stride + r->step->op->u.conv2d.kernel_w
        : in->dims[2];
    dnnl_data_type_t type;
    return native_type(in->dtype, &type)
        ? describe_rows(r, r->shape->in_rows, width, in->dims[3], type, &r->md[SDG_ROLE_SRC])
        : dnnl_unimplemented;
}

// The result, or what is added to it.
static dnnl_status_t describe_result(struct request *r, sdg_value v, enum sdg_memory_role role)
{
    const struct sdg_value_info *info = sdg_cpu_value(r->step->program, v);
    const bool becomes_codes = role == SDG_ROLE_DST && r->step->op->codes.interval;
    const bool sums = role == SDG_ROLE_DST && sdg_request_sums_only(r->step);
    dnnl_data_type_t type = sums ? dnnl_s32 : dnnl_f32;
    if (!becomes_codes && !sums && !native_type(info->dtype, &type))
        return dnnl_unimplemented;
    return describe_rows(r, r->shape->out_rows, info->dims[2], r->channels, type, &r->md[role]);
}

static dnnl_status_t describe_weights(struct request *r, const_dnnl_memory_desc_t wanted)
{
    const int64_t *w = sdg_cpu_value(r->step->program, r->step->op->in[1])->dims;
    const dnnl_data_type_t type = sdg_request_weight_type(r->step);
    dnnl_memory_desc_t *md = &r->md[SDG_ROLE_WEIGHTS];
    if (wanted)
        return dnnl_memory_desc_clone(md, wanted);
    if (r->step->op->kind == SDG_OP_CONV2D)
        return dnnl_memory_desc_create_with_tag(md, 4, (dnnl_dims_t){r->channels, w[1], w[2], w[3]}, type,
                                                dnnl_format_tag_any);
    return dnnl_memory_desc_create_with_tag(md, 2, (dnnl_dims_t){w[1], r->channels}, type, dnnl_format_tag_any);
}

static dnnl_status_t describe_bias(struct request *r)
{
    dnnl_memory_desc_t *md = &r->md[SDG_ROLE_BIAS];
    if (r->step->op->kind == SDG_OP_CONV2D)
        return dnnl_memory_desc_create_with_tag(md, 1, (dnnl_dims_t){r->channels}, dnnl_f32, dnnl_a);
    return dnnl_memory_desc_create_with_tag(md, 2, (dnnl_dims_t){1, r->channels}, dnnl_f32, dnnl_ab);
}

static dnnl_status_t describe_memory(struct request *r, const_dnnl_memory_desc_t weights)
{
    const struct sdg_op *op = r->step->op;
    dnnl_status_t status = describe_src(r);
    if (status == dnnl_success)
        status = describe_result(r, op->out, SDG_ROLE_DST);
    if (status == dnnl_success && adds_residual(r->step))
        status = describe_result(r, op->epilogue.residual, SDG_ROLE_RESIDUAL);
    if (status == dnnl_success)
        status = describe_weights(r, weights);
    if (status == dnnl_success && sdg_request_adds_vector(r->step) && !r->code_bits)
        status = describe_bias(r);
    return status;
}

// ---- kernels ----

static dnnl_status_t ask(const struct request *r, dnnl_engine_t engine, dnnl_primitive_desc_t *out)
{
    const struct sdg_op *op = r->step->op;
    const dnnl_memory_desc_t *md = r->md;
    if (op->kind == SDG_OP_LINEAR)
        return dnnl_matmul_primitive_desc_create(out, engine, md[SDG_ROLE_SRC], md[SDG_ROLE_WEIGHTS], md[SDG_ROLE_BIAS],
                                                 md[SDG_ROLE_DST], r->attributes);
    const bool border = !sdg_request_copies_border(r->step);
    const int64_t left = border ? op->u.conv2d.pad_left : 0, right = border ? op->u.conv2d.pad_right : 0;
    return dnnl_convolution_forward_primitive_desc_create(
        out, engine, dnnl_forward_inference, dnnl_convolution_direct, md[SDG_ROLE_SRC], md[SDG_ROLE_WEIGHTS],
        md[SDG_ROLE_BIAS], md[SDG_ROLE_DST], (dnnl_dims_t){op->u.conv2d.stride, op->u.conv2d.stride},
        (dnnl_dims_t){0, 0}, (dnnl_dims_t){r->shape->pad_top, left}, (dnnl_dims_t){r->shape->pad_bottom, right},
        r->attributes);
}

static void free_request(struct request *r)
{
    for (int i = 0; i < SDG_ROLES; i++)
        if (r->md[i])
            dnnl_memory_desc_destroy(r->md[i]);
    if (r->attributes)
        dnnl_primitive_attr_destroy(r->attributes);
}

dnnl_status_t sdg_request_kernel(const struct sdg_cpu_step *step, const struct sdg_piece_shape *shape, int64_t channels,
                                 int code_bits, const_dnnl_memory_desc_t weights, dnnl_engine_t engine,
                                 dnnl_primitive_desc_t *out)
{
    struct request r = {.step = step, .shape = shape, .channels = channels, .code_bits = code_bits};
    *out = NULL;
    dnnl_status_t status = describe_memory(&r, weights);
    if (status == dnnl_success)
        status = make_attributes(&r);
    if (status == dnnl_success)
        status = ask(&r, engine, out);
    free_request(&r);
    return status;
}

// ---- arguments ----

int sdg_request_argument(const struct sdg_cpu_step *step, int code_bits, enum sdg_memory_role role)
{
    switch (role) {
    case SDG_ROLE_SRC: return DNNL_ARG_SRC;
    case SDG_ROLE_DST: return DNNL_ARG_DST;
    case SDG_ROLE_RESIDUAL: return DNNL_ARG_ATTR_MULTIPLE_POST_OP(scale_ops(step, code_bits)) | DNNL_ARG_SRC_1;
    case SDG_ROLE_SCRATCHPAD: return DNNL_ARG_SCRATCHPAD;
    case SDG_ROLE_WEIGHTS: return DNNL_ARG_WEIGHTS;
    case SDG_ROLE_BIAS: return code_bits ? DNNL_ARG_ATTR_MULTIPLE_POST_OP(1) | DNNL_ARG_SRC_1 : DNNL_ARG_BIAS;
    case SDG_ROLE_SRC_SCALE: return DNNL_ARG_ATTR_SCALES | DNNL_ARG_SRC;
    case SDG_ROLE_SRC_ZERO: return DNNL_ARG_ATTR_ZERO_POINTS | DNNL_ARG_SRC;
    case SDG_ROLE_WEIGHT_SCALE: return DNNL_ARG_ATTR_SCALES | DNNL_ARG_WEIGHTS;
    case SDG_ROLE_CODE_SCALE: return DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1;
    default: return 0;
    }
}

static bool has_role(const struct sdg_cpu_step *step, int code_bits, enum sdg_memory_role role)
{
    switch (role) {
    case SDG_ROLE_RESIDUAL: return adds_residual(step);
    case SDG_ROLE_BIAS: return sdg_request_adds_vector(step);
    case SDG_ROLE_SRC_SCALE:
    case SDG_ROLE_WEIGHT_SCALE: return scales_integers(step);
    case SDG_ROLE_SRC_ZERO: return sdg_request_has_zero_point(step);
    case SDG_ROLE_CODE_SCALE: return code_bits != 0;
    default: return true;
    }
}

dnnl_status_t sdg_request_describe(const struct sdg_cpu_step *step, int64_t channels, int code_bits,
                                   const_dnnl_primitive_desc_t kernel, enum sdg_memory_role role,
                                   dnnl_memory_desc_t *out)
{
    *out = NULL;
    if (!has_role(step, code_bits, role))
        return dnnl_success;
    if (role == SDG_ROLE_SRC_SCALE || role == SDG_ROLE_SRC_ZERO || role == SDG_ROLE_WEIGHT_SCALE)
        return dnnl_memory_desc_create_with_tag(out, 1, (dnnl_dims_t){role == SDG_ROLE_WEIGHT_SCALE ? channels : 1},
                                                role == SDG_ROLE_SRC_ZERO ? dnnl_s32 : dnnl_f32, dnnl_a);
    return dnnl_memory_desc_clone(
        out, dnnl_primitive_desc_query_md(kernel, dnnl_query_exec_arg_md, sdg_request_argument(step, code_bits, role)));
}
