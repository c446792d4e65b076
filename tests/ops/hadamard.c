#include "tests/ops/check.h"

#include <math.h>
#include <stdlib.h>

// H_1 = 1, H_2m = (H_m H_m; H_m -H_m): the matrix as it is defined, an element at a time, in float64.
static double sign_of(int64_t block, int64_t i, int64_t j)
{
    double sign = 1;
    for (int64_t m = block / 2; m; m /= 2)
        if (i % (2 * m) >= m && j % (2 * m) >= m)
            sign = -sign;
    return sign;
}

static float *transformed(const float *x, int64_t count, int64_t block)
{
    float *y = get((size_t)count * sizeof *y);
    for (int64_t i = 0; i < count; i++) {
        double sum = 0;
        for (int64_t j = 0; j < block; j++)
            sum += sign_of(block, i % block, j) * x[i - i % block + j];
        y[i] = (float)(sum / sqrt((double)block));
    }
    return y;
}

static void check(struct suite *s, int n, int h, int w, int c, int block)
{
    struct fixture f;
    if (!begin(s, &f, "hadamard(type=%s,n=%d,h=%d,w=%d,c=%d,block=%d)", type_name(s), n, h, w, c, block))
        return;
    const sdg_value x = input(&f, "x", n, h, w, c, (struct data){NORMAL, 2, 0.3f}),
                    y = sdg_graph_hadamard(f.graph, "hadamard", x, block);
    float *expected = s->bench ? NULL : transformed(last_input(&f), (int64_t)n * h * w * c, block);
    if (s->bench)
        finish(&f, y);
    else
        finish_expected(&f, y, 0, expected, type_bound(s));
    free(expected);
}

void check_hadamard(struct suite *s)
{
    static const int small[][5] = {{1, 1, 1, 2, 2},     {2, 3, 5, 12, 4},     {1, 1, 17, 8, 8},
                                   {3, 1, 7, 48, 16},   {1, 5, 13, 64, 32},   {1, 1, 1, 64, 64},
                                   {2, 1, 9, 640, 128}, {1, 1, 3, 1536, 512}, {1, 1, 2, 4096, 4096}};
    for (size_t i = 0; i < sizeof small / sizeof *small && !s->bench; i++)
        check(s, small[i][0], small[i][1], small[i][2], small[i][3], small[i][4]);
    if (s->bench)
        check(s, 2, 64, 64, 640, 128);
}
