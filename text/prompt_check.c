#include "text/prompt_check.h"

#include "base/file.h"
#include "text/prompt_groups.h"
#include "text/prompt_number.h"
#include "text/prompt_schedule.h"
#include "text/prompt_words.h"
#include "sdgen/sdgen.h"
#include "text/tokenizer_unicode.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { QUOTE = 40 }; // bytes

// Copies a piece of a prompt for a message, in whole characters.
static const char *quote(const char *text, size_t length, char out[QUOTE + 4])
{
    size_t kept = length < QUOTE ? length : QUOTE;
    while (kept < length && kept && ((unsigned char)text[kept] & 0xc0) == 0x80)
        kept--;
    snprintf(out, QUOTE + 4, "%.*s%s", (int)kept, text, kept < length ? "..." : "");
    return out;
}

// ---- errors ----

static size_t name_length(const char *s)
{
    size_t length = 0;
    int32_t c;
    for (const char *end = s + strlen(s); s + length < end;) {
        size_t bytes = sdg_utf8_next((const unsigned char *)s + length, (const unsigned char *)end, &c);
        enum sdg_char_class class = sdg_char_class(c);
        if (c != '_' && class != SDG_CHAR_LETTER && class != SDG_CHAR_NUMBER)
            break;
        length += bytes;
    }
    return length;
}

// Names that ask for a network however they are written.
static bool is_known(const char *name, size_t length)
{
    static const char *const names[] = {"lora", "lyco", "locon", "loha", "lokr", "hypernet"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strlen(names[i]) == length && strncasecmp(names[i], name, length) == 0)
            return true;
    return false;
}

// The length of the tag that begins at `s`, a <; 0 if it is text. webui takes any <word:...>, up to the first >; of the
// known names forgotten ends and white space count as well.
static size_t tag_length(const char *s)
{
    static const char space[] = " \t\r\n";
    const size_t before = strspn(s + 1, space);
    const char *name = s + 1 + before, *end = strchr(s, '>');
    const size_t length = name_length(name), after = strspn(name + length, space);
    if (!length || name[length + after] != ':')
        return 0;
    if (is_known(name, length))
        return end ? (size_t)(end + 1 - s) : strlen(s);
    return !before && !after && end && end > name + length + 1 ? (size_t)(end + 1 - s) : 0;
}

enum sdg_result sdg_check_prompt(const struct sdg_log *log, const char *what, const char *prompt, bool plain)
{
    SDG_REQUIRE(log, what, "what");
    SDG_REQUIRE(log, prompt, "prompt");
    const size_t bytes = strlen(prompt);
    char piece[QUOTE + 4];
    if (bytes > SDG_TEXT_MAX_BYTES)
        return sdg_fail(log, SDG_ERROR_USAGE, "%s has %zu bytes; at most %d are possible", what, bytes,
                        SDG_TEXT_MAX_BYTES);
    if (!sdg_utf8_valid(prompt, bytes))
        return sdg_fail(log, SDG_ERROR_USAGE, "%s is not UTF-8", what);
    for (const char *s = plain ? NULL : strchr(prompt, '<'); s; s = strchr(s + 1, '<')) {
        const size_t length = tag_length(s);
        if (length)
            return sdg_fail(log, SDG_ERROR_UNSUPPORTED,
                            "%s has '%s': networks beside the model (LoRA, LyCORIS, hypernetworks) are not in this "
                            "version; leave it out, or take the prompt literally (plain syntax)",
                            what, quote(s, length, piece));
    }
    return SDG_OK;
}

// ---- warnings ----

// The first oddity, and how many there are.
struct findings {
    const char *prompt;
    size_t at, length; // of the first
    const char *why;
    int count;
};

static void note(struct findings *f, size_t at, size_t length, const char *why)
{
    if (!f->count++ || at < f->at) {
        f->at = at;
        f->length = length;
        f->why = why;
    }
}

struct brackets {
    size_t last;  // the one that was opened last
    size_t outer; // the last one that was opened outside of others
    size_t open;
};

static void open_bracket(struct brackets *b, size_t at)
{
    if (!b->open++)
        b->outer = at;
    b->last = at;
}

// What follows the last colon before the ) at `close` was meant to be a weight, but is no number.
static bool is_bad_weight(const char *prompt, size_t open, size_t close, size_t *colon)
{
    size_t at = close;
    double weight;
    while (at > open && strchr(" \t+-.,;0123456789eE%", prompt[at - 1]))
        at--;
    if (at <= open + 1 || prompt[at - 1] != ':')
        return false;
    *colon = at - 1;
    at += strspn(prompt + at, " \t");
    while (close > at && strchr(" \t", prompt[close - 1]))
        close--;
    return close == at || strcspn(prompt + at, "eE") < close - at ||
        sdg_prompt_number(prompt + at, close - at, &weight) != close - at;
}

static void find_brackets(struct findings *f)
{
    struct brackets round = {0}, square = {0};
    const char *const s = f->prompt;
    for (size_t i = 0, colon; s[i]; i++) {
        if (s[i] == '\\' && s[i + 1])
            i++;
        else if (s[i] == '(')
            open_bracket(&round, i);
        else if (s[i] == '[')
            open_bracket(&square, i);
        else if (s[i] == ')' && !round.open)
            note(f, i, 1, "closes no bracket: it is text");
        else if (s[i] == ']' && !square.open)
            note(f, i, 1, "closes no bracket: it is text");
        else if (s[i] == ']')
            square.open--;
        else if (s[i] == ')') {
            round.open--;
            if (is_bad_weight(s, round.last, i, &colon))
                note(f, round.last < colon ? round.last : colon, i + 1 - round.last,
                     "has no weight, as in (word:1.2): the colon and what follows it are text");
        }
    }
    if (round.open)
        note(f, round.outer, strlen(s) - round.outer, "is not closed: it weighs all that follows");
    if (square.open)
        note(f, square.outer, strlen(s) - square.outer, "is not closed: it weighs all that follows");
}

// ComfyUI's and stable-diffusion.cpp's way to name an embedding file.
static void find_embeddings(struct findings *f)
{
    static const char word[] = "embedding:";
    const size_t length = sizeof word - 1;
    for (const char *at = f->prompt; (at = strstr(at, word)); at += length) {
        const size_t name = strcspn(at + length, " \t\n,()[]:|<>");
        const bool begins = at == f->prompt || strchr(" \t\n,()[]:|", at[-1]);
        if (begins && name)
            note(f, (size_t)(at - f->prompt), length + name, "is text: embedding files are not in this version");
    }
}

static void find_switches(struct findings *f, const struct sdg_prompt_groups *g, size_t offset, int steps, int asked)
{
    for (size_t i = 0; i < g->count; i++) {
        const struct sdg_prompt_group *group = &g->at[i];
        if (!group->alternates && sdg_prompt_switch_step(group->when, group->fraction, asked) >= steps)
            note(f, offset + group->open, group->close + 1 - group->open,
                 "does not come to its second text: no step is left for it");
    }
}

static void find_groups(struct findings *f, const struct sdg_prompt_part *part, int steps, int asked)
{
    const size_t offset = (size_t)(part->text - f->prompt);
    struct sdg_prompt_groups g;
    if (sdg_prompt_groups_find(NULL, part->text, part->length, &g) == SDG_OK) {
        if (g.bar != SIZE_MAX && memchr(part->text, '[', part->length))
            note(f, offset + g.bar, 1,
                 "stands alone, so that square brackets are weights and do not depend on the step");
        else if (g.odd != SIZE_MAX)
            note(f, offset + g.odd, part->length - g.odd,
                 "has no number of a step, as in [from:to:0.5]: it is a weight and text");
        find_switches(f, &g, offset, steps, asked);
    }
    sdg_prompt_groups_clear(&g);
}

static void find_parts(struct findings *f, bool negative, int steps, int asked)
{
    struct sdg_prompt_part parts[SDG_PROMPT_MAX_PARTS];
    const size_t length = strlen(f->prompt);
    const int count = sdg_prompt_split(f->prompt, parts);
    if (negative && count != 1) {
        const char *and = sdg_prompt_find_word(f->prompt, f->prompt, f->prompt + length, "AND");
        note(f, (size_t)(and - f->prompt), strlen("AND"), "is a word in a negative prompt, it composes nothing");
    }
    if (count == 1 && parts[0].weighted)
        note(f, parts[0].length, length - parts[0].length, "weighs nothing without brackets: it is text");
    if (negative || count == 1) {
        parts[0] = (struct sdg_prompt_part){.text = f->prompt, .length = length};
        find_groups(f, &parts[0], steps, asked);
        return;
    }
    for (int i = 0; i < count; i++)
        find_groups(f, &parts[i], steps, asked);
}

void sdg_prompt_warn(const struct sdg_log *log, const char *prompt, bool negative, int steps, int asked)
{
    struct findings f = {.prompt = prompt};
    char piece[QUOTE + 4], more[32] = "";
    size_t characters = 1;
    find_brackets(&f);
    find_embeddings(&f);
    find_parts(&f, negative, steps, asked);
    if (!f.count)
        return;
    for (size_t i = 0; i < f.at; i++)
        characters += ((unsigned char)prompt[i] & 0xc0) != 0x80;
    if (f.count > 1)
        snprintf(more, sizeof more, " (and %d more)", f.count - 1);
    sdg_say(log, SDG_LOG_WARNING, "the %s at character %zu: '%s' %s%s", negative ? "negative prompt" : "prompt",
            characters, quote(prompt + f.at, f.length, piece), f.why, more);
}
