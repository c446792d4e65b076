// Gradients as a rewrite: from a graph with a scalar loss to one that also computes the gradients of what is to be
// learned. The result is again a graph of operations, which backends run like any other: one run computes loss and
// gradients, and the host changes what it learns between runs with sdg_program_write.
//
// What can be learned is what the host can write: inputs (smoothing vectors, intervals [1,1,n,2], adapters, weights
// that were made inputs), and row tables (intervals [T,tokens,1,2], of which a run learns its row). The gradient of a
// weight of the file can be asked for as well. Values are f32 throughout; the graph must not compute in integers:
// quantization is learned through fake_quantize, whose rounding passes gradients straight through.
//
// Weights in the graph of a block that is learned:
//   sdg_graph_constant      the weight as an activation, which operations can change before it is multiplied by
//   sdg_graph_use_matmul    a linear then multiplies by that
//   sdg_graph_free_weight   the weight itself is what is learned: it becomes an input
// For example a weight [O,I] with a smoothing vector and a step per output:
//   w = constant(weight), w = w * sigma [1,1,1,I], w = fake_quantize(w, steps [1,1,O,2], -7, 7): outputs are its tokens
//
// How to add a rule: docs/architecture.md.
#ifndef SDG_GRAPH_REVERSE_H
#define SDG_GRAPH_REVERSE_H

#include "graph/graph.h"

// Appends the operations that compute d loss / d of[i], for each i < count, and marks each as an output called
// "NAME.gradient" after the input, table or weight that of[i] is. `loss` is an activation [1,1,1,1]. Shapes: that of an
// input; of a table, the row that is run: [N,1,1,C] or, of intervals, [1,1,tokens,2]; of a weight as sdg_graph_constant
// makes it. The gradient of an interval's zero point is 0. gradients[i] becomes the value; `gradients` may be NULL.
//
// Rules, where nothing else is said those of calculus:
//   fake_quantize   rounding has the derivative 1. Inside (lowest <= x / scale + zero <= highest) d/dx is 1 and
//   d/dscale
//                   is (code - zero) - x / scale; outside d/dx is 0 and d/dscale is (bound - zero). (LSQ, arXiv
//                   1902.08153, without its gradient scale)
//   relu            the derivative at 0 is 0
// upsample_nearest and embed have none yet.
//
// SDG_ERROR_INPUT in one line: an operation between of[i] and the loss has no rule, or works on codes; the loss does
// not depend on of[i]. The graph keeps the first failure.
enum sdg_result sdg_graph_reverse(struct sdg_graph *g, sdg_value loss, const sdg_value *of, size_t count,
                                  sdg_value *gradients);

// The first weight of this name, as a whole; 0 if there is none.
sdg_value sdg_graph_find_weight(const struct sdg_graph *g, const char *name);

// For rewrites: the linear at `op_index` multiplies by `weight` [1,1,O,I], an input or an activation made by an earlier
// operation, instead of by a weight [O,I] of the file. It becomes a matmul, with the epilogue it had.
enum sdg_result sdg_graph_use_matmul(struct sdg_graph *g, size_t op_index, sdg_value weight);

// For rewrites: a weight of linear operations becomes an input of its name: [O,I] one of [1,1,O,I], with which they
// multiply as above; a bias [O] one of [1,1,1,O], which is added. The value stays the same; the host writes what the
// file holds, and from then on what has been learned. Other weights: SDG_ERROR_INPUT.
enum sdg_result sdg_graph_free_weight(struct sdg_graph *g, sdg_value weight);

// The mean over samples and tokens of 1 - cos(x, y), the cosine along channels, as [1,1,1,1]: the direction alone
// counts. x and y have the same shape. Products of squared lengths below 1e-12 count as 1e-12 more.
sdg_value sdg_graph_cosine_loss(struct sdg_graph *g, const char *name, sdg_value x, sdg_value y);
// The mean over samples of |x - y|^2 / |y|^2, both over all tokens and channels, as [1,1,1,1]. |y|^2 counts as 1e-12
// more.
sdg_value sdg_graph_relative_loss(struct sdg_graph *g, const char *name, sdg_value x, sdg_value y);
// The mean of (x - y)^2 over all elements, as [1,1,1,1].
sdg_value sdg_graph_square_loss(struct sdg_graph *g, const char *name, sdg_value x, sdg_value y);

#endif
