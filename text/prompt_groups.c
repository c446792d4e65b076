#include "text/prompt_groups.h"

#include "base/memory.h"
#include "text/prompt_number.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

// A bracket that is open, and what stands in it directly.
struct frame {
    size_t open;
    size_t colons, colon[2]; // the first two
    size_t bars;             // the last so many of parse.bars
    char kind;
};

struct parse {
    const struct sdg_log *log;
    const char *text;
    struct frame *frames;
    size_t depth, capacity;
    size_t *bars; // of the frames that are open
    size_t bar_count, bar_capacity;
    struct sdg_prompt_groups *out;
};

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static enum sdg_result add_separators(struct parse *p, const size_t *separators, size_t count)
{
    struct sdg_prompt_groups *g = p->out;
    if (!sdg_grow(p->log, &g->separators, &g->separator_capacity, g->separator_count + count, sizeof *g->separators,
                  "a prompt's brackets"))
        return SDG_ERROR_MEMORY;
    memcpy(g->separators + g->separator_count, separators, count * sizeof *separators);
    g->separator_count += count;
    return SDG_OK;
}

static enum sdg_result add_group(struct parse *p, struct sdg_prompt_group group, const size_t *separators)
{
    struct sdg_prompt_groups *g = p->out;
    group.first = g->separator_count;
    if (!sdg_grow(p->log, &g->at, &g->capacity, g->count + 1, sizeof *g->at, "a prompt's brackets"))
        return SDG_ERROR_MEMORY;
    SDG_TRY(add_separators(p, separators, group.count));
    g->at[g->count++] = group;
    return SDG_OK;
}

// The number that fills text[begin..end) but for white space.
static bool read_when(const char *text, size_t begin, size_t end, struct sdg_prompt_group *group)
{
    while (begin < end && is_space(text[begin]))
        begin++;
    while (begin < end && is_space(text[end - 1]))
        end--;
    group->fraction = memchr(text + begin, '.', end - begin) != NULL;
    return begin < end && sdg_prompt_number(text + begin, end - begin, &group->when) == end - begin;
}

// None of the open brackets is closed by what follows: they are text.
static void forget_frames(struct parse *p)
{
    if (p->bar_count && p->out->bar == SIZE_MAX)
        p->out->bar = p->bars[0];
    p->depth = p->bar_count = 0;
}

static enum sdg_result close_square(struct parse *p, const struct frame *f, size_t close)
{
    struct sdg_prompt_group group = {.open = f->open, .close = close};
    const size_t *bars = p->bars + p->bar_count;
    if (f->bars && !f->colons) {
        group.alternates = true;
        group.count = f->bars;
        return add_group(p, group, bars);
    }
    if (!f->bars && !f->colons)
        return SDG_OK;
    group.count = f->colons;
    if (!f->bars && f->colons <= 2 && read_when(p->text, f->colon[f->colons - 1] + 1, close, &group))
        return add_group(p, group, f->colon);
    if (f->bars && p->out->bar == SIZE_MAX)
        p->out->bar = bars[0];
    if (p->out->odd == SIZE_MAX)
        p->out->odd = f->open;
    forget_frames(p);
    return SDG_OK;
}

static enum sdg_result close_bracket(struct parse *p, char kind, size_t close)
{
    if (!p->depth || p->frames[p->depth - 1].kind != kind) {
        forget_frames(p);
        return SDG_OK;
    }
    const struct frame f = p->frames[--p->depth];
    p->bar_count -= f.bars;
    if (kind == '[')
        return close_square(p, &f, close);
    if (f.colons > 1)
        forget_frames(p);
    return SDG_OK;
}

static enum sdg_result open_bracket(struct parse *p, char kind, size_t open)
{
    if (!sdg_grow(p->log, &p->frames, &p->capacity, p->depth + 1, sizeof *p->frames, "a prompt's brackets"))
        return SDG_ERROR_MEMORY;
    p->frames[p->depth++] = (struct frame){.open = open, .kind = kind};
    return SDG_OK;
}

static void add_colon(struct parse *p, size_t at)
{
    if (!p->depth)
        return;
    struct frame *f = &p->frames[p->depth - 1];
    if (f->colons < 2)
        f->colon[f->colons] = at;
    f->colons++;
}

static enum sdg_result add_bar(struct parse *p, size_t at)
{
    if (!p->depth || p->frames[p->depth - 1].kind != '[') {
        p->out->bar = at;
        return SDG_OK;
    }
    if (!sdg_grow(p->log, &p->bars, &p->bar_capacity, p->bar_count + 1, sizeof *p->bars, "a prompt's brackets"))
        return SDG_ERROR_MEMORY;
    p->bars[p->bar_count++] = at;
    p->frames[p->depth - 1].bars++;
    return SDG_OK;
}

static enum sdg_result find(struct parse *p, size_t length)
{
    for (size_t i = 0; i < length && p->out->bar == SIZE_MAX; i++) {
        const char c = p->text[i];
        switch (c) {
        case '\\':
            if (i + 1 == length || p->text[i + 1] == '\n')
                p->out->bar = i;
            i++;
            break;
        case '(':
        case '[': SDG_TRY(open_bracket(p, c, i)); break;
        case ')': SDG_TRY(close_bracket(p, '(', i)); break;
        case ']': SDG_TRY(close_bracket(p, '[', i)); break;
        case ':': add_colon(p, i); break;
        case '|': SDG_TRY(add_bar(p, i)); break;
        default: break;
        }
    }
    if (p->out->bar == SIZE_MAX)
        forget_frames(p);
    return SDG_OK;
}

static int by_open(const void *a, const void *b)
{
    const struct sdg_prompt_group *x = a, *y = b;
    return (x->open > y->open) - (x->open < y->open);
}

enum sdg_result sdg_prompt_groups_find(const struct sdg_log *log, const char *text, size_t length,
                                       struct sdg_prompt_groups *out)
{
    struct parse p = {.log = log, .text = text, .out = out};
    *out = (struct sdg_prompt_groups){.odd = SIZE_MAX, .bar = SIZE_MAX};
    enum sdg_result result = find(&p, length);
    sdg_free(p.frames);
    sdg_free(p.bars);
    if (out->bar != SIZE_MAX)
        out->count = 0;
    if (out->count)
        qsort(out->at, out->count, sizeof *out->at, by_open);
    return result;
}

void sdg_prompt_groups_clear(struct sdg_prompt_groups *groups)
{
    sdg_free(groups->at);
    sdg_free(groups->separators);
    *groups = (struct sdg_prompt_groups){0};
}
