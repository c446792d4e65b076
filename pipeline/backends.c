#include "pipeline/backends.h"

#include "base/memory.h"
#include "formats/scheme.h"
#include "pipeline/parameter_names.h"
#include "pipeline/stages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void note_gpu(void *user, const struct sdg_device_info *info)
{
    if (strstr(info->type, "gpu"))
        *(bool *)user = true;
}

enum sdg_result sdg_backend_parse(const struct sdg_log *log, const char *name, const char *also,
                                  struct sdg_stage_backend *s)
{
    char legal[200];
    s->device = -1;
    if (strcmp(name, "auto") == 0) {
        bool gpu = false;
        sdg_backend_list(NULL, "vulkan", note_gpu, &gpu);
        name = gpu ? "vulkan" : "cpu";
    }
    if (strncmp(name, "vulkan", 6) == 0) { // "vulkan:1", or "vulkan1" as in stable-diffusion.cpp
        const char *number = name + 6 + (name[6] == ':');
        char *end;
        long device = strtol(number, &end, 10);
        if (number[0] >= '0' && number[0] <= '9' && *end == 0 && device < 64) {
            s->device = (int)device;
            name = "vulkan";
        }
    }
    if (strcmp(name, "cpu") == 0 || strcmp(name, "vulkan") == 0 || strcmp(name, "reference") == 0) {
        snprintf(s->name, sizeof s->name, "%s", name);
        return SDG_OK;
    }
    sdg_names_join(SDG_NAMES_BACKEND, legal, sizeof legal);
    return sdg_fail(log, SDG_ERROR_USAGE, "backend is '%s', should be one of: %s%s", name, legal, also);
}

enum sdg_result sdg_cache_dir_find(const struct sdg_log *log, const char *given, bool environment, char **out)
{
    char path[4096];
    const char *xdg = environment ? getenv("XDG_CACHE_HOME") : NULL, *home = environment ? getenv("HOME") : NULL;
    int n = sizeof path;
    *out = NULL;
    if (given && !*given)
        return SDG_OK;
    if (given)
        n = snprintf(path, sizeof path, "%s", given);
    else if (xdg && *xdg == '/') // the XDG specification: a relative one is to be ignored
        n = snprintf(path, sizeof path, "%s/sdgen", xdg);
    else if (home && *home)
        n = snprintf(path, sizeof path, "%s/.cache/sdgen", home);
    if (n >= (int)sizeof path)
        return SDG_OK; // no cache
    *out = sdg_strdup(log, path);
    return *out ? SDG_OK : SDG_ERROR_MEMORY;
}

static enum sdg_result parse_one(struct sdg_pipeline *p, const char *name, struct sdg_stage_backend *s)
{
    return sdg_backend_parse(&p->log, name, ", or te=NAME,unet=NAME,vae=NAME", s);
}

// The stage of this name, which may be one of stable-diffusion.cpp's; SDG_STAGE_COUNT for all that are not named;
// negative if there is none.
static int find_stage(const char *name)
{
    static const struct {
        const char *name;
        int stage;
    } aliases[] = {{"clip", SDG_STAGE_TEXT}, {"text", SDG_STAGE_TEXT}, {"diffusion", SDG_STAGE_UNET},
                   {"*", SDG_STAGE_COUNT},   {"all", SDG_STAGE_COUNT}, {"default", SDG_STAGE_COUNT}};
    for (int i = 0; i < SDG_STAGE_COUNT; i++)
        if (strcmp(name, sdg_stage_row((enum sdg_stage)i)->key) == 0)
            return i;
    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++)
        if (strcmp(name, aliases[i].name) == 0)
            return aliases[i].stage;
    return -1;
}

static enum sdg_result parse_stage(struct sdg_pipeline *p, char *item, char rest[static 32])
{
    char *equals = strchr(item, '=');
    if (!equals)
        return sdg_fail(&p->log, SDG_ERROR_USAGE,
                        "backend has '%s' among its stages, should be te=NAME, unet=NAME or vae=NAME", item);
    *equals = 0;
    const int stage = find_stage(item);
    if (stage < 0)
        return sdg_fail(&p->log, SDG_ERROR_USAGE, "backend names the stage '%s', should be te, unet, vae or all", item);
    if (stage < SDG_STAGE_COUNT ? p->stage[stage].name[0] : rest[0])
        return sdg_fail(&p->log, SDG_ERROR_USAGE, "backend names the stage '%s' twice", item);
    if (stage < SDG_STAGE_COUNT)
        return parse_one(p, equals + 1, &p->stage[stage]);
    struct sdg_stage_backend checked;
    SDG_TRY(parse_one(p, equals + 1, &checked));
    snprintf(rest, 32, "%.31s", equals + 1);
    return SDG_OK;
}

enum sdg_result sdg_backends_parse(struct sdg_pipeline *p, const char *text)
{
    if (!text)
        text = "auto";
    if (!strchr(text, '=')) {
        SDG_TRY(parse_one(p, text, &p->stage[0]));
        for (int i = 1; i < SDG_STAGE_COUNT; i++)
            p->stage[i] = p->stage[0];
        return SDG_OK;
    }
    char copy[256], rest[32] = "";
    if (strlen(text) >= sizeof copy)
        return sdg_fail(&p->log, SDG_ERROR_USAGE, "backend is too long, should be te=NAME,unet=NAME,vae=NAME");
    strcpy(copy, text);
    for (char *item = copy, *next; item; item = next) {
        next = strchr(item, ',');
        if (next)
            *next++ = 0;
        SDG_TRY(parse_stage(p, item, rest));
    }
    for (int i = 0; i < SDG_STAGE_COUNT; i++)
        if (!p->stage[i].name[0])
            SDG_TRY(parse_one(p, rest[0] ? rest : "auto", &p->stage[i]));
    return SDG_OK;
}

// What to compute in when nobody says: the file's own type; 8-bit floats, which nothing here computes in, fit into f16
// exactly.
static enum sdg_dtype file_type(const struct sdg_tensors *tensors, const char *name)
{
    const struct sdg_tensor *t = sdg_tensors_find(tensors, name);
    const enum sdg_dtype type = t ? t->dtype : SDG_F32;
    if (type == SDG_F8_E4M3 || type == SDG_F8_E5M2)
        return SDG_F16;
    return type == SDG_F16 || type == SDG_BF16 ? type : SDG_F32;
}

// The half-precision type of the device, whichever it has; f32 if none.
static enum sdg_dtype half_type(struct sdg_device_types has, enum sdg_dtype wanted)
{
    if (has.f16 && (wanted == SDG_F16 || !has.bf16))
        return SDG_F16;
    return has.bf16 ? SDG_BF16 : SDG_F32;
}

enum sdg_dtype sdg_default_type(enum sdg_dtype file, struct sdg_device_types has, bool large, bool integers)
{
    if (file == SDG_F32)
        return large && integers && has.bf16 ? SDG_BF16 : SDG_F32;
    const enum sdg_dtype half = half_type(has, file);
    return file == SDG_F16 && half == SDG_BF16 && !large ? SDG_F32 : half;
}

static const size_t LARGE_UNET = 100 * 1000 * 1000; // parameters

static size_t parameters(const struct sdg_tensors *tensors)
{
    size_t count = 0;
    for (size_t i = 0; i < sdg_tensors_count(tensors); i++) {
        const struct sdg_tensor *t = sdg_tensors_at(tensors, i);
        count += t->bytes / sdg_dtype_size(t->dtype);
    }
    return count;
}

// "cpu" where all stages are equal, else "te=cpu,unet=vulkan:1,vae=cpu".
static void join_stages(const char (*texts)[24], char *out, size_t size)
{
    bool equal = true;
    size_t used = 0;
    for (int i = 1; i < SDG_STAGE_COUNT; i++)
        equal = equal && strcmp(texts[i], texts[0]) == 0;
    if (equal)
        snprintf(out, size, "%s", texts[0]);
    for (int i = 0; i < SDG_STAGE_COUNT && !equal && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%s=%s", i ? "," : "",
                                 sdg_stage_row((enum sdg_stage)i)->key, texts[i]);
}

static void describe_stages(struct sdg_pipeline *p)
{
    char backends[SDG_STAGE_COUNT][24], types[SDG_STAGE_COUNT][24];
    for (int i = 0; i < SDG_STAGE_COUNT; i++) {
        const struct sdg_stage_backend *s = &p->stage[i];
        char device[8] = "";
        if (s->device >= 0 && s->device < 64)
            snprintf(device, sizeof device, ":%d", s->device);
        snprintf(backends[i], sizeof backends[i], "%s%s", s->name, device);
        snprintf(types[i], sizeof types[i], "%s", sdg_dtype_name(s->dtype));
    }
    join_stages((const char (*)[24])backends, p->backend_text, sizeof p->backend_text);
    join_stages((const char (*)[24])types, p->type_text, sizeof p->type_text);
}

// Values inside the autoencoder of Stable Diffusion XL go beyond what f16 holds, and diffusers' pipelines for it
// compute it in f32, whatever was asked for.
static bool vae_needs_f32(const struct sdg_pipeline *p)
{
    return p->model->text_encoders > 1 && p->model->vae_config.force_upcast;
}

enum sdg_result sdg_backends_choose_types(struct sdg_pipeline *p, const char *type)
{
    static const enum sdg_dtype dtypes[] = {SDG_F32, SDG_F16, SDG_BF16};
    const enum sdg_dtype files[SDG_STAGE_COUNT] = {
        file_type(p->model->text[0], "text_model.final_layer_norm.weight"),
        file_type(p->model->unet, "conv_in.weight"),
        file_type(p->model->vae, p->model->vae_config.tiny ? "decoder.layers.0.weight" : "decoder.conv_in.weight"),
    };
    const struct sdg_quantization_config *q = &p->model->unet_config.quantization;
    const bool large = parameters(p->model->unet) >= LARGE_UNET,
               integers = q->present && q->activation_bits < SDG_FLOAT_BITS;
    int index = 0;
    if (type)
        SDG_TRY(sdg_name_find(&p->log, SDG_NAMES_TYPE, "type", type, &index));
    for (int i = 0; i < SDG_STAGE_COUNT; i++) {
        SDG_TRY(sdg_stage_open(p, (enum sdg_stage)i));
        const struct sdg_device_types has = {sdg_backend_has_type(p->stage[i].backend, SDG_F16),
                                             sdg_backend_has_type(p->stage[i].backend, SDG_BF16)};
        const enum sdg_dtype wanted = dtypes[index];
        enum sdg_dtype chosen = !type ? sdg_default_type(files[i], has, large, integers && i == SDG_STAGE_UNET)
            : wanted == SDG_F32       ? SDG_F32
                                      : half_type(has, wanted);
        if (chosen == SDG_F16 && i == SDG_STAGE_VAE && vae_needs_f32(p))
            chosen = SDG_F32;
        p->stage[i].dtype = chosen;
        if (type && chosen != wanted && !(i == SDG_STAGE_VAE && vae_needs_f32(p)))
            sdg_say(&p->log, SDG_LOG_INFO, "%s computes in %s: its device (%s) does not compute in %s",
                    sdg_stage_row((enum sdg_stage)i)->network, sdg_dtype_name(chosen),
                    sdg_backend_info(p->stage[i].backend)->name, sdg_dtype_name(wanted));
    }
    describe_stages(p);
    return SDG_OK;
}
