// oneDNN (>= 3.2) as a provider of conv2d and linear. Only with SDG_HAVE_ONEDNN; then backend->state is a struct
// sdg_onednn.
#ifndef SDG_BACKEND_CPU_ONEDNN_ONEDNN_H
#define SDG_BACKEND_CPU_ONEDNN_ONEDNN_H

#include "backend/cpu/cpu_program.h"

struct sdg_onednn; // engine and stream; one per backend

// SDG_ERROR_DEVICE with a message if oneDNN does not start here.
enum sdg_result sdg_onednn_open(const struct sdg_log *log, struct sdg_onednn **out);
// Holds the library to instruction sets whose features (enum sdg_cpu_feature) are among these. False if that is not
// possible: it has none that small, or something in this process has used it with more.
bool sdg_onednn_limit(unsigned features);
void sdg_onednn_close(struct sdg_onednn **onednn);
// "oneDNN 3.2.0, avx512_core_bf16" into text.
void sdg_onednn_describe(char *text, size_t size);
// True if it has its fast bf16 kernels on this processor.
bool sdg_onednn_has_bf16(void);

// Takes conv2d and linear on f32 and bf16 activations; weights are reordered to what the kernel wants as they are read.
extern const struct sdg_cpu_provider sdg_onednn_provider;

#endif
