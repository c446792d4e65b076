// Collecting Hessians along with statistics: a sample of the rows that each layer multiplies with its weights.
#ifndef SDG_MEASURE_MOMENTS_H
#define SDG_MEASURE_MOMENTS_H

#include "base/threads.h"
#include "graph/graph.h"
#include "quant/statistics.h"

// More inputs than these, and a layer has no Hessian: it would need more memory than the whole model, and its Cholesky
// factor minutes.
enum { SDG_MOMENTS_MAX_INPUTS = 5120 };

struct sdg_moments;
enum sdg_result sdg_moments_create(const struct sdg_log *log, const struct sdg_statistics_info *info,
                                   struct sdg_moments **out);
void sdg_moments_destroy(struct sdg_moments **moments);
// Adds what a file has. SDG_ERROR_INPUT if it does not belong to this run.
enum sdg_result sdg_moments_resume(const struct sdg_log *log, struct sdg_moments *m, const char *path);
// Finds the layers of a fused graph; sites count as in sdg_sites_find. `calls`: runs of the UNet per picture.
enum sdg_result sdg_moments_prepare(const struct sdg_log *log, struct sdg_moments *m, const struct sdg_graph *graph,
                                    int calls);

bool sdg_moments_wants_prompt(const struct sdg_moments *m, size_t prompt);
// Whether this run of the UNet is one of those looked at: a few of each picture, other ones for other prompts.
bool sdg_moments_wants(const struct sdg_moments *m, size_t prompt, int call);
// Takes rows from a site's value (as the graph has it); sdg_moments_add then adds those of all sites, on all threads.
void sdg_moments_gather(struct sdg_moments *m, size_t site, const float *value, size_t prompt, int call);
enum sdg_result sdg_moments_add(const struct sdg_log *log, struct sdg_pool *pool, struct sdg_moments *m);
// Files are large: not every prompt writes one. At the end what is missing is written, or an empty file if there was no
// prompt.
enum sdg_result sdg_moments_finish_prompt(const struct sdg_log *log, struct sdg_moments *m, size_t prompt,
                                          const char *path);
enum sdg_result sdg_moments_flush(const struct sdg_log *log, struct sdg_moments *m, const char *path);

#endif
