#include "base/memory.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__linux__)
#include <unistd.h>
#endif
#if defined(__GLIBC__)
#include <malloc.h>
#endif

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
    if (fits && allowed())
        memory = aligned_alloc(ALIGNMENT, (bytes + ALIGNMENT) / ALIGNMENT * ALIGNMENT);
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

static size_t status_field(const char *field)
{
    size_t kib = 0;
#if defined(__linux__)
    FILE *file = fopen("/proc/self/status", "r");
    if (!file)
        return 0;
    char line[256];
    while (fgets(line, sizeof line, file))
        if (strncmp(line, field, strlen(field)) == 0)
            kib = strtoull(line + strlen(field), NULL, 10);
    fclose(file);
#else
    (void)field;
#endif
    return kib * 1024;
}

size_t sdg_resident_peak(void)
{
    return status_field("VmHWM:");
}

size_t sdg_resident_now(void)
{
    return status_field("VmRSS:");
}

void sdg_resident_reset_peak(void)
{
#if defined(__linux__)
    FILE *file = fopen("/proc/self/clear_refs", "w");
    if (file) {
        fputs("5", file); // proc(5): resets the peak resident set size
        fclose(file);
    }
#endif
}

void sdg_memory_trim(void)
{
#if defined(__GLIBC__)
    malloc_trim(0);
#endif
}
