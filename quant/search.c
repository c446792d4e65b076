// Error curves of a site over a grid of scales, and the searches on them: grid first, then golden section on the exact
// error.
#include "quant/search.h"

#include "base/memory.h"

#include <math.h>

static const double points_per_octave = 12;
static const double octaves_below = 7;    // how far below the scale that just reaches the extremes an optimum can be
static const double octaves_at_most = 24; // when rows differ wildly
static const double log_floor = 23;       // errors count as at least e^-23 = 1e-10 of the row's largest

static const struct sdg_histogram *bad_row(const struct sdg_histogram *histograms, size_t rows)
{
    for (size_t r = 0; r < rows; r++)
        if (histograms[r].nonfinite > 0)
            return &histograms[r];
    return NULL;
}

// The grid covers every row's own optimum: from well below the smallest reach to a little above the largest.
static void place_grid(struct sdg_curves *c, const float *reach)
{
    double smallest = INFINITY, largest = 0;
    for (size_t r = 0; r < c->rows; r++) {
        if (c->silent[r])
            continue;
        smallest = fmin(smallest, (double)reach[r]);
        largest = fmax(largest, (double)reach[r]);
    }
    if (largest <= 0)
        smallest = largest = 1;
    double octaves = fmin(log2(largest / smallest) + octaves_below, octaves_at_most) + 0.25;
    c->points = (size_t)ceil(octaves * points_per_octave) + 1;
    c->step = log(2) / points_per_octave;
    c->first = log(largest) + 0.25 * log(2) - (double)(c->points - 1) * c->step;
}

enum sdg_result sdg_curves_begin(const struct sdg_log *log, const float *reach, size_t rows, struct sdg_curves **out)
{
    size_t count;
    struct sdg_curves *c = sdg_alloc(log, 1, sizeof *c, "error curves");
    if (!c)
        return SDG_ERROR_MEMORY;
    c->rows = rows;
    c->silent = sdg_alloc(log, rows, sizeof *c->silent, "error curves");
    for (size_t r = 0; c->silent && r < rows; r++)
        c->silent[r] = !(reach[r] > 0);
    if (c->silent) {
        place_grid(c, reach);
        if (!sdg_mul_size(rows, c->points, &count))
            count = SIZE_MAX;
        c->log_errors = sdg_alloc(log, count, sizeof *c->log_errors, "error curves");
    }
    if (!c->log_errors) {
        sdg_curves_destroy(&c);
        return SDG_ERROR_MEMORY;
    }
    *out = c;
    return SDG_OK;
}

float sdg_curves_scale(const struct sdg_curves *c, size_t point)
{
    return (float)exp(c->first + (double)point * c->step);
}

void sdg_curves_add(struct sdg_curves *c, size_t row, size_t point, double error)
{
    c->log_errors[row * c->points + point] += error;
}

static void end_row(const struct sdg_curves *c, double *errors)
{
    double largest = 0;
    for (size_t i = 0; i < c->points; i++)
        largest = fmax(largest, errors[i]);
    for (size_t i = 0; i < c->points; i++)
        errors[i] = largest > 0 ? log(fmax(errors[i], largest * exp(-log_floor))) : 0;
}

void sdg_curves_end(struct sdg_curves *c)
{
    for (size_t r = 0; r < c->rows; r++)
        if (!c->silent[r])
            end_row(c, c->log_errors + r * c->points);
}

// ---- of a site as a whole ----

static void make_cells(struct sdg_cells *cells, const struct sdg_histogram *histograms, size_t rows,
                       enum sdg_site_kind kind, int bits, double power, float *reach)
{
    for (size_t r = 0; r < rows; r++) {
        const struct sdg_histogram *h = &histograms[r];
        sdg_cells_make(h, power, &cells[r]);
        const bool silent = cells[r].total == 0 || (h->min == 0 && h->max == 0);
        reach[r] = silent ? 0 : sdg_interval_reach(kind, bits, h->min, h->max);
    }
}

static void fill(struct sdg_curves *c)
{
    for (size_t r = 0; r < c->rows; r++)
        for (size_t i = 0; i < c->points && !c->silent[r]; i++)
            sdg_curves_add(c, r, i, sdg_curves_error(c, r, sdg_curves_scale(c, i)));
    sdg_curves_end(c);
}

enum sdg_result sdg_curves_create(const struct sdg_log *log, const char *site, enum sdg_site_kind kind, int bits,
                                  double power, const struct sdg_histogram *histograms, size_t rows,
                                  struct sdg_curves **out)
{
    if (bits < SDG_MIN_BITS || bits > SDG_MAX_BITS || rows == 0 || !(power >= 1 && power <= 8))
        return sdg_fail(log, SDG_ERROR_USAGE,
                        "%s: intervals of %d bits over %zu rows with error power %g: should be %d to %d bits, a row or "
                        "more, power 1 to 8",
                        site, bits, rows, power, SDG_MIN_BITS, SDG_MAX_BITS);
    const struct sdg_histogram *bad = bad_row(histograms, rows);
    if (bad)
        return sdg_fail(
            log, SDG_ERROR_INPUT,
            "%s: its statistics contain infinities or NaN in row %zu: the model overflowed there; calibrate in f32",
            site, (size_t)(bad - histograms));
    float *reach = sdg_alloc(log, rows, sizeof *reach, "error curves");
    struct sdg_cells *cells = sdg_alloc(log, rows, sizeof *cells, "error curves");
    enum sdg_result result = reach && cells ? SDG_OK : SDG_ERROR_MEMORY;
    if (result == SDG_OK) {
        make_cells(cells, histograms, rows, kind, bits, power, reach);
        result = sdg_curves_begin(log, reach, rows, out);
    }
    sdg_free(reach);
    if (result != SDG_OK) {
        sdg_free(cells);
        return result;
    }
    (*out)->kind = kind;
    (*out)->bits = bits;
    (*out)->cells = cells;
    fill(*out);
    return SDG_OK;
}

void sdg_curves_destroy(struct sdg_curves **handle)
{
    struct sdg_curves *c = *handle;
    *handle = NULL;
    if (!c)
        return;
    sdg_free(c->log_errors);
    sdg_free(c->silent);
    sdg_free(c->cells);
    sdg_free(c);
}

double sdg_curves_error(const struct sdg_curves *c, size_t row, float scale)
{
    double slope;
    if (!c->cells)
        return exp(sdg_curves_log_error(c, row, log((double)scale), &slope));
    struct sdg_interval interval = sdg_interval_make(c->kind, c->bits, scale);
    return sdg_cells_error(&c->cells[row], &interval);
}

// Cubic through the four points around (Catmull-Rom): its slope has no jumps, which Adam would chase.
double sdg_curves_log_error(const struct sdg_curves *c, size_t row, double log_scale, double *slope)
{
    const double *y = c->log_errors + row * c->points;
    double at = (log_scale - c->first) / c->step, last = (double)(c->points - 1);
    double beyond = at < 0 ? at : at > last ? at - last : 0;
    at -= beyond;
    size_t i = at >= last ? c->points - 2 : (size_t)at;
    double u = at - (double)i, y1 = y[i], y2 = y[i + 1];
    double y0 = i > 0 ? y[i - 1] : 2 * y1 - y2, y3 = i + 2 < c->points ? y[i + 2] : 2 * y2 - y1;
    double b = (y2 - y0) / 2, q = y0 - 2.5 * y1 + 2 * y2 - y3 / 2, k = (y3 - y0) / 2 + 1.5 * (y1 - y2);
    *slope = (b + u * (2 * q + 3 * u * k)) / c->step;
    double value = y1 + u * (b + u * (q + u * k));
    if (beyond != 0 && !c->silent[row]) { // a slope of 1 back towards the grid
        *slope = beyond > 0 ? 1 : -1;
        value += fabs(beyond) * c->step;
    }
    return value;
}

// ---- searches ----

// Rows [row, row + count) together.
static double total_error(const struct sdg_curves *c, size_t row, size_t count, double log_scale)
{
    double sum = 0;
    for (size_t r = row; r < row + count; r++)
        if (!c->silent[r])
            sum += sdg_curves_error(c, r, (float)exp(log_scale));
    return sum;
}

static size_t best_point(const struct sdg_curves *c, size_t row, size_t count)
{
    size_t best = 0;
    double least = INFINITY;
    for (size_t i = 0; i < c->points; i++) {
        double sum = 0;
        for (size_t r = row; r < row + count; r++)
            if (!c->silent[r])
                sum += exp(c->log_errors[r * c->points + i]);
        if (sum < least) {
            least = sum;
            best = i;
        }
    }
    return best;
}

static float search(const struct sdg_curves *c, size_t row, size_t count, double *error)
{
    const double golden = 0.6180339887498949;
    double best = c->first + (double)best_point(c, row, count) * c->step, least = total_error(c, row, count, best);
    double a = best - c->step, b = best + c->step;
    double x[2] = {b - golden * (b - a), a + golden * (b - a)};
    double f[2] = {total_error(c, row, count, x[0]), total_error(c, row, count, x[1])};
    for (int i = 0; i < 14; i++) { // 2 / 12 octave -> 1e-4 of a step's width in the logarithm
        int better = f[1] < f[0];
        if (f[better] < least) {
            least = f[better];
            best = x[better];
        }
        if (better) {
            a = x[0], x[0] = x[1], f[0] = f[1];
            x[1] = a + golden * (b - a);
            f[1] = total_error(c, row, count, x[1]);
        } else {
            b = x[1], x[1] = x[0], f[1] = f[0];
            x[0] = b - golden * (b - a);
            f[0] = total_error(c, row, count, x[0]);
        }
    }
    *error += least;
    return (float)exp(best);
}

float sdg_search_static(const struct sdg_curves *c, double *error)
{
    double sum = 0;
    bool silent = true;
    for (size_t r = 0; r < c->rows; r++)
        silent = silent && c->silent[r];
    float scale = silent ? 1.0f : search(c, 0, c->rows, &sum);
    if (error)
        *error = sum;
    return scale;
}

void sdg_search_table(const struct sdg_curves *c, float *scales, double *error)
{
    double sum = 0;
    for (size_t r = 0; r < c->rows; r++)
        scales[r] = c->silent[r] ? 0.0f : search(c, r, 1, &sum);
    for (size_t r = 0; r < c->rows; r++) {
        if (!c->silent[r])
            continue;
        scales[r] = 1.0f;
        for (size_t d = c->rows; d-- > 1;) { // nearest last, so that it stays
            if (r + d < c->rows && !c->silent[r + d])
                scales[r] = scales[r + d];
            if (d <= r && !c->silent[r - d])
                scales[r] = scales[r - d];
        }
    }
    if (error)
        *error = sum;
}
