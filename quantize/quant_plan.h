// What is to be done: which tensors and sites of a model are quantized, and what comes of each.
#ifndef SDG_QUANTIZE_QUANT_PLAN_H
#define SDG_QUANTIZE_QUANT_PLAN_H

#include "graph/graph.h"
#include "quant/fit.h"
#include "quantize/quant_settings.h"
#include "quantize/quant_subject.h"

struct sdg_quant_site {
    const char *name; // in the graph
    sdg_value value;
    enum sdg_site_kind kind;
    size_t channels;
    bool operand;                                 // of scans, see quant/sites.h
    bool wanted;                                  // integer weights read it, or it is an operand that becomes codes
    const struct sdg_site_statistics *statistics; // NULL when none are needed
    bool smoothed;                                // as its statistics are
    bool folded;                                  // ... by what makes it
    struct sdg_site_fit fit;
};
struct sdg_quant_part { // one operation's columns of a module's weight
    const char *op;     // its name, in the graph
    size_t site;
    size_t start, channels; // of the weight's axis 1
    float *scales;          // [O, groups]
    size_t groups;
};
enum { SDG_QUANT_PARTS = 2 }; // a concatenated input has two halves
struct sdg_quant_module {
    char *name; // of the tensor without ".weight"
    const struct sdg_tensor *tensor;
    int bits;
    struct sdg_quant_part parts[SDG_QUANT_PARTS];
    size_t part_count;
    void *codes; // as in the file
    size_t code_bytes;
    bool gptq;
    const float *row_smoothing; // [row_count] that outputs row_start, .. are multiplied with; NULL: none
    size_t row_start, row_count;
    double signal, noise; // sums of squares
};
struct sdg_quant_folded { // a tensor of the model in place of which there is another, f32
    const struct sdg_tensor *tensor;
    float *data;
};
struct sdg_quant_plan {
    struct sdg_graph *graph;
    struct sdg_quant_site *sites;
    size_t site_count;
    struct sdg_quant_module *modules; // in order of execution
    size_t module_count, module_capacity;
    size_t float_modules;
    struct sdg_quant_folded *folded;
    size_t folded_count, folded_capacity;
};
// The network's graph, its sites and modules with the bits that the settings give them.
enum sdg_result sdg_quant_plan_create(const struct sdg_log *log, const struct sdg_quant_subject *subject,
                                      struct sdg_quant_settings *settings, struct sdg_quant_plan *out);
void sdg_quant_plan_clear(struct sdg_quant_plan *plan);
// Finds the statistics of all wanted sites. SDG_ERROR_INPUT if they are of another model or lack one. `path` is for
// messages.
enum sdg_result sdg_quant_plan_use(const struct sdg_log *log, struct sdg_quant_plan *plan,
                                   const struct sdg_quant_subject *subject, const struct sdg_statistics *statistics,
                                   const char *path);

#endif
