// What the files that write quantized models share: settings, the plan (which tensors, which sites), and its results.
#ifndef SDG_QUANTIZE_QUANT_PLAN_H
#define SDG_QUANTIZE_QUANT_PLAN_H

#include "formats/model.h"
#include "quant/fit.h"
#include "quant/sites.h"
#include "quant/rounding.h"
#include "sdgen/quantize.h"

#include <regex.h>

// ---- quantize_settings.c: what is asked for ----
struct sdg_bits_rule {
    regex_t match;
    int weight_bits; // SDG_FLOAT_BITS: the module is kept as it is
    bool matched;    // a module's name has matched
    char *text;
};
struct sdg_quant_settings {
    struct sdg_scheme scheme;
    size_t group;
    struct sdg_bits_rule *rules; // the last that matches decides; those that skip come last
    size_t rule_count, rule_capacity;
};
enum sdg_result sdg_quant_settings_read(const struct sdg_log *log, const struct sdg_quantize_params *params,
                                        struct sdg_quant_settings *out);
void sdg_quant_settings_clear(struct sdg_quant_settings *settings);
int sdg_quant_settings_bits(struct sdg_quant_settings *settings, const char *module); // of a module's weights

// ---- quantize_plan.c: what is to be done ----
struct sdg_quant_site {
    const char *name; // in the graph
    enum sdg_site_kind kind;
    size_t channels;
    bool wanted;                                  // integer weights read it
    const struct sdg_site_statistics *statistics; // NULL when none are needed
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
    double signal, noise; // sums of squares
};
struct sdg_quant_plan {
    struct sdg_graph *graph;
    struct sdg_quant_site *sites;
    size_t site_count;
    struct sdg_quant_module *modules; // in order of execution
    size_t module_count, module_capacity;
    size_t float_modules;
};
// The model's step graph, its sites and modules with the bits that the settings give them.
enum sdg_result sdg_quant_plan_create(const struct sdg_log *log, const struct sdg_model *model,
                                      struct sdg_quant_settings *settings, struct sdg_quant_plan *out);
void sdg_quant_plan_clear(struct sdg_quant_plan *plan);
// Finds the statistics of all wanted sites. SDG_ERROR_INPUT if they are of another model or lack one. `path` is for
// messages.
enum sdg_result sdg_quant_plan_use(const struct sdg_log *log, struct sdg_quant_plan *plan,
                                   const struct sdg_model *model, const struct sdg_statistics *statistics,
                                   const char *path);

// ---- quantize_write.c ----
struct sdg_quant_result {
    const struct sdg_quantize_params *params;
    const struct sdg_quant_settings *settings;
    const struct sdg_model *model;
    const struct sdg_quant_plan *plan;
    char statistics[17];                            // hash, "" = none
    double bytes_before, bytes_after, bytes_stored; // set by sdg_quant_write
};
// Refuses what sdg_quant_write would refuse for the place of the output, before the work is done.
enum sdg_result sdg_quant_check_output(const struct sdg_log *log, const struct sdg_quantize_params *params);
enum sdg_result sdg_quant_write(const struct sdg_log *log, struct sdg_quant_result *result);

#endif
