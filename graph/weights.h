// From a graph's weight values to what a model's files hold for them: found and checked once, then read in parts, from
// any number of threads. Every backend loads through here.
#ifndef SDG_GRAPH_WEIGHTS_H
#define SDG_GRAPH_WEIGHTS_H

#include "formats/stored.h"
#include "graph/graph.h"

// A weight value as a matrix [outputs, inputs]: all of what is stored, or for a slice some of the inputs.
struct sdg_weight {
    const struct sdg_tensors *tensors;
    struct sdg_stored stored;
    size_t outputs, inputs;
    size_t first; // of the stored inputs, the value's first
    int bits;     // of the codes that the graph wants, 8 or 4; 0: it wants floats
};

// Finds `v` and checks shape, type and scales: SDG_ERROR_INPUT naming file and tensor. What the file may hold:
//   v is a float     any float type; or for a weight MODULE.weight of rank 2 or 4 codes, s8 [O,I,..] or u8 [O, packed
//                    row] of 4 bits (base/nibbles.h), times MODULE.weight_scale, f32 [O] or, in a file with a group
//                    size, [O, groups of inputs]. A slice uses MODULE[a:b].weight_scale if there is one, with groups
//                    counted from a
//   v is SDG_S8      v->bits 8: s8; 4: the packed u8. Or any float type that becomes codes, with scales as above.
//                    Scales are a weight of their own
// Low-rank parts may have been added to any of them (sdg_tensors_add_low_rank).
enum sdg_result sdg_weight_find(const struct sdg_log *log, const struct sdg_tensors *tensors,
                                const struct sdg_value_info *v, struct sdg_weight *out);

// Outputs first .. first + count, contiguous, as f32, f16 or bf16; of integers the codes, as s8.
void sdg_weight_read(const struct sdg_weight *weight, size_t first, size_t count, enum sdg_dtype dtype, void *to);
// The same, where they lie in the file just so, as elements of weight->stored.tensor's type at any alignment; else
// NULL.
const void *sdg_weight_plain(const struct sdg_weight *weight, size_t first, size_t count);
// Floats whose codes need not be expanded: with one scale per output, a product with the codes can be scaled
// afterwards. Bits of such codes, 8 or 4; 0 where there are none.
int sdg_weight_code_bits(const struct sdg_weight *weight);
// These codes, one per s8, and their scales.
void sdg_weight_read_codes(const struct sdg_weight *weight, size_t first, size_t count, int8_t *codes, float *scales);
// Gives the file's pages back (sdg_tensors_release).
void sdg_weight_release(const struct sdg_weight *weight);

#endif
