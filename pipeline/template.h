// Parameters that are the pattern for many pictures: calibration, correction and evaluation take whole parameter
// structs and fill in the rest of each picture themselves.
#ifndef SDG_PIPELINE_TEMPLATE_H
#define SDG_PIPELINE_TEMPLATE_H

#include "base/log.h"
#include "sdgen/sdgen.h"

// SDG_ERROR_USAGE naming the first field that is set though it belongs to a single picture: it would be overwritten or
// ignored. `progress`: that callback is of use.
enum sdg_result sdg_template_check(const struct sdg_log *log, const struct sdg_generate_params *generate,
                                   bool progress);
// The same for fields that the caller of sdg_pipeline_create decides itself.
enum sdg_result sdg_template_check_pipeline(const struct sdg_log *log, const struct sdg_pipeline_params *pipeline);
// The texts of the pictures: SDG_ERROR_INPUT, saying what they are for ("to learn from"), where there are none, and
// SDG_ERROR_USAGE where one is NULL.
enum sdg_result sdg_template_check_prompts(const struct sdg_log *log, const char *const *prompts, size_t count,
                                           const char *purpose);

#endif
