// How weights are stored, and their values: the one place that knows encodings, scales, packed codes and sums.
//
// A stored weight is a matrix [outputs, inputs]; inputs are all axes behind the first, row-major. Its values are
//     number(o, i)                          floats of any type; or integer codes times
//       * scale[o][(i - scale_start) / group]        the scale of their output, or of their group of inputs
//     + sum over parts p of  factor_p * sum over k of  up_p[o][k] * down_p[k][i]      (sdg_tensors_add_low_rank)
// Sums are made in f64, k ascending, the part that was added last first, and rounded to f32 once; values of
// another type are rounded from f32. So a value does not depend on the range, or the thread, that asks for it.
//
// An encoding is a row of the table in stored.c. Reading is thread-safe.
#ifndef SDG_FORMATS_STORED_H
#define SDG_FORMATS_STORED_H

#include "formats/tensors.h"

struct sdg_encoding {
    int bits;     // of integer codes, which need scales; 0: the elements are the numbers themselves
    size_t block; // elements that lie together in `bytes` bytes; every row begins with a block of its own
    size_t bytes;
    // Elements first .. first + count of a row. Codes are -2^(bits - 1) .. 2^(bits - 1) - 1; numbers become f32.
    void (*codes)(const void *row, size_t first, size_t count, int8_t *to);
    void (*numbers)(const void *row, enum sdg_dtype type, size_t first, size_t count, float *to);
};

// Of tensors with elements of this type; NULL: no weight is stored like that.
const struct sdg_encoding *sdg_encoding_of(enum sdg_dtype dtype);
size_t sdg_encoding_row(const struct sdg_encoding *encoding, size_t inputs); // bytes

struct sdg_stored {
    const struct sdg_tensor *tensor;
    const struct sdg_encoding *encoding;
    size_t outputs, inputs;
    // Of codes, or of what is to become codes: f32 [outputs, groups]; else NULL. Inputs below scale_start have none,
    // and are not to be asked for.
    const struct sdg_tensor *scale;
    size_t groups, group, scale_start;
};

// A tensor of numbers, as a matrix. Its type has to have an encoding, its rank be 1 or more.
struct sdg_stored sdg_stored_numbers(const struct sdg_tensor *tensor);

// Values first .. first + count, counted through the rows, as f32, f16 or bf16.
void sdg_stored_expand(const struct sdg_stored *stored, size_t first, size_t count, enum sdg_dtype dtype, void *to);
// Codes of `bits` (4 or 8) first .. first + count, one in each byte: those that are stored; where there are none, the
// ones nearest to the values, by the scales.
void sdg_stored_codes(const struct sdg_stored *stored, int bits, size_t first, size_t count, int8_t *to);
float sdg_stored_scale(const struct sdg_stored *stored, size_t output, size_t input);
// The elements from `first` on as they lie in the file, at any alignment, of the tensor's type; NULL if its values are
// anything else than these. For who converts them faster than sdg_stored_expand.
const void *sdg_stored_plain(const struct sdg_stored *stored, size_t first);

// Whether a number of a tensor of floats, as it lies in the file, is infinite or none; *value is the first such.
bool sdg_tensor_has_bad_number(const struct sdg_tensor *tensor, float *value);

// Scales of codes, f32: finite, and at least 2^-120, so that their inverse is finite as well. Else SDG_ERROR_INPUT.
enum sdg_result sdg_stored_check_scales(const struct sdg_log *log, const struct sdg_tensors *tensors,
                                        const struct sdg_tensor *scales);

#endif
