// Sites: the values of a network's graph (a UNet's step, a classifier) that feed weights worth quantizing, and the
// rewrite that lets them be observed.
//
// Kept out, as in TDQ's and PTQ4VM's code: the first and the last layer, attention products and norms. Time projections
// and the keys and values of the prompt are not in the step graph at all. A site is named after its first consumer
// ("mid_block.attentions.0. transformer_blocks.0.attn1.to_q" also stands for to_k and to_v); the two halves of a skip
// connection are sites of their own.
#ifndef SDG_QUANT_SITES_H
#define SDG_QUANT_SITES_H

#include "graph/graph.h"
#include "quant/interval.h"

struct sdg_site {
    const char *name;        // of the first consumer; lives as long as the graph
    sdg_value value;         // [N,H,W,C]
    enum sdg_site_kind kind; // SiLU if everything in it came out of a SiLU
    size_t consumers;        // convolutions and linear layers that read it; of an operand of scans, those operations
    bool operand;            // of scans and causal convolutions, see below
};

struct sdg_sites {
    struct sdg_site *sites; // in order of execution
    size_t count, capacity;
};

// Of a fused graph (sdg_graph_fuse). Free with sdg_sites_clear.
enum sdg_result sdg_sites_find(const struct sdg_graph *graph, struct sdg_sites *out);
void sdg_sites_clear(struct sdg_sites *sites);
// Appends the values that no quantizable layer reads, but causal convolutions (their input) and scans (delta and gate):
// named after the first of these, they can have codes, too. B and C are left out: they are 2 S of the 3 to 5 E numbers
// that a scan moves for each token, and beside dt in one product's rows.
enum sdg_result sdg_sites_add_operands(const struct sdg_graph *graph, struct sdg_sites *sites);
// True if this convolution or linear layer's weights are to be quantized.
bool sdg_op_is_quantizable(const struct sdg_graph *graph, const struct sdg_op *op);

// True if every quantizable operation that reads the value is a product of single tokens: a linear layer or a 1x1
// convolution. Only such a site can have an interval for each token.
bool sdg_site_is_by_token(const struct sdg_graph *graph, sdg_value site);

// Index of the first operation that reads `site` with quantized weights.
size_t sdg_site_first_consumer(const struct sdg_graph *graph, sdg_value site);

enum { SDG_OBSERVED_NAME_BYTES = 256 };
// Name of the output under which an observed site is read: "site:NAME".
const char *sdg_observed_name(char name[SDG_OBSERVED_NAME_BYTES], const char *site);
// Name of the row table of a site's intervals: "interval:NAME".
const char *sdg_interval_name(char name[SDG_OBSERVED_NAME_BYTES], const char *site);
// The observe rewrite: every site that is an activation becomes an output, and where asked for so do scans' operands.
enum sdg_result sdg_graph_observe(struct sdg_graph *graph, bool operands);

#endif
