#include "tests/ops/check.h"

#include <math.h>
#include <stdlib.h>

// Codes as the definition says, in f32: the same on every backend, bit for bit.
static float code_of(float x, const float *pair, int lowest, int highest)
{
    float code = rintf(x * (1.0f / pair[0])) + pair[1];
    if (!(code > (float)lowest)) // NaN is the lowest
        return (float)lowest;
    return code < (float)highest ? code : (float)highest;
}

// `pairs` are of rows and tokens, of which the interval has 1 or as many as x. `factors` [C] smooth, unless NULL.
static void finish_smoothed(struct fixture *f, sdg_value x, sdg_value interval, const float *values, const float *pairs,
                            const float *factors, int lowest, int highest)
{
    size_t count = (size_t)sdg_value_elements(&f->graph->values[x]), channels = (size_t)f->graph->values[x].dims[3],
           tokens = (size_t)f->graph->values[interval].dims[1], last = (size_t)f->graph->rows - 1;
    float *expected[2] = {get(count * sizeof(float)), get(count * sizeof(float))};
    for (size_t i = 0; i < count; i++) {
        const float *pair = pairs + 2 * (i / channels % tokens);
        const float value = factors ? values[i] * factors[i % channels] : values[i];
        expected[0][i] = code_of(value, pair, lowest, highest);
        expected[1][i] = code_of(value, pair + 2 * tokens * last, lowest, highest);
    }
    f->codes.lowest = lowest;
    f->codes.highest = highest;
    const sdg_value y = sdg_graph_quantize(f->graph, "quantize", x, interval, lowest, highest);
    if (factors)
        sdg_graph_smooth(f->graph, f->graph->op_count - 1, known_vector(f, (int64_t)channels, factors));
    finish_rows_expected(f, y, expected[0], expected[1], 0);
    free(expected[0]);
    free(expected[1]);
}

static void finish_with_pairs(struct fixture *f, sdg_value x, sdg_value interval, const float *values,
                              const float *pairs, int lowest, int highest)
{
    finish_smoothed(f, x, interval, values, pairs, NULL, lowest, highest);
}

static void check(struct suite *s, int n, int h, int w, int c, int lowest, int highest, enum fill fill)
{
    static const float zero_pairs[] = {0.37f, 0, 0.0625f, 0, 0.0123f, 0},
                       pairs[] = {0.37f, 3, 0.0625f, 0, 0.0123f, 255};
    struct fixture f;
    if (!begin(s, &f, "quantize(type=%s,n=%d,h=%d,w=%d,c=%d,codes=%d..%d,fill=%d)", type_name(s), n, h, w, c, lowest,
               highest, fill))
        return;
    sdg_value x = input(&f, "x", n, h, w, c, (struct data){fill, 8, 1});
    const float *values = last_input(&f), *chosen = lowest < 0 ? zero_pairs : pairs;
    float fitting[6];
    for (int i = 0; i < 6; i++) // zero points are codes
        fitting[i] = i % 2 ? fminf(chosen[i], (float)highest) : chosen[i];
    finish_with_pairs(&f, x, intervals(&f, "interval", 3, fitting), values, fitting, lowest, highest);
}

// Three rows of intervals, another for each token: fine and coarse, and where codes have no sign all zero points.
static void check_tokens(struct suite *s, int n, int h, int w, int c, int lowest, int highest, enum fill fill,
                         bool smooth)
{
    struct fixture f;
    const int tokens = h * w;
    if (!begin(s, &f, "quantize(type=%s,tokens,n=%d,h=%d,w=%d,c=%d,codes=%d..%d,fill=%d,smooth=%d)", type_name(s), n, h,
               w, c, lowest, highest, fill, smooth))
        return;
    sdg_value x = input(&f, "x", n, h, w, c, (struct data){fill, 8, 1});
    const float *values = last_input(&f);
    float *pairs = get((size_t)(3 * tokens) * 2 * sizeof *pairs), *factors = get((size_t)c * sizeof *factors);
    for (int i = 0; i < c; i++)
        factors[i] = 0.31f + 0.17f * (float)(i * 7 % 13);
    for (int i = 0; i < 3 * tokens; i++) {
        pairs[2 * i] = 0.0123f * (float)(1 + i * 7 % 13);
        pairs[2 * i + 1] = lowest < 0 ? 0 : (float)(i * 37 % (highest + 1));
    }
    finish_smoothed(&f, x, token_intervals(&f, "interval", 3, tokens, pairs), values, pairs, smooth ? factors : NULL,
                    lowest, highest);
    free(pairs);
    free(factors);
}

// Worked out by hand: ties go to even, both ends clip, NaN is the lowest code, infinities are the ends.
static void check_known(struct suite *s, bool is_signed)
{
    static const float x[] = {0,    0.25f, 0.75f,    1.25f,     -0.25f, -0.75f,  100,
                              -100, NAN,   INFINITY, -INFINITY, 1e30f,  -1e-30f, -0.0f};
    static const float expected[] = {0, 0, 2, 2, 0, -2, 7, -8, -8, 7, -8, 7, 0, 0};
    static const float expected_unsigned[] = {1, 1, 3, 3, 1, 0, 15, 0, 0, 15, 0, 15, 1, 1};
    enum { COUNT = sizeof x / sizeof *x };
    struct fixture f;
    if (!begin(s, &f, "quantize(type=%s,known,signed=%d)", type_name(s), is_signed))
        return;
    sdg_value in = input(&f, "x", 1, 1, 2, COUNT / 2, NORMAL_DATA);
    set_input(&f, x);
    sdg_value interval = intervals(&f, "interval", 1, is_signed ? (const float[]){0.5f, 0} : (const float[]){0.5f, 1});
    f.codes.lowest = is_signed ? -8 : 0;
    f.codes.highest = is_signed ? 7 : 15;
    sdg_value y = sdg_graph_quantize(f.graph, "quantize", in, interval, f.codes.lowest, f.codes.highest);
    finish_expected(&f, y, 0, is_signed ? expected : expected_unsigned, 0);
}

// The floats nearest to the middle between two codes, where x / scale, x * (1 / scale) and either of them with a
// reciprocal that is off by one unit give different codes.
static void check_ties(struct suite *s, float scale)
{
    enum { CODES = 260, COUNT = 3 * CODES };
    float values[COUNT];
    struct fixture f;
    if (!begin(s, &f, "quantize(type=%s,ties,scale=%g)", type_name(s), (double)scale))
        return;
    for (int i = 0; i < COUNT; i++) {
        float middle = ((float)(i / 3 - CODES / 2) + 0.5f) * scale;
        values[i] = i % 3 == 0 ? middle : nextafterf(middle, i % 3 == 1 ? -INFINITY : INFINITY);
    }
    sdg_value x = input(&f, "x", 1, 3, 4, COUNT / 12, NORMAL_DATA);
    set_input(&f, values);
    const float pair[] = {scale, 0};
    const float *written = last_input(&f);
    finish_with_pairs(&f, x, intervals(&f, "interval", 1, pair), written, pair, -128, 127);
}

// With the interval of x itself, computed by the operation before: scale 2, since x reaches from -256 to 100.
static void check_measured(struct suite *s)
{
    enum { COUNT = 3 * 3 * 5 };
    float values[COUNT], expected[COUNT];
    struct fixture f;
    if (!begin(s, &f, "quantize(type=%s,measured)", type_name(s)))
        return;
    for (int i = 0; i < COUNT; i++) {
        values[i] = i == 7 ? -256 : i == 20 ? 100 : (float)(i * 37 % 200 - 99);
        expected[i] = rintf(values[i] * 0.5f);
    }
    sdg_value x = input(&f, "x", 1, 3, 3, 5, NORMAL_DATA);
    set_input(&f, values);
    f.codes.lowest = -128;
    f.codes.highest = 127;
    sdg_value interval = sdg_graph_measure_interval(f.graph, "measure", x, -128, 127);
    finish_expected(&f, sdg_graph_quantize(f.graph, "quantize", x, interval, -128, 127), 0, expected, 0);
}

void check_quantize(struct suite *s)
{
    if (s->bench) {
        check(s, 2, 64, 64, 320, -128, 127, NORMAL);
        return;
    }
    check(s, 1, 1, 1, 1, -128, 127, NORMAL);
    check(s, 2, 7, 5, 31, -128, 127, NORMAL);
    check(s, 2, 7, 5, 33, -128, 127, EDGE);
    check(s, 1, 3, 3, 3, -8, 7, NORMAL);
    check(s, 1, 5, 3, 2, -2, 1, NORMAL);
    check(s, 2, 4, 4, 5, 0, 255, NORMAL);
    check(s, 3, 9, 4, 64, 0, 255, EDGE);
    check(s, 1, 1, 77, 3, 0, 15, NORMAL);
    for (int smooth = 0; smooth < 2; smooth++) {
        check_tokens(s, 1, 2, 1, 1, -128, 127, NORMAL, smooth);
        check_tokens(s, 2, 7, 5, 31, -128, 127, NORMAL, smooth);
        check_tokens(s, 2, 3, 5, 33, 0, 255, EDGE, smooth);
        check_tokens(s, 1, 1, 77, 3, 0, 15, NORMAL, smooth);
        check_tokens(s, 3, 4, 4, 64, -8, 7, NORMAL, smooth);
    }
    check_known(s, true);
    check_known(s, false);
    check_ties(s, 0.37f);
    check_ties(s, 0.0123f);
    check_ties(s, 0.1f);
    check_ties(s, 3);
    check_measured(s);
}
