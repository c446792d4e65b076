// Histograms of activations. The bins are the same for every site of every model, so two histograms merge by adding counts:
// integers, hence the same bits in whatever order and on however many machines the values were counted.
//
// The bin of a value is its sign, its exponent and its three top mantissa bits, with |x| clamped into the range covered.
// Bins of one sign, by magnitude m = 0 .. 321:
//     m = 0           |x| < 2^-24: zeros (of both signs, each in its own half), subnormals, and what no interval could tell from 0
//     m = 1 .. 320    [2^e (1 + k/8), 2^e (1 + (k+1)/8))  with  m = 1 + 8 (e + 24) + k,  e = -24 .. 15,  k = 0 .. 7
//     m = 321         |x| >= 2^16, infinities and NaN
// Bin m of a positive value has index m, that of a negative one SDG_HISTOGRAM_HALF + m.
//
// The exact smallest and largest value are kept too. Within a bin values count as spread evenly; the two bins that hold minimum
// and maximum end there, so that a bin is never wider than what was seen. A regular bin is 1/16 to 1/8 of its values wide.
#ifndef SDG_QUANT_HISTOGRAM_H
#define SDG_QUANT_HISTOGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SDG_HISTOGRAM_HALF = 322, SDG_HISTOGRAM_BINS = 2 * SDG_HISTOGRAM_HALF };
// Names the layout in files: a reader refuses any other.
#define SDG_HISTOGRAM_LAYOUT "sign, 2^-24 to 2^16, 3 mantissa bits"

struct sdg_histogram {
    uint64_t counts[SDG_HISTOGRAM_BINS];
    float min, max;     // +infinity, -infinity while empty; -0 sorts below +0, so they do not depend on the order either
    uint64_t nonfinite; // infinities and NaN among the values; minimum and maximum mean nothing unless this is 0
};

void sdg_histogram_clear(struct sdg_histogram *h);
// Counts x[0..n). At most 2^63 values in the life of a histogram. One thread at a time per histogram.
void sdg_histogram_add(struct sdg_histogram *h, const float *x, size_t n);
void sdg_histogram_merge(struct sdg_histogram *into, const struct sdg_histogram *from);
uint64_t sdg_histogram_total(const struct sdg_histogram *h);

// The index of one value's bin.
int sdg_histogram_bin(float x);
// The values that a bin stands for: lo < hi, sign included. For m = 0, 0 to 2^-24 or its mirror image; for m = 321, 2^16 to 2^17.
void sdg_histogram_edges(int bin, double *lo, double *hi);
// The same, cut at this histogram's minimum and maximum (m = 321 is stretched to them). lo == hi when one value is all there is.
void sdg_histogram_span(const struct sdg_histogram *h, int bin, double *lo, double *hi);

// largest[c] = max(largest[c], |x[i][c]|) for x [n, channels]. NaN counts as larger than infinity.
void sdg_channel_largest(float *largest, const float *x, size_t n, size_t channels);

#endif
