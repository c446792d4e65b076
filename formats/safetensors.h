// Inside formats/: an opened safetensors file, shared by the views of it (view.h).
#ifndef SDG_FORMATS_SAFETENSORS_H
#define SDG_FORMATS_SAFETENSORS_H

#include "formats/file_list.h"
#include "formats/tensor.h"

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

// Maps a safetensors file (or reads it, where `files` says so) and checks its header. The caller holds one use:
// sdg_source_drop.
enum sdg_result sdg_source_open(const struct sdg_log *log, const struct sdg_files *files, const char *path,
                                struct sdg_source **out);
// Gives all tensors the names that `shorten` finds in their own, which it may change; it returns where the new one
// begins, within the old one. SDG_ERROR_INPUT if two are the same then. *changed: the first that was changed, as it is
// now; NULL if none was.
enum sdg_result sdg_source_shorten(const struct sdg_log *log, struct sdg_source *source, char *(*shorten)(char *name),
                                   const char **changed);
// What safetensors headers call an element type: "F16".
const char *sdg_source_type_name(enum sdg_dtype dtype);
void sdg_source_drop(struct sdg_source **source); // NULL is fine
bool sdg_source_has_prefix(const struct sdg_source *source, const char *prefix);
const struct sdg_tensor *sdg_source_find(const struct sdg_source *source, const char *name);

#endif
