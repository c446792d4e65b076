// "\x93NUMPY", version (1.0: u16, 2.0 and 3.0: u32 length of the header), a Python dictionary with descr, fortran_order
// and shape, padded with spaces to a multiple of 64 and a line end; the numbers.
#include "formats/npy.h"

#include "base/file.h"
#include "base/memory.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

// ---- reading ----

// Reads from `at` up to `end`; `bad` sticks.
struct scan {
    const char *at, *end;
    bool bad;
};

static char next(struct scan *scan)
{
    while (scan->at < scan->end && isspace((unsigned char)*scan->at))
        scan->at++;
    return scan->at < scan->end ? *scan->at : 0;
}

static bool accept(struct scan *scan, char c)
{
    if (scan->bad || next(scan) != c)
        return false;
    scan->at++;
    return true;
}

static void expect(struct scan *scan, char c)
{
    if (!accept(scan, c))
        scan->bad = true;
}

// The text in quotes that comes next, without them. Escapes stay: no word that is known has any.
static struct scan quoted(struct scan *scan)
{
    char quote = next(scan);
    if (quote != '"' && quote != '\'')
        scan->bad = true;
    const char *from = scan->bad ? scan->end : scan->at + 1, *to = from;
    while (to < scan->end && *to != quote)
        to++;
    if (to == scan->end)
        scan->bad = true;
    else
        scan->at = to + 1;
    return (struct scan){from, to, scan->bad};
}

static bool same(struct scan text, const char *word)
{
    return !text.bad && (size_t)(text.end - text.at) == strlen(word) && memcmp(text.at, word, strlen(word)) == 0;
}

static int64_t integer(struct scan *scan)
{
    int64_t value = 0;
    if (!isdigit((unsigned char)next(scan)))
        scan->bad = true;
    for (; !scan->bad && scan->at < scan->end && isdigit((unsigned char)*scan->at); scan->at++)
        if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, *scan->at - '0', &value))
            scan->bad = true;
    return value;
}

// (2, 3), with a comma after a single number.
static void shape(struct scan *scan, struct sdg_tensor *tensor)
{
    tensor->rank = 0;
    expect(scan, '(');
    while (!scan->bad && !accept(scan, ')')) {
        int64_t value = integer(scan);
        if (tensor->rank == SDG_MAX_DIMS)
            scan->bad = true;
        else
            tensor->dims[tensor->rank++] = value;
        if (!accept(scan, ',')) {
            expect(scan, ')');
            break;
        }
    }
}

static const char *parse_header(struct scan *scan, struct sdg_tensor *tensor)
{
    bool known = false, rows = false, shaped = false;
    expect(scan, '{');
    while (!scan->bad && !accept(scan, '}')) {
        struct scan key = quoted(scan);
        expect(scan, ':');
        if (same(key, "descr")) {
            const struct scan type = quoted(scan);
            tensor->dtype = same(type, "|u1") ? SDG_U8 : SDG_F32;
            known = tensor->dtype == SDG_U8 || same(type, "<f4");
        } else if (same(key, "fortran_order")) {
            rows = next(scan) == 'F';
            while (scan->at < scan->end && isalpha((unsigned char)*scan->at))
                scan->at++;
        } else if (same(key, "shape")) {
            shape(scan, tensor);
            shaped = true;
        } else {
            scan->bad = true;
        }
        accept(scan, ',');
    }
    if (scan->bad || !shaped)
        return "its header is broken";
    return known && rows ? NULL : "should hold little-endian f32 ('<f4') or bytes ('|u1') in C order";
}

static bool fits(struct sdg_tensor *tensor, size_t room)
{
    size_t bytes = sdg_dtype_size(tensor->dtype);
    for (int i = 0; i < tensor->rank; i++)
        if ((uint64_t)tensor->dims[i] > SIZE_MAX || !sdg_mul_size(bytes, (size_t)tensor->dims[i], &bytes))
            return false;
    tensor->bytes = bytes;
    return bytes <= room;
}

static const char *parse(const char *data, size_t size, struct sdg_tensor *tensor)
{
    if (size < 12 || memcmp(data, "\x93NUMPY", 6) != 0)
        return "is not a .npy file";
    size_t digits = data[6] == 1 ? 2 : 4, head = 8 + digits, length = 0;
    for (size_t i = digits; i-- > 0;)
        length = length << 8 | (unsigned char)data[8 + i];
    if (length > size - head)
        return "its header is longer than the file";
    const char *problem = parse_header(&(struct scan){data + head, data + head + length, false}, tensor);
    if (!problem && !fits(tensor, size - head - length))
        problem = "its shape does not fit its data";
    tensor->data = data + head + length;
    return problem;
}

enum sdg_result sdg_npy_parse(const struct sdg_log *log, const char *path, const char *data, size_t size,
                              struct sdg_tensor *tensor)
{
    struct sdg_tensor found = {.name = tensor->name};
    const char *problem = parse(data, size, &found);
    if (problem)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: %s", path, problem);
    *tensor = found;
    return SDG_OK;
}

// ---- writing ----

enum sdg_result sdg_npy_write(const struct sdg_log *log, const char *path, const struct sdg_tensor *tensor)
{
    enum { PREFIX = 10, UNIT = 64 };
    char header[UNIT * 5]; // SDG_MAX_DIMS numbers of 20 characters, and the rest
    int length = snprintf(header, sizeof header, "{'descr': '<f4', 'fortran_order': False, 'shape': (");
    for (int i = 0; i < tensor->rank; i++)
        length += snprintf(header + length, sizeof header - (size_t)length, "%s%lld", i ? ", " : "",
                           (long long)tensor->dims[i]);
    length += snprintf(header + length, sizeof header - (size_t)length, "%s), }", tensor->rank == 1 ? "," : "");
    size_t padded = (PREFIX + (size_t)length + 1 + UNIT - 1) / UNIT * UNIT - PREFIX;
    memset(header + length, ' ', padded - (size_t)length);
    header[padded - 1] = '\n';
    const char prefix[PREFIX] = {'\x93', 'N', 'U', 'M', 'P', 'Y', 1, 0, (char)(padded & 0xff), (char)(padded >> 8)};
    struct sdg_output *output;
    SDG_TRY(sdg_output_open(log, path, &output));
    sdg_output_write(output, prefix, sizeof prefix); // a failure stays with the output
    sdg_output_write(output, header, padded);
    sdg_output_write(output, tensor->data, tensor->bytes);
    return sdg_output_commit(&output);
}
