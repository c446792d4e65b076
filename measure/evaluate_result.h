// The result of an evaluation, and all that belongs to it.
#ifndef SDG_MEASURE_EVALUATE_RESULT_H
#define SDG_MEASURE_EVALUATE_RESULT_H

#include "base/log.h"
#include "sdgen/evaluate.h"
#include <stddef.h>

struct sdg_evaluation_store {
    struct sdg_evaluation shown; // first: its address is what the caller holds
    const struct sdg_log *log;   // while the evaluation runs
    void **blocks;               // all memory of the result
    size_t count, capacity;
    struct sdg_image **images; // [1 + models][pictures]
    size_t image_count;
};
enum sdg_result sdg_evaluation_create(const struct sdg_log *log, struct sdg_evaluation_store **out);
// Zeroed memory that lives as long as the result; NULL after a report.
void *sdg_evaluation_take(struct sdg_evaluation_store *store, size_t count, size_t size);
char *sdg_evaluation_text(struct sdg_evaluation_store *store, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
