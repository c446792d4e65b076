#include "formats/tokenizer_files.h"

#include "base/memory.h"

#include <string.h>

enum { FILE_LIMIT = 64 << 20 };

const char *sdg_tokenizer_file_name(enum sdg_tokenizer_file file)
{
    static const char *const names[SDG_TOKENIZER_FILE_COUNT] = {
        [SDG_TOKENIZER_JSON] = "tokenizer.json",
        [SDG_TOKENIZER_VOCAB] = "vocab.json",
        [SDG_TOKENIZER_MERGES] = "merges.txt",
        [SDG_TOKENIZER_CONFIG] = "tokenizer_config.json",
        [SDG_TOKENIZER_SPECIAL_TOKENS] = "special_tokens_map.json",
        [SDG_TOKENIZER_ADDED_TOKENS] = "added_tokens.json",
    };
    return names[file];
}

static enum sdg_result has(const struct sdg_log *log, const struct sdg_files *list, const char *folder,
                           enum sdg_tokenizer_file file, bool *there)
{
    char *path = sdg_path_join(log, folder, sdg_tokenizer_file_name(file));
    if (!path)
        return SDG_ERROR_MEMORY;
    *there = sdg_files_kind(list, path) != SDG_PATH_MISSING;
    sdg_free(path);
    return SDG_OK;
}

static enum sdg_result read_member(const struct sdg_log *log, const struct sdg_files *list, const char *folder,
                                   enum sdg_tokenizer_file file, char **out)
{
    char *path = sdg_path_join(log, folder, sdg_tokenizer_file_name(file));
    if (!path)
        return SDG_ERROR_MEMORY;
    enum sdg_result result = sdg_files_text(log, list, path, FILE_LIMIT, out);
    sdg_free(path);
    return result;
}

enum sdg_result sdg_tokenizer_files_read(const struct sdg_log *log, const struct sdg_files *list, const char *folder,
                                         struct sdg_tokenizer_files *files)
{
    bool there[SDG_TOKENIZER_FILE_COUNT];
    for (int i = 0; i < SDG_TOKENIZER_FILE_COUNT; i++)
        SDG_TRY(has(log, list, folder, (enum sdg_tokenizer_file)i, &there[i]));
    if (!there[SDG_TOKENIZER_JSON] && !there[SDG_TOKENIZER_VOCAB] && !there[SDG_TOKENIZER_MERGES])
        return SDG_OK;
    files->folder = sdg_strdup(log, folder);
    if (!files->folder)
        return SDG_ERROR_MEMORY;
    if (there[SDG_TOKENIZER_JSON]) // the other two say the same, or what it was made from
        there[SDG_TOKENIZER_VOCAB] = there[SDG_TOKENIZER_MERGES] = false;
    else
        there[SDG_TOKENIZER_VOCAB] = there[SDG_TOKENIZER_MERGES] = true; // a missing one is reported
    for (int i = 0; i < SDG_TOKENIZER_FILE_COUNT; i++)
        if (there[i])
            SDG_TRY(read_member(log, list, folder, (enum sdg_tokenizer_file)i, &files->text[i]));
    return SDG_OK;
}

void sdg_tokenizer_files_clear(struct sdg_tokenizer_files *files)
{
    sdg_free(files->folder);
    for (int i = 0; i < SDG_TOKENIZER_FILE_COUNT; i++)
        sdg_free(files->text[i]);
    *files = (struct sdg_tokenizer_files){0};
}
