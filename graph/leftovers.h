// What a component of a model holds beside the weights that its networks read: known to be of no use, or a sign that
// the picture would be wrong.
#ifndef SDG_GRAPH_LEFTOVERS_H
#define SDG_GRAPH_LEFTOVERS_H

#include "formats/tensors.h"
#include "graph/graph.h"

enum sdg_leftover {
    SDG_LEFTOVER_UNKNOWN,
    SDG_LEFTOVER_USELESS, // no network reads it, in any implementation: nothing is said
    SDG_LEFTOVER_SCALE,   // its layer's weights are to be multiplied by it
    SDG_LEFTOVER_ADDED,   // something that a network is to be changed with: LoRA layers, adapters
};

// By the name alone, one that a folder or an original checkpoint has, without the prefix of the component.
enum sdg_leftover sdg_leftover_kind(const char *name);

// Compares `tensors` with the weights of `graphs`, all networks of the component. SDG_ERROR_INPUT naming file and
// tensor where something belongs to what is used: a scale, something added, a tensor of a layer whose other tensors are
// read; a tensor of differences, which is there because it differs; or where the network was concluded from the
// tensors, and does not read some. Anything else is one warning. `expected` (may be NULL): names that somebody else
// reads. `why` (may be NULL): why one would not be used, NULL where that is not known.
enum sdg_result sdg_leftovers_check(const struct sdg_log *log, const struct sdg_tensors *tensors,
                                    const struct sdg_graph *const *graphs, size_t count,
                                    bool (*expected)(const char *name), const char *(*why)(const char *name));

#endif
