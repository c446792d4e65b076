#include "quant/simulate.h"

static enum sdg_result simulate_site(struct sdg_graph *graph, const struct sdg_site *site, int bits)
{
    char name[SDG_OBSERVED_NAME_BYTES];
    const struct sdg_interval codes = sdg_interval_make(site->kind, bits, 1);
    size_t at = sdg_site_first_consumer(graph, site->value);
    sdg_value interval = sdg_graph_table(graph, sdg_interval_name(name, site->name), graph->rows, 1, 2);
    sdg_value quantized = sdg_graph_fake_quantize(graph, site->name, site->value, interval, codes.lo, codes.hi);
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
        return sdg_fail(graph->log, SDG_ERROR_USAGE, "activation bits are %d, should be %d..%d", bits, SDG_MIN_BITS,
                        SDG_MAX_BITS);
    SDG_TRY(sdg_sites_find(graph, &sites));
    enum sdg_result result = SDG_OK;
    for (size_t i = 0; i < sites.count && result == SDG_OK; i++)
        result = simulate_site(graph, &sites.sites[i], bits);
    sdg_sites_clear(&sites);
    return result;
}
