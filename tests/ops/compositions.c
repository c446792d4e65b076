// What the fusion rewrite relies on, computed here from the parts: an operation with an epilogue, a joined input or a
// weight slice is what the separate operations give. The reference is checked by these, not only by layers from
// elsewhere.
#include "tests/ops/check.h"

#include <math.h>
#include <stdlib.h>

static double activate(enum sdg_unary function, double x)
{
    switch (function) {
    case SDG_UNARY_SILU: return x / (1 + exp(-x));
    case SDG_UNARY_GELU_ERF: return x * erfc(-x / sqrt(2)) / 2;
    case SDG_UNARY_GELU_TANH: return x / (1 + exp(-2 * sqrt(2 / acos(-1)) * (x + 0.044715 * pow(x, 3))));
    case SDG_UNARY_QUICK_GELU: return x / (1 + exp(-1.702 * x));
    case SDG_UNARY_RELU: return fmax(x, 0);
    case SDG_UNARY_TANH: return 1 - 2 / (exp(2 * x) + 1);
    case SDG_UNARY_SIGMOID: return 1 / (1 + exp(-x));
    case SDG_UNARY_SOFTPLUS: return x > 40 ? x : log(1 + exp(x));
    case SDG_UNARY_AFFINE: return -0.75 * x + 2.5;
    case SDG_UNARY_EXP: return exp(x);
    case SDG_UNARY_SQRT: return sqrt(x);
    case SDG_UNARY_RECIPROCAL: return 1 / x;
    case SDG_UNARY_NONE: break;
    }
    return x;
}

static double bound(const struct suite *s)
{
    return s->type == SDG_F32 ? 1e-10 : s->type == SDG_F16 ? 1e-6 : 4e-5;
}

static const float *values(const struct fixture *f, int i)
{
    return f->input[i].values;
}

// conv or linear with everything: the sum over inputs written out, padding by leaving out what is outside.
static void check_epilogue(struct suite *s, bool conv, enum sdg_unary activation)
{
    enum { N = 2, H = 3, W = 5, IN = 6, OUT = 7, ROWS = 3, ROW = 2 };
    struct fixture f;
    if (!begin(s, &f, "compositions(type=%s,%s with bias, table, residual, act=%d)", type_name(s),
               conv ? "conv2d" : "linear", activation))
        return;
    int taps = conv ? 3 : 1, reach = taps / 2;
    sdg_value x = input(&f, "x", N, H, W, IN, NORMAL_DATA), residual = input(&f, "residual", N, H, W, OUT, NORMAL_DATA);
    const float *data = values(&f, f.inputs - 2), *add = values(&f, f.inputs - 1);
    sdg_value rows = table(&f, "table", ROWS, N, OUT), bias = vector_weight(&f, OUT, 1, 0);
    sdg_value weight = conv ? conv_weight(&f, OUT, IN, 3, 3) : linear_weight(&f, OUT, IN);
    const float *row = values(&f, f.inputs - 1) + ROW * N * OUT, *b = f.weight[0].data, *w = f.weight[1].data;
    float expected[N * H * W * OUT];
    for (int i = 0; i < N * H * W * OUT; i++) {
        int o = i % OUT, column = i / OUT % W, line = i / (OUT * W) % H, n = i / (OUT * W * H);
        double sum = (double)b[o] + row[n * OUT + o] + add[i];
        for (int k = 0; k < IN * taps * taps; k++) {
            int y = line + k / taps % taps - reach, z = column + k % taps - reach;
            if (y >= 0 && y < H && z >= 0 && z < W)
                sum += (double)w[o * IN * taps * taps + k] * data[((n * H + y) * W + z) * IN + k / (taps * taps)];
        }
        expected[i] = (float)activate(activation, sum);
    }
    struct sdg_epilogue end = {.bias = bias, .table = rows, .residual = residual, .activation = activation};
    struct sdg_conv_params same = {.stride = 1, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1};
    sdg_value y = conv ? sdg_graph_conv2d(f.graph, "conv", x, weight, same, end)
                       : sdg_graph_linear(f.graph, "linear", x, weight, end);
    finish_expected(&f, y, ROW, expected, bound(s));
}

// conv(concat(x, y)) as two convs over slices of one weight, the second adding the first: a fused skip connection.
static void check_split_conv(struct suite *s)
{
    enum { H = 5, W = 3, X = 5, Y = 4, OUT = 6, IN = X + Y };
    struct fixture f;
    if (!begin(s, &f, "compositions(type=%s,conv2d over a concat as a sum of two)", type_name(s)))
        return;
    sdg_value x = input(&f, "x", 1, H, W, X, NORMAL_DATA), y = input(&f, "y", 1, H, W, Y, NORMAL_DATA);
    const float *a = values(&f, f.inputs - 2), *b = values(&f, f.inputs - 1);
    sdg_value weight = conv_weight(&f, OUT, IN, 1, 1);
    const float *w = f.weight[0].data;
    float expected[H * W * OUT];
    for (int i = 0; i < H * W * OUT; i++) {
        double sum = 0;
        for (int c = 0; c < IN; c++)
            sum += (double)w[i % OUT * IN + c] * (c < X ? a[i / OUT * X + c] : b[i / OUT * Y + c - X]);
        expected[i] = (float)sum;
    }
    struct sdg_conv_params one = {.stride = 1};
    sdg_value first = sdg_graph_conv2d(f.graph, "first", x, sdg_graph_weight_slice(f.graph, weight, 0, X), one,
                                       (struct sdg_epilogue){0});
    struct sdg_epilogue add = {.residual = first};
    finish_expected(&f, sdg_graph_conv2d(f.graph, "second", y, sdg_graph_weight_slice(f.graph, weight, X, Y), one, add),
                    0, expected, bound(s));
}

// A norm over two inputs whose second of three groups has channels of both.
static void check_joined_norm(struct suite *s)
{
    enum { T = 6, X = 7, Y = 5, GROUPS = 3, C = X + Y, G = C / GROUPS };
    struct fixture f;
    if (!begin(s, &f, "compositions(type=%s,group_norm of two inputs)", type_name(s)))
        return;
    sdg_value x = input(&f, "x", 1, 2, 3, X, NORMAL_DATA), y = input(&f, "y", 1, 2, 3, Y, (struct data){NORMAL, 3, 1});
    const float *a = values(&f, f.inputs - 2), *b = values(&f, f.inputs - 1);
    sdg_value gamma = vector_weight(&f, C, 0.3f, 1), beta = vector_weight(&f, C, 0.3f, 0);
    float expected[T * C];
    for (int g = 0; g < GROUPS; g++) {
        double sum = 0, square = 0;
        for (int i = 0; i < T * G; i++) {
            int c = g * G + i % G;
            double v = c < X ? a[i / G * X + c] : b[i / G * Y + c - X];
            sum += v;
            square += v * v;
        }
        double mean = sum / (T * G), deviation = sqrt(square / (T * G) - mean * mean + 1e-5);
        for (int i = 0; i < T * G; i++) {
            int c = g * G + i % G;
            double v = c < X ? a[i / G * X + c] : b[i / G * Y + c - X];
            expected[i / G * C + c] = (float)((v - mean) / deviation * ((const float *)f.weight[0].data)[c] +
                                              ((const float *)f.weight[1].data)[c]);
        }
    }
    sdg_value z = sdg_graph_group_norm(f.graph, "norm", sdg_graph_concat(f.graph, "joined", x, y), gamma, beta, GROUPS,
                                       1e-5f, SDG_UNARY_NONE);
    if (sdg_graph_check(f.graph) == SDG_OK) {
        f.graph->ops[f.graph->op_count - 1].in[0] = x;
        f.graph->ops[f.graph->op_count - 1].in[3] = y;
    }
    finish_expected(&f, z, 0, expected, bound(s));
}

// Heads of another depth in v than in q and k, each query by itself.
static void check_heads(struct suite *s, bool causal)
{
    enum { N = 2, Q = 5, HEADS = 3, D = 2, DV = 4, MOST_KEYS = 9 };
    struct fixture f;
    if (!begin(s, &f, "compositions(type=%s,attention with another depth of v, causal=%d)", type_name(s), causal))
        return;
    int keys = causal ? Q : MOST_KEYS;
    sdg_value q = input(&f, "q", N, 1, Q, HEADS * D, NORMAL_DATA),
              k = input(&f, "k", N, 1, keys, HEADS * D, NORMAL_DATA);
    sdg_value v = input(&f, "v", N, 1, keys, HEADS * DV, NORMAL_DATA);
    const float *qs = values(&f, f.inputs - 3), *ks = values(&f, f.inputs - 2), *vs = values(&f, f.inputs - 1);
    float expected[N * Q * HEADS * DV];
    for (int i = 0; i < N * Q * HEADS * DV; i++) {
        int head = i / DV % HEADS, query = i / (DV * HEADS) % Q, n = i / (DV * HEADS * Q),
            last = causal ? query + 1 : keys;
        double weights = 0, sum = 0;
        for (int j = 0; j < last; j++) {
            double score = 0;
            for (int c = 0; c < D; c++)
                score +=
                    (double)qs[((n * Q + query) * HEADS + head) * D + c] * ks[((n * keys + j) * HEADS + head) * D + c];
            weights += exp(0.7f * score);
            sum += exp(0.7f * score) * vs[((n * keys + j) * HEADS + head) * DV + i % DV];
        }
        expected[i] = (float)(sum / weights);
    }
    finish_expected(&f, sdg_graph_attention(f.graph, "attention", q, k, v, HEADS, 0.7f, causal), 0, expected, bound(s));
}

// Variance near eps: another eps shows.
static void check_layer_norm_eps(struct suite *s, float eps)
{
    enum { T = 5, C = 6 };
    struct fixture f;
    if (!begin(s, &f, "compositions(type=%s,layer_norm near eps %g)", type_name(s), eps))
        return;
    sdg_value x = input(&f, "x", 1, 1, T, C, (struct data){NORMAL, sqrtf(eps), 0}),
              gamma = vector_weight(&f, C, 0.3f, 1), beta = vector_weight(&f, C, 0.3f, 0);
    const float *a = values(&f, f.inputs - 1);
    float expected[T * C];
    for (int i = 0; i < T * C; i++) {
        double mean = 0, square = 0;
        for (int c = 0; c < C; c++) {
            mean += (double)a[i / C * C + c] / C;
            square += (double)a[i / C * C + c] * a[i / C * C + c] / C;
        }
        expected[i] =
            (float)((a[i] - mean) / sqrt(square - mean * mean + eps) * ((const float *)f.weight[0].data)[i % C] +
                    ((const float *)f.weight[1].data)[i % C]);
    }
    finish_expected(&f, sdg_graph_layer_norm(f.graph, "norm", x, gamma, beta, eps), 0, expected, bound(s));
}

// All functions on a range where a wrong constant shows.
static void check_functions(struct suite *s, enum sdg_unary function)
{
    enum { COUNT = 81 };
    struct fixture f;
    if (!begin(s, &f, "compositions(type=%s,unary function %d)", type_name(s), function))
        return;
    f.pointwise = true;
    float x[COUNT], expected[COUNT];
    for (int i = 0; i < COUNT; i++)
        x[i] = (float)(i - COUNT / 2) * 0.25f; // exact in every type
    x[0] = -1000;                              // where an exponential overflows
    x[COUNT - 1] = 1000;
    for (int i = 0; i < COUNT && function > SDG_UNARY_AFFINE; i++) // what all types hold, of x and result
        x[i] = (float)(i + 1) * 0.125f;
    sdg_value in = input(&f, "x", 1, 1, 27, 3, NORMAL_DATA);
    set_input(&f, x);
    for (int i = 0; i < COUNT; i++)
        expected[i] = (float)activate(function, x[i]);
    sdg_value y = function == SDG_UNARY_AFFINE ? sdg_graph_affine(f.graph, "unary", in, -0.75f, 2.5f)
                                               : sdg_graph_unary(f.graph, "unary", in, function);
    finish_expected(&f, y, 0, expected, bound(s));
}

// Moving and pairing elements: where each goes is written out.
static void check_moves(struct suite *s, int kind)
{
    enum { N = 2, H = 3, W = 2, X = 5, Y = 3, MOST = N * (H + 2) * (W + 3) * (X + Y) };
    static const char *const names[] = {"concat", "slice", "upsample_nearest", "binary", "geglu"};
    struct fixture f;
    if (!begin(s, &f, "compositions(type=%s,%s)", type_name(s), names[kind]))
        return;
    float expected[MOST];
    sdg_value x = input(&f, "x", N, H, W, kind == 4 ? 2 * X : X, NORMAL_DATA), y = 0, z = 0;
    const float *a = values(&f, f.inputs - 1), *b = NULL;
    if (kind == 0 || kind == 3) {
        y = kind == 0 ? input(&f, "y", N, H, W, Y, NORMAL_DATA) : input(&f, "y", N, 1, 1, X, NORMAL_DATA);
        b = values(&f, f.inputs - 1);
    }
    for (int p = 0; p < N * H * W; p++)
        for (int c = 0; c < X + Y; c++) {
            if (kind == 0)
                expected[p * (X + Y) + c] = c < X ? a[p * X + c] : b[p * Y + c - X];
            else if (kind == 1 && c < 2)
                expected[p * 2 + c] = a[p * X + 3 + c];
            else if (kind == 3 && c < X)
                expected[p * X + c] = a[p * X + c] * b[p / (H * W) * X + c];
            else if (kind == 4 && c < X)
                expected[p * X + c] = (float)(a[p * 2 * X + c] * activate(SDG_UNARY_GELU_ERF, a[p * 2 * X + X + c]));
        }
    // Rows 0 0 1 1 2 of three, columns 0 0 0 1 1 of two.
    static const int line[] = {0, 0, 1, 1, 2}, column[] = {0, 0, 0, 1, 1};
    for (int i = 0; i < N * 5 * 5 * X && kind == 2; i++)
        expected[i] = a[((i / (25 * X) * H + line[i / (5 * X) % 5]) * W + column[i / X % 5]) * X + i % X];
    switch (kind) {
    case 0: z = sdg_graph_concat(f.graph, "concat", x, y); break;
    case 1: z = sdg_graph_slice(f.graph, "slice", x, 3, 2); break;
    case 2: z = sdg_graph_upsample_nearest(f.graph, "upsample", x, 5, 5); break;
    case 3: z = sdg_graph_binary(f.graph, "binary", SDG_BINARY_MUL, x, y); break;
    default: z = sdg_graph_geglu(f.graph, "geglu", x);
    }
    finish_expected(&f, z, 0, expected, bound(s));
}

static void check_lookup(struct suite *s)
{
    enum { N = 2, T = 5, C = 3, WORDS = 11, PLACES = 7 };
    struct fixture f;
    if (!begin(s, &f, "compositions(type=%s,embed)", type_name(s)))
        return;
    sdg_value words = linear_weight(&f, WORDS, C), places = linear_weight(&f, PLACES, C),
              id = ids(&f, "ids", N, T, WORDS);
    const int32_t *chosen = f.input[f.inputs - 1].values;
    float expected[N * T * C];
    for (int i = 0; i < N * T * C; i++)
        expected[i] = ((const float *)f.weight[0].data)[chosen[i / C] * C + i % C] +
            ((const float *)f.weight[1].data)[i / C % T * C + i % C];
    finish_expected(&f, sdg_graph_embed(f.graph, "embed", id, words, places), 0, expected, bound(s));
}

void check_compositions(struct suite *s)
{
    for (enum sdg_unary a = SDG_UNARY_NONE; a < SDG_UNARY_AFFINE; a++) {
        check_epilogue(s, true, a);
        check_epilogue(s, false, a);
    }
    for (enum sdg_unary a = SDG_UNARY_SILU; a <= SDG_UNARY_RECIPROCAL; a++)
        check_functions(s, a);
    for (int kind = 0; kind < 5; kind++)
        check_moves(s, kind);
    check_heads(s, false);
    check_heads(s, true);
    check_layer_norm_eps(s, 1e-5f);
    check_layer_norm_eps(s, 1e-3f);
    check_split_conv(s);
    check_joined_norm(s);
    check_lookup(s);
}
