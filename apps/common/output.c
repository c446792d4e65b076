#include "output.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// -------------------------------------------------------------------------------------------------- names

// Length of the number's place at `text` ("%d", "%3d", "%03d"), 0 if it is something else.
static size_t place_length(const char *text)
{
    size_t digits = strspn(text + 1, "0123456789");
    return text[0] == '%' && digits <= 3 && text[1 + digits] == 'd' ? digits + 2 : 0;
}

bool app_output_numbered(const char *pattern)
{
    const char *percent = strchr(pattern, '%');
    return percent && place_length(percent);
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
                        "'%.120s': a '%%' in an output name must be one %%d (or %%03d), the number of the picture",
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

static enum sdg_result fail_errno(struct app_ui *ui, const char *path, const char *what)
{
    return app_fail(ui, SDG_ERROR_OUTPUT, "%.200s: %s: %s", path, what, strerror(errno));
}

// The name to put the file under: a link to a regular file is followed, so the link stays one.
static char *target_of(const char *path)
{
    struct stat status;
    char *resolved = NULL;
    if (lstat(path, &status) == 0 && S_ISLNK(status.st_mode))
        resolved = realpath(path, NULL);
    return resolved ? resolved : strdup(path);
}

// Creates an empty file beside `target` with the permissions of a new file. Returns a descriptor, -1 with errno set.
static int create_beside(const char *target, char **temp)
{
    const char *slash = strrchr(target, '/');
    size_t folder = slash ? (size_t)(slash - target) + 1 : 0;
    const char suffix[] = ".sdgen-XXXXXX";
    *temp = malloc(folder + sizeof suffix);
    if (!*temp)
        return -1;
    memcpy(*temp, target, folder);
    memcpy(*temp + folder, suffix, sizeof suffix);
    int fd = mkstemp(*temp);
    if (fd < 0) {
        free(*temp);
        *temp = NULL;
        return -1;
    }
    mode_t mask = umask(0);
    umask(mask);
    fchmod(fd, 0666 & ~mask);
    return fd;
}

enum sdg_result app_output_open(struct app_ui *ui, const char *path, struct app_output *output)
{
    *output = (struct app_output){0};
    if (!strcmp(path, "-")) {
        output->file = stdout;
        output->path = strdup("standard output");
        return output->path ? SDG_OK : app_fail(ui, SDG_ERROR_MEMORY, "not enough memory for a file name");
    }
    struct stat status;
    bool exists = stat(path, &status) == 0;
    if (exists && S_ISDIR(status.st_mode))
        return app_fail(ui, SDG_ERROR_OUTPUT, "%.200s: cannot be written: it is a folder", path);
    output->path = exists && S_ISREG(status.st_mode) ? target_of(path) : strdup(path);
    if (!output->path)
        return app_fail(ui, SDG_ERROR_MEMORY, "not enough memory for a file name");
    if (exists && !S_ISREG(status.st_mode)) { // renaming over a device or a pipe would remove it
        output->file = fopen(path, "wb");
    } else {
        int fd = create_beside(output->path, &output->temp);
        output->file = fd < 0 ? NULL : fdopen(fd, "wb");
        if (fd >= 0 && !output->file)
            close(fd);
        app_signals_remove_file(output->temp);
    }
    if (output->file)
        return SDG_OK;
    enum sdg_result result = fail_errno(ui, path, "cannot be written");
    app_output_discard(output);
    return result;
}

enum sdg_result app_output_check(struct app_ui *ui, const char *path)
{
    if (!strcmp(path, "-"))
        return SDG_OK;
    struct stat status;
    if (stat(path, &status) == 0 && !S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode))
        return access(path, W_OK) == 0 ? SDG_OK : fail_errno(ui, path, "cannot be written");
    struct app_output output;
    enum sdg_result result = app_output_open(ui, path, &output);
    app_output_discard(&output);
    return result;
}

enum sdg_result app_output_commit(struct app_ui *ui, struct app_output *output)
{
    bool failed = ferror(output->file) != 0;
    int reason = failed ? errno : 0;
    if (!failed && fflush(output->file)) {
        failed = true;
        reason = errno;
    }
    if (output->file != stdout && fclose(output->file) && !failed) {
        failed = true;
        reason = errno;
    }
    output->file = NULL;
    if (!failed && output->temp && rename(output->temp, output->path)) {
        failed = true;
        reason = errno;
    }
    enum sdg_result result = SDG_OK;
    if (failed)
        result = app_fail(ui, SDG_ERROR_OUTPUT, "%.200s: cannot be written%s%s", output->path, reason ? ": " : "",
                          reason ? strerror(reason) : "");
    else if (output->temp) { // has its name now: nothing to remove
        app_signals_remove_file(NULL);
        free(output->temp);
        output->temp = NULL;
    }
    app_output_discard(output);
    return result;
}

void app_output_discard(struct app_output *output)
{
    if (output->file && output->file != stdout)
        fclose(output->file);
    app_signals_remove_file(NULL);
    if (output->temp)
        unlink(output->temp);
    free(output->temp);
    free(output->path);
    *output = (struct app_output){0};
}
