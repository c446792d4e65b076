// .npy: "\x93NUMPY", version (1.0: u16, 2.0 and 3.0: u32 length of the header), a Python dictionary with descr,
// fortran_order and shape, padded with spaces to a multiple of 64 and a line end; the numbers. .safetensors: u64 length
// of the header, a JSON object name -> {dtype, shape, data_offsets}; the numbers.
#include "arrays.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "image.h"
#include "output.h"

#define ARRAY_BYTES ((size_t)256 << 20)

static bool ends_in(const char *path, const char *extension)
{
    size_t length = strlen(path), e = strlen(extension);
    return length > e && !strcmp(path + length - e, extension);
}

enum sdg_result app_array_check_name(struct app_ui *ui, const char *path)
{
    if (ends_in(path, ".npy") || ends_in(path, ".safetensors"))
        return SDG_OK;
    return app_fail(ui, SDG_ERROR_USAGE,
                    "'%.200s': the extension says the format of numbers, it should be .npy or .safetensors", path);
}

// Bytes of an array; false if it is larger than a file may be.
static bool byte_size(const struct app_array *array, size_t *size)
{
    size_t bytes = sizeof(float);
    for (int i = 0; i < array->dims; i++)
        if (array->shape[i] < 0 || __builtin_mul_overflow(bytes, (size_t)array->shape[i], &bytes) ||
            bytes > ARRAY_BYTES)
            return false;
    *size = bytes;
    return true;
}

// -------------------------------------------------------------------------------------------------- a scanner for both
// headers

// Reads from `at` up to `end`; `bad` sticks.
struct scan {
    const char *at, *end;
    bool bad;
};

static char scan_next(struct scan *scan)
{
    while (scan->at < scan->end && isspace((unsigned char)*scan->at))
        scan->at++;
    return scan->at < scan->end ? *scan->at : 0;
}

static bool scan_char(struct scan *scan, char c)
{
    if (scan->bad || scan_next(scan) != c)
        return false;
    scan->at++;
    return true;
}

static void scan_expect(struct scan *scan, char c)
{
    if (!scan_char(scan, c))
        scan->bad = true;
}

// A quoted text, without its quotes, still escaped.
static struct scan scan_text(struct scan *scan)
{
    char quote = scan_next(scan);
    if (scan->bad || (quote != '"' && quote != '\'')) {
        scan->bad = true;
        return (struct scan){0};
    }
    const char *from = ++scan->at;
    while (scan->at < scan->end && *scan->at != quote)
        scan->at += *scan->at == '\\' ? 2 : 1;
    if (scan->at >= scan->end) {
        scan->bad = true;
        return (struct scan){0};
    }
    return (struct scan){from, scan->at++, false};
}

static bool same(struct scan text, const char *word)
{
    return text.at && (size_t)(text.end - text.at) == strlen(word) && !memcmp(text.at, word, strlen(word));
}

static int64_t scan_integer(struct scan *scan)
{
    int64_t value = 0;
    if (!isdigit((unsigned char)scan_next(scan)))
        scan->bad = true;
    while (!scan->bad && scan->at < scan->end && isdigit((unsigned char)*scan->at)) {
        if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, *scan->at - '0', &value))
            scan->bad = true;
        scan->at++;
    }
    return value;
}

// Numbers between brackets; a comma may follow the last. Returns how many.
static int scan_integers(struct scan *scan, char open, char close, int64_t *values, int room)
{
    int count = 0;
    scan_expect(scan, open);
    while (!scan->bad && !scan_char(scan, close)) {
        int64_t value = scan_integer(scan);
        if (count == room)
            scan->bad = true;
        else
            values[count++] = value;
        if (!scan_char(scan, ',')) {
            scan_expect(scan, close);
            break;
        }
    }
    return scan->bad ? 0 : count;
}

// -------------------------------------------------------------------------------------------------- reading

static uint64_t little_endian(const char *bytes, int count)
{
    uint64_t value = 0;
    while (count--)
        value = value << 8 | (unsigned char)bytes[count];
    return value;
}

static const char *parse_npy(const char *data, size_t size, struct app_array *array, size_t *begin)
{
    if (size < 12 || memcmp(data, "\x93NUMPY", 6))
        return "is not a .npy file";
    size_t head = data[6] == 1 ? 10 : 12, length = (size_t)little_endian(data + 8, data[6] == 1 ? 2 : 4);
    if (length > size - head)
        return "its header is longer than the file";
    struct scan scan = {data + head, data + head + length, false};
    bool f32 = false, rows = false, shape = false;
    scan_expect(&scan, '{');
    while (!scan.bad && !scan_char(&scan, '}')) {
        struct scan key = scan_text(&scan);
        scan_expect(&scan, ':');
        if (same(key, "descr")) {
            f32 = same(scan_text(&scan), "<f4");
        } else if (same(key, "fortran_order")) {
            rows = scan_next(&scan) == 'F';
            while (scan.at < scan.end && isalpha((unsigned char)*scan.at))
                scan.at++;
        } else if (same(key, "shape")) {
            array->dims = scan_integers(&scan, '(', ')', array->shape, APP_ARRAY_DIMS);
            shape = true;
        } else {
            scan.bad = true;
        }
        scan_char(&scan, ',');
    }
    if (scan.bad || !shape)
        return "its header is broken";
    if (!f32 || !rows)
        return "should hold little-endian f32 ('<f4') in C order";
    *begin = head + length;
    return NULL;
}

struct entry {
    struct app_array array;
    bool f32;
    int64_t offsets[2];
    int offset_count;
};

static void scan_entry(struct scan *scan, struct entry *entry)
{
    *entry = (struct entry){0};
    scan_expect(scan, '{');
    while (!scan->bad && !scan_char(scan, '}')) {
        struct scan key = scan_text(scan);
        scan_expect(scan, ':');
        if (same(key, "dtype"))
            entry->f32 = same(scan_text(scan), "F32");
        else if (same(key, "shape"))
            entry->array.dims = scan_integers(scan, '[', ']', entry->array.shape, APP_ARRAY_DIMS);
        else if (same(key, "data_offsets"))
            entry->offset_count = scan_integers(scan, '[', ']', entry->offsets, 2);
        else
            scan_text(scan); // __metadata__ has texts only
        scan_char(scan, ',');
    }
}

static const char *parse_safetensors(const char *data, size_t size, const char *wanted, struct app_array *array,
                                     size_t *begin)
{
    uint64_t length = size < 8 ? UINT64_MAX : little_endian(data, 8);
    if (size < 8 || length > size - 8)
        return "its header is longer than the file";
    struct scan scan = {data + 8, data + 8 + length, false};
    struct entry found = {0}, entry;
    size_t rest = size - 8 - (size_t)length, bytes;
    int count = 0;
    bool exact = false;
    scan_expect(&scan, '{');
    while (!scan.bad && !scan_char(&scan, '}')) {
        struct scan name = scan_text(&scan);
        scan_expect(&scan, ':');
        scan_entry(&scan, &entry);
        scan_char(&scan, ',');
        if (same(name, "__metadata__"))
            continue;
        if (!scan.bad &&
            (entry.offset_count != 2 || entry.offsets[0] > entry.offsets[1] || (uint64_t)entry.offsets[1] > rest))
            return "it has data offsets outside of the file";
        if (!exact) {
            exact = same(name, wanted);
            found = entry;
            count++;
        }
    }
    if (scan.bad)
        return "its header is broken";
    if (!exact && count != 1)
        return "has no tensor of that name";
    if (!found.f32)
        return "its tensor should be F32";
    if (!byte_size(&found.array, &bytes) || bytes != (uint64_t)(found.offsets[1] - found.offsets[0]))
        return "its shape does not fit its data";
    *array = found.array;
    *begin = 8 + (size_t)length + (size_t)found.offsets[0];
    return NULL;
}

enum sdg_result app_array_read(struct app_ui *ui, const char *path, const char *wanted, struct app_array *array)
{
    enum sdg_result result = app_array_check_name(ui, path);
    char *data = NULL;
    size_t size = 0, begin = 0, bytes = 0;
    struct app_array found = {.name = wanted};
    if (result != SDG_OK || (result = app_file_read(ui, path, ARRAY_BYTES, &data, &size)) != SDG_OK)
        return result;
    const char *problem = ends_in(path, ".npy") ? parse_npy(data, size, &found, &begin)
                                                : parse_safetensors(data, size, wanted, &found, &begin);
    if (!problem && (!byte_size(&found, &bytes) || bytes > size - begin))
        problem = "its shape does not fit its data";
    if (problem) {
        result = app_fail(ui, SDG_ERROR_INPUT, "%.200s: %s (wanted: '%s')", path, problem, wanted);
    } else if (!(found.data = malloc(bytes ? bytes : 1))) {
        result = app_fail(ui, SDG_ERROR_MEMORY, "%.200s: not enough memory to read it", path);
    } else {
        memcpy(found.data, data + begin, bytes);
        found.name = wanted;
        *array = found;
    }
    free(data);
    return result;
}

// -------------------------------------------------------------------------------------------------- writing

static void print_shape(FILE *file, const struct app_array *array)
{
    for (int i = 0; i < array->dims; i++)
        fprintf(file, "%s%lld", i ? ", " : "", (long long)array->shape[i]);
}

// Writes `header` of `length` bytes, then spaces up to `padded` bytes.
static void write_padded(FILE *file, const char *header, size_t length, size_t padded)
{
    fwrite(header, 1, length, file);
    while (length++ < padded)
        fputc(' ', file);
}

static void write_little_endian(FILE *file, uint64_t value, int count)
{
    for (; count--; value >>= 8)
        fputc((int)(value & 0xff), file);
}

static void print_npy_header(FILE *to, const struct app_array *array)
{
    fprintf(to, "{'descr': '<f4', 'fortran_order': False, 'shape': (");
    print_shape(to, array);
    fprintf(to, "%s), }", array->dims == 1 ? "," : "");
}

static void print_safetensors_header(FILE *to, const struct app_array *arrays, size_t count)
{
    uint64_t offset = 0;
    fputc('{', to);
    for (size_t i = 0; i < count; i++) {
        size_t bytes = 0;
        byte_size(&arrays[i], &bytes);
        fprintf(to, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[", i ? "," : "", arrays[i].name);
        print_shape(to, &arrays[i]);
        fprintf(to, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)offset,
                (unsigned long long)(offset + bytes));
        offset += bytes;
    }
    fputc('}', to);
}

enum sdg_result app_array_write(struct app_ui *ui, const char *path, const struct app_array *arrays, size_t count)
{
    bool npy = ends_in(path, ".npy");
    size_t bytes = 0, length = 0;
    char *header = NULL;
    for (size_t i = 0; i < count; i++)
        if (!byte_size(&arrays[i], &bytes))
            return app_fail(ui, SDG_ERROR_OUTPUT, "%.200s: an array is too large for it", path);
    if (npy && count != 1)
        return app_fail(ui, SDG_ERROR_USAGE, "%.200s: a .npy file holds one array, not %zu", path, count);
    FILE *text = open_memstream(&header, &length);
    if (text && npy)
        print_npy_header(text, arrays);
    else if (text)
        print_safetensors_header(text, arrays, count);
    if (!text || fclose(text) || !header) {
        free(header);
        return app_fail(ui, SDG_ERROR_MEMORY, "%.200s: not enough memory to write it", path);
    }
    struct app_output output;
    enum sdg_result result = app_output_open(ui, path, &output);
    if (result != SDG_OK) {
        free(header);
        return result;
    }
    if (npy) {
        size_t padded = (10 + length + 1 + 63) / 64 * 64 - 11;
        fwrite("\x93NUMPY\1\0", 1, 8, output.file);
        write_little_endian(output.file, padded + 1, 2);
        write_padded(output.file, header, length, padded);
        fputc('\n', output.file);
    } else {
        size_t padded = (length + 7) / 8 * 8;
        write_little_endian(output.file, padded, 8);
        write_padded(output.file, header, length, padded);
    }
    for (size_t i = 0; i < count; i++) {
        byte_size(&arrays[i], &bytes);
        fwrite(arrays[i].data, 1, bytes, output.file);
    }
    free(header);
    return app_output_commit(ui, &output);
}
