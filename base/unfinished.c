#include "base/unfinished.h"

#include "base/platform.h"

#include <stdatomic.h>
#include <stddef.h>

enum { MOST = 64 };
static const char *_Atomic list[MOST];

void sdg_unfinished_add(const char *path)
{
    for (size_t i = 0; i < MOST; i++) {
        const char *none = NULL;
        if (atomic_compare_exchange_strong(&list[i], &none, path))
            return;
    }
}

void sdg_unfinished_done(const char *path)
{
    for (size_t i = 0; path && i < MOST; i++) {
        const char *expected = path;
        if (atomic_compare_exchange_strong(&list[i], &expected, NULL))
            return;
    }
}

void sdg_unfinished_remove(void)
{
    for (size_t i = 0; i < MOST; i++) {
        const char *path = atomic_exchange(&list[i], NULL);
        if (path)
            sdg_platform_remove(path);
    }
}
