// What crosses between Java and the library: texts, fields of option and info objects, arrays, exceptions.
//
// A function that returns false or NULL has left an exception pending, unless it says otherwise, and its caller returns
// to Java without another call into it.
#ifndef JNI_VALUES_H
#define JNI_VALUES_H

#include <jni.h>

#include <sdgen/sdgen.h>

// Classes and methods that are looked up once, when the library is loaded.
struct jni_java {
    JavaVM *vm;
    jclass native;
    jmethodID bytes, text, fail, add_device, log; // static, of native
    jmethodID on_progress, on_preview;            // of Call
    jmethodID add_text, add_unknown;              // of PromptReport
};
extern struct jni_java jni_java;

// ---- memory of a call ----

// Everything that is allocated for the parameters of a call, freed together. Zero = nothing.
struct jni_arena { struct jni_arena_block *blocks; };
// `count` elements of `size` bytes, zeroed; at least one byte. NULL: OutOfMemoryError is pending.
void *jni_arena_alloc(JNIEnv *env, struct jni_arena *arena, size_t count, size_t size);
void jni_arena_free(struct jni_arena *arena);

// ---- exceptions ----

// Throws what stands for `result`, which is none of SDG_OK, with the library's line.
void jni_throw(JNIEnv *env, enum sdg_result result, const char *line);

// ---- texts ----

// UTF-8 of a String, in the arena; NULL of null, too: *ok says which.
const char *jni_utf8(JNIEnv *env, struct jni_arena *arena, jstring text, bool *ok);
// A new local reference; null of NULL, without an exception: *ok says which.
jstring jni_string(JNIEnv *env, const char *utf8, bool *ok);
// A new byte[] without the 0.
jbyteArray jni_byte_array(JNIEnv *env, const void *bytes, size_t count);

// ---- fields ----

enum jni_field_kind {
    JNI_FIELD_TEXT,    // String <-> const char *
    JNI_FIELD_INT,     // int <-> int, or an enumeration
    JNI_FIELD_LONG,    // long <-> uint64_t
    JNI_FIELD_SIZE,    // long <-> size_t
    JNI_FIELD_BOOL,    // boolean <-> bool
    JNI_FIELD_DOUBLE,  // double <-> double
    JNI_FIELD_NUMBER,  // double, NaN = not given <-> struct sdg_number
    JNI_FIELD_BYTES,   // byte[] -> const uint8_t *, size_t at `count`
    JNI_FIELD_FLOATS,  // float[] -> const float *, size_t at `count`
    JNI_FIELD_DOUBLES, // double[] -> const double *, int at `count`
};
// A field of a Java object and the member of a struct that it is.
struct jni_field {
    const char *name;
    enum jni_field_kind kind;
    size_t offset, count;
};
#define JNI_FIELDS(rows) (rows), sizeof(rows) / sizeof *(rows)

// Object -> struct; what is allocated is the arena's.
bool jni_read_fields(JNIEnv *env, struct jni_arena *arena, jobject object, const struct jni_field *fields, size_t count,
                     void *out);
// Struct -> object; no arrays.
bool jni_write_fields(JNIEnv *env, jobject object, const struct jni_field *fields, size_t count, const void *from);

// Single fields.
bool jni_int_field(JNIEnv *env, jobject object, const char *name, int *out);
// *out may be null.
bool jni_object_field(JNIEnv *env, jobject object, const char *name, const char *signature, jobject *out);

#endif
