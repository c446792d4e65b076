// For the tests of text/: files as strings, the default model's tokenizer, and a log that counts.
#ifndef SDG_TESTS_SUPPORT_TEXT_FILES_H
#define SDG_TESTS_SUPPORT_TEXT_FILES_H

#include "base/memory.h"
#include "text/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MODEL_TOKENIZER SDG_SOURCE_DIR "/models/emoji-128/tokenizer"

// The content with a NUL after it, or NULL. free() it.
static inline char *file_text(const char *folder, const char *name)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    if (!file)
        return NULL;
    char *text = NULL;
    if (fseek(file, 0, SEEK_END) == 0) {
        long size = ftell(file);
        rewind(file);
        text = size < 0 ? NULL : malloc((size_t)size + 1);
        if (text)
            text[fread(text, 1, (size_t)size, file)] = 0;
    }
    fclose(file);
    return text;
}

struct counting_log {
    int errors;
    char last[600];
};

static inline void counting_log_fn(void *user, enum sdg_log_level level, const char *message)
{
    struct counting_log *c = user;
    c->errors += level == SDG_LOG_ERROR;
    snprintf(c->last, sizeof c->last, "%s", message);
}

static inline struct sdg_tokenizer *folder_tokenizer(const char *folder, const char *pad)
{
    struct sdg_tokenizer_files files = {0};
    struct sdg_tokenizer *t = NULL;
    if (sdg_tokenizer_files_read(NULL, NULL, folder, &files) == SDG_OK && files.folder) {
        files.pad = pad;
        sdg_tokenizer_create(NULL, &files, SDG_TEXT_TOKENS, &t);
    }
    sdg_tokenizer_files_clear(&files);
    return t;
}

// Stable Diffusion's own configuration of its special tokens: begin and end are looked for in any case.
#define TYPED_TOKEN(name) "{\"__type\":\"AddedToken\",\"content\":\"" name "\",\"normalized\":true}"
#define TYPED_CONFIG                                                                \
    "{\"bos_token\":" TYPED_TOKEN("<|startoftext|>") ",\"eos_token\":" TYPED_TOKEN( \
        "<|endoftext|>") ",\"unk_token\":" TYPED_TOKEN("<|endoftext|>") "}"

// From texts, as files of a folder "NAME".
static inline enum sdg_result text_tokenizer(const struct sdg_log *log, const char *name, const char *vocabulary,
                                             const char *merges, const char *pad, struct sdg_tokenizer **out)
{
    struct sdg_tokenizer_files files = {.folder = (char *)name, .pad = pad};
    files.text[SDG_TOKENIZER_VOCAB] = (char *)vocabulary;
    files.text[SDG_TOKENIZER_MERGES] = (char *)merges;
    files.text[SDG_TOKENIZER_CONFIG] = (char *)TYPED_CONFIG;
    return sdg_tokenizer_create(log, &files, SDG_TEXT_TOKENS, out);
}

// Calls `use` with each line of a file of JSON lines; returns how many, or -1 where there is no such file.
static inline long each_line(const char *folder, const char *name, void (*use)(const char *line, void *user),
                             void *user)
{
    char *text = file_text(folder, name);
    if (!text)
        return -1;
    long lines = 0;
    for (char *line = text; *line; lines++) {
        char *end = line + strcspn(line, "\n"), *next = end + (*end == '\n');
        *end = 0;
        use(line, user);
        line = next;
    }
    free(text);
    return lines;
}

#endif
