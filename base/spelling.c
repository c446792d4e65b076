#include "base/spelling.h"

#include <stdint.h>
#include <string.h>

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

size_t sdg_spelling_distance(const char *a, const char *b)
{
    const size_t a_length = strlen(a), b_length = strlen(b);
    size_t rows[3][SDG_SPELLING_BYTES + 1], *before = rows[0], *last = rows[1], *row = rows[2];
    if (a_length > SDG_SPELLING_BYTES || b_length > SDG_SPELLING_BYTES)
        return SIZE_MAX;
    for (size_t j = 0; j <= b_length; j++)
        last[j] = j;
    for (size_t i = 1; i <= a_length; i++) {
        row[0] = i;
        for (size_t j = 1; j <= b_length; j++) {
            row[j] = least(least(last[j], row[j - 1]) + 1, last[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = least(row[j], before[j - 2] + 1);
        }
        size_t *const free = before;
        before = last;
        last = row;
        row = free;
    }
    return last[b_length];
}

const char *sdg_spelling_nearest(const char *word, const char *const *names, size_t most)
{
    const char *nearest = NULL;
    size_t best = 0;
    for (; *names; names++) {
        const size_t d = sdg_spelling_distance(word, *names);
        if (d <= most && (!nearest || d < best)) {
            best = d;
            nearest = *names;
        }
    }
    return nearest;
}
