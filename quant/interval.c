// From a scale to codes, and the error of a scale on a histogram.
//
// With y = x / scale, the error of one value is e(y) = |y - k|^p with k = clip(round(y)), and e has the antiderivative
//     G(y) = k C + sign(r) |r|^(p+1) / (p+1),   r = y - k,   C = 2 * 0.5^(p+1) / (p+1)
// inside the range of codes and, because k stops there while r goes on, outside of it too; y e(y) has
//     M(y) = k^2 C / 2 + k (G(y) - k C) + |r|^(p+2) / (p+2).
// A bin's mean error is a difference of two G over its width, and with a density that rises or falls along the bin, of
// two M too.
#include "quant/interval.h"

#include "base/decibel.h"

#include <math.h>

static const double silu_depth = 0.2785; // a little more than -min of SiLU, 0.278465
// Narrower than this many steps, a span counts as one point: the difference of two G would be rounding noise.
static const double point_width = 1e-5;
static const double tilt_width = 1e-3; // and narrower than this, its density as even

const char *sdg_site_kind_name(enum sdg_site_kind kind)
{
    static const char *const names[SDG_SITE_KINDS] = {"symmetric", "silu"};
    return names[kind];
}

struct sdg_interval sdg_interval_make(enum sdg_site_kind kind, int bits, float scale)
{
    if (kind == SDG_SITE_SYMMETRIC)
        return (struct sdg_interval){.scale = scale, .lo = -(1 << (bits - 1)), .hi = (1 << (bits - 1)) - 1};
    int hi = (1 << bits) - 1;
    double zero = rint(silu_depth / scale);
    return (struct sdg_interval){.scale = scale, .zero_point = zero < hi ? (int)zero : hi, .lo = 0, .hi = hi};
}

int sdg_interval_code(const struct sdg_interval *i, float x)
{
    // Bounded before the conversion: a quotient may be anything, and NaN becomes the lowest code.
    float q = rintf(x / i->scale) + (float)i->zero_point;
    return q >= (float)i->hi ? i->hi : q > (float)i->lo ? (int)q : i->lo;
}

void sdg_interval_simulate(const struct sdg_interval *i, const float *x, float *out, size_t n)
{
    for (size_t j = 0; j < n; j++)
        out[j] = i->scale * (float)(sdg_interval_code(i, x[j]) - i->zero_point);
}

float sdg_interval_reach(enum sdg_site_kind kind, int bits, float min, float max)
{
    double reach;
    if (kind == SDG_SITE_SILU)
        reach = max > 0 ? (max + silu_depth) / ((1 << bits) - 1) : min < 0 ? silu_depth / ((1 << bits) - 1) : 0;
    else
        reach = fmax((double)max / ((1 << (bits - 1)) - 1), (double)-min / (1 << (bits - 1)));
    return reach > 0 ? fmaxf((float)reach, 0x1p-100f) : 1.0f;
}

// ---- errors on a histogram ----

static double raise(double magnitude, double power)
{
    return power == 2 ? magnitude * magnitude : power == 3 ? magnitude * magnitude * magnitude : pow(magnitude, power);
}

// The mean of |x|^p over a span of magnitudes with density (1 + slope (x - middle) / width) / width.
static double mean_power(double near, double far, double slope, double p)
{
    double width = far - near, middle = (near + far) / 2;
    if (width <= point_width * far)
        return raise(middle, p);
    double at_near = raise(near, p + 1), at_far = raise(far, p + 1);
    double even = (at_far - at_near) / (p + 1), moment = (at_far * far - at_near * near) / (p + 2);
    return (even + slope / width * (moment - middle * even)) / width;
}

static double density(const struct sdg_bins *bins, int m, double *middle)
{
    const double near = bins->near[m], far = bins->far[m];
    *middle = (near + far) / 2;
    return bins->values[m] > 0 && far > near ? bins->values[m] / (far - near) : 0;
}

// The exponent with which the density changes from one end of bin m to the other, from its neighbours'.
static double growth(const struct sdg_bins *bins, int m)
{
    double a, b, c;
    double left = density(bins, m > 0 ? m - 1 : m, &a), own = density(bins, m, &b);
    double right = density(bins, m < bins->count - 1 ? m + 1 : m, &c);
    if (right == 0) { // the last one
        right = own;
        c = b;
    }
    if (!(left > 0 && right > 0) || c <= a || m == 0)
        return 0;
    return fmax(-4, fmin(4, log(right / left) / (c - a) * (bins->far[m] - bins->near[m])));
}

// The slope of a linear density with the mean of one that changes exponentially.
static double slope_like(double exponent)
{
    return fabs(exponent) < 1e-2 ? exponent : 12 * (0.5 / tanh(exponent / 2) - 1 / exponent);
}

static void add_cell(struct sdg_cell_side *side, double near, double far, double slope, double values, double power)
{
    int n = side->count++;
    side->near[n] = near;
    side->far[n] = far;
    side->slope[n] = slope;
    side->values[n] = values;
    side->lost[n + 1] = side->lost[n] + values * mean_power(near, far, slope, power);
}

// A steep bin is two cells, each linear: together close to the exponential.
static void add_bin(struct sdg_cell_side *side, double near, double far, double exponent, double values, double power)
{
    if (fabs(exponent) < 0.25) {
        add_cell(side, near, far, slope_like(exponent), values, power);
        return;
    }
    double middle = (near + far) / 2, share = 1 / (1 + exp(exponent / 2));
    add_cell(side, near, middle, slope_like(exponent / 2), values * share, power);
    add_cell(side, middle, far, slope_like(exponent / 2), values * (1 - share), power);
}

// One value of the last bin is known to be the extreme itself: where it is clipped, it costs most.
void sdg_cells_make_side(const struct sdg_bins *bins, double power, struct sdg_cell_side *side)
{
    int last = bins->count - 1;
    while (last > 0 && !(bins->values[last] > 0))
        last--;
    side->count = 0;
    side->lost[0] = 0;
    for (int m = 0; m < bins->count; m++) {
        const double values = bins->values[m], alone = values > 0 && m == last && bins->extreme > 0;
        if (values > alone)
            add_bin(side, bins->near[m], bins->far[m], growth(bins, m), values - alone, power);
        if (alone > 0)
            add_cell(side, bins->extreme, bins->extreme, 0, 1, power);
    }
}

// Magnitudes of the bins on one side, cut at minimum and maximum.
static void fill_side(const struct sdg_histogram *h, int side, struct sdg_bins *bins)
{
    bins->count = SDG_HISTOGRAM_HALF;
    bins->extreme = side ? -h->min : h->max;
    for (int m = 0; m < SDG_HISTOGRAM_HALF; m++) {
        double lo, hi;
        sdg_histogram_span(h, side * SDG_HISTOGRAM_HALF + m, &lo, &hi);
        bins->near[m] = side ? -hi : lo;
        bins->far[m] = side ? -lo : hi;
        bins->values[m] = (double)h->counts[side * SDG_HISTOGRAM_HALF + m];
    }
}

void sdg_cells_make(const struct sdg_histogram *h, double power, struct sdg_cells *out)
{
    struct sdg_bins bins;
    out->power = power;
    out->total = (double)sdg_histogram_total(h);
    for (int s = 0; s < 2; s++) {
        fill_side(h, s, &bins);
        sdg_cells_make_side(&bins, power, &out->sides[s]);
    }
}

struct codes { // of one side, as distances from zero, with the exponent's constants
    double lo, hi, power, inverse, inverse2, per_code;
};

struct integrals { double g, m; };

static double nearest(const struct codes *c, double y)
{
    double k = rint(y);
    return k < c->lo ? c->lo : k > c->hi ? c->hi : k;
}

static struct integrals integrate(const struct codes *c, double y)
{
    double k = nearest(c, y), r = y - k, size = fabs(r), raised = raise(size, c->power + 1),
           piece = raised * c->inverse;
    piece = r < 0 ? -piece : piece;
    return (struct integrals){k * c->per_code + piece,
                              k * k * c->per_code / 2 + k * piece + raised * size * c->inverse2};
}

// Errors in units of scale^power.
static double side_error(const struct sdg_cell_side *side, const struct codes *c, double scale, int start)
{
    double sum = 0, last_edge = -1;
    struct integrals last = {0, 0};
    for (int i = start; i < side->count; i++) {
        double a = side->near[i] / scale, b = side->far[i] / scale, width = b - a, middle = (a + b) / 2;
        if (width < point_width) {
            sum += side->values[i] * raise(fabs(middle - nearest(c, middle)), c->power);
            continue;
        }
        struct integrals at_a = side->near[i] == last_edge ? last : integrate(c, a), at_b = integrate(c, b);
        double even = at_b.g - at_a.g,
               tilt = width > tilt_width ? side->slope[i] / width * (at_b.m - at_a.m - middle * even) : 0;
        sum += side->values[i] * (even + tilt) / width;
        last_edge = side->far[i];
        last = at_b;
    }
    return sum;
}

double sdg_cells_error(const struct sdg_cells *cells, const struct sdg_interval *interval)
{
    double p = cells->power, scale = interval->scale, error = 0;
    for (int s = 0; s < 2; s++) {
        const struct sdg_cell_side *side = &cells->sides[s];
        int low = interval->lo - interval->zero_point, high = interval->hi - interval->zero_point;
        struct codes c = {.lo = s ? -high : low,
                          .hi = s ? -low : high,
                          .power = p,
                          .inverse = 1 / (p + 1),
                          .inverse2 = 1 / (p + 2),
                          .per_code = 2 * pow(0.5, p + 1) / (p + 1)};
        int start = 0; // cells before it become 0 whatever the scale
        while (start < side->count && side->far[start] <= scale / 2)
            start++;
        error += side->lost[start] + raise(scale, p) * side_error(side, &c, scale, start);
    }
    return error;
}

double sdg_histogram_sqnr(const struct sdg_histogram *h, const struct sdg_interval *interval)
{
    struct sdg_cells cells;
    sdg_cells_make(h, 2, &cells);
    double signal = 0;
    for (int s = 0; s < 2; s++)
        signal += cells.sides[s].lost[cells.sides[s].count];
    return sdg_decibel(signal, fmax(sdg_cells_error(&cells, interval), 0));
}

double sdg_interpolate(const double *t, const float *values, size_t n, double at)
{
    // The neighbours of `at` on both sides, in whichever direction t runs.
    size_t below = SIZE_MAX, above = SIZE_MAX;
    for (size_t i = 0; i < n; i++) {
        if (t[i] <= at && (below == SIZE_MAX || t[i] > t[below]))
            below = i;
        if (t[i] >= at && (above == SIZE_MAX || t[i] < t[above]))
            above = i;
    }
    if (below == SIZE_MAX || above == SIZE_MAX || t[above] == t[below])
        return values[below == SIZE_MAX ? above : below];
    double share = (at - t[below]) / (t[above] - t[below]);
    return exp(log(values[below]) * (1 - share) + log(values[above]) * share);
}

double sdg_pearson(const double *x, const double *y, size_t n)
{
    double mean_x = 0, mean_y = 0, xx = 0, yy = 0, xy = 0;
    for (size_t i = 0; i < n; i++) {
        mean_x += x[i] / (double)n;
        mean_y += y[i] / (double)n;
    }
    for (size_t i = 0; i < n; i++) {
        double dx = x[i] - mean_x, dy = y[i] - mean_y;
        xx += dx * dx;
        yy += dy * dy;
        xy += dx * dy;
    }
    // What is left of a constant series after subtracting its mean is rounding.
    if (xx <= 1e-24 * mean_x * mean_x * (double)n || yy <= 1e-24 * mean_y * mean_y * (double)n || xx <= 0 || yy <= 0)
        return 0;
    return fmax(-1, fmin(1, xy / sqrt(xx) / sqrt(yy)));
}
