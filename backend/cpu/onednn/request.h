// A piece of a conv2d or linear (grid.h) in the library's words.
#ifndef SDG_BACKEND_CPU_ONEDNN_REQUEST_H
#define SDG_BACKEND_CPU_ONEDNN_REQUEST_H

#include "backend/cpu/cpu_program.h"

#include <oneapi/dnnl/dnnl.h>

// Rows of the input that a band of the output needs, and what lies beyond the image.
struct sdg_piece_shape { int64_t out_rows, in_rows, pad_top, pad_bottom; };

// The memory of a primitive.
enum sdg_memory_role {
    SDG_ROLE_SRC,
    SDG_ROLE_DST,
    SDG_ROLE_RESIDUAL,
    SDG_ROLE_SCRATCHPAD,
    SDG_ROLE_WEIGHTS, // from here on the same for all shapes
    SDG_ROLE_BIAS,
    SDG_ROLE_SRC_SCALE,
    SDG_ROLE_SRC_ZERO,
    SDG_ROLE_WEIGHT_SCALE,
    SDG_ROLE_CODE_SCALE, // of float weights that are kept as codes
    SDG_ROLES
};

bool sdg_request_on_integers(const struct sdg_op *op);
// Codes with an interval for each token, for which the library has neither scale nor zero point: it gives the sums as
// they are, and all that follows is our own epilogue's.
bool sdg_request_sums_only(const struct sdg_cpu_step *step);
// Codes without sign have a zero point; those with a sign are symmetric, and the library is faster at them if it need
// not expect one.
bool sdg_request_has_zero_point(const struct sdg_cpu_step *step);
// True if the library adds a bias or a table's row.
bool sdg_request_adds_vector(const struct sdg_cpu_step *step);
// True if pieces are given their input with its border: the library corrects the zero point's share of a border in
// every call, for all weights, and pads small images at a price.
bool sdg_request_copies_border(const struct sdg_cpu_step *step);
// What the weights become: of the input's type, or bytes.
dnnl_data_type_t sdg_request_weight_type(const struct sdg_cpu_step *step);

// Asks for a kernel for pieces of `shape` by `channels` outputs, with `weights` in that order or (NULL) in any.
// code_bits
// != 0: float weights are kept as codes, so their scales are applied afterwards. The caller destroys *out.
dnnl_status_t sdg_request_kernel(const struct sdg_cpu_step *step, const struct sdg_piece_shape *shape, int64_t channels,
                                 int code_bits, const_dnnl_memory_desc_t weights, dnnl_engine_t engine,
                                 dnnl_primitive_desc_t *out);
// What the library calls the argument in this role.
int sdg_request_argument(const struct sdg_cpu_step *step, int code_bits, enum sdg_memory_role role);
// Describes it for such a kernel into *out, which the caller destroys; NULL if the kernel has none.
dnnl_status_t sdg_request_describe(const struct sdg_cpu_step *step, int64_t channels, int code_bits,
                                   const_dnnl_primitive_desc_t kernel, enum sdg_memory_role role,
                                   dnnl_memory_desc_t *out);

#endif
