// Options and infos: objects of org.sdgen and the structs of the library that they are.
#ifndef JNI_OPTIONS_H
#define JNI_OPTIONS_H

#include "jni_values.h"

#include <sdgen/engine.h>

// What is allocated is the arena's and lives as long as it; false: an exception is pending.
bool jni_read_engine_options(JNIEnv *env, struct jni_arena *arena, jobject options, struct sdg_engine_params *out);
// Without engine, log and error. `files` may be null.
bool jni_read_pipeline_options(JNIEnv *env, struct jni_arena *arena, jobject options, jobjectArray files,
                               struct sdg_pipeline_params *out);
// Without callbacks.
bool jni_read_generate_options(JNIEnv *env, struct jni_arena *arena, jobject options, struct sdg_generate_params *out);

bool jni_write_engine_info(JNIEnv *env, jobject info, const struct sdg_engine_info *from);
bool jni_write_pipeline_info(JNIEnv *env, jobject info, const struct sdg_pipeline_info *from);
bool jni_write_generate_info(JNIEnv *env, jobject info, const struct sdg_generate_info *from);

#endif
