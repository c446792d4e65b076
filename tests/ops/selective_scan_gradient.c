#include "tests/ops/check.h"

static void check(struct suite *s, const struct scan_shape *p, int of)
{
    struct fixture f;
    if (!begin(s, &f,
               "selective_scan_gradient(type=%s,n=%d,h=%d,w=%d,c=%d,states=%d,rank=%d,c_first=%d,backward=%d,bias=%d,"
               "gate=%d,add=%d,of=%d)",
               type_name(s), p->n, p->h, p->w, p->channels, p->states, p->rank, p->c_first, p->backward, p->bias,
               p->gate, p->add, of))
        return;
    const struct sdg_scan_operands in = scan_operands(&f, p);
    const sdg_value grad = input(&f, "grad", p->n, p->h, p->w, p->channels, NORMAL_DATA);
    finish(&f, sdg_graph_selective_scan_gradient(f.graph, "scan_gradient", in, scan_params(p), grad, of));
}

void check_selective_scan_gradient(struct suite *s)
{
    static const struct scan_shape small[] = {
        {1, 1, 1, 1, 1, 0, false, false, false, false, false}, {2, 1, 7, 5, 16, 1, false, false, true, true, true},
        {2, 1, 7, 5, 16, 1, false, true, true, true, true},    {1, 3, 5, 33, 3, 2, true, true, true, false, false},
        {3, 2, 2, 64, 8, 0, true, false, false, false, true},  {1, 1, 130, 9, 24, 3, false, false, true, true, false},
        {1, 1, 67, 3, 256, 0, false, true, true, false, true},
    };
    static const struct scan_shape large = {64, 8, 8, 384, 16, 12, false, false, true, true, true};
    for (int of = 0; of <= 3; of += 3) {
        for (size_t i = 0; i < sizeof small / sizeof *small && !s->bench; i++)
            check(s, &small[i], of);
        if (s->bench)
            check(s, &large, of);
    }
}
