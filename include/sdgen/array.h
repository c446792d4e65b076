// Arrays of numbers in files: latents and noise, to go on from, to keep, and to compare with other programs. NumPy's
// .npy holds one array, .safetensors holds named ones. Thread-safety: every function may be called from any thread.
#ifndef SDGEN_ARRAY_H
#define SDGEN_ARRAY_H

#include "sdgen/sdgen.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SDG_ARRAY_DIMS = 8 };

struct sdg_array {
    const char *name; // in a .safetensors file; of no meaning in .npy
    int dims;         // 0..SDG_ARRAY_DIMS
    int64_t shape[SDG_ARRAY_DIMS];
    float *data; // row-major, the last dimension without gaps
};

// SDG_ERROR_USAGE unless the name ends in .npy or .safetensors.
SDG_API enum sdg_result sdg_array_check_name(sdg_log_fn log, void *log_user, const char *path);

// The array `name` of a .safetensors file, or its only one; or the one of a .npy file. Little-endian f32 in C order;
// anything else is SDG_ERROR_INPUT. *out and what is in it is one object of the caller's (sdg_array_destroy); its name
// is `name`.
SDG_API enum sdg_result sdg_array_read(sdg_log_fn log, void *log_user, const char *path, const char *name,
                                       struct sdg_array **out);
SDG_API void sdg_array_destroy(struct sdg_array **array);

// Writes `count` arrays, of which .npy takes one. The file appears under its name complete or not at all.
SDG_API enum sdg_result sdg_arrays_write(sdg_log_fn log, void *log_user, const char *path,
                                         const struct sdg_array *arrays, size_t count);

#ifdef __cplusplus
}
#endif
#endif
