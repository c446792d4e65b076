// UNet2DConditionModel (SD 1.x, 2.x, SDXL, LCM, inpainting variants) as graphs.
//
// Whatever depends on time alone, or on the prompt alone, is not part of the step:
//   time graph       "timestep" [R*E,1,1,C0] (+ "added" [R*E,1,1,A], "guidance" [R*E,1,1,G])
//                    -> "PATH.time_emb_proj" [R*E,1,1,C] per resnet
//   context graph    "context" [N,1,T,X]
//                    -> "PATH.to_k", "PATH.to_v" [N,1,T,C] per cross-attention
//   step graph       "sample" [N,H,W,I], tables "PATH.time_emb_proj" [R,E,1,C], inputs "PATH.to_k", "PATH.to_v"
//                    -> "noise" [N,H,W,O]
// R rows (steps of the sampler), N samples, E time embeddings per row. Outputs of the first two are written to the
// values of the same name of the third.
#ifndef SDG_UNET_UNET_H
#define SDG_UNET_UNET_H

#include "formats/config.h"
#include "graph/graph.h"

struct sdg_unet_shape {
    int64_t batch;         // N: 2 with guidance
    int64_t height, width; // of the latent
    int64_t tokens;        // of the context
    int64_t rows;          // R
    int64_t table_batch;   // E: 1, or `batch`; 0 = sdg_unet_table_batch
};

// Time embeddings per row that a model needs: `batch` where they depend on the prompt too (SDXL), else 1.
int64_t sdg_unet_table_batch(const struct sdg_unet_config *config, int64_t batch);
// Names, sites, layers and weights of the step graph do not depend on its shape: this is the smallest, one sample of
// one token and one row, on a latent that the levels halve to a single pixel.
struct sdg_unet_shape sdg_unet_smallest_shape(const struct sdg_unet_config *config);

enum sdg_result sdg_unet_time_graph(const struct sdg_log *log, const struct sdg_unet_config *config, int64_t rows,
                                    struct sdg_graph **out);
enum sdg_result sdg_unet_context_graph(const struct sdg_log *log, const struct sdg_unet_config *config, int64_t batch,
                                       int64_t tokens, struct sdg_graph **out);
enum sdg_result sdg_unet_step_graph(const struct sdg_log *log, const struct sdg_unet_config *config,
                                    const struct sdg_unet_shape *shape, struct sdg_graph **out);
// The step graph after fusion: what is compiled, observed, quantized and timed, whose operations give sites and layers
// their names.
enum sdg_result sdg_unet_fused_step_graph(const struct sdg_log *log, const struct sdg_unet_config *config,
                                          const struct sdg_unet_shape *shape, struct sdg_graph **out);

// Sinusoidal embedding (Ho et al. 2020, as diffusers' get_timestep_embedding with max_period 10000): `dim` numbers.
// flip: [cos, sin] instead of [sin, cos]; exponent k / (dim/2 - shift).
void sdg_timestep_embedding(double t, int dim, bool flip, double shift, float *out);

#endif
