// Inside formats/: what the files that read and write quantized folders share.
#ifndef SDG_FORMATS_QUANTIZED_PARTS_H
#define SDG_FORMATS_QUANTIZED_PARTS_H

#include "base/json.h"
#include "formats/quantized_folder.h"

// Metadata of the UNet's file.
#define SDG_LAYERS_KEY "layers"
#define SDG_GROUP_KEY "group"
#define SDG_CODES_KEY "codes"
#define SDG_CODES_ROUNDED "rounded"

// ---- quantized_config.c: "quantization_config" ----
#define SDG_QUANTIZATION_KEY "quantization_config"
// True if a UNet's configuration has it, and it is this format's.
bool sdg_quantization_config_is_ours(const struct sdg_json *json);
// The member as sdg_quantization_config_read reads it, for cJSON_Delete; NULL without memory.
cJSON *sdg_quantization_config_describe(const struct sdg_quantization_config *config);
// Replaces what changes when a folder is amended; `how`, "corrected" or "learned", becomes true. False without memory,
// or if the member is no object.
bool sdg_quantization_config_amend(cJSON *config, const char *fingerprint, const char *how);

#endif
