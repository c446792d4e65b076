#include "base/directory.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/unfinished.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static enum sdg_result list(const struct sdg_log *log, const char *folder, enum sdg_path_kind kind,
                            enum sdg_result (*fn)(void *user, const char *name), void *user)
{
    enum sdg_result result = SDG_OK;
    DIR *dir = opendir(folder);
    if (!dir)
        return sdg_fail_system(log, SDG_ERROR_INPUT, folder, "cannot be listed");
    for (struct dirent *entry; result == SDG_OK && (entry = readdir(dir));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        char *path = sdg_path_join(log, folder, entry->d_name);
        if (!path)
            result = SDG_ERROR_MEMORY;
        else if (sdg_path_kind(path) == kind)
            result = fn(user, entry->d_name);
        sdg_free(path);
    }
    closedir(dir);
    return result;
}

enum sdg_result sdg_folder_list(const struct sdg_log *log, const char *folder,
                                enum sdg_result (*fn)(void *user, const char *name), void *user)
{
    return list(log, folder, SDG_PATH_FILE, fn, user);
}

enum sdg_result sdg_folder_list_folders(const struct sdg_log *log, const char *folder,
                                        enum sdg_result (*fn)(void *user, const char *name), void *user)
{
    return list(log, folder, SDG_PATH_FOLDER, fn, user);
}

// ---- relative paths ----

static enum sdg_result resolve(const struct sdg_log *log, const char *path, char **out)
{
    char *full = realpath(path, NULL);
    if (!full)
        return sdg_fail_system(log, SDG_ERROR_INPUT, path, "cannot be resolved");
    *out = full;
    return SDG_OK;
}

// Both absolute and without "." and "..".
static char *relative(const struct sdg_log *log, const char *from, const char *to)
{
    size_t same = 0, ups = 0, at = 0;
    for (size_t i = 0;; i++) { // the longest common part that ends at a '/' or the end of both
        bool from_ends = from[i] == '/' || from[i] == 0, to_ends = to[i] == '/' || to[i] == 0;
        if (from_ends && to_ends)
            same = i;
        if (from[i] != to[i] || from[i] == 0)
            break;
    }
    for (const char *c = from + same; *c; c++)
        ups += *c == '/' && c[1] != 0;
    const char *rest = to + same + (to[same] == '/');
    char *path = sdg_alloc(log, 3 * ups + strlen(rest) + 2, 1, "a path");
    if (!path)
        return NULL;
    for (size_t i = 0; i < ups; i++, at += 3)
        memcpy(path + at, "../", 3);
    strcpy(path + at, rest);
    size_t length = strlen(path);
    if (length > 0 && path[length - 1] == '/')
        path[length - 1] = 0;
    if (!path[0])
        strcpy(path, ".");
    return path;
}

enum sdg_result sdg_path_relative(const struct sdg_log *log, const char *from, const char *to, char **out)
{
    char *full_from = NULL, *full_to = NULL;
    enum sdg_result result = resolve(log, from, &full_from);
    if (result == SDG_OK)
        result = resolve(log, to, &full_to);
    if (result == SDG_OK) {
        char *path = relative(log, full_from, full_to);
        result = path ? SDG_OK : SDG_ERROR_MEMORY;
        if (path)
            *out = path;
    }
    free(full_from);
    free(full_to);
    return result;
}

// ---- folders as outputs ----

struct sdg_folder_output {
    const struct sdg_log *log;
    char *path, *temporary;
    bool replace;
    const char *const *own; // NULL: everything
};

// Links are removed, not followed.
static void remove_tree(const char *path)
{
    struct stat info;
    if (lstat(path, &info) == 0 && S_ISDIR(info.st_mode)) {
        DIR *dir = opendir(path);
        for (struct dirent *entry; dir && (entry = readdir(dir));) {
            if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
                continue;
            char *child = sdg_path_join(NULL, path, entry->d_name);
            if (child)
                remove_tree(child);
            sdg_free(child);
        }
        if (dir)
            closedir(dir);
    }
    remove(path);
}

// A name next to `path` that nobody else has: mkdir decides races. Folders are made with the mode that the user's umask
// gives.
static enum sdg_result make_temporary(const struct sdg_log *log, const char *path, char **out)
{
    size_t length = strlen(path), bytes = length + 48;
    char *name = sdg_alloc_raw(log, bytes, 1, "a path");
    if (!name)
        return SDG_ERROR_MEMORY;
    for (unsigned attempt = 0; attempt < 1000; attempt++) {
        snprintf(name, bytes, "%s.%ld-%u.part", path, (long)getpid(), attempt);
        if (mkdir(name, 0777) == 0) {
            *out = name;
            return SDG_OK;
        }
        if (errno != EEXIST)
            break;
    }
    sdg_free(name);
    return sdg_fail_system(log, SDG_ERROR_OUTPUT, path, "cannot be created");
}

static void free_output(struct sdg_folder_output *o)
{
    sdg_unfinished_done(o->temporary);
    sdg_free(o->path);
    sdg_free(o->temporary);
    sdg_free(o);
}

enum sdg_result sdg_folder_output_open(const struct sdg_log *log, const char *path, bool replace,
                                       struct sdg_folder_output **out)
{
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/')
        length--;
    struct stat info;
    if (!length)
        return sdg_fail(log, SDG_ERROR_USAGE, "the output folder has no name");
    if (!replace && lstat(path, &info) == 0)
        return sdg_fail(log, SDG_ERROR_OUTPUT, "%s exists already", path);
    struct sdg_folder_output *o = sdg_alloc(log, 1, sizeof *o, "an output folder");
    if (!o)
        return SDG_ERROR_MEMORY;
    *o = (struct sdg_folder_output){.log = log, .replace = replace, .path = sdg_strdup(log, path)};
    enum sdg_result result = o->path ? SDG_OK : SDG_ERROR_MEMORY;
    if (result == SDG_OK) {
        o->path[length] = 0;
        result = make_temporary(log, o->path, &o->temporary);
    }
    if (result != SDG_OK) {
        free_output(o);
        return result;
    }
    sdg_unfinished_add(o->temporary);
    *out = o;
    return SDG_OK;
}

const char *sdg_folder_output_path(const struct sdg_folder_output *output)
{
    return output->temporary;
}

enum sdg_result sdg_folder_output_add(struct sdg_folder_output *o, const char *name)
{
    char *path = sdg_path_join(o->log, o->temporary, name);
    if (!path)
        return SDG_ERROR_MEMORY;
    enum sdg_result result = SDG_OK;
    if (mkdir(path, 0777) != 0 && sdg_path_kind(path) != SDG_PATH_FOLDER)
        result = sdg_fail_system(o->log, SDG_ERROR_OUTPUT, path, "cannot be created");
    sdg_free(path);
    return result;
}

void sdg_folder_output_keep_others(struct sdg_folder_output *o, const char *const *own)
{
    o->own = own;
}

// Moves `name` from the folder that was replaced to the one in its place, unless it is the program's own or is there
// already.
static enum sdg_result keep_other(const struct sdg_folder_output *o, const char *aside, const char *name)
{
    for (const char *const *own = o->own; *own; own++)
        if (strcmp(*own, name) == 0)
            return SDG_OK;
    char *from = sdg_path_join(o->log, aside, name), *to = sdg_path_join(o->log, o->path, name);
    enum sdg_result result = from && to ? SDG_OK : SDG_ERROR_MEMORY;
    struct stat info;
    if (result == SDG_OK && lstat(to, &info) != 0 && rename(from, to) != 0)
        result =
            sdg_fail_system(o->log, SDG_ERROR_OUTPUT, from, "is not sdgen's and cannot be moved to the new folder");
    sdg_free(from);
    sdg_free(to);
    return result;
}

static enum sdg_result keep_others(const struct sdg_folder_output *o, const char *aside)
{
    enum sdg_result result = SDG_OK;
    DIR *dir = o->own ? opendir(aside) : NULL;
    for (struct dirent *entry; dir && result == SDG_OK && (entry = readdir(dir));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            result = keep_other(o, aside, entry->d_name);
    if (dir)
        closedir(dir);
    return result;
}

static enum sdg_result fail_rename(const struct sdg_folder_output *o)
{
    return sdg_fail_system(o->log, SDG_ERROR_OUTPUT, o->path, "cannot be put in its place");
}

// rename() replaces an empty folder silently, so an existing name is looked for; the old folder steps aside until the
// new one is there.
static enum sdg_result put_in_place(const struct sdg_folder_output *o)
{
    struct stat info;
    if (lstat(o->path, &info) != 0)
        return rename(o->temporary, o->path) == 0 ? SDG_OK : fail_rename(o);
    if (!o->replace)
        return sdg_fail(o->log, SDG_ERROR_OUTPUT, "%s exists already", o->path);
    char *aside;
    SDG_TRY(make_temporary(o->log, o->path, &aside));
    enum sdg_result result = rename(o->path, aside) == 0 ? SDG_OK : fail_rename(o);
    if (result == SDG_OK && rename(o->temporary, o->path) != 0) {
        result = fail_rename(o);
        rename(aside, o->path); // nothing more can be done if this fails too: the message names the place
    } else if (result == SDG_OK && (result = keep_others(o, aside)) == SDG_OK) { // else the rest stays where it is
        remove_tree(aside);
    }
    sdg_free(aside);
    return result;
}

enum sdg_result sdg_folder_output_commit(struct sdg_folder_output **handle)
{
    struct sdg_folder_output *o = *handle;
    *handle = NULL;
    if (!o)
        return SDG_OK;
    enum sdg_result result = put_in_place(o);
    if (result != SDG_OK)
        remove_tree(o->temporary);
    free_output(o);
    return result;
}

void sdg_folder_output_discard(struct sdg_folder_output **handle)
{
    struct sdg_folder_output *o = *handle;
    *handle = NULL;
    if (!o)
        return;
    remove_tree(o->temporary);
    free_output(o);
}
