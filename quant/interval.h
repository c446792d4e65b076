// Intervals of activations: from a scale to integer codes, the error that makes on a histogram, and the scales that
// make it least.
//
// Codes of b bits (2..8), x -> q = clip(round(x / scale) + zero_point, lo, hi), value of a code: scale * (q -
// zero_point):
//     symmetric sites   q = -2^(b-1) .. 2^(b-1)-1, zero point 0
//     SiLU sites        q = 0 .. 2^b-1, zero point round(0.2785 / scale), at most 2^b-1: SiLU's values begin at
//     -0.27846
// round is to nearest, ties to even. 0 is always a code's exact value, so padding with zeros is exact.
#ifndef SDG_QUANT_INTERVAL_H
#define SDG_QUANT_INTERVAL_H

#include "base/log.h"
#include "quant/histogram.h"

enum sdg_site_kind { SDG_SITE_SYMMETRIC, SDG_SITE_SILU, SDG_SITE_KINDS };
const char *sdg_site_kind_name(enum sdg_site_kind kind); // symmetric, silu

enum { SDG_MIN_BITS = 2, SDG_MAX_BITS = 8 };

struct sdg_interval {
    float scale; // > 0, finite
    int zero_point, lo, hi;
};
struct sdg_interval sdg_interval_make(enum sdg_site_kind kind, int bits, float scale);
int sdg_interval_code(const struct sdg_interval *interval, float x);
// out[i] = the value of x[i]'s code. In place is fine.
void sdg_interval_simulate(const struct sdg_interval *interval, const float *x, float *out, size_t n);
// The scale whose codes just reach min and max: what is used at run time by the dynamic rule. 1 when both are 0.
float sdg_interval_reach(enum sdg_site_kind kind, int bits, float min, float max);

// ---- errors on a histogram ----
// A histogram prepared for many evaluations of  sum over its values of |x - Q(x)|^power.  Within a bin's span
// (sdg_histogram_span) the density of values rises or falls as its neighbours say, near enough exponentially: in one or
// two linear cells, for which the sum has a closed form. With an even density the clipped values of a bell-shaped tail
// would cost several percent too much.
enum { SDG_CELLS = 2 * SDG_HISTOGRAM_HALF + 1 };
struct sdg_cells {
    double power;
    double total; // number of values
    struct sdg_cell_side {
        int count;
        double near[SDG_CELLS], far[SDG_CELLS]; // magnitudes, ascending
        double values[SDG_CELLS];               // how many
        double slope[SDG_CELLS];                // of the density: relative to its mean, from end to end, -2 .. 2
        double lost[SDG_CELLS + 1];             // [i]: error of the cells before i if all their values became 0
    } sides[2];                                 // positive, negative values
};
void sdg_cells_make(const struct sdg_histogram *h, double power, struct sdg_cells *out); // power >= 1
// One side, from any histogram's bins by ascending magnitude; extreme: that of the value farthest from 0, which lies in
// the last bin that has values, < 0 if there is none of this sign.
struct sdg_bins {
    int count;
    double extreme;
    double near[SDG_HISTOGRAM_HALF], far[SDG_HISTOGRAM_HALF]; // magnitudes
    double values[SDG_HISTOGRAM_HALF];                        // how many
};
void sdg_cells_make_side(const struct sdg_bins *bins, double power, struct sdg_cell_side *out);
double sdg_cells_error(const struct sdg_cells *cells, const struct sdg_interval *interval);
// sdg_decibel(sum x^2, sum (x - Q(x))^2): INFINITY without error, NAN for an empty histogram or one of zeros alone.
double sdg_histogram_sqnr(const struct sdg_histogram *h, const struct sdg_interval *interval);

// A value given at times t[0..n), rising or falling, read between them: linear in the logarithm, constant outside.
// Values > 0.
double sdg_interpolate(const double *t, const float *values, size_t n, double at);
// Correlation of two series in -1..1; 0 when one of them is constant.
double sdg_pearson(const double *x, const double *y, size_t n);

#endif
