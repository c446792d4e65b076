// Results that are no numbers are found where they arise, not as a black picture.
#ifndef SDG_BASE_FINITE_H
#define SDG_BASE_FINITE_H

#include <stddef.h>

// The index of the first value that is infinite or no number; `count` if all are finite.
size_t sdg_first_not_finite(const float *data, size_t count);

#endif
