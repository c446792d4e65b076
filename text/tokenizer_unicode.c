#include "text/tokenizer_unicode.h"

#include "base/memory.h"

#include <string.h>
#include <utf8proc.h>

enum { REPLACEMENT = 0xfffd, DECOMPOSED_MAX = 8, SHORT_RUN = 32, COMBINING_CLASSES = 256 };

enum sdg_char_class sdg_char_class(int32_t c)
{
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
        return SDG_CHAR_LETTER;
    if ((c >= '\t' && c <= '\r') || c == 0x85) // control characters by category, white space by property
        return SDG_CHAR_SPACE;
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO: return SDG_CHAR_LETTER;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO: return SDG_CHAR_NUMBER;
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP: return SDG_CHAR_SPACE;
    default: return SDG_CHAR_OTHER;
    }
}

size_t sdg_utf8_next(const unsigned char *text, const unsigned char *end, int32_t *c)
{
    unsigned char lead = text[0];
    *c = REPLACEMENT;
    if (lead < 0x80) {
        *c = lead;
        return 1;
    }
    if (lead < 0xc2 || lead > 0xf4)
        return 1;
    size_t length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    // The second byte's range excludes overlong forms, surrogates and what lies above U+10FFFF.
    unsigned char low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    unsigned char high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    int32_t value = lead & (0x7f >> length);
    for (size_t i = 1; i < length; i++) {
        if (text + i == end || text[i] < low || text[i] > high)
            return i;
        value = (value << 6) | (text[i] & 0x3f);
        low = 0x80;
        high = 0xbf;
    }
    *c = value;
    return length;
}

size_t sdg_utf8_put(int32_t c, unsigned char *out)
{
    return (size_t)utf8proc_encode_char(c, out); // never a surrogate or out of range here, so never 0
}

enum sdg_result sdg_utf8_decode(const struct sdg_log *log, const char *text, size_t bytes, struct sdg_code_points *out)
{
    // One code point a byte is the most there can be.
    if (!sdg_grow(log, &out->at, &out->capacity, out->count + bytes, sizeof *out->at, "a prompt"))
        return SDG_ERROR_MEMORY;
    const unsigned char *p = (const unsigned char *)text, *end = p + bytes;
    while (p < end)
        p += sdg_utf8_next(p, end, &out->at[out->count++]);
    return SDG_OK;
}

static enum sdg_result decompose(const struct sdg_log *log, const int32_t *in, size_t count,
                                 struct sdg_code_points *out)
{
    int boundary = 0;
    out->count = 0;
    for (size_t i = 0; i < count; i++) {
        utf8proc_int32_t parts[DECOMPOSED_MAX];
        utf8proc_ssize_t n =
            utf8proc_decompose_char(in[i], parts, DECOMPOSED_MAX, UTF8PROC_DECOMPOSE | UTF8PROC_STABLE, &boundary);
        if (n < 1 || n > DECOMPOSED_MAX) { // Unicode guarantees at most 4
            parts[0] = in[i];
            n = 1;
        }
        if (!sdg_grow(log, &out->at, &out->capacity, out->count + (size_t)n, sizeof *out->at, "a prompt"))
            return SDG_ERROR_MEMORY;
        memcpy(out->at + out->count, parts, (size_t)n * sizeof *parts);
        out->count += (size_t)n;
    }
    return SDG_OK;
}

static unsigned combining_class(int32_t c)
{
    return c < 0x300 ? 0 : (unsigned)utf8proc_get_property(c)->combining_class & (COMBINING_CLASSES - 1);
}

bool sdg_is_combining(int32_t c)
{
    return combining_class(c) != 0;
}

static void sort_short_run(int32_t *at, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        int32_t c = at[i];
        unsigned order = combining_class(c);
        size_t j = i;
        for (; j > 0 && combining_class(at[j - 1]) > order; j--)
            at[j] = at[j - 1];
        at[j] = c;
    }
}

// Stable, by counting: thousands of marks on one letter are legal text.
static enum sdg_result sort_long_run(const struct sdg_log *log, int32_t *at, size_t n)
{
    int32_t *copy = sdg_alloc_raw(log, n, sizeof *copy, "combining marks of a prompt");
    if (!copy)
        return SDG_ERROR_MEMORY;
    memcpy(copy, at, n * sizeof *copy);
    size_t start[COMBINING_CLASSES + 1] = {0};
    for (size_t i = 0; i < n; i++)
        start[combining_class(copy[i]) + 1]++;
    for (int k = 0; k < COMBINING_CLASSES; k++)
        start[k + 1] += start[k];
    for (size_t i = 0; i < n; i++)
        at[start[combining_class(copy[i])]++] = copy[i];
    sdg_free(copy);
    return SDG_OK;
}

// Canonical order: runs of combining marks sorted by their class.
static enum sdg_result order_marks(const struct sdg_log *log, int32_t *at, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        size_t begin = i;
        while (i < count && combining_class(at[i]) != 0)
            i++;
        if (i - begin > SHORT_RUN)
            SDG_TRY(sort_long_run(log, at + begin, i - begin));
        else if (i - begin > 1)
            sort_short_run(at + begin, i - begin);
    }
    return SDG_OK;
}

// utf8proc 2.8 takes U+11A7, a vowel that never composes, for a final consonant and swallows it: composing goes from
// one to the next.
static size_t compose(int32_t *at, size_t count)
{
    size_t length = 0;
    for (size_t begin = 0, end; begin < count; begin = end) {
        for (end = begin + 1; end < count && at[end] != 0x11a7; end++)
            ;
        utf8proc_ssize_t n =
            utf8proc_normalize_utf32(at + begin, (utf8proc_ssize_t)(end - begin), UTF8PROC_COMPOSE | UTF8PROC_STABLE);
        size_t kept = n < 0 ? end - begin : (size_t)n; // negative only for options that are not used
        memmove(at + length, at + begin, kept * sizeof *at);
        length += kept;
    }
    return length;
}

// Lower case in place. Only U+0130 grows, and it came from two code points, so there is room: `capacity` is at least
// the result.
static size_t lower(int32_t *at, size_t count)
{
    size_t length = count;
    for (size_t i = 0; i < count; i++)
        length += at[i] == 0x130;
    size_t to = length;
    for (size_t i = count; i-- > 0;) {
        if (at[i] == 0x130) { // I with dot above: i and a combining dot
            at[--to] = 0x307;
            at[--to] = 'i';
        } else {
            at[--to] = utf8proc_tolower(at[i]);
        }
    }
    return length;
}

enum sdg_result sdg_normalize(const struct sdg_log *log, const int32_t *in, size_t count, struct sdg_code_points *out)
{
    // The steps of utf8proc_decompose() and utf8proc_reencode(), except that its sort is quadratic.
    SDG_TRY(decompose(log, in, count, out));
    SDG_TRY(order_marks(log, out->at, out->count));
    out->count = compose(out->at, out->count);
    out->count = lower(out->at, out->count);
    return SDG_OK;
}

void sdg_collapse_space(struct sdg_code_points *text)
{
    size_t kept = 0;
    for (size_t i = 0; i < text->count; i++) {
        bool space = sdg_char_class(text->at[i]) == SDG_CHAR_SPACE;
        if (!space || !kept || text->at[kept - 1] != ' ')
            text->at[kept++] = space ? ' ' : text->at[i];
    }
    text->count = kept;
}

bool sdg_is_word_part(int32_t c)
{
    enum { ZERO_WIDTH_NON_JOINER = 0x200c, ZERO_WIDTH_JOINER = 0x200d, CIRCLED_A = 0x24b6, CIRCLED_LAST = 0x24e9 };
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC: return true;
    default: break;
    }
    return sdg_char_class(c) == SDG_CHAR_LETTER || c == ZERO_WIDTH_NON_JOINER || c == ZERO_WIDTH_JOINER ||
        (c >= CIRCLED_A && c <= CIRCLED_LAST);
}
