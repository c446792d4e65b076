// The model's networks as programs: graphs rewritten and compiled for the backend and type of their stage.
#ifndef SDG_PIPELINE_NETWORKS_H
#define SDG_PIPELINE_NETWORKS_H

#include "pipeline/pipeline.h"

enum sdg_result sdg_make_text(struct sdg_pipeline *p, int encoder, int batch, int clip_skip, bool plan_only,
                              struct sdg_program **out);
enum sdg_result sdg_make_unet_time(struct sdg_pipeline *p, int64_t rows, bool plan_only, struct sdg_program **out);
enum sdg_result sdg_make_unet_context(struct sdg_pipeline *p, int64_t batch, int64_t tokens, bool plan_only,
                                      struct sdg_program **out);
enum sdg_result sdg_make_unet_step(struct sdg_pipeline *p, int64_t batch, int64_t h, int64_t w, int64_t tokens,
                                   int64_t rows, bool plan_only, struct sdg_program **out);
enum sdg_result sdg_make_decoder(struct sdg_pipeline *p, int64_t h, int64_t w, bool plan_only,
                                 struct sdg_program **out);
enum sdg_result sdg_make_encoder(struct sdg_pipeline *p, int64_t h, int64_t w, bool plan_only,
                                 struct sdg_program **out);
// The stage's backend, opened on first use.
enum sdg_result sdg_stage_open(struct sdg_pipeline *p, enum sdg_stage stage);
void sdg_network_clear(struct sdg_network *network);

#endif
