#include "tests/ops/check.h"

struct shape {
    int n, h, w, in, out, kernel, stride, pad; // pad: -1 is the autoencoder's (0,1,0,1)
    // epilogue: b bias, t table (T one row for all), r residual, a activation
    const char *end;
    int upsample; // 0, or the picture that is h x w is repeated so often before
};

// bits: of the weights as codes in the file; 0: floats
static void check(struct suite *s, const struct shape *p, int rows, enum sdg_unary activation, int bits)
{
    struct fixture f;
    if (!begin(s, &f,
               "conv2d(type=%s,n=%d,h=%d,w=%d,in=%d,out=%d,kernel=%d,stride=%d,pad=%d,end=%s,rows=%d,act=%d,bits=%d,"
               "upsample=%d)",
               type_name(s), p->n, p->h, p->w, p->in, p->out, p->kernel, p->stride, p->pad, p->end, rows, activation,
               bits, p->upsample))
        return;
    int top = p->pad < 0 ? 0 : p->pad, bottom = p->pad < 0 ? 1 : p->pad, times = p->upsample ? p->upsample : 1;
    int64_t h = (p->h * times + top + bottom - p->kernel) / p->stride + 1,
            w = (p->w * times + top + bottom - p->kernel) / p->stride + 1;
    struct sdg_epilogue end = {.activation = activation};
    for (const char *c = p->end; *c; c++) {
        if (*c == 'b')
            end.bias = vector_weight(&f, p->out, 0.5f, 0);
        else if (*c == 't' || *c == 'T')
            end.table = table(&f, "table", rows, *c == 't' ? p->n : 1, p->out);
        else if (*c == 'r')
            end.residual = input(&f, "residual", p->n, h, w, p->out, NORMAL_DATA);
    }
    sdg_value x = input(&f, "x", p->n, p->h, p->w, p->in, NORMAL_DATA);
    if (p->upsample)
        x = sdg_graph_upsample_nearest(f.graph, "large", x, p->h * times, p->w * times);
    sdg_value weight = bits ? code_weight(&f, 4, (int64_t[4]){p->out, p->in, p->kernel, p->kernel}, bits)
                            : conv_weight(&f, p->out, p->in, p->kernel, p->kernel);
    struct sdg_conv_params params = {
        .stride = p->stride, .pad_top = top, .pad_left = top, .pad_bottom = bottom, .pad_right = bottom};
    finish(&f, sdg_graph_conv2d(f.graph, "conv", x, weight, params, end));
}

// The second half of the input channels of a larger weight.
static void check_weight_slice(struct suite *s, int64_t in, int64_t out, int kernel, int bits)
{
    struct fixture f;
    if (!begin(s, &f, "conv2d(type=%s,slice,in=%d,out=%d,kernel=%d,bits=%d)", type_name(s), (int)in, (int)out, kernel,
               bits))
        return;
    sdg_value x = input(&f, "x", 2, 6, 5, in, NORMAL_DATA);
    sdg_value weight = bits ? code_weight(&f, 4, (int64_t[4]){out, 2 * in + 1, kernel, kernel}, bits)
                            : conv_weight(&f, out, 2 * in + 1, kernel, kernel);
    int pad = kernel / 2;
    struct sdg_conv_params params = {.stride = 1, .pad_top = pad, .pad_left = pad, .pad_bottom = pad, .pad_right = pad};
    finish(&f,
           sdg_graph_conv2d(f.graph, "conv", x, sdg_graph_weight_slice(f.graph, weight, in + 1, in), params,
                            (struct sdg_epilogue){0}));
}

static void check_shapes(struct suite *s)
{
    static const struct shape shapes[] = {
        {1, 1, 1, 1, 1, 1, 1, 0, "", 0},      {1, 1, 1, 5, 3, 3, 1, 1, "b", 0},     {2, 7, 5, 3, 31, 3, 1, 1, "b", 0},
        {1, 7, 5, 31, 4, 1, 1, 0, "b", 0},    {3, 5, 7, 33, 33, 3, 2, 1, "b", 0},   {2, 7, 6, 5, 33, 3, 2, -1, "b", 0},
        {2, 8, 8, 4, 5, 3, 2, -1, "b", 0},    {1, 6, 9, 31, 31, 1, 2, 0, "", 0},    {1, 9, 4, 64, 65, 3, 1, 1, "br", 0},
        {2, 4, 7, 64, 48, 3, 1, 1, "btr", 0}, {2, 8, 8, 32, 64, 3, 1, 1, "bTr", 0}, {2, 5, 5, 3, 31, 1, 1, 0, "bt", 0},
        {1, 7, 5, 4, 4, 3, 1, 2, "b", 0},     {3, 3, 3, 17, 130, 3, 1, 1, "tr", 0}, {1, 2, 3, 200, 7, 3, 1, 1, "r", 0},
        {2, 13, 11, 36, 20, 3, 1, 0, "b", 0},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        check(s, &shapes[i], 3, SDG_UNARY_NONE, 0);
    for (size_t i = 0; i < 2 * (sizeof shapes / sizeof *shapes); i++)
        check(s, &shapes[i / 2], 3, i % 3 ? SDG_UNARY_NONE : SDG_UNARY_SILU, i % 2 ? 4 : 8);
    static const struct shape upsampled[] = {
        {2, 3, 5, 3, 31, 3, 1, 1, "b", 2},  {1, 5, 3, 64, 48, 3, 1, 1, "btr", 2}, {3, 2, 3, 33, 4, 3, 2, 1, "b", 3},
        {2, 1, 1, 8, 17, 3, 1, 1, "Tr", 2}, {1, 4, 3, 32, 33, 3, 2, -1, "b", 2},  {2, 3, 2, 5, 8, 1, 1, 0, "", 4},
    };
    for (size_t i = 0; i < sizeof upsampled / sizeof *upsampled; i++)
        check(s, &upsampled[i], 2, i % 2 ? SDG_UNARY_SILU : SDG_UNARY_NONE, i % 3 == 2 ? 8 : 0);
    for (enum sdg_unary a = SDG_UNARY_SILU; a < SDG_UNARY_AFFINE; a++)
        check(s, &(struct shape){2, 5, 7, 9, 33, 3, 1, 1, a % 2 ? "btr" : "b", 0}, 2, a, 0);
    for (int bits = 0; bits <= 8; bits += 4) {
        check_weight_slice(s, 5, 31, 3, bits);
        check_weight_slice(s, 32, 64, 3, bits);
        check_weight_slice(s, 16, 24, 1, bits);
    }
}

void check_conv2d(struct suite *s)
{
    static const struct shape large[] = {
        {2, 64, 64, 320, 320, 3, 1, 1, "btr", 0},   {2, 32, 32, 640, 640, 3, 1, 1, "btr", 0},
        {2, 16, 16, 1280, 1280, 3, 1, 1, "btr", 0}, {2, 8, 8, 1280, 1280, 3, 1, 1, "btr", 0},
        {2, 64, 64, 320, 320, 3, 2, 1, "b", 0},     {2, 64, 64, 640, 320, 1, 1, 0, "b", 0},
        {1, 128, 128, 256, 128, 3, 1, 1, "b", 0},   {2, 64, 64, 4, 320, 3, 1, 1, "b", 0},
        {2, 16, 16, 64, 64, 3, 1, 1, "btr", 0},
    };
    if (!s->bench)
        check_shapes(s);
    for (size_t i = 0; i < sizeof large / sizeof *large && s->bench; i++)
        check(s, &large[i], 1, SDG_UNARY_NONE, 0);
}
