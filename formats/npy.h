// NumPy's .npy: one array. Only in C order, and of little-endian f32, which is what latents and noise come in,
// or of bytes, as pictures do.
#ifndef SDG_FORMATS_NPY_H
#define SDG_FORMATS_NPY_H

#include "formats/tensors.h"

// Finds the array in the bytes of a file and checks every field of the header. tensor->data points into `data`;
// tensor->name is untouched. SDG_ERROR_INPUT with `path` and the reason otherwise.
enum sdg_result sdg_npy_parse(const struct sdg_log *log, const char *path, const char *data, size_t size,
                              struct sdg_tensor *tensor);

// Writes an f32 tensor under a temporary name and renames it; nothing is left behind on failure.
enum sdg_result sdg_npy_write(const struct sdg_log *log, const char *path, const struct sdg_tensor *tensor);

#endif
