// Inside quant/: factors of a symmetric positive definite matrix in double, blocked so that most work stays in the
// caches.
#ifndef SDG_QUANT_CHOLESKY_H
#define SDG_QUANT_CHOLESKY_H

#include "base/log.h"

#include <stdbool.h>
#include <stddef.h>

// Replaces the lower triangle of a [n, n] by that of L, a = L L^T; the upper one is not looked at. False if a is not
// positive definite; its content is then undefined.
bool sdg_cholesky(double *a, size_t n);
// Replaces the lower triangle of l [n, n] by that of its inverse. `room`: sdg_invert_room(n) doubles.
size_t sdg_invert_room(size_t n);
void sdg_invert_lower(double *l, size_t n, double *room);

// y[0..n) += f * x[0..n)
static inline void sdg_add_scaled(double *restrict y, const double *restrict x, double f, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] += f * x[i];
}

#endif
