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
    if (part == SDG_PART_VAE && copy.rank == 4 && copy.dims[2] == 1 && copy.dims[3] == 1 &&
        sdg_name_is_vae_projection(name))
        copy.rank = 2;
    return sdg_tensors_add(log, view, &copy, name);
}

// A token is stored as a string or as an object with its text in "content".
static enum sdg_result read_pad_token(const struct sdg_log *log, const char *folder, const char *name, char **out)
{
    char *path = sdg_path_join(log, folder, name), *text = NULL;
    struct sdg_json json = {0};
    if (!path)
        return SDG_ERROR_MEMORY;
    enum sdg_result result = SDG_OK;
    if (sdg_path_kind(path) == SDG_PATH_MISSING)
        goto done;
    result = sdg_file_read_text(log, path, SDG_JSON_FILE_LIMIT, &text);
    if (result == SDG_OK)
        result = sdg_json_parse(log, path, text, &json);
    if (result != SDG_OK)
        goto done;
    const cJSON *token = sdg_json_get(&json, "pad_token");
    if (cJSON_IsObject(token))
        token = cJSON_GetObjectItemCaseSensitive(token, "content");
    if (token && (!cJSON_IsString(token) || !*token->valuestring))
        result = sdg_fail(log, SDG_ERROR_INPUT, "%s: pad_token should be a string", path);
    else if (token && !(*out = sdg_strdup(log, token->valuestring)))
        result = SDG_ERROR_MEMORY;
done:
    sdg_json_free(&json);
    sdg_free(text);
    sdg_free(path);
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
    if (!model->pad_token[i]) // known already for some single files
        SDG_TRY(read_pad_token(log, folder, "tokenizer_config.json", &model->pad_token[i]));
    if (!model->pad_token[i])
        SDG_TRY(read_pad_token(log, folder, "special_tokens_map.json", &model->pad_token[i]));
    return SDG_OK;
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

enum sdg_result sdg_check_file_kind(const struct sdg_log *log, const char *path)
{
    static const struct {
        const char *magic;
        size_t length;
        enum sdg_result result;
        const char *what;
    } known[] = {
        {"GGUF", 4, SDG_ERROR_UNSUPPORTED,
         "is a GGUF file, which is not supported; use the safetensors version of the model"},
        {"GGML", 4, SDG_ERROR_UNSUPPORTED,
         "is an old GGML file, which is not supported; use the safetensors version of the model"},
        {"PK\x03\x04", 4, SDG_ERROR_UNSUPPORTED,
         "is a zip archive or PyTorch checkpoint (.ckpt, .pt), which can run code; use the safetensors version"},
        {"\x80\x02", 2, SDG_ERROR_UNSUPPORTED,
         "is a Python pickle (.ckpt, .pt), which can run code; use the safetensors version"},
        {"version https://git-lfs", 23, SDG_ERROR_INPUT,
         "is a git-lfs pointer, not the file itself; fetch it with 'git lfs pull'"},
        {"<!DOCTYPE", 9, SDG_ERROR_INPUT,
         "is an HTML page, probably an error message saved by a download; fetch the file again"},
        {"<!doctype", 9, SDG_ERROR_INPUT,
         "is an HTML page, probably an error message saved by a download; fetch the file again"},
        {"<html", 5, SDG_ERROR_INPUT,
         "is an HTML page, probably an error message saved by a download; fetch the file again"},
        {"{\"error", 7, SDG_ERROR_INPUT, "is a JSON error message saved by a download; fetch the file again"},
    };
    char head[32];
    size_t got;
    SDG_TRY(sdg_file_head(log, path, head, sizeof head, &got));
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (got >= known[i].length && memcmp(head, known[i].magic, known[i].length) == 0)
            return sdg_fail(log, known[i].result, "%s: %s", path, known[i].what);
    return SDG_OK;
}
