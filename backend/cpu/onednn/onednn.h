// oneDNN (>= 3.2) as a provider of conv2d and linear. Only with SDG_HAVE_ONEDNN; then backend->state is a struct
// sdg_onednn.
//
// The library computes on one thread, whichever calls it: its parallel sections, of OpenMP, take for granted that they
// get the team they ask for, which limits, settings and a program that uses OpenMP itself may deny. Our pool shares
// pieces of a layer out instead (grid.h).
#ifndef SDG_BACKEND_CPU_ONEDNN_ONEDNN_H
#define SDG_BACKEND_CPU_ONEDNN_ONEDNN_H

#include "backend/cpu/cpu_program.h"

struct sdg_onednn; // an engine; one per backend

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
// True if its sums of integers are exact here.
bool sdg_onednn_has_integers(void);

// Around every call that makes a kernel, asks for one or executes one: makes the calling thread's teams consist of
// itself; sdg_onednn_leave takes back what this returned.
int sdg_onednn_enter(void);
void sdg_onednn_leave(int before);

// Takes conv2d and linear on f32 and bf16 activations and on integers with one scale and zero point; weights are
// reordered to what the kernel wants as they are read.
extern const struct sdg_cpu_provider sdg_onednn_provider;

#endif
