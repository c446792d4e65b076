// The cpu backend's own kernels as plain functions on ranges, compiled once per instruction set. They know no threads,
// graph or program: the files beside divide the work. Storage is f32, or where `half` is set the 16 bits of the table
// (bf16, or f16 in one for nothing else); arithmetic is f32. A range's result does not depend on how the rest was
// divided.
#ifndef SDG_BACKEND_CPU_FAST_KERNELS_H
#define SDG_BACKEND_CPU_FAST_KERNELS_H

#include "graph/graph.h"

// Scales and zero points of a row: those of token t are pairs[t * stride] and the float behind it. Tokens (rows of
// channels) are counted through all samples, modulo `tokens`.
struct sdg_fast_intervals {
    const float *pairs;
    int64_t stride, tokens; // stride 0: one pair for all tokens, which costs what a constant costs
};

// How an operand is stored that may be codes: of these intervals, or else as the other operands are.
struct sdg_fast_source {
    bool codes, is_signed;
    struct sdg_fast_intervals intervals;
};

// How results become codes: clip(rint(y / scale), lowest - zero, highest - zero) + zero.
struct sdg_fast_codes {
    struct sdg_fast_intervals intervals;
    float inverse; // of the scale, where there is one for all tokens
    float lowest, highest;
    const float *smoothing; // y is multiplied by its channel's before, unless NULL
};

// softmax(scale q k^T) v for all samples and heads, a tile of queries at a time against blocks of keys, with a running
// maximum and sum. Keys and values are packed first (pack), per sample and head, to what the products read: f32, or
// with `pairs` bf16 with two neighbours (channels of a key; keys of a value) in each 4 bytes.
struct sdg_fast_attention {
    const void *q, *k, *v; // [samples, tokens, heads * d]
    void *out;             // [samples, queries, heads * dv], in codes where attention_tile is given some
    int64_t samples, heads, queries, keys, d, dv;
    float scale;
    bool causal;      // query i sees keys 0..i
    bool half, pairs; // pairs only if the kernels have them, and half
    float *packed_k, *packed_v;
};

// Group norm of x's channels followed by x2's, over samples of `pixels` positions.
struct sdg_fast_group_norm {
    const void *x[2]; // x[1] unused if channels[1] is 0
    int64_t channels[2], pixels;
    // [samples, pixels, channels[0] + channels[1]], in codes where group_norm_apply is given some
    void *out;
    int groups;
    bool half, silu;
};

// Each channel's tokens with the ones before them, or, backward, after them (graph.h, conv1d_causal).
struct sdg_fast_conv1d {
    const void *x;              // [samples, tokens, x_channels], of which it reads [start, start + channels)
    const float *weight, *bias; // [kernel, channels]; [channels] or NULL
    void *out;                  // [samples, tokens, channels], in codes where it is given some
    int64_t tokens, channels, x_channels, start;
    int kernel;
    bool silu, backward, half;
    struct sdg_fast_source source; // of x
};

// Mamba's scan (graph.h, selective_scan). A channel is a lane; a tile of tokens is worked off with some states at a
// time, which stay in registers.
struct sdg_fast_scan {
    const void *x, *delta, *bc, *gate, *add; // [samples, tokens, channels] or their own; gate and add may be NULL
    // A log2(e), [states, stride]: -1e30 to 0, 0 for channels behind the last one. stride is a multiple of 16.
    const float *decay;
    const float *d, *delta_bias; // [channels]; the bias may be NULL
    void *out;                   // [samples, tokens, channels], in codes where it is given some
    int64_t tokens, channels, states, stride, bc_channels, gate_channels;
    struct sdg_scan_params params;
    bool half;
    struct sdg_fast_source x_source, delta_source, gate_source;
};
enum { SDG_FAST_SCAN_TILE = 16 }; // tokens
// Floats of work space for `channels` channels at once: their states; B and C, delta, delta x and y of a tile.
static inline size_t sdg_fast_scan_work(int64_t states, int64_t channels)
{
    enum { WIDEST = 16 };
    return (size_t)(states * (channels + WIDEST) + SDG_FAST_SCAN_TILE * (2 * states + 3 * WIDEST));
}

// What products multiply, in units of 4 bytes: f32; two bf16; two integers of 16 bits with two of 8 bits. Of 2 bytes:
// f16. Codes are multiplied as they are stored, in units of the kernels' own, by code_sums.
enum sdg_fast_numbers { SDG_FAST_FLOATS, SDG_FAST_PAIRS, SDG_FAST_HALVES, SDG_FAST_INTEGERS, SDG_FAST_CODES };

// sums[rows][tile] += sum over k < depth * unit of (x[r * stride + k] - zero of the row) * weights[k / unit][tile][k %
// unit], exactly.
struct sdg_fast_code_product {
    const uint8_t *x;
    bool is_signed;
    int64_t stride, rows, depth; // bytes; rows; units
    const int8_t *weights;
    bool nibbles; // the weights as unpack4 takes them; depth * unit * tile is a multiple of SDG_FAST_NIBBLES
    const int32_t *weight_sums; // [tile]: sums over k of the weights
    const struct sdg_fast_intervals *intervals;
    int64_t token, token_step; // of row 0, and from row to row
    int32_t *sums;
};

// What follows a product: out[c] = activation(scale * scales[c] * (sums[c] - zero * weight_sums[c]) + bias[c] +
// table[c]
// + residual[c]). scales, bias, table and residual may be NULL.
struct sdg_fast_epilogue {
    bool integers; // sums are s32
    float scale;   // of the token; not used without scales
    int32_t zero;  // point of the token, with weight_sums; integers may have these, unless NULL
    const int32_t *weight_sums;
    const float *scales, *bias, *table;
    const void *residual;
    enum sdg_unary activation;
    bool half; // storage of residual, and of out unless codes is not NULL
    const struct sdg_fast_codes *codes;
    int64_t token; // that the result belongs to
};

// fake_quantize of rows of channels, and its gradients; f32.
struct sdg_fast_fake_quantize {
    const float *x, *grad;
    float *out;
    struct sdg_fast_intervals intervals;
    float lowest, highest;
    int64_t channels;
};

// The gradient of a scan with respect to all operands that have tokens, as sdg_graph_selective_scan_gradient lays them
// out; f32. delta_bias, gate and add may be NULL.
struct sdg_fast_scan_gradient {
    const float *x, *delta, *bc, *a_log, *d, *delta_bias, *gate, *add, *grad;
    float *out;
    int64_t tokens, channels, states, bc_channels, gate_channels, out_channels;
    struct sdg_scan_params params;
};

enum { SDG_FAST_NIBBLES = 128 }; // codes that are packed together

struct sdg_fast_kernels {
    const char *name; // "avx512bf16": of what was selected, NULL in the rows themselves (sets.h)
    // How numbers of 16 bits are multiplied: PAIRS, HALVES (then `half` below is f16, and f32 is not for these
    // kernels), or FLOATS if they are not.
    enum sdg_fast_numbers halves;
    int64_t tile; // width of a product: queries of attention, output channels of conv2d and linear
    int64_t unit; // codes that code_sums takes together; 0: there is no code_sums, integers are widened

    // f32, f16, bf16 or s8 at any alignment -> f32 or, if `half`, 16 bits.
    void (*convert)(const void *from, enum sdg_dtype type, void *to, bool half, int64_t count);
    void (*unary)(enum sdg_unary function, float a, float b, const void *x, void *out, bool half, int64_t begin,
                  int64_t end);
    // out[i] = x[i] op y[i] for i in [0, count)
    void (*binary)(enum sdg_binary function, const void *x, const void *y, void *out, bool half, int64_t count);
    // Below, `half` says how x is stored, and out as well unless `codes` is not NULL. Rows are tokens.
    void (*quantize)(const void *x, uint8_t *out, bool half, const struct sdg_fast_codes *codes, int64_t channels,
                     int64_t begin, int64_t end);
    // Smallest and largest of x[begin..end) and 0; NaN is neither.
    void (*extremes)(const void *x, bool half, int64_t begin, int64_t end, float *smallest, float *largest);
    // Rows [begin, end): out[row][c] = x[row][c] * gelu_erf(x[row][channels + c])
    void (*geglu)(const void *x, void *out, bool half, const struct sdg_fast_codes *codes, int64_t channels,
                  int64_t begin, int64_t end);
    // Rows [begin, end): each `block` of the row's channels times the orthonormal Hadamard matrix; work: `channels`
    // floats.
    void (*hadamard)(const void *x, void *out, bool half, const struct sdg_fast_codes *codes, int64_t block,
                     int64_t channels, int64_t begin, int64_t end, float *work);
    void (*layer_norm)(const void *x, const float *gamma, const float *beta, float eps, void *out, bool half,
                       const struct sdg_fast_codes *codes, int64_t channels, int64_t begin, int64_t end);

    // Mean and sum of squared differences from it, per group, of pixels [begin, end) of one sample: stats[2 g], stats[2
    // g + 1]. work: 2 floats per channel.
    void (*group_norm_stats)(const struct sdg_fast_group_norm *op, int64_t sample, int64_t begin, int64_t end,
                             float *work, float *stats);
    // Normalises them: (x - mean) * scale + shift, per channel.
    void (*group_norm_apply)(const struct sdg_fast_group_norm *op, int64_t sample, int64_t begin, int64_t end,
                             const float *mean, const float *scale, const float *shift,
                             const struct sdg_fast_codes *codes);

    // Positions [begin, end), counted through all samples.
    void (*conv1d)(const struct sdg_fast_conv1d *op, const struct sdg_fast_codes *codes, int64_t begin, int64_t end);
    // Channels [begin, end) of one sample. work: sdg_fast_scan_work floats.
    void (*scan)(const struct sdg_fast_scan *op, const struct sdg_fast_codes *codes, int64_t sample, int64_t begin,
                 int64_t end, float *work);

    // out[i] = grad[i] * function'(x[i]) for i in [begin, end)
    void (*unary_gradient)(enum sdg_unary function, const float *x, const float *grad, float *out, int64_t begin,
                           int64_t end);
    // Rows [begin, end): the values of the codes; grad where x is inside, else 0.
    void (*fake_quantize)(const struct sdg_fast_fake_quantize *op, int64_t begin, int64_t end);
    void (*fake_quantize_gradient)(const struct sdg_fast_fake_quantize *op, int64_t begin, int64_t end);
    // A row's part in the gradient of its scale.
    double (*fake_quantize_scale)(const struct sdg_fast_fake_quantize *op, int64_t row);
    // One sample. work: scan_gradient_work floats.
    void (*scan_gradient)(const struct sdg_fast_scan_gradient *op, int64_t sample, float *work);
    size_t (*scan_gradient_work)(int64_t tokens, int64_t states);

    // What sdg_backend_peaks measures, so many rounds of it; how many operations these were, a multiply-add being two.
    double (*multiply_adds)(int64_t rounds);
    double (*exponentials)(int64_t rounds);

    // Of each SDG_FAST_NIBBLES codes -8..7 the first half are in the low halves of the bytes, the second half in the
    // high halves. codes is 64-byte aligned; they go past the caches where that is possible and `far` is set.
    void (*unpack4)(const uint8_t *packed, int8_t *codes, int64_t count, bool far);

    // Pixels [begin, end) of codes as pairs of 16 bits, less their zero point: out[pixel][(channels + 1) / 2 * 2], an
    // odd one's neighbour 0.
    void (*widen)(const uint8_t *codes, bool sign, const struct sdg_fast_intervals *intervals, int64_t channels,
                  int16_t *out, int64_t begin, int64_t end);
    // sums[rows][tile] += sum over k < depth of x[r * stride + k] * weights[k][tile], in units of `numbers`; sums are
    // f32 or s32.
    void (*weighted_sums)(const void *x, int64_t stride, int64_t rows, const void *weights, int64_t depth,
                          enum sdg_fast_numbers numbers, void *sums);
    // The same of floats x[r * stride + k * step].
    void (*strided_sums)(const float *x, int64_t stride, int64_t step, int64_t rows, const float *weights,
                         int64_t depth, float *sums);
    // Elements [0, count); sums are readable in whole vectors.
    void (*epilogue)(const struct sdg_fast_epilogue *e, const float *sums, void *out, int64_t count);

    // Floats of packed_k, packed_v per sample and head; work space of one tile.
    void (*attention_sizes)(const struct sdg_fast_attention *op, size_t *k, size_t *v, size_t *work);
    void (*attention_pack)(const struct sdg_fast_attention *op, int64_t sample, int64_t head);
    void (*attention_tile)(const struct sdg_fast_attention *op, int64_t sample, int64_t head, int64_t first_query,
                           const struct sdg_fast_codes *codes, float *work);

    void (*code_sums)(const struct sdg_fast_code_product *product);
};

// F(kernel) for each of them but code_sums, which goes with `unit` and which not every processor has.
#define SDG_FAST_EACH_KERNEL(F) \
    F(convert)                  \
    F(unary)                    \
    F(binary)                   \
    F(quantize)                 \
    F(extremes)                 \
    F(geglu)                    \
    F(hadamard)                 \
    F(layer_norm)               \
    F(group_norm_stats)         \
    F(group_norm_apply)         \
    F(conv1d)                   \
    F(scan)                     \
    F(unary_gradient)           \
    F(fake_quantize)            \
    F(fake_quantize_gradient)   \
    F(fake_quantize_scale)      \
    F(scan_gradient)            \
    F(scan_gradient_work)       \
    F(multiply_adds)            \
    F(exponentials)             \
    F(unpack4)                  \
    F(widen)                    \
    F(weighted_sums)            \
    F(strided_sums)             \
    F(epilogue)                 \
    F(attention_sizes)          \
    F(attention_pack)           \
    F(attention_tile)

#endif
