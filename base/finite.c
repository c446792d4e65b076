#include "base/finite.h"

#include <math.h>

size_t sdg_first_not_finite(const float *data, size_t count)
{
    size_t i = 0;
    while (i < count && isfinite(data[i]))
        i++;
    return i;
}
