#include "quantize/quant_smooth.h"

#include "base/memory.h"
#include "formats/stored.h"
#include "quant/sites.h"

#include <string.h>

struct folding {
    const struct sdg_log *log;
    struct sdg_quant_plan *plan;
    const struct sdg_quant_subject *subject;
};

const float *sdg_quant_site_smoothing(const struct sdg_quant_site *site)
{
    return site->smoothed ? site->statistics->smoothing : NULL;
}

static struct sdg_op *maker_of(const struct sdg_graph *graph, sdg_value v)
{
    for (size_t i = 0; i < graph->op_count; i++)
        if (graph->ops[i].out == v)
            return &graph->ops[i];
    return NULL;
}

static struct sdg_quant_module *module_of(struct sdg_quant_plan *plan, const struct sdg_op *op)
{
    for (size_t i = 0; i < plan->module_count; i++)
        for (size_t p = 0; p < plan->modules[i].part_count; p++)
            if (strcmp(plan->modules[i].parts[p].op, op->name) == 0)
                return &plan->modules[i];
    return NULL;
}

// Whether `op` mentions v anywhere but as its first operand.
static bool reads_otherwise(const struct sdg_op *op, sdg_value v)
{
    for (int i = 1; i < SDG_OP_MAX_INPUTS; i++)
        if (op->in[i] == v)
            return true;
    return op->epilogue.residual == v || op->epilogue.bias == v || op->epilogue.table == v;
}

static bool only_quantized_layers_read(struct sdg_quant_plan *plan, sdg_value v)
{
    const struct sdg_graph *graph = plan->graph;
    for (size_t i = 0; i < graph->op_count; i++) {
        const struct sdg_op *op = &graph->ops[i];
        if (reads_otherwise(op, v) || (op->in[0] == v && !(sdg_op_is_quantizable(graph, op) && module_of(plan, op))))
            return false;
    }
    return !graph->values[v].output;
}

// ---- into a norm ----

static enum sdg_result fold_vector(const struct folding *f, sdg_value vector, const float *smoothing, size_t channels)
{
    const char *name = f->plan->graph->values[vector].name;
    const struct sdg_tensor *tensor = sdg_tensors_find(f->subject->tensors, name);
    if (!tensor || tensor->bytes != channels * sdg_dtype_size(tensor->dtype) || !sdg_dtype_is_float(tensor->dtype))
        return sdg_fail(f->log, SDG_ERROR_INPUT, "%s: %s is missing or does not fit the configuration",
                        sdg_tensors_path(f->subject->tensors), name);
    if (!sdg_grow(f->log, &f->plan->folded, &f->plan->folded_capacity, f->plan->folded_count + 1,
                  sizeof *f->plan->folded, "folded tensors"))
        return SDG_ERROR_MEMORY;
    float *data = sdg_alloc_raw(f->log, channels, sizeof *data, "a folded tensor");
    if (!data)
        return SDG_ERROR_MEMORY;
    const struct sdg_stored stored = sdg_stored_numbers(tensor);
    sdg_stored_expand(&stored, 0, channels, SDG_F32, data);
    for (size_t c = 0; c < channels; c++)
        data[c] *= smoothing[c];
    f->plan->folded[f->plan->folded_count++] = (struct sdg_quant_folded){tensor, data};
    return SDG_OK;
}

// ---- into rows of a weight ----

// Whether an operation that reads `whole` may read its channels [first, first + count).
static bool reads_channels(const struct sdg_graph *graph, const struct sdg_op *op, sdg_value whole, int64_t first,
                           int64_t count)
{
    if (op->kind == SDG_OP_SLICE)
        return op->u.slice.start < first + count && op->u.slice.start + graph->values[op->out].dims[3] > first;
    if (op->kind != SDG_OP_SELECTIVE_SCAN || op->in[0] == whole || op->in[1] == whole || op->in[6] == whole ||
        op->in[7] == whole)
        return true;
    const int64_t states = graph->values[op->in[3]].dims[1], b = op->u.selective_scan.b_start,
                  c = op->u.selective_scan.c_start;
    return (b < first + count && b + states > first) || (c < first + count && c + states > first);
}

// The quantized layer whose rows may take the smoothing of what `slice` makes; NULL if there is none.
static struct sdg_quant_module *layer_behind(struct sdg_quant_plan *plan, const struct sdg_op *slice)
{
    const struct sdg_graph *graph = plan->graph;
    const sdg_value whole = slice->in[0];
    const struct sdg_op *maker = maker_of(graph, whole);
    if (!maker || maker->kind != SDG_OP_LINEAR || maker->epilogue.bias || maker->epilogue.table ||
        maker->epilogue.residual || maker->epilogue.activation || graph->values[whole].output)
        return NULL;
    for (size_t i = 0; i < graph->op_count; i++) {
        const struct sdg_op *op = &graph->ops[i];
        if (op != slice && (op->in[0] == whole || reads_otherwise(op, whole)) &&
            reads_channels(graph, op, whole, slice->u.slice.start, graph->values[slice->out].dims[3]))
            return NULL;
    }
    struct sdg_quant_module *module = module_of(plan, maker);
    return module && module->part_count == 1 && !module->row_smoothing ? module : NULL;
}

static enum sdg_result fold(const struct folding *f, struct sdg_quant_site *site)
{
    struct sdg_quant_plan *plan = f->plan;
    const struct sdg_op *maker = maker_of(plan->graph, site->value);
    const float *smoothing = site->statistics->smoothing;
    if (!maker || !only_quantized_layers_read(plan, site->value))
        return SDG_OK;
    if (maker->kind == SDG_OP_LAYER_NORM) {
        SDG_TRY(fold_vector(f, maker->in[1], smoothing, site->channels));
        SDG_TRY(fold_vector(f, maker->in[2], smoothing, site->channels));
        site->folded = true;
    } else if (maker->kind == SDG_OP_SLICE) {
        struct sdg_quant_module *module = layer_behind(plan, maker);
        if (module) {
            module->row_smoothing = smoothing;
            module->row_start = (size_t)maker->u.slice.start;
            module->row_count = site->channels;
            site->folded = true;
        }
    }
    return SDG_OK;
}

enum sdg_result sdg_quant_smooth(const struct sdg_log *log, struct sdg_quant_plan *plan,
                                 const struct sdg_quant_subject *subject, enum sdg_interval_rule rule, bool folds)
{
    const struct folding f = {log, plan, subject};
    for (size_t i = 0; i < plan->site_count; i++) {
        struct sdg_quant_site *site = &plan->sites[i];
        if (!site->wanted || !site->statistics || !site->statistics->smoothing)
            continue;
        if (!sdg_site_is_by_token(plan->graph, site->value))
            return sdg_fail(log, SDG_ERROR_INPUT,
                            "%s: its statistics are smoothed, but not only single tokens are read", site->name);
        if (folds)
            SDG_TRY(fold(&f, site));
        // Intervals that are measured at run time are of values as they are made: a multiplier behind them is left out.
        site->smoothed = site->folded || rule != SDG_INTERVAL_DYNAMIC;
    }
    return SDG_OK;
}
