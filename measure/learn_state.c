#include "measure/learn_state.h"

#include "base/file.h"
#include "base/memory.h"

#include <stdio.h>
#include <string.h>

enum { METADATA = 8 };
static const char settings_key[] = "learning";

struct sdg_learn_state {
    const struct sdg_log *log;
    const char *path; // the caller's
    struct sdg_metadata metadata[METADATA];
    size_t metadata_count;
    char *texts[METADATA * 2];  // keys and values
    struct sdg_tensor *tensors; // names and data are owned
    size_t count, capacity;
};

// ---- tensors ----

static void free_tensor(const struct sdg_tensor *t)
{
    sdg_free((void *)(uintptr_t)t->name);
    sdg_free((void *)(uintptr_t)t->data);
}

enum sdg_result sdg_learn_state_add(struct sdg_learn_state *s, const struct sdg_tensor *tensor)
{
    struct sdg_tensor copy = *tensor; // which may be one of these, that move
    if (!sdg_grow(s->log, &s->tensors, &s->capacity, s->count + 1, sizeof *s->tensors, "what was learned"))
        return SDG_ERROR_MEMORY;
    char *name = sdg_strdup(s->log, copy.name);
    void *data = name ? sdg_alloc_raw(s->log, copy.bytes, 1, "what was learned") : NULL;
    if (!data) {
        sdg_free(name);
        return SDG_ERROR_MEMORY;
    }
    memcpy(data, copy.data, copy.bytes);
    copy.name = name;
    copy.data = data;
    size_t at = 0;
    while (at < s->count && strcmp(s->tensors[at].name, name) != 0)
        at++;
    if (at < s->count)
        free_tensor(&s->tensors[at]);
    s->count += at == s->count;
    s->tensors[at] = copy;
    return SDG_OK;
}

const struct sdg_tensor *sdg_learn_state_tensors(const struct sdg_learn_state *s, size_t *count)
{
    *count = s->count;
    return s->tensors;
}

const float *sdg_learn_state_block(const struct sdg_learn_state *s, const char *block)
{
    const size_t length = strlen(block);
    for (size_t i = 0; i < s->count; i++)
        if (strncmp(s->tensors[i].name, block, length) == 0 &&
            strcmp(s->tensors[i].name + length, SDG_LEARNED_SUFFIX) == 0)
            return s->tensors[i].data;
    return NULL;
}

// ---- the file ----

static enum sdg_result add_metadata(struct sdg_learn_state *s, const char *key, const char *value)
{
    if (s->metadata_count == METADATA)
        return sdg_fail(s->log, SDG_ERROR_INPUT, "the quantized UNet's file has more than %d metadata", METADATA - 1);
    char **texts = s->texts + 2 * s->metadata_count;
    texts[0] = sdg_strdup(s->log, key);
    texts[1] = texts[0] ? sdg_strdup(s->log, value) : NULL;
    s->metadata[s->metadata_count++] = (struct sdg_metadata){texts[0], texts[1]};
    return texts[1] ? SDG_OK : SDG_ERROR_MEMORY;
}

static bool is_marker_sound(const struct sdg_tensor *t)
{
    const size_t length = strlen(t->name), suffix = strlen(SDG_LEARNED_SUFFIX);
    if (length < suffix || strcmp(t->name + length - suffix, SDG_LEARNED_SUFFIX) != 0)
        return true;
    return t->dtype == SDG_F32 && t->bytes == 3 * sizeof(float);
}

static enum sdg_result read_tensors(struct sdg_learn_state *s, const struct sdg_tensors *file, const char *settings)
{
    const char *old = sdg_tensors_metadata(file, settings_key);
    if (!old || strcmp(old, settings) != 0)
        return sdg_fail(s->log, SDG_ERROR_INPUT,
                        "%s: was learned with other settings, prompts or models (%.200s): remove it to begin anew",
                        s->path, old ? old : "it does not say which");
    for (size_t i = 0; i < sdg_tensors_count(file); i++) {
        if (!is_marker_sound(sdg_tensors_at(file, i)))
            return sdg_fail(s->log, SDG_ERROR_INPUT, "%s: %s is misshapen", s->path, sdg_tensors_at(file, i)->name);
        SDG_TRY(sdg_learn_state_add(s, sdg_tensors_at(file, i)));
    }
    return SDG_OK;
}

static enum sdg_result read_file(struct sdg_learn_state *s, const char *settings, bool resume)
{
    struct sdg_tensors *file;
    if (sdg_path_kind(s->path) == SDG_PATH_MISSING)
        return SDG_OK;
    if (!resume)
        return sdg_fail(s->log, SDG_ERROR_OUTPUT, "%s exists already: resume the learning that it is of, or remove it",
                        s->path);
    SDG_TRY(sdg_tensors_open(s->log, s->path, &file));
    enum sdg_result result = read_tensors(s, file, settings);
    sdg_tensors_destroy(&file);
    return result;
}

enum sdg_result sdg_learn_state_create(const struct sdg_log *log, const char *path, const char *settings, bool resume,
                                       const struct sdg_tensors *quantized, struct sdg_learn_state **out)
{
    struct sdg_learn_state *s = *out = sdg_alloc(log, 1, sizeof *s, "what was learned");
    if (!s)
        return SDG_ERROR_MEMORY;
    s->log = log;
    s->path = path;
    size_t count;
    const struct sdg_metadata *metadata = sdg_tensors_all_metadata(quantized, &count);
    enum sdg_result result = add_metadata(s, settings_key, settings);
    for (size_t i = 0; i < count && result == SDG_OK; i++)
        result = add_metadata(s, metadata[i].key, metadata[i].value);
    if (result == SDG_OK)
        result = read_file(s, settings, resume);
    if (result != SDG_OK)
        sdg_learn_state_destroy(out);
    return result;
}

void sdg_learn_state_destroy(struct sdg_learn_state **state)
{
    struct sdg_learn_state *s = *state;
    if (!s)
        return;
    for (size_t i = 0; i < s->count; i++)
        free_tensor(&s->tensors[i]);
    for (size_t i = 0; i < sizeof s->texts / sizeof *s->texts; i++)
        sdg_free(s->texts[i]);
    sdg_free(s->tensors);
    sdg_free(s);
    *state = NULL;
}

enum sdg_result sdg_learn_state_write(const struct sdg_learn_state *s)
{
    return sdg_tensors_write(s->log, s->path, s->tensors, s->count, s->metadata, s->metadata_count);
}

enum sdg_result sdg_learn_state_overlay(const struct sdg_learn_state *s, struct sdg_tensors **unet)
{
    struct sdg_tensors *file;
    if (!s->count)
        return SDG_OK;
    SDG_TRY(sdg_tensors_open(s->log, s->path, &file));
    enum sdg_result result = sdg_tensors_overlay(s->log, file, unet);
    if (result == SDG_OK)
        *unet = file;
    else
        sdg_tensors_destroy(&file);
    return result;
}
