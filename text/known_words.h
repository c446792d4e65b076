// The words that a model's captions had, for models made from few: another one draws something else, whatever it means.
#ifndef SDG_TEXT_KNOWN_WORDS_H
#define SDG_TEXT_KNOWN_WORDS_H

#include "base/log.h"

#include <stdbool.h>

// Calls `fn` for the words of `prompt` that are not in `known` (UTF-8, a word a line, in lower case), each time that
// they stand there, with the nearest one that is, if it differs in few letters, else NULL; both valid during the call.
// Words are runs of letters and their marks, three or more, in any case; unless `plain`, not what the syntax of prompts
// means by AND and BREAK. SDG_ERROR_MEMORY, else what `fn` returns.
enum sdg_result sdg_known_words_each(const struct sdg_log *log, const char *known, const char *prompt, bool plain,
                                     enum sdg_result (*fn)(void *user, const char *word, const char *nearest),
                                     void *user);
// Says them in one line of information, each once. `model` begins the line.
enum sdg_result sdg_known_words_tell(const struct sdg_log *log, const char *model, const char *known,
                                     const char *prompt, bool plain);

#endif
