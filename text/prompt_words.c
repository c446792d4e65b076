#include "text/prompt_words.h"

#include "text/tokenizer_unicode.h"

#include <stdbool.h>
#include <string.h>

static bool is_word_char(int32_t c)
{
    enum sdg_char_class class = sdg_char_class(c);
    return c == '_' || class == SDG_CHAR_LETTER || class == SDG_CHAR_NUMBER;
}

static bool word_char_before(const char *start, const char *at)
{
    const char *lead = at;
    while (lead > start && at - lead < 4) {
        lead--;
        if (((unsigned char)*lead & 0xc0) != 0x80)
            break;
    }
    int32_t c;
    return lead < at &&
        sdg_utf8_next((const unsigned char *)lead, (const unsigned char *)at, &c) == (size_t)(at - lead) &&
        is_word_char(c);
}

static bool word_char_after(const char *at, const char *end)
{
    int32_t c;
    return at < end && sdg_utf8_next((const unsigned char *)at, (const unsigned char *)end, &c) > 0 && is_word_char(c);
}

const char *sdg_prompt_find_word(const char *start, const char *at, const char *end, const char *word)
{
    const size_t length = strlen(word);
    for (; (size_t)(end - at) >= length; at++)
        if (memcmp(at, word, length) == 0 && !word_char_before(start, at) && !word_char_after(at + length, end))
            return at;
    return NULL;
}
