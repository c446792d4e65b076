// Liveness and the memory plan: where in one arena every activation lives.
#ifndef SDG_GRAPH_PLAN_H
#define SDG_GRAPH_PLAN_H

#include "graph/graph.h"

struct sdg_plan {
    size_t *offset;     // per value: byte offset in the arena; SIZE_MAX where the value is not in the arena
    size_t *scratch;    // per operation: byte offset of its scratch space; SIZE_MAX if it asked for none
    size_t arena_bytes; // size of the arena
    size_t live_peak;   // largest sum of bytes alive at one operation: the lower bound of arena_bytes
};

// Activations are alive from the operation that makes them to the last that reads them (outputs to the end).
// `scratch_bytes`, if not NULL, gives scratch wanted per operation. Offsets are multiples of `alignment` (a power of
// two). No two values alive together overlap. With `piece` > 0, a multiple of the alignment, nothing lies across a
// multiple of it, so that the arena can be made of pieces of that size; what is larger is SDG_ERROR_UNSUPPORTED.
enum sdg_result sdg_plan_create(const struct sdg_graph *graph, size_t alignment, size_t piece,
                                const size_t *scratch_bytes, struct sdg_plan **out);
void sdg_plan_destroy(struct sdg_plan **plan);

#endif
