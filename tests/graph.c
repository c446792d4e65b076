// Shape rules, mistakes, copies, integers, intervals by token and the columns of the list of operations.
#include "base/memory.h"
#include "graph/graph.h"
#include "graph/plan.h"
#include "tests/support/graphs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>

#include <cmocka.h>

// ---- tests: shapes ----

static void assert_dims(const struct sdg_graph *g, sdg_value v, int64_t n, int64_t h, int64_t w, int64_t c)
{
    assert_int_equal(sdg_graph_check(g), SDG_OK);
    const int64_t *d = g->values[v].dims;
    assert_true(d[0] == n && d[1] == h && d[2] == w && d[3] == c);
}

static void shapes_of_operations(void **state)
{
    (void)state;
    struct sdg_graph *g = new_graph();
    sdg_value x = sdg_graph_input(g, "x", 2, 9, 8, 6), context = sdg_graph_input(g, "context", 2, 1, 77, 6);
    sdg_value v4 = sdg_graph_input(g, "v4", 2, 7, 11, 4);
    assert_dims(g, conv(g, "c3", x, 10, 3, 1, 0), 2, 9, 8, 10);
    assert_dims(g, conv(g, "s2", x, 10, 3, 2, 0), 2, 5, 4, 10);
    struct sdg_conv_params vae = {.stride = 2, .pad_bottom = 1, .pad_right = 1};
    assert_dims(g,
                sdg_graph_conv2d(g, "vae", x, sdg_graph_conv_weight(g, 3, 6, 3, 3, "vae.weight"), vae,
                                 (struct sdg_epilogue){0}),
                2, 4, 4, 3);
    assert_dims(g,
                sdg_graph_conv2d(g, "1x2", x, sdg_graph_conv_weight(g, 3, 6, 1, 2, "k.weight"), plain,
                                 (struct sdg_epilogue){0}),
                2, 9, 7, 3);
    assert_dims(g,
                sdg_graph_linear(g, "lin", x, sdg_graph_linear_weight(g, 5, 6, "l.weight"), (struct sdg_epilogue){0}),
                2, 9, 8, 5);
    assert_dims(g, sdg_graph_attention(g, "attn", x, context, v4, 2, 0.5f, false), 2, 9, 8, 4);
    assert_dims(g, norm(g, "gn", x, 3), 2, 9, 8, 6);
    sdg_value six = sdg_graph_vector_weight(g, 6, "six");
    assert_dims(g, sdg_graph_layer_norm(g, "ln", x, six, six, 1e-5f), 2, 9, 8, 6);
    assert_dims(g, sdg_graph_unary(g, "silu", x, SDG_UNARY_SILU), 2, 9, 8, 6);
    assert_dims(g, sdg_graph_affine(g, "affine", x, 2, 1), 2, 9, 8, 6);
    assert_dims(g, sdg_graph_binary(g, "bn", SDG_BINARY_MUL, x, sdg_graph_input(g, "bn", 1, 9, 8, 6)), 2, 9, 8, 6);
    assert_dims(g, sdg_graph_binary(g, "bhw", SDG_BINARY_ADD, x, sdg_graph_input(g, "bhw", 2, 1, 1, 6)), 2, 9, 8, 6);
    assert_dims(g, sdg_graph_geglu(g, "geglu", x), 2, 9, 8, 3);
    assert_dims(g, sdg_graph_upsample_nearest(g, "up", x, 17, 16), 2, 17, 16, 6);
    assert_dims(g, sdg_graph_concat(g, "cat", x, x), 2, 9, 8, 12);
    assert_dims(g, sdg_graph_slice(g, "slice", x, 2, 4), 2, 9, 8, 4);
    sdg_value ids = sdg_graph_input_s32(g, "ids", 3, 77);
    assert_dims(g,
                sdg_graph_embed(g, "embed", ids, sdg_graph_linear_weight(g, 100, 8, "tok"),
                                sdg_graph_linear_weight(g, 77, 8, "pos")),
                3, 1, 77, 8);
    sdg_value whole = sdg_graph_conv_weight(g, 4, 10, 3, 3, "w"),
              part = sdg_graph_weight_slice(g, sdg_graph_weight_slice(g, whole, 2, 6), 1, 3);
    assert_dims(g, part, 4, 3, 3, 3);
    assert_int_equal(g->values[part].slice_start, 3);
    assert_int_equal(g->values[part].slice_of, 10);
    assert_string_equal(g->values[part].name, "w");
    sdg_graph_destroy(&g);
    assert_null(g);
}

// Each case makes one mistake; `says` must be in the message.
struct mistake {
    void (*make)(struct sdg_graph *g, sdg_value x);
    const char *says;
};

#define MISTAKE(function) static void function(struct sdg_graph *g, sdg_value x)
static const struct sdg_epilogue none;
static sdg_value one_by_one(struct sdg_graph *g, int64_t out, int64_t in)
{
    return sdg_graph_linear_weight(g, out, in, "w");
}

MISTAKE(zero_dim)
{
    (void)x;
    sdg_graph_input(g, "zero", 1, 0, 4, 4);
}
MISTAKE(negative_dim)
{
    (void)x;
    sdg_graph_vector_weight(g, -3, "negative");
}
MISTAKE(huge)
{
    (void)x;
    sdg_graph_input(g, "huge", 1 << 20, 1 << 20, 1, 2);
}
MISTAKE(overflowing)
{
    (void)x;
    sdg_graph_input(g, "overflow", INT64_MAX, INT64_MAX, 3, 3);
}
MISTAKE(same_name)
{
    (void)x;
    sdg_graph_input_s32(g, "x", 1, 4);
}
MISTAKE(no_name)
{
    (void)x;
    sdg_graph_input(g, "", 1, 1, 1, 1);
}
MISTAKE(no_op_name)
{
    sdg_graph_unary(g, NULL, x, SDG_UNARY_SILU);
}
MISTAKE(other_rows)
{
    (void)x;
    sdg_graph_table(g, "t3", 3, 1, 4);
    sdg_graph_table(g, "t5", 5, 1, 4);
}
MISTAKE(slice_outside)
{
    (void)x;
    sdg_graph_weight_slice(g, one_by_one(g, 4, 8), 5, 4);
}
MISTAKE(slice_of_vector)
{
    (void)x;
    sdg_graph_weight_slice(g, sdg_graph_vector_weight(g, 4, "v"), 0, 1);
}
MISTAKE(slice_overflowing)
{
    (void)x;
    sdg_graph_weight_slice(g, one_by_one(g, 4, 8), INT64_MAX, 1);
}
MISTAKE(output_input)
{
    sdg_graph_output(g, "out", x);
}
MISTAKE(output_twice)
{
    sdg_value y = sdg_graph_unary(g, "y", x, SDG_UNARY_RELU);
    sdg_graph_output(g, "o1", y);
    sdg_graph_output(g, "o2", y);
}
MISTAKE(output_none)
{
    (void)x;
    sdg_graph_output(g, "out", 0);
}
MISTAKE(conv_channels)
{
    sdg_graph_conv2d(g, "blk.conv", x, sdg_graph_conv_weight(g, 4, 9, 3, 3, "blk.w"), same3, none);
}
MISTAKE(conv_kernel)
{
    sdg_graph_conv2d(g, "blk.conv", x, sdg_graph_conv_weight(g, 4, 8, 7, 7, "blk.w"), same3, none);
}
MISTAKE(conv_stride)
{
    sdg_graph_conv2d(g, "blk.conv", x, sdg_graph_conv_weight(g, 4, 8, 1, 1, "blk.w"), (struct sdg_conv_params){0},
                     none);
}
MISTAKE(conv_padding)
{
    sdg_graph_conv2d(g, "blk.conv", x, sdg_graph_conv_weight(g, 4, 8, 1, 1, "blk.w"),
                     (struct sdg_conv_params){.stride = 1, .pad_left = -1}, none);
}
MISTAKE(conv_no_weight)
{
    sdg_graph_conv2d(g, "blk.conv", x, x, same3, none);
}
MISTAKE(linear_channels)
{
    sdg_graph_linear(g, "lin", x, one_by_one(g, 3, 7), none);
}
MISTAKE(linear_kernel)
{
    sdg_graph_linear(g, "lin", x, sdg_graph_conv_weight(g, 4, 8, 3, 3, "w"), none);
}
MISTAKE(linear_missing)
{
    sdg_graph_linear(g, "lin", 0, one_by_one(g, 3, 8), none);
    (void)x;
}
MISTAKE(bias_length)
{
    sdg_graph_linear(g, "lin", x, one_by_one(g, 3, 8),
                     (struct sdg_epilogue){.bias = sdg_graph_vector_weight(g, 4, "b")});
}
MISTAKE(bias_matrix)
{
    sdg_value w = one_by_one(g, 3, 8);
    sdg_graph_linear(g, "lin", x, w, (struct sdg_epilogue){.bias = w});
}
MISTAKE(table_channels)
{
    sdg_graph_linear(g, "lin", x, one_by_one(g, 3, 8),
                     (struct sdg_epilogue){.table = sdg_graph_table(g, "t", 2, 1, 4)});
}
MISTAKE(table_batch)
{
    sdg_graph_linear(g, "lin", x, one_by_one(g, 3, 8),
                     (struct sdg_epilogue){.table = sdg_graph_table(g, "t", 2, 3, 3)});
}
MISTAKE(residual_shape)
{
    sdg_graph_linear(g, "lin", x, one_by_one(g, 3, 8), (struct sdg_epilogue){.residual = x});
}
MISTAKE(affine_epilogue)
{
    sdg_graph_linear(g, "lin", x, one_by_one(g, 3, 8), (struct sdg_epilogue){.activation = SDG_UNARY_AFFINE});
}
MISTAKE(attention_heads)
{
    sdg_graph_attention(g, "attn", x, x, x, 3, 1, false);
}
MISTAKE(attention_key)
{
    sdg_graph_attention(g, "attn", x, sdg_graph_input(g, "k", 2, 5, 4, 4), x, 2, 1, false);
}
MISTAKE(attention_value)
{
    sdg_graph_attention(g, "attn", x, x, sdg_graph_input(g, "v", 2, 5, 3, 8), 2, 1, false);
}
MISTAKE(attention_causal)
{
    sdg_value k = sdg_graph_input(g, "k", 2, 1, 7, 8);
    sdg_graph_attention(g, "attn", x, k, k, 2, 1, true);
}
MISTAKE(attention_scale)
{
    sdg_graph_attention(g, "attn", x, x, x, 2, INFINITY, false);
}
MISTAKE(group_count)
{
    norm(g, "gn", x, 3);
}
MISTAKE(group_gamma)
{
    sdg_value v = sdg_graph_vector_weight(g, 7, "gamma");
    sdg_graph_group_norm(g, "gn", x, v, v, 2, 1e-5f, SDG_UNARY_NONE);
}
MISTAKE(group_activation)
{
    sdg_value v = sdg_graph_vector_weight(g, 8, "gamma");
    sdg_graph_group_norm(g, "gn", x, v, v, 2, 1e-5f, SDG_UNARY_RELU);
}
MISTAKE(norm_eps)
{
    sdg_value v = sdg_graph_vector_weight(g, 8, "gamma");
    sdg_graph_layer_norm(g, "ln", x, v, v, -1);
}
MISTAKE(norm_beta)
{
    sdg_graph_layer_norm(g, "ln", x, sdg_graph_vector_weight(g, 8, "gamma"), sdg_graph_vector_weight(g, 9, "beta"),
                         1e-5f);
}
MISTAKE(unary_none)
{
    sdg_graph_unary(g, "un", x, SDG_UNARY_NONE);
}
MISTAKE(unary_affine)
{
    sdg_graph_unary(g, "un", x, SDG_UNARY_AFFINE);
}
MISTAKE(unary_of_weight)
{
    sdg_graph_unary(g, "un", one_by_one(g, 3, 8), SDG_UNARY_RELU);
    (void)x;
}
MISTAKE(unary_of_ids)
{
    sdg_graph_unary(g, "un", sdg_graph_input_s32(g, "ids", 1, 4), SDG_UNARY_RELU);
    (void)x;
}
MISTAKE(affine_nan)
{
    sdg_graph_affine(g, "af", x, NAN, 0);
}
MISTAKE(binary_channels)
{
    sdg_graph_binary(g, "bi", SDG_BINARY_ADD, x, sdg_graph_input(g, "y", 2, 5, 4, 1));
}
MISTAKE(binary_half)
{
    sdg_graph_binary(g, "bi", SDG_BINARY_ADD, x, sdg_graph_input(g, "y", 2, 5, 1, 8));
}
MISTAKE(binary_function)
{
    sdg_graph_binary(g, "bi", (enum sdg_binary)7, x, x);
}
MISTAKE(geglu_odd)
{
    sdg_graph_geglu(g, "gg", sdg_graph_input(g, "y", 2, 5, 4, 3));
    (void)x;
}
MISTAKE(upsample_zero)
{
    sdg_graph_upsample_nearest(g, "up", x, 0, 8);
}
MISTAKE(concat_shape)
{
    sdg_graph_concat(g, "cat", x, sdg_graph_input(g, "y", 2, 4, 4, 8));
}
MISTAKE(slice_channels)
{
    sdg_graph_slice(g, "sl", x, 6, 3);
}
MISTAKE(embed_float)
{
    sdg_graph_embed(g, "em", x, one_by_one(g, 9, 8), one_by_one(g, 9, 8));
}
MISTAKE(embed_channels)
{
    (void)x;
    sdg_graph_embed(g, "em", sdg_graph_input_s32(g, "ids", 1, 4), one_by_one(g, 9, 8), one_by_one(g, 9, 7));
}
MISTAKE(embed_positions)
{
    (void)x;
    sdg_graph_embed(g, "em", sdg_graph_input_s32(g, "ids", 1, 10), one_by_one(g, 9, 8), one_by_one(g, 9, 8));
}
MISTAKE(made_up_value)
{
    sdg_graph_concat(g, "cat", x, 12345);
}

// Integers: codes of x, and a layer that reads them.
static sdg_value interval_table(struct sdg_graph *g)
{
    return sdg_graph_table(g, "interval", 2, 1, 2);
}
static sdg_value codes_of(struct sdg_graph *g, sdg_value x)
{
    return sdg_graph_quantize(g, "q", x, interval_table(g), -128, 127);
}
static void linear_3(struct sdg_graph *g, sdg_value x)
{
    sdg_graph_linear(g, "lin", x, one_by_one(g, 3, 8), none);
}
MISTAKE(interval_width)
{
    sdg_graph_quantize(g, "q", x, sdg_graph_table(g, "t", 2, 1, 1), -128, 127);
}
MISTAKE(interval_activation)
{
    sdg_graph_quantize(g, "q", x, x, -128, 127);
}
MISTAKE(codes_signed)
{
    sdg_graph_quantize(g, "q", x, interval_table(g), -128, 200);
}
MISTAKE(codes_positive)
{
    sdg_graph_measure_interval(g, "m", x, 1, 200);
}
MISTAKE(codes_one)
{
    sdg_graph_measure_interval(g, "m", x, -3, 0);
}
MISTAKE(fake_codes)
{
    sdg_graph_fake_quantize(g, "f", x, interval_table(g), 1, 5);
}
MISTAKE(quantize_codes)
{
    sdg_graph_quantize(g, "q2", codes_of(g, x), sdg_graph_find(g, "interval"), -128, 127);
}
MISTAKE(float_of_codes)
{
    linear_3(g, codes_of(g, x));
}
MISTAKE(emit_outside)
{
    (void)x;
    sdg_graph_emit_codes(g, 0, interval_table(g), -128, 127);
}
MISTAKE(emit_of_unary)
{
    sdg_graph_unary(g, "un", x, SDG_UNARY_RELU);
    sdg_graph_emit_codes(g, 0, interval_table(g), -128, 127);
}
MISTAKE(use_in_unary)
{
    sdg_value q = codes_of(g, x);
    sdg_graph_use_codes(g, 0, q, sdg_graph_find(g, "interval"), sdg_graph_vector_weight(g, 8, "s"), 8);
}
MISTAKE(use_floats)
{
    linear_3(g, x);
    sdg_graph_use_codes(g, 0, x, interval_table(g), sdg_graph_vector_weight(g, 3, "s"), 8);
}
MISTAKE(use_other_shape)
{
    linear_3(g, x);
    sdg_value q = codes_of(g, sdg_graph_input(g, "y", 2, 5, 3, 8));
    sdg_graph_use_codes(g, 0, q, sdg_graph_find(g, "interval"), sdg_graph_vector_weight(g, 3, "s"), 8);
}
MISTAKE(use_nine_bits)
{
    linear_3(g, x);
    sdg_value q = codes_of(g, x);
    sdg_graph_use_codes(g, 0, q, sdg_graph_find(g, "interval"), sdg_graph_vector_weight(g, 3, "s"), 9);
}
// x is [2,5,4,8]: 20 tokens.
static sdg_value token_table(struct sdg_graph *g, int64_t tokens)
{
    return sdg_graph_interval_table(g, "tokens", 2, tokens);
}
MISTAKE(quantize_tokens)
{
    sdg_graph_quantize(g, "q", x, token_table(g, 19), -128, 127);
}
MISTAKE(fake_quantize_tokens)
{
    sdg_graph_fake_quantize(g, "f", x, token_table(g, 40), -128, 127);
}
MISTAKE(quantize_measured_tokens)
{
    sdg_value many = sdg_graph_measure_interval(g, "m", x, -128, 127);
    g->values[many].dims[1] = 20;
    sdg_graph_quantize(g, "q", x, many, -128, 127);
}
MISTAKE(emit_tokens)
{
    sdg_graph_conv2d(g, "c", x, sdg_graph_conv_weight(g, 6, 8, 3, 3, "w"), (struct sdg_conv_params){.stride = 1}, none);
    sdg_graph_emit_codes(g, 0, token_table(g, 20), -128, 127); // the result is [2,3,2,6]
}
MISTAKE(use_tokens)
{
    linear_3(g, x);
    sdg_value q = codes_of(g, x);
    sdg_graph_use_codes(g, 0, q, token_table(g, 21), sdg_graph_vector_weight(g, 3, "s"), 8);
}
static void use_tokens_in(struct sdg_graph *g, sdg_value x, int kernel, struct sdg_conv_params params)
{
    sdg_graph_conv2d(g, "c", x, sdg_graph_conv_weight(g, 6, 8, kernel, kernel, "w"), params, none);
    sdg_value table = token_table(g, 20), q = sdg_graph_quantize(g, "q", x, table, -128, 127);
    sdg_graph_use_codes(g, 0, q, table, sdg_graph_vector_weight(g, 6, "s"), 8);
}
MISTAKE(use_tokens_in_3x3)
{
    use_tokens_in(g, x, 3, (struct sdg_conv_params){.stride = 1, .pad_top = 1, .pad_left = 1});
}
MISTAKE(use_tokens_in_stride)
{
    use_tokens_in(g, x, 1, (struct sdg_conv_params){.stride = 2});
}
MISTAKE(use_tokens_in_padding)
{
    use_tokens_in(g, x, 1, (struct sdg_conv_params){.stride = 1, .pad_right = 1});
}
MISTAKE(use_scales)
{
    linear_3(g, x);
    sdg_value q = codes_of(g, x);
    sdg_graph_use_codes(g, 0, q, sdg_graph_find(g, "interval"), sdg_graph_vector_weight(g, 4, "s"), 8);
}

static const struct mistake mistakes[] = {
    {interval_width, "q (quantize): interval [2,1,1,1] is neither"},
    {interval_activation, "interval [2,5,4,8] is neither"},
    {codes_signed, "codes -128 to 200 do not fit"},
    {codes_positive, "codes 1 to 200"},
    {codes_one, "codes -3 to 0"},
    {fake_codes, "codes 1 to 5 do not hold 0"},
    {quantize_codes, "q2 (quantize): input [2,5,4,8] is no float"},
    {float_of_codes, "lin (linear): input [2,5,4,8] is no float"},
    {emit_outside, "operation 0 of 0"},
    {emit_of_unary, "un (unary): cannot have codes as its result [2,5,4,8]"},
    {use_in_unary, "cannot be computed in integers"},
    {use_floats, "lin (linear): f32 [2,5,4,8] are no codes of input"},
    {use_other_shape, "s8 [2,5,3,8] are no codes of input [2,5,4,8]"},
    {use_nine_bits, "weights of 9 bits"},
    {quantize_tokens, "q (quantize): intervals tokens [2,19,1,2] are for 19 tokens, but [2,5,4,8] has 20"},
    {fake_quantize_tokens, "f (fake_quantize): intervals tokens [2,40,1,2] are for 40 tokens, but [2,5,4,8] has 20"},
    {quantize_measured_tokens, "interval [1,20,1,2] is neither"},
    {emit_tokens, "c (conv2d): intervals tokens [2,20,1,2] are for 20 tokens, but [2,3,2,6] has 6"},
    {use_tokens, "lin (linear): intervals tokens [2,21,1,2] are for 21 tokens, but [2,5,4,8] has 20"},
    {use_tokens_in_3x3, "c (conv2d): intervals tokens [2,20,1,2] differ from token to token"},
    {use_tokens_in_stride, "differ from token to token"},
    {use_tokens_in_padding, "differ from token to token"},
    {use_scales, "weight scale s has shape [4], but w needs [3]"},
    {zero_dim, "zero: shape [1,0,4,4]"},
    {negative_dim, "negative: shape [-3]"},
    {huge, "2^40"},
    {overflowing, "overflow: shape"},
    {same_name, "x: the graph already has"},
    {no_name, "no name"},
    {no_op_name, "unary operation has no name"},
    {other_rows, "t5: the table has 5 rows, table t3 has 3"},
    {slice_outside, "not inside the weight [4,8]"},
    {slice_of_vector, "can be sliced"},
    {slice_overflowing, "not inside the weight"},
    {output_input, "out: an output must be"},
    {output_twice, "o2: the value is already the output o1"},
    {output_none, "out: an output must be"},
    {conv_channels, "blk.conv (conv2d): input [2,5,4,8] does not have the input channels of weight blk.w [4,9,3,3]"},
    {conv_kernel, "input [2,5,4,8] is smaller than the kernel of weight [4,8,7,7]"},
    {conv_stride, "stride 0"},
    {conv_padding, "padding 0,-1,0,0"},
    {conv_no_weight, "weight [2,5,4,8] is no weight"},
    {linear_channels, "lin (linear): input [2,5,4,8] does not have the input channels of weight w [3,7]"},
    {linear_kernel, "kernel larger"},
    {linear_missing, "lin (linear): input is missing"},
    {bias_length, "bias b has shape [4], but [2,5,4,3] needs [3]"},
    {bias_matrix, "bias w has shape [3,8]"},
    {table_channels, "table [2,1,1,4] does not fit the result [2,5,4,3]"},
    {table_batch, "table [2,3,1,3] does not fit"},
    {residual_shape, "residual [2,5,4,8] does not have the result's shape [2,5,4,3]"},
    {affine_epilogue, "lin (linear): function"},
    {attention_heads, "attn (attention): query [2,5,4,8] and value [2,5,4,8] cannot be split into 3 heads"},
    {attention_key, "query [2,5,4,8] and key [2,5,4,4]"},
    {attention_value, "key [2,5,4,8] and value [2,5,3,8]"},
    {attention_causal, "causal, but query [2,5,4,8] and key [2,1,7,8]"},
    {attention_scale, "scale"},
    {group_count, "gn (group_norm): the channels of input [2,5,4,8] cannot be split into 3 groups"},
    {group_gamma, "gamma gamma has shape [7]"},
    {group_activation, "group norm's activation"},
    {norm_eps, "eps"},
    {norm_beta, "beta beta has shape [9], but [2,5,4,8] needs [8]"},
    {unary_none, "no unary function"},
    {unary_affine, "no unary function"},
    {unary_of_weight, "input [3,8] is no float"},
    {unary_of_ids, "input [1,1,4,1] is no float"},
    {affine_nan, "not finite"},
    {binary_channels, "bi (binary): [2,5,4,1] cannot be broadcast to [2,5,4,8]"},
    {binary_half, "[2,5,1,8] cannot be broadcast"},
    {binary_function, "no binary function"},
    {geglu_odd, "input [2,5,4,3] are not even"},
    {upsample_zero, "up: shape [2,0,8,8]"},
    {concat_shape, "cat (concat): [2,5,4,8] and [2,4,4,8] differ"},
    {slice_channels, "sl (slice): channels 6 to 6+3 are not inside [2,5,4,8]"},
    {embed_float, "ids [2,5,4,8] are no s32"},
    {embed_channels, "token table [9,8] and position table [9,7]"},
    {embed_positions, "position table [9,8] has fewer rows than ids [1,1,10,1]"},
    {made_up_value, "cat (concat): second input is missing"},
};

static void mistakes_are_reported_once(void **state)
{
    (void)state;
    size_t count = sizeof mistakes / sizeof *mistakes;
    for (size_t i = 0; i < count; i++) {
        struct sdg_graph *g = new_graph();
        sdg_value x = sdg_graph_input(g, "x", 2, 5, 4, 8);
        assert_int_equal(messages.errors, 0);
        mistakes[i].make(g, x);
        assert_int_equal(sdg_graph_check(g), SDG_ERROR_INPUT);
        if (!strstr(messages.last, mistakes[i].says))
            fail_msg("mistake %zu: '%s' does not say '%s'", i, messages.last, mistakes[i].says);
        size_t values = g->value_count, ops = g->op_count;
        // Everything after it does nothing and says nothing.
        assert_int_equal(sdg_graph_unary(g, "after", x, SDG_UNARY_SILU), 0);
        assert_int_equal(sdg_graph_input(g, "after", 1, 1, 1, 1), 0);
        assert_int_equal(sdg_graph_weight_slice(g, 0, 0, 0), 0);
        sdg_graph_output(g, "after", 0);
        struct sdg_plan *plan;
        assert_int_equal(sdg_graph_fuse(g), SDG_ERROR_INPUT);
        assert_int_equal(sdg_graph_set_type(g, SDG_F16), SDG_ERROR_INPUT);
        assert_int_equal(sdg_plan_create(g, 64, 0, NULL, &plan), SDG_ERROR_INPUT);
        assert_null(plan);
        assert_int_equal(messages.errors, 1);
        assert_true(g->value_count == values && g->op_count == ops);
        sdg_graph_destroy(&g);
    }
    print_message("%zu mistakes\n", count);
}

static void questions(void **state)
{
    (void)state;
    struct sdg_graph *g = new_graph();
    sdg_value x = sdg_graph_input(g, "x", 2, 8, 8, 4), table = sdg_graph_table(g, "time", 7, 1, 16),
              ids = sdg_graph_input_s32(g, "ids", 2, 5);
    assert_int_equal(g->rows, 7);
    sdg_value y = conv(g, "c", x, 16, 3, 2, table),
              text = sdg_graph_embed(g, "e", ids, sdg_graph_linear_weight(g, 9, 16, "tok"),
                                     sdg_graph_linear_weight(g, 9, 16, "pos"));
    sdg_value a = sdg_graph_attention(g, "a", y, text, text, 4, 0.5f, false);
    sdg_value z =
        sdg_graph_linear(g, "l", a, sdg_graph_linear_weight(g, 16, 16, "lw"), (struct sdg_epilogue){.residual = y});
    sdg_graph_output(g, "z", z);
    assert_int_equal(sdg_graph_check(g), SDG_OK);
    assert_int_equal(sdg_graph_find(g, "x"), x);
    assert_int_equal(sdg_graph_find(g, "time"), table);
    assert_int_equal(sdg_graph_find(g, "z"), z);
    assert_int_equal(sdg_graph_find(g, "lw"), 0); // a weight
    assert_int_equal(sdg_graph_find(g, "l"), 0);  // an operation
    assert_int_equal(sdg_op_macs(g, find_op(g, "c")), 2 * 4 * 4 * 16 * 4 * 9);
    assert_int_equal(sdg_op_macs(g, find_op(g, "a")), 2 * 16 * 5 * (16 + 16));
    assert_int_equal(sdg_op_macs(g, find_op(g, "l")), 2 * 16 * 16 * 16);
    assert_int_equal(sdg_op_macs(g, find_op(g, "e")), 0);
    // x, w [16, 4, 3, 3], bias, a row of the table, y; q, k and v are one value, and the result; a, w, y again as
    // residual, z
    assert_true(sdg_op_bytes(g, find_op(g, "c")) == 4 * (2 * 64 * 4 + 16 * 4 * 9 + 16 + 16 + 2 * 16 * 16));
    assert_true(sdg_op_bytes(g, find_op(g, "a")) == 4 * (2 * 16 * 16 + 2 * 5 * 16 + 2 * 16 * 16));
    assert_true(sdg_op_bytes(g, find_op(g, "l")) == 4 * (2 * 16 * 16 + 16 * 16 + 2 * 16 * 16 + 2 * 16 * 16));
    assert_true(sdg_op_bytes(g, find_op(g, "e")) == 4 * (2 * 5 + 3 * 2 * 5 * 16)); // ids, two rows a token, the sums
    sdg_value reads[SDG_OP_MAX_READS];
    assert_int_equal(sdg_op_reads(g, find_op(g, "c"), reads), 1);
    assert_int_equal(sdg_op_reads(g, find_op(g, "a"), reads), 2);
    assert_true(reads[0] == y && reads[1] == text);
    assert_int_equal(sdg_op_reads(g, find_op(g, "l"), reads), 2);
    assert_true(reads[0] == a && reads[1] == y);
    assert_int_equal(sdg_op_reads(g, find_op(g, "e"), reads), 1);
    assert_string_equal(sdg_op_name(SDG_OP_UPSAMPLE_NEAREST), "upsample_nearest");
    assert_int_equal(sdg_graph_set_type(g, SDG_F16), SDG_OK);
    assert_int_equal(g->values[x].dtype, SDG_F16);
    assert_int_equal(g->values[z].dtype, SDG_F16);
    assert_int_equal(g->values[ids].dtype, SDG_S32);
    assert_int_equal(g->values[table].dtype, SDG_F32);
    assert_int_equal(g->values[find_op(g, "c")->in[1]].dtype, SDG_F16);
    assert_int_equal(g->values[find_op(g, "c")->epilogue.bias].dtype, SDG_F32);
    assert_int_equal(g->values[find_op(g, "e")->in[1]].dtype, SDG_F16);
    assert_int_equal(sdg_graph_set_type(g, SDG_S8), SDG_ERROR_USAGE);
    sdg_graph_destroy(&g);
}

// ---- tests: copies ----

// A copy means the same, outlives the original and does not change with it.
static void copies(void **state)
{
    (void)state;
    random_state = 3;
    struct sdg_graph *g = unet(2, 8, 8, 2, 1, 2), *copy = NULL;
    assert_int_equal(sdg_graph_fuse(g), SDG_OK);
    struct messages other = {0};
    const struct sdg_log log = {.fn = on_message, .user = &other, .level = SDG_LOG_INFO};
    assert_int_equal(sdg_graph_copy(&log, g, &copy), SDG_OK);
    size_t count, count_copied, values = g->value_count;
    float *want = interpret(g, &count);
    assert_int_equal(copy->value_count, values);
    assert_int_equal(copy->op_count, g->op_count);
    assert_int_equal(copy->rows, g->rows);
    for (size_t v = 1; v < values; v++)
        assert_true((!copy->values[v].name && !g->values[v].name) || copy->values[v].name != g->values[v].name);
    sdg_graph_input(g, "another", 1, 1, 1, 1);
    assert_int_equal(copy->value_count, values);
    sdg_graph_destroy(&g);
    float *got = interpret(copy, &count_copied);
    assert_int_equal(count_copied, count);
    assert_memory_equal(got, want, count * sizeof *want);
    free(got);
    free(want);
    sdg_graph_input(copy, "", 1, 1, 1, 1); // its own log hears of its failures
    assert_int_equal(other.errors, 1);
    assert_int_equal(messages.errors, 0);
    assert_int_equal(sdg_graph_copy(&test_log, copy, &g), SDG_ERROR_INPUT); // nothing to copy, already reported
    assert_null(g);
    assert_int_equal(messages.errors + other.errors, 1);
    sdg_graph_destroy(&copy);
}

// Codes have integer types that a graph's type does not change, and whoever reads an interval measured at run time
// keeps it alive.
static void integers(void **state)
{
    (void)state;
    struct sdg_graph *g = new_graph();
    sdg_value x = sdg_graph_input(g, "x", 2, 4, 4, 8), table = sdg_graph_table(g, "interval", 3, 1, 2);
    sdg_value normed = norm(g, "gn", x, 2), measured = sdg_graph_measure_interval(g, "m", normed, 0, 255);
    sdg_value codes = sdg_graph_quantize(g, "q", normed, measured, 0, 255),
              up = sdg_graph_upsample_nearest(g, "up", codes, 8, 8);
    sdg_value part = sdg_graph_slice(g, "part", up, 2, 4), weight = sdg_graph_conv_weight(g, 6, 8, 3, 3, "c.weight");
    sdg_value floats = sdg_graph_upsample_nearest(g, "floats", normed, 8, 8);
    sdg_value y = sdg_graph_conv2d(g, "c", floats, weight, same3, none);
    const size_t at = g->op_count - 1;
    assert_int_equal(sdg_graph_use_codes(g, at, up, measured, sdg_graph_vector_weight(g, 6, "c.weight_scale"), 4),
                     SDG_OK);
    assert_int_equal(sdg_graph_emit_codes(g, at, table, -8, 7), SDG_OK);
    sdg_graph_output(g, "out", part);
    assert_int_equal(sdg_graph_set_type(g, SDG_BF16), SDG_OK);
    assert_int_equal(g->values[codes].dtype, SDG_U8);
    assert_int_equal(g->values[up].dtype, SDG_U8);
    assert_int_equal(g->values[part].dtype, SDG_U8);
    assert_int_equal(g->values[y].dtype, SDG_S8);
    assert_int_equal(g->values[measured].dtype, SDG_F32);
    assert_int_equal(g->values[normed].dtype, SDG_BF16);
    assert_int_equal(g->values[weight].dtype, SDG_S8);
    assert_int_equal(g->values[weight].bits, 4);
    sdg_value reads[SDG_OP_MAX_READS];
    // codes and their interval; table and weights are no activations
    assert_int_equal(sdg_op_reads(g, &g->ops[at], reads), 2);
    assert_true(reads[0] == up && reads[1] == measured);
    assert_int_equal(sdg_op_reads(g, &g->ops[2], reads), 2); // quantize: what it reads, and the interval of its codes
    assert_true(reads[0] == normed && reads[1] == measured);
    // the convolution is not an output: removed, with it the float upsampling
    assert_int_equal(sdg_graph_fuse(g), SDG_OK);
    assert_int_equal(g->op_count, 5);
    assert_int_equal(sdg_graph_check(g), SDG_OK);
    sdg_graph_destroy(&g);
}

// An interval for each token goes with all that quantizes, and with products that keep tokens apart.
static void intervals_of_tokens(void **state)
{
    (void)state;
    struct sdg_graph *g = new_graph();
    sdg_value x = sdg_graph_input(g, "x", 2, 4, 5, 8), table = sdg_graph_interval_table(g, "tokens", 3, 20);
    sdg_value one = sdg_graph_interval_table(g, "one", 3, 1);
    assert_memory_equal(g->values[table].dims, ((int64_t[4]){3, 20, 1, 2}), sizeof(int64_t[4]));
    assert_memory_equal(g->values[one].dims, ((int64_t[4]){3, 1, 1, 2}), sizeof(int64_t[4]));
    sdg_value codes = sdg_graph_quantize(g, "q", x, table, -128, 127);
    sdg_graph_fake_quantize(g, "f", x, table, 0, 255);
    sdg_graph_linear(g, "lin", x, sdg_graph_linear_weight(g, 6, 8, "lin.weight"), none);
    assert_int_equal(sdg_graph_use_codes(g, g->op_count - 1, codes, table, sdg_graph_vector_weight(g, 6, "ls"), 8),
                     SDG_OK);
    assert_int_equal(sdg_graph_emit_codes(g, g->op_count - 1, table, 0, 255), SDG_OK);
    sdg_graph_conv2d(g, "c", x, sdg_graph_conv_weight(g, 6, 8, 1, 1, "c.weight"), (struct sdg_conv_params){.stride = 1},
                     none);
    assert_int_equal(sdg_graph_use_codes(g, g->op_count - 1, codes, table, sdg_graph_vector_weight(g, 6, "cs"), 4),
                     SDG_OK);
    sdg_graph_conv2d(g, "c3", x, sdg_graph_conv_weight(g, 6, 8, 3, 3, "c3.weight"), same3, none);
    assert_int_equal(sdg_graph_emit_codes(g, g->op_count - 1, table, 0, 255), SDG_OK);
    assert_int_equal(sdg_graph_check(g), SDG_OK);
    assert_true(sdg_op_is_interval(find_op(g, "lin"), table) && !sdg_op_is_interval(find_op(g, "lin"), codes));
    assert_true(!sdg_op_is_interval(find_op(g, "c3"), x) && !sdg_op_is_interval(find_op(g, "c3"), 0));
    sdg_graph_destroy(&g);
}

// What ops.def says of each operation agrees with what its builder makes.
static void columns(void **state)
{
    (void)state;
    struct sdg_graph *g = new_graph();
    sdg_value x = sdg_graph_input(g, "x", 2, 4, 4, 8), measured = sdg_graph_measure_interval(g, "m", x, -128, 127);
    sdg_value codes = sdg_graph_quantize(g, "q", x, measured, -128, 127);
    sdg_graph_slice(g, "sl", codes, 0, 4);
    sdg_graph_upsample_nearest(g, "up", codes, 8, 8);
    conv(g, "c", x, 16, 3, 2, 0);
    norm(g, "gn", x, 2);
    sdg_graph_geglu(g, "ge", x);
    sdg_graph_attention(g, "a", x, x, x, 2, 1, false);
    sdg_graph_unary(g, "u", x, SDG_UNARY_RELU);
    sdg_graph_embed(g, "e", sdg_graph_input_s32(g, "ids", 1, 4), one_by_one(g, 9, 8), one_by_one(g, 9, 8));
    sdg_graph_fake_quantize(g, "f", x, measured, -128, 127);
    assert_int_equal(sdg_graph_check(g), SDG_OK);
    for (size_t i = 0; i < g->op_count; i++) {
        const struct sdg_op *op = &g->ops[i];
        const enum sdg_dtype out = g->values[op->out].dtype;
        for (int k = 0; k < SDG_OP_MAX_INPUTS && op->in[k]; k++) {
            const struct sdg_value_info *v = &g->values[op->in[k]];
            const enum sdg_operand operand = sdg_op_operand(op->kind, k);
            assert_true(v->kind == SDG_VALUE_WEIGHT ? operand == SDG_OPERAND_FACTOR || operand == SDG_OPERAND_WEIGHT
                            : v->dtype == SDG_S32   ? operand == SDG_OPERAND_IDS
                            : op->in[k] == measured ? operand == SDG_OPERAND_INTERVAL
                                                    : operand == SDG_OPERAND_ACTIVATION);
        }
        assert_true(sdg_op_result(op->kind) ==
                    (op->kind == SDG_OP_QUANTIZE    ? SDG_RESULT_CODES
                         : out == SDG_S8            ? SDG_RESULT_MOVED
                         : strchr("cga", *op->name) ? SDG_RESULT_EITHER
                                                    : SDG_RESULT_FLOATS));
    }
    assert_int_equal(sdg_op_operand(SDG_OP_UNARY, 1), SDG_OPERAND_NONE);
    assert_int_equal(sdg_op_operand(SDG_OP_CONV2D, 2), SDG_OPERAND_INTERVAL);
    sdg_graph_destroy(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_of_operations),
        cmocka_unit_test(mistakes_are_reported_once),
        cmocka_unit_test(questions),
        cmocka_unit_test(copies),
        cmocka_unit_test(integers),
        cmocka_unit_test(intervals_of_tokens),
        cmocka_unit_test(columns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
