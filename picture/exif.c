#include "picture/exif.h"

#include "base/file.h"
#include "picture/printable.h"

#include <string.h>

enum { ORIENTATION = 0x0112, EXIF_DIRECTORY = 0x8769, USER_COMMENT = 0x9286 };
enum { BYTE = 1, SHORT = 3, LONG = 4, UNDEFINED = 7 }; // types of values
enum { TAG_BYTES = 12, CODE_BYTES = 8 };               // of a directory's entry; of the name of a comment's encoding

// ---- reading ----

struct sdg_exif sdg_exif_block(const void *data, size_t size)
{
    const uint8_t *from = data;
    if (size >= 6 && memcmp(from, "Exif\0", 5) == 0) { // the sixth byte is padding
        from += 6;
        size -= 6;
    }
    bool tiff = size >= 8 && (memcmp(from, "II*\0", 4) == 0 || memcmp(from, "MM\0*", 4) == 0);
    return tiff ? (struct sdg_exif){from, size} : (struct sdg_exif){0};
}

static uint32_t number(struct sdg_exif exif, size_t at, int bytes)
{
    uint32_t value = 0;
    bool little = exif.data[0] == 'I';
    for (int i = 0; i < bytes; i++)
        value |= (uint32_t)exif.data[at + (size_t)i] << 8 * (little ? i : bytes - 1 - i);
    return value;
}

// Where the entry of a tag lies in the directory at `directory`; 0 if there is none.
static size_t find_tag(struct sdg_exif exif, size_t directory, uint32_t tag)
{
    if (!exif.data || directory > exif.size - 2)
        return 0;
    size_t count = number(exif, directory, 2);
    for (size_t i = 0, at = directory + 2; i < count && exif.size - at >= TAG_BYTES; i++, at += TAG_BYTES)
        if (number(exif, at, 2) == tag)
            return at;
    return 0;
}

// The first number of a tag, of whatever whole type; false if it is none.
static bool tag_number(struct sdg_exif exif, size_t at, uint32_t *value)
{
    uint32_t type = at ? number(exif, at + 2, 2) : 0;
    int bytes = type == SHORT ? 2 : type == LONG ? 4 : type == BYTE ? 1 : 0;
    if (!bytes || !number(exif, at + 4, 4))
        return false;
    *value = number(exif, at + 8, bytes);
    return true;
}

static size_t first_directory(struct sdg_exif exif)
{
    return exif.data ? number(exif, 4, 4) : 0;
}

int sdg_exif_orientation(struct sdg_exif exif)
{
    uint32_t value;
    if (!tag_number(exif, find_tag(exif, first_directory(exif), ORIENTATION), &value) || value < 1 || value > 8)
        return 0;
    return (int)value;
}

int sdg_xmp_orientation(const void *text, size_t size)
{
    static const char mark[] = "tiff:Orientation";
    const char *from = text, *end = from + size;
    const size_t length = sizeof mark - 1;
    for (const char *c = from; (size_t)(end - c) > length + 2; c++) {
        if (*c != 't' || memcmp(c, mark, length) != 0)
            continue;
        const char *value = c + length;
        value += *value == '>' ? 1 : value[0] == '=' && (value[1] == '"' || value[1] == '\'') ? 2 : 0;
        if (value > c + length && value < end && *value >= '1' && *value <= '8')
            return *value - '0';
    }
    return 0;
}

static char *put_utf8(char *to, uint32_t c)
{
    if (c < 0x80) {
        *to++ = (char)c;
    } else if (c < 0x800) {
        *to++ = (char)(0xc0 | c >> 6);
        *to++ = (char)(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        *to++ = (char)(0xe0 | c >> 12);
        *to++ = (char)(0x80 | (c >> 6 & 0x3f));
        *to++ = (char)(0x80 | (c & 0x3f));
    } else {
        *to++ = (char)(0xf0 | c >> 18);
        *to++ = (char)(0x80 | (c >> 12 & 0x3f));
        *to++ = (char)(0x80 | (c >> 6 & 0x3f));
        *to++ = (char)(0x80 | (c & 0x3f));
    }
    return to;
}

// The standard leaves the order of bytes open, and programs differ. In the right one more characters are below 256, as
// spaces and digits are in any language.
static bool utf16_is_little(const uint8_t *from, size_t units)
{
    size_t little = 0, big = 0;
    for (size_t i = 0; i < units; i++) {
        little += from[2 * i + 1] == 0;
        big += from[2 * i] == 0;
    }
    return little > big;
}

static uint32_t utf16_unit(const uint8_t *from, bool little)
{
    return (uint32_t)from[!little] | (uint32_t)from[little] << 8;
}

// `to` has room for three bytes a unit, and the end.
static void utf16_to_utf8(const uint8_t *from, size_t units, char *to)
{
    bool little = utf16_is_little(from, units);
    for (size_t i = 0; i < units; i++) {
        uint32_t c = utf16_unit(from + 2 * i, little);
        if (!c)
            break;
        if (c == 0xfeff)
            continue; // a byte order mark
        uint32_t low = c >= 0xd800 && c < 0xdc00 && i + 1 < units ? utf16_unit(from + 2 * (i + 1), little) : 0;
        if (low >= 0xdc00 && low < 0xe000) {
            c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
            i++;
        }
        to = put_utf8(to, c >= 0xd800 && c < 0xe000 ? '?' : c);
    }
    *to = 0;
}

// A comment's text begins with eight bytes that name its encoding; eight zeros leave it open.
enum sdg_result sdg_exif_text(const struct sdg_log *log, struct sdg_exif exif, char **text)
{
    uint32_t directory = 0;
    *text = NULL;
    if (!tag_number(exif, find_tag(exif, first_directory(exif), EXIF_DIRECTORY), &directory))
        return SDG_OK;
    size_t at = find_tag(exif, directory, USER_COMMENT), size = at ? number(exif, at + 4, 4) : 0;
    size_t from = at ? number(exif, at + 8, 4) : 0;
    if (size <= CODE_BYTES || from > exif.size || size > exif.size - from)
        return SDG_OK;
    const uint8_t *code = exif.data + from, *content = code + CODE_BYTES;
    size -= CODE_BYTES;
    bool utf16 = memcmp(code, "UNICODE", 7) == 0;
    char *copy = sdg_alloc(log, size + 1, utf16 ? 2 : 1, "a comment"); // ends with 0
    if (!copy)
        return SDG_ERROR_MEMORY;
    if (utf16)
        utf16_to_utf8(content, size / 2, copy);
    else
        memcpy(copy, content, size);
    *text = *copy ? sdg_printable(log, copy, !sdg_utf8_valid(copy, strlen(copy))) : NULL;
    bool failed = *copy && !*text;
    sdg_free(copy);
    return failed ? SDG_ERROR_MEMORY : SDG_OK;
}

// ---- writing ----

static void put_number(struct sdg_bytes *bytes, uint32_t value, int size)
{
    for (int i = size - 1; i >= 0; i--) {
        uint8_t byte = (uint8_t)(value >> 8 * i);
        sdg_bytes_add(bytes, &byte, 1);
    }
}

static void put_tag(struct sdg_bytes *bytes, uint32_t tag, uint32_t type, uint32_t count, uint32_t value)
{
    put_number(bytes, tag, 2);
    put_number(bytes, type, 2);
    put_number(bytes, count, 4);
    put_number(bytes, value, 4);
}

// The character at *at, which is moved behind it; the text is valid UTF-8.
static uint32_t next_character(const uint8_t **at)
{
    const uint8_t *c = *at;
    int more = *c >= 0xf0 ? 3 : *c >= 0xe0 ? 2 : *c >= 0xc0 ? 1 : 0;
    uint32_t value = more == 0 ? *c : *c & (0x3fu >> more);
    for (int i = 1; i <= more; i++)
        value = value << 6 | (c[i] & 0x3f);
    *at = c + more + 1;
    return value;
}

static size_t utf16_units(const char *text)
{
    size_t units = 0;
    for (const uint8_t *at = (const uint8_t *)text; *at;)
        units += next_character(&at) >= 0x10000 ? 2 : 1;
    return units;
}

static void put_utf16(struct sdg_bytes *bytes, const char *text)
{
    for (const uint8_t *at = (const uint8_t *)text; *at;) {
        uint32_t c = next_character(&at);
        if (c >= 0x10000) {
            put_number(bytes, 0xd800 + ((c - 0x10000) >> 10), 2);
            c = 0xdc00 + ((c - 0x10000) & 0x3ff);
        }
        put_number(bytes, c, 2);
    }
}

// A directory of one tag that leads to a directory of one tag that leads to the text.
bool sdg_exif_add(struct sdg_bytes *bytes, const char *text, size_t room)
{
    enum { HEAD = 8, DIRECTORY = 2 + TAG_BYTES + 4, CONTENT = HEAD + 2 * DIRECTORY + CODE_BYTES };
    if (!sdg_utf8_valid(text, strlen(text)))
        return false;
    bool ascii = true;
    for (const char *c = text; *c; c++)
        ascii = ascii && (unsigned char)*c < 0x80;
    size_t size = 2 * utf16_units(text);
    bool utf16 = !ascii || size <= room - CONTENT;
    if (!utf16)
        size = strlen(text);
    if (room < CONTENT || size > room - CONTENT)
        return false;
    sdg_bytes_add(bytes, "MM\0*", 4);
    put_number(bytes, HEAD, 4);
    put_number(bytes, 1, 2);
    put_tag(bytes, EXIF_DIRECTORY, LONG, 1, HEAD + DIRECTORY);
    put_number(bytes, 0, 4);
    put_number(bytes, 1, 2);
    put_tag(bytes, USER_COMMENT, UNDEFINED, (uint32_t)(CODE_BYTES + size), CONTENT - CODE_BYTES);
    put_number(bytes, 0, 4);
    sdg_bytes_add(bytes, utf16 ? "UNICODE\0" : "ASCII\0\0\0", CODE_BYTES);
    if (utf16)
        put_utf16(bytes, text);
    else
        sdg_bytes_add(bytes, text, size);
    return !bytes->failed;
}
