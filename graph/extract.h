// A block of a network as a graph of its own, so that it can be run, rewritten and learned without the rest.
#ifndef SDG_GRAPH_EXTRACT_H
#define SDG_GRAPH_EXTRACT_H

#include "graph/graph.h"

enum { SDG_BLOCK_INPUTS = 8, SDG_BLOCK_NAME_BYTES = 16 };

struct sdg_block {
    struct sdg_graph *graph; // owned; free with sdg_block_clear
    // values of the network that the block reads, in order of their first use; in `graph` they are inputs of the same
    // shapes named sdg_block_input_name(i)
    sdg_value inputs[SDG_BLOCK_INPUTS];
    size_t input_count;
    sdg_value result; // the one value of the network that the block makes for the rest; in `graph` the output "result"
};

// "input0", "input1", ..
const char *sdg_block_input_name(char name[SDG_BLOCK_NAME_BYTES], size_t i);

// Copies the operations named `prefix` or "PREFIX.*" with the weights and tables that they read; their names and the
// order of execution stay. A residual from outside that the block's last operation adds is left out, with the function
// of the sum: they are no part of the block. SDG_ERROR_INPUT if no operation has such a name, if they read more than
// SDG_BLOCK_INPUTS other values, or if the rest of the network reads any other number of their results than one.
enum sdg_result sdg_block_extract(const struct sdg_log *log, const struct sdg_graph *network, const char *prefix,
                                  struct sdg_block *out);
void sdg_block_clear(struct sdg_block *block);

#endif
