// The kernels in 128-bit vectors: any processor.
#include "backend/cpu/fast/kernels.h"

#define SDG_SIMD_TARGET SDG_SIMD_GENERIC
#include "backend/cpu/fast/simd.h"
#include "backend/cpu/fast/pointwise_kernel.h"
#include "backend/cpu/fast/norm_kernel.h"
#include "backend/cpu/fast/matrix_kernel.h"
#include "backend/cpu/fast/attention_kernel.h"
#include "backend/cpu/fast/product_kernel.h"

extern const struct sdg_fast_kernels sdg_fast_kernels_generic;
#define TABLE sdg_fast_kernels_generic
#define TABLE_NAME "generic"
#include "backend/cpu/fast/kernel_table.h"
