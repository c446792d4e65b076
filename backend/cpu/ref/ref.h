// Reference kernels: one function per operation, written to be read. Elements are loaded as double, sums are kept in
// double, and each result is rounded once, to float and then to the value's storage type or to a code. Sums of integers
// are exact in double. Every output element is computed by one thread in a fixed order, so results do not depend on the
// number of threads.
#ifndef SDG_BACKEND_CPU_REF_REF_H
#define SDG_BACKEND_CPU_REF_REF_H

#include "backend/cpu/cpu_program.h"

#include <math.h>

// A value's storage with its shape [n, h, w, c]; `data` is NULL for an absent value.
struct sdg_ref_view {
    void *data;
    enum sdg_dtype type;
    int64_t n, h, w, c;
};
struct sdg_ref_view sdg_ref_view(const struct sdg_cpu_step *step, sdg_value v);

static inline int64_t sdg_ref_tokens(const struct sdg_ref_view *v)
{
    return v->h * v->w;
}
static inline int64_t sdg_ref_elements(const struct sdg_ref_view *v)
{
    return v->n * v->h * v->w * v->c;
}
static inline double sdg_ref_get(const struct sdg_ref_view *v, int64_t i)
{
    switch (v->type) {
    case SDG_F16: return sdg_f32_from_f16(((const uint16_t *)v->data)[i]);
    case SDG_BF16: return sdg_f32_from_bf16(((const uint16_t *)v->data)[i]);
    case SDG_S8: return ((const int8_t *)v->data)[i];
    case SDG_U8: return ((const uint8_t *)v->data)[i];
    default: return ((const float *)v->data)[i];
    }
}
static inline void sdg_ref_put(const struct sdg_ref_view *v, int64_t i, double value)
{
    switch (v->type) {
    case SDG_F16: ((uint16_t *)v->data)[i] = sdg_f16_from_f32((float)value); break;
    case SDG_BF16: ((uint16_t *)v->data)[i] = sdg_bf16_from_f32((float)value); break;
    case SDG_S8: ((int8_t *)v->data)[i] = (int8_t)value; break;
    case SDG_U8: ((uint8_t *)v->data)[i] = (uint8_t)value; break;
    default: ((float *)v->data)[i] = (float)value;
    }
}

// ---- intervals and codes ----
// Scales and zero points of a row: of a row table, or of an operation that measured one.
struct sdg_ref_intervals {
    const float *pairs;
    int64_t stride, tokens; // floats from one token's to the next, 0: one for all
};
struct sdg_ref_interval { float scale, zero; };
struct sdg_ref_intervals sdg_ref_intervals(const struct sdg_cpu_step *step, sdg_value v, int64_t row);
// That of a position, counted through all samples.
static inline struct sdg_ref_interval sdg_ref_interval(const struct sdg_ref_intervals *i, int64_t position)
{
    const float *pair = i->stride ? i->pairs + position % i->tokens * i->stride : i->pairs;
    return (struct sdg_ref_interval){.scale = pair[0], .zero = pair[1]};
}

// An operand of values, or of codes that stand for some.
struct sdg_ref_operand {
    struct sdg_ref_view view;
    bool codes;
    struct sdg_ref_intervals intervals; // of codes
};
// `interval` may be 0: v holds values.
struct sdg_ref_operand sdg_ref_operand(const struct sdg_cpu_step *step, sdg_value v, sdg_value interval, int64_t row);
static inline double sdg_ref_value(const struct sdg_ref_operand *o, int64_t position, int64_t channel)
{
    const double x = sdg_ref_get(&o->view, position * o->view.c + channel);
    if (!o->codes)
        return x;
    const struct sdg_ref_interval interval = sdg_ref_interval(&o->intervals, position);
    return (double)interval.scale * (x - (double)interval.zero);
}

// Where an operation that may emit codes puts its results.
struct sdg_ref_result {
    struct sdg_ref_view view;
    bool codes;
    struct sdg_ref_intervals intervals; // of codes, as the following
    float lowest, highest;
    struct sdg_ref_view smoothing; // [C], or absent
};
struct sdg_ref_result sdg_ref_result(const struct sdg_cpu_step *step, int64_t row);
// `codes` of what has `view`'s shape.
struct sdg_ref_result sdg_ref_codes(const struct sdg_cpu_step *step, const struct sdg_output_codes *codes,
                                    struct sdg_ref_view view, int64_t row);
// The result's factor before it becomes a code.
static inline float sdg_ref_smoothing(const struct sdg_ref_view *smoothing, int64_t channel)
{
    return smoothing->data ? (float)sdg_ref_get(smoothing, channel) : 1;
}
// In f32 from the rounded result on, as struct sdg_output_codes says.
static inline float sdg_ref_code(const struct sdg_ref_result *r, int64_t i, float y)
{
    const struct sdg_ref_interval interval = sdg_ref_interval(&r->intervals, i / r->view.c);
    const float smooth = y * sdg_ref_smoothing(&r->smoothing, i % r->view.c);
    const float code = rintf(smooth * (1.0f / interval.scale)) + interval.zero;
    return !(code > r->lowest) ? r->lowest : code < r->highest ? code : r->highest; // NaN is the lowest
}
static inline void sdg_ref_store(const struct sdg_ref_result *r, int64_t i, double y)
{
    sdg_ref_put(&r->view, i, r->codes ? sdg_ref_code(r, i, (float)y) : y);
}

// function(x); a and b are used by SDG_UNARY_AFFINE only.
double sdg_ref_activation(enum sdg_unary function, double x, double a, double b);
// d function(x) / dx, of all but SDG_UNARY_AFFINE.
double sdg_ref_derivative(enum sdg_unary function, double x);

// ---- conv2d and linear share their inner loop (ref/dot.c) ----
// What they multiply: x, normalised or made codes of on the way (struct sdg_loading).
struct sdg_ref_factor {
    struct sdg_ref_view x;
    struct sdg_ref_view norm;    // statistics, or absent
    struct sdg_ref_result codes; // of x, where these are wanted; it is stored nowhere
};
struct sdg_ref_factor sdg_ref_factor(const struct sdg_cpu_step *step, int64_t row);
double sdg_ref_factor_at(const struct sdg_ref_factor *f, int64_t i);
enum { SDG_REF_POSITIONS = 4, SDG_REF_CHANNELS = 32 };
// Packed weights are f32 [inputs][outputs]: the transpose of the file's [outputs][inputs...].
size_t sdg_ref_packed_bytes(const struct sdg_value_info *weight);
enum sdg_result sdg_ref_pack(struct sdg_cpu_step *step);
// sum[p][o] += (x[first[p] + i] - zero) * weight[i * stride + o], for `count` inputs i, up to SDG_REF_POSITIONS
// positions and SDG_REF_CHANNELS outputs; positions with first[p] < 0 are padding, zero is the zero point of the
// position where x holds codes. `weight` points at the first output wanted, `stride` floats separate two inputs.
void sdg_ref_dot(double sum[SDG_REF_POSITIONS][SDG_REF_CHANNELS], const struct sdg_ref_factor *x,
                 const struct sdg_ref_intervals *intervals, const int64_t first[SDG_REF_POSITIONS], int positions,
                 int64_t count, const float *weight, int64_t stride, int outputs);

// The epilogue of conv2d and linear: turns a sum into the output element of sample n, channel c at flat index i, and
// stores it.
struct sdg_ref_epilogue {
    struct sdg_ref_result out;
    struct sdg_ref_view bias, residual;
    // of integers: sums are in units of the token's scale * weight_scale[c]. Else scale 1, zero 0
    struct sdg_ref_intervals intervals;
    struct sdg_ref_view weight_scale; // [C], or absent
    const float *table;               // of this row, or NULL
    int64_t table_stride;
    enum sdg_unary activation;
};
struct sdg_ref_epilogue sdg_ref_epilogue(const struct sdg_cpu_step *step, int64_t row);
void sdg_ref_finish(const struct sdg_ref_epilogue *e, double sum, int64_t n, int64_t c, int64_t i);

// Bytes of scratch memory that each thread needs, where it depends on shapes.
size_t sdg_ref_attention_gradient_work(const struct sdg_cpu_step *step);
size_t sdg_ref_selective_scan_gradient_work(const struct sdg_cpu_step *step);

#define SDG_OP(name, upper, operands, result) \
    enum sdg_result sdg_ref_##name(const struct sdg_cpu_step *step, int64_t row);
#include "graph/ops.def"
#undef SDG_OP

#endif
