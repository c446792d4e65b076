// Histograms of single tokens: coarser than those of quant/histogram.h, as there is one for each token and row.
//
// Bins of one sign, by magnitude m = 0 .. 49:
//     m = 0         |x| < 2^-14
//     m = 1 .. 48   two an octave, [2^e, 1.5 * 2^e) and [1.5 * 2^e, 2^(e+1)), e = -14 .. 9
//     m = 49        |x| >= 2^10
// Every such bin is a range of the finer ones, so that the sum over all tokens of a row can be compared with the row's
// own histogram. The smallest and largest value are kept beside them, exactly.
#ifndef SDG_QUANT_TOKEN_HISTOGRAM_H
#define SDG_QUANT_TOKEN_HISTOGRAM_H

#include "quant/interval.h"

enum { SDG_TOKEN_HALF = 50, SDG_TOKEN_BINS = 2 * SDG_TOKEN_HALF };

struct sdg_token_histogram {        // of one token, or of several
    int32_t counts[SDG_TOKEN_BINS]; // those of negative values from SDG_TOKEN_HALF on; at most INT32_MAX in all
    float min, max;                 // +infinity, -infinity while empty
};

// The bin that holds a bin of quant/histogram.h.
int sdg_token_bin(int histogram_bin);
void sdg_token_histogram_clear(struct sdg_token_histogram *h);
// Counts x[0..n), all finite. False, with nothing counted, if there would be more than INT32_MAX values.
bool sdg_token_histogram_add(struct sdg_token_histogram *h, const float *x, size_t n);
// False, with nothing changed, if there would be more than INT32_MAX values.
bool sdg_token_histogram_merge(struct sdg_token_histogram *into, const struct sdg_token_histogram *from);
int64_t sdg_token_histogram_total(const struct sdg_token_histogram *h);
// Weights of values: of what one picture has at a token each counts
//     rint(2^16 / mean square), 1 .. 2^32
// so that errors count by their share in the token they are of, not by how large that is in this picture. Integers, so
// that sums do not depend on the order of pictures.
int64_t sdg_token_weight(const float *x, size_t n);
// Adds the weight of each of x[0..n), all finite, to its bin.
void sdg_token_weights_add(int64_t weights[static SDG_TOKEN_BINS], const float *x, size_t n);
// Why they cannot be those of the histogram's values; NULL if they can.
const char *sdg_token_weights_contradiction(const int64_t weights[static SDG_TOKEN_BINS],
                                            const struct sdg_token_histogram *h);

// Why its numbers cannot have come from the same values; NULL if they can.
const char *sdg_token_histogram_contradiction(const struct sdg_token_histogram *h);

// For sdg_cells_error (quant/interval.h): the values of tokens[0..count) together, each counting its weight, or with
// NULL 1.
void sdg_token_cells_make(const struct sdg_token_histogram *tokens, const int64_t (*weights)[SDG_TOKEN_BINS],
                          size_t count, double power, struct sdg_cells *out);

#endif
