// Names of quantization schemes.
#include "formats/scheme.h"

#include <stdio.h>
#include <string.h>

const char *const sdg_interval_rule_names[SDG_INTERVAL_RULES] = {"none",    "static", "table",       "tdq",
                                                                 "dynamic", "token",  "table-token", "tdq-token"};

enum sdg_interval_rule sdg_interval_rule_over_time(enum sdg_interval_rule rule)
{
    switch (rule) {
    case SDG_INTERVAL_TOKEN: return SDG_INTERVAL_STATIC;
    case SDG_INTERVAL_TABLE_TOKEN: return SDG_INTERVAL_TABLE;
    case SDG_INTERVAL_TDQ_TOKEN: return SDG_INTERVAL_TDQ;
    default: return rule;
    }
}

bool sdg_interval_rule_has_tokens(enum sdg_interval_rule rule)
{
    return sdg_interval_rule_over_time(rule) != rule;
}

const char *sdg_interval_rule_name(enum sdg_interval_rule rule)
{
    return sdg_interval_rule_names[rule];
}

int sdg_interval_rule_from_name(const char *name)
{
    for (int i = 0; i < SDG_INTERVAL_RULES; i++)
        if (strcmp(sdg_interval_rule_names[i], name) == 0)
            return i;
    return -1;
}

// A letter and a number of one or two digits, without leading zeros. NULL if that is not what stands there.
static const char *parse_bits(const char *text, char letter, int *bits)
{
    if (*text++ != letter || *text < '1' || *text > '9')
        return NULL;
    *bits = *text++ - '0';
    if (*text >= '0' && *text <= '9')
        *bits = *bits * 10 + (*text++ - '0');
    return text;
}

static bool parse(const char *name, struct sdg_scheme *s)
{
    const char *at = parse_bits(name, 'w', &s->weight_bits);
    if (at)
        at = parse_bits(at, 'a', &s->activation_bits);
    if (!at || (s->weight_bits != 4 && s->weight_bits != 6 && s->weight_bits != 8 && s->weight_bits != SDG_FLOAT_BITS))
        return false;
    if (s->activation_bits == SDG_FLOAT_BITS) {
        s->rule = SDG_INTERVAL_NONE;
        return *at == 0 && s->weight_bits != SDG_FLOAT_BITS;
    }
    int rule = *at == '-' ? sdg_interval_rule_from_name(at + 1) : -1;
    s->rule = rule > 0 ? (enum sdg_interval_rule)rule : SDG_INTERVAL_NONE;
    return rule > 0 && s->activation_bits >= 2 && s->activation_bits <= 8;
}

enum sdg_result sdg_scheme_parse(const struct sdg_log *log, const char *name, struct sdg_scheme *out)
{
    struct sdg_scheme scheme;
    if (!parse(name, &scheme))
        return sdg_fail(log, SDG_ERROR_USAGE,
                        "'%.40s' is no quantization scheme; there are w8a16, w6a16, w4a16, and "
                        "{w4,w6,w8,w16}a{2..8}-{static,table,tdq,dynamic,token,table-token,tdq-token}, "
                        "as in w8a8-tdq or w4a8-static",
                        name);
    *out = scheme;
    return SDG_OK;
}

void sdg_scheme_name(const struct sdg_scheme *s, char name[static SDG_SCHEME_NAME_BYTES])
{
    bool rule = s->rule != SDG_INTERVAL_NONE;
    snprintf(name, SDG_SCHEME_NAME_BYTES, "w%da%d%s%s", s->weight_bits, s->activation_bits, rule ? "-" : "",
             rule ? sdg_interval_rule_names[s->rule] : "");
}

bool sdg_scheme_is_runnable(const struct sdg_scheme *s)
{
    return s->weight_bits != SDG_FLOAT_BITS;
}
