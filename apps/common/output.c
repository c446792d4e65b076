#include "output.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// -------------------------------------------------------------------------------------------------- names

// Length of the number's place at `text` ("%d", "%3d", "%03d"), 0 if it is something else.
static size_t place_length(const char *text)
{
    size_t digits = strspn(text + 1, "0123456789");
    return text[0] == '%' && digits <= 3 && text[1 + digits] == 'd' ? digits + 2 : 0;
}

static const char *extension(const char *path)
{
    const char *slash = strrchr(path, '/'), *dot = strrchr(path, '.');
    return dot && (!slash || dot > slash + 1) && dot != path ? dot : path + strlen(path);
}

enum sdg_result app_output_name(struct app_ui *ui, const char *pattern, int64_t number, int64_t count, char **name)
{
    const char *percent = strchr(pattern, '%');
    size_t place = percent ? place_length(percent) : 0;
    if (percent && (!place || strchr(percent + place, '%')))
        return app_fail(ui, SDG_ERROR_USAGE,
                        "'%s': a '%%' in an output name must be one %%d (or %%03d), the number of the picture",
                        pattern);
    size_t size = strlen(pattern) + 1032; // a width has up to three digits
    char *text = malloc(size);
    if (!text)
        return app_fail(ui, SDG_ERROR_MEMORY, "not enough memory for a file name");
    const char *end = extension(pattern);
    if (place) {
        int width = atoi(percent + 1);
        const char *format = percent[1] == '0' ? "%.*s%0*lld%s" : "%.*s%*lld%s";
        snprintf(text, size, format, (int)(percent - pattern), pattern, width, (long long)number, percent + place);
    } else if (count > 1) {
        snprintf(text, size, "%.*s_%lld%s", (int)(end - pattern), pattern, (long long)number + 1, end);
    } else {
        snprintf(text, size, "%s", pattern);
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
    if (!strcmp(path, "-"))
        return SDG_OK;
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

enum sdg_result app_output_bytes(struct app_ui *ui, const char *path, const void *data, size_t size)
{
    struct sdg_output *output;
    enum sdg_result result = app_output_open(ui, path, &output);
    if (result != SDG_OK)
        return result;
    sdg_output_write(output, data, size); // a failure stays with the output
    return sdg_output_commit(&output);
}
