#include "quantize/quant_smooth.h"

#include "base/memory.h"
#include "formats/stored.h"
#include "quant/sites.h"
#include "quant/smoothing_fold.h"

#include <string.h>

struct folding {
    const struct sdg_log *log;
    struct sdg_quant_plan *plan;
    const struct sdg_quant_subject *subject;
};

const float *sdg_quant_site_smoothing(const struct sdg_quant_site *site)
{
    return site->smoothed ? site->statistics->smoothing : NULL;
}

static struct sdg_quant_module *module_of(struct sdg_quant_plan *plan, const struct sdg_op *op)
{
    for (size_t i = 0; i < plan->module_count; i++)
        for (size_t p = 0; p < plan->modules[i].part_count; p++)
            if (strcmp(plan->modules[i].parts[p].op, op->name) == 0)
                return &plan->modules[i];
    return NULL;
}

static bool is_quantized(const void *user, const struct sdg_op *op)
{
    const struct folding *f = user;
    return module_of(f->plan, op) != NULL;
}

static enum sdg_result fold_vector(const struct folding *f, sdg_value vector, const float *smoothing, size_t channels)
{
    const char *name = f->plan->graph->values[vector].name;
    const struct sdg_tensor *tensor = sdg_tensors_find(f->subject->tensors, name);
    if (!tensor || tensor->bytes != channels * sdg_dtype_size(tensor->dtype) || !sdg_dtype_is_float(tensor->dtype))
        return sdg_fail(f->log, SDG_ERROR_INPUT, "%s: %s is missing or does not fit the configuration",
                        sdg_tensors_path(f->subject->tensors), name);
    if (!sdg_grow(f->log, &f->plan->folded, &f->plan->folded_capacity, f->plan->folded_count + 1,
                  sizeof *f->plan->folded, "folded tensors"))
        return SDG_ERROR_MEMORY;
    float *data = sdg_alloc_raw(f->log, channels, sizeof *data, "a folded tensor");
    if (!data)
        return SDG_ERROR_MEMORY;
    const struct sdg_stored stored = sdg_stored_numbers(tensor);
    sdg_stored_expand(&stored, 0, channels, SDG_F32, data);
    for (size_t c = 0; c < channels; c++)
        data[c] *= smoothing[c];
    f->plan->folded[f->plan->folded_count++] = (struct sdg_quant_folded){tensor, data};
    return SDG_OK;
}

// Rows of a weight take one site's.
static void fold_rows(const struct folding *f, const struct sdg_smoothing_fold *where, struct sdg_quant_site *site)
{
    struct sdg_quant_module *module = module_of(f->plan, where->op);
    if (module->part_count != 1 || module->row_smoothing)
        return;
    module->row_smoothing = site->statistics->smoothing;
    module->row_start = where->first;
    module->row_count = site->channels;
    site->folded = true;
}

static enum sdg_result fold(const struct folding *f, struct sdg_quant_site *site)
{
    struct sdg_smoothing_fold where;
    const float *smoothing = site->statistics->smoothing;
    if (!sdg_smoothing_fold_find(f->plan->graph, site->value, is_quantized, f, &where))
        return SDG_OK;
    if (where.op) {
        fold_rows(f, &where, site);
        return SDG_OK;
    }
    SDG_TRY(fold_vector(f, where.gamma, smoothing, site->channels));
    SDG_TRY(fold_vector(f, where.beta, smoothing, site->channels));
    site->folded = true;
    return SDG_OK;
}

enum sdg_result sdg_quant_smooth(const struct sdg_log *log, struct sdg_quant_plan *plan,
                                 const struct sdg_quant_subject *subject, enum sdg_interval_rule rule, bool folds)
{
    const struct folding f = {log, plan, subject};
    for (size_t i = 0; i < plan->site_count; i++) {
        struct sdg_quant_site *site = &plan->sites[i];
        if (!site->wanted || !site->statistics || !site->statistics->smoothing)
            continue;
        if (!sdg_site_is_by_token(plan->graph, site->value))
            return sdg_fail(log, SDG_ERROR_INPUT,
                            "%s: its statistics are smoothed, but not only single tokens are read", site->name);
        if (folds)
            SDG_TRY(fold(&f, site));
        // Intervals that are measured at run time are of values as they are made: a multiplier behind them is left out.
        site->smoothed = site->folded || rule != SDG_INTERVAL_DYNAMIC;
    }
    return SDG_OK;
}
