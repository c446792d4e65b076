// The cpu backend's own kernels as a provider: attention, norms and element-wise operations on f32 and bf16, with codes
// as results where the graph wants them, in the best instruction set of this processor, on all threads. Work is cut the
// same way for any number of threads, so results do not depend on it.
#ifndef SDG_BACKEND_CPU_FAST_FAST_H
#define SDG_BACKEND_CPU_FAST_FAST_H

#include "backend/cpu/fast/kernels.h"
#include "backend/cpu/program.h"

extern const struct sdg_cpu_provider sdg_fast_provider;

// The kernels a backend uses: the best, without bf16 instructions where SDG_FEATURE_BF16 is disabled.
const struct sdg_fast_kernels *sdg_fast_kernels_of(const struct sdg_cpu_backend *backend);

// Per kind of operation: fills the step if it can (select) - each in the file of its name.
enum sdg_result sdg_fast_select_attention(struct sdg_cpu_step *step, bool *taken);
enum sdg_result sdg_fast_select_group_norm(struct sdg_cpu_step *step, bool *taken);
// layer_norm, unary, binary, geglu, quantize, measure_interval
void sdg_fast_select_pointwise(struct sdg_cpu_step *step, bool *taken);
void sdg_fast_select_copy(struct sdg_cpu_step *step, bool *taken);               // upsample_nearest, concat, slice
enum sdg_result sdg_fast_select_product(struct sdg_cpu_step *step, bool *taken); // conv2d, linear

// True if all activations the step reads and writes have one type, f32 or bf16 - its result may be codes -; *half says
// which.
bool sdg_fast_types(const struct sdg_cpu_step *step, bool *half);
// How this run's results become codes: fills *codes and returns it, or NULL if the step's result is no codes.
const struct sdg_fast_codes *sdg_fast_codes(const struct sdg_cpu_step *step, int64_t row, struct sdg_fast_codes *codes);
// The step's result as codes of `y`, f32 in its shape, on all threads.
void sdg_fast_make_codes(const struct sdg_cpu_step *step, int64_t row, const void *y);
// Up to the next multiple of SDG_CPU_ALIGNMENT.
size_t sdg_fast_align(size_t bytes);
// In select(): adds that many bytes to the step's scratch memory and returns where they begin.
size_t sdg_fast_reserve(struct sdg_cpu_step *step, size_t bytes);
// Packs codes -8..7 as sdg_fast_unpack4 reads them, on all threads; count is a multiple of SDG_FAST_NIBBLES.
void sdg_fast_pack4(const int8_t *codes, uint8_t *packed, size_t count);
void sdg_fast_unpack4(const struct sdg_cpu_step *step, const uint8_t *packed, int8_t *codes, size_t count);
// Codes (8 bits, or 4: packed as above) as f32 or, if `half`, bf16 numbers, on all threads: what multiplies floats that
// are kept as codes.
void sdg_fast_expand(const struct sdg_cpu_step *step, const void *codes, int bits, void *to, bool half, size_t count);
// Scale and zero point of an interval in this run.
const float *sdg_fast_interval(const struct sdg_cpu_program *program, sdg_value interval, int64_t row);
// In prepare(): weight `v` as contiguous f32, bf16 or s8 (dtype) into `to`, converted on all threads where it is a
// whole tensor.
enum sdg_result sdg_fast_read_weight(struct sdg_cpu_program *program, sdg_value v, enum sdg_dtype dtype, void *to);
// In select(): bits of the codes that a float weight can be kept as, 0 = none; and in prepare() these codes, with their
// scales [O].
int sdg_fast_code_bits(const struct sdg_cpu_step *step);
enum sdg_result sdg_fast_read_codes(struct sdg_cpu_program *program, sdg_value v, int8_t *codes, float *scales);
// In select(): bytes of step->weights for `count` codes as sdg_fast_expand reads them and the scales behind them; *bits
// becomes 8 where four cannot be packed. And where these scales are, from prepare() on.
size_t sdg_fast_plan_codes(int *bits, size_t count, int64_t outputs);
float *sdg_fast_code_scales(const struct sdg_cpu_step *step, int64_t outputs);
// Takes the step under the name "<operation>:<instruction set>".
void sdg_fast_take(struct sdg_cpu_step *step, enum sdg_result (*run)(const struct sdg_cpu_step *step, int64_t row),
                   bool *taken);

#endif
