// Smoothing that the statistics were collected with: put into the weights that read each site, and its inverse into
// what makes the site where that is linear, so that nothing is left to do at run time.
#ifndef SDG_QUANTIZE_QUANT_SMOOTH_H
#define SDG_QUANTIZE_QUANT_SMOOTH_H

#include "quantize/quant_plan.h"

// Decides for every wanted site of integer activations whose statistics were smoothed, and, if `folds`, folds where it
// can be (quant/smoothing_fold.h): gamma and beta of a norm are multiplied in plan->folded, rows of a weight before
// they are rounded. Others get SITE.input_smoothing. SDG_ERROR_INPUT if a site is smoothed that larger kernels read;
// SDG_ERROR_USAGE if the rule has no intervals of tokens: what is known of a SiLU's range does not hold for smoothed
// values.
enum sdg_result sdg_quant_smooth(const struct sdg_log *log, struct sdg_quant_plan *plan,
                                 const struct sdg_quant_subject *subject, enum sdg_interval_rule rule, bool folds);

// The multipliers [channels] of a site's values by which the weights' columns are to be divided; NULL: none.
const float *sdg_quant_site_smoothing(const struct sdg_quant_site *site);

#endif
