// Inside formats/: how views (struct sdg_tensors) of opened files are made. What the rest of the engine needs of them
// is in tensors.h.
#ifndef SDG_FORMATS_VIEW_H
#define SDG_FORMATS_VIEW_H

#include "formats/safetensors.h"
#include "formats/tensors.h"

// A view is made empty, filled, then finished. `path` is what messages call it.
enum sdg_result sdg_tensors_new(const struct sdg_log *log, const char *path, struct sdg_tensors **out);
enum sdg_result sdg_tensors_use(const struct sdg_log *log, struct sdg_tensors *tensors, struct sdg_source *source);
bool sdg_tensors_uses(const struct sdg_tensors *tensors, const char *path); // whether a source of that path is in use
// `name` is copied; `tensor`'s data must lie in a source in use.
enum sdg_result sdg_tensors_add(const struct sdg_log *log, struct sdg_tensors *tensors, const struct sdg_tensor *tensor,
                                const char *name);
// A name that is no tensor of the network (sdg_tensors_unplaced), `prefix` characters of which are the component's; it
// is copied.
enum sdg_result sdg_tensors_add_unplaced(const struct sdg_log *log, struct sdg_tensors *tensors, const char *name,
                                         size_t prefix, bool in_module);
void sdg_tensors_set_inferred(struct sdg_tensors *tensors);
// Memory that lives as long as the view, for tensors that are not stored the way they are needed, at a multiple of 8.
// NULL after reporting a failure.
void *sdg_tensors_room(const struct sdg_log *log, struct sdg_tensors *tensors, size_t bytes);
struct sdg_tensor *sdg_tensors_edit(struct sdg_tensors *tensors, const char *name); // NULL if absent
// Takes tensors out of a finished view.
void sdg_tensors_drop(struct sdg_tensors *tensors, bool (*is_dropped)(const char *name));
// Names the folder of sdg_tensors_bare_folder; it is copied.
enum sdg_result sdg_tensors_set_bare_folder(const struct sdg_log *log, struct sdg_tensors *tensors, const char *folder);
enum sdg_result sdg_tensors_finish(const struct sdg_log *log, struct sdg_tensors *tensors);

#endif
