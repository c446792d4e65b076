#include "tests/ops/check.h"

#include <math.h>
#include <stdlib.h>

static void finish_measured(struct fixture *f, sdg_value x, const float *values, int lowest, int highest)
{
    size_t count = (size_t)sdg_value_elements(&f->graph->values[x]);
    float most = -INFINITY, least = INFINITY;
    for (size_t i = 0; i < count; i++) {
        most = fmaxf(most, values[i]);
        least = fminf(least, values[i]);
    }
    // in f32, whose roundings are part of the definition: the same bits on every backend
    float scale = fmaxf(most / (float)highest, least / (float)lowest), zero = 0;
    if (lowest == 0) {
        scale = (fmaxf(most, 0) + 0.2785f) / (float)highest;
        zero = fminf(rintf(0.2785f / scale), (float)highest);
    } else if (most == 0 && least == 0) {
        scale = 1;
    }
    const float expected[2] = {fmaxf(scale, 0x1p-100f), zero};
    finish_expected(f, sdg_graph_measure_interval(f->graph, "measure", x, lowest, highest), 0, expected, 0);
}

// Over all samples; largest value or smallest decides.
static void check(struct suite *s, int n, int h, int w, int c, int lowest, int highest, struct data data)
{
    struct fixture f;
    if (!begin(s, &f, "measure_interval(type=%s,n=%d,h=%d,w=%d,c=%d,codes=%d..%d,scale=%g,shift=%g,fill=%d)",
               type_name(s), n, h, w, c, lowest, highest, data.scale, data.shift, data.fill))
        return;
    sdg_value x = input(&f, "x", n, h, w, c, data);
    finish_measured(&f, x, last_input(&f), lowest, highest);
}

// One value stands out, at every place in turn of a tensor that no vector length divides.
static void check_places(struct suite *s, float outlier)
{
    enum { COUNT = 2 * 3 * 37 };
    for (int place = 0; place < COUNT; place += 17) {
        float values[COUNT];
        struct fixture f;
        if (!begin(s, &f, "measure_interval(type=%s,place=%d,outlier=%g)", type_name(s), place, outlier))
            continue;
        for (int i = 0; i < COUNT; i++)
            values[i] = i == place ? outlier : (float)(i % 3) - 1;
        sdg_value x = input(&f, "x", 2, 3, 1, 37, NORMAL_DATA);
        set_input(&f, values);
        finish_measured(&f, x, last_input(&f), -128, 127);
    }
}

void check_measure_interval(struct suite *s)
{
    if (s->bench) {
        check(s, 2, 64, 64, 320, -128, 127, NORMAL_DATA);
        return;
    }
    static const struct data data[] = {{NORMAL, 1, 0}, {NORMAL, 1, 20}, {NORMAL, 1, -20},   {FLAT, 0, 0},
                                       {FLAT, 0, 3},   {FLAT, 0, -3},   {NORMAL, 1e-4f, 0}, {EDGE, 1, 0}};
    for (size_t i = 0; i < sizeof data / sizeof *data; i++) {
        check(s, 2, 7, 5, 31, -128, 127, data[i]);
        check(s, 1, 5, 5, 33, 0, 255, data[i]);
    }
    check(s, 1, 1, 1, 1, -8, 7, NORMAL_DATA);
    check(s, 3, 1, 77, 64, 0, 15, NORMAL_DATA);
    check(s, 2, 40, 40, 12, -128, 127, NORMAL_DATA);
    check_places(s, 50);
    check_places(s, -50);
}
