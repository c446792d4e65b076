// Where the tokenizers of a model are: its own, or one of CLIP's that lies somewhere else.
#include "base/memory.h"
#include "base/platform.h"
#include "formats/model_parts.h"

#include <stdlib.h>
#include <string.h>

// A tokenizer that is not the model's own: every CLIP model has the same vocabulary, but OpenCLIP's, which compute
// GELU, were trained with "!" as padding (token 0).
static void set_padding(struct sdg_model *model, int i)
{
    bool openclip = model->text_config[i].activation == SDG_TEXT_GELU;
    model->tokenizer[i].pad = openclip ? "!" : "<|endoftext|>";
}

static enum sdg_result read_inside(const struct sdg_log *log, const struct sdg_files *list, struct sdg_model *model,
                                   int i, const char *folder, const char *name)
{
    char *inside = sdg_path_join(log, folder, name);
    if (!inside)
        return SDG_ERROR_MEMORY;
    enum sdg_result result = sdg_tokenizer_files_read(log, list, inside, &model->tokenizer[i]);
    sdg_free(inside);
    return result;
}

// The files in `folder`, or in the folder of it that a model's tokenizer would have.
static enum sdg_result read_around(const struct sdg_log *log, const struct sdg_files *list, struct sdg_model *model,
                                   int i, const char *folder)
{
    struct sdg_tokenizer_files *files = &model->tokenizer[i];
    SDG_TRY(sdg_tokenizer_files_read(log, list, folder, files));
    if (!files->folder && i == 1)
        SDG_TRY(read_inside(log, list, model, i, folder, "tokenizer_2"));
    if (!files->folder)
        SDG_TRY(read_inside(log, list, model, i, folder, "tokenizer"));
    set_padding(model, i);
    return SDG_OK;
}

// A folder that somebody named has to have one.
static enum sdg_result read_named(const struct sdg_log *log, const struct sdg_files *list, struct sdg_model *model,
                                  int i, const char *folder, const char *by)
{
    SDG_TRY(read_around(log, list, model, i, folder));
    if (model->tokenizer[i].folder)
        return SDG_OK;
    return sdg_fail(log, SDG_ERROR_INPUT, "%s: has no tokenizer.json, nor vocab.json and merges.txt, but %s names it",
                    folder, by);
}

static enum sdg_result read_environment(const struct sdg_log *log, struct sdg_model *model, int i)
{
    const char *folder = model->no_environment ? NULL : getenv("SDGEN_TOKENIZER");
    return folder && *folder ? read_named(log, NULL, model, i, folder, "the environment variable SDGEN_TOKENIZER")
                             : SDG_OK;
}

enum sdg_result sdg_find_folder_tokenizer(const struct sdg_log *log, struct sdg_model *model, int i, const char *folder)
{
    if (model->tokenizer_path)
        return read_named(log, model->files, model, i, model->tokenizer_path, "the tokenizer's parameter");
    SDG_TRY(sdg_tokenizer_files_read(log, model->files, folder, &model->tokenizer[i]));
    return model->tokenizer[i].folder ? SDG_OK : read_environment(log, model, i);
}

// Where tools/get-clip-tokenizer puts CLIP's: for one user, for all, for a source tree.
static enum sdg_result read_fetched(const struct sdg_log *log, struct sdg_model *model, int i)
{
    const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    const bool xdg = data && *data;
    if (!model->no_environment && (xdg || (home && *home)))
        SDG_TRY(read_inside(log, NULL, model, i, xdg ? data : home,
                            xdg ? "sdgen/clip-tokenizer" : ".local/share/sdgen/clip-tokenizer"));
    char *installed = model->tokenizer[i].folder ? NULL : sdg_platform_data("clip-tokenizer");
    enum sdg_result result = installed ? sdg_tokenizer_files_read(log, NULL, installed, &model->tokenizer[i]) : SDG_OK;
    free(installed);
    set_padding(model, i);
    return result;
}

enum sdg_result sdg_find_file_tokenizer(const struct sdg_log *log, struct sdg_model *model, int i)
{
    if (model->tokenizer_path)
        return read_named(log, model->files, model, i, model->tokenizer_path, "the tokenizer's parameter");
    char *folder = sdg_path_folder(log, model->path);
    if (!folder)
        return SDG_ERROR_MEMORY;
    enum sdg_result result = read_around(log, model->files, model, i, folder);
    sdg_free(folder);
    if (result == SDG_OK && !model->tokenizer[i].folder)
        result = read_environment(log, model, i);
    if (result == SDG_OK && !model->tokenizer[i].folder)
        result = read_fetched(log, model, i);
    return result;
}

enum sdg_result sdg_model_check_tokenizers(const struct sdg_log *log, const struct sdg_model *model)
{
    for (int i = 0; i < model->text_encoders; i++) {
        if (model->tokenizer[i].folder)
            continue;
        if (model->single_file) {
            char *fetcher = sdg_platform_data("get-clip-tokenizer");
            sdg_fail(log, SDG_ERROR_INPUT,
                     "%s: a single file has no tokenizer inside; run '%s' once, which fetches CLIP's (1.5 MB), "
                     "or put its vocab.json and merges.txt beside the model",
                     model->path, fetcher ? fetcher : "tools/get-clip-tokenizer");
            free(fetcher);
            return SDG_ERROR_INPUT;
        }
        return sdg_fail(log, SDG_ERROR_INPUT,
                        "%s: has no usable tokenizer in its folder %s (tokenizer.json, or vocab.json and merges.txt); "
                        "fetch that folder of the model again, or name one in the environment variable "
                        "SDGEN_TOKENIZER",
                        model->path, i ? "tokenizer_2" : "tokenizer");
    }
    return SDG_OK;
}

void sdg_model_drop_tokenizers(struct sdg_model *model)
{
    for (int i = 0; i < 2; i++)
        sdg_tokenizer_files_clear(&model->tokenizer[i]);
}
