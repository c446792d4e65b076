// Arrays of numbers in files: latents and noise, to go on from, to keep, and to compare with other programs. NumPy's
// .npy holds one array, .safetensors holds named ones.
#ifndef SDGEN_ARRAY_H
#define SDGEN_ARRAY_H

#include "sdgen/sdgen.h"

#ifdef __cplusplus
extern "C" {
#endif

#define sdg_array_check_name SDG_LINK_NAME(sdg_array_check_name_, SDG_API_VERSION)
#define sdg_array_read SDG_LINK_NAME(sdg_array_read_, SDG_API_VERSION)
#define sdg_arrays_write SDG_LINK_NAME(sdg_arrays_write_, SDG_API_VERSION)

enum { SDG_ARRAY_DIMS = 8 };

struct sdg_array {
    const char *name;              // in a .safetensors file, NULL = ""; of no meaning in .npy
    int dims;                      // 0..SDG_ARRAY_DIMS; 0 = one number
    int64_t shape[SDG_ARRAY_DIMS]; // the first `dims` count
    float *data;                   // [shape[0]]..[shape[dims - 1]], row-major, without gaps
};

// SDG_ERROR_USAGE unless the name ends in .npy or .safetensors.
SDG_API enum sdg_result sdg_array_check_name(const struct sdg_log *log, const char *path);

// The array `name` of a .safetensors file, or its only one; or the one of a .npy file. `name` NULL = the only one.
// Little-endian f32 in C order, or bytes (u8), which become the numbers they are; at most 256 MiB. Anything else is
// SDG_ERROR_INPUT, and SDG_ERROR_UNSUPPORTED what a file may hold but this version does not read (more dimensions,
// types it does not know). *out and what is in it is one object of the caller's (sdg_array_destroy); its name is
// `name`, or with NULL the file's, "" where that has none.
SDG_API enum sdg_result sdg_array_read(const struct sdg_log *log, const char *path, const char *name,
                                       struct sdg_array **out);
SDG_API void sdg_array_destroy(struct sdg_array **array);

// Writes `arrays` [count], of which .npy takes one, with at most 256 MiB each. The file appears under its name complete
// or not at all.
SDG_API enum sdg_result sdg_arrays_write(const struct sdg_log *log, const char *path, const struct sdg_array *arrays,
                                         size_t count);

#ifdef __cplusplus
}
#endif
#endif
