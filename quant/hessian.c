// Accumulating sum x^T x in integers.
#include "quant/hessian.h"

#include "base/memory.h"
#include "quant/wide.h"

#include <math.h>
#include <string.h>

enum { PIECE = 64, TILE_I = 4, TILE_J = 8, MAX_INPUTS = 65536 };
static const double one = 1 << 20;  // in units of the sums
static const double limit = 0x1p62; // of one piece, in units; sums are checked as they are added

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

// Sums over n rows of x[.][i .. i+4) * x[.][j .. j+8), where rows are `stride` long and padded, so that no column is
// missing.
WIDE static void tile(const double *x, size_t n, size_t stride, size_t i, size_t j, double sums[TILE_I][TILE_J])
{
    typedef double lanes __attribute__((vector_size(TILE_J * sizeof(double))));
    lanes s[TILE_I] = {{0}}, right;
    for (size_t t = 0; t < n; t++, x += stride) {
        memcpy(&right, x + j, sizeof right);
        for (int a = 0; a < TILE_I; a++)
            s[a] += x[i + (size_t)a] * right;
    }
    memcpy(sums, s, sizeof s);
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

// Up to PIECE rows, widened to doubles in `piece` [PIECE, stride].
static bool add_piece(struct sdg_hessian *h, const float *x, size_t n, double *piece, size_t stride)
{
    bool fits = true;
    for (size_t t = 0; t < n; t++)
        for (size_t i = 0; i < h->inputs; i++)
            piece[t * stride + i] = x[t * h->inputs + i];
    for (size_t i = 0; i < h->inputs; i += TILE_I)
        for (size_t j = i / TILE_J * TILE_J; j < h->inputs; j += TILE_J) {
            double sums[TILE_I][TILE_J];
            tile(piece, n, stride, i, j, sums);
            fits = add_tile(h, i, j, sums) && fits;
        }
    return fits;
}

enum sdg_result sdg_hessian_add(const struct sdg_log *log, const char *site, struct sdg_hessian *h, const float *x,
                                size_t n)
{
    bool fits = true;
    const size_t stride = (h->inputs + TILE_J - 1) / TILE_J * TILE_J;
    double *piece = sdg_alloc(log, stride, PIECE * sizeof *piece, "a Hessian"); // zeros beyond the last column
    if (!piece)
        return SDG_ERROR_MEMORY;
    for (size_t at = 0; at < n && fits; at += PIECE)
        fits = add_piece(h, x + at * h->inputs, n - at < PIECE ? n - at : PIECE, piece, stride);
    sdg_free(piece);
    h->samples += n;
    if (!fits)
        return sdg_fail(log, SDG_ERROR_COMPUTE, "%s: its inputs are too large or not finite for a Hessian", site);
    return SDG_OK;
}

enum sdg_result sdg_hessian_merge(const struct sdg_log *log, const char *site, struct sdg_hessian *into,
                                  const struct sdg_hessian *from)
{
    if (into->inputs != from->inputs)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: Hessians of %zu and %zu inputs cannot be merged", site, into->inputs,
                        from->inputs);
    size_t count = into->inputs * (into->inputs + 1) / 2;
    for (size_t i = 0; i < count; i++)
        if (__builtin_add_overflow(into->sums[i], from->sums[i], &into->sums[i]))
            return sdg_fail(log, SDG_ERROR_INPUT, "%s: the merged Hessian is out of range", site);
    into->samples += from->samples;
    return SDG_OK;
}
