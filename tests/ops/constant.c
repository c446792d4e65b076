#include "tests/ops/check.h"

// Each rank of weights; odd lengths.
void check_constant(struct suite *s)
{
    for (int rank = 1; rank <= 4; rank++) {
        struct fixture f;
        if (!begin(s, &f, "constant(type=%s,rank=%d)", type_name(s), rank))
            continue;
        const sdg_value weight = rank == 1 ? vector_weight(&f, 37, 1, 0)
            : rank == 2                    ? linear_weight(&f, 19, 33)
            : rank == 3                    ? conv1d_weight(&f, 21, 4)
                                           : conv_weight(&f, 5, 7, 3, 3);
        f.pointwise = true;
        finish(&f, sdg_graph_constant(f.graph, "constant", weight));
    }
}
