// The native functions of org.sdgen.Native. Java makes sure that handles are open and that one thread uses them.
#include "jni_options.h"

#include <sdgen/engine.h>
#include <sdgen/parts.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "SDG_PIXELS_BGRA8 is an int of Java where bytes lie like this");

enum { LINE_BYTES = 2048 };

// What a handle of a pipeline points to.
struct java_pipeline {
    struct sdg_pipeline *pipeline;
    jobject log; // global reference; NULL = nobody listens
};

static struct java_pipeline *pipeline_of(jlong handle)
{
    return (struct java_pipeline *)(intptr_t)handle;
}

static struct sdg_engine *engine_of(jlong handle)
{
    return (struct sdg_engine *)(intptr_t)handle;
}

// ---- messages ----

static void log_to_java(JNIEnv *env, jobject log, enum sdg_log_level level, const char *message)
{
    bool ok;
    if ((*env)->ExceptionCheck(env)) // of a callback before: it ends the call, and Java must not be called until then
        return;
    jstring text = jni_string(env, message, &ok);
    if (ok)
        (*env)->CallStaticVoidMethod(env, jni_java.native, jni_java.log, log, (jint)level, text);
    if ((*env)->ExceptionCheck(env))
        (*env)->ExceptionClear(env);
    (*env)->DeleteLocalRef(env, text);
}

// The library's own threads are no threads of Java but for this.
static void on_log(void *user, enum sdg_log_level level, const char *message)
{
    const struct java_pipeline *p = user;
    JNIEnv *env = NULL;
    const bool attached = (*jni_java.vm)->GetEnv(jni_java.vm, (void **)&env, JNI_VERSION_1_6) == JNI_OK;
#ifdef __ANDROID__
    JNIEnv **attach = &env;
#else
    void **attach = (void **)&env;
#endif
    if (!attached && (*jni_java.vm)->AttachCurrentThreadAsDaemon(jni_java.vm, attach, NULL) != JNI_OK)
        return;
    log_to_java(env, p->log, level, message);
    if (!attached)
        (*jni_java.vm)->DetachCurrentThread(jni_java.vm);
}

// sdg_engine_create has only its log to say why it failed, and an engine's log lives longer than any object of Java's.
static _Thread_local char engine_line[LINE_BYTES];

static void on_engine_error(void *user, enum sdg_log_level level, const char *message)
{
    (void)user;
    (void)level;
    snprintf(engine_line, sizeof engine_line, "%s", message);
}

// ---- engines ----

static jlong create_engine(JNIEnv *env, jclass class, jobject options)
{
    (void)class;
    struct jni_arena arena = {0};
    struct sdg_engine_params params;
    struct sdg_engine *engine = NULL;
    if (jni_read_engine_options(env, &arena, options, &params)) {
        params.log = (struct sdg_log){.fn = on_engine_error};
        *engine_line = 0;
        const enum sdg_result result = sdg_engine_create(&params, &engine);
        if (result != SDG_OK)
            jni_throw(env, result, engine_line);
    }
    jni_arena_free(&arena);
    return (jlong)(intptr_t)engine;
}

static void destroy_engine(JNIEnv *env, jclass class, jlong handle)
{
    (void)env;
    (void)class;
    struct sdg_engine *engine = engine_of(handle);
    sdg_engine_destroy(&engine);
}

static void get_engine_info(JNIEnv *env, jclass class, jlong handle, jobject out)
{
    (void)class;
    struct sdg_engine_info info;
    sdg_engine_info(engine_of(handle), &info);
    jni_write_engine_info(env, out, &info);
}

// ---- pipelines ----

static void free_pipeline(JNIEnv *env, struct java_pipeline *p)
{
    sdg_pipeline_destroy(&p->pipeline);
    if (p->log)
        (*env)->DeleteGlobalRef(env, p->log);
    free(p);
}

// The listener of the options, as long as the pipeline lives.
static bool listen(JNIEnv *env, jobject options, struct java_pipeline *p, struct sdg_pipeline_params *params)
{
    jobject log = NULL;
    if (!jni_object_field(env, options, "log", "Lorg/sdgen/LogListener;", &log))
        return false;
    if (!log)
        return true;
    p->log = (*env)->NewGlobalRef(env, log);
    (*env)->DeleteLocalRef(env, log);
    if (!p->log) {
        if (!(*env)->ExceptionCheck(env))
            jni_throw(env, SDG_ERROR_MEMORY, "not enough memory for a log listener");
        return false;
    }
    params->log.fn = on_log;
    params->log.user = p;
    return true;
}

static jlong create(JNIEnv *env, jclass class, jobject options, jobjectArray files, jlong engine)
{
    (void)class;
    struct jni_arena arena = {0};
    struct sdg_pipeline_params params;
    struct java_pipeline *p = calloc(1, sizeof *p);
    if (!p) {
        jni_throw(env, SDG_ERROR_MEMORY, "not enough memory for a pipeline");
        return 0;
    }
    if (jni_read_pipeline_options(env, &arena, options, files, &params) && listen(env, options, p, &params)) {
        char line[LINE_BYTES] = "";
        params.engine = engine_of(engine);
        params.error = line;
        params.error_size = sizeof line;
        const enum sdg_result result = sdg_pipeline_create(&params, &p->pipeline);
        if (result != SDG_OK)
            jni_throw(env, result, line);
    }
    jni_arena_free(&arena);
    if (!p->pipeline) {
        free_pipeline(env, p);
        p = NULL;
    }
    return (jlong)(intptr_t)p;
}

static void destroy(JNIEnv *env, jclass class, jlong handle)
{
    (void)class;
    free_pipeline(env, pipeline_of(handle));
}

static void get_info(JNIEnv *env, jclass class, jlong handle, jobject out)
{
    (void)class;
    struct sdg_pipeline_info info;
    sdg_pipeline_info(pipeline_of(handle)->pipeline, &info);
    jni_write_pipeline_info(env, out, &info);
}

static void cancel(JNIEnv *env, jclass class, jlong handle)
{
    (void)env;
    (void)class;
    sdg_cancel(pipeline_of(handle)->pipeline);
}

// ---- pictures ----

// A call that runs, on the thread of `env`.
struct running {
    JNIEnv *env;
    jobject call; // org.sdgen.Call
    struct sdg_pipeline *pipeline;
};

static bool on_progress(void *user, const struct sdg_progress *progress)
{
    const struct running *r = user;
    JNIEnv *env = r->env;
    if ((*env)->ExceptionCheck(env))
        return false;
    const jboolean go_on = (*env)->CallBooleanMethod(
        env, r->call, jni_java.on_progress, (jint)sdg_name_index(SDG_NAMES_STAGE, progress->stage),
        (jint)progress->step, (jint)progress->steps, (jint)progress->image, (jint)progress->images,
        progress->seconds_step, progress->seconds_left);
    return !(*env)->ExceptionCheck(env) && go_on;
}

static void on_preview(void *user, const struct sdg_preview_picture *preview)
{
    const struct running *r = user;
    JNIEnv *env = r->env;
    if ((*env)->ExceptionCheck(env))
        return;
    const struct sdg_pixels *pixels = &preview->pixels;
    const jsize count = pixels->width * pixels->height;
    jintArray argb = (*env)->NewIntArray(env, count);
    if (argb) {
        (*env)->SetIntArrayRegion(env, argb, 0, count, pixels->data);
        (*env)->CallVoidMethod(env, r->call, jni_java.on_preview, argb, (jint)pixels->width, (jint)pixels->height,
                               (jint)preview->step, (jint)preview->steps, (jint)preview->image, (jint)preview->kind);
        (*env)->DeleteLocalRef(env, argb);
    }
    if ((*env)->ExceptionCheck(env))
        sdg_cancel(r->pipeline);
}

// The size that the library will draw.
static void find_size(const struct java_pipeline *p, const struct sdg_generate_params *params, int *width, int *height)
{
    struct sdg_pipeline_info info;
    sdg_pipeline_info(p->pipeline, &info);
    *width = params->width ? params->width : params->init_image ? params->init_image->width : info.width;
    *height = params->height ? params->height : params->init_image ? params->init_image->height : info.height;
}

// Arrays that are there must have room for a picture.
static bool check_room(JNIEnv *env, jobjectArray arrays, jsize count, size_t pixels)
{
    for (jsize i = 0; i < count; i++) {
        jintArray array = (*env)->GetObjectArrayElement(env, arrays, i);
        const size_t room = array ? (size_t)(*env)->GetArrayLength(env, array) : pixels;
        (*env)->DeleteLocalRef(env, array);
        if (room < pixels) {
            char line[128];
            snprintf(line, sizeof line, "the array has room for %zu pixels, the picture has %zu", room, pixels);
            jni_throw(env, SDG_ERROR_USAGE, line);
            return false;
        }
    }
    return true;
}

static bool hand_out(JNIEnv *env, jobjectArray arrays, jobjectArray infos, jsize i, const struct sdg_pixels *pixels,
                     const struct sdg_generate_info *info)
{
    const jsize count = pixels->width * pixels->height;
    jintArray array = (*env)->GetObjectArrayElement(env, arrays, i);
    if (!array) {
        array = (*env)->NewIntArray(env, count);
        if (!array)
            return false;
        (*env)->SetObjectArrayElement(env, arrays, i, array);
    }
    (*env)->SetIntArrayRegion(env, array, 0, count, pixels->data);
    jobject out = (*env)->GetObjectArrayElement(env, infos, i);
    const bool ok = jni_write_generate_info(env, out, info);
    (*env)->DeleteLocalRef(env, out);
    (*env)->DeleteLocalRef(env, array);
    return ok;
}

static void draw(JNIEnv *env, struct jni_arena *arena, const struct java_pipeline *p,
                 const struct sdg_generate_params *params, jobjectArray arrays, jobjectArray infos)
{
    const jsize count = (*env)->GetArrayLength(env, arrays);
    int width, height;
    find_size(p, params, &width, &height);
    // Of a size that is none there is no memory, and the library says what is wrong with it.
    const bool possible = width > 0 && width <= 16384 && height > 0 && height <= 16384;
    const size_t each = possible ? (size_t)width * (size_t)height : 1;
    struct sdg_pixels *pixels = jni_arena_alloc(env, arena, (size_t)count, sizeof *pixels);
    struct sdg_generate_info *made = pixels ? jni_arena_alloc(env, arena, (size_t)count, sizeof *made) : NULL;
    if (!made || (possible && !check_room(env, arrays, count, each)))
        return;
    for (jsize i = 0; i < count; i++) {
        void *data = jni_arena_alloc(env, arena, each, sizeof(jint));
        if (!data)
            return;
        pixels[i] = (struct sdg_pixels){SDG_PIXELS_BGRA8, width, height, data, 0, each * sizeof(jint)};
    }
    const enum sdg_result result = sdg_generate_into(p->pipeline, params, pixels, (size_t)count, made);
    if ((*env)->ExceptionCheck(env)) // of a callback
        return;
    if (result != SDG_OK) {
        jni_throw(env, result, sdg_pipeline_error(p->pipeline));
        return;
    }
    for (jsize i = 0; i < count; i++)
        if (!hand_out(env, arrays, infos, i, &pixels[i], &made[i]))
            return;
}

static void generate(JNIEnv *env, jclass class, jlong handle, jobject options, jobject call, jobjectArray arrays,
                     jobjectArray infos)
{
    (void)class;
    const struct java_pipeline *p = pipeline_of(handle);
    struct running running = {env, call, p->pipeline};
    struct jni_arena arena = {0};
    struct sdg_generate_params params;
    if (jni_read_generate_options(env, &arena, options, &params)) {
        params.progress = on_progress;
        params.progress_user = &running;
        params.preview.format = SDG_PIXELS_BGRA8;
        params.preview.fn = params.preview.kind ? on_preview : NULL;
        params.preview.user = &running;
        draw(env, &arena, p, &params, arrays, infos);
    }
    jni_arena_free(&arena);
}

// ---- prompts ----

// The numbers of tokens, each in an array of its own.
struct token_arrays {
    jintArray ids, chunks, begins, ends;
    jfloatArray weights;
};

static jintArray int_array(JNIEnv *env, const jint *values, jsize count)
{
    jintArray array = (*env)->NewIntArray(env, count);
    if (array)
        (*env)->SetIntArrayRegion(env, array, 0, count, values);
    return array;
}

static bool make_token_arrays(JNIEnv *env, struct jni_arena *arena, const struct sdg_prompt_text *text,
                              struct token_arrays *out)
{
    const size_t n = (size_t)text->token_count;
    jint *ints = jni_arena_alloc(env, arena, 4 * n, sizeof *ints);
    jfloat *weights = ints ? jni_arena_alloc(env, arena, n, sizeof *weights) : NULL;
    if (!weights)
        return false;
    for (size_t i = 0; i < n; i++) {
        const struct sdg_prompt_token *token = &text->tokens[i];
        ints[i] = token->id;
        ints[n + i] = token->chunk;
        ints[2 * n + i] = (jint)token->begin;
        ints[3 * n + i] = (jint)token->end;
        weights[i] = token->weight;
    }
    const jsize count = (jsize)n;
    if (!(out->ids = int_array(env, ints, count)) || !(out->chunks = int_array(env, ints + n, count)) ||
        !(out->begins = int_array(env, ints + 2 * n, count)) || !(out->ends = int_array(env, ints + 3 * n, count)) ||
        !(out->weights = (*env)->NewFloatArray(env, count)))
        return false;
    (*env)->SetFloatArrayRegion(env, out->weights, 0, count, weights);
    return true;
}

static bool add_text(JNIEnv *env, jobject out, const struct sdg_prompt_text *text)
{
    struct jni_arena arena = {0};
    struct token_arrays tokens = {0};
    jbyteArray bytes = jni_byte_array(env, text->text, strlen(text->text));
    jintArray chunk_tokens = bytes ? int_array(env, text->chunk_tokens, text->chunks) : NULL;
    bool ok = chunk_tokens && make_token_arrays(env, &arena, text, &tokens);
    jni_arena_free(&arena);
    if (ok) {
        (*env)->CallVoidMethod(env, out, jni_java.add_text, bytes, chunk_tokens, (jint)text->cut, tokens.ids,
                               tokens.weights, tokens.chunks, tokens.begins, tokens.ends);
        ok = !(*env)->ExceptionCheck(env);
    }
    const jobject references[] = {bytes,         chunk_tokens, tokens.ids,    tokens.chunks,
                                  tokens.begins, tokens.ends,  tokens.weights};
    for (size_t i = 0; i < sizeof references / sizeof *references; i++)
        (*env)->DeleteLocalRef(env, references[i]);
    return ok;
}

static bool add_unknown(JNIEnv *env, jobject out, const struct sdg_unknown_word *unknown)
{
    bool ok;
    jstring word = jni_string(env, unknown->word, &ok);
    jstring nearest = ok ? jni_string(env, unknown->nearest, &ok) : NULL;
    if (ok) {
        (*env)->CallVoidMethod(env, out, jni_java.add_unknown, word, nearest);
        ok = !(*env)->ExceptionCheck(env);
    }
    (*env)->DeleteLocalRef(env, word);
    (*env)->DeleteLocalRef(env, nearest);
    return ok;
}

static const struct jni_field report_fields[] = {
    {"room", JNI_FIELD_INT, offsetof(struct sdg_prompt_report, room), 0},
    {"wordsKnown", JNI_FIELD_BOOL, offsetof(struct sdg_prompt_report, words_known), 0},
};

static void write_report(JNIEnv *env, jobject out, const struct sdg_prompt_report *report)
{
    if (!jni_write_fields(env, out, JNI_FIELDS(report_fields), report))
        return;
    for (int i = 0; i < report->text_count; i++)
        if (!add_text(env, out, &report->texts[i]))
            return;
    for (int i = 0; i < report->unknown_count; i++)
        if (!add_unknown(env, out, &report->unknown[i]))
            return;
}

static void check_prompt(JNIEnv *env, jclass class, jlong handle, jstring prompt, jboolean negative, jboolean plain,
                         jint steps, jobject out)
{
    (void)class;
    const struct java_pipeline *p = pipeline_of(handle);
    struct jni_arena arena = {0};
    bool ok;
    struct sdg_prompt_params params = {.negative = negative, .plain = plain, .steps = steps};
    params.prompt = jni_utf8(env, &arena, prompt, &ok);
    if (ok) {
        struct sdg_prompt_report *report = NULL;
        const enum sdg_result result = sdg_pipeline_check_prompt(p->pipeline, &params, &report);
        if (result != SDG_OK)
            jni_throw(env, result, sdg_pipeline_error(p->pipeline));
        else
            write_report(env, out, report);
        sdg_prompt_report_destroy(&report);
    }
    jni_arena_free(&arena);
}

// ---- the library ----

static jstring version(JNIEnv *env, jclass class)
{
    (void)class;
    bool ok;
    return jni_string(env, sdg_version(), &ok);
}

static jstring build_info(JNIEnv *env, jclass class)
{
    (void)class;
    bool ok;
    return jni_string(env, sdg_build_info(), &ok);
}

static jstring name_at(JNIEnv *env, jclass class, jint which, jint index)
{
    (void)class;
    bool ok;
    return jni_string(env, sdg_name_at((enum sdg_names)which, index), &ok);
}

struct device_list {
    JNIEnv *env;
    jobject list;
};

static void on_device(void *user, const struct sdg_device *device)
{
    const struct device_list *l = user;
    JNIEnv *env = l->env;
    const char *const texts[5] = {device->name, device->backend, device->type, device->driver, device->note};
    jstring strings[5] = {0};
    bool ok = !(*env)->ExceptionCheck(env);
    for (int i = 0; i < 5 && ok; i++)
        strings[i] = jni_string(env, texts[i], &ok);
    if (ok)
        (*env)->CallStaticVoidMethod(env, jni_java.native, jni_java.add_device, l->list, strings[0], strings[1],
                                     strings[2], strings[3], strings[4], (jlong)device->memory);
    for (int i = 0; i < 5; i++)
        (*env)->DeleteLocalRef(env, strings[i]);
}

static void list_devices(JNIEnv *env, jclass class, jobject list)
{
    (void)class;
    sdg_list_devices(NULL, on_device, &(struct device_list){env, list});
}

// ---- loading ----

#define TEXT "Ljava/lang/String;"
static const JNINativeMethod natives[] = {
    {"createEngine", "(Lorg/sdgen/EngineOptions;)J", (void *)create_engine},
    {"destroyEngine", "(J)V", (void *)destroy_engine},
    {"engineInfo", "(JLorg/sdgen/EngineInfo;)V", (void *)get_engine_info},
    {"create", "(Lorg/sdgen/PipelineOptions;[Lorg/sdgen/ModelFile;J)J", (void *)create},
    {"destroy", "(J)V", (void *)destroy},
    {"info", "(JLorg/sdgen/PipelineInfo;)V", (void *)get_info},
    {"cancel", "(J)V", (void *)cancel},
    {"generate", "(JLorg/sdgen/GenerateOptions;Lorg/sdgen/Call;[[I[Lorg/sdgen/GenerateInfo;)V", (void *)generate},
    {"checkPrompt", "(J" TEXT "ZZILorg/sdgen/PromptReport;)V", (void *)check_prompt},
    {"version", "()" TEXT, (void *)version},
    {"buildInfo", "()" TEXT, (void *)build_info},
    {"nameAt", "(II)" TEXT, (void *)name_at},
    {"listDevices", "(Ljava/util/List;)V", (void *)list_devices},
};

struct java_method {
    const char *class, *name, *signature;
    jmethodID *id;
    bool is_static;
};

static bool find_methods(JNIEnv *env)
{
    const struct java_method methods[] = {
        {"org/sdgen/Native", "bytes", "(" TEXT ")[B", &jni_java.bytes, true},
        {"org/sdgen/Native", "text", "([B)" TEXT, &jni_java.text, true},
        {"org/sdgen/Native", "fail", "(I" TEXT ")V", &jni_java.fail, true},
        {"org/sdgen/Native", "addDevice", "(Ljava/util/List;" TEXT TEXT TEXT TEXT TEXT "J)V", &jni_java.add_device,
         true},
        {"org/sdgen/Native", "log", "(Lorg/sdgen/LogListener;I" TEXT ")V", &jni_java.log, true},
        {"org/sdgen/Call", "onProgress", "(IIIIIDD)Z", &jni_java.on_progress, false},
        {"org/sdgen/Call", "onPreview", "([IIIIIII)V", &jni_java.on_preview, false},
        {"org/sdgen/PromptReport", "addText", "([B[II[I[F[I[I[I)V", &jni_java.add_text, false},
        {"org/sdgen/PromptReport", "addUnknown", "(" TEXT TEXT ")V", &jni_java.add_unknown, false},
    };
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        const struct java_method *m = &methods[i];
        jclass class = (*env)->FindClass(env, m->class);
        if (!class)
            return false;
        *m->id = m->is_static ? (*env)->GetStaticMethodID(env, class, m->name, m->signature)
                              : (*env)->GetMethodID(env, class, m->name, m->signature);
        (*env)->DeleteLocalRef(env, class);
        if (!*m->id)
            return false;
    }
    return true;
}

// Called by the class loader of org.sdgen.Native, whose classes stay as long as this library does.
JNIEXPORT jint JNICALL JNI_OnLoad(JavaVM *vm, void *reserved)
{
    (void)reserved;
    JNIEnv *env = NULL;
    if ((*vm)->GetEnv(vm, (void **)&env, JNI_VERSION_1_6) != JNI_OK)
        return JNI_ERR;
    jni_java.vm = vm;
    jclass native = (*env)->FindClass(env, "org/sdgen/Native");
    if (!native || !(jni_java.native = (*env)->NewGlobalRef(env, native)) || !find_methods(env) ||
        (*env)->RegisterNatives(env, native, natives, sizeof natives / sizeof *natives) != JNI_OK)
        return JNI_ERR;
    (*env)->DeleteLocalRef(env, native);
    return JNI_VERSION_1_6;
}

JNIEXPORT void JNICALL JNI_OnUnload(JavaVM *vm, void *reserved)
{
    (void)reserved;
    JNIEnv *env = NULL;
    if ((*vm)->GetEnv(vm, (void **)&env, JNI_VERSION_1_6) == JNI_OK)
        (*env)->DeleteGlobalRef(env, jni_java.native);
}
