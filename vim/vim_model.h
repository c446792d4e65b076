// A Vision Mamba classifier on disk: a folder with config.json and model.safetensors, of numbers, or as sdquant writes
// it of integers.
#ifndef SDG_VIM_VIM_MODEL_H
#define SDG_VIM_VIM_MODEL_H

#include "formats/config.h"
#include "formats/tensors.h"

struct sdg_vim_model { // read-only once it is open
    char *path;
    struct sdg_vim_config config;
    struct sdg_tensors *tensors;
};

// *is: the folder's config.json is that of a model of this kind. Fails for want of memory alone.
enum sdg_result sdg_vim_model_is(const struct sdg_log *log, const char *path, bool *is);
// Every tensor of the network is there and has its shape, and the scans' weights are fit for a scan; a quantized folder
// has the tensors of its fingerprint, and its base is put below it. Else SDG_ERROR_INPUT naming the file.
enum sdg_result sdg_vim_model_open(const struct sdg_log *log, const char *path, struct sdg_vim_model **out);
void sdg_vim_model_close(struct sdg_vim_model **model); // NULL inside is fine

#endif
