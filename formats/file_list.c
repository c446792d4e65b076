#include "formats/file_list.h"

#include "base/directory.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

// ---- names ----

static bool is_system(const struct sdg_files *files, const char *path)
{
    return !files || !files->listed || *path == '/';
}

static enum sdg_result refuse_name(const struct sdg_log *log, size_t i, const char *name, const char *why)
{
    return sdg_fail(log, SDG_ERROR_USAGE, "files[%zu]: the name \"%.200s\" %s", i, name, why);
}

static bool is_part(const char *part, size_t length, const char *text)
{
    return strlen(text) == length && memcmp(part, text, length) == 0;
}

static enum sdg_result check_name(const struct sdg_log *log, size_t i, const char *name)
{
    if (!name)
        return sdg_fail(log, SDG_ERROR_USAGE, "files[%zu]: its name is NULL", i);
    if (strlen(name) >= SDG_FILE_NAME_BYTES)
        return refuse_name(log, i, name, "is longer than 1023 bytes");
    if (!sdg_utf8_valid(name, strlen(name)))
        return refuse_name(log, i, name, "is not valid UTF-8");
    for (const char *part = name;; part++) {
        const size_t length = strcspn(part, "/");
        if (!length)
            return refuse_name(log, i, name, *name ? "begins or ends with a /, or has two together" : "is empty");
        if (is_part(part, length, ".") || is_part(part, length, ".."))
            return refuse_name(log, i, name, "has a part . or .., which is no place in a list");
        part += length;
        if (!*part)
            return SDG_OK;
    }
}

// The name that `path` comes to: without ".", empty parts and what ".." takes back; "" is the list itself. False if it
// leads out of the list, or is longer than names are.
static bool resolve(const char *path, char name[static SDG_FILE_NAME_BYTES])
{
    size_t used = 0;
    for (size_t length; *path; path += length + (path[length] == '/')) {
        length = strcspn(path, "/");
        if (!length || is_part(path, length, "."))
            continue;
        if (is_part(path, length, "..")) {
            if (!used)
                return false;
            while (used && name[--used] != '/')
                ;
            continue;
        }
        const size_t slash = used > 0;
        if (used + slash + length >= SDG_FILE_NAME_BYTES)
            return false;
        if (slash)
            name[used++] = '/';
        memcpy(name + used, path, length);
        used += length;
    }
    name[used] = 0;
    return true;
}

// ---- places in the sorted list ----

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const struct sdg_file *const *)a)->name, (*(const struct sdg_file *const *)b)->name);
}

// The first whose name is not before the first `length` bytes of `text`.
static size_t lower_bound(const struct sdg_files *files, const char *text, size_t length)
{
    size_t low = 0, high = files->count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (strncmp(files->sorted[middle]->name, text, length) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static const struct sdg_file *find_file(const struct sdg_files *files, const char *name)
{
    const size_t at = lower_bound(files, name, strlen(name) + 1);
    return at < files->count && strcmp(files->sorted[at]->name, name) == 0 ? files->sorted[at] : NULL;
}

// The first file below a folder, and how long what its name begins with is, with the /; files->count if there is none.
static size_t find_folder(const struct sdg_files *files, char name[static SDG_FILE_NAME_BYTES], size_t *length)
{
    *length = strlen(name);
    if (*length) {
        if (*length + 1 == SDG_FILE_NAME_BYTES)
            return files->count;
        name[(*length)++] = '/';
        name[*length] = 0;
    }
    const size_t at = lower_bound(files, name, *length);
    return at < files->count && strncmp(files->sorted[at]->name, name, *length) == 0 ? at : files->count;
}

// ---- the list ----

static enum sdg_result check_twice(const struct sdg_log *log, const struct sdg_files *files)
{
    for (size_t i = 0; i < files->count; i++) {
        const char *name = files->sorted[i]->name;
        if (i && strcmp(files->sorted[i - 1]->name, name) == 0)
            return sdg_fail(log, SDG_ERROR_USAGE, "files: the name \"%.200s\" is there twice", name);
        for (const char *slash = name; (slash = strchr(slash, '/')); slash++) {
            char folder[SDG_FILE_NAME_BYTES];
            memcpy(folder, name, (size_t)(slash - name));
            folder[slash - name] = 0;
            if (find_file(files, folder))
                return sdg_fail(log, SDG_ERROR_USAGE, "files: \"%.200s\" is the name of a file and a folder of %.200s",
                                folder, name);
        }
    }
    return SDG_OK;
}

static enum sdg_result check_list(const struct sdg_log *log, const struct sdg_file *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        SDG_TRY(check_name(log, i, list[i].name));
    for (size_t i = 0; i < count; i++)
        SDG_TRY(sdg_file_check(log, &list[i]));
    return SDG_OK;
}

enum sdg_result sdg_files_init(const struct sdg_log *log, const struct sdg_file *list, size_t count, bool copy,
                               struct sdg_files *out)
{
    struct sdg_files files = {.listed = list || count, .count = count, .copy = copy};
    *out = (struct sdg_files){.copy = copy};
    if (!files.listed)
        return SDG_OK;
    if (!list || !count)
        return sdg_fail(log, SDG_ERROR_USAGE,
                        list ? "files: there are none, file_count is 0" : "files is NULL, but file_count is not 0");
    SDG_TRY(check_list(log, list, count));
    files.sorted = sdg_alloc_raw(log, count, sizeof(const struct sdg_file *), "a list of files");
    if (!files.sorted)
        return SDG_ERROR_MEMORY;
    for (size_t i = 0; i < count; i++)
        files.sorted[i] = &list[i];
    qsort(files.sorted, count, sizeof(const struct sdg_file *), by_name);
    const enum sdg_result result = check_twice(log, &files);
    if (result == SDG_OK)
        *out = files;
    else
        sdg_files_clear(&files);
    return result;
}

void sdg_files_clear(struct sdg_files *files)
{
    sdg_free(files->sorted);
    *files = (struct sdg_files){0};
}

// ---- what is asked ----

enum sdg_path_kind sdg_files_kind(const struct sdg_files *files, const char *path)
{
    char name[SDG_FILE_NAME_BYTES];
    size_t length;
    if (is_system(files, path))
        return sdg_path_kind(path);
    if (!resolve(path, name))
        return SDG_PATH_MISSING;
    if (find_file(files, name))
        return SDG_PATH_FILE;
    return find_folder(files, name, &length) < files->count ? SDG_PATH_FOLDER : SDG_PATH_MISSING;
}

bool sdg_files_is_dangling(const struct sdg_files *files, const char *path)
{
    return is_system(files, path) && sdg_path_is_dangling(path);
}

static enum sdg_result find(const struct sdg_log *log, const struct sdg_files *files, const char *path,
                            struct sdg_file *out)
{
    char name[SDG_FILE_NAME_BYTES];
    if (is_system(files, path)) {
        *out = sdg_file_of_path(path);
        return SDG_OK;
    }
    const struct sdg_file *found = resolve(path, name) ? find_file(files, name) : NULL;
    if (!found)
        return sdg_fail(log, SDG_ERROR_INPUT,
                        sdg_files_kind(files, path) == SDG_PATH_FOLDER ? "%s: is a folder, a file is needed"
                                                                       : "%s: is none of the files that were given",
                        path);
    *out = *found;
    return SDG_OK;
}

enum sdg_result sdg_files_text(const struct sdg_log *log, const struct sdg_files *files, const char *path, size_t limit,
                               char **text)
{
    struct sdg_file file;
    SDG_TRY(find(log, files, path, &file));
    return sdg_file_text(log, &file, limit, text);
}

enum sdg_result sdg_files_head(const struct sdg_log *log, const struct sdg_files *files, const char *path, void *head,
                               size_t room, size_t *got)
{
    struct sdg_file file;
    SDG_TRY(find(log, files, path, &file));
    return sdg_file_head(log, &file, head, room, got);
}

enum sdg_result sdg_files_map(const struct sdg_log *log, const struct sdg_files *files, const char *path,
                              struct sdg_map *out)
{
    struct sdg_file file;
    SDG_TRY(find(log, files, path, &file));
    return sdg_file_map(log, &file, files && files->copy, out);
}

// Calls fn for the files, or the folders, whose names have nothing more, or something more, behind the folder's.
static enum sdg_result list_names(const struct sdg_log *log, const struct sdg_files *files, const char *folder,
                                  bool folders, enum sdg_result (*fn)(void *user, const char *name), void *user)
{
    char name[SDG_FILE_NAME_BYTES], last[SDG_FILE_NAME_BYTES] = "";
    size_t length = 0, at = resolve(folder, name) ? find_folder(files, name, &length) : files->count;
    if (at == files->count)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: is no folder of the files that were given", folder);
    for (; at < files->count && strncmp(files->sorted[at]->name, name, length) == 0; at++) {
        const char *inside = files->sorted[at]->name + length;
        const size_t part = strcspn(inside, "/");
        if ((inside[part] == '/') != folders || is_part(inside, part, last))
            continue;
        memcpy(last, inside, part);
        last[part] = 0;
        SDG_TRY(fn(user, last));
    }
    return SDG_OK;
}

enum sdg_result sdg_files_list(const struct sdg_log *log, const struct sdg_files *files, const char *folder,
                               enum sdg_result (*fn)(void *user, const char *name), void *user)
{
    return is_system(files, folder) ? sdg_folder_list(log, folder, fn, user)
                                    : list_names(log, files, folder, false, fn, user);
}

enum sdg_result sdg_files_list_folders(const struct sdg_log *log, const struct sdg_files *files, const char *folder,
                                       enum sdg_result (*fn)(void *user, const char *name), void *user)
{
    return is_system(files, folder) ? sdg_folder_list_folders(log, folder, fn, user)
                                    : list_names(log, files, folder, true, fn, user);
}
