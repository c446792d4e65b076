// A network as a list of operations on values, in SSA form, all shapes known, no device in it.
//
// Activations are channels-last and always have four dimensions [N, H, W, C]; a token sequence is [N, 1, T, C] or
// simply an image whose H*W positions are the tokens, so a transformer block needs no reshape and no transpose:
// `linear` and `layer_norm` act on C, `attention` takes H*W as its sequence.
//
// Integer codes stand for values by an interval: (scale > 0, zero point, an integer), f32. An interval is a value of
// its own: a row table [T, tokens or 1, 1, 2], or measured in the run, an activation [1,1,1,2]. With tokens > 1 each of
// the H*W positions of what is quantized has its own, the same in every sample.
//
// Values are built by the sdg_graph_* functions below, which apply the shape rule of their operation and check it.
// Errors are sticky: after the first failure every call returns value 0 and sdg_graph_check() gives the result, so that
// builders read like the network they describe. A network that cannot be (shapes that do not fit, more than 2^40
// elements, a name given twice) is SDG_ERROR_INPUT, as it comes from a configuration file that contradicts itself; one
// line names operation and shapes.
//
// Names given to the functions below are copied. Thread-safety: a graph is used by one thread at a time while it is
// built or rewritten; afterwards any number may read it. The log that it was created with must outlive it.
#ifndef SDG_GRAPH_GRAPH_H
#define SDG_GRAPH_GRAPH_H

#include "base/dtype.h"
#include "base/log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint32_t sdg_value; // index into graph->values; 0 = none

enum sdg_value_kind {
    SDG_VALUE_NONE,
    SDG_VALUE_ACTIVATION, // result of an operation; lives in the planned arena
    // written by the host before a run; keeps its content between runs (prompt keys and values, latents)
    SDG_VALUE_INPUT,
    SDG_VALUE_WEIGHT, // a named tensor of the model
    // row table [T, N, 1, C] in f32, written once; run(row) reads the slice [N, 1, C]; N is 1 (all samples) or the
    // batch; of intervals 1 (all tokens) or the tokens
    SDG_VALUE_TABLE,
};

struct sdg_value_info {
    enum sdg_value_kind kind;
    // activations, inputs: f32 until sdg_graph_set_type; weights: what the kernel is to see, the file may differ
    enum sdg_dtype dtype;
    // activation [N,H,W,C]; weight: as in the file, unused ones 1: conv [O,I,KH,KW], linear [O,I,1,1], vector
    // [C,1,1,1], conv1d [C,1,K,1]
    int64_t dims[4];
    // weight: tensor name; input, table, output: name given; activation: name of the operation, may be NULL
    char *name;
    int rank;       // weights: rank expected in the file (conv 4, conv1d 3, linear and matrix 2, vector 1)
    bool keeps_f32; // weights: f32 for the kernel whatever the graph's type is; vectors and other small ones
    // weights: this value is channels [slice_start, slice_start + dims[1]) of axis 1 of a tensor
    int64_t slice_start;
    int64_t slice_of; // ... whose axis 1 is slice_of long (0: the whole tensor)
    // weights of type s8: 8, or 4 where the file holds two codes (-8..7) in a byte, which kernels may keep so
    int bits;
    bool output; // marked by sdg_graph_output: must survive the run, so that it can be read
};

enum sdg_op_kind {
#define SDG_OP(name, upper, operands, result) SDG_OP_##upper,
#include "graph/ops.def"
#undef SDG_OP
    SDG_OP_COUNT
};

// What the columns of ops.def mean.
enum sdg_operand {
    SDG_OPERAND_NONE, // of in[] beyond what the operation has
    SDG_OPERAND_ACTIVATION = 'x',
    SDG_OPERAND_IDS = 't',
    SDG_OPERAND_FACTOR = 'w', // weight of a product
    SDG_OPERAND_WEIGHT = 'v', // any other
    SDG_OPERAND_INTERVAL = 'i',
};
enum sdg_op_result { SDG_RESULT_FLOATS, SDG_RESULT_EITHER, SDG_RESULT_CODES, SDG_RESULT_MOVED };

// The longest list of operands, and all activations that one operation may read: those, a residual and the interval of
// its result, and statistics.
union sdg_op_longest {
#define SDG_OP(name, upper, operands, result) char name[sizeof operands - 1];
#include "graph/ops.def"
#undef SDG_OP
};
enum { SDG_OP_MAX_INPUTS = sizeof(union sdg_op_longest), SDG_OP_MAX_READS = SDG_OP_MAX_INPUTS + 3 };

// Unary functions, also usable as an epilogue's activation.
enum sdg_unary {
    SDG_UNARY_NONE, // identity (epilogues only)
    SDG_UNARY_SILU,
    SDG_UNARY_GELU_ERF,
    SDG_UNARY_GELU_TANH,
    SDG_UNARY_QUICK_GELU, // x * sigmoid(1.702 x)
    SDG_UNARY_RELU,
    SDG_UNARY_TANH,
    SDG_UNARY_SIGMOID,
    SDG_UNARY_SOFTPLUS,
    SDG_UNARY_AFFINE, // a * x + b   (attributes a, b)
    // these and affine are no activations of an epilogue
    SDG_UNARY_EXP,
    SDG_UNARY_SQRT,       // of x < 0: NaN
    SDG_UNARY_RECIPROCAL, // 1 / x
};
enum sdg_binary { SDG_BINARY_ADD, SDG_BINARY_MUL };

struct sdg_op {
    enum sdg_op_kind kind;
    sdg_value in[SDG_OP_MAX_INPUTS]; // per kind, see ops.def
    sdg_value out;
    char *name; // module path: "down_blocks.0.resnets.1.conv1"; never NULL
    // Epilogue, conv2d, linear and matmul only: out = activation(acc + bias[c] + table[row][n][c] + residual)
    struct sdg_epilogue {
        sdg_value bias;     // weight [C]
        sdg_value table;    // row table [T, N or 1, 1, C]
        sdg_value residual; // activation or input of out's shape
        enum sdg_unary activation;
        // linear only, with nothing else than a bias: the weight has twice as many outputs as out has channels, and of
        // these y, out[c] = y[c] * gelu_erf(y[C + c])
        bool gated;
    } epilogue;
    // Where `interval` is not 0, out holds integer codes of the result y: clip(rint(y' * (1 / scale)) + zero, lowest,
    // highest), y' = y or, with smoothing, y * smoothing[c], each product rounded to f32, before y is rounded to any
    // storage type; ties to even, NaN as the lowest. Their type is s8 if lowest < 0, else u8.
    struct sdg_output_codes {
        sdg_value interval;  // row table [T, tokens of out or 1, 1, 2] or activation [1,1,1,2]
        int lowest, highest; // -128 <= lowest <= 0 < highest <= 255
        sdg_value smoothing; // weight [C], f32, or 0: the interval is that of y', which the weights that read it expect
    } codes;
    // conv2d and linear, by sdg_graph_fuse_for: what in[0], floats, goes through on its way into the product
    struct sdg_loading {
        sdg_value norm;                // linear of floats: the layer norm of which this value is the statistics, or 0
        struct sdg_output_codes codes; // of integers: in[0] becomes these, of interval in[2]; interval 0: it is codes
    } load;                            // neither: it is multiplied as it is
    union {
        struct {
            int kernel_h, kernel_w, stride, pad_top, pad_left, pad_bottom, pad_right;
            int upsample; // pixel (y, x) of the input is (y / upsample, x / upsample) of in[0]; 1: they are the same
        } conv2d, conv2d_gradient;
        struct {
            int heads;
            float scale;
            bool causal;
        } attention;
        struct {
            int groups;
            float eps;
            enum sdg_unary activation;
        } group_norm; // activation: none or silu
        struct {
            float eps;
            // the result is [1,1,C + tokens,2] in f32, of all samples' tokens: gamma and beta of each channel, then
            // mean and 1 / deviation of each token
            bool statistics;
        } layer_norm;
        struct {
            enum sdg_unary function;
            float a, b;
        } unary;
        struct { enum sdg_binary function; } binary;
        struct { int64_t start; } slice, pad;                            // slice: channels [start, start + out.C)
        struct { int lowest, highest; } fake_quantize, measure_interval; // codes
        struct {
            int64_t start; // of x's channels
            int kernel;
            enum sdg_unary activation; // none or silu
            bool backward;
        } conv1d_causal;
        struct { int64_t block; } hadamard; // a power of two that divides C
        struct sdg_scan_params {
            int64_t b_start, c_start; // of bc's channels: S of B, S of C
            int64_t gate_start;       // of gate's channels
            float scale;              // of the result
            bool backward;
        } selective_scan, selective_scan_gradient;
        struct { bool transpose_a, transpose_b; } matmul;
        struct sdg_axes { bool samples, tokens, channels; } sum;
        // attributes of the operation whose gradient it is, where it needs them
        struct { enum sdg_unary function; } unary_gradient;
        struct {
            int groups;
            float eps;
        } group_norm_gradient;
        struct { float eps; } layer_norm_gradient;
        struct {
            int heads;
            float scale;
            bool causal;
        } attention_gradient;
        struct {
            int64_t start;
            int kernel;
            bool backward;
        } conv1d_causal_gradient;
        struct { int lowest, highest; } fake_quantize_gradient;
    } u;
    // *_gradient: the index of the operand, of the operation named, that the result is the gradient with respect to
    int gradient_of;
};

struct sdg_graph {
    const struct sdg_log *log;
    struct sdg_value_info *values; // [0] is unused
    size_t value_count, value_capacity;
    struct sdg_op *ops; // in execution order
    size_t op_count, op_capacity;
    int64_t rows;           // T of every table; 1 if there is none
    enum sdg_result result; // sticky
};

enum sdg_result sdg_graph_create(const struct sdg_log *log, struct sdg_graph **out);
void sdg_graph_destroy(struct sdg_graph **graph);
// A graph of its own with the same values, operations and names at the same indices; it reports to `log`. The result of
// a failed graph if that is what `from` is.
enum sdg_result sdg_graph_copy(const struct sdg_log *log, const struct sdg_graph *from, struct sdg_graph **out);
// SDG_OK, or the first failure of any call on this graph.
enum sdg_result sdg_graph_check(const struct sdg_graph *graph);

// ---- leaves ----
sdg_value sdg_graph_input(struct sdg_graph *g, const char *name, int64_t n, int64_t h, int64_t w, int64_t c);
sdg_value sdg_graph_input_s32(struct sdg_graph *g, const char *name, int64_t n, int64_t t); // token ids [N,1,T,1]
sdg_value sdg_graph_table(struct sdg_graph *g, const char *name, int64_t rows, int64_t n, int64_t c);
// Row table [T, tokens, 1, 2]; tokens 1: the same interval for all.
sdg_value sdg_graph_interval_table(struct sdg_graph *g, const char *name, int64_t rows, int64_t tokens);
sdg_value sdg_graph_conv_weight(struct sdg_graph *g, int64_t out, int64_t in, int kh, int kw, const char *name, ...)
    SDG_PRINTF(6, 7);
sdg_value sdg_graph_linear_weight(struct sdg_graph *g, int64_t out, int64_t in, const char *name, ...) SDG_PRINTF(4, 5);
sdg_value sdg_graph_vector_weight(struct sdg_graph *g, int64_t n, const char *name, ...) SDG_PRINTF(3, 4);
// For conv1d_causal: [C,1,K] in the file. Stays f32.
sdg_value sdg_graph_conv1d_weight(struct sdg_graph *g, int64_t channels, int kernel, const char *name, ...)
    SDG_PRINTF(4, 5);
// A table of numbers [rows, columns] that no product multiplies by (A_log). Stays f32.
sdg_value sdg_graph_matrix_weight(struct sdg_graph *g, int64_t rows, int64_t columns, const char *name, ...)
    SDG_PRINTF(4, 5);
// Channels [start, start+length) of a conv or linear weight's input axis, as a weight of its own.
sdg_value sdg_graph_weight_slice(struct sdg_graph *g, sdg_value weight, int64_t start, int64_t length);

// ---- operations; the name is the module path, used in messages, profiles and for quantization sites ----
struct sdg_conv_params { int stride, pad_top, pad_left, pad_bottom, pad_right; };
sdg_value sdg_graph_conv2d(struct sdg_graph *g, const char *name, sdg_value x, sdg_value weight,
                           struct sdg_conv_params params, struct sdg_epilogue epilogue);
sdg_value sdg_graph_linear(struct sdg_graph *g, const char *name, sdg_value x, sdg_value weight,
                           struct sdg_epilogue epilogue);
// q [N,Hq,Wq,heads*d], k and v [N,Hk,Wk,heads*d] (v may have another d): softmax(scale q k^T) v per head. Tokens are
// H*W.
sdg_value sdg_graph_attention(struct sdg_graph *g, const char *name, sdg_value q, sdg_value k, sdg_value v, int heads,
                              float scale, bool causal);
sdg_value sdg_graph_group_norm(struct sdg_graph *g, const char *name, sdg_value x, sdg_value gamma, sdg_value beta,
                               int groups, float eps, enum sdg_unary activation);
sdg_value sdg_graph_layer_norm(struct sdg_graph *g, const char *name, sdg_value x, sdg_value gamma, sdg_value beta,
                               float eps);
sdg_value sdg_graph_unary(struct sdg_graph *g, const char *name, sdg_value x, enum sdg_unary function);
// a x + b
sdg_value sdg_graph_affine(struct sdg_graph *g, const char *name, sdg_value x, float a, float b);
// y has x's shape, or 1 in N and/or in both H and W (broadcast).
sdg_value sdg_graph_binary(struct sdg_graph *g, const char *name, enum sdg_binary function, sdg_value x, sdg_value y);
// [.., 2C] -> [.., C]: first half * gelu_erf(second half)
sdg_value sdg_graph_geglu(struct sdg_graph *g, const char *name, sdg_value x);
// source index floor(i * in / out)
sdg_value sdg_graph_upsample_nearest(struct sdg_graph *g, const char *name, sdg_value x, int64_t h, int64_t w);
sdg_value sdg_graph_concat(struct sdg_graph *g, const char *name, sdg_value x, sdg_value y); // along C
// channels
sdg_value sdg_graph_slice(struct sdg_graph *g, const char *name, sdg_value x, int64_t start, int64_t length);
// [N,1,T,1] s32 -> [N,1,T,C]; ids checked on writing
sdg_value sdg_graph_embed(struct sdg_graph *g, const char *name, sdg_value ids, sdg_value tokens, sdg_value positions);
// scale (clip(round(x / scale) + zero, lowest, highest) - zero), ties to even; interval: row table [T, tokens or 1, 1,
// 2], or activation or input [1, 1, tokens or 1, 2]. sdg_graph_smooth makes it that of x * smoothing[c].
sdg_value sdg_graph_fake_quantize(struct sdg_graph *g, const char *name, sdg_value x, sdg_value interval, int lowest,
                                  int highest);
// The codes of x (struct sdg_output_codes).
sdg_value sdg_graph_quantize(struct sdg_graph *g, const char *name, sdg_value x, sdg_value interval, int lowest,
                             int highest);
// The interval that codes lowest..highest need to reach all of x, as activation [1,1,1,2] in f32 whatever the graph's
// type is:
//     lowest < 0    scale = max(max x / highest, min x / lowest), zero point 0; scale 1 where all of x is 0
//     lowest == 0   x came out of a SiLU: scale = (max(max x, 0) + 0.2785) / highest, zero point rint(0.2785 / scale),
//     at most highest
sdg_value sdg_graph_measure_interval(struct sdg_graph *g, const char *name, sdg_value x, int lowest, int highest);
// Along the H*W tokens, in the order they are stored, each channel by itself, K = 2..8; tokens before the first are 0:
//     y[l][c] = activation(bias[c] + sum_k weight[c][k] x[l - K + 1 + k][start + c])
// or, where `backward`, over the tokens that follow instead of those before, x[l + K - 1 - k]: what the reversed
// sequence would give, reversed again; no token changes its place. activation: none or silu. bias may be 0.
sdg_value sdg_graph_conv1d_causal(struct sdg_graph *g, const char *name, sdg_value x, int64_t start, sdg_value weight,
                                  sdg_value bias, enum sdg_unary activation, bool backward);
// The scan of Mamba-1 (arXiv 2312.00752, algorithm 2) over the H*W tokens of each sample, from the first to the last
// or, where params.backward, from the last to the first; tokens keep their places. Per channel c and state s, h = 0
// before the first token, in f32 whatever the graph's type is:
//     dt = softplus(delta[l][c] + delta_bias[c]),  A = -exp(a_log[c][s])
//     h[s] = exp(dt A[s]) h[s] + dt B[l][s] x[l][c],  y = sum_s C[l][s] h[s] + D[c] x[l][c]
//     out[l][c] = (y + add[l][c]) silu(gate[l][gate_start + c]) scale
// B and C are channels [b_start, b_start + S) and [c_start, c_start + S) of bc; delta_bias, gate and add may be 0.
// 1 <= S <= 256.
struct sdg_scan_operands { sdg_value x, delta, bc, a_log, d, delta_bias, gate, add; };
sdg_value sdg_graph_selective_scan(struct sdg_graph *g, const char *name, struct sdg_scan_operands operands,
                                   struct sdg_scan_params params);
// Each block of `block` channels, a power of two up to SDG_HADAMARD_MOST that divides C, multiplied by the Hadamard
// matrix of that order in Sylvester's form, scaled to be orthonormal: y[i] = block^-1/2 sum_j (-1)^popcount(i & j)
// x[j]. Its own inverse. Spreads outliers over the block, so that codes lose less (Quamba, arXiv 2410.13229,
// section 4.2).
enum { SDG_HADAMARD_MOST = 4096 }; // what the least shared memory of a GPU holds
sdg_value sdg_graph_hadamard(struct sdg_graph *g, const char *name, sdg_value x, int64_t block);
void sdg_graph_output(struct sdg_graph *g, const char *name, sdg_value x);

// ---- operations for training: `reference` and `cpu` run them, `vulkan` does not; see graph/reverse.h ----
// The elements of a weight as an activation: vectors [1,1,1,C], others [1,1, dims[0], the rest].
sdg_value sdg_graph_constant(struct sdg_graph *g, const char *name, sdg_value weight);
// op(a) op(b), where a and b are matrices with a row for each of the N*H*W positions and C columns, transposed if so
// asked. The result has a's N, H, W, or [1,1,a's C,..] of a transposed a; its channels are the columns of op(b).
sdg_value sdg_graph_matmul(struct sdg_graph *g, const char *name, sdg_value a, sdg_value b, bool transpose_a,
                           bool transpose_b);
// Over all samples, all H*W tokens and/or all channels; the result has length 1 there.
sdg_value sdg_graph_sum(struct sdg_graph *g, const char *name, sdg_value x, struct sdg_axes axes);
// x to the shape given: where x has length 1 (in N, in both H and W, in C) it is repeated, elsewhere they agree.
sdg_value sdg_graph_broadcast(struct sdg_graph *g, const char *name, sdg_value x, int64_t n, int64_t h, int64_t w,
                              int64_t c);
// `channels` channels, of which [start, start + C) are those of x and the others 0.
sdg_value sdg_graph_pad(struct sdg_graph *g, const char *name, sdg_value x, int64_t start, int64_t channels);
// The gradients that are operations of their own. `grad` is d loss / d result of the operation named, in that result's
// shape; `of` is the operand (index of in[], ops.def) that the new result is the gradient with respect to.
// grad * f'(x); function: any but none and affine
sdg_value sdg_graph_unary_gradient(struct sdg_graph *g, const char *name, sdg_value x, sdg_value grad,
                                   enum sdg_unary function);
// of: 0 = x, 1 = the weight, [1,1,O,I*KH*KW]
sdg_value sdg_graph_conv2d_gradient(struct sdg_graph *g, const char *name, sdg_value x, sdg_value weight,
                                    struct sdg_conv_params params, sdg_value grad, int of);
// As of layer_norm below; C are the channels of x and those of x2 (or 0).
sdg_value sdg_graph_group_norm_gradient(struct sdg_graph *g, const char *name, sdg_value x, sdg_value x2,
                                        sdg_value gamma, sdg_value grad, int groups, float eps);
// [N,H,W,2C]: with respect to x, then grad * (x - mean) / deviation, whose sum is the gradient of gamma.
sdg_value sdg_graph_layer_norm_gradient(struct sdg_graph *g, const char *name, sdg_value x, sdg_value gamma,
                                        sdg_value grad, float eps);
// of: 0 = q, 1 = k, 2 = v
sdg_value sdg_graph_attention_gradient(struct sdg_graph *g, const char *name, sdg_value q, sdg_value k, sdg_value v,
                                       sdg_value grad, int heads, float scale, bool causal, int of);
// Of a convolution without activation, with respect to its weight: [1,1,C,K].
sdg_value sdg_graph_conv1d_causal_gradient(struct sdg_graph *g, const char *name, sdg_value x, int64_t start,
                                           int kernel, sdg_value grad, bool backward);
// of 0: all that have tokens, side by side along channels: x [C], delta [C] (its bias' gradient is the sum of this),
// all channels of bc, the scan's result y before gate and scale [C] (which is add's; D's is the sum of this times x)
// and, where there is a gate, its channels that are read [C]. of 3: A_log, [1,1,C,S].
sdg_value sdg_graph_selective_scan_gradient(struct sdg_graph *g, const char *name, struct sdg_scan_operands operands,
                                            struct sdg_scan_params params, sdg_value grad, int of);
// of 0: x; of 1: the interval, [1, 1, tokens or 1, 2] (graph/reverse.h says which derivatives)
sdg_value sdg_graph_fake_quantize_gradient(struct sdg_graph *g, const char *name, sdg_value x, sdg_value interval,
                                           int lowest, int highest, sdg_value grad, int of);

// ---- use ----
sdg_value sdg_graph_find(const struct sdg_graph *g, const char *name); // an input, table or output by name; 0 if absent
static inline int64_t sdg_value_elements(const struct sdg_value_info *v)
{
    return v->dims[0] * v->dims[1] * v->dims[2] * v->dims[3];
}
const char *sdg_op_name(enum sdg_op_kind kind);
bool sdg_op_is_for_training(enum sdg_op_kind kind);            // SDG_TRAINING_OP of ops.def
enum sdg_operand sdg_op_operand(enum sdg_op_kind kind, int k); // what in[k] is, of 0 <= k < SDG_OP_MAX_INPUTS
enum sdg_op_result sdg_op_result(enum sdg_op_kind kind);
// True if v is an interval, or statistics, that the operation reads or makes; these are f32 whatever the graph's type
// is.
bool sdg_op_is_interval(const struct sdg_op *op, sdg_value v);
// Multiply-accumulates of one operation (conv2d, linear, attention, conv1d_causal, selective_scan; 0 for others).
int64_t sdg_op_macs(const struct sdg_graph *g, const struct sdg_op *op);
double sdg_graph_macs(const struct sdg_graph *g); // of all operations
// Every value an operation mentions, weights and tables included; 0 where there is none.
enum { SDG_OP_OPERANDS = SDG_OP_MAX_INPUTS + 6 };
void sdg_op_operands(const struct sdg_op *op, sdg_value values[SDG_OP_OPERANDS]);
// The least that one operation moves, each operand read once and the result written once: activations and inputs, one
// row of tables, weights as the kernel sees them (of 4-bit codes, half bytes), an embedding's rows as many as are read.
double sdg_op_bytes(const struct sdg_graph *g, const struct sdg_op *op);
// All activations one operation reads: operands that are activations or inputs, then the residual, an interval measured
// at run time, statistics, each once. Returns how many.
int sdg_op_reads(const struct sdg_graph *g, const struct sdg_op *op, sdg_value reads[SDG_OP_MAX_READS]);
// A readable listing, one operation per line, at debug level.
void sdg_graph_print(const struct sdg_graph *g);

// For rewrites: the operation emits codes from now on, of an interval for all its tokens or one for each. Those whose
// result is EITHER in ops.def can.
enum sdg_result sdg_graph_emit_codes(struct sdg_graph *g, size_t op_index, sdg_value interval, int lowest, int highest);
// For rewrites: an operation that emits codes, or a fake_quantize, rounds its result times smoothing[c] (a vector
// weight [C]) from now on; its interval is then that of the product. Not conv2d and linear, whose weights can hold the
// factors.
enum sdg_result sdg_graph_smooth(struct sdg_graph *g, size_t op_index, sdg_value smoothing);
// For rewrites: the operation reads `codes` (s8 or u8, of the operand's shape) in place of in[operand], and computes
// with their values scale * (code - zero point) as with any: x of a conv1d_causal (0), x, delta and gate of a
// selective_scan (0, 1, 6), whose state stays f32.
enum sdg_result sdg_graph_read_codes(struct sdg_graph *g, size_t op_index, int operand, sdg_value codes,
                                     sdg_value interval);
// Where the interval of such an operand is in in[]; 0: it cannot be codes.
int sdg_op_interval_of(enum sdg_op_kind kind, int operand);
// For rewrites: a float conv2d or linear becomes one of integers, which reads `codes` (s8 or u8, of its input's shape)
// with their interval and weights of `weight_bits` (8 or 4) bits with scales [O]:
//     activation(scale * weight_scale[o] * sum((code - zero point) * weight) + bias[o] + table[row][n][o] + residual)
// The sum is exact; what a convolution's padding holds counts as code = zero point. Scale and zero point are those of
// the token: intervals of more than one go with linear and with a conv2d of a 1x1 kernel, stride 1 and no padding, as a
// larger kernel's sum would be of codes of several tokens, which no common scale turns into values.
enum sdg_result sdg_graph_use_codes(struct sdg_graph *g, size_t op_index, sdg_value codes, sdg_value interval,
                                    sdg_value weight_scale, int weight_bits);
// For rewrites: takes the operation at index `from` out of the execution order and puts it back before the one that was
// at `to` <= from. The caller answers for the order staying topological.
void sdg_graph_move_op(struct sdg_graph *g, size_t from, size_t to);

// ---- rewrites (graph/fuse.c) ----
// Epilogues (unary, add of a residual into the conv or linear that alone produces the operand), group_norm + silu,
// concat -> (group_norm reads two inputs; a 1x1 or any conv2d / linear over a concat becomes the sum of two over weight
// slices). Dead operations and the weights only they read are removed; inputs and tables stay. Results are the same up
// to float rounding. The two products of a split concat are named "NAME[0:C1]" and "NAME[C1:C]" after their channels.
// Needs an output (SDG_ERROR_USAGE).
enum sdg_result sdg_graph_fuse(struct sdg_graph *g);
// Fusions that only pay with kernels made for them, as bits: backends say which they have, and apply them to the copy
// of a graph that becomes a program. Results stay the same but for what is no longer rounded to the storage type
// between operations; where nothing was, codes are the same bit for bit.
enum sdg_fusion {
    // an upsample_nearest by a whole factor, into the conv2d that alone reads it: the large picture is never there
    SDG_FUSION_UPSAMPLE = 1,
    // geglu, and codes that it emits if they are not smoothed, into the linear that alone makes its operand, of floats
    // or
    // of integers; an even number of channels
    SDG_FUSION_GATE = 2,
    // layer_norm of whole fours of channels of 16 bits into the linear layers of floats, without a table, that alone
    // read it: they
    // normalise what they load, and the norm makes statistics
    SDG_FUSION_NORM = 4,
    // quantize of floats of 16 bits, of one interval and not smoothed, into the one or two products that read it, where
    // they load each value few times: the same codes
    SDG_FUSION_QUANTIZE = 8,
};
// True if it is what these make of operations: kernels not made for it must not take it.
bool sdg_op_is_fused(const struct sdg_op *op);
// As sdg_graph_fuse, of those in `fusions`; needs no output.
enum sdg_result sdg_graph_fuse_for(struct sdg_graph *g, unsigned fusions);
// Storage type of all activations and float inputs, and of conv/linear weights: f32, f16 or bf16. Accumulation, norms'
// statistics, softmax, tables, biases, norm parameters and whatever else keeps_f32 stay f32; so do intervals; integers
// stay what they are.
enum sdg_result sdg_graph_set_type(struct sdg_graph *g, enum sdg_dtype dtype);

#endif
