// The cpu backend's own kernels as plain functions on ranges, compiled once per instruction set. They know no threads, graph or program:
// fast.c divides the work. Storage is f32, or bf16 where `half` is set; arithmetic is f32. A range's result does not depend on how the
// rest was divided.
#ifndef SDG_BACKEND_CPU_FAST_KERNELS_H
#define SDG_BACKEND_CPU_FAST_KERNELS_H

#include "graph/graph.h"

// softmax(scale q k^T) v for all samples and heads, a tile of queries at a time against blocks of keys, with a running maximum and sum.
// Keys and values are packed first (pack), per sample and head, to what the products read: f32, or with `pairs` bf16 with two
// neighbours (channels of a key; keys of a value) in each 4 bytes.
struct sdg_fast_attention {
    const void *q, *k, *v;     // [samples, tokens, heads * d]
    void *out;                 // [samples, queries, heads * dv]
    int64_t samples, heads, queries, keys, d, dv;
    float scale;
    bool causal;               // query i sees keys 0..i
    bool half, pairs;          // pairs only if the kernels have them, and half
    float *packed_k, *packed_v;
};

// Group norm of x's channels followed by x2's, over samples of `pixels` positions.
struct sdg_fast_group_norm {
    const void *x[2];          // x[1] unused if channels[1] is 0
    int64_t channels[2], pixels;
    void *out;                 // [samples, pixels, channels[0] + channels[1]]
    int groups;
    bool half, silu;
};

struct sdg_fast_kernels {
    const char *name;          // "avx512_bf16"
    bool pairs;                // has products of bf16 pairs
    int64_t tile;              // width of a product: queries of attention, output channels of conv2d and linear

    // f32, f16 or bf16 at any alignment -> f32 or, if `half`, bf16.
    void (*convert)(const void *from, enum sdg_dtype type, void *to, bool half, int64_t count);
    void (*unary)(enum sdg_unary function, float a, float b, const void *x, void *out, bool half, int64_t begin, int64_t end);
    // out[i] = x[i] op y[i] for i in [0, count)
    void (*binary)(enum sdg_binary function, const void *x, const void *y, void *out, bool half, int64_t count);
    // Rows [begin, end): out[row][c] = x[row][c] * gelu_erf(x[row][channels + c])
    void (*geglu)(const void *x, void *out, bool half, int64_t channels, int64_t begin, int64_t end);
    void (*layer_norm)(const void *x, const float *gamma, const float *beta, float eps, void *out, bool half, int64_t channels, int64_t begin, int64_t end);

    // Mean and sum of squared differences from it, per group, of pixels [begin, end) of one sample: stats[2 g], stats[2 g + 1].
    // work: 2 floats per channel.
    void (*group_norm_stats)(const struct sdg_fast_group_norm *op, int64_t sample, int64_t begin, int64_t end, float *work, float *stats);
    // Normalises them: (x - mean) * scale + shift, per channel.
    void (*group_norm_apply)(const struct sdg_fast_group_norm *op, int64_t sample, int64_t begin, int64_t end, const float *mean, const float *scale, const float *shift);

    // sums[rows][tile] += sum over k < depth of x[r * stride + k] * weights[k][tile], where x and weights are f32 or (`pairs`) two bf16 in 4 bytes.
    void (*weighted_sums)(const void *x, int64_t stride, int64_t rows, const float *weights, int64_t depth, bool pairs, float *sums);
    // out[c] = activation(sums[c] + bias[c] + table[c] + residual[c]) for c < count <= tile; bias, table, residual may be NULL.
    void (*epilogue)(const float *sums, const float *bias, const float *table, const void *residual, enum sdg_unary activation, void *out, bool half, int64_t count);

    // Floats of packed_k, packed_v per sample and head; work space of one tile.
    void (*attention_sizes)(const struct sdg_fast_attention *op, size_t *k, size_t *v, size_t *work);
    void (*attention_pack)(const struct sdg_fast_attention *op, int64_t sample, int64_t head);
    void (*attention_tile)(const struct sdg_fast_attention *op, int64_t sample, int64_t head, int64_t first_query, float *work);
};

// level 0: generic, 1: AVX2, 2: AVX-512, 3: AVX-512 with bf16 (tests try them all), NULL if this processor does not run it; -1: the best
// that it runs, never NULL.
const struct sdg_fast_kernels *sdg_fast_kernels_get(int level);

#endif
