// How the reference kernels see a step: its values, its intervals, where results go.
#include "backend/cpu/ref/ref.h"

struct sdg_ref_view sdg_ref_view(const struct sdg_cpu_step *step, sdg_value v)
{
    const struct sdg_value_info *info = sdg_cpu_value(step->program, v);
    return (struct sdg_ref_view){
        .data = v ? sdg_cpu_data(step->program, v) : NULL,
        .type = info->dtype,
        .n = info->dims[0],
        .h = info->dims[1],
        .w = info->dims[2],
        .c = info->dims[3],
    };
}

struct sdg_ref_interval sdg_ref_interval(const struct sdg_cpu_step *step, sdg_value v, int64_t row)
{
    if (!v)
        return (struct sdg_ref_interval){.scale = 1};
    bool is_table = sdg_cpu_value(step->program, v)->kind == SDG_VALUE_TABLE;
    const float *pair = is_table ? sdg_cpu_table(step->program, v, row) : sdg_cpu_data(step->program, v);
    return (struct sdg_ref_interval){.scale = pair[0], .zero = pair[1]};
}

struct sdg_ref_result sdg_ref_result(const struct sdg_cpu_step *step, int64_t row)
{
    const struct sdg_output_codes *codes = &step->op->codes;
    const struct sdg_ref_interval interval = sdg_ref_interval(step, codes->interval, row);
    return (struct sdg_ref_result){
        .view = sdg_ref_view(step, step->op->out),
        .codes = codes->interval != 0,
        .inverse = 1.0f / interval.scale,
        .zero = interval.zero,
        .lowest = (float)codes->lowest,
        .highest = (float)codes->highest,
    };
}
