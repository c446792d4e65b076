// One tensor as files hold it: name, type, shape and where its numbers lie; and lists of them.
#ifndef SDG_FORMATS_TENSOR_H
#define SDG_FORMATS_TENSOR_H

#include "base/dtype.h"
#include "base/log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SDG_MAX_DIMS = 8 }; // more: unreadable

// One product that is added to a tensor; made by sdg_tensors_add_low_rank.
struct sdg_low_rank_part {
    const struct sdg_low_rank_part *next;
    const float *up, *down; // [outputs, rank], [rank, inputs]
    size_t outputs, inputs, rank;
    float factor;
};

struct sdg_tensor {
    const char *name;
    enum sdg_dtype dtype;
    int rank; // 0..SDG_MAX_DIMS
    int64_t dims[SDG_MAX_DIMS];
    const void *data; // little-endian, row-major; at any alignment, so copy or use memcpy to read elements
    size_t bytes;     // == product(dims) * sdg_dtype_size(dtype), checked
    // The weight that the tensor stands for is what `data` says and these products: formats/stored.h gives its values.
    // NULL for tensors as they are in files.
    const struct sdg_low_rank_part *added;
    // Why its elements cannot be read, for messages: "is stored as U32, ..."; NULL if they can. A file may hold such a
    // tensor as long as nothing needs it; its type and shape are then given as bool [bytes].
    const char *unreadable;
    bool unknown_type; // `unreadable` is a type that no version of the format has
};

// What a file says besides its tensors.
struct sdg_metadata { const char *key, *value; };

// Sorts `tensors` [count] by name.
void sdg_tensor_sort(struct sdg_tensor *tensors, size_t count);
// The same for a file, which must not have two of one name: SDG_ERROR_INPUT with `path` and the name.
enum sdg_result sdg_tensor_sort_unique(const struct sdg_log *log, const char *path, struct sdg_tensor *tensors,
                                       size_t count);
// SDG_ERROR_UNSUPPORTED (SDG_ERROR_INPUT for unknown types) with `path`, name and reason if it is unreadable.
enum sdg_result sdg_tensor_check_readable(const struct sdg_log *log, const char *path, const struct sdg_tensor *tensor);
// The one of this name among sorted `tensors` [count]; NULL if absent.
const struct sdg_tensor *sdg_tensor_search(const struct sdg_tensor *tensors, size_t count, const char *name);

#endif
