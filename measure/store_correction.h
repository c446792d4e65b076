// The sampler's correction in the quantized folder that it belongs to.
#ifndef SDG_MEASURE_STORE_CORRECTION_H
#define SDG_MEASURE_STORE_CORRECTION_H

#include "pipeline/correction.h"

// Replaces the tables of a quantized folder.
enum sdg_result sdg_correction_store(const struct sdg_log *log, const char *folder,
                                     const struct sdg_correction *correction);

#endif
