#include "quant/sites.h"

#include "base/memory.h"

#include <stdio.h>
#include <string.h>

bool sdg_op_is_quantizable(const struct sdg_graph *graph, const struct sdg_op *op)
{
    if (op->kind != SDG_OP_CONV2D && op->kind != SDG_OP_LINEAR)
        return false;
    return graph->values[op->in[0]].kind == SDG_VALUE_ACTIVATION && strcmp(op->name, "conv_in") &&
        strcmp(op->name, "conv_out") && strcmp(op->name, "head");
}

// The operation that makes each value: index + 1, 0 for leaves.
static size_t *find_makers(const struct sdg_graph *graph)
{
    size_t *makers = sdg_alloc(graph->log, graph->value_count, sizeof *makers, "a graph's values");
    for (size_t i = 0; makers && i < graph->op_count; i++)
        makers[graph->ops[i].out] = i + 1;
    return makers;
}

static bool is_silu(const struct sdg_op *op)
{
    switch (op->kind) {
    case SDG_OP_GROUP_NORM: return op->u.group_norm.activation == SDG_UNARY_SILU;
    case SDG_OP_UNARY: return op->u.unary.function == SDG_UNARY_SILU;
    case SDG_OP_CONV1D_CAUSAL: return op->u.conv1d_causal.activation == SDG_UNARY_SILU;
    case SDG_OP_CONV2D:
    case SDG_OP_LINEAR: return op->epilogue.activation == SDG_UNARY_SILU;
    default: return false;
    }
}

// Values only moved, not computed with, are looked through: upsampling, slices.
static enum sdg_site_kind kind_of(const struct sdg_graph *graph, const size_t *makers, sdg_value value)
{
    const struct sdg_op *op = makers[value] ? &graph->ops[makers[value] - 1] : NULL;
    while (op && (op->kind == SDG_OP_UPSAMPLE_NEAREST || op->kind == SDG_OP_SLICE)) {
        value = op->in[0];
        op = makers[value] ? &graph->ops[makers[value] - 1] : NULL;
    }
    return op && is_silu(op) ? SDG_SITE_SILU : SDG_SITE_SYMMETRIC;
}

static enum sdg_result add_consumer(const struct sdg_graph *graph, const size_t *makers, const struct sdg_op *op,
                                    sdg_value value, bool operand, struct sdg_sites *sites)
{
    for (size_t i = 0; i < sites->count; i++)
        if (sites->sites[i].value == value) {
            sites->sites[i].consumers += sites->sites[i].operand == operand;
            return SDG_OK;
        }
    if (!sdg_grow(graph->log, &sites->sites, &sites->capacity, sites->count + 1, sizeof *sites->sites,
                  "quantization sites"))
        return SDG_ERROR_MEMORY;
    sites->sites[sites->count++] = (struct sdg_site){op->name, value, kind_of(graph, makers, value), 1, operand};
    return SDG_OK;
}

enum sdg_result sdg_sites_find(const struct sdg_graph *graph, struct sdg_sites *out)
{
    struct sdg_sites sites = {0};
    size_t *makers = find_makers(graph);
    enum sdg_result result = makers ? SDG_OK : SDG_ERROR_MEMORY;
    for (size_t i = 0; result == SDG_OK && i < graph->op_count; i++)
        if (sdg_op_is_quantizable(graph, &graph->ops[i]))
            result = add_consumer(graph, makers, &graph->ops[i], graph->ops[i].in[0], false, &sites);
    sdg_free(makers);
    if (result != SDG_OK)
        sdg_sites_clear(&sites);
    *out = sites;
    return result;
}

// Whether input k can be codes and is no site: a scan's x is one.
static bool is_operand(const struct sdg_op *op, int k)
{
    return sdg_op_interval_of(op->kind, k) && !(op->kind == SDG_OP_SELECTIVE_SCAN && k == 0);
}

enum sdg_result sdg_sites_add_operands(const struct sdg_graph *graph, struct sdg_sites *sites)
{
    size_t *makers = find_makers(graph);
    enum sdg_result result = makers ? SDG_OK : SDG_ERROR_MEMORY;
    for (size_t i = 0; result == SDG_OK && i < graph->op_count; i++)
        for (int k = 0; result == SDG_OK && k < SDG_OP_MAX_INPUTS; k++) {
            const sdg_value value = graph->ops[i].in[k];
            if (is_operand(&graph->ops[i], k) && value && graph->values[value].kind == SDG_VALUE_ACTIVATION)
                result = add_consumer(graph, makers, &graph->ops[i], value, true, sites);
        }
    sdg_free(makers);
    return result;
}

void sdg_sites_clear(struct sdg_sites *sites)
{
    sdg_free(sites->sites);
    *sites = (struct sdg_sites){0};
}

static bool is_by_token(const struct sdg_op *op)
{
    return op->kind == SDG_OP_LINEAR ||
        (op->u.conv2d.kernel_h == 1 && op->u.conv2d.kernel_w == 1 && op->u.conv2d.stride == 1 &&
         !op->u.conv2d.pad_top && !op->u.conv2d.pad_left && !op->u.conv2d.pad_bottom && !op->u.conv2d.pad_right);
}

bool sdg_site_is_by_token(const struct sdg_graph *graph, sdg_value site)
{
    for (size_t i = 0; i < graph->op_count; i++)
        if (graph->ops[i].in[0] == site && sdg_op_is_quantizable(graph, &graph->ops[i]) && !is_by_token(&graph->ops[i]))
            return false;
    return true;
}

size_t sdg_site_first_consumer(const struct sdg_graph *graph, sdg_value site)
{
    size_t i = 0;
    while (i < graph->op_count && !(graph->ops[i].in[0] == site && sdg_op_is_quantizable(graph, &graph->ops[i])))
        i++;
    return i;
}

static const char *prefixed(char name[SDG_OBSERVED_NAME_BYTES], const char *prefix, const char *site)
{
    if (snprintf(name, SDG_OBSERVED_NAME_BYTES, "%s:%s", prefix, site) >= SDG_OBSERVED_NAME_BYTES)
        name[0] = 0; // an empty name is refused by the graph
    return name;
}

const char *sdg_observed_name(char name[SDG_OBSERVED_NAME_BYTES], const char *site)
{
    return prefixed(name, "site", site);
}

const char *sdg_interval_name(char name[SDG_OBSERVED_NAME_BYTES], const char *site)
{
    return prefixed(name, "interval", site);
}

enum sdg_result sdg_graph_observe(struct sdg_graph *graph, bool operands)
{
    struct sdg_sites sites;
    char name[SDG_OBSERVED_NAME_BYTES];
    SDG_TRY(sdg_sites_find(graph, &sites));
    enum sdg_result result = operands ? sdg_sites_add_operands(graph, &sites) : SDG_OK;
    for (size_t i = 0; i < sites.count && result == SDG_OK; i++)
        sdg_graph_output(graph, sdg_observed_name(name, sites.sites[i].name), sites.sites[i].value);
    sdg_sites_clear(&sites);
    return result == SDG_OK ? sdg_graph_check(graph) : result;
}
