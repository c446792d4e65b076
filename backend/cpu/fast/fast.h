// The cpu backend's own kernels as a provider: attention, norms, scans and element-wise operations on f32 and bf16,
// with codes as results where the graph wants them, in the best instruction set of this processor, on all threads. Work
// is cut the same way for any number of threads, so results do not depend on it.
#ifndef SDG_BACKEND_CPU_FAST_FAST_H
#define SDG_BACKEND_CPU_FAST_FAST_H

#include "backend/cpu/cpu_program.h"

extern const struct sdg_cpu_provider sdg_fast_provider;

// Per kind of operation: fills the step if it can (select) - each in the file of its name.
enum sdg_result sdg_fast_select_attention(struct sdg_cpu_step *step, bool *taken);
enum sdg_result sdg_fast_select_group_norm(struct sdg_cpu_step *step, bool *taken);
// layer_norm, unary, binary, geglu, quantize, measure_interval
void sdg_fast_select_pointwise(struct sdg_cpu_step *step, bool *taken);
void sdg_fast_select_conv1d_causal(struct sdg_cpu_step *step, bool *taken);
void sdg_fast_select_selective_scan(struct sdg_cpu_step *step, bool *taken);
void sdg_fast_select_copy(struct sdg_cpu_step *step, bool *taken);               // upsample_nearest, concat, slice
enum sdg_result sdg_fast_select_product(struct sdg_cpu_step *step, bool *taken); // conv2d, linear
void sdg_fast_select_matmul(struct sdg_cpu_step *step, bool *taken);
// fake_quantize and, for training, its gradients, those of functions and of the scan, sum, pad, broadcast
void sdg_fast_select_gradient(struct sdg_cpu_step *step, bool *taken);

// sdg_backend_peaks of the cpu backend: peaks.c.
enum sdg_result sdg_fast_peaks(struct sdg_backend *backend, double seconds,
                               void (*fn)(void *user, const struct sdg_peak *peak), void *user);

#endif
