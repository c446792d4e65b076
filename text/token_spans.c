#include "text/token_spans.h"

#include "base/memory.h"

#include <string.h>

enum {
    FIRST_MARK = 0x300,   // what is below never joins what is before it
    FIRST_VOWEL = 0x1160, // of conjoining jamo, which may join a syllable that is still to be composed
    LAST_FINAL = 0x11ff,
};

enum sdg_result sdg_utf8_spans(const struct sdg_log *log, const char *text, size_t bytes, struct sdg_token_span **out)
{
    const unsigned char *const begin = (const unsigned char *)text, *const end = begin + bytes, *at = begin;
    struct sdg_token_span *spans = sdg_alloc_raw(log, bytes + 1, sizeof *spans, "a prompt");
    if (!spans)
        return SDG_ERROR_MEMORY;
    for (size_t i = 0; at < end; i++) {
        int32_t c;
        spans[i].begin = (size_t)(at - begin);
        at += sdg_utf8_next(at, end, &c);
        spans[i].end = (size_t)(at - begin);
    }
    *out = spans;
    return SDG_OK;
}

// ---- normalised text ----

// The text is normalised in pieces that do not change each other; what a piece becomes has the span of all of it.
struct pieces {
    const struct sdg_log *log;
    struct sdg_code_points one, two, both;
    struct sdg_token_span *spans;
    size_t count, capacity;
};

// Whether pair[1] is normalised the same behind pair[0] as alone.
static enum sdg_result stands_apart(struct pieces *p, const int32_t *pair, bool *apart)
{
    const int32_t c = pair[1];
    *apart = c < FIRST_MARK;
    if (*apart || sdg_is_combining(c) || (c >= FIRST_VOWEL && c <= LAST_FINAL))
        return SDG_OK;
    SDG_TRY(sdg_normalize(p->log, pair, 1, &p->one));
    SDG_TRY(sdg_normalize(p->log, pair + 1, 1, &p->two));
    SDG_TRY(sdg_normalize(p->log, pair, 2, &p->both));
    *apart = p->both.count == p->one.count + p->two.count &&
        memcmp(p->both.at, p->one.at, p->one.count * sizeof *p->one.at) == 0 &&
        memcmp(p->both.at + p->one.count, p->two.at, p->two.count * sizeof *p->two.at) == 0;
    return SDG_OK;
}

// `part` of the normalised text comes from in[0..count).
static enum sdg_result add_spans(struct pieces *p, const struct sdg_token_span *spans, size_t count, size_t part)
{
    if (!sdg_grow(p->log, &p->spans, &p->capacity, p->count + part + 1, sizeof *p->spans, "a prompt"))
        return SDG_ERROR_MEMORY;
    for (size_t i = 0; i < part; i++)
        p->spans[p->count++] = (struct sdg_token_span){spans[0].begin, spans[count - 1].end};
    return SDG_OK;
}

static enum sdg_result add_pieces(struct pieces *p, const int32_t *in, const struct sdg_token_span *spans, size_t count)
{
    for (size_t begin = 0, end; begin < count; begin = end) {
        bool apart = false;
        for (end = begin + 1; end < count && !apart; end += !apart)
            SDG_TRY(stands_apart(p, in + end - 1, &apart));
        SDG_TRY(sdg_normalize(p->log, in + begin, end - begin, &p->both));
        SDG_TRY(add_spans(p, spans + begin, end - begin, p->both.count));
    }
    return SDG_OK;
}

// As sdg_collapse_space: the first of a run of white space stands for it.
static void collapse(const struct sdg_code_points *text, struct sdg_token_span *spans)
{
    bool before = false; // white space
    size_t kept = 0;
    for (size_t i = 0; i < text->count; i++) {
        const bool space = sdg_char_class(text->at[i]) == SDG_CHAR_SPACE;
        if (!space || !before)
            spans[kept++] = spans[i];
        before = space;
    }
}

enum sdg_result sdg_normalized_spans(const struct sdg_log *log, const int32_t *in, const struct sdg_token_span *spans,
                                     size_t count, const struct sdg_code_points *normalized,
                                     struct sdg_token_span **out)
{
    struct pieces p = {.log = log};
    enum sdg_result result = add_spans(&p, spans, count, 0);
    if (result == SDG_OK)
        result = add_pieces(&p, in, spans, count);
    if (result == SDG_OK && p.count != normalized->count) { // pieces that do change each other after all
        p.count = 0;
        result = add_spans(&p, spans, count, normalized->count);
    }
    if (result == SDG_OK)
        collapse(normalized, p.spans);
    sdg_free(p.one.at);
    sdg_free(p.two.at);
    sdg_free(p.both.at);
    if (result != SDG_OK)
        sdg_free(p.spans);
    *out = result == SDG_OK ? p.spans : NULL;
    return result;
}
