#include "text/tokenizer.h"

#include "base/hash.h"
#include "base/memory.h"
#include "text/tokenizer_unicode.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <string.h>

#define START_TEXT "<|startoftext|>"
#define END_TEXT "<|endoftext|>"
#define WORD_END "</w>"

enum { SPECIALS = 3, NO_TOKEN = -1 };

// A token that is recognised in the text before words are looked for.
struct special {
    int32_t *at; // its code points
    size_t count;
    int32_t id;
    bool normalized; // looked for in the normalised text, not in the text as it is
};

struct merge {
    int32_t left, right; // left is NO_TOKEN in an empty slot
    int32_t rank, result;
};

struct sdg_tokenizer {
    struct special specials[SPECIALS];
    int special_count;
    int32_t begin, end, pad;
    size_t vocabulary;
    int32_t bytes[256];      // id of a byte inside a word
    int32_t last_bytes[256]; // id of a byte that ends a word
    struct merge *merges;    // open addressing
    size_t merge_mask;
};

// ---- The vocabulary, needed only while the merges are read ----

struct name {
    const char *text; // NULL in an empty slot
    size_t length;
    int32_t id;
};

struct names {
    struct name *slots;
    size_t mask;
};

static uint64_t hash_mix(uint64_t x)
{
    x = (x ^ (x >> 32)) * 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 29)) * 0xbf58476d1ce4e5b9u;
    return x ^ (x >> 32);
}

// Slots for `count` entries, at most half full.
static size_t table_size(size_t count)
{
    size_t size = 16;
    while (size / 2 < count)
        size *= 2;
    return size;
}

// The slot of the token `a` followed by `b`, or the empty one where it would go.
static struct name *name_slot(const struct names *names, const char *a, size_t a_length, const char *b, size_t b_length)
{
    size_t i = (size_t)hash_mix(sdg_hash_bytes(sdg_hash_bytes(SDG_HASH_START, a, a_length), b, b_length));
    for (;; i++) {
        struct name *slot = &names->slots[i & names->mask];
        if (!slot->text ||
            (slot->length == a_length + b_length && memcmp(slot->text, a, a_length) == 0 &&
             memcmp(slot->text + a_length, b, b_length) == 0))
            return slot;
    }
}

static int32_t name_id(const struct names *names, const char *a, size_t a_length, const char *b, size_t b_length)
{
    const struct name *slot = name_slot(names, a, a_length, b, b_length);
    return slot->text ? slot->id : NO_TOKEN;
}

static enum sdg_result read_names(const struct sdg_log *log, const char *path, const cJSON *json, struct names *names,
                                  size_t *vocabulary)
{
    if (!cJSON_IsObject(json))
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: the tokenizer's vocab.json is not a JSON object", path);
    size_t count = 0;
    for (const cJSON *item = json->child; item; item = item->next)
        count++;
    size_t size = table_size(count);
    names->slots = sdg_alloc(log, size, sizeof *names->slots, "the tokenizer's vocabulary");
    if (!names->slots)
        return SDG_ERROR_MEMORY;
    names->mask = size - 1;
    for (const cJSON *item = json->child; item; item = item->next) {
        double id = item->valuedouble;
        if (!cJSON_IsNumber(item) || !(id >= 0 && id < INT32_MAX) || id != floor(id))
            return sdg_fail(log, SDG_ERROR_INPUT, "%s: vocab.json: the id of token '%s' is not an integer from 0 to %d",
                            path, item->string, INT32_MAX - 1);
        size_t length = strlen(item->string);
        *name_slot(names, item->string, length, "", 0) = (struct name){item->string, length, (int32_t)id};
        if ((size_t)id >= *vocabulary)
            *vocabulary = (size_t)id + 1;
    }
    return SDG_OK;
}

// ---- Loading ----

// How byte-level vocabularies write a byte: printable Latin-1 as itself, the others as U+0100 and up, in order.
static size_t byte_text(int byte, char text[2])
{
    int c = byte, others = 0;
    for (int i = 0; i <= byte; i++) {
        bool printable = (i >= '!' && i <= '~') || (i >= 0xa1 && i <= 0xac) || i >= 0xae;
        c = printable ? i : 256 + others++;
    }
    if (c < 0x80) {
        text[0] = (char)c;
        return 1;
    }
    text[0] = (char)(0xc0 | (c >> 6));
    text[1] = (char)(0x80 | (c & 0x3f));
    return 2;
}

static void read_bytes(struct sdg_tokenizer *t, const struct names *names)
{
    for (int byte = 0; byte < 256; byte++) {
        char text[2];
        size_t length = byte_text(byte, text);
        int32_t id = name_id(names, text, length, "", 0);
        int32_t last = name_id(names, text, length, WORD_END, strlen(WORD_END));
        t->bytes[byte] = id == NO_TOKEN ? t->end : id;
        t->last_bytes[byte] = last == NO_TOKEN ? t->end : last;
    }
}

static enum sdg_result special_id(const struct sdg_log *log, const char *path, const struct names *names,
                                  const char *text, int32_t *id)
{
    *id = name_id(names, text, strlen(text), "", 0);
    if (*id == NO_TOKEN)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: vocab.json has no token '%s', which the tokenizer needs", path,
                        text);
    return SDG_OK;
}

static enum sdg_result add_special(const struct sdg_log *log, struct sdg_tokenizer *t, const char *text, int32_t id,
                                   bool normalized)
{
    struct sdg_code_points points = {0};
    SDG_TRY(sdg_utf8_decode(log, text, strlen(text), &points));
    t->specials[t->special_count++] = (struct special){points.at, points.count, id, normalized};
    return SDG_OK;
}

static enum sdg_result read_specials(const struct sdg_log *log, const char *path, struct sdg_tokenizer *t,
                                     const struct names *names, const char *pad)
{
    SDG_TRY(special_id(log, path, names, START_TEXT, &t->begin));
    SDG_TRY(special_id(log, path, names, END_TEXT, &t->end));
    SDG_TRY(special_id(log, path, names, pad, &t->pad));
    bool pad_is_start = strcmp(pad, START_TEXT) == 0, pad_is_end = strcmp(pad, END_TEXT) == 0;
    SDG_TRY(add_special(log, t, START_TEXT, t->begin, !pad_is_start));
    SDG_TRY(add_special(log, t, END_TEXT, t->end, !pad_is_end));
    if (!pad_is_start && !pad_is_end && pad[0])
        SDG_TRY(add_special(log, t, pad, t->pad, false));
    return SDG_OK;
}

static struct merge *merge_slot(const struct sdg_tokenizer *t, int32_t left, int32_t right)
{
    size_t i = (size_t)hash_mix(((uint64_t)(uint32_t)left << 32 | (uint32_t)right) + 1);
    for (;; i++) {
        struct merge *slot = &t->merges[i & t->merge_mask];
        if (slot->left == NO_TOKEN || (slot->left == left && slot->right == right))
            return slot;
    }
}

// One line of merges.txt: two tokens with one space between them.
static enum sdg_result read_merge(const struct sdg_log *log, const char *path, const struct sdg_tokenizer *t,
                                  const struct names *names, const char *line, size_t length, size_t number,
                                  int32_t rank)
{
    const char *space = memchr(line, ' ', length);
    size_t left_length = space ? (size_t)(space - line) : 0;
    size_t right_length = space ? length - left_length - 1 : 0;
    if (!left_length || !right_length || memchr(space + 1, ' ', right_length))
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: merges.txt: line %zu is not two tokens with one space between", path,
                        number);
    const char *right = space + 1;
    struct merge merge = {.rank = rank};
    merge.left = name_id(names, line, left_length, "", 0);
    merge.right = name_id(names, right, right_length, "", 0);
    merge.result = name_id(names, line, left_length, right, right_length);
    if (merge.left == NO_TOKEN || merge.right == NO_TOKEN || merge.result == NO_TOKEN)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: merges.txt: line %zu uses or makes a token that vocab.json lacks",
                        path, number);
    *merge_slot(t, merge.left, merge.right) = merge;
    return SDG_OK;
}

static enum sdg_result read_merges(const struct sdg_log *log, const char *path, struct sdg_tokenizer *t,
                                   const struct names *names, const char *text)
{
    size_t lines = 1;
    for (const char *c = text; *c; c++)
        lines += *c == '\n';
    if (lines > INT32_MAX)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: merges.txt has too many lines (%zu)", path, lines);
    size_t size = table_size(lines);
    t->merges = sdg_alloc_raw(log, size, sizeof *t->merges, "the tokenizer's merges");
    if (!t->merges)
        return SDG_ERROR_MEMORY;
    for (size_t i = 0; i < size; i++)
        t->merges[i] = (struct merge){.left = NO_TOKEN};
    t->merge_mask = size - 1;
    size_t number = 1;
    for (const char *line = text; *line; number++) {
        size_t length = strcspn(line, "\n"), trimmed = length;
        if (trimmed && line[trimmed - 1] == '\r')
            trimmed--;
        if (trimmed && strncmp(line, "#version", strlen("#version")) != 0)
            SDG_TRY(read_merge(log, path, t, names, line, trimmed, number, (int32_t)number));
        line += length + (line[length] == '\n');
    }
    return SDG_OK;
}

enum sdg_result sdg_tokenizer_create(const struct sdg_log *log, const char *path, const char *vocab_json,
                                     const char *merges_txt, const char *pad_token, struct sdg_tokenizer **out)
{
    *out = NULL;
    struct names names = {0};
    struct sdg_tokenizer *t = NULL;
    cJSON *json = cJSON_ParseWithOpts(vocab_json, NULL, true);
    enum sdg_result result = SDG_OK;
    if (!json) {
        result = sdg_fail(log, SDG_ERROR_INPUT, "%s: the tokenizer's vocab.json is not valid JSON", path);
        goto cleanup;
    }
    t = sdg_alloc(log, 1, sizeof *t, "a tokenizer");
    if (!t) {
        result = SDG_ERROR_MEMORY;
        goto cleanup;
    }
    result = read_names(log, path, json, &names, &t->vocabulary);
    if (result == SDG_OK)
        result = read_specials(log, path, t, &names, pad_token ? pad_token : END_TEXT);
    if (result == SDG_OK)
        result = read_merges(log, path, t, &names, merges_txt);
    if (result == SDG_OK) {
        read_bytes(t, &names);
        *out = t;
        t = NULL;
    }
cleanup:
    sdg_tokenizer_destroy(&t);
    sdg_free(names.slots);
    cJSON_Delete(json);
    return result;
}

void sdg_tokenizer_destroy(struct sdg_tokenizer **tokenizer)
{
    struct sdg_tokenizer *t = *tokenizer;
    if (!t)
        return;
    for (int i = 0; i < t->special_count; i++)
        sdg_free(t->specials[i].at);
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

size_t sdg_tokenizer_vocabulary(const struct sdg_tokenizer *t)
{
    return t->vocabulary;
}

// ---- Tokenizing ----

// A token of the word being merged; the live ones are linked.
struct symbol {
    int32_t id; // NO_TOKEN: merged into the one before
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
};

static enum sdg_result push_id(struct tokenize *k, int32_t id)
{
    if (!sdg_grow(k->log, &k->ids, &k->capacity, k->count + 1, sizeof *k->ids, "the tokens of a prompt"))
        return SDG_ERROR_MEMORY;
    k->ids[k->count++] = id;
    return SDG_OK;
}

// The heap holds two candidates a symbol at most: there is one a pair at first, and a merge takes one out and puts two
// in.
static void push_candidate(struct tokenize *k, int32_t position)
{
    if (position < 0 || k->symbols[position].next < 0)
        return;
    const struct merge *merge = merge_slot(k->t, k->symbols[position].id, k->symbols[k->symbols[position].next].id);
    if (merge->left == NO_TOKEN)
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
        if (left->id == NO_TOKEN || left->next < 0)
            continue;
        struct symbol *right = &k->symbols[left->next];
        const struct merge *merge = merge_slot(k->t, left->id, right->id);
        if (merge->left == NO_TOKEN || merge->result != c.result)
            continue;
        left->id = c.result;
        left->next = right->next;
        right->id = NO_TOKEN;
        if (left->next >= 0)
            k->symbols[left->next].previous = position;
        push_candidate(k, left->previous);
        push_candidate(k, position);
    }
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
    for (int32_t i = 0; i >= 0; i = k->symbols[i].next)
        SDG_TRY(push_id(k, k->symbols[i].id));
    return SDG_OK;
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
    static const char *const forms[] = {START_TEXT, END_TEXT};
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
static const struct special *special_at(const struct sdg_tokenizer *t, const int32_t *at, size_t count, bool normalized)
{
    const struct special *found = NULL;
    for (int i = 0; i < t->special_count; i++) {
        const struct special *s = &t->specials[i];
        if (s->normalized == normalized && s->count <= count && memcmp(s->at, at, s->count * sizeof *at) == 0 &&
            (!found || s->count > found->count))
            found = s;
    }
    return found;
}

typedef enum sdg_result (*push_fn)(struct tokenize *k, const int32_t *at, size_t count);

// Pushes the special tokens, and hands what is between them to `push`.
static enum sdg_result split_specials(struct tokenize *k, const int32_t *at, size_t count, bool normalized,
                                      push_fn push)
{
    size_t done = 0;
    for (size_t i = 0; i < count;) {
        const struct special *s = special_at(k->t, at + i, count - i, normalized);
        if (!s) {
            i++;
            continue;
        }
        SDG_TRY(push(k, at + done, i - done));
        SDG_TRY(push_id(k, s->id));
        i += s->count;
        done = i;
    }
    return done < count ? push(k, at + done, count - done) : SDG_OK;
}

static enum sdg_result push_raw(struct tokenize *k, const int32_t *at, size_t count)
{
    // White space is not collapsed: the pattern drops all of it.
    SDG_TRY(sdg_normalize(k->log, at, count, &k->normalized));
    return split_specials(k, k->normalized.at, k->normalized.count, true, push_text);
}

enum sdg_result sdg_tokenize(const struct sdg_tokenizer *t, const struct sdg_log *log, const char *text, int32_t **ids,
                             size_t *count)
{
    *ids = NULL;
    *count = 0;
    size_t bytes = strlen(text);
    if (bytes > SDG_TEXT_MAX_BYTES)
        return sdg_fail(log, SDG_ERROR_USAGE, "a prompt of %zu bytes; at most %d are possible", bytes,
                        SDG_TEXT_MAX_BYTES);
    struct tokenize k = {.t = t, .log = log};
    struct sdg_code_points raw = {0};
    enum sdg_result result = sdg_utf8_decode(log, text, bytes, &raw);
    if (result == SDG_OK && !sdg_grow(log, &k.ids, &k.capacity, 1, sizeof *k.ids, "the tokens of a prompt"))
        result = SDG_ERROR_MEMORY;
    if (result == SDG_OK)
        result = split_specials(&k, raw.at, raw.count, false, push_raw);
    if (result == SDG_OK) {
        *ids = k.ids;
        *count = k.count;
        k.ids = NULL;
    }
    sdg_free(raw.at);
    sdg_free(k.normalized.at);
    sdg_free(k.word);
    sdg_free(k.symbols);
    sdg_free(k.heap);
    sdg_free(k.ids);
    return result;
}
