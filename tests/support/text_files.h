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
    char *vocab = file_text(folder, "vocab.json"), *merges = file_text(folder, "merges.txt");
    struct sdg_tokenizer *t = NULL;
    if (vocab && merges)
        sdg_tokenizer_create(NULL, folder, vocab, merges, pad, &t);
    free(vocab);
    free(merges);
    return t;
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
