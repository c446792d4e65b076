#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// -------------------------------------------------------------------------------------------------- names

enum { DIGITS = 20 }; // at most, of the number in a name

// The number's place at `text`: "%d", "%3d", "%03d". Its length, 0 if it is something else; *width is what it says.
static size_t place_length(const char *text, long *width)
{
    size_t digits = strspn(text + 1, "0123456789");
    if (text[0] != '%' || text[1 + digits] != 'd')
        return 0;
    *width = strtol(text + 1, NULL, 10); // LONG_MAX where it is larger
    return digits + 2;
}

static const char *extension(const char *path)
{
    const char *slash = strrchr(path, '/'), *dot = strrchr(path, '.');
    return dot && (!slash || dot > slash + 1) && dot != path ? dot : path + strlen(path);
}

// Copies the pattern's last part with the number in its place. *places counts the places.
static void fill_name(const char *from, int64_t number, char *to, int *places)
{
    long width;
    *places = 0;
    while (*from) {
        size_t place = place_length(from, &width);
        if (place && ++*places == 1 && width <= DIGITS)
            to += sprintf(to, from[1] == '0' ? "%0*lld" : "%*lld", (int)width, (long long)number);
        else if (!place)
            *to++ = *from;
        from += place ? place : from[0] == '%' && from[1] == '%' ? 2 : 1;
    }
    *to = 0;
}

static enum sdg_result check_pattern(struct app_ui *ui, const char *pattern, const char *last)
{
    long width = 0;
    int places = 0;
    for (const char *c = last; *c; c += *c == '%' && c[1] == '%' ? 2 : 1) {
        if (!place_length(c, &width))
            continue;
        places++;
        if (width > DIGITS)
            return app_fail(ui, SDG_ERROR_USAGE,
                            "'%.200s': the number of the picture, %%d, may be of at most %d digits (%%0%dd)", pattern,
                            (int)DIGITS, (int)DIGITS);
    }
    if (places > 1)
        return app_fail(
            ui, SDG_ERROR_USAGE,
            "'%.200s': an output name has one %%d (or %%03d), the number of the picture; a percent sign before "
            "a d is %%%%",
            pattern);
    return SDG_OK;
}

enum sdg_result app_output_name(struct app_ui *ui, const char *pattern, int64_t number, int64_t count, char **name)
{
    const char *last = sdg_path_name(pattern);
    enum sdg_result result = check_pattern(ui, pattern, last);
    if (result != SDG_OK)
        return result;
    size_t size = strlen(pattern) + 2 * DIGITS + 2;
    char *text = malloc(size);
    if (!text)
        return app_fail(ui, SDG_ERROR_MEMORY, "not enough memory for a file name");
    int places;
    memcpy(text, pattern, (size_t)(last - pattern));
    fill_name(last, number, text + (last - pattern), &places);
    if (!places && count > 1) {
        char *end = text + (extension(text) - text), suffix[DIGITS + 2];
        int length = snprintf(suffix, sizeof suffix, "_%lld", (long long)number);
        memmove(end + length, end, strlen(end) + 1);
        memcpy(end, suffix, (size_t)length);
    }
    *name = text;
    return SDG_OK;
}

// -------------------------------------------------------------------------------------------------- files

enum sdg_result app_output_open(struct app_ui *ui, const char *path, struct sdg_output **output)
{
    *output = NULL;
    if (!strcmp(path, "-"))
        return sdg_output_stream(app_log_of(ui), stdout, "standard output", output);
    return sdg_output_open(app_log_of(ui), path, output);
}

enum sdg_result app_output_check(struct app_ui *ui, const char *path)
{
    if (!strcmp(path, "-")) {
        int flags = fcntl(STDOUT_FILENO, F_GETFL);
        if (flags >= 0 && (flags & O_ACCMODE) != O_RDONLY)
            return SDG_OK;
        return app_fail(ui, SDG_ERROR_OUTPUT, "standard output: cannot be written: it is %s",
                        flags < 0 ? "closed" : "open for reading only");
    }
    // A pipe must not be opened just to see: its reader would find its end.
    if (sdg_path_kind(path) == SDG_PATH_OTHER)
        return access(path, W_OK) == 0
            ? SDG_OK
            : app_fail(ui, SDG_ERROR_OUTPUT, "%s: cannot be written: %s", path, strerror(errno));
    struct sdg_output *output;
    enum sdg_result result = app_output_open(ui, path, &output);
    sdg_output_discard(&output);
    return result;
}

enum sdg_result app_output_check_apart(struct app_ui *ui, const char *option, const char *path, const char *other,
                                       const char *other_path)
{
    if (!path || !other_path || !strcmp(path, "-") || !strcmp(other_path, "-") || !sdg_path_is_same(path, other_path))
        return SDG_OK;
    return app_fail(ui, SDG_ERROR_USAGE, "--%s and --%s are one file, %s: name another", option, other, path);
}

enum sdg_result app_output_check_absent(struct app_ui *ui, const char *path)
{
    enum sdg_path_kind kind = strcmp(path, "-") ? sdg_path_kind(path) : SDG_PATH_OTHER;
    if (kind == SDG_PATH_MISSING || kind == SDG_PATH_OTHER)
        return SDG_OK;
    return app_fail(ui, SDG_ERROR_OUTPUT, "%s: exists already, and is not replaced (--no-clobber)", path);
}

enum sdg_result app_output_bytes(struct app_ui *ui, const char *path, const void *data, size_t size)
{
    struct sdg_output *output;
    enum sdg_result result = app_output_open(ui, path, &output);
    if (result != SDG_OK)
        return result;
    sdg_output_write(output, data, size); // a failure stays with the output
    return sdg_output_commit(&output);
}

enum sdg_result app_output_picture(struct app_ui *ui, const char *path, enum sdg_picture_format format,
                                   const struct sdg_image *image, const char *text)
{
    uint8_t *data = NULL;
    size_t size = 0;
    enum sdg_result result = sdg_picture_encode(app_log_of(ui), format, image, text, &data, &size);
    if (result == SDG_OK)
        result = app_output_bytes(ui, path, data, size);
    sdg_picture_free(data);
    return result;
}
