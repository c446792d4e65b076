#include "quant/token_fit.h"

#include "base/decibel.h"
#include "base/memory.h"
#include "quant/fit.h"

#include <math.h>

enum { SHRINKS = 50 };

struct sdg_interval sdg_interval_between(int bits, double min, double max)
{
    const int highest = (1 << bits) - 1;
    const double low = fmin(min, 0), high = fmax(max, 0);
    struct sdg_interval i = {.scale = 1, .lo = 0, .hi = highest};
    if (high > low) {
        i.scale = fmaxf((float)((high - low) / highest), 0x1p-100f);
        i.zero_point = (int)fmin(rint(-low / i.scale), highest);
    }
    return i;
}

void sdg_token_intervals_clear(struct sdg_token_intervals *t)
{
    sdg_free(t->scales);
    sdg_free(t->zero_points);
    sdg_free(t->factors);
    *t = (struct sdg_token_intervals){0};
}

// ---- one token ----

struct search {
    const struct sdg_site_statistics *site;
    size_t rows;
    const struct sdg_token_fit_options *options;
    struct sdg_cells *cells; // [rows] of the token at hand
    struct sdg_cells *all;   // [rows] of all tokens
    double *shares;          // [rows] what the error of all tokens' values counts beside that of the token's own
    double *factors;         // [rows]
    bool *silent;            // [rows] without a value other than 0
    double *signal, *noise;  // [rows] sums of squares over all tokens
};

static double error_of(const struct search *s, size_t row, struct sdg_interval interval)
{
    if (s->silent[row])
        return 0;
    interval.scale *= (float)s->factors[row];
    const double own = sdg_cells_error(&s->cells[row], &interval);
    return s->shares[row] > 0 ? own + s->shares[row] * sdg_cells_error(&s->all[row], &interval) : own;
}

// Rows [first, first + count) of a token, and the best interval found of them, in units of their factors.
struct range {
    size_t first, count;
    double min, max, low, high, error;
};

static void try_range(const struct search *s, struct range *r, double low, double high)
{
    const struct sdg_interval interval = sdg_interval_between(s->options->bits, low, high);
    double sum = 0;
    for (size_t row = r->first; row < r->first + r->count && sum < r->error; row++)
        sum += error_of(s, row, interval);
    if (sum < r->error) {
        r->error = sum;
        r->low = low;
        r->high = high;
    }
}

// Ends by themselves, in parts of the whole range.
static void move_ends(const struct search *s, struct range *r)
{
    const double whole = fmax(r->max, 0) - fmin(r->min, 0);
    for (double step = 0.16 * whole; step > 0.01 * whole; step /= 2)
        for (double before = INFINITY; r->error < before;) {
            before = r->error;
            const double low = r->low, high = r->high;
            try_range(s, r, fmin(low - step, 0), high);
            try_range(s, r, fmin(low + step, 0), high);
            try_range(s, r, low, fmax(high - step, 0));
            try_range(s, r, low, fmax(high + step, 0));
        }
}

// Starts for move_ends that PTQ4VM's shrinking leaves out: that of one end only, and that of both towards zero.
static void try_parts(const struct search *s, struct range *r)
{
    static const double parts[] = {1, 0.8, 0.6, 0.45, 0.3, 0.2, 0.12};
    enum { PARTS = sizeof parts / sizeof *parts };
    for (int i = 0; i < PARTS; i += 2)
        for (int k = 0; k < PARTS; k++)
            try_range(s, r, fmin(r->min, 0) * parts[i], fmax(r->max, 0) * parts[k]);
}

static const struct sdg_token_histogram *seen_of(const struct search *s, size_t row, size_t token)
{
    return &s->site->tokens[row * s->site->height * s->site->width + token];
}

// False if all rows are silent.
static bool search_rows(const struct search *s, size_t token, size_t first, size_t count, struct sdg_interval *best,
                        double *cost)
{
    struct range range = {.first = first, .count = count, .min = INFINITY, .max = -INFINITY, .error = INFINITY};
    for (size_t r = first; r < first + count; r++) {
        if (s->silent[r])
            continue;
        range.min = fmin(range.min, (double)seen_of(s, r, token)->min / s->factors[r]);
        range.max = fmax(range.max, (double)seen_of(s, r, token)->max / s->factors[r]);
    }
    if (!(range.min <= range.max))
        return false;
    for (int i = 0; i < SHRINKS; i++) {
        const double a = i / 100.0, b = 1 - a;
        try_range(s, &range, fmin(range.min * b + range.max * a, 0), fmax(range.min * a + range.max * b, 0));
    }
    try_parts(s, &range);
    move_ends(s, &range);
    *best = sdg_interval_between(s->options->bits, range.low, range.high);
    *cost += range.error;
    return true;
}

// ---- all tokens ----

// For the report: of the token's own values, each of which counts the same.
static void note_errors(struct search *s, size_t row, const struct sdg_token_histogram *token,
                        struct sdg_interval interval, double *error)
{
    struct sdg_cells *cells = &s->cells[row]; // not needed for the search any more
    if (s->silent[row])
        return;
    interval.scale *= (float)s->factors[row];
    sdg_token_cells_make(token, NULL, 1, s->options->power, cells);
    *error += sdg_cells_error(cells, &interval);
    sdg_token_cells_make(token, NULL, 1, 2, cells);
    for (int side = 0; side < 2; side++)
        s->signal[row] += cells->sides[side].lost[cells->sides[side].count];
    s->noise[row] += fmax(sdg_cells_error(cells, &interval), 0);
}

// With weights those of all tokens together count as much as the token's own would.
static void prepare_row(struct search *s, size_t row, size_t token)
{
    const struct sdg_site_statistics *site = s->site;
    const size_t at = row * site->height * site->width + token;
    const double pictures = (double)sdg_token_histogram_total(&site->tokens[at]) / (double)site->channels;
    sdg_token_cells_make(&site->tokens[at], site->weights ? &site->weights[at] : NULL, 1, s->options->power,
                         &s->cells[row]);
    s->shares[row] = s->options->others / pictures * s->cells[row].total / s->all[row].total;
}

static void prepare_token(struct search *s, size_t token)
{
    for (size_t r = 0; r < s->rows; r++) {
        const struct sdg_token_histogram *h = seen_of(s, r, token);
        s->silent[r] = !(h->min < 0 || h->max > 0) || h->min > h->max;
        if (!s->silent[r])
            prepare_row(s, r, token);
    }
}

static void fit_token(struct search *s, size_t token, struct sdg_interval fallback, struct sdg_token_intervals *out)
{
    const size_t tokens = s->site->height * s->site->width, together = out->times == 1 ? s->rows : 1;
    prepare_token(s, token);
    for (size_t time = 0; time < out->times; time++) {
        struct sdg_interval best = fallback;
        search_rows(s, token, time * together, together, &best, &out->cost);
        out->scales[time * tokens + token] = best.scale;
        out->zero_points[time * tokens + token] = best.zero_point;
        for (size_t r = time * together; r < (time + 1) * together; r++)
            note_errors(s, r, seen_of(s, r, token), best, &out->error);
    }
}

static struct sdg_interval interval_of_all(const struct sdg_site_statistics *site, size_t rows, const double *factors,
                                           int bits)
{
    double min = 0, max = 0;
    for (size_t r = 0; r < rows; r++)
        if (site->rows[r].min <= site->rows[r].max) {
            min = fmin(min, (double)site->rows[r].min / factors[r]);
            max = fmax(max, (double)site->rows[r].max / factors[r]);
        }
    return sdg_interval_between(bits, min, max);
}

static void conclude(const struct search *s, size_t rows, struct sdg_token_intervals *out)
{
    size_t seen = 0;
    out->worst_sqnr = SDG_FIT_BEST_SQNR;
    for (size_t r = 0; r < rows; r++) {
        if (!(s->signal[r] > 0))
            continue;
        const double sqnr = fmin(sdg_decibel(s->signal[r], s->noise[r]), SDG_FIT_BEST_SQNR);
        out->sqnr += sqnr;
        seen++;
        if (sqnr < out->worst_sqnr) {
            out->worst_sqnr = sqnr;
            out->worst_row = r;
        }
    }
    out->sqnr = seen ? out->sqnr / (double)seen : SDG_FIT_BEST_SQNR;
}

static void fit_all(struct search *s, struct sdg_token_intervals *out)
{
    const struct sdg_interval fallback = interval_of_all(s->site, s->rows, s->factors, s->options->bits);
    for (size_t token = 0; token < s->site->height * s->site->width; token++)
        fit_token(s, token, fallback, out);
    conclude(s, s->rows, out);
}

// ---- a number for all tokens of a row ----

// The range of what was seen, in that of the codes; 0: nothing but zeros.
static float reach_of(const struct search *s, size_t row, const struct sdg_token_intervals *t)
{
    const double highest = (1 << s->options->bits) - 1;
    double reach = 0;
    for (size_t k = 0; k < t->height * t->width; k++) {
        const struct sdg_token_histogram *h = seen_of(s, row, k);
        if (h->min <= h->max)
            reach = fmax(reach, (fmax(h->max, 0) - fmin(h->min, 0)) / (highest * (double)t->scales[k]));
    }
    return (float)reach;
}

static void add_token(struct search *s, size_t token, const struct sdg_token_intervals *t, struct sdg_curves *curves)
{
    prepare_token(s, token);
    for (size_t r = 0; r < s->rows; r++)
        for (size_t i = 0; i < curves->points && !s->silent[r]; i++) {
            const struct sdg_interval interval = {.scale = t->scales[token] * sdg_curves_scale(curves, i),
                                                  .zero_point = t->zero_points[token],
                                                  .lo = 0,
                                                  .hi = (1 << s->options->bits) - 1};
            sdg_curves_add(curves, r, i, error_of(s, r, interval));
        }
}

static enum sdg_result trace(struct search *s, const struct sdg_log *log, const struct sdg_token_intervals *t,
                             struct sdg_curves **out)
{
    float *reach = sdg_alloc(log, s->rows, sizeof *reach, "error curves");
    if (!reach)
        return SDG_ERROR_MEMORY;
    for (size_t r = 0; r < s->rows; r++)
        reach[r] = reach_of(s, r, t);
    enum sdg_result result = sdg_curves_begin(log, reach, s->rows, out);
    sdg_free(reach);
    SDG_TRY(result);
    for (size_t token = 0; token < t->height * t->width; token++)
        add_token(s, token, t, *out);
    sdg_curves_end(*out);
    return SDG_OK;
}

// ---- entry points ----

static void close_search(struct search *s)
{
    sdg_free(s->cells);
    sdg_free(s->factors);
    sdg_free(s->silent);
}

static enum sdg_result open_search(struct search *s, const struct sdg_log *log)
{
    const struct sdg_site_statistics *site = s->site;
    const size_t rows = s->rows, tokens = site->height * site->width;
    s->cells = sdg_alloc_raw(log, rows, 2 * sizeof *s->cells, "intervals of tokens");
    s->factors = sdg_alloc(log, rows, 4 * sizeof *s->factors, "intervals of tokens");
    s->silent = sdg_alloc(log, rows, sizeof *s->silent, "intervals of tokens");
    if (!s->cells || !s->factors || !s->silent) {
        close_search(s);
        return SDG_ERROR_MEMORY;
    }
    s->all = s->cells + rows;
    s->signal = s->factors + rows;
    s->noise = s->signal + rows;
    s->shares = s->noise + rows;
    for (size_t r = 0; r < rows; r++) {
        s->factors[r] = s->options->factors ? s->options->factors[r] : 1;
        sdg_token_cells_make(site->tokens + r * tokens, site->weights ? site->weights + r * tokens : NULL, tokens,
                             s->options->power, &s->all[r]);
    }
    return SDG_OK;
}

enum sdg_result sdg_token_fit(const struct sdg_log *log, const struct sdg_site_statistics *site, size_t rows,
                              const struct sdg_token_fit_options *options, struct sdg_token_intervals *out)
{
    struct sdg_token_intervals t = {
        .times = options->each_row ? rows : 1, .height = site->height, .width = site->width};
    const size_t count = t.times * t.height * t.width;
    struct search s = {.site = site, .rows = rows, .options = options};
    SDG_TRY(open_search(&s, log));
    t.scales = sdg_alloc(log, count, sizeof *t.scales, "intervals of tokens");
    t.zero_points = sdg_alloc(log, count, sizeof *t.zero_points, "intervals of tokens");
    const bool enough = t.scales && t.zero_points;
    if (enough)
        fit_all(&s, &t);
    close_search(&s);
    if (!enough) {
        sdg_token_intervals_clear(&t);
        return SDG_ERROR_MEMORY;
    }
    *out = t;
    return SDG_OK;
}

enum sdg_result sdg_token_curves(const struct sdg_log *log, const struct sdg_site_statistics *site, size_t rows,
                                 const struct sdg_token_fit_options *options,
                                 const struct sdg_token_intervals *intervals, struct sdg_curves **out)
{
    struct search s = {.site = site, .rows = rows, .options = options};
    SDG_TRY(open_search(&s, log));
    enum sdg_result result = trace(&s, log, intervals, out);
    close_search(&s);
    return result;
}
