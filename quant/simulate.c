#include "quant/simulate.h"

#include <stdio.h>

static const char *prefixed(char name[SDG_OBSERVED_NAME_BYTES], const char *prefix, const char *site)
{
    if (snprintf(name, SDG_OBSERVED_NAME_BYTES, "%s:%s", prefix, site) >= SDG_OBSERVED_NAME_BYTES)
        name[0] = 0; // an empty name is refused by the graph
    return name;
}

const char *sdg_interval_name(char name[SDG_OBSERVED_NAME_BYTES], const char *site)
{
    return prefixed(name, "interval", site);
}

const char *sdg_zero_point_name(char name[SDG_OBSERVED_NAME_BYTES], const char *site)
{
    return prefixed(name, "zero", site);
}

// Index of the first operation that reads `site` with quantized weights.
static size_t first_consumer(const struct sdg_graph *graph, sdg_value site)
{
    size_t i = 0;
    while (i < graph->op_count && !(graph->ops[i].in[0] == site && sdg_op_is_quantizable(graph, &graph->ops[i])))
        i++;
    return i;
}

static enum sdg_result simulate_site(struct sdg_graph *graph, const struct sdg_site *site, int bits)
{
    char name[SDG_OBSERVED_NAME_BYTES];
    const struct sdg_interval codes = sdg_interval_make(site->kind, bits, 1);
    size_t at = first_consumer(graph, site->value);
    sdg_value scale = sdg_graph_table(graph, sdg_interval_name(name, site->name), graph->rows, 1, 1), zero = 0;
    if (site->kind == SDG_SITE_SILU)
        zero = sdg_graph_table(graph, sdg_zero_point_name(name, site->name), graph->rows, 1, 1);
    sdg_value quantized = sdg_graph_fake_quantize(graph, site->name, site->value, scale, zero, codes.lo, codes.hi);
    SDG_TRY(sdg_graph_check(graph));
    sdg_graph_move_op(graph, graph->op_count - 1, at);
    for (size_t i = at + 1; i < graph->op_count; i++)
        if (graph->ops[i].in[0] == site->value && sdg_op_is_quantizable(graph, &graph->ops[i]))
            graph->ops[i].in[0] = quantized;
    return SDG_OK;
}

enum sdg_result sdg_graph_simulate(struct sdg_graph *graph, int bits)
{
    struct sdg_sites sites;
    if (bits < SDG_MIN_BITS || bits > SDG_MAX_BITS)
        return sdg_fail(graph->log, SDG_ERROR_USAGE, "activation bits are %d, should be %d..%d", bits, SDG_MIN_BITS, SDG_MAX_BITS);
    SDG_TRY(sdg_sites_find(graph, &sites));
    enum sdg_result result = SDG_OK;
    for (size_t i = 0; i < sites.count && result == SDG_OK; i++)
        result = simulate_site(graph, &sites.sites[i], bits);
    sdg_sites_clear(&sites);
    return result;
}
