// What folders and single files have in common.
#include "formats/model_parts.h"

#include "base/file.h"

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
