// The square brackets of a prompt that depend on the step: [from:to:when] and [a|b]. Internal to text/.
#ifndef SDG_TEXT_PROMPT_GROUPS_H
#define SDG_TEXT_PROMPT_GROUPS_H

#include "base/log.h"

#include <stdbool.h>
#include <stddef.h>

// The grammar is stable-diffusion-webui's (modules/prompt_parser.py, release 1.10), whose parser finds the outermost
// brackets that make sense and leaves the others as text:
// - inside of a bracket there is text, backslashes with what follows, and whole brackets; nothing else;
// - (a) (a:b) [a] are brackets, but depend on nothing; what they weigh is found later, in the text of a step;
// - [from:to:when] [to:when] switch, where `when` is a number with white space around it; parts may be empty;
// - [a|b|...] alternates; parts may be empty.
// A | elsewhere, or a backslash without a character after it, makes the whole text one without groups.
struct sdg_prompt_group {
    size_t open, close; // where its brackets are
    size_t first;       // of its separators in sdg_prompt_groups.separators
    size_t count;       // switching: 1 or 2 colons, the last before `when`; alternating: at least 1
    bool alternates;
    double when;
    bool fraction; // `when` was written with a point: it is a share of the steps
};

struct sdg_prompt_groups { // owned; sdg_prompt_groups_clear. Zeroed = empty
    struct sdg_prompt_group *at; // by `open`
    size_t count, capacity;
    size_t *separators;
    size_t separator_count, separator_capacity;
    size_t odd; // a [ that pairs with a ] and has a colon, but is no group; SIZE_MAX = none
    size_t bar; // the | or backslash because of which there are no groups; SIZE_MAX = none
};

// Positions are bytes of text[0..length). To be cleared also after a failure, which is of memory.
enum sdg_result sdg_prompt_groups_find(const struct sdg_log *log, const char *text, size_t length,
                                       struct sdg_prompt_groups *out);
void sdg_prompt_groups_clear(struct sdg_prompt_groups *groups);

#endif
