// Arrays of f32 in files, for comparing with other programs: NumPy's .npy (one array) and .safetensors (named ones).
#ifndef SDG_APPS_ARRAYS_H
#define SDG_APPS_ARRAYS_H

#include <stdio.h>

#include "ui.h"

#define APP_ARRAY_DIMS 8

struct app_array {
    const char *name; // in a .safetensors file; ignored in .npy
    int dims;
    int64_t shape[APP_ARRAY_DIMS]; // row-major
    float *data;
};

// SDG_ERROR_USAGE unless the name ends in .npy or .safetensors.
enum sdg_result app_array_check_name(struct app_ui *ui, const char *path);

// Reads the array `wanted` of a .safetensors file (or its only one), or a .npy file. Little-endian f32, at most 256
// MiB. array->data is the caller's (free); array->name is `wanted`.
enum sdg_result app_array_read(struct app_ui *ui, const char *path, const char *wanted, struct app_array *array);

// Writes `count` arrays; .npy takes one. Under a temporary name, renamed at the end.
enum sdg_result app_array_write(struct app_ui *ui, const char *path, const struct app_array *arrays, size_t count);

#endif
