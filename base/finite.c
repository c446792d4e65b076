#include "base/finite.h"

#include <math.h>

enum sdg_result sdg_check_finite(const struct sdg_log *log, const float *data, size_t count, const char *what)
{
    for (size_t i = 0; i < count; i++)
        if (!isfinite(data[i]))
            return sdg_fail(log, SDG_ERROR_COMPUTE, "%s is not finite (%g at element %zu of %zu); try --type f32", what,
                            (double)data[i], i, count);
    return SDG_OK;
}
