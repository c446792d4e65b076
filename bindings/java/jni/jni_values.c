// Values on their way between Java and C.
#include "jni_values.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(sizeof(jint) == sizeof(int) && sizeof(jfloat) == sizeof(float) && sizeof(jdouble) == sizeof(double),
               "numbers are copied as they are");

struct jni_java jni_java;

// ---- memory of a call ----

struct jni_arena_block {
    struct jni_arena_block *next;
    max_align_t bytes[];
};

void *jni_arena_alloc(JNIEnv *env, struct jni_arena *arena, size_t count, size_t size)
{
    struct jni_arena_block *block = NULL;
    if (count <= (SIZE_MAX - sizeof *block) / size)
        block = calloc(1, sizeof *block + (count ? count * size : 1));
    if (!block) {
        jni_throw(env, SDG_ERROR_MEMORY, "not enough memory for the parameters of a call");
        return NULL;
    }
    block->next = arena->blocks;
    arena->blocks = block;
    return block->bytes;
}

void jni_arena_free(struct jni_arena *arena)
{
    while (arena->blocks) {
        struct jni_arena_block *block = arena->blocks;
        arena->blocks = block->next;
        free(block);
    }
}

// ---- exceptions ----

void jni_throw(JNIEnv *env, enum sdg_result result, const char *line)
{
    bool ok;
    jstring text = jni_string(env, line, &ok);
    if (!ok)
        return;
    (*env)->CallStaticVoidMethod(env, jni_java.native, jni_java.fail, (jint)result, text);
    (*env)->DeleteLocalRef(env, text);
}

// ---- texts ----

const char *jni_utf8(JNIEnv *env, struct jni_arena *arena, jstring text, bool *ok)
{
    *ok = true;
    if (!text)
        return NULL;
    *ok = false;
    jbyteArray bytes = (*env)->CallStaticObjectMethod(env, jni_java.native, jni_java.bytes, text);
    if ((*env)->ExceptionCheck(env))
        return NULL;
    const jsize length = (*env)->GetArrayLength(env, bytes);
    char *copy = jni_arena_alloc(env, arena, (size_t)length, 1);
    if (copy)
        (*env)->GetByteArrayRegion(env, bytes, 0, length, (jbyte *)copy);
    (*env)->DeleteLocalRef(env, bytes);
    *ok = copy != NULL;
    return copy;
}

jstring jni_string(JNIEnv *env, const char *utf8, bool *ok)
{
    *ok = true;
    if (!utf8)
        return NULL;
    *ok = false;
    jbyteArray bytes = jni_byte_array(env, utf8, strlen(utf8));
    if (!bytes)
        return NULL;
    jstring text = (*env)->CallStaticObjectMethod(env, jni_java.native, jni_java.text, bytes);
    *ok = !(*env)->ExceptionCheck(env);
    (*env)->DeleteLocalRef(env, bytes);
    return *ok ? text : NULL;
}

jbyteArray jni_byte_array(JNIEnv *env, const void *bytes, size_t count)
{
    if (count > INT32_MAX) {
        jni_throw(env, SDG_ERROR_MEMORY, "more bytes than an array of Java holds");
        return NULL;
    }
    jbyteArray array = (*env)->NewByteArray(env, (jsize)count);
    if (array)
        (*env)->SetByteArrayRegion(env, array, 0, (jsize)count, bytes);
    return array;
}

// ---- fields ----

static const char *signature_of(enum jni_field_kind kind)
{
    switch (kind) {
    case JNI_FIELD_TEXT: return "Ljava/lang/String;";
    case JNI_FIELD_INT: return "I";
    case JNI_FIELD_LONG:
    case JNI_FIELD_SIZE: return "J";
    case JNI_FIELD_BOOL: return "Z";
    case JNI_FIELD_DOUBLE:
    case JNI_FIELD_NUMBER: return "D";
    case JNI_FIELD_BYTES: return "[B";
    case JNI_FIELD_FLOATS: return "[F";
    case JNI_FIELD_DOUBLES: return "[D";
    }
    return NULL;
}

static jfieldID find_field(JNIEnv *env, jobject object, const char *name, const char *signature)
{
    jclass class = (*env)->GetObjectClass(env, object);
    jfieldID id = (*env)->GetFieldID(env, class, name, signature);
    (*env)->DeleteLocalRef(env, class);
    return id;
}

// A copy of an array's elements; NULL of null.
static bool read_array(JNIEnv *env, struct jni_arena *arena, jarray array, const struct jni_field *field, char *out)
{
    static const size_t sizes[] = {
        [JNI_FIELD_BYTES] = 1, [JNI_FIELD_FLOATS] = sizeof(float), [JNI_FIELD_DOUBLES] = sizeof(double)};
    if (!array)
        return true;
    const jsize count = (*env)->GetArrayLength(env, array);
    void *copy = jni_arena_alloc(env, arena, (size_t)count, sizes[field->kind]);
    if (!copy)
        return false;
    *(void **)(out + field->offset) = copy;
    if (field->kind == JNI_FIELD_BYTES)
        (*env)->GetByteArrayRegion(env, array, 0, count, copy);
    else if (field->kind == JNI_FIELD_FLOATS)
        (*env)->GetFloatArrayRegion(env, array, 0, count, copy);
    else
        (*env)->GetDoubleArrayRegion(env, array, 0, count, copy);
    if (field->kind == JNI_FIELD_DOUBLES)
        *(int *)(out + field->count) = count;
    else
        *(size_t *)(out + field->count) = (size_t)count;
    return true;
}

static bool read_field(JNIEnv *env, struct jni_arena *arena, jobject object, const struct jni_field *field, char *out)
{
    jfieldID id = find_field(env, object, field->name, signature_of(field->kind));
    if (!id)
        return false;
    char *to = out + field->offset;
    bool ok = true;
    double number;
    jobject value;
    switch (field->kind) {
    case JNI_FIELD_INT: *(int *)to = (*env)->GetIntField(env, object, id); break;
    case JNI_FIELD_LONG: *(uint64_t *)to = (uint64_t)(*env)->GetLongField(env, object, id); break;
    case JNI_FIELD_SIZE: *(size_t *)to = (size_t)(*env)->GetLongField(env, object, id); break;
    case JNI_FIELD_BOOL: *(bool *)to = (*env)->GetBooleanField(env, object, id); break;
    case JNI_FIELD_DOUBLE: *(double *)to = (*env)->GetDoubleField(env, object, id); break;
    case JNI_FIELD_NUMBER:
        number = (*env)->GetDoubleField(env, object, id);
        *(struct sdg_number *)to = isnan(number) ? (struct sdg_number){0} : sdg_number(number);
        break;
    default:
        value = (*env)->GetObjectField(env, object, id);
        if (field->kind == JNI_FIELD_TEXT)
            *(const char **)to = jni_utf8(env, arena, value, &ok);
        else
            ok = read_array(env, arena, value, field, out);
        (*env)->DeleteLocalRef(env, value);
    }
    return ok;
}

bool jni_read_fields(JNIEnv *env, struct jni_arena *arena, jobject object, const struct jni_field *fields, size_t count,
                     void *out)
{
    for (size_t i = 0; i < count; i++)
        if (!read_field(env, arena, object, &fields[i], out))
            return false;
    return true;
}

static bool write_field(JNIEnv *env, jobject object, const struct jni_field *field, const char *from)
{
    jfieldID id = find_field(env, object, field->name, signature_of(field->kind));
    if (!id)
        return false;
    const char *value = from + field->offset;
    const struct sdg_number *number = (const struct sdg_number *)value;
    bool ok = true;
    jstring text;
    switch (field->kind) {
    case JNI_FIELD_INT: (*env)->SetIntField(env, object, id, *(const int *)value); break;
    case JNI_FIELD_LONG: (*env)->SetLongField(env, object, id, (jlong) * (const uint64_t *)value); break;
    case JNI_FIELD_SIZE: (*env)->SetLongField(env, object, id, (jlong) * (const size_t *)value); break;
    case JNI_FIELD_BOOL: (*env)->SetBooleanField(env, object, id, *(const bool *)value); break;
    case JNI_FIELD_DOUBLE: (*env)->SetDoubleField(env, object, id, *(const double *)value); break;
    case JNI_FIELD_NUMBER: (*env)->SetDoubleField(env, object, id, number->given ? number->value : NAN); break;
    default:
        text = jni_string(env, *(const char *const *)value, &ok);
        if (ok)
            (*env)->SetObjectField(env, object, id, text);
        (*env)->DeleteLocalRef(env, text);
    }
    return ok;
}

bool jni_write_fields(JNIEnv *env, jobject object, const struct jni_field *fields, size_t count, const void *from)
{
    for (size_t i = 0; i < count; i++)
        if (!write_field(env, object, &fields[i], from))
            return false;
    return true;
}

bool jni_int_field(JNIEnv *env, jobject object, const char *name, int *out)
{
    return read_field(env, NULL, object, &(struct jni_field){name, JNI_FIELD_INT, 0, 0}, (char *)out);
}

bool jni_object_field(JNIEnv *env, jobject object, const char *name, const char *signature, jobject *out)
{
    jfieldID id = find_field(env, object, name, signature);
    if (id)
        *out = (*env)->GetObjectField(env, object, id);
    return id != NULL;
}
