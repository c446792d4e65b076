// Numbers as prompts have them. Internal to text/.
#ifndef SDG_TEXT_PROMPT_NUMBER_H
#define SDG_TEXT_PROMPT_NUMBER_H

#include <stddef.h>

// Reads a sign, digits with at most one point, and an exponent, as much as there is of it at the beginning of
// text[0..length). Returns how many bytes that are; 0 if it is no number. Independent of the locale, and exact to the
// last bit up to 15 digits without exponent; larger numbers become 1e100.
size_t sdg_prompt_number(const char *text, size_t length, double *value);

#endif
