// The result of an evaluation owns everything that it points to.
#include "measure/evaluate_result.h"

#include "base/memory.h"

#include <stdarg.h>
#include <stdio.h>

enum sdg_result sdg_evaluation_create(const struct sdg_log *log, struct sdg_evaluation_store **out)
{
    *out = sdg_alloc(log, 1, sizeof **out, "the evaluation");
    if (!*out)
        return SDG_ERROR_MEMORY;
    (*out)->log = log;
    return SDG_OK;
}

void *sdg_evaluation_take(struct sdg_evaluation_store *store, size_t count, size_t size)
{
    if (!sdg_grow(store->log, &store->blocks, &store->capacity, store->count + 1, sizeof *store->blocks,
                  "the evaluation"))
        return NULL;
    void *block = sdg_alloc(store->log, count, size, "the evaluation");
    if (block)
        store->blocks[store->count++] = block;
    return block;
}

char *sdg_evaluation_text(struct sdg_evaluation_store *store, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    char *text = length < 0 ? NULL : sdg_evaluation_take(store, (size_t)length + 1, 1);
    if (!text)
        return NULL;
    va_start(arguments, format);
    vsnprintf(text, (size_t)length + 1, format, arguments);
    va_end(arguments);
    return text;
}

void sdg_evaluation_destroy(struct sdg_evaluation **evaluation)
{
    if (!evaluation || !*evaluation)
        return;
    struct sdg_evaluation_store *store = (struct sdg_evaluation_store *)*evaluation;
    for (size_t i = 0; i < store->image_count; i++)
        sdg_image_destroy(&store->images[i]);
    for (size_t i = 0; i < store->count; i++)
        sdg_free(store->blocks[i]);
    sdg_free(store->blocks);
    sdg_free(store);
    *evaluation = NULL;
}
