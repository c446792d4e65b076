// Quantization schemes: which bits weights and activations get, and where the activations' intervals come from.
#ifndef SDG_FORMATS_SCHEME_H
#define SDG_FORMATS_SCHEME_H

#include "base/log.h"

#include <stdbool.h>

enum sdg_interval_rule {
    SDG_INTERVAL_NONE,    // activations stay floating point
    SDG_INTERVAL_STATIC,  // one interval per site
    SDG_INTERVAL_TABLE,   // a free value per calibrated step, interpolated in between
    SDG_INTERVAL_TDQ,     // a fitted function of the timestep
    SDG_INTERVAL_DYNAMIC, // from the values themselves, at run time
    // Asymmetric intervals for each token's position, at the sites of which the statistics know tokens; other sites
    // follow the rule over time alone (sdg_interval_rule_over_time).
    SDG_INTERVAL_TOKEN,       // one interval per token (PTQ4VM, arXiv 2412.20386)
    SDG_INTERVAL_TABLE_TOKEN, // a free one per token and calibrated step
    SDG_INTERVAL_TDQ_TOKEN,   // one per token, times a fitted function of the timestep
    SDG_INTERVAL_RULES,
};

enum { SDG_FLOAT_BITS = 16 }; // "16 bits" means: not quantized, whatever float type the model runs in

struct sdg_scheme {
    int weight_bits;     // 4, 6, 8 or SDG_FLOAT_BITS; 6 are stored as 8
    int activation_bits; // 2..8 or SDG_FLOAT_BITS
    enum sdg_interval_rule rule;
};

enum { SDG_SCHEME_NAME_BYTES = 24 };

// "w8a16", "w4a16", "w8a8-static", "w4a8-tdq", "w6a6-tdq-token", "w16a8-table", ...  Anything else is SDG_ERROR_USAGE
// with the legal forms in the message; *out is then untouched.
enum sdg_result sdg_scheme_parse(const struct sdg_log *log, const char *name, struct sdg_scheme *out);
// The inverse: what sdg_scheme_parse reads as the same scheme.
void sdg_scheme_name(const struct sdg_scheme *scheme, char name[static SDG_SCHEME_NAME_BYTES]);
// Integer kernels exist for it: weights of 4, 6 or 8 bits, with float activations or integer ones of any width (2..7
// bits are codes of the 8-bit kernels that leave some out). Float weights with integer activations can only be
// simulated.
bool sdg_scheme_is_runnable(const struct sdg_scheme *scheme);

extern const char *const sdg_interval_rule_names[SDG_INTERVAL_RULES];
// none, static, table, tdq, dynamic, token, table-token, tdq-token
const char *sdg_interval_rule_name(enum sdg_interval_rule rule);
int sdg_interval_rule_from_name(const char *name); // -1 if unknown
bool sdg_interval_rule_has_tokens(enum sdg_interval_rule rule);
// The rule by which intervals follow the timestep: token -> static, table-token -> table, tdq-token -> tdq; others as
// they are.
enum sdg_interval_rule sdg_interval_rule_over_time(enum sdg_interval_rule rule);

#endif
