#include "text/prompt_schedule.h"

#include "base/memory.h"
#include "text/prompt_groups.h"
#include "text/prompt_number.h"
#include "text/prompt_words.h"

#include <math.h>
#include <string.h>

// ---- parts ----

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static size_t trimmed(const char *text, size_t length)
{
    while (length && is_space(text[length - 1]))
        length--;
    return length;
}

// Takes ": number" off the end of a part.
static void take_weight(struct sdg_prompt_part *part)
{
    const char *text = part->text;
    size_t end = trimmed(text, part->length), number = end, colon;
    double weight;
    part->weight = 1;
    part->length = end;
    while (number && strchr("+-.0123456789", text[number - 1]))
        number--;
    colon = trimmed(text, number);
    if (!colon || text[colon - 1] != ':' || number == end ||
        sdg_prompt_number(text + number, end - number, &weight) != end - number)
        return;
    part->weight = fmin(fmax(weight, -SDG_PROMPT_WEIGHT_MAX), SDG_PROMPT_WEIGHT_MAX);
    part->weighted = true;
    part->length = trimmed(text, colon - 1);
}

int sdg_prompt_split(const char *prompt, struct sdg_prompt_part *parts)
{
    const char *end = prompt + strlen(prompt), *start = prompt, *at;
    int count = 0;
    do {
        if (count == SDG_PROMPT_MAX_PARTS)
            return -1;
        at = sdg_prompt_find_word(prompt, start, end, "AND");
        parts[count] = (struct sdg_prompt_part){.text = start, .length = (size_t)((at ? at : end) - start)};
        take_weight(&parts[count++]);
        start = at ? at + strlen("AND") : end;
    } while (at);
    return count;
}

// ---- groups at a step ----

int sdg_prompt_switch_step(double when, bool fraction, int asked)
{
    return (int)fmax(fmin(trunc(fraction ? when * asked : when), asked), -1);
}

// text[begin..end): what a group is at a step.
struct arm {
    size_t begin, end;
};

static struct arm choose(const struct sdg_prompt_group *g, const size_t *separators, int step, int asked)
{
    if (g->alternates) {
        const size_t i = (size_t)(step - 1) % (g->count + 1);
        return (struct arm){i == 0 ? g->open + 1 : separators[i - 1] + 1, i == g->count ? g->close : separators[i]};
    }
    if (step > sdg_prompt_switch_step(g->when, g->fraction, asked))
        return (struct arm){g->count > 1 ? separators[0] + 1 : g->open + 1, separators[g->count - 1]};
    return (struct arm){g->open + 1, g->count > 1 ? separators[0] : g->open + 1};
}

struct reader {
    const char *text;
    size_t length;
    struct sdg_prompt_groups groups;
    struct level { // an arm that is being copied
        size_t end, after;
    } *levels; // [groups.count]
    char *out; // [length + 1]
};

// Writes what the text is at a step to r->out and returns how long that is. Where an arm ends what follows it is not
// copied, up to the end of its group.
static size_t compose(struct reader *r, int step, int asked)
{
    size_t depth = 0, written = 0, next = 0, at = 0;
    while (at < r->length || depth) {
        if (depth && at == r->levels[depth - 1].end) {
            at = r->levels[--depth].after;
            continue;
        }
        while (next < r->groups.count && r->groups.at[next].open < at)
            next++; // of an arm that was not chosen
        if (next < r->groups.count && r->groups.at[next].open == at) {
            const struct sdg_prompt_group *g = &r->groups.at[next++];
            const struct arm arm = choose(g, r->groups.separators + g->first, step, asked);
            r->levels[depth++] = (struct level){arm.end, g->close + 1};
            at = arm.begin;
            continue;
        }
        r->out[written++] = r->text[at++];
    }
    r->out[written] = 0;
    return written;
}

static enum sdg_result reader_create(const struct sdg_log *log, const char *text, size_t length, bool plain,
                                     struct reader *r)
{
    *r = (struct reader){.text = text, .length = length};
    if (!plain)
        SDG_TRY(sdg_prompt_groups_find(log, text, length, &r->groups));
    r->levels = sdg_alloc_raw(log, r->groups.count, sizeof *r->levels, "a prompt's brackets");
    r->out = sdg_alloc_raw(log, length + 1, 1, "a prompt");
    return r->levels && r->out ? SDG_OK : SDG_ERROR_MEMORY;
}

static void reader_clear(struct reader *r)
{
    sdg_prompt_groups_clear(&r->groups);
    sdg_free(r->levels);
    sdg_free(r->out);
}

// ---- the schedule ----

struct builder {
    const struct sdg_log *log;
    struct sdg_prompt_schedule *out;
    size_t capacity, bytes; // of out->texts
};

static enum sdg_result find_text(struct builder *b, const char *text, size_t length, int *index)
{
    struct sdg_prompt_schedule *s = b->out;
    for (int i = s->text_count - 1; i >= 0; i--)
        if (strcmp(s->texts[i], text) == 0) {
            *index = i;
            return SDG_OK;
        }
    b->bytes += length;
    if (b->bytes > SDG_TEXT_MAX_BYTES)
        return sdg_fail(b->log, SDG_ERROR_USAGE, "the texts of a prompt at all steps are more than %d bytes",
                        SDG_TEXT_MAX_BYTES);
    if (!sdg_grow(b->log, &s->texts, &b->capacity, (size_t)s->text_count + 1, sizeof *s->texts, "a prompt's texts"))
        return SDG_ERROR_MEMORY;
    char *copy = sdg_strdup(b->log, text);
    if (!copy)
        return SDG_ERROR_MEMORY;
    *index = s->text_count;
    s->texts[s->text_count++] = copy;
    return SDG_OK;
}

static enum sdg_result add_steps(struct builder *b, struct reader *r, int part, int asked)
{
    struct sdg_prompt_schedule *s = b->out;
    for (int step = 0; step < s->steps; step++) {
        int *index = &s->at[step * s->parts + part];
        if (step && !r->groups.count) {
            *index = s->at[part];
            continue;
        }
        const size_t length = compose(r, step + 1, asked);
        SDG_TRY(find_text(b, r->out, length, index));
    }
    return SDG_OK;
}

static enum sdg_result add_parts(struct builder *b, const struct sdg_prompt_part *parts, bool plain, int asked)
{
    struct sdg_prompt_schedule *s = b->out;
    enum sdg_result result = SDG_OK;
    s->weights = sdg_alloc(b->log, (size_t)s->parts, sizeof *s->weights, "a prompt's weights");
    s->at = sdg_alloc(b->log, (size_t)s->steps * (size_t)s->parts, sizeof *s->at, "a prompt's steps");
    if (!s->weights || !s->at)
        return SDG_ERROR_MEMORY;
    for (int i = 0; i < s->parts && result == SDG_OK; i++) {
        struct reader r;
        s->weights[i] = (float)parts[i].weight;
        result = reader_create(b->log, parts[i].text, parts[i].length, plain, &r);
        if (result == SDG_OK)
            result = add_steps(b, &r, i, asked);
        reader_clear(&r);
    }
    return result;
}

enum sdg_result sdg_prompt_schedule_create(const struct sdg_log *log, enum sdg_prompt_syntax syntax, const char *prompt,
                                           bool composes, int steps, int asked, struct sdg_prompt_schedule *out)
{
    const bool plain = syntax == SDG_PROMPT_PLAIN;
    struct sdg_prompt_part parts[SDG_PROMPT_MAX_PARTS];
    struct builder b = {.log = log, .out = out};
    *out = (struct sdg_prompt_schedule){0};
    const int count = composes && !plain ? sdg_prompt_split(prompt, parts) : 1;
    if (count < 0)
        return sdg_fail(log, SDG_ERROR_USAGE, "the prompt has more than %d parts between ANDs", SDG_PROMPT_MAX_PARTS);
    if (count == 1)
        parts[0] = (struct sdg_prompt_part){.text = prompt, .length = strlen(prompt), .weight = 1};
    out->parts = count;
    out->steps = steps;
    const enum sdg_result result = add_parts(&b, parts, plain, asked);
    if (result != SDG_OK)
        sdg_prompt_schedule_clear(out);
    return result;
}

void sdg_prompt_schedule_clear(struct sdg_prompt_schedule *s)
{
    for (int i = 0; i < s->text_count; i++)
        sdg_free(s->texts[i]);
    sdg_free(s->texts);
    sdg_free(s->weights);
    sdg_free(s->at);
    *s = (struct sdg_prompt_schedule){0};
}
