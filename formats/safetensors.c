// Reading safetensors:
//   1. 8 bytes: length of the header, little-endian
//   2. the header, a JSON object {name: {"dtype": "F16", "shape": [..], "data_offsets": [begin, end]}, ..}, where the
//   name
//      "__metadata__" stands for an object of strings
//   3. the data; offsets count from its begin
//
// The header is read by a scanner of its own instead of a JSON library: offsets need all 64 bits, names may come twice,
// and nothing is allocated per value. Strings are unescaped where they stand, in a private copy of the header.
#include "formats/safetensors.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

static const size_t header_limit = 100u << 20;

struct scanner {
    const struct sdg_log *log;
    struct sdg_source *source;
    char *at, *end;
};

static enum sdg_result malformed(const struct scanner *s, const char *wanted)
{
    return sdg_fail(s->log, SDG_ERROR_INPUT, "%s: broken safetensors header: %s expected at byte %zu", s->source->path,
                    wanted, 8 + (size_t)(s->at - s->source->header));
}

static char peek(struct scanner *s)
{
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\n' || *s->at == '\r' || *s->at == '\t'))
        s->at++;
    return s->at < s->end ? *s->at : 0;
}

static bool accept(struct scanner *s, char c)
{
    if (peek(s) != c)
        return false;
    s->at++;
    return true;
}

static enum sdg_result expect(struct scanner *s, char c)
{
    char wanted[] = "' '";
    wanted[1] = c;
    return accept(s, c) ? SDG_OK : malformed(s, wanted);
}

static bool hex4(const char *at, const char *end, unsigned *out)
{
    unsigned value = 0;
    if (end - at < 4)
        return false;
    for (int i = 0; i < 4; i++) {
        char c = at[i];
        unsigned digit = c >= '0' && c <= '9' ? (unsigned)(c - '0')
            : c >= 'a' && c <= 'f'            ? (unsigned)(c - 'a' + 10)
            : c >= 'A' && c <= 'F'            ? (unsigned)(c - 'A' + 10)
                                              : 16;
        if (digit > 15)
            return false;
        value = value << 4 | digit;
    }
    *out = value;
    return true;
}

static char *put_utf8(char *to, unsigned code)
{
    if (code < 0x80) {
        *to++ = (char)code;
    } else if (code < 0x800) {
        *to++ = (char)(0xc0 | code >> 6);
        *to++ = (char)(0x80 | (code & 0x3f));
    } else {
        if (code < 0x10000) {
            *to++ = (char)(0xe0 | code >> 12);
        } else {
            *to++ = (char)(0xf0 | code >> 18);
            *to++ = (char)(0x80 | (code >> 12 & 0x3f));
        }
        *to++ = (char)(0x80 | (code >> 6 & 0x3f));
        *to++ = (char)(0x80 | (code & 0x3f));
    }
    return to;
}

// `from` is behind "\u"; an escape is never shorter than the bytes it stands for, so writing in place is safe.
static bool unescape_unicode(char **from, const char *end, char **to)
{
    unsigned code, low;
    if (!hex4(*from, end, &code))
        return false;
    *from += 4;
    if (code >= 0xd800 && code < 0xdc00) {
        if (end - *from < 6 || (*from)[0] != '\\' || (*from)[1] != 'u' || !hex4(*from + 2, end, &low) || low < 0xdc00 ||
            low > 0xdfff)
            return false;
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        *from += 6;
    } else if (code == 0 || (code >= 0xdc00 && code <= 0xdfff)) {
        return false; // a NUL would cut the name short
    }
    *to = put_utf8(*to, code);
    return true;
}

static enum sdg_result scan_string(struct scanner *s, char **out)
{
    static const char escapes[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    if (!accept(s, '"'))
        return malformed(s, "a string");
    char *from = s->at, *to = from;
    *out = from;
    while (from < s->end && *from != '"') {
        if ((unsigned char)*from < 0x20)
            break;
        if (*from != '\\') {
            *to++ = *from++;
            continue;
        }
        if (++from == s->end)
            break;
        const char *escape = memchr(escapes, *from, sizeof escapes - 1);
        if (escape) {
            *to++ = meanings[escape - escapes];
            from++;
        } else if (*from != 'u' || (from++, !unescape_unicode(&from, s->end, &to))) {
            s->at = from;
            return malformed(s, "a legal escape sequence");
        }
    }
    s->at = from;
    if (from == s->end || *from != '"')
        return malformed(s, "the end of a string");
    s->at++;
    *to = 0; // at the latest where the closing quote was
    return SDG_OK;
}

// A whole number that fits int64_t and is not negative. `tensor` is for messages.
static enum sdg_result scan_number(struct scanner *s, const char *tensor, int64_t *out)
{
    char first = peek(s);
    int64_t value = 0;
    bool fits = true;
    if (first == '-')
        return sdg_fail(s->log, SDG_ERROR_INPUT, "%s: tensor %s has a negative number in its header entry",
                        s->source->path, tensor);
    if (first < '0' || first > '9')
        return malformed(s, "a whole number");
    for (; s->at < s->end && *s->at >= '0' && *s->at <= '9'; s->at++)
        fits =
            fits && !__builtin_mul_overflow(value, 10, &value) && !__builtin_add_overflow(value, *s->at - '0', &value);
    if (!fits)
        return sdg_fail(s->log, SDG_ERROR_INPUT, "%s: tensor %s has a number of more than 63 bits in its header entry",
                        s->source->path, tensor);
    if (s->at < s->end && (*s->at == '.' || *s->at == 'e' || *s->at == 'E'))
        return malformed(s, "a whole number");
    *out = value;
    return SDG_OK;
}

// An array of at most `room` numbers; one too many is reported by the caller through *count > room.
static enum sdg_result scan_numbers(struct scanner *s, const char *tensor, int room, int64_t *out, int *count)
{
    int n = 0;
    SDG_TRY(expect(s, '['));
    if (!accept(s, ']')) {
        do {
            int64_t value = 0;
            SDG_TRY(scan_number(s, tensor, &value));
            if (n < room)
                out[n] = value;
            if (n <= room)
                n++;
        } while (accept(s, ','));
        SDG_TRY(expect(s, ']'));
    }
    *count = n;
    return SDG_OK;
}

static const char *const type_names[SDG_DTYPE_COUNT] = {
    [SDG_F32] = "F32", [SDG_F16] = "F16",   [SDG_BF16] = "BF16",       [SDG_F64] = "F64",
    [SDG_S8] = "I8",   [SDG_U8] = "U8",     [SDG_S16] = "I16",         [SDG_S32] = "I32",
    [SDG_S64] = "I64", [SDG_BOOL] = "BOOL", [SDG_F8_E4M3] = "F8_E4M3", [SDG_F8_E5M2] = "F8_E5M2",
};

const char *sdg_source_type_name(enum sdg_dtype dtype)
{
    return type_names[dtype];
}

static void dtype_from_name(const char *name, struct sdg_tensor *tensor)
{
#define FOREIGN(name) {name, "is stored as " name ", which is not supported; convert the file to F16"}
    static const struct {
        const char *name, *unreadable;
    } foreign[] = {FOREIGN("F8_E8M0"), FOREIGN("F6_E2M3"), FOREIGN("F6_E3M2"), FOREIGN("F4"),
                   FOREIGN("U16"),     FOREIGN("U32"),     FOREIGN("U64"),     FOREIGN("C64")};
#undef FOREIGN
    for (int i = 0; i < SDG_DTYPE_COUNT; i++)
        if (strcmp(name, type_names[i]) == 0) {
            tensor->dtype = (enum sdg_dtype)i;
            return;
        }
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
        if (strcmp(name, foreign[i].name) == 0) {
            tensor->unreadable = foreign[i].unreadable;
            return;
        }
    tensor->unreadable = name; // in the private copy of the header
    tensor->unknown_type = true;
}

// Turns begin and end into a pointer after comparing them with the file and with the shape.
static enum sdg_result place_tensor(const struct scanner *s, struct sdg_tensor *tensor, int64_t begin, int64_t end,
                                    size_t data_start)
{
    const char *path = s->source->path;
    size_t room = s->source->map.size - data_start, bytes = sdg_dtype_size(tensor->dtype);
    for (int i = 0; i < tensor->rank && !tensor->unreadable; i++)
        if (__builtin_mul_overflow(bytes, tensor->dims[i], &bytes) || bytes > INT64_MAX)
            return sdg_fail(s->log, SDG_ERROR_INPUT, "%s: the shape of tensor %s overflows 64 bits", path,
                            tensor->name);
    if (begin > end)
        return sdg_fail(s->log, SDG_ERROR_INPUT, "%s: tensor %s ends before it begins (data_offsets %lld, %lld)", path,
                        tensor->name, (long long)begin, (long long)end);
    if ((uint64_t)end > room)
        return sdg_fail(s->log, SDG_ERROR_INPUT,
                        "%s: tensor %s ends at data byte %lld, but the file has only %zu; is the file cut short?", path,
                        tensor->name, (long long)end, room);
    if (tensor->unreadable) {
        tensor->dtype = SDG_BOOL;
        tensor->rank = 1;
        tensor->dims[0] = end - begin;
        bytes = (size_t)(end - begin);
    }
    if ((uint64_t)(end - begin) != bytes)
        return sdg_fail(s->log, SDG_ERROR_INPUT, "%s: tensor %s has %lld bytes, its shape and dtype need %zu", path,
                        tensor->name, (long long)(end - begin), bytes);
    tensor->data = s->source->map.data + data_start + begin;
    tensor->bytes = bytes;
    return SDG_OK;
}

static enum sdg_result scan_tensor(struct scanner *s, const char *name, size_t data_start, struct sdg_tensor *tensor)
{
    enum { DTYPE = 1, SHAPE = 2, OFFSETS = 4, ALL = 7 };
    int64_t offsets[2] = {0};
    int seen = 0;
    const char *path = s->source->path;
    tensor->name = name;
    SDG_TRY(expect(s, '{'));
    if (!accept(s, '}')) {
        do {
            char *field, *text;
            int count, flag;
            SDG_TRY(scan_string(s, &field));
            SDG_TRY(expect(s, ':'));
            if (strcmp(field, "dtype") == 0) {
                flag = DTYPE;
                SDG_TRY(scan_string(s, &text));
                dtype_from_name(text, tensor);
            } else if (strcmp(field, "shape") == 0) {
                flag = SHAPE;
                SDG_TRY(scan_numbers(s, name, SDG_MAX_DIMS, tensor->dims, &tensor->rank));
                if (tensor->rank > SDG_MAX_DIMS && !tensor->unreadable)
                    tensor->unreadable = "has more than 8 dimensions";
            } else if (strcmp(field, "data_offsets") == 0) {
                flag = OFFSETS;
                SDG_TRY(scan_numbers(s, name, 2, offsets, &count));
                if (count != 2)
                    return sdg_fail(s->log, SDG_ERROR_INPUT, "%s: tensor %s needs exactly two data_offsets", path,
                                    name);
            } else {
                return sdg_fail(s->log, SDG_ERROR_INPUT, "%s: tensor %s has the unknown header field '%.32s'", path,
                                name, field);
            }
            if (seen & flag)
                return sdg_fail(s->log, SDG_ERROR_INPUT, "%s: tensor %s has two fields '%s'", path, name, field);
            seen |= flag;
        } while (accept(s, ','));
        SDG_TRY(expect(s, '}'));
    }
    if (seen != ALL)
        return sdg_fail(s->log, SDG_ERROR_INPUT, "%s: tensor %s has no %s", path, name,
                        !(seen & DTYPE)       ? "dtype"
                            : !(seen & SHAPE) ? "shape"
                                              : "data_offsets");
    return place_tensor(s, tensor, offsets[0], offsets[1], data_start);
}

static enum sdg_result scan_metadata(struct scanner *s)
{
    struct sdg_source *source = s->source;
    SDG_TRY(expect(s, '{'));
    if (accept(s, '}'))
        return SDG_OK;
    do {
        char *key, *value;
        SDG_TRY(scan_string(s, &key));
        SDG_TRY(expect(s, ':'));
        SDG_TRY(scan_string(s, &value));
        if (!sdg_grow(s->log, &source->metadata, &source->metadata_capacity, source->metadata_count + 1,
                      sizeof *source->metadata, "metadata of a weights file"))
            return SDG_ERROR_MEMORY;
        source->metadata[source->metadata_count++] = (struct sdg_metadata){key, value};
    } while (accept(s, ','));
    return expect(s, '}');
}

static enum sdg_result scan_header(struct scanner *s, size_t data_start)
{
    struct sdg_source *source = s->source;
    bool metadata_seen = false;
    SDG_TRY(expect(s, '{'));
    if (!accept(s, '}')) {
        do {
            char *name;
            SDG_TRY(scan_string(s, &name));
            SDG_TRY(expect(s, ':'));
            if (strcmp(name, "__metadata__") == 0) {
                if (metadata_seen)
                    return sdg_fail(s->log, SDG_ERROR_INPUT, "%s: the header has __metadata__ twice", source->path);
                metadata_seen = true;
                SDG_TRY(scan_metadata(s));
                continue;
            }
            if (!sdg_grow(s->log, &source->tensors, &source->capacity, source->count + 1, sizeof *source->tensors,
                          "a table of tensors"))
                return SDG_ERROR_MEMORY;
            SDG_TRY(scan_tensor(s, name, data_start, &source->tensors[source->count++]));
        } while (accept(s, ','));
        SDG_TRY(expect(s, '}'));
    }
    if (peek(s) || s->at != s->end)
        return malformed(s, "the end of the header");
    return sdg_tensor_sort_unique(s->log, source->path, source->tensors, source->count);
}

static int by_place(const void *a, const void *b)
{
    const struct sdg_tensor *x = *(const struct sdg_tensor *const *)a, *y = *(const struct sdg_tensor *const *)b;
    return x->data != y->data ? (x->data > y->data) - (x->data < y->data)
                              : (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

// One after the other, tensors have to cover all the data, as the format wants: a file that something was appended to,
// or that another wrote to, is none. `ordered`: room for the tensors by their places.
static enum sdg_result check_cover(const struct sdg_log *log, const struct sdg_source *source, size_t data_start,
                                   const struct sdg_tensor **ordered)
{
    const unsigned char *begin = source->map.data + data_start, *end = source->map.data + source->map.size, *at = begin;
    for (size_t i = 0; i < source->count; i++)
        ordered[i] = &source->tensors[i];
    qsort(ordered, source->count, sizeof(const struct sdg_tensor *), by_place);
    for (size_t i = 0; i <= source->count; i++) {
        const unsigned char *next = i < source->count ? ordered[i]->data : end;
        if (next > at)
            return sdg_fail(log, SDG_ERROR_INPUT, "%s: %zu bytes from data byte %zu on belong to no tensor%s",
                            source->path, (size_t)(next - at), (size_t)(at - begin),
                            i < source->count ? "" : "; was something appended?");
        if (next < at)
            return sdg_fail(log, SDG_ERROR_INPUT, "%s: tensors %s and %s share data bytes", source->path,
                            ordered[i - 1]->name, ordered[i]->name);
        if (i < source->count)
            at = next + ordered[i]->bytes;
    }
    return SDG_OK;
}

static enum sdg_result read_header(const struct sdg_log *log, struct sdg_source *source)
{
    const char *path = source->path;
    const struct sdg_map *map = &source->map;
    uint64_t length = 0;
    if (map->size < 8)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: %s", path,
                        map->size ? "is too short to be a safetensors file" : "is empty, a safetensors file is needed");
    for (int i = 7; i >= 0; i--)
        length = length << 8 | map->data[i];
    if (length > header_limit || length > map->size - 8)
        return sdg_fail(log, SDG_ERROR_INPUT,
                        "%s: is no safetensors file or was cut short (header of %llu bytes in a file of %zu)", path,
                        (unsigned long long)length, map->size);
    const char *header = (const char *)map->data + 8;
    if (length == 0 || header[0] != '{')
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: is no safetensors file (the header is no JSON object)", path);
    if (!sdg_utf8_valid(header, (size_t)length))
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: broken safetensors header: it is not valid UTF-8", path);
    source->header = sdg_alloc_raw(log, (size_t)length + 1, 1, "the header of a weights file");
    if (!source->header)
        return SDG_ERROR_MEMORY;
    memcpy(source->header, header, (size_t)length);
    struct scanner scanner = {log, source, source->header, source->header + length};
    SDG_TRY(scan_header(&scanner, 8 + (size_t)length));
    const struct sdg_tensor **ordered = sdg_alloc_raw(log, source->count, sizeof *ordered, "a table of tensors");
    if (!ordered)
        return SDG_ERROR_MEMORY;
    const enum sdg_result result = check_cover(log, source, 8 + (size_t)length, ordered);
    sdg_free(ordered);
    return result;
}

enum sdg_result sdg_source_open(const struct sdg_log *log, const struct sdg_files *files, const char *path,
                                struct sdg_source **out)
{
    struct sdg_source *source = sdg_alloc(log, 1, sizeof *source, "a weights file");
    if (!source)
        return SDG_ERROR_MEMORY;
    atomic_init(&source->users, 1);
    source->path = sdg_strdup(log, path);
    enum sdg_result result = source->path ? sdg_files_map(log, files, path, &source->map) : SDG_ERROR_MEMORY;
    if (result == SDG_OK)
        result = read_header(log, source);
    if (result != SDG_OK) {
        sdg_source_drop(&source);
        return result;
    }
    *out = source;
    return SDG_OK;
}

enum sdg_result sdg_source_shorten(const struct sdg_log *log, struct sdg_source *source, char *(*shorten)(char *name),
                                   const char **changed)
{
    *changed = NULL;
    for (size_t i = 0; i < source->count; i++) {
        char *name = source->header + (source->tensors[i].name - source->header), *shorter = shorten(name);
        if (shorter != name && !*changed)
            *changed = shorter;
        source->tensors[i].name = shorter;
    }
    return *changed ? sdg_tensor_sort_unique(log, source->path, source->tensors, source->count) : SDG_OK;
}

void sdg_source_drop(struct sdg_source **handle)
{
    struct sdg_source *source = *handle;
    *handle = NULL;
    if (!source || atomic_fetch_sub(&source->users, 1) > 1)
        return;
    sdg_file_unmap(&source->map);
    sdg_free(source->metadata);
    sdg_free(source->tensors);
    sdg_free(source->header);
    sdg_free(source->path);
    sdg_free(source);
}

const struct sdg_tensor *sdg_source_find(const struct sdg_source *source, const char *name)
{
    return sdg_tensor_search(source->tensors, source->count, name);
}

bool sdg_source_has_prefix(const struct sdg_source *source, const char *prefix)
{
    size_t low = 0, high = source->count; // the first name that is not below the prefix
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(source->tensors[middle].name, prefix) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < source->count && strncmp(source->tensors[low].name, prefix, strlen(prefix)) == 0;
}
