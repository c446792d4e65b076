// What a prompt says at each step: composed prompts (AND), prompt editing ([from:to:when]) and alternation ([a|b]) of
// stable-diffusion-webui, resolved to plain texts, which sdg_prompt_tokenize reads.
#ifndef SDG_TEXT_PROMPT_SCHEDULE_H
#define SDG_TEXT_PROMPT_SCHEDULE_H

#include "text/prompt.h"

// - AND, in capitals and as a word, separates parts, wherever it stands. A part that ends in ": number" has that weight
//   (a sign and a point are possible, exponents are not), others 1. Negative prompts are not composed: AND is a word
//   there.
// - [from:to:when] is `from` in the steps 1 to `when`, then `to`; [to:when] is [:to:when], [from::when] ends. With a
//   point `when` is a share of the steps asked for, else a number of steps; both are cut to a whole number.
// - [a|b|c] is a in step 1, b in step 2, c in step 3, a in step 4, ...
// - All of it nests; brackets that are none of these are left as they are. prompt_groups.h has the grammar.
// Steps are those of the sampler, however often it runs the model in one, and with an init image those that are run,
// counted from 1 (the share is of those asked for, as in webui).
//
// Differences to webui: what it runs at a step is what its schedule says of the one before, because one of its counters
// begins at 0 and the other at 1, so that its first texts last one step longer than it documents; with samplers that
// run the model twice it counts runs; a prompt without AND that ends in ": number" is text here, there it is weighed as
// a whole.
enum { SDG_PROMPT_MAX_PARTS = 64 };

struct sdg_prompt_schedule { // owned; sdg_prompt_schedule_clear
    int parts, steps;        // >= 1
    float *weights;          // [parts], within +-SDG_PROMPT_WEIGHT_MAX
    int *at;                 // [steps][parts] indices into texts
    char **texts;            // [text_count], all different and all used
    int text_count;
};

// `steps`: that are run, of `asked`. `composes`: AND separates. Plain syntax gives one text. SDG_ERROR_USAGE for more
// than SDG_PROMPT_MAX_PARTS parts or texts of more than SDG_TEXT_MAX_BYTES in all. On failure *out is all zero.
enum sdg_result sdg_prompt_schedule_create(const struct sdg_log *log, enum sdg_prompt_syntax syntax, const char *prompt,
                                           bool composes, int steps, int asked, struct sdg_prompt_schedule *out);
void sdg_prompt_schedule_clear(struct sdg_prompt_schedule *schedule);

// One part of a composed prompt, without the white space and the weight at its end.
struct sdg_prompt_part {
    const char *text;
    size_t length;
    double weight;
    bool weighted; // it ended in a number
};
// Fills parts[SDG_PROMPT_MAX_PARTS]; returns how many there are, -1 for too many.
int sdg_prompt_split(const char *prompt, struct sdg_prompt_part *parts);
// The last step at which a group that switches shows its first text.
int sdg_prompt_switch_step(double when, bool fraction, int asked);

#endif
