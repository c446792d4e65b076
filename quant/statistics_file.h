// Inside quant/: shared by statistics.c and statistics_file.c.
#ifndef SDG_QUANT_STATISTICS_FILE_H
#define SDG_QUANT_STATISTICS_FILE_H

#include "quant/statistics.h"

void sdg_statistics_sort(struct sdg_statistics *s); // sites by name

#endif
