#include "picture/png.h"

#include "base/file.h"
#include "sdgen/picture.h"

#include <string.h>

bool sdg_png_is(const void *data, size_t size)
{
    return size >= 8 && memcmp(data, "\x89PNG\r\n\x1a\n", 8) == 0;
}

#if SDG_HAVE_PICTURES

#include <png.h>
#include <setjmp.h>
#include <stdio.h>

// Texts of a hostile file: how long one may be, and how many chunks of any kind are kept.
enum { CHUNK_BYTES = 8 << 20, CHUNKS = 256 };

// What libpng's callbacks need. Errors are told by the caller: only it knows whether the file failed or the library.
struct png_job {
    const unsigned char *data; // reading: what is left
    size_t size;
    struct sdg_bytes *bytes; // writing
    char message[100];
};

static void on_error(png_structp png, png_const_charp message)
{
    struct png_job *job = png_get_error_ptr(png);
    snprintf(job->message, sizeof job->message, "%s", message);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp message)
{
    (void)png;
    (void)message;
}

static void read_bytes(png_structp png, png_bytep to, size_t size)
{
    struct png_job *job = png_get_io_ptr(png);
    if (size > job->size)
        png_error(png, "the file ends too early");
    memcpy(to, job->data, size);
    job->data += size;
    job->size -= size;
}

static void write_bytes(png_structp png, png_bytep from, size_t size)
{
    struct png_job *job = png_get_io_ptr(png);
    if (!sdg_bytes_add(job->bytes, from, size))
        png_error(png, "not enough memory");
}

static void flush_nothing(png_structp png)
{
    (void)png;
}

static bool reader_create(struct png_job *job, png_structp *png, png_infop *info)
{
    *png = png_create_read_struct(PNG_LIBPNG_VER_STRING, job, on_error, on_warning);
    *info = *png ? png_create_info_struct(*png) : NULL;
    if (!*info) {
        png_destroy_read_struct(png, NULL, NULL);
        return false;
    }
    png_set_user_limits(*png, SDG_PICTURE_SIDE, SDG_PICTURE_SIDE);
    png_set_chunk_malloc_max(*png, CHUNK_BYTES);
    png_set_chunk_cache_max(*png, CHUNKS);
    png_set_read_fn(*png, job, read_bytes);
    return true;
}

// Whatever the file has, rows come as 8-bit RGB.
static void ask_for_rgb(png_structp png, png_infop info)
{
    png_set_scale_16(png);
    png_set_expand(png);
    png_set_strip_alpha(png);
    png_set_gray_to_rgb(png);
    png_set_interlace_handling(png);
    png_read_update_info(png, info);
}

// Everything that may longjmp, apart from the variables that must survive it.
static bool decode(png_structp png, png_infop info, struct sdg_image **image, png_bytep **rows)
{
    if (setjmp(png_jmpbuf(png)))
        return false;
    png_read_info(png, info);
    ask_for_rgb(png, info);
    png_uint_32 width = png_get_image_width(png, info), height = png_get_image_height(png, info);
    if (png_get_rowbytes(png, info) != 3 * (size_t)width)
        png_error(png, "unexpected pixel layout");
    if (sdg_image_create((int)width, (int)height, image) != SDG_OK ||
        !(*rows = sdg_alloc_raw(NULL, height, sizeof **rows, "rows")))
        png_error(png, "not enough memory");
    for (png_uint_32 y = 0; y < height; y++)
        (*rows)[y] = (*image)->pixels + 3 * (size_t)width * y;
    png_read_image(png, *rows);
    return true;
}

enum sdg_result sdg_png_decode(const struct sdg_log *log, const char *name, const void *data, size_t size,
                               struct sdg_image **out)
{
    struct png_job job = {.data = data, .size = size};
    png_structp png;
    png_infop info;
    png_bytep *rows = NULL;
    *out = NULL;
    if (!reader_create(&job, &png, &info))
        return sdg_fail(log, SDG_ERROR_MEMORY, "%s: not enough memory to read it", name);
    bool good = decode(png, info, out, &rows);
    png_destroy_read_struct(&png, &info, NULL);
    sdg_free(rows);
    if (good)
        return SDG_OK;
    sdg_image_destroy(out);
    return sdg_fail(log, SDG_ERROR_INPUT, "%s: is a broken PNG, or larger than %d pixels a side (%s)", name,
                    SDG_PICTURE_SIDE, job.message);
}

// ---- texts ----

// UTF-8 to Latin-1, in place of `out` (as long as `text`). False if a character is outside of it or the text is broken.
static bool to_latin1(const char *text, char *out)
{
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c < 0x80) {
            *out++ = (char)*c;
        } else if ((*c == 0xc2 || *c == 0xc3) && (c[1] & 0xc0) == 0x80) {
            *out++ = (char)((*c << 6 | (c[1] & 0x3f)) & 0xff);
            c++;
        } else {
            return false;
        }
    }
    *out = 0;
    return true;
}

// A text from a file, for a terminal: UTF-8 as it is, Latin-1 turned into it, control characters replaced. NULL after
// reporting a failed allocation.
static char *printable(const struct sdg_log *log, const char *text, bool latin1)
{
    char *out = sdg_alloc_raw(log, strlen(text) + 1, 2, "a text"), *to = out;
    if (!out)
        return NULL;
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        bool c1 = latin1 ? *c >= 0x80 && *c < 0xa0 : *c == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0;
        if ((*c < 0x20 && *c != '\n' && *c != '\t') || *c == 0x7f || c1) {
            *to++ = '?';
            c += c1 && !latin1;
        } else if (latin1 && *c >= 0x80) {
            *to++ = (char)(0xc0 | *c >> 6);
            *to++ = (char)(0x80 | (*c & 0x3f));
        } else {
            *to++ = (char)*c;
        }
    }
    *to = 0;
    return out;
}

static const png_text *find_parameters(png_structp png, png_infop info)
{
    png_textp texts = NULL;
    int count = 0;
    png_get_text(png, info, &texts, &count);
    for (int i = 0; i < count; i++)
        if (texts[i].key && texts[i].text && !strcmp(texts[i].key, "parameters"))
            return &texts[i];
    return NULL;
}

// Texts may stand before the pixels or after them; those before are enough, even of a file that is cut.
static bool read_texts(png_structp png, png_infop info, png_bytep *row)
{
    if (setjmp(png_jmpbuf(png)))
        return false;
    png_read_info(png, info);
    if (find_parameters(png, info))
        return true;
    int passes = png_set_interlace_handling(png);
    png_read_update_info(png, info);
    png_uint_32 height = png_get_image_height(png, info);
    *row = sdg_alloc_raw(NULL, png_get_rowbytes(png, info), 1, "a row");
    if (!*row)
        png_error(png, "not enough memory");
    while (passes--)
        for (png_uint_32 y = 0; y < height; y++)
            png_read_row(png, *row, NULL);
    png_read_end(png, info);
    return true;
}

enum sdg_result sdg_png_text(const struct sdg_log *log, const char *name, const void *data, size_t size, char **text)
{
    struct png_job job = {.data = data, .size = size};
    png_structp png = NULL;
    png_infop info = NULL;
    png_bytep row = NULL;
    enum sdg_result result = SDG_OK;
    *text = NULL;
    if (!reader_create(&job, &png, &info))
        return sdg_fail(log, SDG_ERROR_MEMORY, "%s: not enough memory to read it", name);
    bool good = read_texts(png, info, &row);
    const png_text *found = good ? find_parameters(png, info) : NULL;
    if (!good)
        result = sdg_fail(log, SDG_ERROR_INPUT, "%s: is a broken PNG (%s)", name, job.message);
    else if (!found)
        result = sdg_fail(log, SDG_ERROR_INPUT, "%s: has no text 'parameters'", name);
    else {
        // An iTXt chunk should be UTF-8, but who knows who wrote it.
        bool latin1 =
            found->compression < PNG_ITXT_COMPRESSION_NONE || !sdg_utf8_valid(found->text, strlen(found->text));
        *text = printable(log, found->text, latin1);
        result = *text ? SDG_OK : SDG_ERROR_MEMORY;
    }
    sdg_free(row);
    png_destroy_read_struct(&png, &info, NULL);
    return result;
}

// ---- writing ----

static bool encode(png_structp png, png_infop info, const struct sdg_image *image, png_text *text)
{
    if (setjmp(png_jmpbuf(png)))
        return false;
    png_set_IHDR(png, info, (png_uint_32)image->width, (png_uint_32)image->height, 8, PNG_COLOR_TYPE_RGB,
                 PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    if (text)
        png_set_text(png, info, text, 1);
    png_write_info(png, info);
    for (int y = 0; y < image->height; y++)
        png_write_row(png, image->pixels + 3 * (size_t)image->width * (size_t)y);
    png_write_end(png, info);
    return true;
}

// The text in the form that a chunk for it takes; both copies are the caller's.
static bool fill_text(const struct sdg_log *log, const char *from, char **latin1, char **utf8, png_text *text)
{
    *latin1 = sdg_strdup(log, from); // never longer
    *utf8 = sdg_strdup(log, from);
    if (!*latin1 || !*utf8)
        return false;
    bool fits = to_latin1(from, *latin1);
    text->compression = fits ? PNG_TEXT_COMPRESSION_NONE : PNG_ITXT_COMPRESSION_NONE;
    text->text = fits ? *latin1 : *utf8;
    text->text_length = fits ? strlen(*latin1) : 0;
    text->itxt_length = fits ? 0 : strlen(*utf8);
    return true;
}

enum sdg_result sdg_png_encode(struct sdg_bytes *bytes, const struct sdg_image *image, const char *text)
{
    struct png_job job = {.bytes = bytes};
    char key[] = "parameters", *latin1 = NULL, *utf8 = NULL;
    png_text chunk = {.key = key};
    enum sdg_result result = SDG_OK;
    png_structp png = NULL;
    png_infop info = NULL;
    if (text && !fill_text(bytes->log, text, &latin1, &utf8, &chunk)) {
        result = SDG_ERROR_MEMORY;
        goto done;
    }
    png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &job, on_error, on_warning);
    info = png ? png_create_info_struct(png) : NULL;
    if (!info) {
        result = sdg_fail(bytes->log, SDG_ERROR_MEMORY, "not enough memory to write a PNG");
        goto done;
    }
    png_set_write_fn(png, &job, write_bytes, flush_nothing);
    if (!encode(png, info, image, text ? &chunk : NULL))
        result = bytes->failed
            ? SDG_ERROR_MEMORY
            : sdg_fail(bytes->log, SDG_ERROR_OUTPUT, "a picture cannot be encoded as PNG (%s)", job.message);
done:
    if (png)
        png_destroy_write_struct(&png, info ? &info : NULL);
    sdg_free(latin1);
    sdg_free(utf8);
    return result;
}

#else

static enum sdg_result absent(const struct sdg_log *log)
{
    return sdg_fail(log, SDG_ERROR_UNSUPPORTED, "this build of sdgen knows no PNG files, only PPM");
}

enum sdg_result sdg_png_decode(const struct sdg_log *log, const char *name, const void *data, size_t size,
                               struct sdg_image **out)
{
    (void)name;
    (void)data;
    (void)size;
    *out = NULL;
    return absent(log);
}

enum sdg_result sdg_png_text(const struct sdg_log *log, const char *name, const void *data, size_t size, char **text)
{
    (void)name;
    (void)data;
    (void)size;
    *text = NULL;
    return absent(log);
}

enum sdg_result sdg_png_encode(struct sdg_bytes *bytes, const struct sdg_image *image, const char *text)
{
    (void)image;
    (void)text;
    return absent(bytes->log);
}

#endif
