// A field of an option or an info is a row here, a member of its struct and a field of its class.
#include "jni_options.h"

#include <stddef.h>
#include <stdio.h>

#define ROW(type, name, kind, member) {name, JNI_FIELD_##kind, offsetof(struct type, member), 0}
#define ARRAY(type, name, kind, member, count) \
    {name, JNI_FIELD_##kind, offsetof(struct type, member), offsetof(struct type, count)}

// ---- options ----

#define ENGINE(name, kind, member) ROW(sdg_engine_params, name, kind, member)
static const struct jni_field engine_options[] = {
    ENGINE("threads", INT, threads),
    ENGINE("cores", TEXT, cores),
    ENGINE("cpuMask", TEXT, cpu_mask),
    ENGINE("disable", TEXT, disable),
    ENGINE("validation", BOOL, validation),
    ENGINE("cacheDir", TEXT, cache_dir),
    ENGINE("submitTime", NUMBER, submit_time),
    ENGINE("maxMemory", DOUBLE, max_memory),
    ENGINE("noEnvironment", BOOL, no_environment),
};

#define PIPELINE(name, kind, member) ROW(sdg_pipeline_params, name, kind, member)
static const struct jni_field pipeline_options[] = {
    PIPELINE("model", TEXT, model),
    PIPELINE("vae", TEXT, vae),
    PIPELINE("tokenizer", TEXT, tokenizer),
    PIPELINE("backend", TEXT, backend),
    PIPELINE("type", TEXT, type),
    PIPELINE("threads", INT, threads),
    PIPELINE("maxMemory", DOUBLE, max_memory),
    PIPELINE("keep", INT, keep),
    PIPELINE("noMmap", BOOL, no_mmap),
    PIPELINE("validation", BOOL, validation),
    PIPELINE("disable", TEXT, disable),
    PIPELINE("cpuMask", TEXT, cpu_mask),
    PIPELINE("cacheDir", TEXT, cache_dir),
    PIPELINE("submitTime", NUMBER, submit_time),
    PIPELINE("vaeTiling", TEXT, vae_tiling),
    PIPELINE("vaeTileSize", INT, vae_tile_size),
    PIPELINE("vaeTileOverlap", NUMBER, vae_tile_overlap),
    PIPELINE("prediction", TEXT, prediction),
    PIPELINE("noCorrection", BOOL, no_correction),
    PIPELINE("intervals", TEXT, intervals),
    PIPELINE("logLevel", INT, log.level),
};

#define GENERATE(name, kind, member) ROW(sdg_generate_params, name, kind, member)
static const struct jni_field generate_options[] = {
    GENERATE("prompt", TEXT, prompt),
    GENERATE("negativePrompt", TEXT, negative_prompt),
    GENERATE("plainPrompt", BOOL, plain_prompt),
    GENERATE("width", INT, width),
    GENERATE("height", INT, height),
    GENERATE("steps", INT, steps),
    GENERATE("cfgScale", NUMBER, cfg_scale),
    GENERATE("sampler", TEXT, sampler),
    GENERATE("schedule", TEXT, schedule),
    GENERATE("eta", NUMBER, eta),
    ARRAY(sdg_generate_params, "sigmas", DOUBLES, sigmas, sigma_count),
    GENERATE("seed", LONG, seed),
    GENERATE("rng", TEXT, rng),
    GENERATE("samplerRng", TEXT, sampler_rng),
    GENERATE("clipSkip", INT, clip_skip),
    GENERATE("strength", NUMBER, strength),
    ARRAY(sdg_generate_params, "mask", BYTES, mask, mask_count),
    ARRAY(sdg_generate_params, "noise", FLOATS, noise, noise_count),
    ARRAY(sdg_generate_params, "initLatent", FLOATS, init_latent, init_latent_count),
    GENERATE("batch", INT, batch),
    GENERATE("previewKind", INT, preview.kind),
    GENERATE("previewInterval", INT, preview.interval),
};

bool jni_read_engine_options(JNIEnv *env, struct jni_arena *arena, jobject options, struct sdg_engine_params *out)
{
    *out = (struct sdg_engine_params){0};
    return jni_read_fields(env, arena, options, JNI_FIELDS(engine_options), out);
}

// ---- a model's files ----

// The number in a java.io.FileDescriptor, which OpenJDK and Android call differently.
static bool read_descriptor(JNIEnv *env, jobject descriptor, int *fd)
{
    if (jni_int_field(env, descriptor, "fd", fd))
        return true;
    (*env)->ExceptionClear(env);
    return jni_int_field(env, descriptor, "descriptor", fd);
}

static bool read_copied(JNIEnv *env, struct jni_arena *arena, jbyteArray bytes, const void **data)
{
    const jsize length = (*env)->GetArrayLength(env, bytes);
    void *copy = jni_arena_alloc(env, arena, (size_t)length, 1);
    if (copy)
        (*env)->GetByteArrayRegion(env, bytes, 0, length, copy);
    *data = copy;
    return copy != NULL;
}

// Where the bytes are: what of a ModelFile is not null says its kind.
static bool read_place(JNIEnv *env, struct jni_arena *arena, jobject file, struct sdg_file *out)
{
    jobject descriptor = NULL, kept = NULL, copied = NULL;
    if (!jni_object_field(env, file, "descriptor", "Ljava/io/FileDescriptor;", &descriptor) ||
        !jni_object_field(env, file, "kept", "Ljava/nio/ByteBuffer;", &kept) ||
        !jni_object_field(env, file, "copied", "[B", &copied))
        return false;
    bool ok = true;
    if (out->path) {
        out->kind = SDG_FILE_PATH;
    } else if (kept) {
        out->kind = SDG_FILE_KEPT;
        out->data = (*env)->GetDirectBufferAddress(env, kept);
    } else if (copied) {
        out->kind = SDG_FILE_COPIED;
        ok = read_copied(env, arena, copied, &out->data);
    } else {
        out->kind = SDG_FILE_PART;
        ok = descriptor ? read_descriptor(env, descriptor, &out->fd) : jni_int_field(env, file, "fd", &out->fd);
    }
    (*env)->DeleteLocalRef(env, descriptor);
    (*env)->DeleteLocalRef(env, kept);
    (*env)->DeleteLocalRef(env, copied);
    return ok;
}

static const struct jni_field file_fields[] = {
    ROW(sdg_file, "name", TEXT, name),
    ROW(sdg_file, "path", TEXT, path),
    ROW(sdg_file, "offset", LONG, offset),
    ROW(sdg_file, "length", LONG, length),
};

static bool read_files(JNIEnv *env, struct jni_arena *arena, jobjectArray files, struct sdg_pipeline_params *out)
{
    const jsize count = (*env)->GetArrayLength(env, files);
    struct sdg_file *list = jni_arena_alloc(env, arena, (size_t)count, sizeof *list);
    if (!list)
        return false;
    for (jsize i = 0; i < count; i++) {
        jobject file = (*env)->GetObjectArrayElement(env, files, i);
        if (!file) {
            char line[64];
            snprintf(line, sizeof line, "files[%d] is null", (int)i);
            jni_throw(env, SDG_ERROR_USAGE, line);
            return false;
        }
        const bool ok = jni_read_fields(env, arena, file, JNI_FIELDS(file_fields), &list[i]) &&
            read_place(env, arena, file, &list[i]);
        (*env)->DeleteLocalRef(env, file);
        if (!ok)
            return false;
    }
    out->files = list;
    out->file_count = (size_t)count;
    return true;
}

bool jni_read_pipeline_options(JNIEnv *env, struct jni_arena *arena, jobject options, jobjectArray files,
                               struct sdg_pipeline_params *out)
{
    *out = (struct sdg_pipeline_params){0};
    return jni_read_fields(env, arena, options, JNI_FIELDS(pipeline_options), out) &&
        (!files || read_files(env, arena, files, out));
}

// ---- a picture to begin with ----

// int 0xAARRGGBB [height][width] -> RGB. The array has the right length, see GenerateOptions.
static bool read_init_image(JNIEnv *env, struct jni_arena *arena, jobject options, struct sdg_generate_params *out)
{
    jobject array = NULL;
    int width, height;
    if (!jni_object_field(env, options, "initImage", "[I", &array) || !array)
        return !(*env)->ExceptionCheck(env);
    if (!jni_int_field(env, options, "initWidth", &width) || !jni_int_field(env, options, "initHeight", &height))
        return false;
    const jsize count = (*env)->GetArrayLength(env, array);
    struct sdg_image *image = jni_arena_alloc(env, arena, 1, sizeof *image);
    uint8_t *pixels = image ? jni_arena_alloc(env, arena, (size_t)count, 3) : NULL;
    jint *argb = pixels ? jni_arena_alloc(env, arena, (size_t)count, sizeof *argb) : NULL;
    if (argb) {
        (*env)->GetIntArrayRegion(env, array, 0, count, argb);
        for (jsize i = 0; i < count; i++)
            for (int c = 0; c < 3; c++)
                pixels[3 * (size_t)i + (size_t)c] = (uint8_t)((uint32_t)argb[i] >> (16 - 8 * c));
        *image = (struct sdg_image){width, height, pixels};
        out->init_image = image;
    }
    (*env)->DeleteLocalRef(env, array);
    return argb != NULL;
}

bool jni_read_generate_options(JNIEnv *env, struct jni_arena *arena, jobject options, struct sdg_generate_params *out)
{
    *out = (struct sdg_generate_params){0};
    return jni_read_fields(env, arena, options, JNI_FIELDS(generate_options), out) &&
        read_init_image(env, arena, options, out);
}

// ---- infos ----

#define ENGINE_INFO(name, kind, member) ROW(sdg_engine_info, name, kind, member)
static const struct jni_field engine_info[] = {
    ENGINE_INFO("threads", INT, threads),
    ENGINE_INFO("devices", INT, devices),
    ENGINE_INFO("planned", DOUBLE, planned),
    ENGINE_INFO("cacheDir", TEXT, cache_dir),
};

#define PIPELINE_INFO(name, kind, member) ROW(sdg_pipeline_info, name, kind, member)
static const struct jni_field pipeline_info[] = {
    PIPELINE_INFO("model", TEXT, model),
    PIPELINE_INFO("width", INT, width),
    PIPELINE_INFO("height", INT, height),
    PIPELINE_INFO("factor", INT, factor),
    PIPELINE_INFO("latentChannels", INT, latent_channels),
    PIPELINE_INFO("cfgScale", DOUBLE, cfg_scale),
    PIPELINE_INFO("sampler", TEXT, sampler),
    PIPELINE_INFO("schedule", TEXT, schedule),
    PIPELINE_INFO("steps", INT, steps),
    PIPELINE_INFO("eta", NUMBER, eta),
    PIPELINE_INFO("prediction", TEXT, prediction),
    PIPELINE_INFO("scheme", TEXT, scheme),
    PIPELINE_INFO("inpainting", BOOL, inpainting),
    PIPELINE_INFO("sdxl", BOOL, sdxl),
    PIPELINE_INFO("lcm", BOOL, lcm),
    PIPELINE_INFO("encodes", BOOL, encodes),
    PIPELINE_INFO("promptTokens", INT, prompt_tokens),
};

#define GENERATE_INFO(name, kind, member) ROW(sdg_generate_info, name, kind, member)
static const struct jni_field generate_info[] = {
    GENERATE_INFO("seed", LONG, seed),
    GENERATE_INFO("width", INT, width),
    GENERATE_INFO("height", INT, height),
    GENERATE_INFO("steps", INT, steps),
    GENERATE_INFO("clipSkip", INT, clip_skip),
    GENERATE_INFO("cfgScale", DOUBLE, cfg_scale),
    GENERATE_INFO("eta", DOUBLE, eta),
    GENERATE_INFO("sampler", TEXT, sampler),
    GENERATE_INFO("schedule", TEXT, schedule),
    GENERATE_INFO("rng", TEXT, rng),
    GENERATE_INFO("modelName", TEXT, model_name),
    GENERATE_INFO("backend", TEXT, backend),
    GENERATE_INFO("type", TEXT, type),
    GENERATE_INFO("tiled", BOOL, tiled),
    GENERATE_INFO("secondsLoad", DOUBLE, seconds_load),
    GENERATE_INFO("secondsText", DOUBLE, seconds_text),
    GENERATE_INFO("secondsSample", DOUBLE, seconds_sample),
    GENERATE_INFO("secondsDecode", DOUBLE, seconds_decode),
    GENERATE_INFO("secondsTotal", DOUBLE, seconds_total),
    GENERATE_INFO("peakPlanned", SIZE, peak_planned),
    GENERATE_INFO("peakResident", SIZE, peak_resident),
};

bool jni_write_engine_info(JNIEnv *env, jobject info, const struct sdg_engine_info *from)
{
    return jni_write_fields(env, info, JNI_FIELDS(engine_info), from);
}

bool jni_write_pipeline_info(JNIEnv *env, jobject info, const struct sdg_pipeline_info *from)
{
    return jni_write_fields(env, info, JNI_FIELDS(pipeline_info), from);
}

bool jni_write_generate_info(JNIEnv *env, jobject info, const struct sdg_generate_info *from)
{
    return jni_write_fields(env, info, JNI_FIELDS(generate_info), from);
}
