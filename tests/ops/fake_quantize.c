#include "tests/ops/check.h"

#include <math.h>
#include <stdlib.h>

// Three rows of intervals: fine, a power of two (ties are exact), coarse enough that nothing clips.
static void check(struct suite *s, int n, int h, int w, int c, int lowest, int highest, bool zero)
{
    struct fixture f;
    if (!begin(s, &f, "fake_quantize(type=%s,n=%d,h=%d,w=%d,c=%d,codes=%d..%d,zero=%d)", type_name(s), n, h, w, c,
               lowest, highest, zero))
        return;
    sdg_value x = input(&f, "x", n, h, w, c, (struct data){NORMAL, 8, 1});
    sdg_value interval = intervals(&f, "interval", 3,
                                   zero ? (const float[]){0.37f, 3, 0.0625f, 0, 2.5f, 1}
                                        : (const float[]){0.37f, 0, 0.0625f, 0, 2.5f, 0});
    f.pointwise = true;
    finish(&f, sdg_graph_fake_quantize(f.graph, "fake_quantize", x, interval, lowest, highest));
}

// With the interval of x itself.
static void check_measured(struct suite *s, int lowest, int highest)
{
    struct fixture f;
    if (!begin(s, &f, "fake_quantize(type=%s,measured,codes=%d..%d)", type_name(s), lowest, highest))
        return;
    sdg_value x = input(&f, "x", 2, 3, 3, 5, NORMAL_DATA),
              interval = sdg_graph_measure_interval(f.graph, "measure", x, lowest, highest);
    f.pointwise = true;
    finish(&f, sdg_graph_fake_quantize(f.graph, "fake_quantize", x, interval, lowest, highest));
}

// Codes worked out by hand: ties go to even, both ends clip, 0 stays 0 whatever the zero point.
static void check_known(struct suite *s)
{
    static const float x[] = {0, 0.25f, 0.75f, 1.25f, -0.25f, -0.75f, 100, -100},
                       expected[] = {0, 0, 1, 1, 0, -1, 3.5f, -4};
    static const float expected_unsigned[] = {0, 0, 1, 1, 0, -0.5f, 7, -0.5f};
    for (int zero = 0; zero < 2; zero++) {
        struct fixture f;
        if (s->type != SDG_F32 || !begin(s, &f, "fake_quantize(known,zero=%d)", zero))
            continue;
        sdg_value in = input(&f, "x", 1, 1, 1, 8, NORMAL_DATA);
        set_input(&f, x);
        sdg_value interval = intervals(&f, "interval", 1, zero ? (const float[]){0.5f, 1} : (const float[]){0.5f, 0});
        sdg_value y = sdg_graph_fake_quantize(f.graph, "fake_quantize", in, interval, zero ? 0 : -8, zero ? 15 : 7);
        finish_expected(&f, y, 0, zero ? expected_unsigned : expected, 0);
    }
}

// The value of each element's code, computed here with the interval of its token. Scales are powers of two, so that all
// backends agree about ties, and results hold in every type.
static void check_tokens(struct suite *s, int n, int h, int w, int c, int lowest, int highest, bool smooth)
{
    enum { ROWS = 3 };
    const int tokens = h * w, count = n * tokens * c;
    struct fixture f;
    if (!begin(s, &f, "fake_quantize(type=%s,tokens,n=%d,h=%d,w=%d,c=%d,codes=%d..%d,smooth=%d)", type_name(s), n, h, w,
               c, lowest, highest, smooth))
        return;
    sdg_value x = input(&f, "x", n, h, w, c, (struct data){NORMAL, 8, 1});
    const float *values = last_input(&f);
    float *factors = get((size_t)c * sizeof *factors); // powers of two, too
    for (int i = 0; i < c; i++)
        factors[i] = smooth ? ldexpf(1, i * 5 % 7 - 3) : 1;
    float *pairs = get((size_t)(ROWS * tokens) * 2 * sizeof *pairs), *expected[2];
    for (int i = 0; i < ROWS * tokens; i++) {
        pairs[2 * i] = ldexpf(1, i * 5 % 7 - 4);
        pairs[2 * i + 1] = lowest < 0 ? 0 : (float)(i * 37 % (highest + 1));
    }
    for (int k = 0; k < 2; k++) {
        expected[k] = get((size_t)count * sizeof(float));
        for (int i = 0; i < count; i++) {
            const float *pair = pairs + 2 * ((k ? ROWS - 1 : 0) * tokens + i / c % tokens);
            const double code = nearbyint((double)values[i] * (double)factors[i % c] / pair[0]) + pair[1];
            expected[k][i] = (float)((fmin(fmax(code, lowest), highest) - pair[1]) * pair[0]);
        }
    }
    sdg_value interval = token_intervals(&f, "interval", ROWS, tokens, pairs);
    const sdg_value y = sdg_graph_fake_quantize(f.graph, "fake_quantize", x, interval, lowest, highest);
    if (smooth)
        sdg_graph_smooth(f.graph, f.graph->op_count - 1, known_vector(&f, c, factors));
    finish_rows_expected(&f, y, expected[0], expected[1], 0);
    free(factors);
    free(expected[0]);
    free(expected[1]);
    free(pairs);
}

void check_fake_quantize(struct suite *s)
{
    if (s->bench) {
        check(s, 2, 64, 64, 320, -128, 127, false);
        return;
    }
    check(s, 1, 1, 1, 1, -128, 127, false);
    check(s, 2, 7, 5, 31, -128, 127, false);
    check(s, 1, 3, 3, 33, -8, 7, false);
    check(s, 2, 4, 4, 5, 0, 255, true);
    check(s, 1, 1, 77, 3, 0, 15, true);
    for (int smooth = 0; smooth < 2; smooth++) {
        check_tokens(s, 1, 2, 1, 1, -128, 127, smooth);
        check_tokens(s, 2, 7, 5, 31, -128, 127, smooth);
        check_tokens(s, 2, 1, 77, 3, 0, 255, smooth);
    }
    check_measured(s, -128, 127);
    check_measured(s, 0, 255);
    check_known(s);
}
