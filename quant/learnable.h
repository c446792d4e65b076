// A block whose quantization is learned: the rewrite that computes the block as its quantized form would, in floats,
// from numbers that the host writes before each run, and the gradients of a loss with respect to those numbers.
//
// Of a site (the value x that some linear layers of the block read) and of each such layer with weight W [O,C]:
//     x' = x * smoothing [C],          xq = scale[l] * (clip(round(x' / scale[l]) + zero[l], lowest, highest) -
//     zero[l]) W'[n,c] = W[n,c] * inverse [C],  wq = step[n] * clip(round(W' / step[n]), lowest, highest),     y = xq
//     wq^T + bias
// l is the token or the same for all; inverse = 1 / smoothing is an input of its own. Zero points are constant.
#ifndef SDG_QUANT_LEARNABLE_H
#define SDG_QUANT_LEARNABLE_H

#include "quant/quantized.h"

struct sdg_learnable {
    struct sdg_learnable_site {
        const char *name;        // of its first layer, as in quant/sites.h
        sdg_value value;         // in the block's graph
        size_t tokens, channels; // tokens: that have an interval of their own, or 1
        int lowest, highest;     // codes
        size_t quantized;        // index in sdg_quantized.sites
    } *sites;
    size_t site_count;
    struct sdg_learnable_layer {
        const char *name;
        size_t site;
        size_t outputs, inputs;
        int lowest, highest;
        sdg_value weight; // in the block's graph
    } *layers;
    size_t layer_count;
};

// What of a block (graph/extract.h) the quantized model computes in integers: its linear layers with weights of their
// own (not parts of one, as of a split skip connection). Sites that are measured at run time have nothing to learn and
// are left out with their layers. Codes of 6 bits are stored in 8 whatever the scheme says of other layers: `stored`,
// the quantized model's tensors, tells them apart. Names are those of `block`, which must outlive *out. SDG_ERROR_INPUT
// when nothing is left, or if the block has another number of tokens than the intervals. Free with
// sdg_learnable_clear.
enum sdg_result sdg_learnable_find(const struct sdg_graph *block, const struct sdg_quantized *quantized,
                                   const struct sdg_tensors *stored, struct sdg_learnable *out);
void sdg_learnable_clear(struct sdg_learnable *learnable);

// The inputs that the rewrite adds, in the order of struct sdg_learnable; for each there is an output of its gradient.
//     "SITE:smoothing", "SITE:inverse" [1,1,1,C]   "SITE:interval" [1,1,tokens,2] scale, zero point
//     "LAYER:steps" [1,1,O,2] step, 0
enum sdg_learnable_part { SDG_LEARN_SMOOTHING, SDG_LEARN_INVERSE, SDG_LEARN_INTERVAL, SDG_LEARN_STEPS };
enum { SDG_LEARNABLE_NAME_BYTES = 256 };
const char *sdg_learnable_name(char name[SDG_LEARNABLE_NAME_BYTES], const char *owner, enum sdg_learnable_part part);
const char *sdg_learnable_gradient(char name[SDG_LEARNABLE_NAME_BYTES], const char *owner,
                                   enum sdg_learnable_part part);

// What of a block's result is made small (graph/reverse.h).
enum sdg_learn_loss {
    SDG_LOSS_ERROR,  // sdg_graph_relative_loss: the squared error as a share of the sample's energy
    SDG_LOSS_COSINE, // sdg_graph_cosine_loss: PTQ4VM's, of each token's direction
};

// The rewrite, of a copy of the block's graph. It adds the input "target" of the shape of output "result", and the
// output "loss".
enum sdg_result sdg_graph_learn(struct sdg_graph *block, const struct sdg_learnable *learnable,
                                enum sdg_learn_loss loss);

#endif
