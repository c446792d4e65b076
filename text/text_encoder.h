// CLIPTextModel and CLIPTextModelWithProjection (transformers) as a graph.
//
// inputs:  "ids"       s32 [N, 1, T, 1]
//          "padding"   [N, 1, T, hidden / heads]  with `mask_padding`
// outputs: "hidden"    [N, 1, T, hidden]      what the UNet gets, see sdg_text_params
//          "projected" [N, 1, T, projection]  with `pooled`: every token of the last layer after final norm and
//          projection;
//                                             the pooled embedding is the one at sdg_text_end_position()
#ifndef SDG_TEXT_TEXT_ENCODER_H
#define SDG_TEXT_TEXT_ENCODER_H

#include "formats/config.h"
#include "graph/graph.h"

struct sdg_text_params {
    int batch, tokens; // N prompts (chunks) of T tokens
    int skip;        // 1: the last layer's output, 2: the last but one's, ... ("clip skip"); layers + 1: what goes into
                     // the first
    bool final_norm; // final layer norm on "hidden" (SD 1.x and 2.x: yes, SDXL: no)
    bool pooled;     // make "projected" as well
    bool mask_padding; // take the input "padding", see sdg_text_padding
};

// SDG_ERROR_USAGE if `skip` exceeds the number of layers by more than one.
enum sdg_result sdg_text_graph(const struct sdg_log *log, const struct sdg_text_config *config,
                               const struct sdg_text_params *params, struct sdg_graph **out);
// What keeps tokens behind the end of a prompt from being seen: [tokens][hidden / heads] numbers for "padding".
void sdg_text_padding(const struct sdg_text_config *config, const int32_t *ids, int tokens, float *out);
// Index of the token whose final state is the pooled embedding.
int sdg_text_end_position(const struct sdg_text_config *config, const int32_t *ids, int tokens);

#endif
