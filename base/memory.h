// All host allocations of the library, so that they can be counted, and made to fail one by one in tests.
#ifndef SDG_BASE_MEMORY_H
#define SDG_BASE_MEMORY_H

#include "base/log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// count * size zeroed bytes, 64-byte aligned. NULL on overflow or failure, after reporting "not enough memory for
// <what>". A size of 0 gives a valid pointer. Free with sdg_free. The caller returns SDG_ERROR_MEMORY.
void *sdg_alloc(const struct sdg_log *log, size_t count, size_t size, const char *what);
// Not zeroed: for large buffers that are overwritten at once, so that untouched pages stay unmapped.
void *sdg_alloc_raw(const struct sdg_log *log, size_t count, size_t size, const char *what);
// Grows *array to at least `need` elements of `size` bytes (doubling); old content is kept, the new part is zeroed.
bool sdg_grow(const struct sdg_log *log, void *array, size_t *capacity, size_t need, size_t size, const char *what);
char *sdg_strdup(const struct sdg_log *log, const char *text);
void sdg_free(void *memory); // NULL is fine

// Tests: the n-th allocation from now on fails (0 = never); returns how many allocations there were since the last
// call.
size_t sdg_test_fail_allocation(size_t n);

static inline bool sdg_mul_size(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

#endif
