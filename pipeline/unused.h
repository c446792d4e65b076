// Whether everything that a model's files hold is used, and everything that a picture needs is there.
#ifndef SDG_PIPELINE_UNUSED_H
#define SDG_PIPELINE_UNUSED_H

#include "pipeline/pipeline.h"

// Of each component of an opened model, by the names that its networks read (graph/leftovers.h), and the shapes.
enum sdg_result sdg_unused_check(const struct sdg_pipeline *p);

#endif
