#include "backend/vulkan/vk_ops.h"

#include <stdio.h>

const struct sdg_vk_op *const sdg_vk_ops[SDG_OP_COUNT] = {
#define SDG_OP(name, upper, operands, result) [SDG_OP_##upper] = &sdg_vk_op_##name,
#define SDG_TRAINING_OP(name, upper, operands, result) [SDG_OP_##upper] = NULL,
#include "graph/ops.def"
#undef SDG_OP
};

// ---- integers ----

uint32_t sdg_vk_pairs_per_row(const struct sdg_vk_lowering *lo, sdg_value interval)
{
    const struct sdg_value_info *info = sdg_vk_value(lo, interval);
    return info->kind == SDG_VALUE_TABLE ? (uint32_t)info->dims[1] : 0;
}

bool sdg_vk_is_integer(const struct sdg_graph *graph, const struct sdg_op *op)
{
    return (op->kind == SDG_OP_CONV2D || op->kind == SDG_OP_LINEAR) && graph->values[op->in[1]].dtype == SDG_S8;
}

enum sdg_dtype sdg_vk_float_type(const struct sdg_graph *graph, const struct sdg_op *op)
{
    sdg_value touched[SDG_OP_MAX_READS + 1];
    int count = sdg_op_reads(graph, op, touched);
    touched[count++] = op->out;
    for (int i = 0; i < count; i++)
        if (sdg_dtype_is_float(graph->values[touched[i]].dtype) && !sdg_op_is_interval(op, touched[i]))
            return graph->values[touched[i]].dtype;
    return SDG_F32;
}

void sdg_vk_add_interval(const struct sdg_vk_lowering *lo, struct sdg_vk_dispatch *d, sdg_value interval, int lowest,
                         int highest)
{
    d->bindings[d->binding_count++] = sdg_vk_row();
    d->bindings[d->binding_count++] = sdg_vk_read(lo, interval);
    if (interval) {
        d->spec[SDG_SPEC_LOWEST] = (uint32_t)lowest;
        d->spec[SDG_SPEC_HIGHEST] = (uint32_t)highest;
        d->spec[SDG_SPEC_OUT_PAIRS] = sdg_vk_pairs_per_row(lo, interval);
    }
}

void sdg_vk_add_smoothing(const struct sdg_vk_lowering *lo, struct sdg_vk_dispatch *d, sdg_value smoothing)
{
    d->bindings[d->binding_count++] = sdg_vk_read(lo, smoothing);
    d->spec[SDG_SPEC_SMOOTHED] = smoothing != 0;
}

void sdg_vk_add_codes(const struct sdg_vk_lowering *lo, struct sdg_vk_dispatch *d)
{
    const struct sdg_output_codes *codes = &lo->op->codes;
    sdg_vk_add_interval(lo, d, codes->interval, codes->lowest, codes->highest);
    if (lo->op->kind != SDG_OP_CONV2D && lo->op->kind != SDG_OP_LINEAR)
        sdg_vk_add_smoothing(lo, d, codes->smoothing);
}

int64_t sdg_vk_move_unit(const struct sdg_vk_lowering *lo, int64_t start)
{
    const struct sdg_value_info *x = sdg_vk_value(lo, lo->op->in[0]), *out = sdg_vk_value(lo, lo->op->out);
    return sdg_dtype_is_codes(out->dtype) && (x->dims[3] | out->dims[3] | start) % 4 == 0 ? 4 : 1;
}

enum sdg_result sdg_vk_emit_move(struct sdg_vk_lowering *lo, const char *family, int64_t unit, const void *push,
                                 size_t push_bytes)
{
    const struct sdg_value_info *out = sdg_vk_value(lo, lo->op->out);
    bool codes = sdg_dtype_is_codes(out->dtype);
    struct sdg_vk_dispatch d = {
        .family = family,
        .type = codes ? SDG_F32 : out->dtype, // words
        .spec = {[SDG_SPEC_BYTES] = codes && unit == 1},
        .binding_count = 2,
        .bindings = {sdg_vk_read(lo, lo->op->in[0]), sdg_vk_write(lo, lo->op->out)},
        .push = push,
        .push_bytes = push_bytes,
    };
    return sdg_vk_emit_elements(lo, &d, sdg_vk_ceil(sdg_value_elements(out), codes ? 4 : 1));
}

// ---- bindings and dispatches ----

struct sdg_vk_binding sdg_vk_read(const struct sdg_vk_lowering *lo, sdg_value v)
{
    return v ? (struct sdg_vk_binding){.place = lo->places[v]} : sdg_vk_row(); // any memory that exists
}

struct sdg_vk_binding sdg_vk_write(const struct sdg_vk_lowering *lo, sdg_value v)
{
    return (struct sdg_vk_binding){.place = lo->places[v], .written = true};
}

struct sdg_vk_binding sdg_vk_scratch(const struct sdg_vk_lowering *lo, size_t offset, size_t bytes, bool written)
{
    return (struct sdg_vk_binding){.place = {lo->scratch.space, lo->scratch.offset + offset, bytes},
                                   .written = written};
}

struct sdg_vk_binding sdg_vk_row(void)
{
    return (struct sdg_vk_binding){.place = {SDG_VK_SPACE_ROW, 0, 4}};
}

static enum sdg_result check_limits(const struct sdg_vk_lowering *lo, const struct sdg_vk_dispatch *d)
{
    const struct sdg_vk *vk = lo->vk;
    const struct sdg_vk_caps *caps = &vk->caps;
    if (d->binding_count > caps->max_bindings)
        return sdg_fail(lo->log, SDG_ERROR_UNSUPPORTED,
                        "%s: %s on integers needs %u buffers in a shader, but %s binds at most %u; use a model that is "
                        "not quantized",
                        lo->op->name, sdg_op_name(lo->op->kind), d->binding_count, vk->base.info.name,
                        caps->max_bindings);
    for (uint32_t i = 0; i < d->binding_count; i++)
        if (d->bindings[i].place.bytes > caps->max_range)
            return sdg_fail(lo->log, SDG_ERROR_UNSUPPORTED,
                            "%s: %s needs a buffer of %zu MiB, but a shader on %s sees at most %llu MiB; use a smaller "
                            "picture, VAE tiling or --type f16",
                            lo->op->name, sdg_op_name(lo->op->kind), (d->bindings[i].place.bytes + (1 << 20) - 1) >> 20,
                            vk->base.info.name, (unsigned long long)(caps->max_range >> 20));
    for (int i = 0; i < 3; i++)
        if (d->groups[i] > caps->max_groups[i])
            return sdg_fail(lo->log, SDG_ERROR_UNSUPPORTED, "%s: %s needs %lld workgroups, but %s takes at most %u",
                            lo->op->name, sdg_op_name(lo->op->kind), (long long)d->groups[i], vk->base.info.name,
                            caps->max_groups[i]);
    if (d->local_size > caps->max_invocations)
        return sdg_fail(lo->log, SDG_ERROR_UNSUPPORTED, "%s: %s needs workgroups of %u, but %s takes at most %u",
                        lo->op->name, sdg_op_name(lo->op->kind), d->local_size, vk->base.info.name,
                        caps->max_invocations);
    return SDG_OK;
}

enum sdg_result sdg_vk_no_shader(const struct sdg_vk_lowering *lo, const struct sdg_vk_dispatch *d)
{
    return sdg_fail(lo->log, SDG_ERROR_UNSUPPORTED, "%s: backend vulkan has no %s for %s on this device", lo->op->name,
                    sdg_op_name(lo->op->kind), sdg_dtype_name(d->type));
}

enum sdg_result sdg_vk_emit(struct sdg_vk_lowering *lo, const struct sdg_vk_dispatch *d)
{
    const struct sdg_shader *shader =
        d->shader ? d->shader : sdg_vk_find_shader(lo->vk->features, d->family, d->type, d->columns, NULL);
    if (!shader)
        return sdg_vk_no_shader(lo, d);
    SDG_TRY(check_limits(lo, d));
    if (!sdg_grow(lo->log, &lo->steps, &lo->step_capacity, lo->step_count + 1, sizeof *lo->steps, "a program's steps"))
        return SDG_ERROR_MEMORY;
    struct sdg_vk_step *step = &lo->steps[lo->step_count];
    memset(step, 0, sizeof *step);
    step->key.shader = shader;
    memcpy(step->key.spec, d->spec, sizeof d->spec);
    step->key.spec[SDG_SPEC_LOCAL_SIZE] = d->local_size;
    step->key.bindings = d->binding_count;
    memcpy(step->bindings, d->bindings, d->binding_count * sizeof *d->bindings);
    for (int i = 0; i < 3; i++)
        step->groups[i] = d->groups[i] ? (uint32_t)d->groups[i] : 1;
    step->push_bytes = (uint32_t)d->push_bytes;
    memcpy(step->push, d->push, d->push_bytes);
    step->op = lo->op_index;
    step->name = lo->op->name;
    SDG_TRY(sdg_vk_hazards_add(lo->log, &lo->hazards, step));
    lo->step_count++;
    if (!lo->kernel[0])
        snprintf(lo->kernel, sizeof lo->kernel, "%s", shader->name);
    return SDG_OK;
}

enum sdg_result sdg_vk_emit_groups(struct sdg_vk_lowering *lo, struct sdg_vk_dispatch *d, int64_t count)
{
    int64_t longest = lo->vk->caps.max_groups[0] < 65535 ? lo->vk->caps.max_groups[0] : 65535;
    d->groups[1] = sdg_vk_ceil(count, longest);
    d->groups[0] = sdg_vk_ceil(count, d->groups[1]);
    return sdg_vk_emit(lo, d);
}

enum sdg_result sdg_vk_emit_elements(struct sdg_vk_lowering *lo, struct sdg_vk_dispatch *d, int64_t count)
{
    d->local_size = SDG_VK_INVOCATIONS;
    return sdg_vk_emit_groups(lo, d, sdg_vk_ceil(count, d->local_size));
}
