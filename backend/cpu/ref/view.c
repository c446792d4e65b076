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

struct sdg_ref_intervals sdg_ref_intervals(const struct sdg_cpu_step *step, sdg_value v, int64_t row)
{
    static const float none[2] = {1, 0};
    if (!v)
        return (struct sdg_ref_intervals){.pairs = none};
    const struct sdg_value_info *info = sdg_cpu_value(step->program, v);
    if (info->kind != SDG_VALUE_TABLE)
        return (struct sdg_ref_intervals){
            .pairs = sdg_cpu_data(step->program, v),
            .stride = info->dims[2] == 1 ? 0 : 2,
            .tokens = info->dims[2],
        };
    return (struct sdg_ref_intervals){
        .pairs = sdg_cpu_table(step->program, v, row),
        .stride = sdg_cpu_table_stride(step->program, v),
        .tokens = info->dims[1],
    };
}

struct sdg_ref_operand sdg_ref_operand(const struct sdg_cpu_step *step, sdg_value v, sdg_value interval, int64_t row)
{
    return (struct sdg_ref_operand){
        .view = sdg_ref_view(step, v),
        .codes = interval != 0,
        .intervals = sdg_ref_intervals(step, interval, row),
    };
}

struct sdg_ref_result sdg_ref_codes(const struct sdg_cpu_step *step, const struct sdg_output_codes *codes,
                                    struct sdg_ref_view view, int64_t row)
{
    return (struct sdg_ref_result){
        .view = view,
        .codes = codes->interval != 0,
        .intervals = sdg_ref_intervals(step, codes->interval, row),
        .lowest = (float)codes->lowest,
        .highest = (float)codes->highest,
        .smoothing = sdg_ref_view(step, codes->smoothing),
    };
}

struct sdg_ref_result sdg_ref_result(const struct sdg_cpu_step *step, int64_t row)
{
    return sdg_ref_codes(step, &step->op->codes, sdg_ref_view(step, step->op->out), row);
}
