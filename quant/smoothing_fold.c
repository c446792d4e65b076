#include "quant/smoothing_fold.h"

#include "quant/sites.h"

struct finding {
    const struct sdg_graph *graph;
    sdg_is_quantized_fn is_quantized;
    const void *user;
};

static bool is_layer(const struct finding *f, const struct sdg_op *op)
{
    return sdg_op_is_quantizable(f->graph, op) && f->is_quantized(f->user, op);
}

static const struct sdg_op *maker_of(const struct sdg_graph *graph, sdg_value v)
{
    for (size_t i = 0; i < graph->op_count; i++)
        if (graph->ops[i].out == v)
            return &graph->ops[i];
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

static bool only_layers_read(const struct finding *f, sdg_value v)
{
    for (size_t i = 0; i < f->graph->op_count; i++) {
        const struct sdg_op *op = &f->graph->ops[i];
        if (reads_otherwise(op, v) || (op->in[0] == v && !is_layer(f, op)))
            return false;
    }
    return !f->graph->values[v].output;
}

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
static const struct sdg_op *layer_behind(const struct finding *f, const struct sdg_op *slice)
{
    const struct sdg_graph *graph = f->graph;
    const sdg_value whole = slice->in[0];
    const struct sdg_op *maker = maker_of(graph, whole);
    if (!maker || maker->kind != SDG_OP_LINEAR || maker->epilogue.bias || maker->epilogue.table ||
        maker->epilogue.residual || maker->epilogue.activation || graph->values[whole].output ||
        graph->values[maker->in[1]].slice_of || !is_layer(f, maker))
        return NULL;
    for (size_t i = 0; i < graph->op_count; i++) {
        const struct sdg_op *op = &graph->ops[i];
        if (op != slice && (op->in[0] == whole || reads_otherwise(op, whole)) &&
            reads_channels(graph, op, whole, slice->u.slice.start, graph->values[slice->out].dims[3]))
            return NULL;
    }
    return maker;
}

bool sdg_smoothing_fold_find(const struct sdg_graph *graph, sdg_value site, sdg_is_quantized_fn is_quantized,
                             const void *user, struct sdg_smoothing_fold *out)
{
    const struct finding f = {graph, is_quantized, user};
    const struct sdg_op *maker = maker_of(graph, site);
    *out = (struct sdg_smoothing_fold){0};
    if (!maker || !only_layers_read(&f, site))
        return false;
    if (maker->kind == SDG_OP_LAYER_NORM) {
        out->gamma = maker->in[1];
        out->beta = maker->in[2];
        return true;
    }
    if (maker->kind != SDG_OP_SLICE)
        return false;
    out->op = layer_behind(&f, maker);
    out->first = (size_t)maker->u.slice.start;
    return out->op != NULL;
}
