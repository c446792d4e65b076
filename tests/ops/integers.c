// conv2d and linear on integers, against sums written out here in 64 bits.
//
// Where scales are powers of two and the epilogue is empty, the f32 result is the exact sum times a power of two as
// long as the sum has at most 24 bits: compared for equality. Larger sums have to be the exact one rounded, give or
// take one unit in the last place.
#include "tests/ops/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum content {
    ANY,     // codes and weights over their whole range
    EXTREME, // all codes the highest, all weights the lowest: what saturates in 16 bits
    HEAVY,   // codes and weights near those: sums of more than 24 bits
};

struct layer {
    int n, h, w, in, out, kernel, stride;
    int pad[4];             // top, left, bottom, right
    int lowest, highest;    // of the input's codes
    int zero;               // point of row 0; the other rows have others where codes are unsigned
    int bits;               // of the weights
    int slice_start, whole; // of the weight's input axis; whole 0: no slice
    // epilogue as in conv2d.c: b bias, t table (T one row for all), r residual; x: no epilogue, exact result
    const char *end;
    enum sdg_unary activation;
    enum content content;
    int emitted;                    // 0: floats out, else highest code of the result: 127 is -128..127, 255 is 0..255
    bool in_by_token, out_by_token; // an interval for each token
    int upsample;                   // conv2d: 0, or how often a pixel of what is quantized is repeated to make h x w
};
enum { ROWS = 3 };

struct made {
    float *pairs, *out_pairs; // [ROWS, in_tokens, 2], [ROWS, out_tokens, 2]
    int64_t in_tokens, out_tokens;
    const float *x, *bias, *table, *residual;
    float *scales;   // of weights, [out]
    int8_t *weights; // [out, whole or in, kernel, kernel]
    int64_t oh, ow;
};

static int random_code(uint64_t *state, int lowest, int highest)
{
    return lowest + (int)(uniform(state) * (highest - lowest + 1));
}

static bool is_exact(const struct layer *l)
{
    return l->end[0] == 'x';
}

// How many neighbours along h and w are the same.
static int repeated(const struct layer *l)
{
    return l->upsample ? l->upsample : 1;
}

static int whole_inputs(const struct layer *l)
{
    return l->whole ? l->whole : l->in;
}

// Row 0 has scale 1, where x is a difference of code and zero point; coarser ones after it, and other tokens', make
// other codes of the same x.
static void make_pairs(const struct layer *l, struct made *m)
{
    m->in_tokens = l->in_by_token ? l->h * l->w : 1;
    m->out_tokens = l->out_by_token ? m->oh * m->ow : 1;
    m->pairs = get((size_t)(ROWS * m->in_tokens) * 2 * sizeof *m->pairs);
    m->out_pairs = get((size_t)(ROWS * m->out_tokens) * 2 * sizeof *m->out_pairs);
    for (int64_t i = 0; i < ROWS * m->in_tokens; i++) {
        const int r = (int)(i / m->in_tokens), t = (int)(i % m->in_tokens);
        m->pairs[2 * i] = is_exact(l) ? ldexpf(1, r + t % 3) : 1 + 0.37f * (float)r + 0.21f * (float)(t % 5);
        m->pairs[2 * i + 1] = l->lowest < 0 ? 0 : (float)((l->zero + 77 * r + 31 * t) % (l->highest + 1));
    }
    for (int64_t i = 0; i < ROWS * m->out_tokens; i++) {
        const int r = (int)(i / m->out_tokens), t = (int)(i % m->out_tokens);
        m->out_pairs[2 * i] = 0.011f * (float)(r + 1) * (1 + 0.125f * (float)(t % 7));
        m->out_pairs[2 * i + 1] = l->emitted == 255 ? (float)(100 * r + t % 19) : 0;
    }
}

static float *make_x(struct fixture *f, const struct layer *l)
{
    size_t count = (size_t)l->n * (l->h / repeated(l)) * (l->w / repeated(l)) * l->in;
    float *x = get(count * sizeof *x);
    for (size_t i = 0; i < count; i++) {
        int code = l->content == EXTREME
            ? l->highest
            : random_code(&f->random, l->content == HEAVY ? l->highest - 40 : l->lowest, l->highest);
        x[i] = (float)(code - l->zero);
    }
    return x;
}

static void make_weights(struct fixture *f, const struct layer *l, struct made *m)
{
    int lowest = l->bits == 4 ? -8 : -128, highest = -lowest - 1;
    size_t count = (size_t)l->out * whole_inputs(l) * l->kernel * l->kernel;
    m->weights = get(count);
    for (size_t i = 0; i < count; i++)
        m->weights[i] = (int8_t)(l->content == EXTREME
                                     ? lowest
                                     : random_code(&f->random, lowest, l->content == HEAVY ? lowest / 2 : highest));
    m->scales = get((size_t)l->out * sizeof *m->scales);
    for (int o = 0; o < l->out; o++) // results of the size of 1, so that epilogues matter and f16 holds them
        m->scales[o] = is_exact(l) ? ldexpf(1, -14 - o % 3)
                                   : (float)(0.5 + uniform(&f->random)) /
                ((float)-lowest * 60 * sqrtf((float)(l->in * l->kernel * l->kernel)));
}

static struct sdg_epilogue make_epilogue(struct fixture *f, const struct layer *l, struct made *m)
{
    struct sdg_epilogue end = {.activation = l->activation};
    for (const char *c = l->end; *c; c++) {
        if (*c == 'b') {
            end.bias = vector_weight(f, l->out, 0.5f, 0);
            m->bias = f->weight[f->weights - 1].data;
        } else if (*c == 't' || *c == 'T') {
            end.table = table(f, "table", ROWS, *c == 't' ? l->n : 1, l->out);
            m->table = last_input(f);
        } else if (*c == 'r') {
            end.residual = input(f, "residual", l->n, m->oh, m->ow, l->out, NORMAL_DATA);
            m->residual = last_input(f);
        }
    }
    return end;
}

// ---- what it should be ----

static int code_at(const struct layer *l, const struct made *m, const float *pair, int64_t n, int64_t y, int64_t x,
                   int c)
{
    const int times = repeated(l), h = l->h / times, w = l->w / times;
    float code = rintf(m->x[((n * h + y / times) * w + x / times) * l->in + c] * (1.0f / pair[0])) + pair[1];
    return (int)fminf(fmaxf(code, (float)l->lowest), (float)l->highest);
}

static int64_t sum_at(const struct layer *l, const struct made *m, const float *pair, int64_t n, int64_t oy, int64_t ox,
                      int o)
{
    int64_t sum = 0;
    for (int ky = 0; ky < l->kernel; ky++)
        for (int kx = 0; kx < l->kernel; kx++) {
            int64_t y = oy * l->stride - l->pad[0] + ky, x = ox * l->stride - l->pad[1] + kx;
            if (y < 0 || y >= l->h || x < 0 || x >= l->w)
                continue;
            for (int c = 0; c < l->in; c++) {
                int weight = m->weights[((o * whole_inputs(l) + l->slice_start + c) * l->kernel + ky) * l->kernel + kx];
                sum += (int64_t)(code_at(l, m, pair, n, y, x, c) - (int)pair[1]) * weight;
            }
        }
    return sum;
}

static double activated(enum sdg_unary function, double x)
{
    return function == SDG_UNARY_SILU ? x / (1 + exp(-x)) : function == SDG_UNARY_RELU ? fmax(x, 0) : x;
}

static float *expect(const struct layer *l, const struct made *m, int row, const char *end)
{
    float *expected = get((size_t)(l->n * m->oh * m->ow * l->out) * sizeof *expected), *to = expected;
    bool per_sample = false;
    for (const char *c = end; *c; c++)
        per_sample = per_sample || *c == 't';
    for (int64_t n = 0; n < l->n; n++)
        for (int64_t p = 0; p < m->oh * m->ow; p++)
            for (int o = 0; o < l->out; o++, to++) {
                const float *pair = m->pairs + 2 * (row * m->in_tokens + p % m->in_tokens),
                            *out_pair = m->out_pairs + 2 * (row * m->out_tokens + p % m->out_tokens);
                double y = (double)sum_at(l, m, pair, n, p / m->ow, p % m->ow, o) * pair[0] * m->scales[o];
                y += m->bias ? m->bias[o] : 0;
                y += m->table ? m->table[(per_sample ? row * l->n + n : row) * l->out + o] : 0;
                y += m->residual ? m->residual[to - expected] : 0;
                y = activated(l->activation, y);
                *to = (float)(l->emitted ? y / out_pair[0] + out_pair[1] : y);
            }
    return expected;
}

// ---- cases ----

// Whether codes are in memory, whatever a backend could make its product load: half of all cases.
static bool is_separate(const struct layer *l)
{
    return (l->in + l->out + l->zero / 3 + l->bits / 4 + l->lowest / 128) % 2;
}

static sdg_value build(struct fixture *f, const struct layer *l, struct made *m, bool linear, bool measured,
                       bool separate)
{
    make_pairs(l, m);
    float *values = make_x(f, l);
    if (measured) // the smallest code is there, the scale that reaches it is that of row 0
        values[0] = (float)l->lowest;
    sdg_value x = input(f, "x", l->n, l->h / repeated(l), l->w / repeated(l), l->in, NORMAL_DATA);
    set_input(f, values); // differences of codes: exact in every type
    free(values);
    m->x = last_input(f);
    make_weights(f, l, m);
    sdg_value interval = measured ? sdg_graph_measure_interval(f->graph, "measure", x, l->lowest, l->highest)
                                  : token_intervals(f, "interval", ROWS, m->in_tokens, m->pairs);
    sdg_value codes = sdg_graph_quantize(f->graph, "codes", x, interval, l->lowest, l->highest);
    if (separate) // whoever reads them, they are there
        sdg_graph_output(f->graph, "quantized", codes);
    if (l->upsample) {
        x = sdg_graph_upsample_nearest(f->graph, "large", x, l->h, l->w);
        codes = sdg_graph_upsample_nearest(f->graph, "large codes", codes, l->h, l->w);
    }
    const int64_t dims[4] = {l->out, whole_inputs(l), l->kernel, l->kernel};
    sdg_value weight = integer_weight(f, linear ? 2 : 4, dims, l->bits, m->weights),
              scale = known_vector(f, l->out, m->scales);
    if (l->whole)
        weight = sdg_graph_weight_slice(f->graph, weight, l->slice_start, l->in);
    struct sdg_epilogue end = make_epilogue(f, l, m);
    struct sdg_conv_params params = {.stride = l->stride,
                                     .pad_top = l->pad[0],
                                     .pad_left = l->pad[1],
                                     .pad_bottom = l->pad[2],
                                     .pad_right = l->pad[3]};
    sdg_value y = linear ? sdg_graph_linear(f->graph, "integers", x, weight, end)
                         : sdg_graph_conv2d(f->graph, "integers", x, weight, params, end);
    sdg_value out_interval = l->emitted ? token_intervals(f, "out", ROWS, m->out_tokens, m->out_pairs) : 0;
    if (sdg_graph_check(f->graph) != SDG_OK)
        return 0;
    size_t op = f->graph->op_count - 1;
    sdg_graph_use_codes(f->graph, op, codes, interval, scale, l->bits);
    if (l->emitted) {
        f->codes.lowest = l->emitted == 255 ? 0 : -128;
        f->codes.highest = l->emitted;
        f->codes.slack = CODE_SLACK;
        sdg_graph_emit_codes(f->graph, op, out_interval, f->codes.lowest, f->codes.highest);
    }
    return y;
}

static double largest_error(const struct fixture *f, const struct layer *l)
{
    if (!is_exact(l) || f->suite->type != SDG_F32)
        return type_bound(f->suite);
    return l->content == HEAVY ? 0x1p-46 : 0; // NMSE of one unit in the last place of each
}

// 0: as few as a tile of few rows or columns takes, and so on; for the edges of tiles.
static int64_t size_class(int64_t size)
{
    return size <= 8 ? 0 : size <= 32 ? 1 : size <= 64 ? 2 : 3;
}

// What makes a kernel another one, or takes another way through it; sizes only among each other.
static bool is_wanted(struct suite *s, const struct layer *l, const struct made *m, bool linear, bool measured)
{
    const int64_t rows = l->n * m->oh * m->ow, depth = l->kernel * l->kernel * ((l->in + 3) / 4);
    // what emits codes and adds no residual touches no floats: the same kernel for every type
    const int64_t type = l->emitted && !strchr(l->end, 'r') ? SDG_F32 : s->type;
    int64_t end = strchr(l->end, 't') && l->n > 1; // a table row for each sample is another if there is one sample
    for (const char *c = l->end; *c; c++)
        end = 256 * end + *c;
    const int64_t form = rows <= 8 ? 0 : l->out <= 8 ? 1 : rows < 1000 ? 2 : 3; // of tiles
    const int64_t choices[] = {
        linear,
        type,
        l->bits,
        256 * l->lowest + l->highest,
        l->zero == 0                ? 0
            : l->zero == l->highest ? 1
                                    : 2,
        end,
        l->activation,
        l->emitted,
        (l->in_by_token && l->h * l->w > 1) + 2 * (l->out_by_token && m->oh * m->ow > 1),
        form,
        10 * l->kernel + l->stride,
        l->pad[0] + 4 * l->pad[1] + 16 * l->pad[2] + 64 * l->pad[3],
        l->in % 4 == 0,
        l->out % 4 == 0,
        l->content,
        measured,
        l->whole ? 1 + l->slice_start % 2 : 0,
        l->upsample,
        is_separate(l),
    };
    const int64_t sizes[] = {type, size_class(rows), size_class(l->out), depth <= 4 ? 0 : depth <= 16 ? 1 : 2};
    enum { CHOICES = sizeof choices / sizeof *choices, SIZES = sizeof sizes / sizeof *sizes };
    const bool choice = adds_pair(s, 0, CHOICES, choices), size = adds_pair(s, CHOICES, SIZES, sizes);
    return choice || size;
}

static void check_layer(struct suite *s, const struct layer *l, bool linear, bool measured)
{
    struct fixture f;
    struct made m = {.oh = (l->h + l->pad[0] + l->pad[2] - l->kernel) / l->stride + 1,
                     .ow = (l->w + l->pad[1] + l->pad[3] - l->kernel) / l->stride + 1};
    if (!begin(s, &f,
               "integers(type=%s,%s,n=%d,h=%d,w=%d,in=%d,out=%d,kernel=%d,stride=%d,pad=%d%d%d%d,codes=%d..%d,zero=%d,"
               "bits=%d,slice=%d/%d,end=%s,act=%d,content=%d,"
               "emitted=%d,measured=%d,tokens=%d%d,upsample=%d)",
               type_name(s), linear ? "linear" : "conv2d", l->n, l->h, l->w, l->in, l->out, l->kernel, l->stride,
               l->pad[0], l->pad[1], l->pad[2], l->pad[3], l->lowest, l->highest, l->zero, l->bits, l->slice_start,
               l->whole, l->end, l->activation, l->content, l->emitted, measured, l->in_by_token, l->out_by_token,
               l->upsample))
        return;
    if (!is_wanted(s, l, &m, linear, measured)) {
        release(&f);
        return;
    }
    sdg_value y = build(&f, l, &m, linear, measured, is_separate(l));
    float *first = NULL, *last = NULL;
    if (!s->bench) {
        first = expect(l, &m, 0, l->end);
        last = expect(l, &m, ROWS - 1, l->end);
    }
    if (is_exact(l) && s->type == SDG_F32 && l->content == HEAVY)
        f.relative = 0x1p-23;
    finish_rows_expected(&f, y, first, last, largest_error(&f, l));
    free(first);
    free(last);
    free(m.pairs);
    free(m.out_pairs);
    free(m.scales);
    free(m.weights);
}

static void check_shapes(struct suite *s)
{
    static const struct {
        int in, out, kernel, stride, pad[4];
    } shapes[] = {
        {1, 1, 1, 1, {0, 0, 0, 0}},   {3, 5, 3, 1, {1, 1, 1, 1}},    {5, 3, 3, 2, {1, 1, 1, 1}},
        {33, 17, 3, 1, {1, 1, 1, 1}}, {33, 33, 1, 1, {0, 0, 0, 0}},  {5, 33, 3, 2, {0, 0, 1, 1}},
        {1, 4, 3, 1, {1, 1, 1, 1}},   {3, 31, 1, 2, {0, 0, 0, 0}},   {64, 48, 3, 1, {1, 1, 1, 1}},
        {32, 65, 3, 2, {0, 0, 1, 1}}, {128, 64, 1, 1, {0, 0, 0, 0}}, {16, 16, 3, 1, {2, 0, 1, 3}},
        {4, 8, 3, 1, {1, 1, 1, 1}},
    };
    static const struct {
        int lowest, highest, zero;
    } ranges[] = {{-128, 127, 0}, {0, 255, 0}, {0, 255, 93}, {0, 255, 255}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int r = 0; r < 4; r++) {
            struct layer l = {.n = 2,
                              .h = 7,
                              .w = 6,
                              .in = shapes[i].in,
                              .out = shapes[i].out,
                              .kernel = shapes[i].kernel,
                              .stride = shapes[i].stride,
                              .lowest = ranges[r].lowest,
                              .highest = ranges[r].highest,
                              .zero = ranges[r].zero,
                              .bits = (i + (size_t)r) % 3 == 1 ? 4 : 8,
                              .end = "x"};
            memcpy(l.pad, shapes[i].pad, sizeof l.pad);
            check_layer(s, &l, false, false);
            l.end = r % 2 ? "btr" : "bT";
            l.bits = 12 - l.bits;
            check_layer(s, &l, false, false);
        }
}

// The large picture's codes are those of the small one; what lies outside of it is no code of the small one's.
static void check_upsampled(struct suite *s)
{
    static const struct {
        int h, w, times, in, out, kernel, stride, pad, zero;
    } shapes[] = {
        {6, 10, 2, 3, 5, 3, 1, 1, 93},   {10, 6, 2, 32, 33, 3, 1, 1, 0}, {9, 6, 3, 33, 17, 3, 2, 1, 255},
        {14, 8, 2, 64, 48, 3, 1, 1, 41}, {2, 2, 2, 16, 16, 3, 1, 2, 7},  {4, 6, 2, 5, 8, 1, 1, 0, 0},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int r = 0; r < 2; r++) {
            const int pad = shapes[i].pad;
            const struct layer l = {.n = 2,
                                    .h = shapes[i].h,
                                    .w = shapes[i].w,
                                    .upsample = shapes[i].times,
                                    .in = shapes[i].in,
                                    .out = shapes[i].out,
                                    .kernel = shapes[i].kernel,
                                    .stride = shapes[i].stride,
                                    .pad = {pad, pad, pad, pad},
                                    .lowest = shapes[i].zero ? 0 : -128,
                                    .highest = shapes[i].zero ? 255 : 127,
                                    .zero = shapes[i].zero,
                                    .bits = i % 2 ? 4 : 8,
                                    .end = r ? "bt" : "x",
                                    .emitted = r * 255};
            check_layer(s, &l, false, false);
        }
}

static void check_linear_shapes(struct suite *s)
{
    static const struct {
        int n, tokens, in, out;
    } shapes[] = {
        {1, 1, 1, 1},   {2, 5, 3, 7},    {1, 77, 5, 33},  {2, 9, 33, 31},   {2, 16, 64, 64},
        {1, 3, 600, 5}, {2, 4, 129, 65}, {3, 1, 320, 16}, {1, 130, 48, 24},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int r = 0; r < 3; r++) {
            struct layer l = {.n = shapes[i].n,
                              .h = 1,
                              .w = shapes[i].tokens,
                              .in = shapes[i].in,
                              .out = shapes[i].out,
                              .kernel = 1,
                              .stride = 1,
                              .lowest = r ? 0 : -128,
                              .highest = r ? 255 : 127,
                              .zero = r == 1 ? 41
                                  : r == 2   ? 255
                                             : 0,
                              .bits = (i + (size_t)r) % 3 == 2 ? 4 : 8,
                              .end = "x"};
            check_layer(s, &l, true, false);
            l.end = r == 1 ? "btr" : r ? "r" : "b";
            l.bits = 12 - l.bits;
            check_layer(s, &l, true, false);
        }
}

// Sums as long as the longest of a large network. All highest codes times all lowest weights give 255 * K * 2^7: 24
// bits after all.
static void check_large_sums(struct suite *s)
{
    for (int content = EXTREME; content <= HEAVY; content++)
        for (int bits = 4; bits <= 8; bits += 4)
            for (int r = 0; r < 4; r++) {
                struct layer l = {.n = 1,
                                  .h = 3,
                                  .w = 2,
                                  .in = 512,
                                  .out = 18,
                                  .kernel = 3,
                                  .stride = 1,
                                  .pad = {1, 1, 1, 1},
                                  .lowest = r ? 0 : -128,
                                  .highest = r ? 255 : 127,
                                  .zero = r == 2 ? 255
                                      : r == 3   ? 128
                                                 : 0,
                                  .bits = bits,
                                  .end = "x",
                                  .content = (enum content)content};
                check_layer(s, &l, false, false);
                l = (struct layer){.n = 1,
                                   .h = 1,
                                   .w = 5,
                                   .in = 4608,
                                   .out = 34,
                                   .kernel = 1,
                                   .stride = 1,
                                   .lowest = l.lowest,
                                   .highest = l.highest,
                                   .zero = l.zero,
                                   .bits = bits,
                                   .end = "x",
                                   .content = (enum content)content};
                check_layer(s, &l, true, false);
            }
}

// Halves of a split input, also where a row of packed weights or the half itself starts in the middle of a byte.
static void check_slices(struct suite *s)
{
    static const struct {
        int start, in, whole, kernel;
    } slices[] = {{0, 5, 12, 3}, {5, 7, 12, 3}, {3, 4, 7, 1}, {32, 32, 64, 3}, {1, 1, 3, 3}, {64, 33, 97, 1}};
    for (size_t i = 0; i < sizeof slices / sizeof *slices; i++)
        for (int bits = 4; bits <= 8; bits += 4) {
            struct layer l = {.n = 1,
                              .h = 5,
                              .w = 4,
                              .in = slices[i].in,
                              .out = 9,
                              .kernel = slices[i].kernel,
                              .stride = 1,
                              .lowest = 0,
                              .highest = 255,
                              .zero = 20,
                              .bits = bits,
                              .slice_start = slices[i].start,
                              .whole = slices[i].whole,
                              .end = "x"};
            for (int k = 0; k < 4; k++)
                l.pad[k] = l.kernel / 2;
            check_layer(s, &l, false, false);
            if (l.kernel == 1)
                check_layer(s, &l, true, false);
        }
}

// Codes in and codes out, activations, codes of fewer bits, an interval measured at run time.
static void check_ends(struct suite *s)
{
    const struct layer base = {.n = 2,
                               .h = 5,
                               .w = 7,
                               .in = 24,
                               .out = 33,
                               .kernel = 3,
                               .stride = 1,
                               .pad = {1, 1, 1, 1},
                               .lowest = -128,
                               .highest = 127,
                               .bits = 8,
                               .end = "b"};
    for (int linear = 0; linear < 2; linear++) {
        struct layer l = base;
        if (linear) {
            l.kernel = 1;
            memset(l.pad, 0, sizeof l.pad);
        }
        for (int i = 0; i < 3; i++)
            for (int k = 0; k < 3; k++) {
                l.emitted = i == 0 ? 0 : i == 1 ? 127 : 255;
                l.end = k == 0 ? "" : k == 1 ? "b" : "btr";
                l.activation = k == 0 ? SDG_UNARY_RELU : k == 1 ? SDG_UNARY_SILU : SDG_UNARY_NONE;
                check_layer(s, &l, linear, false);
            }
        l.emitted = 0;
        l.activation = SDG_UNARY_NONE;
        for (int highest = 1; highest < 127; highest = 2 * highest + 1) {
            l.end = "x";
            l.lowest = -highest - 1;
            l.highest = highest;
            check_layer(s, &l, linear, false);
        }
        l.lowest = 0;
        l.highest = 15;
        l.zero = 4;
        check_layer(s, &l, linear, false);
        l.lowest = -128;
        l.highest = 127;
        l.zero = 0;
        l.end = "x";
        check_layer(s, &l, linear, true);
    }
}

// An interval for each token of what a linear layer or a 1x1 convolution reads, and of codes that any of them emits.
// Few numbers of tokens, since each is another kernel on Vulkan: one, two, odd ones, many.
static void check_tokens(struct suite *s)
{
    static const struct {
        int n, h, w, in, out, kernel;
    } shapes[] = {
        {2, 1, 1, 17, 9, 1},    {1, 1, 17, 40, 33, 1},  {2, 5, 13, 36, 65, 1}, {1, 13, 5, 129, 7, 1},
        {1, 64, 64, 12, 19, 1}, {1, 1, 2, 1, 1, 1},     {2, 1, 17, 33, 31, 1}, {1, 5, 13, 5, 33, 1},
        {2, 13, 5, 64, 65, 1},  {3, 17, 1, 130, 16, 1}, {2, 5, 13, 24, 33, 3},
    };
    static const struct { int lowest, highest, zero; } ranges[] = {{-128, 127, 0}, {0, 255, 93}, {-8, 7, 0}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int r = 0; r < 3; r++)
            for (int linear = 0; linear < (shapes[i].kernel == 1 ? 2 : 1); linear++) {
                struct layer l = {.n = shapes[i].n,
                                  .h = shapes[i].h,
                                  .w = shapes[i].w,
                                  .in = shapes[i].in,
                                  .out = shapes[i].out,
                                  .kernel = shapes[i].kernel,
                                  .stride = 1,
                                  .lowest = ranges[r].lowest,
                                  .highest = ranges[r].highest,
                                  .zero = ranges[r].zero,
                                  .bits = (i + (size_t)r) % 3 == 1 ? 4 : 8,
                                  .end = "x",
                                  .in_by_token = shapes[i].kernel == 1};
                if (l.in_by_token)
                    check_layer(s, &l, linear, false);
                for (int k = 0; k < 4; k++)
                    l.pad[k] = l.kernel / 2;
                l.end = r == 1 ? "btr" : r ? "bT" : "b";
                l.activation = r == 1 ? SDG_UNARY_SILU : SDG_UNARY_NONE;
                l.bits = 12 - l.bits;
                l.emitted = r == 1 ? 255 : 127;
                l.out_by_token = true;
                check_layer(s, &l, linear, false);
                l.in_by_token = false;
                check_layer(s, &l, linear, false);
            }
}

static void bench(struct suite *s)
{
    static const struct {
        int size, in, out, kernel, stride;
    } convs[] = {
        {64, 320, 320, 3, 1}, {32, 640, 640, 3, 1}, {16, 1280, 1280, 3, 1}, {8, 1280, 1280, 3, 1},
        {64, 320, 320, 3, 2}, {64, 640, 320, 1, 1}, {16, 64, 64, 3, 1},
    };
    static const struct {
        int tokens, in, out;
    } linears[] = {{4096, 320, 320}, {4096, 320, 2560}, {4096, 1280, 320}, {1024, 640, 640}, {256, 1280, 1280}};
    for (size_t i = 0; i < sizeof convs / sizeof *convs; i++)
        for (int r = 0; r < 2; r++) {
            int pad = convs[i].kernel / 2;
            struct layer l = {.n = 2,
                              .h = convs[i].size,
                              .w = convs[i].size,
                              .in = convs[i].in,
                              .out = convs[i].out,
                              .kernel = convs[i].kernel,
                              .stride = convs[i].stride,
                              .pad = {pad, pad, pad, pad},
                              .lowest = r ? 0 : -128,
                              .highest = r ? 255 : 127,
                              .zero = r ? 10 : 0,
                              .bits = 8,
                              .end = "btr"};
            check_layer(s, &l, false, false);
        }
    for (size_t i = 0; i < 2 * sizeof linears / sizeof *linears; i++) {
        struct layer l = {.n = 2,
                          .h = 1,
                          .w = linears[i / 2].tokens,
                          .in = linears[i / 2].in,
                          .out = linears[i / 2].out,
                          .kernel = 1,
                          .stride = 1,
                          .lowest = -128,
                          .highest = 127,
                          .bits = 8,
                          .end = "br",
                          .in_by_token = i % 2};
        check_layer(s, &l, true, false);
    }
}

void check_integers(struct suite *s)
{
    if (s->bench) {
        bench(s);
        return;
    }
    check_shapes(s);
    check_upsampled(s);
    check_linear_shapes(s);
    check_large_sums(s);
    check_slices(s);
    check_ends(s);
    check_tokens(s);
}
