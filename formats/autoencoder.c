// Autoencoders outside of diffusers folders: a file of their own, under one of three kinds of names, or the part of a
// checkpoint; and what a user names in place of a model's.
#include "base/json.h"
#include "base/memory.h"
#include "formats/infer_vae.h"
#include "formats/model_parts.h"

#include <stdio.h>
#include <stdlib.h>
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

// ---- AutoencoderKL ----

// One more than the highest number in "encoder.down.N." and "decoder.up.N.".
static int ldm_levels(const struct sdg_source *source, const char *prefix)
{
    int levels = 0;
    for (size_t i = 0; i < source->count; i++) {
        const char *name = source->tensors[i].name;
        int level;
        if (!starts(name, prefix))
            continue;
        name += strlen(prefix);
        if ((sscanf(name, "encoder.down.%2d.", &level) == 1 || sscanf(name, "decoder.up.%2d.", &level) == 1) &&
            level >= levels && level < SDG_MAX_LEVELS)
            levels = level + 1;
    }
    return levels;
}

static bool has_part(const struct sdg_source *source, const char *prefix, const char *name)
{
    char whole[SDG_NAME_ROOM];
    snprintf(whole, sizeof whole, "%s%s", prefix, name);
    return sdg_source_has_prefix(source, whole);
}

// Under the names of diffusers' folders, whichever version wrote them.
static enum sdg_result open_diffusers(const struct sdg_log *log, struct sdg_source *source, const char *prefix,
                                      struct sdg_tensors **out)
{
    struct sdg_tensors *view = NULL;
    SDG_TRY(sdg_tensors_new(log, source->path, &view));
    enum sdg_result result = sdg_tensors_use(log, view, source);
    for (size_t i = 0; result == SDG_OK && i < source->count; i++) {
        const char *name = source->tensors[i].name;
        char canonical[SDG_NAME_ROOM];
        if (starts(name, prefix) && sdg_name_canonical(SDG_PART_VAE, name + strlen(prefix), canonical))
            result = sdg_add_canonical(log, view, SDG_PART_VAE, &source->tensors[i], canonical);
    }
    return sdg_finish_inferred(log, result, view, out);
}

static enum sdg_result open_kl(const struct sdg_log *log, struct sdg_source *source, const char *prefix,
                               struct sdg_vae_config *config, struct sdg_tensors **out)
{
    const struct sdg_ldm_layout layout = {.vae_levels = ldm_levels(source, prefix)};
    struct sdg_tensors *view = NULL;
    if (has_part(source, prefix, "decoder.up_blocks.") || has_part(source, prefix, "encoder.down_blocks."))
        SDG_TRY(open_diffusers(log, source, prefix, &view));
    else
        SDG_TRY(sdg_ldm_open(log, source, SDG_PART_VAE, prefix, &layout, &view));
    const enum sdg_result result = sdg_infer_vae(log, view, config);
    if (result != SDG_OK)
        sdg_tensors_destroy(&view);
    *out = view;
    return result;
}

enum sdg_result sdg_autoencoder_of_checkpoint(const struct sdg_log *log, struct sdg_source *source,
                                              struct sdg_vae_config *config, struct sdg_tensors **out)
{
    const char *const prefix = sdg_ldm_prefix(SDG_PART_VAE);
    *out = NULL;
    if (!sdg_source_has_prefix(source, prefix))
        return SDG_OK;
    return open_kl(log, source, prefix, config, out);
}

// ---- AutoencoderTiny ----
// Its author numbers all modules of a torch.nn.Sequential: "1.weight", "3.conv.0.bias", where the decoder's module 0 is
// the clamp that diffusers' numbers leave out. Both halves have a file of their own, or a prefix.

static const char *const sides[] = {"encoder", "decoder"};

// The name in diffusers' folders; false for names of another kind. `bare` is the side of names without one.
static bool tiny_name(const char *name, const char *bare, char to[static SDG_NAME_ROOM])
{
    const char *side = bare;
    char *rest;
    if (starts(name, "taesd_"))
        name += strlen("taesd_");
    for (int i = 0; i < 2; i++)
        if (starts(name, sides[i]) && name[strlen(sides[i])] == '.') {
            side = sides[i];
            name += strlen(side) + 1;
            break;
        }
    const bool diffusers = starts(name, "layers.");
    if (diffusers)
        name += strlen("layers.");
    if (*name < '0' || *name > '9')
        return false;
    long number = strtol(name, &rest, 10);
    if (*rest != '.' || number > 999)
        return false;
    if (!diffusers && strcmp(side, "decoder") == 0)
        number--;
    return number >= 0 && snprintf(to, SDG_NAME_ROOM, "%s.layers.%ld%s", side, number, rest) < SDG_NAME_ROOM;
}

// Names without a side: the encoder begins with a convolution, the decoder with a clamp.
static const char *bare_side(const struct sdg_source *source)
{
    return sides[sdg_source_find(source, "0.weight") ? 0 : 1];
}

static bool has_tiny_side(const struct sdg_source *source, const char *side)
{
    char first[64], name[SDG_NAME_ROOM];
    snprintf(first, sizeof first, "%s.layers.0.weight", side);
    for (size_t i = 0; i < source->count; i++)
        if (source->tensors[i].rank == 4 && tiny_name(source->tensors[i].name, bare_side(source), name) &&
            strcmp(name, first) == 0)
            return true;
    return false;
}

static bool is_tiny(const struct sdg_source *source)
{
    return has_tiny_side(source, "encoder") || has_tiny_side(source, "decoder");
}

static enum sdg_result add_tiny(const struct sdg_log *log, struct sdg_tensors *view, struct sdg_source *source)
{
    char name[SDG_NAME_ROOM];
    SDG_TRY(sdg_tensors_use(log, view, source));
    for (size_t i = 0; i < source->count; i++) {
        const struct sdg_tensor *t = &source->tensors[i];
        if (tiny_name(t->name, bare_side(source), name))
            SDG_TRY(sdg_tensors_add(log, view, t, name));
        else
            SDG_TRY(sdg_tensors_add_unplaced(log, view, t->name, 0, false));
    }
    return SDG_OK;
}

// The path of the other half's file: the last `from` of the name replaced. NULL with SDG_OK if there is none.
static enum sdg_result other_half(const struct sdg_log *log, const struct sdg_files *files, const char *path,
                                  const char *from, const char *to, char **out)
{
    const char *at = NULL;
    *out = NULL;
    for (const char *next = sdg_path_name(path); (next = strstr(next, from)); next++)
        at = next;
    if (!at)
        return SDG_OK;
    const size_t size = strlen(path) + strlen(to) + 1;
    char *other = sdg_alloc(log, size, 1, "a path");
    if (!other)
        return SDG_ERROR_MEMORY;
    snprintf(other, size, "%.*s%s%s", (int)(at - path), path, to, at + strlen(from));
    if (sdg_files_kind(files, other) == SDG_PATH_FILE)
        *out = other;
    else
        sdg_free(other);
    return SDG_OK;
}

// The other half of a tiny autoencoder in two files, where there is one beside `source`.
static enum sdg_result add_other_half(const struct sdg_log *log, const struct sdg_files *files,
                                      struct sdg_tensors *view, const struct sdg_source *source)
{
    const bool decoder = has_tiny_side(source, "decoder");
    struct sdg_source *other = NULL;
    char *path;
    if (decoder && has_tiny_side(source, "encoder"))
        return SDG_OK;
    SDG_TRY(other_half(log, files, source->path, sides[decoder], sides[!decoder], &path));
    if (!path)
        return SDG_OK;
    enum sdg_result result = sdg_check_file_kind(log, files, path);
    if (result == SDG_OK)
        result = sdg_source_open(log, files, path, &other);
    if (result == SDG_OK && has_tiny_side(other, sides[!decoder]) && !has_tiny_side(other, sides[decoder]))
        result = add_tiny(log, view, other);
    if (other)
        sdg_source_drop(&other); // the view holds it
    sdg_free(path);
    return result;
}

static enum sdg_result open_tiny(const struct sdg_log *log, const struct sdg_files *files, struct sdg_source *source,
                                 struct sdg_vae_config *config, struct sdg_tensors **out)
{
    struct sdg_tensors *view = NULL;
    SDG_TRY(sdg_tensors_new(log, source->path, &view));
    enum sdg_result result = add_tiny(log, view, source);
    if (result == SDG_OK)
        result = add_other_half(log, files, view, source);
    SDG_TRY(sdg_finish_inferred(log, result, view, &view));
    result = sdg_infer_tiny_vae(log, view, config);
    if (result != SDG_OK)
        sdg_tensors_destroy(&view);
    *out = view;
    return result;
}

// ---- a config.json beside the file ----

static bool same_network(const struct sdg_vae_config *a, const struct sdg_vae_config *b)
{
    bool same = a->tiny == b->tiny && a->latent_channels == b->latent_channels && a->levels == b->levels &&
        a->layers_per_block == b->layers_per_block && a->out_channels == b->out_channels;
    for (int i = 0; same && i < a->levels; i++)
        same = a->channels[i] == b->channels[i] && a->decoder_channels[i] == b->decoder_channels[i];
    return same;
}

// config.json of any model may lie beside a file; only an autoencoder's own says more than its tensors.
static enum sdg_result is_autoencoders(const struct sdg_log *log, const char *path, const char *text, bool *is)
{
    struct sdg_json json;
    const char *name;
    SDG_TRY(sdg_json_parse(log, path, text, &json));
    const enum sdg_result result = sdg_json_string(&json, "_class_name", "", &name);
    *is = result == SDG_OK && (strcmp(name, "AutoencoderKL") == 0 || strcmp(name, "AutoencoderTiny") == 0);
    sdg_json_free(&json);
    return result;
}

static enum sdg_result apply_config(const struct sdg_log *log, const char *path, const char *text, bool *found,
                                    struct sdg_vae_config *config)
{
    struct sdg_vae_config read = {0};
    bool is = false;
    SDG_TRY(is_autoencoders(log, path, text, &is));
    if (!is)
        return SDG_OK;
    SDG_TRY(sdg_vae_config_parse(log, path, text, &read));
    if (!same_network(&read, config)) {
        sdg_say(log, SDG_LOG_WARNING, "%s: describes another autoencoder than the file beside it, and is not used",
                path);
        return SDG_OK;
    }
    read.decoder_only = config->decoder_only;
    *config = read;
    *found = true;
    return SDG_OK;
}

static enum sdg_result config_beside(const struct sdg_log *log, const struct sdg_files *files, const char *file,
                                     bool *found, struct sdg_vae_config *config)
{
    char *folder = sdg_path_folder(log, file), *path = folder ? sdg_path_join(log, folder, "config.json") : NULL,
         *text = NULL;
    enum sdg_result result = path ? SDG_OK : SDG_ERROR_MEMORY;
    if (path && sdg_files_kind(files, path) == SDG_PATH_FILE) {
        result = sdg_files_text(log, files, path, SDG_JSON_FILE_LIMIT, &text);
        if (result == SDG_OK)
            result = apply_config(log, path, text, found, config);
    }
    sdg_free(text);
    sdg_free(path);
    sdg_free(folder);
    return result;
}

// ---- what a user names ----

// `prefix` of an autoencoder's tensors in a file; NULL if it has none.
static const char *find_prefix(const struct sdg_source *source)
{
    const char *const prefixes[] = {sdg_ldm_prefix(SDG_PART_VAE), "vae.", ""};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        if (has_part(source, prefixes[i], "decoder.conv_in.") || has_part(source, prefixes[i], "encoder.conv_in.") ||
            has_part(source, prefixes[i], "decoder.conv_out."))
            return prefixes[i];
    return NULL;
}

static enum sdg_result open_source(const struct sdg_log *log, const struct sdg_files *files, struct sdg_source *source,
                                   const struct sdg_vae_config *own, struct sdg_vae_config *config,
                                   struct sdg_tensors **out)
{
    const char *const prefix = find_prefix(source);
    bool found = false;
    if (is_tiny(source))
        SDG_TRY(open_tiny(log, files, source, config, out));
    else if (prefix)
        SDG_TRY(open_kl(log, source, prefix, config, out));
    else
        return sdg_kinds_no_autoencoder(log, source);
    const enum sdg_result result = config_beside(log, files, source->path, &found, config);
    if (result != SDG_OK)
        sdg_tensors_destroy(out);
    else if (!found && !config->tiny) {
        config->scaling_factor = own->scaling_factor;
        config->force_upcast = own->force_upcast;
    }
    return result;
}

static enum sdg_result open_file(const struct sdg_log *log, const struct sdg_files *files, const char *path,
                                 const struct sdg_vae_config *own, struct sdg_vae_config *config,
                                 struct sdg_tensors **out)
{
    struct sdg_source *source;
    SDG_TRY(sdg_check_file_kind(log, files, path));
    SDG_TRY(sdg_source_open(log, files, path, &source));
    const enum sdg_result result = open_source(log, files, source, own, config, out);
    sdg_source_drop(&source); // the view holds it
    return result;
}

static enum sdg_result open_folder(const struct sdg_log *log, const struct sdg_files *files, const char *folder,
                                   struct sdg_vae_config *config, struct sdg_tensors **out)
{
    char *path, *text;
    SDG_TRY(sdg_folder_config(log, files, folder, &path, &text));
    enum sdg_result result = sdg_vae_config_parse(log, path, text, config);
    sdg_free(text);
    sdg_free(path);
    if (result == SDG_OK)
        result = sdg_folder_weights(log, files, folder, SDG_PART_VAE, out);
    if (result == SDG_OK)
        config->decoder_only = !sdg_vae_has_side(*out, "encoder.");
    return result;
}

// The files in a folder without a configuration: the only one is meant, and of two halves the decoder.
struct files {
    const struct sdg_log *log;
    int count, decoders;
    char *first, *decoder;
};

static enum sdg_result add_file(void *user, const char *name)
{
    struct files *f = user;
    if (!ends(name, ".safetensors"))
        return SDG_OK;
    if (!f->first && !(f->first = sdg_strdup(f->log, name)))
        return SDG_ERROR_MEMORY;
    f->count++;
    if (!strstr(name, sides[1]))
        return SDG_OK;
    if (!f->decoder && !(f->decoder = sdg_strdup(f->log, name)))
        return SDG_ERROR_MEMORY;
    f->decoders++;
    return SDG_OK;
}

static enum sdg_result only_file(const struct sdg_log *log, const struct sdg_files *files, const char *folder,
                                 char **out)
{
    struct files f = {.log = log};
    enum sdg_result result = sdg_files_list(log, files, folder, add_file, &f);
    const char *name = f.count == 1 ? f.first : f.count == 2 && f.decoders == 1 ? f.decoder : NULL;
    if (result == SDG_OK && !f.count)
        result = sdg_fail(log, SDG_ERROR_INPUT,
                          "%s: no autoencoder is in this folder: neither config.json nor vae/config.json nor a "
                          "safetensors file",
                          folder);
    else if (result == SDG_OK && !name)
        result = sdg_fail(log, SDG_ERROR_INPUT,
                          "%s: has no config.json, and %d safetensors files: name one of them, such as %s", folder,
                          f.count, f.first);
    *out = result == SDG_OK ? sdg_path_join(log, folder, name) : NULL;
    sdg_free(f.first);
    sdg_free(f.decoder);
    return result != SDG_OK || *out ? result : SDG_ERROR_MEMORY;
}

// What is meant by a folder: itself, the autoencoder in a whole model, or a file in it.
static enum sdg_result find_in_folder(const struct sdg_log *log, const struct sdg_files *files, const char *folder,
                                      char **out)
{
    char *config = sdg_path_join(log, folder, "config.json"), *inner = sdg_path_join(log, folder, "vae");
    char *index = sdg_path_join(log, folder, "model_index.json");
    enum sdg_result result = config && inner && index ? SDG_OK : SDG_ERROR_MEMORY;
    *out = NULL;
    if (result == SDG_OK &&
        (sdg_files_kind(files, config) == SDG_PATH_MISSING || sdg_files_kind(files, index) != SDG_PATH_MISSING) &&
        sdg_files_kind(files, inner) == SDG_PATH_FOLDER) {
        *out = inner;
        inner = NULL;
    } else if (result == SDG_OK &&
               (sdg_files_kind(files, config) != SDG_PATH_MISSING || sdg_files_is_dangling(files, config))) {
        *out = sdg_strdup(log, folder);
        result = *out ? SDG_OK : SDG_ERROR_MEMORY;
    } else if (result == SDG_OK) {
        result = only_file(log, files, folder, out);
    }
    sdg_free(index);
    sdg_free(inner);
    sdg_free(config);
    return result;
}

// Of a model folder that holds only what differs from its bases.
static enum sdg_result open_layers(const struct sdg_log *log, const struct sdg_model *model,
                                   struct sdg_vae_config *config, struct sdg_tensors **out)
{
    char *folder, *path, *text;
    SDG_TRY(sdg_folder_component(log, model, "vae", &folder));
    enum sdg_result result = sdg_folder_config(log, model->files, folder, &path, &text);
    sdg_free(folder);
    if (result != SDG_OK)
        return result;
    result = sdg_vae_config_parse(log, path, text, config);
    sdg_free(text);
    sdg_free(path);
    if (result == SDG_OK)
        result = sdg_folder_part(log, model, "vae", SDG_PART_VAE, out);
    if (result == SDG_OK)
        config->decoder_only = !sdg_vae_has_side(*out, "encoder.");
    return result;
}

// *model is NULL for a folder that is complete, or none of a model.
static enum sdg_result open_bases(const struct sdg_log *log, const struct sdg_files *files, const char *folder,
                                  struct sdg_model **model)
{
    struct sdg_model *m = sdg_alloc(log, 1, sizeof *m, "a model");
    if (!m)
        return SDG_ERROR_MEMORY;
    m->files = files;
    m->path = sdg_strdup(log, folder);
    const enum sdg_result result = m->path ? sdg_folder_bases(log, m) : SDG_ERROR_MEMORY;
    if (result != SDG_OK || !m->base_count)
        sdg_model_close(&m);
    *model = m;
    return result;
}

enum sdg_result sdg_autoencoder_open(const struct sdg_log *log, const struct sdg_files *files, const char *path,
                                     const struct sdg_vae_config *own, struct sdg_vae_config *config,
                                     struct sdg_tensors **out)
{
    char *resolved = NULL, *place = NULL;
    if (sdg_files_kind(files, path) == SDG_PATH_MISSING && !sdg_files_is_dangling(files, path))
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: there is no such autoencoder file or folder", path);
    if (sdg_files_kind(files, path) != SDG_PATH_FOLDER)
        return open_file(log, files, path, own, config, out);
    struct sdg_model *layers = NULL;
    enum sdg_result result = sdg_hub_resolve(log, files, path, &resolved);
    if (result == SDG_OK)
        result = open_bases(log, files, resolved, &layers);
    if (result == SDG_OK && !layers)
        result = find_in_folder(log, files, resolved, &place);
    if (result == SDG_OK)
        result = layers                                       ? open_layers(log, layers, config, out)
            : sdg_files_kind(files, place) == SDG_PATH_FOLDER ? open_folder(log, files, place, config, out)
                                                              : open_file(log, files, place, own, config, out);
    sdg_model_close(&layers);
    sdg_free(place);
    sdg_free(resolved);
    return result;
}
