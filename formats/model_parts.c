// What folders and single files have in common.
#include "formats/model_parts.h"

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

enum sdg_result sdg_add_canonical(const struct sdg_log *log, struct sdg_tensors *view, enum sdg_part part,
                                  const struct sdg_tensor *tensor, const char *name)
{
    struct sdg_tensor copy = *tensor;
    if (part == SDG_PART_VAE && sdg_name_is_vae_projection(name))
        while (copy.rank > 2 && copy.dims[copy.rank - 1] == 1)
            copy.rank--;
    return sdg_tensors_add(log, view, &copy, name);
}

// What the JSON files of a tokenizer say beside the vocabulary.
struct tokenizer_settings {
    char *pad;                 // NULL: nothing yet
    bool added_tokens_decoder; // tokenizer_config.json lists its added tokens
};

// A token is stored as a string or as an object with its text in "content".
static enum sdg_result read_pad_token(const struct sdg_json *json, char **out)
{
    const cJSON *token = sdg_json_get(json, "pad_token");
    if (cJSON_IsObject(token))
        token = cJSON_GetObjectItemCaseSensitive(token, "content");
    if (!token)
        return SDG_OK;
    if (!cJSON_IsString(token) || !*token->valuestring)
        return sdg_fail(json->log, SDG_ERROR_INPUT, "%s: pad_token should be a string", json->path);
    sdg_free(*out);
    *out = sdg_strdup(json->log, token->valuestring);
    return *out ? SDG_OK : SDG_ERROR_MEMORY;
}

// Python writes a tokenizer without a limit as one of 1e30 tokens.
static enum sdg_result check_max_length(const struct sdg_json *json)
{
    const double unlimited = 1e6;
    const cJSON *length = sdg_json_get(json, "model_max_length");
    char shown[64];
    if (!length || (cJSON_IsNumber(length) && (length->valuedouble == 77 || length->valuedouble > unlimited)))
        return SDG_OK;
    return sdg_fail(json->log, SDG_ERROR_UNSUPPORTED,
                    "%s: model_max_length is %s, supported: 77, the tokens that Stable Diffusion's text encoders take",
                    json->path, sdg_json_show(length, shown));
}

static enum sdg_result read_settings(const struct sdg_log *log, const char *folder, const char *name,
                                     struct tokenizer_settings *settings)
{
    char *path = sdg_path_join(log, folder, name), *text = NULL;
    struct sdg_json json = {0};
    if (!path)
        return SDG_ERROR_MEMORY;
    enum sdg_result result = SDG_OK;
    if (sdg_path_kind(path) != SDG_PATH_MISSING) {
        result = sdg_file_read_text(log, path, SDG_JSON_FILE_LIMIT, &text);
        if (result == SDG_OK)
            result = sdg_json_parse(log, path, text, &json);
        if (result == SDG_OK)
            result = read_pad_token(&json, &settings->pad);
        if (result == SDG_OK)
            result = check_max_length(&json);
        if (result == SDG_OK)
            settings->added_tokens_decoder = sdg_json_get(&json, "added_tokens_decoder") != NULL;
    }
    sdg_json_free(&json);
    sdg_free(text);
    sdg_free(path);
    return result;
}

// As transformers does it: special_tokens_map.json has the last word, unless tokenizer_config.json lists the added
// tokens, as newer files do; then the map is left over from before. Stable Diffusion 2.x was published with
// <|endoftext|> in the one and "!" in the other, and was trained with "!".
static enum sdg_result find_pad_token(const struct sdg_log *log, const char *folder, char **out)
{
    struct tokenizer_settings settings = {0};
    enum sdg_result result = read_settings(log, folder, "tokenizer_config.json", &settings);
    if (result == SDG_OK && !settings.added_tokens_decoder)
        result = read_settings(log, folder, "special_tokens_map.json", &settings);
    if (result == SDG_OK && !*out) { // known already for some single files
        *out = settings.pad;
        return SDG_OK;
    }
    sdg_free(settings.pad);
    return result;
}

static enum sdg_result read_member(const struct sdg_log *log, const char *folder, const char *name, char **out)
{
    char *path = sdg_path_join(log, folder, name);
    if (!path)
        return SDG_ERROR_MEMORY;
    enum sdg_result result = sdg_file_read_text(log, path, SDG_TOKENIZER_LIMIT, out);
    sdg_free(path);
    return result;
}

enum sdg_result sdg_tokenizer_read(const struct sdg_log *log, struct sdg_model *model, int i, const char *folder,
                                   bool *found)
{
    char *vocab = sdg_path_join(log, folder, "vocab.json");
    if (!vocab)
        return SDG_ERROR_MEMORY;
    *found = sdg_path_kind(vocab) != SDG_PATH_MISSING;
    sdg_free(vocab);
    if (!*found)
        return SDG_OK;
    SDG_TRY(read_member(log, folder, "vocab.json", &model->vocab_json[i]));
    SDG_TRY(read_member(log, folder, "merges.txt", &model->merges_txt[i]));
    return find_pad_token(log, folder, &model->pad_token[i]);
}

enum sdg_result sdg_tokenizer_fallback(const struct sdg_log *log, struct sdg_model *model, int i)
{
    bool found;
    const char *folder = getenv("SDGEN_TOKENIZER");
    if (!folder || !*folder)
        return SDG_OK;
    SDG_TRY(sdg_tokenizer_read(log, model, i, folder, &found));
    if (!found)
        return sdg_fail(log, SDG_ERROR_INPUT,
                        "%s: has no vocab.json, but the environment variable SDGEN_TOKENIZER names it", folder);
    return SDG_OK;
}
