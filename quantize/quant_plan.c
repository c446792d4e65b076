// From a model to the list of what is quantized: sites and modules of its fused step graph.
#include "quantize/quant_plan.h"

#include "base/memory.h"
#include "formats/quantized_folder.h"
#include "quant/sites.h"

#include <stdio.h>
#include <string.h>

static const char weight_suffix[] = SDG_WEIGHT_SUFFIX;

// ---- modules ----

static enum sdg_result check_tensor(const struct sdg_log *log, const struct sdg_quant_subject *subject,
                                    const struct sdg_value_info *weight, const struct sdg_tensor **out)
{
    const struct sdg_tensor *t = sdg_tensors_find(subject->tensors, weight->name);
    int64_t inputs = weight->slice_of ? weight->slice_of : weight->dims[1];
    if (!t)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: %s is missing", sdg_tensors_path(subject->tensors), weight->name);
    if (!sdg_dtype_is_float(t->dtype))
        return sdg_fail(log, SDG_ERROR_INPUT,
                        "%s: %s is %s: the model is quantized already, start from the one it was made of",
                        sdg_tensors_path(subject->tensors), weight->name, sdg_dtype_name(t->dtype));
    // A 1x1 convolution may be a linear layer in the graph: of axes that the file or the graph leaves out there is one.
    bool fits = t->rank >= 2 && t->rank <= 4 && t->dims[0] == weight->dims[0] && t->dims[1] == inputs;
    for (int i = 2; fits && i < 4; i++)
        fits = (i < t->rank ? t->dims[i] : 1) == weight->dims[i];
    if (!fits)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: the shape of %s does not fit the configuration",
                        sdg_tensors_path(subject->tensors), weight->name);
    *out = t;
    return SDG_OK;
}

static struct sdg_quant_module *find_module(struct sdg_quant_plan *plan, const struct sdg_tensor *tensor)
{
    for (size_t i = 0; i < plan->module_count; i++)
        if (plan->modules[i].tensor == tensor)
            return &plan->modules[i];
    return NULL;
}

static enum sdg_result add_module(const struct sdg_log *log, struct sdg_quant_plan *plan,
                                  const struct sdg_tensor *tensor, struct sdg_quant_settings *settings)
{
    size_t length = strlen(tensor->name), suffix = strlen(weight_suffix);
    if (length <= suffix || strcmp(tensor->name + length - suffix, weight_suffix) != 0)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: the name of a weight should end with %s", tensor->name,
                        weight_suffix);
    if (!sdg_grow(log, &plan->modules, &plan->module_capacity, plan->module_count + 1, sizeof *plan->modules,
                  "modules"))
        return SDG_ERROR_MEMORY;
    char *name = sdg_strdup(log, tensor->name);
    if (!name)
        return SDG_ERROR_MEMORY;
    name[length - suffix] = 0;
    plan->modules[plan->module_count++] =
        (struct sdg_quant_module){.name = name, .tensor = tensor, .bits = sdg_quant_settings_bits(settings, name)};
    return SDG_OK;
}

static size_t site_of(const struct sdg_quant_plan *plan, const struct sdg_sites *sites, sdg_value value)
{
    size_t i = 0;
    while (i < plan->site_count && sites->sites[i].value != value)
        i++;
    return i; // every quantizable operation reads a site
}

static enum sdg_result add_op(const struct sdg_log *log, struct sdg_quant_plan *plan,
                              const struct sdg_quant_subject *subject, const struct sdg_sites *sites,
                              const struct sdg_op *op, struct sdg_quant_settings *settings)
{
    const struct sdg_value_info *weight = &plan->graph->values[op->in[1]];
    const struct sdg_tensor *tensor = NULL;
    SDG_TRY(check_tensor(log, subject, weight, &tensor));
    if (!find_module(plan, tensor))
        SDG_TRY(add_module(log, plan, tensor, settings));
    struct sdg_quant_module *m = find_module(plan, tensor);
    if (m->part_count == SDG_QUANT_PARTS)
        return sdg_fail(log, SDG_ERROR_UNSUPPORTED, "%s: its input is put together of more than %d parts", m->name,
                        SDG_QUANT_PARTS);
    size_t site = site_of(plan, sites, op->in[0]);
    if (m->bits != SDG_FLOAT_BITS)
        plan->sites[site].wanted = true;
    m->parts[m->part_count++] = (struct sdg_quant_part){
        .op = op->name, .site = site, .start = (size_t)weight->slice_start, .channels = (size_t)weight->dims[1]};
    return SDG_OK;
}

static enum sdg_result add_ops(const struct sdg_log *log, struct sdg_quant_plan *plan,
                               const struct sdg_quant_subject *subject, const struct sdg_sites *sites,
                               struct sdg_quant_settings *settings)
{
    plan->sites = sdg_alloc(log, sites->count, sizeof *plan->sites, "quantization sites");
    if (!plan->sites)
        return SDG_ERROR_MEMORY;
    for (; plan->site_count < sites->count; plan->site_count++) {
        const struct sdg_site *s = &sites->sites[plan->site_count];
        plan->sites[plan->site_count] =
            (struct sdg_quant_site){.name = s->name,
                                    .value = s->value,
                                    .kind = s->kind,
                                    .operand = s->operand,
                                    .channels = (size_t)plan->graph->values[s->value].dims[3]};
        plan->sites[plan->site_count].wanted = s->operand && sdg_quant_settings_operand(settings, s->name);
        sdg_quant_settings_mark_tokens(settings, s->name);
    }
    for (size_t i = 0; i < plan->graph->op_count; i++)
        if (sdg_op_is_quantizable(plan->graph, &plan->graph->ops[i]))
            SDG_TRY(add_op(log, plan, subject, sites, &plan->graph->ops[i], settings));
    return SDG_OK;
}

// ---- the plan ----

static void free_module(struct sdg_quant_module *m)
{
    for (size_t p = 0; p < m->part_count; p++)
        sdg_free(m->parts[p].scales);
    sdg_free(m->codes);
    sdg_free(m->name);
}

// Modules that stay as they are leave the plan.
static void drop_float_modules(struct sdg_quant_plan *plan)
{
    size_t kept = 0;
    for (size_t i = 0; i < plan->module_count; i++)
        if (plan->modules[i].bits == SDG_FLOAT_BITS)
            free_module(&plan->modules[i]);
        else
            plan->modules[kept++] = plan->modules[i];
    plan->float_modules = plan->module_count - kept;
    plan->module_count = kept;
}

static enum sdg_result check_use(const struct sdg_log *log, const struct sdg_quant_plan *plan,
                                 const struct sdg_quant_settings *settings)
{
    for (size_t i = 0; i < settings->rule_count; i++)
        if (!settings->rules[i].matched)
            sdg_say(log, SDG_LOG_WARNING, "'%s' matches no module", settings->rules[i].text);
    for (size_t i = 0; i < settings->token_count; i++)
        if (!settings->tokens[i].matched)
            return sdg_fail(log, SDG_ERROR_INPUT, "tokens: '%s' matches no site", settings->tokens[i].text);
    for (size_t i = 0; i < settings->operand_count; i++)
        if (!settings->operands[i].matched)
            return sdg_fail(log, SDG_ERROR_INPUT, "scan_operands: '%s' matches no operand", settings->operands[i].text);
    if (!plan->module_count)
        return sdg_fail(log, SDG_ERROR_USAGE, "nothing is left to quantize: all %zu modules are to stay floating point",
                        plan->float_modules);
    return SDG_OK;
}

enum sdg_result sdg_quant_plan_create(const struct sdg_log *log, const struct sdg_quant_subject *subject,
                                      struct sdg_quant_settings *settings, struct sdg_quant_plan *out)
{
    struct sdg_quant_plan plan = {0};
    struct sdg_sites sites = {0};
    SDG_TRY(sdg_quant_subject_graph(log, subject, &plan.graph));
    enum sdg_result result = sdg_sites_find(plan.graph, &sites);
    if (result == SDG_OK && settings->operand_count)
        result = sdg_sites_add_operands(plan.graph, &sites);
    if (result == SDG_OK)
        result = add_ops(log, &plan, subject, &sites, settings);
    sdg_sites_clear(&sites);
    drop_float_modules(&plan);
    if (result == SDG_OK)
        result = check_use(log, &plan, settings);
    if (result != SDG_OK) {
        sdg_quant_plan_clear(&plan);
        return result;
    }
    *out = plan;
    return SDG_OK;
}

void sdg_quant_plan_clear(struct sdg_quant_plan *plan)
{
    for (size_t i = 0; i < plan->module_count; i++)
        free_module(&plan->modules[i]);
    for (size_t i = 0; i < plan->site_count; i++)
        sdg_site_fit_clear(&plan->sites[i].fit);
    for (size_t i = 0; i < plan->folded_count; i++)
        sdg_free(plan->folded[i].data);
    sdg_free(plan->folded);
    sdg_free(plan->modules);
    sdg_free(plan->sites);
    sdg_graph_destroy(&plan->graph);
    *plan = (struct sdg_quant_plan){0};
}

// ---- statistics ----

static enum sdg_result use_site(const struct sdg_log *log, struct sdg_quant_site *site,
                                const struct sdg_statistics *statistics, const char *path)
{
    const struct sdg_site_statistics *s = sdg_statistics_find(statistics, site->name);
    if (!s)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: has nothing about site %s: collect statistics of this model again%s",
                        path, site->name, site->operand ? ", with --scan-operands" : "");
    if (s->kind != site->kind || s->channels != site->channels)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: site %s is %s with %zu channels there and %s with %zu in the model",
                        path, site->name, sdg_site_kind_name(s->kind), s->channels, sdg_site_kind_name(site->kind),
                        site->channels);
    site->statistics = s;
    return SDG_OK;
}

enum sdg_result sdg_quant_plan_use(const struct sdg_log *log, struct sdg_quant_plan *plan,
                                   const struct sdg_quant_subject *subject, const struct sdg_statistics *statistics,
                                   const char *path)
{
    char fingerprint[17];
    sdg_tensors_fingerprint(subject->tensors, fingerprint);
    if (strcmp(fingerprint, statistics->info.model) != 0)
        return sdg_fail(log, SDG_ERROR_INPUT,
                        "%s: is of another model: its %s has fingerprint %.20s, that of %s has %s", path, subject->name,
                        statistics->info.model, subject->path, fingerprint);
    if (!sdg_statistics_done_count(statistics))
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: has seen nothing yet", path);
    for (size_t i = 0; i < plan->site_count; i++)
        if (plan->sites[i].wanted)
            SDG_TRY(use_site(log, &plan->sites[i], statistics, path));
    return SDG_OK;
}
