// What is asked for: a scheme, and the modules that are quantized otherwise or not at all.
#ifndef SDG_QUANTIZE_QUANT_SETTINGS_H
#define SDG_QUANTIZE_QUANT_SETTINGS_H

#include "formats/scheme.h"
#include "sdgen/quantize.h"

#include <regex.h>
#include <stdbool.h>
#include <stddef.h>

struct sdg_bits_rule {
    regex_t match;
    int weight_bits; // SDG_FLOAT_BITS: the module is kept as it is
    bool matched;    // a module's name has matched, of `tokens` a site's
    char *text;
};
struct sdg_quant_settings {
    struct sdg_scheme scheme;
    size_t group;
    bool scan_codes;             // Mamba's scans read codes
    struct sdg_bits_rule *rules; // the last that matches decides; those that skip come last
    size_t rule_count, rule_capacity;
    // sites with a match have intervals by token, if the rule has them and the statistics keep tokens; none: all of
    // these
    struct sdg_bits_rule *tokens;
    size_t token_count, token_capacity;
    struct sdg_bits_rule *operands; // what matches of scans' operands (quant/sites.h) becomes codes
    size_t operand_count, operand_capacity;
};
// Reads scheme, expressions and scheme file. SDG_ERROR_USAGE or SDG_ERROR_INPUT saying what is wrong.
enum sdg_result sdg_quant_settings_read(const struct sdg_log *log, const struct sdg_quantize_params *params,
                                        struct sdg_quant_settings *out);
void sdg_quant_settings_clear(struct sdg_quant_settings *settings);
// Bits of a module's weights; the rules that match are marked.
int sdg_quant_settings_bits(struct sdg_quant_settings *settings, const char *module);
// Marks the expressions of `tokens` that match a site.
void sdg_quant_settings_mark_tokens(struct sdg_quant_settings *settings, const char *site);
// Whether an operand of scans is to be codes; the expressions that match are marked.
bool sdg_quant_settings_operand(struct sdg_quant_settings *settings, const char *site);
// Whether a site is to have intervals by token.
bool sdg_quant_settings_tokens(const struct sdg_quant_settings *settings, const char *site);

#endif
