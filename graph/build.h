// What the files of graph/ share for adding to a graph. Not for other folders.
#ifndef SDG_GRAPH_BUILD_H
#define SDG_GRAPH_BUILD_H

#include "graph/graph.h"

// Remembers the first failure; gives 0, the value of a failed builder.
sdg_value sdg_graph_failed(struct sdg_graph *g, enum sdg_result result);
// Reports that the network described is impossible (usually a configuration file that contradicts itself).
#define SDG_GRAPH_FAIL(g, ...) sdg_graph_failed((g), sdg_fail((g)->log, SDG_ERROR_INPUT, __VA_ARGS__))

// Adds a value like `info` under a copy of `name` (may be NULL). `where` is for messages. 0 on failure.
sdg_value sdg_graph_add_value(struct sdg_graph *g, const struct sdg_value_info *info, const char *name,
                              const char *where);
// Inserts an operation like `op` under a copy of `name` at `index` in execution order. False on failure.
bool sdg_graph_insert_op(struct sdg_graph *g, size_t index, const struct sdg_op *op, const char *name);

// "[2,64,64,320]" or, for a weight, as many dimensions as its tensor has.
struct sdg_shape_text { char text[96]; };
struct sdg_shape_text sdg_shape_text(const struct sdg_value_info *info);

static inline bool sdg_value_is_read(const struct sdg_value_info *v)
{
    return v->kind == SDG_VALUE_ACTIVATION || v->kind == SDG_VALUE_INPUT;
}

// N*H*W: the rows of the matrix that an activation is.
static inline int64_t sdg_value_positions(const struct sdg_value_info *v)
{
    return v->dims[0] * v->dims[1] * v->dims[2];
}

// sdg_graph_matmul whose result has N, H and W of `like` if that has as many positions.
sdg_value sdg_graph_matmul_like(struct sdg_graph *g, const char *name, sdg_value a, sdg_value b, bool transpose_a,
                                bool transpose_b, sdg_value like);

static inline bool sdg_same_shape(const struct sdg_value_info *a, const struct sdg_value_info *b)
{
    return a->dims[0] == b->dims[0] && a->dims[1] == b->dims[1] && a->dims[2] == b->dims[2] && a->dims[3] == b->dims[3];
}

#endif
