// Results that are no numbers are found where they arise, not as a black picture.
#ifndef SDG_BASE_FINITE_H
#define SDG_BASE_FINITE_H

#include "base/log.h"

#include <stddef.h>

// SDG_ERROR_COMPUTE naming `what` if one of the values is not finite.
enum sdg_result sdg_check_finite(const struct sdg_log *log, const float *data, size_t count, const char *what);

#endif
