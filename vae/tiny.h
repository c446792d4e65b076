// AutoencoderTiny (TAESD): plain residual blocks of three convolutions, no norms.
#ifndef SDG_VAE_TINY_H
#define SDG_VAE_TINY_H

#include "formats/config.h"
#include "graph/graph.h"

void sdg_tiny_build_decoder(struct sdg_graph *g, const struct sdg_vae_config *config, int64_t batch, int64_t height,
                            int64_t width);
void sdg_tiny_build_encoder(struct sdg_graph *g, const struct sdg_vae_config *config, int64_t batch, int64_t height,
                            int64_t width);

#endif
