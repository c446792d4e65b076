#include "base/memory.h"
#include "text/token_spans.h"
#include "text/tokenizer_data.h"
#include "text/tokenizer_unicode.h"

#include <string.h>

void sdg_tokenizer_destroy(struct sdg_tokenizer **tokenizer)
{
    struct sdg_tokenizer *t = *tokenizer;
    if (!t)
        return;
    for (size_t i = 0; i < t->special_count; i++) {
        sdg_free(t->specials[i].at);
        sdg_free(t->specials[i].more);
    }
    sdg_free(t->specials);
    sdg_free(t->merges);
    sdg_free(t);
    *tokenizer = NULL;
}

int32_t sdg_tokenizer_begin(const struct sdg_tokenizer *t)
{
    return t->begin;
}

int32_t sdg_tokenizer_end(const struct sdg_tokenizer *t)
{
    return t->end;
}

int32_t sdg_tokenizer_pad(const struct sdg_tokenizer *t)
{
    return t->pad;
}

int sdg_tokenizer_length(const struct sdg_tokenizer *t)
{
    return t->length;
}

size_t sdg_tokenizer_vocabulary(const struct sdg_tokenizer *t)
{
    return t->vocabulary;
}

// ---- Tokenizing ----

// A token of the word being merged; the live ones are linked.
struct symbol {
    int32_t id; // SDG_NO_TOKEN: merged into the one before
    int32_t previous, next;
};

// A pair that may be merged. It is stale when its symbols have changed since.
struct candidate {
    uint64_t key; // rank, position: lower first
    int32_t result;
};

struct tokenize {
    const struct sdg_tokenizer *t;
    const struct sdg_log *log;
    struct sdg_code_points normalized;
    unsigned char *word; // UTF-8
    size_t word_length, word_capacity;
    struct symbol *symbols;
    size_t symbol_capacity;
    struct candidate *heap;
    size_t heap_count, heap_capacity;
    int32_t *ids;
    size_t count, capacity;
    // Where the code points come from, if it is wanted: the bytes of each of those that `text` begins with, which are
    // the text as it is or, between special tokens, normalised.
    bool spans_wanted;
    const int32_t *text;
    const struct sdg_token_span *sources;
    struct sdg_token_span *spans; // [count]
    size_t span_capacity;
};

// Appends a token that code points [at, end) were made to.
static enum sdg_result push_id(struct tokenize *k, int32_t id, const int32_t *at, const int32_t *end)
{
    if (!sdg_grow(k->log, &k->ids, &k->capacity, k->count + 1, sizeof *k->ids, "the tokens of a prompt"))
        return SDG_ERROR_MEMORY;
    if (k->spans_wanted) {
        if (!sdg_grow(k->log, &k->spans, &k->span_capacity, k->count + 1, sizeof *k->spans, "the tokens of a prompt"))
            return SDG_ERROR_MEMORY;
        k->spans[k->count] = (struct sdg_token_span){k->sources[at - k->text].begin, k->sources[end - 1 - k->text].end};
    }
    k->ids[k->count++] = id;
    return SDG_OK;
}

// The heap holds two candidates a symbol at most: there is one a pair at first, and a merge takes one out and puts two
// in.
static void push_candidate(struct tokenize *k, int32_t position)
{
    if (position < 0 || k->symbols[position].next < 0)
        return;
    const struct sdg_merge *merge =
        sdg_merge_slot(k->t, k->symbols[position].id, k->symbols[k->symbols[position].next].id);
    if (merge->left == SDG_NO_TOKEN)
        return;
    struct candidate c = {(uint64_t)merge->rank << 32 | (uint32_t)position, merge->result};
    size_t i = k->heap_count++;
    for (; i > 0 && k->heap[(i - 1) / 2].key > c.key; i = (i - 1) / 2)
        k->heap[i] = k->heap[(i - 1) / 2];
    k->heap[i] = c;
}

static struct candidate pop_candidate(struct tokenize *k)
{
    struct candidate top = k->heap[0], last = k->heap[--k->heap_count];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= k->heap_count)
            break;
        if (child + 1 < k->heap_count && k->heap[child + 1].key < k->heap[child].key)
            child++;
        if (last.key <= k->heap[child].key)
            break;
        k->heap[i] = k->heap[child];
        i = child;
    }
    k->heap[i] = last;
    return top;
}

static void merge_symbols(struct tokenize *k)
{
    for (int32_t i = 0; i < (int32_t)k->word_length; i++)
        push_candidate(k, i);
    while (k->heap_count > 0) {
        struct candidate c = pop_candidate(k);
        int32_t position = (int32_t)(uint32_t)c.key;
        struct symbol *left = &k->symbols[position];
        if (left->id == SDG_NO_TOKEN || left->next < 0)
            continue;
        struct symbol *right = &k->symbols[left->next];
        const struct sdg_merge *merge = sdg_merge_slot(k->t, left->id, right->id);
        if (merge->left == SDG_NO_TOKEN || merge->result != c.result)
            continue;
        left->id = c.result;
        left->next = right->next;
        right->id = SDG_NO_TOKEN;
        if (left->next >= 0)
            k->symbols[left->next].previous = position;
        push_candidate(k, left->previous);
        push_candidate(k, position);
    }
}

// The tokens of a word that is merged, whose code points begin at `at`.
static enum sdg_result push_symbols(struct tokenize *k, const int32_t *at)
{
    unsigned char bytes[4];
    size_t begin = 0; // the byte where *at begins
    for (int32_t i = 0; i >= 0; i = k->symbols[i].next) {
        const int32_t next = k->symbols[i].next, *end = at + 1;
        const size_t behind = next < 0 ? k->word_length : (size_t)next; // the token's last byte
        if (k->spans_wanted) {
            size_t length = sdg_utf8_put(*at, bytes);
            for (; begin + length <= (size_t)i; length = sdg_utf8_put(*at, bytes)) {
                begin += length;
                at++;
            }
            end = at + 1;
            for (size_t reached = begin + length; reached < behind; end++)
                reached += sdg_utf8_put(*end, bytes);
        }
        SDG_TRY(push_id(k, k->symbols[i].id, at, end));
    }
    return SDG_OK;
}

// Appends the tokens of one word, given as code points.
static enum sdg_result push_word(struct tokenize *k, const int32_t *at, size_t count)
{
    if (!sdg_grow(k->log, &k->word, &k->word_capacity, 4 * count, 1, "a word of a prompt"))
        return SDG_ERROR_MEMORY;
    size_t n = 0;
    for (size_t i = 0; i < count; i++)
        n += sdg_utf8_put(at[i], k->word + n);
    k->word_length = n;
    if (!sdg_grow(k->log, &k->symbols, &k->symbol_capacity, n, sizeof *k->symbols, "a word of a prompt") ||
        !sdg_grow(k->log, &k->heap, &k->heap_capacity, 2 * n, sizeof *k->heap, "a word of a prompt"))
        return SDG_ERROR_MEMORY;
    for (size_t i = 0; i < n; i++) {
        bool last = i + 1 == n;
        k->symbols[i] = (struct symbol){last ? k->t->last_bytes[k->word[i]] : k->t->bytes[k->word[i]], (int32_t)i - 1,
                                        last ? -1 : (int32_t)i + 1};
    }
    merge_symbols(k);
    return push_symbols(k, at);
}

static bool starts_with(const int32_t *at, size_t count, const char *ascii)
{
    size_t i = 0;
    for (; ascii[i]; i++)
        if (i == count || at[i] != ascii[i])
            return false;
    return true;
}

// Length of 's 't 're 've 'm 'll 'd at the start of `at`, or 0.
static size_t contraction(const int32_t *at, size_t count)
{
    static const char *const forms[] = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
    if (at[0] != '\'')
        return 0;
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        if (starts_with(at, count, forms[i]))
            return strlen(forms[i]);
    return 0;
}

// The special texts are alternatives of the pattern too, but a second split inside takes them apart: "<|", "endoftext",
// "|>". It shows in what follows: "|>!" would be one word otherwise. Length of the text, or 0.
static size_t literal(const int32_t *at, size_t count)
{
    static const char *const forms[] = {SDG_TOKENIZER_BEGIN, SDG_TOKENIZER_END};
    if (at[0] != '<')
        return 0;
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        if (starts_with(at, count, forms[i]))
            return strlen(forms[i]);
    return 0;
}

// Splits normalised text by CLIP's pattern: special texts, contractions, letters, one number, anything else but white
// space.
static enum sdg_result push_text(struct tokenize *k, const int32_t *at, size_t count)
{
    for (size_t i = 0; i < count;) {
        enum sdg_char_class class = sdg_char_class(at[i]);
        size_t length = 1;
        if (class == SDG_CHAR_SPACE) {
            i++;
            continue;
        }
        if ((length = literal(at + i, count - i)) > 0) {
            SDG_TRY(push_word(k, at + i, 2));
            SDG_TRY(push_word(k, at + i + 2, length - 4));
            SDG_TRY(push_word(k, at + i + length - 2, 2));
            i += length;
            continue;
        }
        if ((length = contraction(at + i, count - i)) == 0) {
            length = 1;
            while (class != SDG_CHAR_NUMBER && i + length < count && sdg_char_class(at[i + length]) == class)
                length++;
        }
        SDG_TRY(push_word(k, at + i, length));
        i += length;
    }
    return SDG_OK;
}

// The longest special token of the kind that starts at `at`, or NULL.
static const struct sdg_special *special_at(const struct sdg_tokenizer *t, const int32_t *at, size_t count,
                                            bool normalized)
{
    const struct sdg_special *found = NULL;
    if (!t->special_starts[normalized][at[0] & 255])
        return NULL;
    for (size_t i = 0; i < t->special_count; i++) {
        const struct sdg_special *s = &t->specials[i];
        if (s->normalized == normalized && s->count && s->count <= count &&
            memcmp(s->at, at, s->count * sizeof *at) == 0 && (!found || s->count > found->count))
            found = s;
    }
    return found;
}

static bool stands_alone(const int32_t *at, size_t count, size_t begin, size_t end)
{
    return (begin == 0 || !sdg_is_word_part(at[begin - 1])) && (end == count || !sdg_is_word_part(at[end]));
}

// One that stands in the text at `at`.
static enum sdg_result push_special(struct tokenize *k, const struct sdg_special *s, const int32_t *at)
{
    SDG_TRY(push_id(k, s->id, at, at + s->count));
    for (size_t i = 0; i < s->more_count; i++)
        SDG_TRY(push_id(k, s->more[i], at, at + s->count));
    return SDG_OK;
}

typedef enum sdg_result (*push_fn)(struct tokenize *k, const int32_t *at, size_t count);

// Pushes the special tokens, and hands what is between them to `push`.
static enum sdg_result split_specials(struct tokenize *k, const int32_t *at, size_t count, bool normalized,
                                      push_fn push)
{
    size_t done = 0;
    for (size_t i = 0; i < count;) {
        const struct sdg_special *s = special_at(k->t, at + i, count - i, normalized);
        size_t end = i + (s ? s->count : 1);
        if (s && (!s->single_word || stands_alone(at, count, i, end))) {
            SDG_TRY(push(k, at + done, i - done));
            SDG_TRY(push_special(k, s, at + i));
            done = end;
        }
        i = end; // also behind one that does not stand alone
    }
    return done < count ? push(k, at + done, count - done) : SDG_OK;
}

static enum sdg_result push_normalized(struct tokenize *k)
{
    sdg_collapse_space(&k->normalized); // for tokens with spaces: the pattern drops them all
    return split_specials(k, k->normalized.at, k->normalized.count, true, push_text);
}

// Text between special tokens; what is made of it comes from the same bytes.
static enum sdg_result push_raw(struct tokenize *k, const int32_t *at, size_t count)
{
    const int32_t *const text = k->text;
    const struct sdg_token_span *const sources = k->sources;
    struct sdg_token_span *normalized = NULL;
    SDG_TRY(sdg_normalize(k->log, at, count, &k->normalized));
    if (k->spans_wanted) {
        SDG_TRY(sdg_normalized_spans(k->log, at, sources + (at - text), count, &k->normalized, &normalized));
        k->text = k->normalized.at;
        k->sources = normalized;
    }
    const enum sdg_result result = push_normalized(k);
    sdg_free(normalized);
    k->text = text;
    k->sources = sources;
    return result;
}

static enum sdg_result tokenize(struct tokenize *k, const char *text, size_t bytes)
{
    struct sdg_code_points raw = {0};
    struct sdg_token_span *spans = NULL;
    enum sdg_result result = sdg_utf8_decode(k->log, text, bytes, &raw);
    if (result == SDG_OK && !sdg_grow(k->log, &k->ids, &k->capacity, 1, sizeof *k->ids, "the tokens of a prompt"))
        result = SDG_ERROR_MEMORY;
    if (result == SDG_OK && k->spans_wanted)
        result = sdg_utf8_spans(k->log, text, bytes, &spans);
    k->text = raw.at;
    k->sources = spans;
    if (result == SDG_OK)
        result = split_specials(k, raw.at, raw.count, false, push_raw);
    sdg_free(raw.at);
    sdg_free(spans);
    return result;
}

// `spans` NULL: not wanted.
static enum sdg_result run(const struct sdg_tokenizer *t, const struct sdg_log *log, const char *text, int32_t **ids,
                           struct sdg_token_span **spans, size_t *count)
{
    *ids = NULL;
    *count = 0;
    size_t bytes = strlen(text);
    if (bytes > SDG_TEXT_MAX_BYTES)
        return sdg_fail(log, SDG_ERROR_USAGE, "a prompt of %zu bytes; at most %d are possible", bytes,
                        SDG_TEXT_MAX_BYTES);
    struct tokenize k = {.t = t, .log = log, .spans_wanted = spans != NULL};
    const enum sdg_result result = tokenize(&k, text, bytes);
    if (result == SDG_OK) {
        *ids = k.ids;
        *count = k.count;
        k.ids = NULL;
    }
    if (result == SDG_OK && spans) {
        *spans = k.spans;
        k.spans = NULL;
    }
    sdg_free(k.normalized.at);
    sdg_free(k.word);
    sdg_free(k.symbols);
    sdg_free(k.heap);
    sdg_free(k.ids);
    sdg_free(k.spans);
    return result;
}

enum sdg_result sdg_tokenize(const struct sdg_tokenizer *t, const struct sdg_log *log, const char *text, int32_t **ids,
                             size_t *count)
{
    return run(t, log, text, ids, NULL, count);
}

enum sdg_result sdg_tokenize_spans(const struct sdg_tokenizer *t, const struct sdg_log *log, const char *text,
                                   int32_t **ids, struct sdg_token_span **spans, size_t *count)
{
    *spans = NULL;
    return run(t, log, text, ids, spans, count);
}
