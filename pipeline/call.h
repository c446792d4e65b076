// What every call of the library on a pipeline begins and ends with: one at a time, and cancelled when somebody asks.
#ifndef SDG_PIPELINE_CALL_H
#define SDG_PIPELINE_CALL_H

#include "pipeline/pipeline.h"

// Begins and ends what sdg_pipeline_error tells: from then on p->log keeps errors, and hands what `caller` wants on.
void sdg_call_listen(struct sdg_pipeline *p, const struct sdg_log *caller);
void sdg_call_deafen(struct sdg_pipeline *p);

// SDG_ERROR_USAGE, with the name of the public function, if another call uses the pipeline. To be left after success
// only.
enum sdg_result sdg_call_enter(struct sdg_pipeline *p, const char *function);
// Returns `result`, after saying where the call was cancelled if it was.
enum sdg_result sdg_call_leave(struct sdg_pipeline *p, enum sdg_result result);

// Tells the caller how far the call is, and remembers it for what is asked between operations.
// SDG_ERROR_CANCELLED, still unsaid, if the caller or sdg_cancel wants no more.
enum sdg_result sdg_call_progress(struct sdg_pipeline *p, const struct sdg_progress *progress, sdg_progress_fn fn,
                                  void *user);
// Asked by backends between operations, `user` is the pipeline: false when the call is cancelled. Asks the caller, ten
// times a second, when it is the caller's thread that asks.
bool sdg_call_goes_on(void *user);

#endif
