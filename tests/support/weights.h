// For tests: a weight value in one call.
#ifndef SDG_TESTS_SUPPORT_WEIGHTS_H
#define SDG_TESTS_SUPPORT_WEIGHTS_H

#include "graph/weights.h"

static inline enum sdg_result load_weight(const struct sdg_log *log, const struct sdg_tensors *tensors,
                                          const struct sdg_value_info *v, enum sdg_dtype dtype, void *to)
{
    struct sdg_weight weight;
    SDG_TRY(sdg_weight_find(log, tensors, v, &weight));
    sdg_weight_read(&weight, 0, weight.outputs, dtype, to);
    sdg_weight_release(&weight); // the data stays readable
    return SDG_OK;
}

#endif
