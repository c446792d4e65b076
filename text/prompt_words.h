// Words of a prompt in capitals that say something: BREAK, AND. Internal to text/.
#ifndef SDG_TEXT_PROMPT_WORDS_H
#define SDG_TEXT_PROMPT_WORDS_H

// The first `word` (ASCII) in [at, end) with no letter, number or _ beside it, as \b in Python; `start` <= at is how far
// one may look back. NULL if there is none.
const char *sdg_prompt_find_word(const char *start, const char *at, const char *end, const char *word);

#endif
