// Quantized models in the pipeline. All of it does nothing if the model is not quantized.
#ifndef SDG_PIPELINE_INTERVALS_H
#define SDG_PIPELINE_INTERVALS_H

#include "graph/graph.h"
#include "pipeline/pipeline.h"

// Reads and checks what the model's files say about sites and layers.
enum sdg_result sdg_quantized_open(struct sdg_pipeline *p);
// Of a fused step graph.
enum sdg_result sdg_quantized_rewrite(const struct sdg_pipeline *p, struct sdg_graph *graph);
// Fills a step program's interval tables for the timesteps of its rows.
enum sdg_result sdg_quantized_write_intervals(const struct sdg_pipeline *p, struct sdg_program *program, int64_t rows,
                                              double (*timestep)(const void *user, int64_t row), const void *user);
// The same for any network: `q`, NULL where it is not quantized, is what its files say.
enum sdg_result sdg_quantized_write_tables(const struct sdg_log *log, const struct sdg_quantized *q,
                                           struct sdg_program *program, int64_t rows,
                                           double (*timestep)(const void *user, int64_t row), const void *user);

#endif
