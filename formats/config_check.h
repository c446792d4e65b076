// Inside formats/: bounds that hold for every configuration, whether read from JSON or inferred from a checkpoint's
// shapes.
#ifndef SDG_FORMATS_CONFIG_CHECK_H
#define SDG_FORMATS_CONFIG_CHECK_H

#include "base/json.h"
#include "formats/config.h"

enum { SDG_CHANNELS_MAX = 16384, SDG_LAYERS_MAX = 64 };

// SDG_ERROR_UNSUPPORTED unless the string `key` is absent or one of the two names (the second may be NULL).
enum sdg_result sdg_config_class(const struct sdg_json *json, const char *key, const char *name, const char *other);

enum sdg_result sdg_check_range(const struct sdg_log *log, const char *path, const char *key, int value, int lo,
                                int hi);
// Fails unless part > 0 divides whole.
enum sdg_result sdg_check_divides(const struct sdg_log *log, const char *path, const char *part_key, int part,
                                  const char *whole_key, int whole);

// 16 hexadecimal digits; "" where the key is absent and not needed.
enum sdg_result sdg_config_digits(const struct sdg_json *json, const char *key, bool needed, char out[static 17]);
// The key "base_path": another model's folder, "" where it is absent.
enum sdg_result sdg_config_base_path(const struct sdg_json *json, char out[static SDG_BASE_PATH_BYTES]);

// quantization_config; *out stays as it is when there is none.
enum sdg_result sdg_quantization_config_read(const struct sdg_json *json, struct sdg_quantization_config *out);

enum sdg_result sdg_unet_config_check(const struct sdg_log *log, const char *path,
                                      const struct sdg_unet_config *config);
enum sdg_result sdg_vae_config_check(const struct sdg_log *log, const char *path, const struct sdg_vae_config *config);
enum sdg_result sdg_text_config_check(const struct sdg_log *log, const char *path,
                                      const struct sdg_text_config *config);

// Keys that change a network in ways that are not implemented: every value but the one here, and null, is refused.
struct sdg_fixed_key {
    const char *key;
    // FALSE: also a list of nothing else. EMPTY: a list or an object without entries
    enum { SDG_FIXED_NOTHING, SDG_FIXED_FALSE, SDG_FIXED_NUMBER, SDG_FIXED_STRING, SDG_FIXED_EMPTY } wanted;
    double number;
    const char *string, *alias; // another spelling of the same
};
enum sdg_result sdg_config_fixed_keys(const struct sdg_json *json, const struct sdg_fixed_key *keys, size_t count);

#endif
