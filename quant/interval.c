// From a scale to codes, and the error of a scale on a histogram.
//
// With y = x / scale, the error of one value is e(y) = |y - k|^p with k = clip(round(y)), and e has the antiderivative
//     G(y) = k C + sign(r) |r|^(p+1) / (p+1),   r = y - k,   C = 2 * 0.5^(p+1) / (p+1)
// inside the range of codes and, because k stops there while r goes on, outside of it too. A bin's mean error is a difference of
// two G over its width.
#include "quant/interval.h"

#include <math.h>

static const double silu_depth = 0.2785; // a little more than -min of SiLU, 0.278465
// Narrower than this many steps, a span counts as one point: the difference of two G would be rounding noise.
static const double point_width = 1e-5;

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

// The mean of |x|^p over a span of magnitudes.
static double mean_power(double near, double far, double p)
{
    double width = far - near;
    if (width <= point_width * far)
        return raise((near + far) / 2, p);
    return (raise(far, p + 1) - raise(near, p + 1)) / ((p + 1) * width);
}

void sdg_cells_make(const struct sdg_histogram *h, double power, struct sdg_cells *out)
{
    out->power = power;
    out->total = 0;
    for (int s = 0; s < 2; s++) {
        struct sdg_cell_side *side = &out->sides[s];
        int n = 0;
        double lost = 0;
        for (int m = 0; m < SDG_HISTOGRAM_HALF; m++) {
            int bin = s * SDG_HISTOGRAM_HALF + m;
            if (h->counts[bin] == 0)
                continue;
            double lo, hi;
            sdg_histogram_span(h, bin, &lo, &hi);
            side->near[n] = s ? -hi : lo;
            side->far[n] = s ? -lo : hi;
            side->values[n] = (double)h->counts[bin];
            side->lost[n] = lost;
            lost += side->values[n] * mean_power(side->near[n], side->far[n], power);
            out->total += side->values[n++];
        }
        side->lost[n] = lost;
        side->count = n;
    }
}

struct codes { // of one side, as distances from zero, with the exponent's constants
    double lo, hi, power, inverse, per_code;
};

static double nearest(const struct codes *c, double y)
{
    double k = rint(y);
    return k < c->lo ? c->lo : k > c->hi ? c->hi : k;
}

static double integral(const struct codes *c, double y)
{
    double k = nearest(c, y), r = y - k, piece = raise(fabs(r), c->power + 1) * c->inverse;
    return k * c->per_code + (r < 0 ? -piece : piece);
}

// Errors in units of scale^power.
static double side_error(const struct sdg_cell_side *side, const struct codes *c, double scale, int start)
{
    double sum = 0, last_edge = -1, last_integral = 0;
    for (int i = start; i < side->count; i++) {
        double a = side->near[i] / scale, b = side->far[i] / scale;
        if (b - a < point_width) {
            double y = (a + b) / 2;
            sum += side->values[i] * raise(fabs(y - nearest(c, y)), c->power);
            continue;
        }
        double at_a = side->near[i] == last_edge ? last_integral : integral(c, a), at_b = integral(c, b);
        sum += side->values[i] * (at_b - at_a) / (b - a);
        last_edge = side->far[i];
        last_integral = at_b;
    }
    return sum;
}

double sdg_cells_error(const struct sdg_cells *cells, const struct sdg_interval *interval)
{
    double p = cells->power, scale = interval->scale, error = 0;
    for (int s = 0; s < 2; s++) {
        const struct sdg_cell_side *side = &cells->sides[s];
        int low = interval->lo - interval->zero_point, high = interval->hi - interval->zero_point;
        struct codes c = {.lo = s ? -high : low, .hi = s ? -low : high, .power = p, .inverse = 1 / (p + 1), .per_code = 2 * pow(0.5, p + 1) / (p + 1)};
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
    double noise = sdg_cells_error(&cells, interval);
    if (noise > 0 && signal > 0)
        return 10 * log10(signal / noise);
    return cells.total > 0 && noise <= 0 ? INFINITY : 0;
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
