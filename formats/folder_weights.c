// The weights of one component of a diffusers folder: a file, or several with a list of what is where.
#include "base/json.h"
#include "base/memory.h"
#include "formats/model_parts.h"

#include <stdio.h>
#include <string.h>

static bool starts(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

static bool ends(const char *text, const char *with)
{
    const size_t a = strlen(text), b = strlen(with);
    return a >= b && strcmp(text + a - b, with) == 0;
}

static enum sdg_result add_source(const struct sdg_log *log, const struct sdg_files *files, struct sdg_tensors *view,
                                  const char *path, enum sdg_part part)
{
    struct sdg_source *source;
    SDG_TRY(sdg_check_file_kind(log, files, path));
    SDG_TRY(sdg_source_open(log, files, path, &source));
    enum sdg_result result = sdg_tensors_use(log, view, source);
    for (size_t i = 0; result == SDG_OK && i < source->count; i++) {
        char name[SDG_NAME_ROOM];
        if (sdg_name_canonical(part, source->tensors[i].name, name))
            result = sdg_add_canonical(log, view, part, &source->tensors[i], name);
    }
    sdg_source_drop(&source);
    return result;
}

// The file of one entry of the weight map, unless an earlier entry has brought it in.
static enum sdg_result add_shard(const struct sdg_log *log, const struct sdg_files *files, struct sdg_tensors *view,
                                 const char *folder, const char *index, const cJSON *entry, enum sdg_part part)
{
    if (!cJSON_IsString(entry) || !*entry->valuestring || strchr(entry->valuestring, '/'))
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: weight_map should give a file name for %s", index, entry->string);
    char *path = sdg_path_join(log, folder, entry->valuestring);
    if (!path)
        return SDG_ERROR_MEMORY;
    enum sdg_result result = sdg_tensors_uses(view, path) ? SDG_OK : add_source(log, files, view, path, part);
    sdg_free(path);
    return result;
}

static enum sdg_result add_shards(const struct sdg_log *log, const struct sdg_files *files, struct sdg_tensors *view,
                                  const char *folder, const char *index, enum sdg_part part)
{
    char *text;
    struct sdg_json json;
    SDG_TRY(sdg_files_text(log, files, index, SDG_JSON_FILE_LIMIT, &text));
    enum sdg_result result = sdg_json_parse(log, index, text, &json);
    sdg_free(text);
    if (result != SDG_OK)
        return result;
    const cJSON *map = sdg_json_get(&json, "weight_map"), *entry;
    if (!cJSON_IsObject(map))
        result = sdg_fail(log, SDG_ERROR_INPUT, "%s: has no object weight_map", index);
    else
        for (entry = map->child; result == SDG_OK && entry; entry = entry->next)
            result = add_shard(log, files, view, folder, index, entry, part);
    sdg_json_free(&json);
    return result;
}

// The names under which diffusers and transformers save weights, NAME.safetensors; the first that exists is taken.
static const char *const names[] = {"diffusion_pytorch_model", "model"}; // unet and vae; text encoders
static const char *const endings[] = {".safetensors", ".fp16.safetensors", ".safetensors.index.json",
                                      ".safetensors.index.fp16.json"};

// What lies in a component's folder that has none of these.
struct present {
    const struct sdg_log *log;
    const char *name;     // of `names`
    bool any_name;        // every safetensors file counts as a variant
    char *variant;        // NAME.VARIANT.safetensors or its list of shards
    int variants, unread; // how many of each
    char listed[200];     // names of variants, and of other files with weights
};

static void list(struct present *p, const char *name)
{
    const size_t used = strlen(p->listed);
    snprintf(p->listed + used, sizeof p->listed - used, "%s%s", used ? ", " : "", name);
}

// NAME.VARIANT.safetensors, but no shard; NAME.safetensors.index.VARIANT.json.
static bool is_variant(const struct present *p, const char *file)
{
    if (p->any_name && ends(file, ".safetensors"))
        return true;
    if (!starts(file, p->name) || file[strlen(p->name)] != '.')
        return false;
    const char *rest = file + strlen(p->name);
    return (ends(rest, ".safetensors") && !strstr(rest, "-of-")) ||
        (starts(rest, ".safetensors.index.") && ends(rest, ".json"));
}

static bool holds_weights(const char *file)
{
    static const char *const kinds[] = {".safetensors", ".bin",  ".ckpt", ".pt", ".pth",
                                        ".msgpack",     ".onnx", ".gguf", ".h5", ".index.json"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (ends(file, kinds[i]))
            return true;
    return false;
}

static enum sdg_result add_present(void *user, const char *file)
{
    struct present *p = user;
    if (is_variant(p, file)) {
        list(p, file);
        p->variants++;
        sdg_free(p->variant);
        p->variant = sdg_strdup(p->log, file);
        return p->variant ? SDG_OK : SDG_ERROR_MEMORY;
    }
    if (holds_weights(file)) {
        list(p, file);
        p->unread++;
    }
    return SDG_OK;
}

static enum sdg_result no_weights(const struct sdg_log *log, const char *folder, const struct present *p)
{
    if (p->variants && p->any_name)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: one safetensors file should hold the differences, but there are %s",
                        folder, p->listed);
    if (p->variants)
        return sdg_fail(log, SDG_ERROR_INPUT,
                        "%s: has no %s.safetensors, but several variants: %s; give the wanted one that name", folder,
                        p->name, p->listed);
    if (!p->unread)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: has no weights, %s.safetensors is missing", folder, p->name);
    if (strstr(p->listed, ".bin") || strstr(p->listed, ".ckpt") || strstr(p->listed, ".pt"))
        return sdg_fail(log, SDG_ERROR_UNSUPPORTED,
                        "%s: has no %s.safetensors, only %s: Python pickles can run code and are not read; use a "
                        "safetensors version, or save the model with safe_serialization=True",
                        folder, p->name, p->listed);
    return sdg_fail(log, SDG_ERROR_INPUT,
                    "%s: has no %s.safetensors, only %s; give the wanted safetensors file that name", folder, p->name,
                    p->listed);
}

// Where the usual names are missing: the only variant there is. Of differences it may have any name; *out stays NULL
// where there are none.
static enum sdg_result find_variant(const struct sdg_log *log, const struct sdg_files *files, const char *folder,
                                    const char *name, bool differences, char **out)
{
    struct present p = {.log = log, .name = name, .any_name = differences};
    *out = NULL;
    if (sdg_files_kind(files, folder) != SDG_PATH_FOLDER)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: there is no such folder, but a model needs it", folder);
    enum sdg_result result = sdg_files_list(log, files, folder, add_present, &p);
    if (result == SDG_OK && differences && !p.variants && !p.unread)
        return SDG_OK;
    if (result == SDG_OK && p.variants != 1)
        result = no_weights(log, folder, &p);
    if (result == SDG_OK) {
        *out = sdg_path_join(log, folder, p.variant);
        result = *out ? SDG_OK : SDG_ERROR_MEMORY;
    }
    if (result == SDG_OK && !differences)
        sdg_say(log, SDG_LOG_INFO, "%s: the only weights there, taken", *out);
    sdg_free(p.variant);
    return result;
}

static enum sdg_result find_weights(const struct sdg_log *log, const struct sdg_files *files, const char *folder,
                                    const char *name, bool differences, char **out)
{
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        char file[64];
        snprintf(file, sizeof file, "%s%s", name, endings[i]);
        char *path = sdg_path_join(log, folder, file);
        if (!path)
            return SDG_ERROR_MEMORY;
        if (sdg_files_kind(files, path) != SDG_PATH_MISSING || sdg_files_is_dangling(files, path)) {
            *out = path;
            return SDG_OK;
        }
        sdg_free(path);
    }
    return find_variant(log, files, folder, name, differences, out);
}

static enum sdg_result fill_view(const struct sdg_log *log, const struct sdg_files *files, struct sdg_tensors *view,
                                 const char *folder, const char *path, enum sdg_part part)
{
    const bool sharded = strstr(sdg_path_name(path), ".index.") != NULL;
    return sharded ? add_shards(log, files, view, folder, path, part) : add_source(log, files, view, path, part);
}

static enum sdg_result open_weights(const struct sdg_log *log, const struct sdg_files *files, const char *folder,
                                    enum sdg_part part, bool differences, struct sdg_tensors **out)
{
    struct sdg_tensors *view = NULL;
    char *path;
    *out = NULL;
    SDG_TRY(find_weights(log, files, folder, names[part == SDG_PART_TEXT], differences, &path));
    if (!path)
        return SDG_OK;
    enum sdg_result result = sdg_tensors_new(log, folder, &view);
    if (result == SDG_OK)
        result = fill_view(log, files, view, folder, path, part);
    if (result == SDG_OK)
        result = sdg_tensors_finish(log, view);
    sdg_free(path);
    if (result != SDG_OK)
        sdg_tensors_destroy(&view);
    *out = view;
    return result;
}

enum sdg_result sdg_folder_weights(const struct sdg_log *log, const struct sdg_files *files, const char *folder,
                                   enum sdg_part part, struct sdg_tensors **out)
{
    return open_weights(log, files, folder, part, false, out);
}

enum sdg_result sdg_folder_differences(const struct sdg_log *log, const struct sdg_files *files, const char *folder,
                                       enum sdg_part part, struct sdg_tensors **out)
{
    return open_weights(log, files, folder, part, true, out);
}
