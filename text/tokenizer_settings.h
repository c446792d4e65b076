// What transformers' CLIPTokenizer (5.24) makes of the JSON files of a tokenizer, apart from vocabulary and merges: its
// special and added tokens, and how long a text may be. Internal to text/.
#ifndef SDG_TEXT_TOKENIZER_SETTINGS_H
#define SDG_TEXT_TOKENIZER_SETTINGS_H

#include "base/log.h"
#include "formats/tokenizer_files.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

// A token that is found in the text before there are words. That white space around it may belong to it (lstrip,
// rstrip) makes no difference here: CLIP's words leave all of it out.
struct sdg_added_token {
    char *content;
    int id;           // that the file gives it; -1: none
    bool normalized;  // looked for in the normalised text, so in any case; else in the text as it is
    bool single_word; // not inside of a word
    bool special;
    bool hidden; // has an id, but is not looked for: split_special_tokens
};

// The special tokens that transformers knows by name, in its order.
enum sdg_named_token { SDG_TOKEN_BEGIN, SDG_TOKEN_END, SDG_TOKEN_UNKNOWN, SDG_TOKEN_PAD, SDG_TOKEN_NAMED_COUNT };

struct sdg_tokenizer_settings {
    char *named[SDG_TOKEN_NAMED_COUNT]; // their texts
    struct sdg_added_token *added;      // in the order in which new ones get ids; a later one of equal text counts
    size_t added_count, added_capacity;
    int length; // tokens of a text with begin, end and padding (model_max_length); 0: the files do not say
};

// `tokenizer_json` is the parsed file of that name, or NULL. Interprets all but its vocabulary and merges.
// special_tokens_map.json, added_tokens.json and the added tokens of tokenizer.json count only where
// tokenizer_config.json has no added_tokens_decoder. SDG_ERROR_INPUT: what is broken; SDG_ERROR_UNSUPPORTED: another
// kind of tokenizer, padding or truncation on the left. *out is released by sdg_tokenizer_settings_clear, on failure
// too.
enum sdg_result sdg_tokenizer_settings_read(const struct sdg_log *log, const struct sdg_tokenizer_files *files,
                                            const cJSON *tokenizer_json, struct sdg_tokenizer_settings *out);
void sdg_tokenizer_settings_clear(struct sdg_tokenizer_settings *settings);

#endif
