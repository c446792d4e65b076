// Histograms of activations. The bins are the same for every site of every model, so two histograms merge by adding
// counts: integers, hence the same bits in whatever order and on however many machines the values were counted.
//
// The bin of a value is its sign, its exponent and its four top mantissa bits, with |x| clamped into the range covered.
// Bins of one sign, by magnitude m = 0 .. 577:
//     m = 0           |x| < 2^-20: zeros (of both signs, each in its own half), subnormals, and what no interval could
//     tell from 0 m = 1 .. 576    [2^e (1 + k/16), 2^e (1 + (k+1)/16))  with  m = 1 + 16 (e + 20) + k,  e = -20 .. 15,
//     k = 0 .. 15 m = 577         |x| >= 2^16, infinities and NaN
// Bin m of a positive value has index m, that of a negative one SDG_HISTOGRAM_HALF + m.
//
// The exact smallest and largest value are kept too: the two bins that hold minimum and maximum end there, so that a
// bin is never wider than what was seen. How values count as spread within a bin is said in quant/interval.h. A regular
// bin is 1/32 to 1/16 of its values wide.
#ifndef SDG_QUANT_HISTOGRAM_H
#define SDG_QUANT_HISTOGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SDG_HISTOGRAM_HALF = 578, SDG_HISTOGRAM_BINS = 2 * SDG_HISTOGRAM_HALF };
// Names the layout in files: a reader refuses any other.
#define SDG_HISTOGRAM_LAYOUT "sign, 2^-20 to 2^16, 4 mantissa bits"

struct sdg_histogram {
    uint64_t counts[SDG_HISTOGRAM_BINS];
    // +infinity, -infinity while empty; -0 sorts below +0, so they do not depend on the order either
    float min, max;
    uint64_t nonfinite; // infinities and NaN among the values; minimum and maximum mean nothing unless this is 0
};

void sdg_histogram_clear(struct sdg_histogram *h);
// Counts x[0..n). At most 2^63 values in the life of a histogram. One thread at a time per histogram.
void sdg_histogram_add(struct sdg_histogram *h, const float *x, size_t n);
void sdg_histogram_merge(struct sdg_histogram *into, const struct sdg_histogram *from);
uint64_t sdg_histogram_total(const struct sdg_histogram *h);

// The index of one value's bin.
int sdg_histogram_bin(float x);
// The values that a bin stands for: lo < hi, sign included. For m = 0, 0 to 2^-20 or its mirror image; for m = 577,
// 2^16 to 2^17.
void sdg_histogram_edges(int bin, double *lo, double *hi);
// The same, cut at this histogram's minimum and maximum (m = 577 is stretched to them). lo == hi when one value is all
// there is.
void sdg_histogram_span(const struct sdg_histogram *h, int bin, double *lo, double *hi);

// largest[c] = max(largest[c], |x[i][c]|) for x [n, channels]. NaN counts as larger than infinity.
void sdg_channel_largest(float *largest, const float *x, size_t n, size_t channels);

#endif
