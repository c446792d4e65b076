#include "png.h"

#include <png.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include "image.h"

// Texts of a hostile file: how long one may be, and how many chunks of any kind are kept.
enum { CHUNK_BYTES = 8 << 20, CHUNKS = 256 };

// What libpng's callbacks need. Errors are told by the caller: only it knows whether the file failed or the library.
struct png_job {
    const char *data; // reading: what is left
    size_t size;
    FILE *file; // writing
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
    if (fwrite(from, 1, size, job->file) != size)
        png_error(png, "write error");
}

static void flush_nothing(png_structp png)
{
    (void)png;
}

bool app_png_is(const char *data, size_t size)
{
    return size >= 8 && !png_sig_cmp((png_const_bytep)data, 0, 8);
}

static bool reader_create(struct png_job *job, png_structp *png, png_infop *info)
{
    *png = png_create_read_struct(PNG_LIBPNG_VER_STRING, job, on_error, on_warning);
    *info = *png ? png_create_info_struct(*png) : NULL;
    if (!*info) {
        png_destroy_read_struct(png, NULL, NULL);
        return false;
    }
    png_set_user_limits(*png, APP_IMAGE_SIDE, APP_IMAGE_SIDE);
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
    if (sdg_image_create((int)width, (int)height, image) != SDG_OK || !(*rows = malloc(height * sizeof **rows)))
        png_error(png, "not enough memory");
    for (png_uint_32 y = 0; y < height; y++)
        (*rows)[y] = (*image)->pixels + 3 * (size_t)width * y;
    png_read_image(png, *rows);
    return true;
}

enum sdg_result app_png_read(struct app_ui *ui, const char *name, const char *data, size_t size,
                             struct sdg_image **image)
{
    struct png_job job = {.data = data, .size = size};
    png_structp png;
    png_infop info;
    png_bytep *rows = NULL;
    *image = NULL;
    if (!reader_create(&job, &png, &info))
        return app_fail(ui, SDG_ERROR_MEMORY, "%.200s: not enough memory to read it", name);
    bool good = decode(png, info, image, &rows);
    png_destroy_read_struct(&png, &info, NULL);
    free(rows);
    if (good)
        return SDG_OK;
    sdg_image_destroy(image);
    return app_fail(ui, SDG_ERROR_INPUT, "%.200s: is a broken PNG, or larger than %d pixels a side (%s)", name,
                    APP_IMAGE_SIDE, job.message);
}

// -------------------------------------------------------------------------------------------------- texts

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

// A text from a file, for a terminal: valid as it is or Latin-1 turned into UTF-8, control characters replaced.
static char *printable(const char *text, bool latin1)
{
    char *out = malloc(2 * strlen(text) + 1), *to = out;
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
    *row = malloc(png_get_rowbytes(png, info));
    if (!*row)
        png_error(png, "not enough memory");
    while (passes--)
        for (png_uint_32 y = 0; y < height; y++)
            png_read_row(png, *row, NULL);
    png_read_end(png, info);
    return true;
}

enum sdg_result app_png_parameters(struct app_ui *ui, const char *path, char **text)
{
    const char *name = strcmp(path, "-") ? path : "standard input";
    char *data = NULL;
    struct png_job job = {0};
    *text = NULL;
    enum sdg_result result = app_file_read(ui, path, APP_IMAGE_BYTES, &data, &job.size);
    if (result != SDG_OK)
        return result;
    job.data = data;
    png_structp png = NULL;
    png_infop info = NULL;
    png_bytep row = NULL;
    if (!app_png_is(data, job.size)) {
        result = app_fail(ui, SDG_ERROR_INPUT, "%.200s: is not a PNG, only those carry parameters", name);
    } else if (!reader_create(&job, &png, &info)) {
        result = app_fail(ui, SDG_ERROR_MEMORY, "%.200s: not enough memory to read it", name);
    } else if (!read_texts(png, info, &row)) {
        result = app_fail(ui, SDG_ERROR_INPUT, "%.200s: is a broken PNG (%s)", name, job.message);
    } else {
        const png_text *found = find_parameters(png, info);
        if (!found)
            result = app_fail(ui, SDG_ERROR_INPUT, "%.200s: has no text 'parameters'", name);
        else if (!(*text = printable(found->text, found->compression < PNG_ITXT_COMPRESSION_NONE)))
            result = app_fail(ui, SDG_ERROR_MEMORY, "%.200s: not enough memory for its text", name);
    }
    free(row);
    if (png)
        png_destroy_read_struct(&png, &info, NULL);
    free(data);
    return result;
}

// -------------------------------------------------------------------------------------------------- writing

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

enum sdg_result app_png_write(struct app_ui *ui, const char *name, FILE *file, const struct sdg_image *image,
                              const char *parameters)
{
    struct png_job job = {.file = file};
    char key[] = "parameters", *latin1 = NULL, *utf8 = NULL;
    png_text text = {.key = key};
    if (parameters) {
        latin1 = malloc(strlen(parameters) + 1);
        utf8 = strdup(parameters);
        if (!latin1 || !utf8) {
            free(latin1);
            free(utf8);
            return app_fail(ui, SDG_ERROR_MEMORY, "%.200s: not enough memory for the parameters", name);
        }
        bool fits = to_latin1(parameters, latin1);
        text.compression = fits ? PNG_TEXT_COMPRESSION_NONE : PNG_ITXT_COMPRESSION_NONE;
        text.text = fits ? latin1 : utf8;
        text.text_length = fits ? strlen(latin1) : 0;
        text.itxt_length = fits ? 0 : strlen(utf8);
    }
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &job, on_error, on_warning);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    enum sdg_result result = SDG_OK;
    if (!info) {
        result = app_fail(ui, SDG_ERROR_MEMORY, "%.200s: not enough memory to write it", name);
    } else {
        png_set_write_fn(png, &job, write_bytes, flush_nothing);
        // A failed write sticks to the file and is told with its reason when the output is committed.
        if (!encode(png, info, image, parameters ? &text : NULL) && !ferror(file))
            result = app_fail(ui, SDG_ERROR_OUTPUT, "%.200s: cannot be encoded as PNG (%s)", name, job.message);
    }
    if (png)
        png_destroy_write_struct(&png, info ? &info : NULL);
    free(latin1);
    free(utf8);
    return result;
}
