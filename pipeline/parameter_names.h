// Look-up of parameters given by name.
#ifndef SDG_PIPELINE_PARAMETER_NAMES_H
#define SDG_PIPELINE_PARAMETER_NAMES_H

#include "base/log.h"
#include "sdgen/sdgen.h"

#include <stddef.h>

// "a, b, c" of the legal names.
void sdg_names_join(enum sdg_names which, char *text, size_t size);
// sdg_name_index(which, name); SDG_ERROR_USAGE listing what is legal. `what` names the parameter.
enum sdg_result sdg_name_find(const struct sdg_log *log, enum sdg_names which, const char *what, const char *name,
                              int *index);
// "subgroup,f16" -> a mask of enum sdg_feature (backend/backend.h); NULL = 0. SDG_ERROR_USAGE listing what is legal.
enum sdg_result sdg_features_parse(const struct sdg_log *log, const char *text, unsigned *mask);

#endif
