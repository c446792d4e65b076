// What the files of this folder and of onednn/ share: kernels of this processor, types, intervals, codes, weights.
#ifndef SDG_BACKEND_CPU_FAST_TOOLS_H
#define SDG_BACKEND_CPU_FAST_TOOLS_H

#include "backend/cpu/fast/kernels.h"
#include "backend/cpu/cpu_program.h"

// The kernels a backend uses for what is stored as `dtype`: what its features allow.
const struct sdg_fast_kernels *sdg_fast_kernels_of(const struct sdg_cpu_backend *backend, enum sdg_dtype dtype);
// The kernels of a step: those of f16 if it reads or writes f16.
const struct sdg_fast_kernels *sdg_fast_kernels_for(const struct sdg_cpu_step *step);

// True if there are kernels for activations of this type: f32, bf16, and f16 where the processor computes in it.
bool sdg_fast_has_type(const struct sdg_cpu_step *step, enum sdg_dtype dtype);
// True if all activations the step reads and writes have one such type - its result may be codes -; *half says whether
// it is one of 16 bits.
bool sdg_fast_types(const struct sdg_cpu_step *step, bool *half);
// How this run's results become codes: fills *codes and returns it, or NULL if the step's result is no codes.
const struct sdg_fast_codes *sdg_fast_codes(const struct sdg_cpu_step *step, int64_t row, struct sdg_fast_codes *codes);
// The step's result as codes of `y`, f32 or, if `half`, the 16 bits of the step's kernels, in its shape, on all
// threads.
void sdg_fast_make_codes(const struct sdg_cpu_step *step, int64_t row, const void *y, bool half);
// Up to the next multiple of SDG_CPU_ALIGNMENT.
size_t sdg_fast_align(size_t bytes);
// In select(): adds that many bytes to the step's scratch memory and returns where they begin.
size_t sdg_fast_reserve(struct sdg_cpu_step *step, size_t bytes);
// Packs codes -8..7 as sdg_fast_unpack4 reads them, on all threads; count is a multiple of SDG_FAST_NIBBLES.
void sdg_fast_pack4(struct sdg_pool *pool, const int8_t *codes, uint8_t *packed, size_t count);
void sdg_fast_unpack4(const struct sdg_cpu_step *step, const uint8_t *packed, int8_t *codes, size_t count);
// What codes in f16 are divided by, so that sums of products with large values stay below what f16 holds.
enum { SDG_FAST_HALF_CODES = 128 };
// Codes (8 bits, or 4: packed as above) as f32 or, if `half`, the 16 bits of the step's kernels, on all threads:
// what multiplies floats that are kept as codes.
void sdg_fast_expand(const struct sdg_cpu_step *step, const void *codes, int bits, void *to, bool half, size_t count);
// Scales and zero points of an interval in this run: of a row table, or of an operation that measured one.
struct sdg_fast_intervals sdg_fast_intervals(const struct sdg_cpu_program *program, sdg_value interval, int64_t row);
// How operand k of a conv1d_causal or selective_scan is stored.
struct sdg_fast_source sdg_fast_source(const struct sdg_cpu_step *step, int k, int64_t row);
// The cpu backend's read_weight (cpu_program.h): floats that lie in the file as such, in vectors.
bool sdg_fast_read_weight(const struct sdg_cpu_backend *backend, const struct sdg_weight *weight, size_t first,
                          size_t count, enum sdg_dtype dtype, void *to);
// In prepare(): weight `v` [rows, ...] as f32 [columns, stride], its rows next to each other; what is left of the
// stride becomes 0.
enum sdg_result sdg_fast_read_transposed(struct sdg_cpu_step *step, sdg_value v, int64_t stride, float *to);
// In select(): bytes of step->weights for `count` codes as sdg_fast_expand reads them and the scales behind them; *bits
// becomes 8 where four cannot be packed. And where these scales are, from prepare() on.
size_t sdg_fast_plan_codes(int *bits, size_t count, int64_t outputs);
float *sdg_fast_code_scales(const struct sdg_cpu_step *step, int64_t outputs);
// Takes the step under the name "<operation>:<instruction set>".
void sdg_fast_take(struct sdg_cpu_step *step, enum sdg_result (*run)(const struct sdg_cpu_step *step, int64_t row),
                   bool *taken);

#endif
