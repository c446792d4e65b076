// What is quantized: the network of a model, whichever kind of model that is.
#ifndef SDG_QUANTIZE_QUANT_SUBJECT_H
#define SDG_QUANTIZE_QUANT_SUBJECT_H

#include "formats/model.h"
#include "formats/quantized_folder.h"
#include "graph/graph.h"
#include "vim/vim_model.h"

struct sdg_quant_subject {
    const char *path; // of the model's folder
    const char *name; // of the network, for messages: "UNet"
    struct sdg_tensors *tensors;
    const struct sdg_quantization_config *quantization;
    const struct sdg_quantized_files *files;
    int time_channels;         // of the network's encoding of timesteps; 0: it knows no time
    struct sdg_model *model;   // Stable Diffusion: its UNet
    struct sdg_vim_model *vim; // a classifier; one of both is NULL
};

// Opens the full-precision model at `path`. SDG_ERROR_INPUT for one that is quantized already.
enum sdg_result sdg_quant_subject_open(const struct sdg_log *log, const char *path, struct sdg_quant_subject *out);
void sdg_quant_subject_close(struct sdg_quant_subject *subject);
// The network as it runs, fused, in its smallest shape: names, sites and layers do not depend on that.
enum sdg_result sdg_quant_subject_graph(const struct sdg_log *log, const struct sdg_quant_subject *subject,
                                        struct sdg_graph **out);

#endif
