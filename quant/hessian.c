// Accumulating sum x^T x in integers.
#include "base/memory.h"
#include "quant/gptq.h"

#include <math.h>

enum { PIECE = 64, TILE_I = 4, TILE_J = 8, MAX_INPUTS = 65536 };
static const double one = 1 << 20;          // in units of the sums
static const double limit = 0x1p62;         // of one piece, in units; sums are checked as they are added

enum sdg_result sdg_hessian_create(const struct sdg_log *log, size_t inputs, struct sdg_hessian *out)
{
    if (inputs < 1 || inputs > MAX_INPUTS)
        return sdg_fail(log, SDG_ERROR_USAGE, "a Hessian of %zu inputs: should be 1 to %d", inputs, MAX_INPUTS);
    int64_t *sums = sdg_alloc(log, inputs * (inputs + 1) / 2, sizeof *sums, "a Hessian");
    if (!sums)
        return SDG_ERROR_MEMORY;
    *out = (struct sdg_hessian){.inputs = inputs, .sums = sums};
    return SDG_OK;
}

void sdg_hessian_free(struct sdg_hessian *h)
{
    sdg_free(h->sums);
    *h = (struct sdg_hessian){0};
}

static size_t place(const struct sdg_hessian *h, size_t i, size_t j) // j >= i
{
    return i * h->inputs - i * (i - 1) / 2 + j - i; // i = 0: 0 * SIZE_MAX / 2 = 0
}

double sdg_hessian_at(const struct sdg_hessian *h, size_t i, size_t j)
{
    return (double)h->sums[i <= j ? place(h, i, j) : place(h, j, i)] / one;
}

// Sums over n rows of x[.][i .. i+4) * x[.][j .. j+8); columns beyond the last count as the last and are dropped by the caller.
static void tile(const float *x, size_t n, size_t inputs, size_t i, size_t j, double sums[TILE_I][TILE_J])
{
    for (int a = 0; a < TILE_I; a++)
        for (int b = 0; b < TILE_J; b++)
            sums[a][b] = 0;
    for (size_t t = 0; t < n; t++, x += inputs) {
        double right[TILE_J];
        for (int b = 0; b < TILE_J; b++)
            right[b] = x[j + (size_t)b < inputs ? j + (size_t)b : inputs - 1];
        for (int a = 0; a < TILE_I; a++) {
            double left = x[i + (size_t)a < inputs ? i + (size_t)a : inputs - 1];
            for (int b = 0; b < TILE_J; b++)
                sums[a][b] += left * right[b];
        }
    }
}

// False if a sum is not finite or does not fit.
static bool add_tile(struct sdg_hessian *h, size_t i, size_t j, double sums[TILE_I][TILE_J])
{
    bool fits = true;
    for (size_t a = i; a < i + TILE_I && a < h->inputs; a++)
        for (size_t b = j > a ? j : a; b < j + TILE_J && b < h->inputs; b++) {
            double units = rint(sums[a - i][b - j] * one);
            int64_t *sum = &h->sums[place(h, a, b)];
            if (!(fabs(units) < limit) || __builtin_add_overflow(*sum, (int64_t)units, sum))
                fits = false;
        }
    return fits;
}

enum sdg_result sdg_hessian_add(const struct sdg_log *log, const char *site, struct sdg_hessian *h, const float *x, size_t n)
{
    bool fits = true;
    for (size_t at = 0; at < n && fits; at += PIECE) {
        size_t some = n - at < PIECE ? n - at : PIECE;
        for (size_t i = 0; i < h->inputs; i += TILE_I)
            for (size_t j = i / TILE_J * TILE_J; j < h->inputs; j += TILE_J) {
                double sums[TILE_I][TILE_J];
                tile(x + at * h->inputs, some, h->inputs, i, j, sums);
                fits = add_tile(h, i, j, sums) && fits;
            }
    }
    h->samples += n;
    if (!fits)
        return sdg_fail(log, SDG_ERROR_COMPUTE, "%s: its inputs are too large or not finite for a Hessian", site);
    return SDG_OK;
}

enum sdg_result sdg_hessian_merge(const struct sdg_log *log, const char *site, struct sdg_hessian *into, const struct sdg_hessian *from)
{
    if (into->inputs != from->inputs)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: Hessians of %zu and %zu inputs cannot be merged", site, into->inputs, from->inputs);
    size_t count = into->inputs * (into->inputs + 1) / 2;
    for (size_t i = 0; i < count; i++)
        if (__builtin_add_overflow(into->sums[i], from->sums[i], &into->sums[i]))
            return sdg_fail(log, SDG_ERROR_INPUT, "%s: the merged Hessian is out of range", site);
    into->samples += from->samples;
    return SDG_OK;
}
