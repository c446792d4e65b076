// Words that look like another: for "did you mean".
#ifndef SDG_BASE_SPELLING_H
#define SDG_BASE_SPELLING_H

#include <stddef.h>

enum { SDG_SPELLING_BYTES = 48 }; // longer words are like no other

// Insertions, deletions, substitutions and exchanges of neighbours that make one word of the other (Damerau 1964, each
// place changed once), in bytes; SIZE_MAX if one is longer than SDG_SPELLING_BYTES.
size_t sdg_spelling_distance(const char *a, const char *b);
// Of a NULL-terminated list the first of those that differ least, by `most` at most; NULL if there is none.
const char *sdg_spelling_nearest(const char *word, const char *const *names, size_t most);

#endif
