// Views: sorted tables of tensors whose data lies in one or more opened files.
#include "formats/tensors.h"

#include "base/memory.h"
#include "formats/view.h"

#include <string.h>

enum { BLOCK_BYTES = 16384, ALIGNMENT = 8 };

struct block { // of names, mostly
    struct block *next;
    size_t used, room;
    _Alignas(8) char bytes[];
};

struct sdg_tensors {
    char *path;
    struct sdg_source **sources;
    size_t source_count, source_capacity;
    struct sdg_tensor *tensors;
    size_t count, capacity;
    struct sdg_unplaced *unplaced;
    size_t unplaced_count, unplaced_capacity;
    bool inferred;
    const char *bare_folder; // in a block
    struct block *blocks;
    struct sdg_tensors *below; // owned; some of `tensors` are its
};

enum sdg_result sdg_tensors_new(const struct sdg_log *log, const char *path, struct sdg_tensors **out)
{
    struct sdg_tensors *tensors = sdg_alloc(log, 1, sizeof *tensors, "a table of tensors");
    if (!tensors)
        return SDG_ERROR_MEMORY;
    tensors->path = sdg_strdup(log, path);
    if (!tensors->path) {
        sdg_free(tensors);
        return SDG_ERROR_MEMORY;
    }
    *out = tensors;
    return SDG_OK;
}

enum sdg_result sdg_tensors_use(const struct sdg_log *log, struct sdg_tensors *tensors, struct sdg_source *source)
{
    if (!sdg_grow(log, &tensors->sources, &tensors->source_capacity, tensors->source_count + 1, sizeof source,
                  "a table of files"))
        return SDG_ERROR_MEMORY;
    atomic_fetch_add(&source->users, 1);
    tensors->sources[tensors->source_count++] = source;
    return SDG_OK;
}

bool sdg_tensors_uses(const struct sdg_tensors *tensors, const char *path)
{
    for (size_t i = 0; i < tensors->source_count; i++)
        if (strcmp(tensors->sources[i]->path, path) == 0)
            return true;
    return false;
}

void *sdg_tensors_room(const struct sdg_log *log, struct sdg_tensors *tensors, size_t bytes)
{
    struct block *block = tensors->blocks;
    if (!block || block->room - block->used < bytes) {
        size_t room = bytes > BLOCK_BYTES ? bytes : BLOCK_BYTES, size;
        if (__builtin_add_overflow(sizeof *block, room, &size))
            size = SIZE_MAX;
        block = sdg_alloc_raw(log, size, 1, "a table of tensors");
        if (!block)
            return NULL;
        *block = (struct block){.next = tensors->blocks, .room = room};
        tensors->blocks = block;
    }
    void *place = block->bytes + block->used;
    bytes = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    block->used += bytes < block->room - block->used ? bytes : block->room - block->used;
    return place;
}

static char *copy_name(const struct sdg_log *log, struct sdg_tensors *tensors, const char *name)
{
    const size_t bytes = strlen(name) + 1;
    char *copy = sdg_tensors_room(log, tensors, bytes);
    return copy ? memcpy(copy, name, bytes) : NULL;
}

enum sdg_result sdg_tensors_add(const struct sdg_log *log, struct sdg_tensors *tensors, const struct sdg_tensor *tensor,
                                const char *name)
{
    if (!sdg_grow(log, &tensors->tensors, &tensors->capacity, tensors->count + 1, sizeof *tensor, "a table of tensors"))
        return SDG_ERROR_MEMORY;
    char *copy = copy_name(log, tensors, name);
    if (!copy)
        return SDG_ERROR_MEMORY;
    tensors->tensors[tensors->count] = *tensor;
    tensors->tensors[tensors->count++].name = copy;
    return SDG_OK;
}

enum sdg_result sdg_tensors_add_unplaced(const struct sdg_log *log, struct sdg_tensors *tensors, const char *name,
                                         size_t prefix, bool in_module)
{
    char *copy = copy_name(log, tensors, name);
    if (!copy ||
        !sdg_grow(log, &tensors->unplaced, &tensors->unplaced_capacity, tensors->unplaced_count + 1,
                  sizeof *tensors->unplaced, "a table of names"))
        return SDG_ERROR_MEMORY;
    tensors->unplaced[tensors->unplaced_count++] = (struct sdg_unplaced){copy, copy + prefix, in_module};
    return SDG_OK;
}

void sdg_tensors_set_inferred(struct sdg_tensors *tensors)
{
    tensors->inferred = true;
}

enum sdg_result sdg_tensors_set_bare_folder(const struct sdg_log *log, struct sdg_tensors *tensors, const char *folder)
{
    const char *copy = copy_name(log, tensors, folder);
    if (!copy)
        return SDG_ERROR_MEMORY;
    tensors->bare_folder = copy;
    return SDG_OK;
}

enum sdg_result sdg_tensors_finish(const struct sdg_log *log, struct sdg_tensors *tensors)
{
    return sdg_tensor_sort_unique(log, tensors->path, tensors->tensors, tensors->count);
}

enum sdg_result sdg_tensors_open(const struct sdg_log *log, const char *path, struct sdg_tensors **out)
{
    struct sdg_source *source;
    struct sdg_tensors *tensors = NULL;
    SDG_TRY(sdg_source_open(log, NULL, path, &source));
    enum sdg_result result = sdg_tensors_new(log, path, &tensors);
    if (result == SDG_OK)
        result = sdg_tensors_use(log, tensors, source);
    for (size_t i = 0; result == SDG_OK && i < source->count; i++) {
        result = sdg_tensor_check_readable(log, path, &source->tensors[i]);
        if (result == SDG_OK)
            result = sdg_tensors_add(log, tensors, &source->tensors[i], source->tensors[i].name);
    }
    if (result == SDG_OK)
        result = sdg_tensors_finish(log, tensors);
    sdg_source_drop(&source);
    if (result != SDG_OK) {
        sdg_tensors_destroy(&tensors);
        return result;
    }
    *out = tensors;
    return SDG_OK;
}

void sdg_tensors_destroy(struct sdg_tensors **handle)
{
    struct sdg_tensors *tensors = *handle;
    *handle = NULL;
    if (!tensors)
        return;
    for (size_t i = 0; i < tensors->source_count; i++)
        sdg_source_drop(&tensors->sources[i]);
    while (tensors->blocks) {
        struct block *next = tensors->blocks->next;
        sdg_free(tensors->blocks);
        tensors->blocks = next;
    }
    sdg_tensors_destroy(&tensors->below);
    sdg_free(tensors->unplaced);
    sdg_free(tensors->sources);
    sdg_free(tensors->tensors);
    sdg_free(tensors->path);
    sdg_free(tensors);
}

enum sdg_result sdg_tensors_overlay(const struct sdg_log *log, struct sdg_tensors *tensors, struct sdg_tensors **below)
{
    struct sdg_tensors *under = *below, *deepest = tensors;
    size_t own = tensors->count, all;
    if (__builtin_add_overflow(own, under->count, &all))
        all = SIZE_MAX;
    if (!sdg_grow(log, &tensors->tensors, &tensors->capacity, all, sizeof *tensors->tensors, "a table of tensors"))
        return SDG_ERROR_MEMORY;
    for (size_t i = 0; i < under->count; i++)
        if (!sdg_tensor_search(tensors->tensors, own, under->tensors[i].name))
            tensors->tensors[tensors->count++] = under->tensors[i];
    sdg_tensor_sort(tensors->tensors, tensors->count);
    while (deepest->below)
        deepest = deepest->below;
    deepest->below = under;
    *below = NULL;
    return SDG_OK;
}

void sdg_tensors_drop(struct sdg_tensors *tensors, bool (*is_dropped)(const char *name))
{
    size_t kept = 0;
    for (size_t i = 0; i < tensors->count; i++)
        if (!is_dropped(tensors->tensors[i].name))
            tensors->tensors[kept++] = tensors->tensors[i];
    tensors->count = kept;
}

size_t sdg_tensors_count(const struct sdg_tensors *tensors)
{
    return tensors->count;
}

const struct sdg_tensor *sdg_tensors_at(const struct sdg_tensors *tensors, size_t i)
{
    return &tensors->tensors[i];
}

const struct sdg_tensor *sdg_tensors_find(const struct sdg_tensors *tensors, const char *name)
{
    return sdg_tensor_search(tensors->tensors, tensors->count, name);
}

struct sdg_tensor *sdg_tensors_edit(struct sdg_tensors *tensors, const char *name)
{
    const struct sdg_tensor *found = sdg_tensors_find(tensors, name);
    return found ? &tensors->tensors[found - tensors->tensors] : NULL;
}

const struct sdg_unplaced *sdg_tensors_unplaced(const struct sdg_tensors *tensors, size_t *count)
{
    *count = tensors->unplaced_count;
    return tensors->unplaced;
}

bool sdg_tensors_are_inferred_from(const struct sdg_tensors *tensors)
{
    return tensors->inferred;
}

const char *sdg_tensors_path(const struct sdg_tensors *tensors)
{
    return tensors->source_count == 1 ? tensors->sources[0]->path : tensors->path;
}

const char *sdg_tensors_origin(const struct sdg_tensors *tensors, const struct sdg_tensor *tensor, bool *differs)
{
    // What lies below keeps its own table: whatever is the same there was not put over it.
    for (; tensors->below; tensors = tensors->below) {
        const struct sdg_tensor *under = sdg_tensors_find(tensors->below, tensor->name);
        if (!under || under->data != tensor->data)
            break;
    }
    if (differs)
        *differs = tensors->below;
    return sdg_tensors_path(tensors);
}

const char *sdg_tensors_bare_folder(const struct sdg_tensors *tensors)
{
    return tensors->bare_folder;
}

const char *sdg_tensors_metadata(const struct sdg_tensors *tensors, const char *key)
{
    for (size_t i = 0; i < tensors->source_count; i++) {
        const struct sdg_source *source = tensors->sources[i];
        for (size_t j = 0; j < source->metadata_count; j++)
            if (strcmp(source->metadata[j].key, key) == 0)
                return source->metadata[j].value;
    }
    return NULL;
}

const struct sdg_metadata *sdg_tensors_all_metadata(const struct sdg_tensors *tensors, size_t *count)
{
    *count = tensors->source_count ? tensors->sources[0]->metadata_count : 0;
    return tensors->source_count ? tensors->sources[0]->metadata : NULL;
}

void sdg_tensors_release(const struct sdg_tensors *tensors, const struct sdg_tensor *tensor)
{
    for (size_t i = 0; i < tensors->source_count; i++) {
        const struct sdg_map *map = &tensors->sources[i]->map;
        uintptr_t start = (uintptr_t)map->data, at = (uintptr_t)tensor->data;
        if (at >= start && at - start < map->size)
            sdg_map_release(map, tensor->data, tensor->bytes);
    }
    if (tensors->below)
        sdg_tensors_release(tensors->below, tensor);
}
