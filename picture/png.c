#include "picture/png.h"

#include "base/file.h"
#include "picture/exif.h"
#include "picture/printable.h"
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

// Whatever the file has, rows come as 8-bit RGB, or RGBA where some pixels may be transparent.
static void ask_for_rgb(png_structp png, png_infop info)
{
    png_set_scale_16(png);
    png_set_expand(png); // also a transparent colour, or a palette's, into alpha
    png_set_gray_to_rgb(png);
    png_set_interlace_handling(png);
    png_read_update_info(png, info);
}

// What decode() fills: all is freed by the caller, also after it failed half-way.
struct pixels {
    struct sdg_image *image; // without alpha
    uint8_t *rgba;           // with alpha, [height][width][4]
    png_bytep *rows;
    int width, height;
};

// Everything that may longjmp, apart from the variables that must survive it.
static bool decode(png_structp png, png_infop info, struct pixels *p)
{
    if (setjmp(png_jmpbuf(png)))
        return false;
    png_read_info(png, info);
    ask_for_rgb(png, info);
    p->width = (int)png_get_image_width(png, info);
    p->height = (int)png_get_image_height(png, info);
    const size_t channels = png_get_channels(png, info), stride = channels * (size_t)p->width;
    if ((channels != 3 && channels != 4) || png_get_rowbytes(png, info) != stride)
        png_error(png, "unexpected pixel layout");
    uint8_t *to = NULL;
    if (channels == 4)
        to = p->rgba = sdg_alloc_raw(NULL, (size_t)p->height, stride, "pixels");
    else if (sdg_image_create(p->width, p->height, &p->image) == SDG_OK)
        to = p->image->pixels;
    if (!to || !(p->rows = sdg_alloc_raw(NULL, (size_t)p->height, sizeof *p->rows, "rows")))
        png_error(png, "not enough memory");
    for (size_t y = 0; y < (size_t)p->height; y++)
        p->rows[y] = to + stride * y;
    png_read_image(png, p->rows);
    return true;
}

// What stands behind the pixels. A file that is cut there is whole enough.
static void read_end(png_structp png, png_infop info)
{
    if (setjmp(png_jmpbuf(png)))
        return;
    png_read_end(png, info);
}

static const png_text *find_text(png_structp png, png_infop info, const char *name)
{
    png_textp texts = NULL;
    int count = 0;
    png_get_text(png, info, &texts, &count);
    for (int i = 0; i < count; i++)
        if (texts[i].key && texts[i].text && strcmp(texts[i].key, name) == 0)
            return &texts[i];
    return NULL;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// ImageMagick's way before PNG had a chunk for EXIF: after the kind and the size, on a line each, the block in
// hexadecimal digits. The bytes take the place of the digits.
static struct sdg_exif raw_profile(char *text)
{
    int lines = 0;
    char *from = text, *to = text;
    for (; *from && lines < 3; from++)
        lines += *from == '\n';
    for (int high = -1; *from; from++) {
        int digit = hex_digit(*from);
        if (digit < 0)
            continue;
        if (high >= 0)
            *to++ = (char)(high << 4 | digit);
        high = high < 0 ? digit : -1;
    }
    return sdg_exif_block(text, (size_t)(to - text));
}

// The EXIF block, in memory of libpng's.
static struct sdg_exif find_exif(png_structp png, png_infop info)
{
    static const char *const profiles[] = {"Raw profile type exif", "Raw profile type APP1"};
    struct sdg_exif exif = {0};
#ifdef PNG_eXIf_SUPPORTED
    png_uint_32 size = 0;
    png_bytep block = NULL;
    if (png_get_eXIf_1(png, info, &size, &block) && block)
        exif = sdg_exif_block(block, size);
#endif
    for (size_t i = 0; i < sizeof profiles / sizeof *profiles && !exif.data; i++) {
        const png_text *profile = find_text(png, info, profiles[i]);
        if (profile)
            exif = raw_profile(profile->text);
    }
    return exif;
}

static int find_orientation(png_structp png, png_infop info)
{
    int orientation = sdg_exif_orientation(find_exif(png, info));
    const png_text *xmp = orientation ? NULL : find_text(png, info, "XML:com.adobe.xmp");
    return xmp ? sdg_xmp_orientation(xmp->text, strlen(xmp->text)) : orientation;
}

enum sdg_result sdg_png_decode(const struct sdg_log *log, const char *name, const void *data, size_t size,
                               struct sdg_layers *out)
{
    struct png_job job = {.data = data, .size = size};
    struct pixels pixels = {0};
    png_structp png;
    png_infop info;
    *out = (struct sdg_layers){0};
    if (!reader_create(&job, &png, &info))
        return sdg_fail(log, SDG_ERROR_MEMORY, "%s: not enough memory to read it", name);
    bool good = decode(png, info, &pixels), whole = good;
    if (good && pixels.rgba) {
        whole = sdg_layers_split(pixels.rgba, pixels.width, pixels.height, out);
    } else if (good) {
        out->image = pixels.image;
        pixels.image = NULL;
    }
    if (good) {
        read_end(png, info);
        out->orientation = find_orientation(png, info);
    }
    png_destroy_read_struct(&png, &info, NULL);
    sdg_image_destroy(&pixels.image);
    sdg_free(pixels.rgba);
    sdg_free(pixels.rows);
    if (whole)
        return SDG_OK;
    if (good)
        return sdg_fail(log, SDG_ERROR_MEMORY, "%s: not enough memory for its pixels", name);
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

// Texts may stand before the pixels or after them; those before are enough, even of a file that is cut.
static bool read_texts(png_structp png, png_infop info, png_bytep *row)
{
    if (setjmp(png_jmpbuf(png)))
        return false;
    png_read_info(png, info);
    if (find_text(png, info, "parameters"))
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

// Programs that say in their own words how a picture was made.
static const char *foreign_words(png_structp png, png_infop info)
{
    static const struct {
        const char *key, *words;
    } known[] = {
        {"workflow", "it has ComfyUI's workflow ('workflow'), which sdgen does not read"},
        {"prompt", "it has ComfyUI's graph ('prompt'), which sdgen does not read"},
        {"invokeai_metadata", "it has InvokeAI's parameters ('invokeai_metadata'), which sdgen does not read"},
        {"invokeai_graph", "it has InvokeAI's graph ('invokeai_graph'), which sdgen does not read"},
        {"sd-metadata", "it has InvokeAI's parameters ('sd-metadata'), which sdgen does not read"},
        {"Dream", "it has InvokeAI's command line ('Dream'), which sdgen does not read"},
        {"dream", "it has InvokeAI's command line ('dream'), which sdgen does not read"},
        {"Comment", "it has a text 'Comment', as NovelAI and others write it, which sdgen does not read"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (find_text(png, info, known[i].key))
            return known[i].words;
    return "nothing in it says how it was made";
}

static enum sdg_result take_text(const struct sdg_log *log, const char *name, png_structp png, png_infop info,
                                 char **text)
{
    const png_text *found = find_text(png, info, "parameters");
    if (found) {
        // An iTXt chunk should be UTF-8, but who knows who wrote it.
        bool latin1 =
            found->compression < PNG_ITXT_COMPRESSION_NONE || !sdg_utf8_valid(found->text, strlen(found->text));
        *text = sdg_printable(log, found->text, latin1);
        return *text ? SDG_OK : SDG_ERROR_MEMORY;
    }
    SDG_TRY(sdg_exif_text(log, find_exif(png, info), text));
    if (*text)
        return SDG_OK;
    return sdg_fail(log, SDG_ERROR_INPUT, "%s: has no text 'parameters': %s", name, foreign_words(png, info));
}

enum sdg_result sdg_png_text(const struct sdg_log *log, const char *name, const void *data, size_t size, char **text)
{
    struct png_job job = {.data = data, .size = size};
    png_structp png = NULL;
    png_infop info = NULL;
    png_bytep row = NULL;
    *text = NULL;
    if (!reader_create(&job, &png, &info))
        return sdg_fail(log, SDG_ERROR_MEMORY, "%s: not enough memory to read it", name);
    enum sdg_result result = read_texts(png, info, &row)
        ? take_text(log, name, png, info, text)
        : sdg_fail(log, SDG_ERROR_INPUT, "%s: is a broken PNG (%s)", name, job.message);
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
                               struct sdg_layers *out)
{
    (void)name;
    (void)data;
    (void)size;
    *out = (struct sdg_layers){0};
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
