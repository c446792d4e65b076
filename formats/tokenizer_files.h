// The files of a tokenizer as transformers writes them, read but not interpreted (that is text/tokenizer_settings.h's).
#ifndef SDG_FORMATS_TOKENIZER_FILES_H
#define SDG_FORMATS_TOKENIZER_FILES_H

#include "formats/file_list.h"

#include <stdbool.h>

enum sdg_tokenizer_file {
    SDG_TOKENIZER_JSON, // tokenizer.json: everything but what tokenizer_config.json says; goes before the next two
    SDG_TOKENIZER_VOCAB,
    SDG_TOKENIZER_MERGES,
    SDG_TOKENIZER_CONFIG,
    SDG_TOKENIZER_SPECIAL_TOKENS,
    SDG_TOKENIZER_ADDED_TOKENS,
    SDG_TOKENIZER_FILE_COUNT
};

struct sdg_tokenizer_files {
    char *folder;                         // where they lie, for messages; NULL: there is no tokenizer
    char *text[SDG_TOKENIZER_FILE_COUNT]; // whole files, valid UTF-8, NUL-terminated; NULL: not there
    // The padding token in place of what the files say, or NULL: models that are used with the tokenizer of another one
    // pad in their own way. Static storage.
    const char *pad;
};

// "vocab.json", ...
const char *sdg_tokenizer_file_name(enum sdg_tokenizer_file file);

// Reads what is in `folder` of `list` (formats/file_list.h). *files stays all zero where there is neither
// tokenizer.json nor vocab.json nor merges.txt; of the latter two both are needed. What is read is released by
// sdg_tokenizer_files_clear, on failure too.
enum sdg_result sdg_tokenizer_files_read(const struct sdg_log *log, const struct sdg_files *list, const char *folder,
                                         struct sdg_tokenizer_files *files);
void sdg_tokenizer_files_clear(struct sdg_tokenizer_files *files);

#endif
