// Inside formats/: an opened safetensors file, shared by the views (struct sdg_tensors) that were made from it, and the
// functions that make such views. What the rest of the engine needs is in tensors.h.
#ifndef SDG_FORMATS_SOURCE_H
#define SDG_FORMATS_SOURCE_H

#include "base/file.h"
#include "formats/tensors.h"

#include <stdatomic.h>

struct sdg_source {
    atomic_int users;
    char *path;
    struct sdg_map map;
    char *header;               // a private copy; names, keys and values point into it
    struct sdg_tensor *tensors; // sorted by name
    size_t count, capacity;
    struct sdg_metadata *metadata;
    size_t metadata_count, metadata_capacity;
};

// Maps (or, with `copy`, reads) a safetensors file and checks its header. The caller holds one use: sdg_source_drop.
enum sdg_result sdg_source_open(const struct sdg_log *log, const char *path, bool copy, struct sdg_source **out);
// What safetensors headers call an element type: "F16".
const char *sdg_source_type_name(enum sdg_dtype dtype);
void sdg_source_drop(struct sdg_source **source); // NULL is fine
const struct sdg_tensor *sdg_source_find(const struct sdg_source *source, const char *name);

// Sorts `count` tensors by name and refuses two of the same name.
enum sdg_result sdg_tensors_sort(const struct sdg_log *log, const char *path, struct sdg_tensor *tensors, size_t count);
const struct sdg_tensor *sdg_tensors_search(const struct sdg_tensor *tensors, size_t count, const char *name);

// A view is made empty, filled, then finished. `path` is what messages call it.
enum sdg_result sdg_tensors_new(const struct sdg_log *log, const char *path, struct sdg_tensors **out);
enum sdg_result sdg_tensors_use(const struct sdg_log *log, struct sdg_tensors *tensors, struct sdg_source *source);
bool sdg_tensors_uses(const struct sdg_tensors *tensors, const char *path); // whether a source of that path is in use
// `name` is copied; `tensor`'s data must lie in a source in use.
enum sdg_result sdg_tensors_add(const struct sdg_log *log, struct sdg_tensors *tensors, const struct sdg_tensor *tensor,
                                const char *name);
// Memory that lives as long as the view, for tensors that are not stored the way they are needed, at a multiple of 8.
// NULL after reporting a failure.
void *sdg_tensors_room(const struct sdg_log *log, struct sdg_tensors *tensors, size_t bytes);
struct sdg_tensor *sdg_tensors_edit(struct sdg_tensors *tensors, const char *name); // NULL if absent
enum sdg_result sdg_tensors_finish(const struct sdg_log *log, struct sdg_tensors *tensors);

#endif
