// Codes as the result of float operations, against the float result that the reference computes, rounded here; and
// codes that are moved.
#include "tests/ops/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 2 };

static const float signed_pairs[2 * ROWS] = {0.021f, 0, 0.0371f, 0},
                                    unsigned_pairs[2 * ROWS] = {0.017f, 16, 0.029f, 127},
                                    coarse_pairs[2 * ROWS] = {0.37f, 0, 0.51f, 0};

// Of what finish_codes() is told: codes signed, unsigned or of 4 bits; one interval or one for each token; and those
// two again of smoothed results.
enum { FORMATS = 3, BY_TOKEN = FORMATS, SMOOTHED = 2 * FORMATS, KINDS = 4 * FORMATS };

// The same scales and zero points, up to twice as coarse and a little higher from token to token.
static float *make_token_pairs(const float *pairs, int64_t tokens, bool zero)
{
    float *all = get((size_t)(ROWS * tokens) * 2 * sizeof *all);
    for (int64_t i = 0; i < ROWS * tokens; i++) {
        all[2 * i] = pairs[2 * (i / tokens)] * (1 + 0.125f * (float)(i * 3 % 8));
        all[2 * i + 1] = zero ? pairs[2 * (i / tokens) + 1] + (float)(i * 5 % 17) : 0;
    }
    return all;
}

// The operation's result becomes codes of 8 bits signed or unsigned, or of 4; the same with an interval for each token.
static void finish_codes(struct fixture *f, sdg_value y, int kind, double slack)
{
    const int format = kind % BY_TOKEN;
    const struct sdg_value_info *info = &f->graph->values[y];
    float *own = NULL, *factors = get((size_t)info->dims[3] * sizeof *factors);
    for (int64_t c = 0; c < info->dims[3]; c++)
        factors[c] = 0.6f + 0.037f * (float)(c * 7 % 29);
    f->codes.lowest = format == 0 ? -128 : format == 1 ? 0 : -8;
    f->codes.highest = format == 0 ? 127 : format == 1 ? 255 : 7;
    f->codes.pairs = format == 0 ? signed_pairs : format == 1 ? unsigned_pairs : coarse_pairs;
    f->codes.slack = slack;
    if (kind >= SMOOTHED) {
        f->codes.factors = factors;
        f->codes.smoothing = known_vector(f, info->dims[3], factors);
        info = &f->graph->values[y];
    }
    if (kind % SMOOTHED < BY_TOKEN) {
        f->codes.interval = intervals(f, "interval", ROWS, f->codes.pairs);
    } else {
        f->codes.tokens = info->dims[1] * info->dims[2];
        f->codes.pairs = own = make_token_pairs(f->codes.pairs, f->codes.tokens, format == 1);
        f->codes.interval = token_intervals(f, "interval", ROWS, f->codes.tokens, own);
    }
    finish(f, y);
    free(own);
    free(factors);
}

static void check_group_norm_codes(struct suite *s, int n, int h, int w, int c, int groups, bool silu, int format)
{
    struct fixture f;
    if (!begin(s, &f, "codes(type=%s,group_norm,n=%d,h=%d,w=%d,c=%d,groups=%d,silu=%d,format=%d)", type_name(s), n, h,
               w, c, groups, silu, format))
        return;
    sdg_value x = input(&f, "x", n, h, w, c, (struct data){NORMAL, 2, 1}), gamma = vector_weight(&f, c, 0.3f, 1),
              beta = vector_weight(&f, c, 0.3f, 0.2f);
    finish_codes(
        &f,
        sdg_graph_group_norm(f.graph, "norm", x, gamma, beta, groups, 1e-5f, silu ? SDG_UNARY_SILU : SDG_UNARY_NONE),
        format, CODE_SLACK);
}

static void check_layer_norm_codes(struct suite *s, int n, int tokens, int c, int format)
{
    struct fixture f;
    if (!begin(s, &f, "codes(type=%s,layer_norm,n=%d,tokens=%d,c=%d,format=%d)", type_name(s), n, tokens, c, format))
        return;
    sdg_value x = input(&f, "x", n, 1, tokens, c, (struct data){NORMAL, 2, 1}), gamma = vector_weight(&f, c, 0.3f, 1),
              beta = vector_weight(&f, c, 0.3f, 0.2f);
    finish_codes(&f, sdg_graph_layer_norm(f.graph, "norm", x, gamma, beta, 1e-5f), format, CODE_SLACK);
}

static void check_geglu_codes(struct suite *s, int n, int tokens, int c, int format)
{
    struct fixture f;
    if (!begin(s, &f, "codes(type=%s,geglu,n=%d,tokens=%d,c=%d,format=%d)", type_name(s), n, tokens, c, format))
        return;
    sdg_value x = input(&f, "x", n, 1, tokens, 2 * c, NORMAL_DATA);
    finish_codes(&f, sdg_graph_geglu(f.graph, "geglu", x), format, CODE_SLACK);
}

// A linear layer of random integer weights that reads unsigned codes of x.
static sdg_value integer_layer(struct fixture *f, sdg_value x, int64_t out, int bits, bool by_token)
{
    const struct sdg_value_info *info = &f->graph->values[x];
    const int64_t in = info->dims[3], tokens = by_token ? info->dims[1] * info->dims[2] : 1;
    const int limit = bits == 4 ? 8 : 128;
    float *pairs = make_token_pairs(unsigned_pairs, tokens, true), *scales = get((size_t)out * sizeof *scales);
    int8_t *codes = get((size_t)(out * in));
    for (int64_t i = 0; i < out * in; i++)
        codes[i] = (int8_t)((int)(uniform(&f->random) * 2 * limit) - limit);
    for (int64_t i = 0; i < out; i++)
        scales[i] = (float)(0.5 + uniform(&f->random)) / ((float)limit * sqrtf((float)in));
    const sdg_value interval = token_intervals(f, "input interval", ROWS, tokens, pairs),
                    read = sdg_graph_quantize(f->graph, "codes", x, interval, 0, 255),
                    weight = integer_weight(f, 2, (int64_t[4]){out, in, 1, 1}, bits, codes),
                    scale = known_vector(f, out, scales);
    const struct sdg_epilogue end = {.bias = vector_weight(f, out, 0.5f, 0)};
    const sdg_value y = sdg_graph_linear(f->graph, "linear", x, weight, end);
    if (sdg_graph_check(f->graph) == SDG_OK)
        sdg_graph_use_codes(f->graph, f->graph->op_count - 1, read, interval, scale, bits);
    free(pairs);
    free(scales);
    free(codes);
    return y;
}

// Apart, value and gate are rounded to the storage type before they are multiplied: of 255 codes 2^-10, 2^-7 for bf16.
static double gated_slack(const struct suite *s)
{
    return s->type == SDG_F32 ? CODE_SLACK : s->type == SDG_F16 ? 0.25 : 2;
}

// Of a product whose epilogue it becomes; bits: of integer weights that read codes, an interval for each token or one,
// 0: floats.
static void check_gated_codes(struct suite *s, int n, int tokens, int in, int c, int bits, bool by_token, int format)
{
    struct fixture f;
    if (!begin(s, &f, "codes(type=%s,gated,n=%d,tokens=%d,in=%d,c=%d,bits=%d,by_token=%d,format=%d)", type_name(s), n,
               tokens, in, c, bits, by_token, format))
        return;
    const sdg_value x = input(&f, "x", n, 1, tokens, in, NORMAL_DATA),
                    product = bits ? integer_layer(&f, x, 2 * c, bits, by_token)
                                   : sdg_graph_linear(f.graph, "linear", x, linear_weight(&f, 2 * c, in),
                                                      (struct sdg_epilogue){.bias = vector_weight(&f, 2 * c, 0.5f, 0)}),
                    y = sdg_graph_geglu(f.graph, "geglu", product);
    if (format < 0)
        finish(&f, y);
    else
        finish_codes(&f, y, format, gated_slack(s));
}

static void check_hadamard_codes(struct suite *s, int n, int tokens, int c, int block, int format)
{
    struct fixture f;
    if (!begin(s, &f, "codes(type=%s,hadamard,n=%d,tokens=%d,c=%d,block=%d,format=%d)", type_name(s), n, tokens, c,
               block, format))
        return;
    finish_codes(&f, sdg_graph_hadamard(f.graph, "hadamard", input(&f, "x", n, 1, tokens, c, NORMAL_DATA), block),
                 format, CODE_SLACK);
}

static void check_conv1d_codes(struct suite *s, int n, int tokens, int c, bool backward, int format)
{
    struct fixture f;
    if (!begin(s, &f, "codes(type=%s,conv1d_causal,n=%d,tokens=%d,c=%d,backward=%d,format=%d)", type_name(s), n, tokens,
               c, backward, format))
        return;
    const sdg_value x = input(&f, "x", n, 1, tokens, c + 3, NORMAL_DATA), weight = conv1d_weight(&f, c, 4),
                    bias = vector_weight(&f, c, 0.3f, 0.1f);
    finish_codes(&f, sdg_graph_conv1d_causal(f.graph, "conv1d", x, 2, weight, bias, SDG_UNARY_SILU, backward), format,
                 CODE_SLACK);
}

static void check_scan_codes(struct suite *s, int n, int tokens, int c, int states, bool backward, int format)
{
    struct fixture f;
    if (!begin(s, &f, "codes(type=%s,selective_scan,n=%d,tokens=%d,c=%d,states=%d,backward=%d,format=%d)", type_name(s),
               n, tokens, c, states, backward, format))
        return;
    const struct sdg_scan_operands in = {
        .x = input(&f, "x", n, 1, tokens, c, NORMAL_DATA),
        .delta = input(&f, "delta", n, 1, tokens, c, (struct data){NORMAL, 1, 0}),
        .bc = input(&f, "bc", n, 1, tokens, 2 * states, NORMAL_DATA),
        .a_log = matrix_weight(&f, c, states, (struct data){NORMAL, 1, 1}),
        .d = vector_weight(&f, c, 0.3f, 1),
        .delta_bias = vector_weight(&f, c, 1, -3),
        .gate = input(&f, "gate", n, 1, tokens, c, NORMAL_DATA),
    };
    const struct sdg_scan_params params = {.c_start = states, .scale = 1, .backward = backward};
    finish_codes(&f, sdg_graph_selective_scan(f.graph, "scan", in, params), format, CODE_SLACK);
}

// Kernels round probabilities to the type they compute in before the product with v; what else is said about such
// products in check.c.
static double attention_slack(const struct suite *s)
{
    return s->type == SDG_F32 ? CODE_SLACK : s->type == SDG_F16 ? 0.1 : 0.8; // of 127 codes: 2^-10, 2^-7
}

static void check_attention_codes(struct suite *s, int n, int queries, int keys, int heads, int depth, int format)
{
    struct fixture f;
    if (!begin(s, &f, "codes(type=%s,attention,n=%d,queries=%d,keys=%d,heads=%d,depth=%d,format=%d)", type_name(s), n,
               queries, keys, heads, depth, format))
        return;
    sdg_value q = input(&f, "q", n, 1, queries, heads * depth, NORMAL_DATA),
              k = input(&f, "k", n, 1, keys, heads * depth, NORMAL_DATA);
    sdg_value v = input(&f, "v", n, 1, keys, heads * depth, NORMAL_DATA);
    finish_codes(&f, sdg_graph_attention(f.graph, "attention", q, k, v, heads, (float)(1 / sqrt(depth)), false), format,
                 attention_slack(s));
}

// Where processors multiply f16 they add up some products in it (backend/cpu/fast/matrix_kernel.h): that is off by 6e-4
// of the result on average and by four times as much at most among some thousand, which is 0.2 of 80 codes.
static double product_slack(const struct suite *s)
{
    return s->type == SDG_F16 && strcmp(s->name, "cpu") == 0 ? 0.2 : CODE_SLACK;
}

static void check_products(struct suite *s, int format)
{
    struct fixture f;
    if (begin(s, &f, "codes(type=%s,conv2d,format=%d)", type_name(s), format)) {
        struct sdg_epilogue end = {.bias = vector_weight(&f, 33, 0.5f, 0),
                                   .residual = input(&f, "residual", 2, 5, 7, 33, NORMAL_DATA)};
        sdg_value x = input(&f, "x", 2, 5, 7, 9, NORMAL_DATA), weight = conv_weight(&f, 33, 9, 3, 3);
        struct sdg_conv_params params = {.stride = 1, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1};
        finish_codes(&f, sdg_graph_conv2d(f.graph, "conv", x, weight, params, end), format, product_slack(s));
    }
    if (begin(s, &f, "codes(type=%s,linear,format=%d)", type_name(s), format)) {
        struct sdg_epilogue end = {.bias = vector_weight(&f, 31, 0.5f, 0),
                                   .table = table(&f, "table", ROWS, 2, 31),
                                   .activation = SDG_UNARY_SILU};
        sdg_value x = input(&f, "x", 2, 1, 9, 40, NORMAL_DATA), weight = linear_weight(&f, 31, 40);
        finish_codes(&f, sdg_graph_linear(f.graph, "linear", x, weight, end), format, product_slack(s));
    }
}

// With the interval of another value, measured while running.
static void check_measured(struct suite *s, int lowest, int highest)
{
    struct fixture f;
    if (!begin(s, &f, "codes(type=%s,measured,codes=%d..%d)", type_name(s), lowest, highest))
        return;
    // reaches -64 and 31: scale 0.5, or one made for SiLU
    sdg_value other = input(&f, "other", 1, 1, 1, 2, NORMAL_DATA);
    set_input(&f, (const float[]){-64, 31});
    const float scale = (float)((31 + 0.2785) / highest),
                pairs[2] = {lowest ? 0.5f : scale, lowest ? 0 : rintf((float)(0.2785 / scale))};
    sdg_value interval = sdg_graph_measure_interval(f.graph, "measure", other, lowest, highest);
    sdg_value x = input(&f, "x", 2, 1, 6, 20, (struct data){NORMAL, 20, 0}), gamma = vector_weight(&f, 20, 10, 20),
              beta = vector_weight(&f, 20, 3, 0);
    f.codes.lowest = lowest;
    f.codes.highest = highest;
    f.codes.pairs = pairs;
    f.codes.slack = CODE_SLACK;
    f.codes.interval = interval;
    finish(&f, sdg_graph_layer_norm(f.graph, "norm", x, gamma, beta, 1e-5f));
}

// x holds codes as numbers; they are what comes out, at other places.
static void check_moves(struct suite *s, int lowest, int highest)
{
    enum { N = 2, H = 3, W = 5, C = 7, H2 = 7, W2 = 10, START = 2, LENGTH = 3 };
    float values[N * H * W * C], enlarged[N * H2 * W2 * C], part[N * H * W * LENGTH];
    for (int i = 0; i < N * H * W * C; i++)
        values[i] = (float)(lowest + i * 37 % (highest - lowest + 1));
    for (int i = 0; i < N * H2 * W2 * C; i++)
        enlarged[i] =
            values[((i / (H2 * W2 * C) * H + i / (W2 * C) % H2 * H / H2) * W + i / C % W2 * W / W2) * C + i % C];
    for (int i = 0; i < N * H * W * LENGTH; i++)
        part[i] = values[i / LENGTH * C + START + i % LENGTH];
    for (int move = 0; move < 2; move++) {
        struct fixture f;
        if (!begin(s, &f, "codes(type=%s,%s,codes=%d..%d)", type_name(s), move ? "slice" : "upsample_nearest", lowest,
                   highest))
            continue;
        sdg_value x = input(&f, "x", N, H, W, C, NORMAL_DATA);
        set_input(&f, values);
        sdg_value codes = sdg_graph_quantize(f.graph, "quantize", x,
                                             intervals(&f, "interval", 1, (const float[]){1, 0}), lowest, highest);
        f.codes.lowest = lowest;
        f.codes.highest = highest;
        sdg_value y = move ? sdg_graph_slice(f.graph, "slice", codes, START, LENGTH)
                           : sdg_graph_upsample_nearest(f.graph, "upsample", codes, H2, W2);
        finish_expected(&f, y, 0, move ? part : enlarged, 0);
    }
}

static void bench(struct suite *s)
{
    check_group_norm_codes(s, 2, 64, 64, 320, 32, true, 1);
    check_layer_norm_codes(s, 2, 4096, 320, 0);
    check_geglu_codes(s, 2, 4096, 1280, 0);
    check_attention_codes(s, 2, 4096, 4096, 8, 40, 0);
}

void check_codes(struct suite *s)
{
    if (s->bench) {
        bench(s);
        return;
    }
    for (int format = 0; format < SMOOTHED; format++)
        check_products(s, format);
    for (int format = 0; format <= SMOOTHED; format++) { // smoothed ones stay apart
        check_gated_codes(s, 1, 35, 31, 34, 0, false, format);
        check_gated_codes(s, 2, 9, 40, 64, 0, false, format);
        check_gated_codes(s, 1, 1, 5, 2, 8, false, format);
        check_gated_codes(s, 2, 35, 36, 34, 8, format % 2, format);
        check_gated_codes(s, 1, 70, 64, 96, 4, format % 2, format);
    }
    for (int bits = 4; bits <= 8; bits += 4) { // floats of integers
        check_gated_codes(s, 1, 1, 5, 2, bits, false, -1);
        check_gated_codes(s, 2, 35, 31, 34, bits, true, -1);
        check_gated_codes(s, 1, 9, 64, 66, bits, false, -1);
        check_gated_codes(s, 1, 130, 40, 160, bits, false, -1);
        check_gated_codes(s, 3, 7, 36, 3, bits, false, -1); // an odd number of channels stays apart
    }
    for (int format = 0; format < KINDS; format++) {
        check_group_norm_codes(s, 2, 5, 7, 32, 32, true, format);
        check_group_norm_codes(s, 1, 8, 9, 33, 11, false, format);
        check_group_norm_codes(s, 2, 3, 3, 320, 32, true, format);
        check_group_norm_codes(s, 1, 41, 35, 12, 12, true, format); // long enough for chunks
        check_group_norm_codes(s, 2, 11, 13, 33, 11, false, format);
        check_layer_norm_codes(s, 2, 9, 33, format);
        check_layer_norm_codes(s, 1, 13, 64, format);
        check_geglu_codes(s, 2, 7, 31, format);
        check_geglu_codes(s, 1, 35, 64, format);
        check_attention_codes(s, 2, 256, 77, 5, 32, format); // tiles of many queries and keys
        check_attention_codes(s, 2, 9, 11, 3, 16, format);
        check_attention_codes(s, 1, 33, 77, 2, 40, format);
        check_hadamard_codes(s, 2, 5, 24, 8, format);
        check_hadamard_codes(s, 1, 3, 640, 128, format);
        check_conv1d_codes(s, 2, 9, 31, false, format);
        check_conv1d_codes(s, 1, 70, 20, true, format);
        check_conv1d_codes(s, 2, 9, 33, format >= BY_TOKEN, format);
        check_scan_codes(s, 2, 9, 31, 5, true, format);
        check_scan_codes(s, 1, 70, 12, 16, false, format);
        check_scan_codes(s, 2, 150, 9, 3, true, format);
        check_scan_codes(s, 2, 35, 21, 5, format < BY_TOKEN, format);
    }
    check_measured(s, -128, 127);
    check_measured(s, 0, 255);
    check_moves(s, -128, 127);
    check_moves(s, 0, 255);
}
