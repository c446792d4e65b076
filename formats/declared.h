// Inside formats/: what a checkpoint in one file says about itself beside its weights: in keys that tools add, and in
// the header's metadata.
#ifndef SDG_FORMATS_DECLARED_H
#define SDG_FORMATS_DECLARED_H

#include "formats/model.h"
#include "formats/safetensors.h"

// What the network predicts, and with which noise it was trained. Fills model->scheduler, zero_terminal_snr and
// prediction_open of a model whose networks are open. SDG_ERROR_UNSUPPORTED, naming the key, for what cannot be drawn.
enum sdg_result sdg_declared_read(const struct sdg_log *log, const struct sdg_source *source, struct sdg_model *model);

#endif
