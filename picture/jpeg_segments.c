// What stands in a JPEG before its pixels.
#include "picture/jpeg_segments.h"

#include "base/file.h"
#include "picture/exif.h"
#include "picture/printable.h"

#include <string.h>

// A segment of a JPEG: FF, its kind, its length in two bytes that count themselves, its content.
struct segment {
    uint8_t kind;
    const uint8_t *data;
    size_t size;
};
enum { APP1 = 0xe1, COMMENT = 0xfe, PIXELS = 0xda, LENGTH_BYTES = 2, LONGEST = 0xffff };

bool sdg_jpeg_is(const void *data, size_t size)
{
    return size >= 3 && memcmp(data, "\xff\xd8\xff", 3) == 0;
}

// The next segment before the pixels; *at is where to look, 2 at first. False at their beginning, and where the file is
// broken.
static bool next_segment(const uint8_t *data, size_t size, size_t *at, struct segment *out)
{
    while (*at + 4 <= size && data[*at] == 0xff && data[*at + 1] == 0xff) // filling
        ++*at;
    if (*at + 4 > size || data[*at] != 0xff || data[*at + 1] == PIXELS)
        return false;
    size_t length = (size_t)data[*at + 2] << 8 | data[*at + 3];
    if (length < LENGTH_BYTES || length > size - *at - 2)
        return false;
    *out = (struct segment){data[*at + 1], data + *at + 4, length - LENGTH_BYTES};
    *at += 2 + length;
    return true;
}

static struct sdg_exif find_exif(const void *data, size_t size)
{
    struct segment s;
    for (size_t at = 2; next_segment(data, size, &at, &s);)
        if (s.kind == APP1 && s.size > 6 && memcmp(s.data, "Exif\0", 5) == 0)
            return sdg_exif_block(s.data, s.size);
    return (struct sdg_exif){0};
}

int sdg_jpeg_orientation(const void *data, size_t size)
{
    static const char xmp[] = "http://ns.adobe.com/xap/1.0/";
    struct segment s;
    if (!sdg_jpeg_is(data, size))
        return 0;
    int found = sdg_exif_orientation(find_exif(data, size));
    for (size_t at = 2; !found && next_segment(data, size, &at, &s);)
        if (s.kind == APP1 && s.size > sizeof xmp && memcmp(s.data, xmp, sizeof xmp) == 0)
            found = sdg_xmp_orientation(s.data + sizeof xmp, s.size - sizeof xmp);
    return found;
}

enum sdg_result sdg_jpeg_text(const struct sdg_log *log, const char *name, const void *data, size_t size, char **text)
{
    struct segment s;
    SDG_TRY(sdg_exif_text(log, find_exif(data, size), text));
    for (size_t at = 2; !*text && next_segment(data, size, &at, &s);)
        if (s.kind == COMMENT && s.size > 0) {
            char *copy = sdg_alloc(log, s.size + 1, 1, "a comment"); // ends with 0
            if (!copy)
                return SDG_ERROR_MEMORY;
            memcpy(copy, s.data, s.size);
            *text = sdg_printable(log, copy, !sdg_utf8_valid(copy, strlen(copy)));
            sdg_free(copy);
            if (!*text)
                return SDG_ERROR_MEMORY;
        }
    return *text ? SDG_OK
                 : sdg_fail(log, SDG_ERROR_INPUT, "%s: has no parameters: there is no comment in its EXIF data", name);
}

// ---- writing ----

// The encoder writes what a JPEG begins with and then a segment APP0; EXIF's follows them.
enum { BEGINNING = 2 + 18 };

// Length and content of the segment; the encoded picture is moved behind it.
enum sdg_result sdg_jpeg_add_text(struct sdg_bytes *bytes, const char *text)
{
    struct sdg_bytes segment = {.log = bytes->log};
    enum sdg_result result = SDG_OK;
    if (bytes->size < BEGINNING)
        return SDG_OK;
    sdg_bytes_add(&segment, "\xff\xe1\0\0Exif\0\0", 10);
    if (sdg_exif_add(&segment, text, LONGEST - LENGTH_BYTES - 6)) {
        const size_t size = bytes->size, length = segment.size - 2;
        segment.data[2] = (uint8_t)(length >> 8);
        segment.data[3] = (uint8_t)length;
        if (sdg_bytes_add(bytes, segment.data, segment.size)) {
            memmove(bytes->data + BEGINNING + segment.size, bytes->data + BEGINNING, size - BEGINNING);
            memcpy(bytes->data + BEGINNING, segment.data, segment.size);
        }
    } else if (!segment.failed) {
        sdg_say(bytes->log, SDG_LOG_WARNING,
                "the picture's parameters are too long for a JPEG, or no UTF-8, and are left out; a PNG has room");
    }
    if (segment.failed || bytes->failed)
        result = SDG_ERROR_MEMORY;
    sdg_free(segment.data);
    return result;
}
