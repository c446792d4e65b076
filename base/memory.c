#include "base/memory.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 64 };

static _Atomic size_t allocation_count;
static _Atomic size_t allocation_to_fail;

size_t sdg_test_fail_allocation(size_t n)
{
    atomic_store(&allocation_to_fail, n);
    return atomic_exchange(&allocation_count, 0);
}

static bool allowed(void)
{
    size_t number = atomic_fetch_add(&allocation_count, 1) + 1;
    return number != atomic_load(&allocation_to_fail);
}

void *sdg_alloc_raw(const struct sdg_log *log, size_t count, size_t size, const char *what)
{
    size_t bytes;
    void *memory = NULL;
    bool fits = sdg_mul_size(count, size, &bytes) && bytes <= SIZE_MAX - ALIGNMENT;
    // aligned_alloc is not in Android's libc before API level 28
    if (fits && allowed() && posix_memalign(&memory, ALIGNMENT, (bytes + ALIGNMENT) / ALIGNMENT * ALIGNMENT) != 0)
        memory = NULL;
    if (!memory)
        sdg_fail(log, SDG_ERROR_MEMORY, "not enough memory for %s (%zu x %zu bytes)", what, count, size);
    return memory;
}

void *sdg_alloc(const struct sdg_log *log, size_t count, size_t size, const char *what)
{
    void *memory = sdg_alloc_raw(log, count, size, what);
    if (memory)
        memset(memory, 0, count * size);
    return memory;
}

bool sdg_grow(const struct sdg_log *log, void *array, size_t *capacity, size_t need, size_t size, const char *what)
{
    if (need <= *capacity)
        return true;
    size_t wanted = *capacity < 8 ? 8 : *capacity;
    while (wanted < need) {
        if (wanted > SIZE_MAX / 2)
            wanted = need;
        else
            wanted *= 2;
    }
    void *bigger = sdg_alloc(log, wanted, size, what);
    if (!bigger)
        return false;
    void *old;
    memcpy(&old, array, sizeof old);
    if (old)
        memcpy(bigger, old, *capacity * size);
    sdg_free(old);
    memcpy(array, &bigger, sizeof bigger);
    *capacity = wanted;
    return true;
}

char *sdg_strdup(const struct sdg_log *log, const char *text)
{
    size_t bytes = strlen(text) + 1;
    char *copy = sdg_alloc_raw(log, bytes, 1, "a string");
    return copy ? memcpy(copy, text, bytes) : NULL;
}

void sdg_free(void *memory)
{
    free(memory);
}
