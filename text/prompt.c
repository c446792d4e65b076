#include "text/prompt.h"

#include "base/memory.h"
#include "text/prompt_number.h"
#include "text/prompt_words.h"

#include <math.h>
#include <string.h>

#define ROUND_FACTOR 1.1
#define SQUARE_FACTOR (1 / ROUND_FACTOR)
#define FACTOR_MAX 1e100 // keeps products of many brackets finite

// ---- A1111 syntax: text to weighted parts ----

struct part {
    size_t begin, length; // in parse.text
    size_t source;        // where that stands in the prompt
    double weight;
    bool is_break;
};

// Brackets multiply the parts from `begin` to before `end`.
struct range {
    size_t begin, end;
    double factor;
};

struct indices {
    size_t *at;
    size_t count, capacity;
};

struct parse {
    const struct sdg_log *log;
    const char *prompt;
    char *text; // what is left without the syntax, and room for a NUL; neighbouring parts are neighbours here
    size_t length;
    struct part *parts;
    size_t part_count, part_capacity;
    struct range *ranges;
    size_t range_count, range_capacity;
    struct indices round, square; // first part after each bracket that is open
};

static enum sdg_result add_part(struct parse *p, const char *text, size_t length, bool is_break)
{
    if (!length && !is_break)
        return SDG_OK;
    if (!sdg_grow(p->log, &p->parts, &p->part_capacity, p->part_count + 1, sizeof *p->parts, "a prompt's parts"))
        return SDG_ERROR_MEMORY;
    p->parts[p->part_count++] = (struct part){p->length, length, length ? (size_t)(text - p->prompt) : 0, 1, is_break};
    memcpy(p->text + p->length, text, length);
    p->length += length;
    return SDG_OK;
}

// Adds text without brackets, split at the word BREAK.
static enum sdg_result add_text(struct parse *p, const char *text, size_t length)
{
    static const char word[] = "BREAK";
    const char *start = text, *end = text + length, *at;
    while ((at = sdg_prompt_find_word(text, start, end, word))) {
        SDG_TRY(add_part(p, start, (size_t)(at - start), false));
        SDG_TRY(add_part(p, "", 0, true));
        start = at + strlen(word);
    }
    return add_part(p, start, (size_t)(end - start), false);
}

static enum sdg_result open_bracket(struct parse *p, struct indices *stack)
{
    if (!sdg_grow(p->log, &stack->at, &stack->capacity, stack->count + 1, sizeof *stack->at, "a prompt's brackets"))
        return SDG_ERROR_MEMORY;
    stack->at[stack->count++] = p->part_count;
    return SDG_OK;
}

static enum sdg_result close_bracket(struct parse *p, struct indices *stack, double factor)
{
    if (!sdg_grow(p->log, &p->ranges, &p->range_capacity, p->range_count + 1, sizeof *p->ranges, "a prompt's brackets"))
        return SDG_ERROR_MEMORY;
    p->ranges[p->range_count++] = (struct range){stack->at[--stack->count], p->part_count, factor};
    return SDG_OK;
}

static const char *skip_space(const char *s)
{
    while (*s == ' ' || (*s >= '\t' && *s <= '\r'))
        s++;
    return s;
}

// Reads ": number )" at `s`, which is a colon. Returns what follows the bracket, or NULL. webui knows no exponents
// here.
static const char *read_weight(const char *s, double *weight)
{
    s = skip_space(s + 1);
    const size_t length = sdg_prompt_number(s, strspn(s, "+-.0123456789"), weight);
    s = skip_space(s + length);
    return length && *s == ')' ? s + 1 : NULL;
}

// One step of the syntax at `s`, which is not at the end; returns what follows it in *next.
static enum sdg_result parse_step(struct parse *p, const char *s, const char **next)
{
    double weight;
    *next = s + 1;
    switch (*s) {
    case '\\':
        if (!s[1] || !strchr("\\()[]", s[1]))
            return SDG_OK;
        *next = s + 2;
        return add_part(p, s + 1, 1, false);
    case '(': return open_bracket(p, &p->round);
    case '[': return open_bracket(p, &p->square);
    case ')': return p->round.count ? close_bracket(p, &p->round, ROUND_FACTOR) : add_part(p, s, 1, false);
    case ']': return p->square.count ? close_bracket(p, &p->square, SQUARE_FACTOR) : add_part(p, s, 1, false);
    case ':': {
        const char *after = p->round.count ? read_weight(s, &weight) : NULL;
        if (!after)
            return add_part(p, s, 1, false);
        *next = after;
        return close_bracket(p, &p->round, weight);
    }
    default: {
        size_t length = strcspn(s, "\\()[]:");
        *next = s + length;
        return add_text(p, s, length);
    }
    }
}

static double bounded(double x, double limit)
{
    return fmin(fmax(x, -limit), limit);
}

// Multiplies the weights. A node of the tree stands for the parts below it, so that a bracket costs log n, however many
// there are: node i has children 2i and 2i + 1, and part k is node n + k.
static enum sdg_result weigh_parts(struct parse *p)
{
    size_t n = p->part_count;
    if (n == 0 || p->range_count == 0)
        return SDG_OK;
    double *tree = sdg_alloc_raw(p->log, n, 2 * sizeof *tree, "a prompt's weights");
    if (!tree)
        return SDG_ERROR_MEMORY;
    for (size_t i = 0; i < 2 * n; i++)
        tree[i] = 1;
    for (size_t i = 0; i < p->range_count; i++) {
        const struct range *range = &p->ranges[i];
        for (size_t a = range->begin + n, b = range->end + n; a < b; a /= 2, b /= 2) {
            if (a & 1) {
                tree[a] = bounded(tree[a] * range->factor, FACTOR_MAX);
                a++;
            }
            if (b & 1) {
                b--;
                tree[b] = bounded(tree[b] * range->factor, FACTOR_MAX);
            }
        }
    }
    for (size_t i = 0; i < n; i++) {
        double weight = 1;
        for (size_t node = i + n; node > 0; node /= 2)
            weight = bounded(weight * tree[node], FACTOR_MAX);
        p->parts[i].weight = bounded(weight, SDG_PROMPT_WEIGHT_MAX);
    }
    sdg_free(tree);
    return SDG_OK;
}

static enum sdg_result parse_a1111(struct parse *p, const char *text)
{
    size_t bytes = strlen(text);
    if (bytes > SDG_TEXT_MAX_BYTES)
        return sdg_fail(p->log, SDG_ERROR_USAGE, "a prompt of %zu bytes; at most %d are possible", bytes,
                        SDG_TEXT_MAX_BYTES);
    p->prompt = text;
    p->text = sdg_alloc_raw(p->log, bytes + 1, 1, "a prompt");
    if (!p->text)
        return SDG_ERROR_MEMORY;
    while (*text)
        SDG_TRY(parse_step(p, text, &text));
    while (p->round.count)
        SDG_TRY(close_bracket(p, &p->round, ROUND_FACTOR));
    while (p->square.count)
        SDG_TRY(close_bracket(p, &p->square, SQUARE_FACTOR));
    return weigh_parts(p);
}

static void parse_clear(struct parse *p)
{
    sdg_free(p->text);
    sdg_free(p->parts);
    sdg_free(p->ranges);
    sdg_free(p->round.at);
    sdg_free(p->square.at);
}

// ---- Weighted parts to chunks ----

struct chunker {
    const struct sdg_tokenizer *t;
    const struct sdg_log *log;
    struct sdg_prompt_tokens *out;
    int max_chunks;
    int used;  // tokens in the last chunk, without begin
    bool open; // it takes more
    // Where tokens come from, if it is wanted, and the parts that are tokenized now, one behind the other; NULL: the
    // prompt is one
    bool traced;
    const struct part *parts;
    size_t part_count;
    struct sdg_prompt_token *tokens;
    size_t token_count, token_capacity;
};

static void empty_chunk(const struct sdg_tokenizer *t, int32_t *ids, float *weights)
{
    ids[0] = sdg_tokenizer_begin(t);
    ids[1] = sdg_tokenizer_end(t);
    for (int i = 2; i < sdg_tokenizer_length(t); i++)
        ids[i] = sdg_tokenizer_pad(t);
    for (int i = 0; i < sdg_tokenizer_length(t); i++)
        weights[i] = 1;
}

// Begins a chunk unless one is open; false when there is no room for it.
static bool open_chunk(struct chunker *c)
{
    struct sdg_prompt_tokens *out = c->out;
    if (c->open)
        return true;
    if (out->chunks == c->max_chunks) {
        out->truncated = true;
        return false;
    }
    size_t offset = (size_t)out->chunks++ * (size_t)out->length;
    empty_chunk(c->t, out->ids + offset, out->weights + offset);
    c->used = 0;
    c->open = true;
    return true;
}

static bool push_token(struct chunker *c, int32_t id, float weight)
{
    if (c->used == c->out->length - 2)
        c->open = false;
    if (!open_chunk(c))
        return false;
    size_t at = (size_t)(c->out->chunks - 1) * (size_t)c->out->length + 1 + (size_t)c->used++;
    c->out->ids[at] = id;
    c->out->ids[at + 1] = sdg_tokenizer_end(c->t); // at most the chunk's last
    c->out->weights[at] = weight;
    c->out->weighted |= weight != 1.0f;
    return true;
}

// As much of a text as a message has room for, in whole characters.
static void quote(const char *text, char *out, size_t size)
{
    size_t length = strnlen(text, size);
    if (length >= size) {
        length = size - sizeof "...";
        while (length && ((unsigned char)text[length] & 0xc0) == 0x80)
            length--;
    }
    memcpy(out, text, length);
    strcpy(out + length, text[length] ? "..." : "");
}

// Finds the word at which a text was cut after so many of its tokens. Words are tokenized one by one, which is cheap
// because there is room for a few hundred.
static enum sdg_result note_cut(struct chunker *c, const char *text, size_t taken)
{
    static const char space[] = " \t\n\v\f\r";
    for (const char *word = text + strspn(text, space);; word += strspn(word, space)) {
        const size_t length = strcspn(word, space);
        int32_t *ids;
        size_t count;
        char *copy = sdg_alloc(c->log, length + 1, 1, "a word");
        if (!copy)
            return SDG_ERROR_MEMORY;
        memcpy(copy, word, length);
        enum sdg_result result = sdg_tokenize(c->t, c->log, copy, &ids, &count);
        sdg_free(copy);
        if (result != SDG_OK)
            return result;
        sdg_free(ids);
        if (count > taken || !word[length]) {
            quote(word, c->out->cut, sizeof c->out->cut);
            return SDG_OK;
        }
        taken -= count;
        word += length;
    }
}

// Where a byte of the text that is tokenized now stands in the prompt.
static size_t source_of(const struct chunker *c, size_t byte)
{
    const struct part *part = c->parts;
    if (!part)
        return byte;
    byte += part->begin;
    while (part + 1 < c->parts + c->part_count && byte >= part[1].begin)
        part++;
    return part->source + (byte - part->begin);
}

static enum sdg_result trace(struct chunker *c, int32_t id, float weight, bool taken, struct sdg_token_span span)
{
    if (!sdg_grow(c->log, &c->tokens, &c->token_capacity, c->token_count + 1, sizeof *c->tokens, "a prompt's tokens"))
        return SDG_ERROR_MEMORY;
    c->tokens[c->token_count++] = (struct sdg_prompt_token){
        .id = id,
        .weight = weight,
        .chunk = c->out->chunks - taken,
        .begin = source_of(c, span.begin),
        .end = source_of(c, span.end - 1) + 1,
    };
    return SDG_OK;
}

static enum sdg_result push_ids(struct chunker *c, const char *text, float weight, const int32_t *ids,
                                const struct sdg_token_span *spans, size_t count)
{
    const bool cut_before = c->out->truncated;
    size_t taken = 0;
    for (size_t i = 0; i < count && (taken == i || spans); i++) {
        taken += !c->out->truncated && push_token(c, ids[i], weight);
        if (spans)
            SDG_TRY(trace(c, ids[i], weight, taken > i, spans[i]));
    }
    return taken < count && !cut_before ? note_cut(c, text, taken) : SDG_OK;
}

static enum sdg_result push_text(struct chunker *c, const char *text, float weight)
{
    int32_t *ids;
    struct sdg_token_span *spans = NULL;
    size_t count;
    SDG_TRY(c->traced ? sdg_tokenize_spans(c->t, c->log, text, &ids, &spans, &count)
                      : sdg_tokenize(c->t, c->log, text, &ids, &count));
    const enum sdg_result result = push_ids(c, text, weight, ids, spans, count);
    sdg_free(ids);
    sdg_free(spans);
    return result;
}

static enum sdg_result push_parts(struct chunker *c, struct parse *p)
{
    for (size_t i = 0, next; i < p->part_count && (!c->out->truncated || c->traced); i = next) {
        const struct part *part = &p->parts[i];
        next = i + 1;
        if (part->is_break) {
            if (!c->out->truncated)
                open_chunk(c); // one BREAK after another, or at the start, makes an empty chunk
            c->open = false;
            continue;
        }
        while (next < p->part_count && !p->parts[next].is_break && p->parts[next].weight == part->weight)
            next++;
        char *end = p->text + p->parts[next - 1].begin + p->parts[next - 1].length, kept = *end;
        *end = 0;
        c->parts = part;
        c->part_count = next - i;
        enum sdg_result result = push_text(c, p->text + part->begin, (float)part->weight);
        *end = kept;
        if (result != SDG_OK)
            return result;
    }
    return SDG_OK;
}

static enum sdg_result alloc_chunks(const struct sdg_log *log, struct sdg_prompt_tokens *tokens, int chunks)
{
    const size_t chunk = (size_t)tokens->length;
    int32_t *ids = sdg_alloc(log, (size_t)chunks, chunk * sizeof *ids, "a prompt's tokens");
    float *weights = sdg_alloc(log, (size_t)chunks, chunk * sizeof *weights, "a prompt's weights");
    if (!ids || !weights) {
        sdg_free(ids);
        sdg_free(weights);
        return SDG_ERROR_MEMORY;
    }
    tokens->ids = ids;
    tokens->weights = weights;
    return SDG_OK;
}

static enum sdg_result make_chunks(struct chunker *c, enum sdg_prompt_syntax syntax, const char *text)
{
    struct parse p = {.log = c->log};
    enum sdg_result result = alloc_chunks(c->log, c->out, c->max_chunks);
    if (result == SDG_OK && syntax == SDG_PROMPT_PLAIN)
        result = push_text(c, text, 1);
    if (result == SDG_OK && syntax != SDG_PROMPT_PLAIN)
        result = parse_a1111(&p, text);
    if (result == SDG_OK)
        result = push_parts(c, &p);
    if (result == SDG_OK && c->out->chunks == 0)
        open_chunk(c);
    parse_clear(&p);
    if (result != SDG_OK)
        sdg_prompt_tokens_clear(c->out);
    return result;
}

static struct chunker chunker_of(const struct sdg_tokenizer *t, const struct sdg_log *log,
                                 enum sdg_prompt_syntax syntax, struct sdg_prompt_tokens *out)
{
    *out = (struct sdg_prompt_tokens){.length = sdg_tokenizer_length(t)};
    return (struct chunker){
        .t = t, .log = log, .out = out, .max_chunks = syntax == SDG_PROMPT_PLAIN ? 1 : SDG_PROMPT_MAX_CHUNKS};
}

enum sdg_result sdg_prompt_tokenize(const struct sdg_tokenizer *t, const struct sdg_log *log,
                                    enum sdg_prompt_syntax syntax, const char *text, struct sdg_prompt_tokens *out)
{
    struct chunker c = chunker_of(t, log, syntax, out);
    return make_chunks(&c, syntax, text);
}

enum sdg_result sdg_prompt_trace(const struct sdg_tokenizer *t, const struct sdg_log *log,
                                 enum sdg_prompt_syntax syntax, const char *text, struct sdg_prompt_tokens *out,
                                 struct sdg_prompt_token **tokens, size_t *count)
{
    struct chunker c = chunker_of(t, log, syntax, out);
    c.traced = true;
    const enum sdg_result result = make_chunks(&c, syntax, text);
    if (result != SDG_OK)
        sdg_free(c.tokens);
    *tokens = result == SDG_OK ? c.tokens : NULL;
    *count = result == SDG_OK ? c.token_count : 0;
    return result;
}

void sdg_prompt_tokens_clear(struct sdg_prompt_tokens *tokens)
{
    sdg_free(tokens->ids);
    sdg_free(tokens->weights);
    *tokens = (struct sdg_prompt_tokens){0};
}

enum sdg_result sdg_prompt_pad_chunks(const struct sdg_tokenizer *t, const struct sdg_log *log,
                                      struct sdg_prompt_tokens *tokens, int chunks)
{
    if (chunks <= tokens->chunks)
        return SDG_OK;
    struct sdg_prompt_tokens bigger = *tokens;
    SDG_TRY(alloc_chunks(log, &bigger, chunks));
    size_t count = (size_t)tokens->chunks * (size_t)tokens->length;
    memcpy(bigger.ids, tokens->ids, count * sizeof *bigger.ids);
    memcpy(bigger.weights, tokens->weights, count * sizeof *bigger.weights);
    for (bigger.chunks = tokens->chunks; bigger.chunks < chunks; bigger.chunks++, count += (size_t)bigger.length)
        empty_chunk(t, bigger.ids + count, bigger.weights + count);
    sdg_prompt_tokens_clear(tokens);
    *tokens = bigger;
    return SDG_OK;
}

// ---- Weights to embeddings ----

static void weigh_chunk(const float *weights, float *embedding, size_t length, size_t dim)
{
    double before = 0, after = 0;
    for (size_t token = 0; token < length; token++) {
        float *row = embedding + token * dim;
        for (size_t i = 0; i < dim; i++) {
            before += (double)row[i];
            row[i] *= weights[token];
            after += (double)row[i];
        }
    }
    double scale = before / after; // the counts of the two means cancel
    if (after == 0 || !isfinite(scale))
        return;
    for (size_t i = 0; i < length * dim; i++)
        embedding[i] *= (float)scale;
}

void sdg_prompt_apply_weights(const struct sdg_prompt_tokens *tokens, float *embedding, int dim)
{
    const size_t length = (size_t)tokens->length;
    for (int chunk = 0; chunk < tokens->chunks; chunk++) {
        const float *weights = tokens->weights + (size_t)chunk * length;
        bool weighted = false;
        for (size_t i = 0; i < length; i++)
            weighted |= weights[i] != 1.0f;
        if (weighted)
            weigh_chunk(weights, embedding + (size_t)chunk * length * (size_t)dim, length, (size_t)dim);
    }
}
