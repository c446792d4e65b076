// What conv2d and linear have in common: transposed weights, the inner loop, the epilogue.
#include "backend/cpu/ref/ref.h"

#include "base/memory.h"

size_t sdg_ref_packed_bytes(const struct sdg_value_info *weight)
{
    return (size_t)sdg_value_elements(weight) * sizeof(float);
}

struct packing {
    struct sdg_ref_view from;
    float *to;
    int64_t inputs, outputs;
};

static void pack_input(void *context, int64_t i, int thread)
{
    const struct packing *p = context;
    (void)thread;
    for (int64_t o = 0; o < p->outputs; o++)
        p->to[i * p->outputs + o] = (float)sdg_ref_get(&p->from, o * p->inputs + i);
}

// [outputs][inputs] -> [inputs][outputs], so that neighbouring outputs are neighbours in memory. Weights go through the
// value's type, so that rounding to f16 or bf16 is the same as in a backend that computes with such weights. Integers
// fit into floats.
enum sdg_result sdg_ref_pack(struct sdg_cpu_step *step)
{
    struct sdg_cpu_program *program = step->program;
    sdg_value v = step->op->in[1];
    const struct sdg_value_info *info = sdg_cpu_value(program, v);
    size_t elements = (size_t)sdg_value_elements(info);
    void *stored = sdg_alloc_raw(program->base.log, elements, sdg_dtype_size(info->dtype), "a weight");
    if (!stored)
        return SDG_ERROR_MEMORY;
    sdg_cpu_read_weight(program, v, info->dtype, stored);
    struct packing p = {
        .from = {.data = stored, .type = info->dtype},
        .to = step->weights,
        .inputs = info->dims[1] * info->dims[2] * info->dims[3],
        .outputs = info->dims[0],
    };
    sdg_cpu_run(program, p.inputs, pack_input, &p);
    sdg_free(stored);
    return SDG_OK;
}

struct sdg_ref_factor sdg_ref_factor(const struct sdg_cpu_step *step, int64_t row)
{
    const struct sdg_loading *load = &step->op->load;
    const struct sdg_ref_view x = sdg_ref_view(step, step->op->in[0]);
    return (struct sdg_ref_factor){
        .x = x,
        .norm = sdg_ref_view(step, load->norm),
        .codes = sdg_ref_codes(step, &load->codes, x, row),
    };
}

double sdg_ref_factor_at(const struct sdg_ref_factor *f, int64_t i)
{
    const double x = sdg_ref_get(&f->x, i);
    if (f->codes.codes)
        return (double)sdg_ref_code(&f->codes, i, (float)x);
    if (!f->norm.data)
        return x;
    const int64_t affine = 2 * (i % f->x.c), moments = 2 * (f->x.c + i / f->x.c);
    const double normal = (x - sdg_ref_get(&f->norm, moments)) * sdg_ref_get(&f->norm, moments + 1);
    return normal * sdg_ref_get(&f->norm, affine) + sdg_ref_get(&f->norm, affine + 1);
}

void sdg_ref_dot(double sum[SDG_REF_POSITIONS][SDG_REF_CHANNELS], const struct sdg_ref_factor *x,
                 const struct sdg_ref_intervals *intervals, const int64_t first[SDG_REF_POSITIONS], int positions,
                 int64_t count, const float *weight, int64_t stride, int outputs)
{
    double zero[SDG_REF_POSITIONS] = {0};
    for (int p = 0; p < positions; p++)
        zero[p] = sdg_ref_interval(intervals, first[p] < 0 ? 0 : first[p] / x->x.c).zero;
    for (int64_t i = 0; i < count; i++) {
        double w[SDG_REF_CHANNELS];
        for (int o = 0; o < outputs; o++)
            w[o] = weight[i * stride + o];
        for (int p = 0; p < positions; p++) {
            if (first[p] < 0)
                continue;
            double value = sdg_ref_factor_at(x, first[p] + i) - zero[p];
            for (int o = 0; o < outputs; o++)
                sum[p][o] += value * w[o];
        }
    }
}

struct sdg_ref_epilogue sdg_ref_epilogue(const struct sdg_cpu_step *step, int64_t row)
{
    const struct sdg_epilogue *from = &step->op->epilogue;
    return (struct sdg_ref_epilogue){
        .out = sdg_ref_result(step, row),
        .bias = sdg_ref_view(step, from->bias),
        .residual = sdg_ref_view(step, from->residual),
        .table = from->table ? sdg_cpu_table(step->program, from->table, row) : NULL,
        .table_stride = from->table ? sdg_cpu_table_stride(step->program, from->table) : 0,
        .activation = from->activation,
        .intervals = sdg_ref_intervals(step, step->op->in[2], row),
        .weight_scale = sdg_ref_view(step, step->op->in[3]),
    };
}

void sdg_ref_finish(const struct sdg_ref_epilogue *e, double sum, int64_t n, int64_t c, int64_t i)
{
    if (e->weight_scale.data)
        sum *= (double)sdg_ref_interval(&e->intervals, i / e->out.view.c).scale * sdg_ref_get(&e->weight_scale, c);
    if (e->bias.data)
        sum += sdg_ref_get(&e->bias, c);
    if (e->table)
        sum += e->table[n * e->table_stride + c];
    if (e->residual.data)
        sum += sdg_ref_get(&e->residual, i);
    sdg_ref_store(&e->out, i, sdg_ref_activation(e->activation, sum, 1, 0));
}
