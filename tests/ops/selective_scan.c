#include "tests/ops/check.h"

#include <stdlib.h>

static void check(struct suite *s, const struct scan_shape *p)
{
    struct fixture f;
    if (!begin(s, &f,
               "selective_scan(type=%s,n=%d,h=%d,w=%d,c=%d,states=%d,rank=%d,c_first=%d,backward=%d,bias=%d,"
               "gate=%d,add=%d)",
               type_name(s), p->n, p->h, p->w, p->channels, p->states, p->rank, p->c_first, p->backward, p->bias,
               p->gate, p->add))
        return;
    const struct sdg_scan_operands in = scan_operands(&f, p);
    finish(&f, sdg_graph_selective_scan(f.graph, "scan", in, scan_params(p)));
}

// Which operands are codes; whether those of odd ones are of each token's interval, and which are signed.
enum { X_CODES = 1, DELTA_CODES = 2, GATE_CODES = 4 };

// Operands as codes give, but for rounding, what their values give.
static void check_read_codes(struct suite *s, int n, int tokens, int channels, int states, bool backward, bool by_token,
                             bool is_signed, int which)
{
    enum { ROWS = 2 };
    struct fixture f;
    if (!begin(s, &f,
               "selective_scan(type=%s,codes=%d,n=%d,tokens=%d,c=%d,states=%d,backward=%d,by_token=%d,signed=%d)",
               type_name(s), which, n, tokens, channels, states, backward, by_token, is_signed))
        return;
    const size_t size = (size_t)(ROWS * tokens) * 2;
    float *pairs = get(3 * size * sizeof *pairs);
    struct sdg_scan_operands in = {
        .x = input(&f, "x", n, 1, tokens, channels, NORMAL_DATA),
        .delta = input(&f, "delta", n, 1, tokens, channels, (struct data){NORMAL, 1.5f, -3}),
        .bc = input(&f, "bc", n, 1, tokens, 2 * states, NORMAL_DATA),
        .a_log = matrix_weight(&f, channels, states, (struct data){NORMAL, 1, 1}),
        .d = vector_weight(&f, channels, 0.3f, 1),
        .gate = which & GATE_CODES ? input(&f, "gate", n, 1, tokens, channels + 3, NORMAL_DATA) : 0,
    };
    if (which & X_CODES)
        in.x = coded(&f, 0, in.x, by_token, is_signed, pairs);
    if (which & DELTA_CODES)
        in.delta = coded(&f, 1, in.delta, which == DELTA_CODES ? by_token : !by_token, !is_signed, pairs + size);
    if (which & GATE_CODES)
        in.gate = coded(&f, 6, in.gate, by_token, is_signed, pairs + 2 * size);
    const struct sdg_scan_params params = {
        .c_start = states, .gate_start = in.gate ? 2 : 0, .scale = 1, .backward = backward};
    finish(&f, sdg_graph_selective_scan(f.graph, "scan", in, params));
    free(pairs);
}

// Decays from almost 1 to far below f32's range, side by side.
static void check_steep(struct suite *s, int tokens, int channels, int states, bool backward)
{
    struct fixture f;
    if (!begin(s, &f, "selective_scan(type=%s,steep,tokens=%d,c=%d,states=%d,backward=%d)", type_name(s), tokens,
               channels, states, backward))
        return;
    const struct sdg_scan_operands in = {
        .x = input(&f, "x", 1, 1, tokens, channels, NORMAL_DATA),
        .delta = input(&f, "delta", 1, 1, tokens, channels, (struct data){NORMAL, 3, -2}),
        .bc = input(&f, "bc", 1, 1, tokens, 2 * states, NORMAL_DATA),
        .a_log = matrix_weight(&f, channels, states, (struct data){NORMAL, 3, 2}),
        .d = vector_weight(&f, channels, 0.3f, 1),
    };
    const struct sdg_scan_params params = {.c_start = states, .scale = 1, .backward = backward};
    finish(&f, sdg_graph_selective_scan(f.graph, "scan", in, params));
}

void check_selective_scan(struct suite *s)
{
    static const struct scan_shape small[] = {
        {1, 1, 1, 1, 1, 0, false, false, false, false, false},
        {2, 1, 7, 5, 16, 1, false, false, true, true, true},
        {2, 1, 7, 5, 16, 1, false, true, true, true, true},
        {1, 3, 5, 33, 3, 2, true, true, true, false, false},
        {1, 9, 13, 20, 17, 4, false, true, true, true, false},
        {3, 2, 2, 64, 8, 0, true, false, false, false, true},
        {1, 1, 130, 9, 24, 3, false, false, true, true, true},
        {1, 1, 67, 3, 256, 0, false, true, true, false, false},
        {1, 1, 1025, 2, 5, 0, false, false, true, true, false},
        {1, 1, 3, 8192, 2, 0, false, true, true, true, true},
        // long enough for chunks, of which the last is whole, short, or a single token
        {2, 1, 145, 35, 16, 4, true, true, true, true, true},
        {1, 16, 16, 11, 7, 0, false, false, false, true, true},
        {1, 1, 521, 5, 256, 1, false, true, true, false, false},
        {1, 1, 700, 3, 1, 0, false, true, true, true, false},
    };
    static const struct scan_shape large[] = {{1, 64, 64, 640, 16, 20, false, false, true, false, false},
                                              {1, 64, 64, 640, 16, 20, false, true, true, true, true},
                                              {1, 64, 64, 32, 16, 2, false, false, true, true, false}};
    for (size_t i = 0; i < sizeof small / sizeof *small && !s->bench; i++)
        check(s, &small[i]);
    for (int i = 0; i < 8 && !s->bench; i++) {
        check_read_codes(s, 2, 37, 21, 5, i & 1, i & 2, i & 4, X_CODES);
        check_read_codes(s, 1, 300, 64, 16, i & 1, i & 2, i & 4, X_CODES);
        check_read_codes(s, 2, 19, 13, 4, i & 1, i & 2, i & 4, DELTA_CODES);
        check_read_codes(s, 1, 33, 40, 3, i & 1, i & 2, i & 4, GATE_CODES);
        check_read_codes(s, 2, 137, 10, 16, i & 1, i & 2, i & 4, X_CODES | DELTA_CODES | GATE_CODES);
    }
    for (int i = 0; i < 2 && !s->bench; i++) {
        check_steep(s, 150, 37, 16, i);
        check_steep(s, 40, 200, 5, i);
    }
    for (size_t i = 0; i < sizeof large / sizeof *large && s->bench; i++)
        check(s, &large[i]);
}
