#include "text/prompt_number.h"

#include <math.h>
#include <stdbool.h>

#define LARGEST 1e100 // keeps products of many brackets finite

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

// The exponent at text[at..length), which is there in full or not at all. Returns where it ends.
static size_t read_exponent(const char *text, size_t at, size_t length, int *exponent)
{
    size_t i = at + 1;
    bool negative = false;
    if (at >= length || (text[at] != 'e' && text[at] != 'E'))
        return at;
    if (i < length && (text[i] == '-' || text[i] == '+'))
        negative = text[i++] == '-';
    if (i >= length || !is_digit(text[i]))
        return at;
    int digits = 0;
    for (; i < length && is_digit(text[i]); i++)
        digits = digits < 1000 ? digits * 10 + (text[i] - '0') : digits;
    *exponent = negative ? -digits : digits;
    return i;
}

size_t sdg_prompt_number(const char *text, size_t length, double *value)
{
    size_t i = length && (*text == '-' || *text == '+');
    double digits = 0, scale = 1;
    bool any = false, point = false;
    int exponent = 0;
    for (; i < length && (is_digit(text[i]) || (text[i] == '.' && !point)); i++) {
        if (text[i] == '.') {
            point = true;
            continue;
        }
        any = true;
        if (point && scale >= 1e15) // what follows is below the precision
            continue;
        digits = fmin(digits * 10 + (text[i] - '0'), LARGEST);
        if (point)
            scale *= 10;
    }
    if (!any)
        return 0;
    i = read_exponent(text, i, length, &exponent);
    double number = digits / scale;
    if (exponent)
        number = fmin(number * pow(10, exponent), LARGEST);
    *value = *text == '-' ? -number : number;
    return i;
}
