// The kernels in 128-bit vectors: any processor.
#define SDG_SIMD_BITS 128
#define SDG_SIMD_REGISTERS 16
#include "backend/cpu/fast/simd.h"
#include "backend/cpu/fast/pointwise_kernel.h"
#include "backend/cpu/fast/norm_kernel.h"
#include "backend/cpu/fast/scan_kernel.h"
#include "backend/cpu/fast/gradient_kernel.h"
#include "backend/cpu/fast/peak_kernel.h"
#include "backend/cpu/fast/matrix_kernel.h"
#include "backend/cpu/fast/attention_kernel.h"
#include "backend/cpu/fast/product_kernel.h"

#define TABLE sdg_fast_kernels_generic
#include "backend/cpu/fast/kernel_table.h"
