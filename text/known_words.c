#include "text/known_words.h"

#include "base/memory.h"
#include "base/spelling.h"
#include "text/prompt_words.h"
#include "text/tokenizer_unicode.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SHORTEST = 3,                 // letters; "a", "of" and what is left of "don't" are not worth a word
    LONGEST = SDG_SPELLING_BYTES, // longer ones are shown as they are and have no neighbour
    MOST_TOLD = 6,                // words in a line
};

struct words {
    const char **at; // [count] sorted
    size_t count;
};

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

// Cuts `text` into its lines.
static enum sdg_result words_create(const struct sdg_log *log, char *text, struct words *out)
{
    size_t most = 1;
    for (const char *c = text; *c; c++)
        most += *c == '\n';
    *out = (struct words){.at = sdg_alloc_raw(log, most, sizeof *out->at, "the words that the model knows")};
    if (!out->at)
        return SDG_ERROR_MEMORY;
    for (char *rest = text, *line; (line = strtok_r(rest, "\r\n", &rest)) != NULL;)
        out->at[out->count++] = line;
    qsort(out->at, out->count, sizeof *out->at, by_text);
    return SDG_OK;
}

static bool is_known(const struct words *words, const char *word)
{
    return bsearch(&word, words->at, words->count, sizeof *words->at, by_text) != NULL;
}

// A known word that differs in a fourth of its letters at most; NULL if there is none.
static const char *nearest(const struct words *words, const char *word)
{
    const char *best = NULL;
    const size_t length = strlen(word);
    size_t closest = length / 4 + 1;
    for (size_t i = 0; length <= LONGEST && i < words->count; i++) {
        if (strlen(words->at[i]) < SHORTEST)
            continue;
        const size_t d = sdg_spelling_distance(word, words->at[i]);
        if (d < closest) {
            closest = d;
            best = words->at[i];
        }
    }
    return best;
}

// The next word of *text in lower case, as far as it fits; false at the end. Moves *text behind it.
static bool next_word(const int32_t **text, const int32_t *end, char *out, size_t room, size_t *letters)
{
    size_t used = 0;
    *letters = 0;
    while (*text < end && sdg_char_class(**text) != SDG_CHAR_LETTER)
        ++*text;
    if (*text == end)
        return false;
    for (; *text < end && sdg_is_word_part(**text) && sdg_char_class(**text) != SDG_CHAR_NUMBER && **text != '_';
         ++*text, ++*letters)
        if (used + 5 <= room)
            used += sdg_utf8_put(**text, (unsigned char *)out + used);
    out[used] = 0;
    return true;
}

// Blanks out the words in capitals that are no words.
static void drop_syntax(char *prompt)
{
    static const char *const capitals[] = {"BREAK", "AND"};
    const char *const end = prompt + strlen(prompt);
    for (size_t i = 0; i < sizeof capitals / sizeof *capitals; i++)
        for (const char *at = prompt; (at = sdg_prompt_find_word(prompt, at, end, capitals[i])) != NULL;)
            memset(prompt + (at - prompt), ' ', strlen(capitals[i]));
}

// The prompt as code points in lower case.
static enum sdg_result normalize(const struct sdg_log *log, const char *prompt, bool plain, struct sdg_code_points *out)
{
    struct sdg_code_points raw = {0};
    char *copy = sdg_strdup(log, prompt);
    if (!copy)
        return SDG_ERROR_MEMORY;
    if (!plain)
        drop_syntax(copy);
    enum sdg_result result = sdg_utf8_decode(log, copy, strlen(copy), &raw);
    if (result == SDG_OK)
        result = sdg_normalize(log, raw.at, raw.count, out);
    sdg_free(raw.at);
    sdg_free(copy);
    return result;
}

static enum sdg_result find_unknown(const struct words *words, const struct sdg_code_points *text,
                                    enum sdg_result (*fn)(void *, const char *, const char *), void *user)
{
    char word[LONGEST + 8];
    size_t letters;
    for (const int32_t *at = text->at, *end = at + text->count; next_word(&at, end, word, sizeof word, &letters);)
        if (letters >= SHORTEST && !is_known(words, word))
            SDG_TRY(fn(user, word, nearest(words, word)));
    return SDG_OK;
}

enum sdg_result sdg_known_words_each(const struct sdg_log *log, const char *known, const char *prompt, bool plain,
                                     enum sdg_result (*fn)(void *user, const char *word, const char *nearest),
                                     void *user)
{
    char *list = sdg_strdup(log, known);
    struct words words = {0};
    struct sdg_code_points text = {0};
    enum sdg_result result = list ? words_create(log, list, &words) : SDG_ERROR_MEMORY;
    if (result == SDG_OK)
        result = normalize(log, prompt, plain, &text);
    if (result == SDG_OK)
        result = find_unknown(&words, &text, fn, user);
    sdg_free(text.at);
    sdg_free(words.at);
    sdg_free(list);
    return result;
}

// ---- in a line ----

struct line {
    char text[400];
    size_t used;
    int count;
};

// Adds a word, once.
static enum sdg_result add(void *user, const char *word, const char *near)
{
    struct line *line = user;
    char quoted[LONGEST + 8];
    snprintf(quoted, sizeof quoted, "'%.*s'", LONGEST, word);
    if (strstr(line->text, quoted) || ++line->count > MOST_TOLD)
        return SDG_OK;
    line->used +=
        (size_t)snprintf(line->text + line->used, sizeof line->text - line->used, "%s%s%s%s%s", line->used ? ", " : "",
                         quoted, near ? " (nearest: " : "", near ? near : "", near ? ")" : "");
    if (line->used >= sizeof line->text)
        line->used = sizeof line->text - 1;
    return SDG_OK;
}

enum sdg_result sdg_known_words_tell(const struct sdg_log *log, const char *model, const char *known,
                                     const char *prompt, bool plain)
{
    struct line line = {0};
    const enum sdg_result result = sdg_known_words_each(log, known, prompt, plain, add, &line);
    if (line.count)
        sdg_say(log, SDG_LOG_INFO, "%s does not know the word%s %s%s: it draws something else", model,
                line.count > 1 ? "s" : "", line.text, line.count > MOST_TOLD ? ", ..." : "");
    return result;
}
