// Cholesky, right-looking: a panel of columns is factored, then the rest updated by products of rows of the panel.
#include "quant/cholesky.h"

#include <math.h>
#include <string.h>

enum { PANEL = 64, LANES = 4, ROWS = 32 };

// The order of the sum is fixed: four interleaved partial sums.
static double dot(const double *x, const double *y, size_t n)
{
    double sums[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t l = 0; l < LANES; l++)
            sums[l] += x[i + l] * y[i + l];
    for (; i < n; i++)
        sums[0] += x[i] * y[i];
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

// Rows `from` .. n of columns from .. to, in which earlier panels have been taken care of.
static bool factor_panel(double *a, size_t n, size_t from, size_t to)
{
    for (size_t i = from; i < n; i++) {
        double *row = a + i * n;
        for (size_t j = from; j < to && j <= i; j++) {
            double rest = row[j] - dot(row + from, a + j * n + from, j - from);
            if (j < i) {
                row[j] = rest / a[j * n + j];
                continue;
            }
            if (!(rest > 0 && rest < INFINITY))
                return false;
            row[j] = sqrt(rest);
        }
    }
    return true;
}

bool sdg_cholesky(double *a, size_t n)
{
    for (size_t from = 0; from < n; from += PANEL) {
        size_t to = from + PANEL < n ? from + PANEL : n;
        if (!factor_panel(a, n, from, to))
            return false;
        for (size_t block = to; block < n; block += ROWS) // a block of rows stays in the cache while the others pass by
            for (size_t j = to; j < n && j < block + ROWS; j++)
                for (size_t i = j > block ? j : block; i < n && i < block + ROWS; i++)
                    a[i * n + j] -= dot(a + i * n + from, a + j * n + from, to - from);
    }
    return true;
}

size_t sdg_invert_room(size_t n)
{
    return ROWS * n;
}

// Row i of the inverse X is (e_i - sum over k < i of L[i][k] X[k]) / L[i][i]: a combination of rows above. Blocks of
// rows share each row that is loaded.
void sdg_invert_lower(double *l, size_t n, double *room)
{
    for (size_t block = 0; block < n; block += ROWS) {
        size_t end = block + ROWS < n ? block + ROWS : n;
        memset(room, 0, (end - block) * n * sizeof *room);
        for (size_t k = 0; k < block; k++)
            for (size_t i = block; i < end; i++)
                sdg_add_scaled(room + (i - block) * n, l + k * n, -l[i * n + k], k + 1);
        for (size_t i = block; i < end; i++) {
            double *row = room + (i - block) * n, pivot = l[i * n + i];
            for (size_t k = block; k < i; k++)
                sdg_add_scaled(row, room + (k - block) * n, -l[i * n + k], k + 1);
            row[i] = 1;
            for (size_t j = 0; j <= i; j++)
                row[j] /= pivot;
        }
        for (size_t i = block; i < end; i++)
            memcpy(l + i * n, room + (i - block) * n, (i + 1) * sizeof *l);
    }
}
