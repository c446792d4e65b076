#include "base/file.h"

#include "base/memory.h"
#include "base/platform.h"
#include "base/unfinished.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READ_CHUNK = 1 << 16 };

enum sdg_path_kind sdg_path_kind(const char *path)
{
    struct stat info;
    if (stat(path, &info) != 0)
        return SDG_PATH_MISSING;
    return S_ISREG(info.st_mode) ? SDG_PATH_FILE : S_ISDIR(info.st_mode) ? SDG_PATH_FOLDER : SDG_PATH_OTHER;
}

bool sdg_path_is_dangling(const char *path)
{
    struct stat info;
    return stat(path, &info) != 0 && errno == ENOENT && lstat(path, &info) == 0 && S_ISLNK(info.st_mode);
}

static bool is_one(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

bool sdg_path_is_same(const char *a, const char *b)
{
    struct stat one, other;
    const bool is_there = stat(a, &one) == 0;
    if (is_there != (stat(b, &other) == 0))
        return false;
    if (is_there)
        return S_ISREG(one.st_mode) && is_one(&one, &other);
    char *in = sdg_path_folder(NULL, a), *other_in = sdg_path_folder(NULL, b);
    const bool same = in && other_in && strcmp(sdg_path_name(a), sdg_path_name(b)) == 0 && stat(in, &one) == 0 &&
        stat(other_in, &other) == 0 && is_one(&one, &other);
    sdg_free(in);
    sdg_free(other_in);
    return same;
}

const char *sdg_path_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

char *sdg_path_join(const struct sdg_log *log, const char *folder, const char *name)
{
    size_t length = strlen(folder), name_bytes = strlen(name) + 1;
    while (length > 1 && folder[length - 1] == '/')
        length--;
    bool slash = length > 0 && folder[length - 1] != '/';
    char *path = sdg_alloc_raw(log, length + slash + name_bytes, 1, "a path");
    if (!path)
        return NULL;
    memcpy(path, folder, length);
    if (slash)
        path[length] = '/';
    memcpy(path + length + slash, name, name_bytes);
    return path;
}

char *sdg_path_folder(const struct sdg_log *log, const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return sdg_strdup(log, ".");
    size_t length = slash == path ? 1 : (size_t)(slash - path);
    char *folder = sdg_alloc_raw(log, length + 1, 1, "a path");
    if (!folder)
        return NULL;
    memcpy(folder, path, length);
    folder[length] = 0;
    return folder;
}

bool sdg_folder_create(const char *path)
{
    char *part = sdg_strdup(NULL, path);
    if (!part)
        return false;
    for (char *c = part + 1; *part && *c; c++)
        if (*c == '/') {
            *c = 0;
            mkdir(part, 0700); // what is there already fails
            *c = '/';
        }
    mkdir(part, 0700);
    sdg_free(part);
    return sdg_path_kind(path) == SDG_PATH_FOLDER;
}

// For a path that open() has just refused.
static enum sdg_result cannot_open(const struct sdg_log *log, const char *path)
{
    const int error = errno;
    char target[256];
    const ssize_t length = sdg_path_is_dangling(path) ? readlink(path, target, sizeof target - 1) : -1;
    errno = error;
    if (length < 0)
        return sdg_fail_system(log, SDG_ERROR_INPUT, path, "cannot be opened");
    target[length] = 0;
    return sdg_fail(
        log, SDG_ERROR_INPUT,
        "%s: is a link to %s, which does not exist; copy the files themselves (cp -L), or what links lead to "
        "as well",
        path, target);
}

// ---- where bytes are ----

struct sdg_file sdg_file_of_path(const char *path)
{
    return (struct sdg_file){.name = path, .kind = SDG_FILE_PATH, .path = path};
}

static enum sdg_result refuse_file(const struct sdg_log *log, const struct sdg_file *file, const char *why)
{
    return sdg_fail(log, SDG_ERROR_USAGE, "%s: %s", file->name, why);
}

static enum sdg_result check_length(const struct sdg_log *log, const struct sdg_file *file, bool rest)
{
    if (file->length == 0)
        return refuse_file(log, file, "length is 0");
    if (file->length < 0 && !(rest && file->length == SDG_FILE_REST))
        return refuse_file(log, file, "length is negative");
    return SDG_OK;
}

static enum sdg_result check_part(const struct sdg_log *log, const struct sdg_file *file)
{
    int64_t end;
    if (file->path || file->data)
        return refuse_file(log, file, "is a part of a descriptor's file, but a path or data is set");
    if (file->fd < 0)
        return refuse_file(log, file, "its descriptor is negative, as that of a file that was not opened");
    if (file->offset < 0)
        return refuse_file(log, file, "offset is negative");
    SDG_TRY(check_length(log, file, true));
    if (__builtin_add_overflow(file->offset, file->length, &end))
        return refuse_file(log, file, "offset + length is more than any file has");
    return SDG_OK;
}

static enum sdg_result check_memory(const struct sdg_log *log, const struct sdg_file *file)
{
    if (file->path || file->fd || file->offset)
        return refuse_file(log, file, "is memory, but a path, descriptor or offset is set");
    if (!file->data)
        return refuse_file(log, file, "is memory, but data is NULL");
    SDG_TRY(check_length(log, file, false));
    if ((uint64_t)file->length >= SIZE_MAX - (uintptr_t)file->data)
        return refuse_file(log, file, "length is more than any memory has");
    return SDG_OK;
}

static enum sdg_result check_path(const struct sdg_log *log, const struct sdg_file *file)
{
    if (file->fd || file->offset || file->length || file->data)
        return refuse_file(log, file, "is at a path, but a descriptor, offset, length or data is set");
    return file->path && *file->path ? SDG_OK : refuse_file(log, file, "is at a path, but path is NULL or empty");
}

static enum sdg_result check_fields(const struct sdg_log *log, const struct sdg_file *file)
{
    switch (file->kind) {
    case SDG_FILE_PATH: return check_path(log, file);
    case SDG_FILE_PART: return check_part(log, file);
    case SDG_FILE_KEPT:
    case SDG_FILE_COPIED: return check_memory(log, file);
    }
    return refuse_file(log, file, "kind is no value of enum sdg_file_kind");
}

// A file that can be read from: bytes in memory, or those from `offset` on of a descriptor.
struct opened {
    const void *memory; // NULL: a descriptor
    int fd;
    bool own; // the descriptor
    off_t offset;
    size_t size;
};

static void close_opened(const struct opened *opened)
{
    if (opened->own)
        close(opened->fd);
}

// A regular file's size, by its descriptor.
static enum sdg_result regular_size(const struct sdg_log *log, const char *name, int fd, int64_t *size)
{
    struct stat info;
    if (fstat(fd, &info) != 0)
        return sdg_fail_system(log, SDG_ERROR_INPUT, name, "cannot be examined");
    if (S_ISDIR(info.st_mode))
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: is a folder, a file is needed", name);
    if (!S_ISREG(info.st_mode))
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: is not a regular file", name);
    *size = info.st_size;
    return SDG_OK;
}

static enum sdg_result set_size(const struct sdg_log *log, const char *name, int64_t size, struct opened *opened)
{
    if (size < 0 || (uint64_t)size > SIZE_MAX / 2)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: is too large for this system's address space", name);
    opened->size = (size_t)size;
    return SDG_OK;
}

// O_NONBLOCK: a pipe without a writer must not hold us up before we can refuse it.
static enum sdg_result open_path(const struct sdg_log *log, const char *path, struct opened *out)
{
    int64_t size = 0;
    struct opened opened = {.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), .own = true};
    if (opened.fd < 0)
        return cannot_open(log, path);
    enum sdg_result result = regular_size(log, path, opened.fd, &size);
    if (result == SDG_OK)
        result = set_size(log, path, size, &opened);
    if (result == SDG_OK)
        *out = opened;
    else
        close_opened(&opened);
    return result;
}

static enum sdg_result open_part(const struct sdg_log *log, const struct sdg_file *file, struct opened *out)
{
    int64_t size = 0;
    const int flags = fcntl(file->fd, F_GETFL);
    if (flags < 0)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: descriptor %d is not open", file->name, file->fd);
    if ((flags & O_ACCMODE) == O_WRONLY)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: descriptor %d is open for writing only", file->name, file->fd);
    SDG_TRY(regular_size(log, file->name, file->fd, &size));
    if (file->offset >= size)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: begins at byte %lld, but its descriptor's file has only %lld",
                        file->name, (long long)file->offset, (long long)size);
    const int64_t rest = size - file->offset, length = file->length == SDG_FILE_REST ? rest : file->length;
    if (length > rest)
        return sdg_fail(log, SDG_ERROR_INPUT,
                        "%s: should have %lld bytes from byte %lld on, but its descriptor's file has only %lld; was it "
                        "cut short?",
                        file->name, (long long)length, (long long)file->offset, (long long)size);
    *out = (struct opened){.fd = file->fd, .offset = (off_t)file->offset};
    return set_size(log, file->name, length, out);
}

// *out is to be closed.
static enum sdg_result open_file(const struct sdg_log *log, const struct sdg_file *file, struct opened *out)
{
    SDG_TRY(check_fields(log, file));
    if (file->kind == SDG_FILE_PATH)
        return open_path(log, file->path, out);
    if (file->kind == SDG_FILE_PART)
        return open_part(log, file, out);
    *out = (struct opened){.memory = file->data, .size = (size_t)file->length};
    return SDG_OK;
}

enum sdg_result sdg_file_check(const struct sdg_log *log, const struct sdg_file *file)
{
    struct opened opened;
    return file->kind == SDG_FILE_PATH ? check_path(log, file) : open_file(log, file, &opened);
}

// ---- reading ----

// Reads up to `bytes`, from `offset` on or, if that is negative, from where the descriptor is; fewer only at the end of
// the file.
static enum sdg_result read_fully(const struct sdg_log *log, const char *name, int fd, off_t offset, void *data,
                                  size_t bytes, size_t *got)
{
    size_t done = 0;
    while (done < bytes) {
        size_t chunk = bytes - done < (size_t)1 << 30 ? bytes - done : (size_t)1 << 30;
        char *to = (char *)data + done;
        ssize_t n = offset < 0 ? read(fd, to, chunk) : pread(fd, to, chunk, offset + (off_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return sdg_fail_system(log, SDG_ERROR_INPUT, name, "cannot be read");
        if (n == 0)
            break;
        done += (size_t)n;
    }
    *got = done;
    return SDG_OK;
}

// The first bytes, as many as there are.
static enum sdg_result read_head(const struct sdg_log *log, const char *name, const struct opened *opened, void *head,
                                 size_t room, size_t *got)
{
    const size_t bytes = room < opened->size ? room : opened->size;
    if (!opened->memory)
        return read_fully(log, name, opened->fd, opened->offset, head, bytes, got);
    memcpy(head, opened->memory, bytes);
    *got = bytes;
    return SDG_OK;
}

// All of it, and a NUL.
static enum sdg_result read_content(const struct sdg_log *log, const char *name, const struct opened *opened,
                                    char **data)
{
    size_t got = 0;
    char *content = sdg_alloc_raw(log, opened->size + 1, 1, sdg_path_name(name));
    if (!content)
        return SDG_ERROR_MEMORY;
    enum sdg_result result = read_head(log, name, opened, content, opened->size, &got);
    if (result == SDG_OK && got < opened->size)
        result = sdg_fail(log, SDG_ERROR_INPUT, "%s: became shorter while it was read", name);
    if (result != SDG_OK) {
        sdg_free(content);
        return result;
    }
    content[got] = 0;
    *data = content;
    return SDG_OK;
}

static enum sdg_result read_file(const struct sdg_log *log, const struct sdg_file *file, size_t limit, char **data,
                                 size_t *size)
{
    struct opened opened;
    char *content = NULL;
    SDG_TRY(open_file(log, file, &opened));
    enum sdg_result result;
    if (opened.size > limit)
        result = sdg_fail(log, SDG_ERROR_INPUT, "%s: has %zu bytes, at most %zu are accepted for such a file",
                          file->name, opened.size, limit);
    else
        result = read_content(log, file->name, &opened, &content);
    close_opened(&opened);
    if (result == SDG_OK) {
        *data = content;
        *size = opened.size;
    }
    return result;
}

enum sdg_result sdg_file_read(const struct sdg_log *log, const char *path, size_t limit, char **data, size_t *size)
{
    const struct sdg_file file = sdg_file_of_path(path);
    return read_file(log, &file, limit, data, size);
}

// To the end of a stream whose size nobody knows; one byte more than the limit is asked for, to see that it is too
// long.
static enum sdg_result read_stream(const struct sdg_log *log, const char *name, int fd, size_t limit, char **data,
                                   size_t *size)
{
    size_t used = 0, got = 1, room = 0;
    char *content = NULL;
    enum sdg_result result = SDG_OK;
    while (result == SDG_OK && got > 0) {
        if (!sdg_grow(log, &content, &room, used + READ_CHUNK + 1, 1, name)) {
            result = SDG_ERROR_MEMORY;
            break;
        }
        result = read_fully(log, name, fd, -1, content + used, READ_CHUNK, &got);
        used += result == SDG_OK ? got : 0;
        if (used > limit)
            result = sdg_fail(log, SDG_ERROR_INPUT, "%s: has more than %zu bytes, the most accepted for such a file",
                              name, limit);
    }
    if (result != SDG_OK) {
        sdg_free(content);
        return result;
    }
    content[used] = 0;
    *data = content;
    *size = used;
    return SDG_OK;
}

enum sdg_result sdg_input_read(const struct sdg_log *log, const char *path, size_t limit, char **data, size_t *size)
{
    if (strcmp(path, "-") == 0)
        return read_stream(log, "standard input", STDIN_FILENO, limit, data, size);
    if (sdg_path_kind(path) != SDG_PATH_OTHER)
        return sdg_file_read(log, path, limit, data, size);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return sdg_fail_system(log, SDG_ERROR_INPUT, path, "cannot be opened");
    enum sdg_result result = read_stream(log, path, fd, limit, data, size);
    close(fd);
    return result;
}

enum sdg_result sdg_file_text(const struct sdg_log *log, const struct sdg_file *file, size_t limit, char **text)
{
    char *content;
    size_t size;
    SDG_TRY(read_file(log, file, limit, &content, &size));
    enum sdg_result result = SDG_OK;
    if (memchr(content, 0, size))
        result = sdg_fail(log, SDG_ERROR_INPUT, "%s: is not a text file, it contains bytes of 0", file->name);
    else if (!sdg_utf8_valid(content, size))
        result = sdg_fail(log, SDG_ERROR_INPUT, "%s: is not valid UTF-8 text", file->name);
    if (result != SDG_OK) {
        sdg_free(content);
        return result;
    }
    if (size >= 3 && memcmp(content, "\xef\xbb\xbf", 3) == 0)
        memmove(content, content + 3, size - 2);
    *text = content;
    return SDG_OK;
}

enum sdg_result sdg_file_read_text(const struct sdg_log *log, const char *path, size_t limit, char **text)
{
    const struct sdg_file file = sdg_file_of_path(path);
    return sdg_file_text(log, &file, limit, text);
}

enum sdg_result sdg_file_head(const struct sdg_log *log, const struct sdg_file *file, void *head, size_t room,
                              size_t *got)
{
    struct opened opened;
    SDG_TRY(open_file(log, file, &opened));
    enum sdg_result result = read_head(log, file->name, &opened, head, room, got);
    close_opened(&opened);
    return result;
}

bool sdg_utf8_valid(const char *text, size_t bytes)
{
    const unsigned char *s = (const unsigned char *)text, *end = s + bytes;
    while (s < end) {
        if (*s < 0x80) {
            s++;
            continue;
        }
        // Legal second bytes exclude overlong forms, surrogates and everything above U+10FFFF.
        unsigned low = 0x80, high = 0xbf;
        ptrdiff_t more = *s >= 0xf0 ? 3 : *s >= 0xe0 ? 2 : 1;
        if (*s < 0xc2 || *s > 0xf4 || end - s <= more)
            return false;
        if (*s == 0xe0)
            low = 0xa0;
        else if (*s == 0xed)
            high = 0x9f;
        else if (*s == 0xf0)
            low = 0x90;
        else if (*s == 0xf4)
            high = 0x8f;
        if (s[1] < low || s[1] > high)
            return false;
        for (ptrdiff_t i = 2; i <= more; i++)
            if ((s[i] & 0xc0) != 0x80)
                return false;
        s += more + 1;
    }
    return true;
}

// ---- maps ----

// Which files are mapped where, for sdg_map_path: written before and after the map exists, read by signal handlers.
enum { MOST_MAPS = 256 };
static struct {
    atomic_uintptr_t begin; // 0: free, 1: being filled
    uintptr_t end;
    char path[256]; // its end, where it is longer
} maps[MOST_MAPS];

// What does not fit in is not named later, nothing else.
static void note_map(const char *path, const void *data, size_t bytes)
{
    for (size_t i = 0; i < MOST_MAPS; i++) {
        uintptr_t none = 0;
        if (!atomic_compare_exchange_strong(&maps[i].begin, &none, 1))
            continue;
        const size_t length = strlen(path), room = sizeof maps[i].path;
        snprintf(maps[i].path, room, "%s", length < room ? path : path + length - room + 1);
        maps[i].end = (uintptr_t)data + bytes;
        atomic_store(&maps[i].begin, (uintptr_t)data);
        return;
    }
}

static void forget_map(const void *data)
{
    for (size_t i = 0; i < MOST_MAPS; i++) {
        uintptr_t begin = (uintptr_t)data;
        if (!atomic_compare_exchange_strong(&maps[i].begin, &begin, 1))
            continue;
        atomic_store(&maps[i].begin, 0);
        return;
    }
}

const char *sdg_map_path(const void *address)
{
    for (size_t i = 0; i < MOST_MAPS; i++) {
        const uintptr_t begin = atomic_load(&maps[i].begin);
        if (begin > 1 && (uintptr_t)address >= begin && (uintptr_t)address < maps[i].end)
            return maps[i].path;
    }
    return NULL;
}

// Maps begin at a page's first byte: at that of the page that the part begins in.
static enum sdg_result map_opened(const struct sdg_log *log, const char *name, const struct opened *opened,
                                  struct sdg_map *map)
{
    const size_t before = (size_t)(opened->offset % (off_t)sdg_platform_page());
    if (!opened->size)
        return SDG_OK;
    void *data = mmap(NULL, opened->size + before, PROT_READ, MAP_PRIVATE, opened->fd, opened->offset - (off_t)before);
    if (data == MAP_FAILED)
        return sdg_fail_system(log, SDG_ERROR_INPUT, name, "cannot be mapped");
    *map = (struct sdg_map){(const unsigned char *)data + before, opened->size, SDG_MAP_FILE, before};
    note_map(name, map->data, map->size);
    return SDG_OK;
}

enum sdg_result sdg_file_map(const struct sdg_log *log, const struct sdg_file *file, bool copy, struct sdg_map *out)
{
    struct opened opened;
    struct sdg_map map = {0};
    SDG_TRY(open_file(log, file, &opened));
    enum sdg_result result = SDG_OK;
    char *content = NULL;
    if (file->kind == SDG_FILE_KEPT)
        map = (struct sdg_map){opened.memory, opened.size, SDG_MAP_KEPT, 0};
    else if (copy || opened.memory)
        result = read_content(log, file->name, &opened, &content);
    else
        result = map_opened(log, file->name, &opened, &map);
    if (content)
        map = (struct sdg_map){(const unsigned char *)content, opened.size, SDG_MAP_COPY, 0};
    close_opened(&opened);
    if (result == SDG_OK)
        *out = map;
    return result;
}

void sdg_file_unmap(struct sdg_map *map)
{
    if (map->kind == SDG_MAP_COPY) {
        sdg_free((void *)(uintptr_t)map->data);
    } else if (map->kind == SDG_MAP_FILE && map->data) {
        forget_map(map->data);
        munmap((void *)((uintptr_t)map->data - map->before), map->size + map->before);
    }
    *map = (struct sdg_map){0};
}

void sdg_map_release(const struct sdg_map *map, const void *data, size_t bytes)
{
    if (map->kind != SDG_MAP_FILE || !map->data)
        return;
    const uintptr_t page = sdg_platform_page();
    uintptr_t first = ((uintptr_t)data + page - 1) / page * page, end = ((uintptr_t)data + bytes) / page * page;
    if (first < end)
        madvise((void *)first, end - first, MADV_DONTNEED); // advice only: a refusal costs memory, nothing else
}

// ---- outputs ----

struct sdg_output {
    const struct sdg_log *log;
    FILE *file;
    char *path;
    char *temporary; // NULL: written directly
    bool borrowed;   // the stream stays open
    enum sdg_result result;
};

// Where a link at `path` leads, as it would be written from where we are; NULL if it is none, or without memory.
static char *link_target(const struct sdg_log *log, const char *path)
{
    char target[4096];
    ssize_t length = readlink(path, target, sizeof target - 1);
    if (length < 0)
        return NULL;
    target[length] = 0;
    if (target[0] == '/' || !strchr(path, '/'))
        return sdg_strdup(log, target);
    char *folder = sdg_path_folder(log, path), *joined = folder ? sdg_path_join(log, folder, target) : NULL;
    sdg_free(folder);
    return joined;
}

// What to replace: the file that a link leads to, so that the link stays, also where that file does not exist yet.
static char *target_of(const struct sdg_log *log, const char *path)
{
    char *target = sdg_strdup(log, path), *next;
    for (int links = 0; target && links < 40 && (next = link_target(log, target)); links++) {
        sdg_free(target);
        target = next;
    }
    return target;
}

// A name next to `path` that nobody else has. O_EXCL decides races; the mode follows the user's umask, but is never
// wider than `mode`.
static int create_temporary(const struct sdg_log *log, const char *path, mode_t mode, char **name)
{
    const char *end = sdg_path_name(path); // a name of its own: one longer than `path` could be too long
    size_t folder = (size_t)(end - path), bytes = folder + 64;
    char *temporary = sdg_alloc_raw(log, bytes, 1, "a path");
    if (!temporary)
        return -2;
    int fd = -1;
    for (unsigned attempt = 0; attempt < 1000 && fd < 0; attempt++) {
        snprintf(temporary, bytes, "%.*s.sdgen-%ld-%u.part", (int)folder, path, (long)getpid(), attempt);
        fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
        if (fd < 0 && errno != EEXIST)
            break;
    }
    if (fd < 0) {
        int error = errno;
        sdg_free(temporary);
        errno = error;
        return -1;
    }
    *name = temporary;
    return fd;
}

// A file of its own that takes the place of `path`: with the owner and the mode of the file that is there already. A
// file that nobody may write is protected, from root as well, who could replace it.
static int create_replacement(const struct sdg_log *log, const char *path, char **name)
{
    struct stat info;
    if (stat(path, &info) != 0)
        return create_temporary(log, path, 0666, name);
    if (!(info.st_mode & 0222) || access(path, W_OK) != 0) {
        errno = EACCES;
        return -1;
    }
    int fd = create_temporary(log, path, info.st_mode & 0666, name);
    if (fd < 0)
        return fd;
    // As far as we may: another user's file in a folder of ours becomes ours, as with any program that replaces it.
    if ((info.st_uid != geteuid() || info.st_gid != getegid()) && fchown(fd, info.st_uid, info.st_gid) != 0)
        errno = 0;
    if (fchmod(fd, info.st_mode & 0777) != 0)
        errno = 0; // a file system without modes
    return fd;
}

static int open_device(const char *path)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK); // a pipe nobody reads is an error, not a wait
    if (fd >= 0)
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
    return fd;
}

enum sdg_result sdg_output_open(const struct sdg_log *log, const char *path, struct sdg_output **out)
{
    enum sdg_path_kind kind = sdg_path_kind(path);
    if (kind == SDG_PATH_FOLDER)
        return sdg_fail(log, SDG_ERROR_OUTPUT, "%s: is a folder, a file name is needed", path);
    struct sdg_output *output = sdg_alloc(log, 1, sizeof *output, "an output file");
    if (!output)
        return SDG_ERROR_MEMORY;
    output->log = log;
    output->path = kind == SDG_PATH_OTHER ? sdg_strdup(log, path) : target_of(log, path);
    int fd = -2;
    if (output->path)
        fd = kind == SDG_PATH_OTHER ? open_device(path) : create_replacement(log, output->path, &output->temporary);
    if (fd >= 0) {
        output->file = fdopen(fd, "wb");
        if (!output->file)
            close(fd);
    }
    if (!output->file) {
        enum sdg_result result = SDG_ERROR_MEMORY;
        if (fd != -2 && kind == SDG_PATH_FILE && errno == EACCES)
            result =
                sdg_fail(log, SDG_ERROR_OUTPUT, "%s: is write-protected: it, or its folder, may not be written", path);
        else if (fd != -2)
            result = sdg_fail_system(log, SDG_ERROR_OUTPUT, path, "cannot be written");
        sdg_output_discard(&output);
        return result;
    }
    if (output->temporary)
        sdg_unfinished_add(output->temporary);
    *out = output;
    return SDG_OK;
}

enum sdg_result sdg_output_stream(const struct sdg_log *log, FILE *stream, const char *name, struct sdg_output **out)
{
    struct sdg_output *output = sdg_alloc(log, 1, sizeof *output, "an output file");
    if (!output)
        return SDG_ERROR_MEMORY;
    *output = (struct sdg_output){.log = log, .file = stream, .path = sdg_strdup(log, name), .borrowed = true};
    if (!output->path) {
        sdg_free(output);
        return SDG_ERROR_MEMORY;
    }
    *out = output;
    return SDG_OK;
}

FILE *sdg_output_file(struct sdg_output *output)
{
    return output->file;
}

const char *sdg_output_temporary(const struct sdg_output *output)
{
    return output->temporary;
}

static void write_failed(struct sdg_output *output)
{
    if (output->result == SDG_OK)
        output->result = sdg_fail_system(output->log, SDG_ERROR_OUTPUT, output->path, "cannot be written");
}

enum sdg_result sdg_output_write(struct sdg_output *output, const void *data, size_t bytes)
{
    if (output->result == SDG_OK && bytes > 0 && fwrite(data, 1, bytes, output->file) != bytes)
        write_failed(output);
    return output->result;
}

static void close_output(struct sdg_output **handle)
{
    struct sdg_output *output = *handle;
    if (output->file && !output->borrowed)
        fclose(output->file);
    if (output->temporary)
        unlink(output->temporary);
    sdg_unfinished_done(output->temporary);
    sdg_free(output->temporary);
    sdg_free(output->path);
    sdg_free(output);
    *handle = NULL;
}

enum sdg_result sdg_output_commit(struct sdg_output **handle)
{
    if (!*handle)
        return SDG_OK;
    struct sdg_output *output = *handle;
    // A full disk may show only now, when the last buffer is written.
    if (ferror(output->file) || fflush(output->file))
        write_failed(output);
    int failed = output->borrowed ? 0 : fclose(output->file);
    output->file = NULL;
    if (failed)
        write_failed(output);
    if (output->result == SDG_OK && output->temporary) {
        if (rename(output->temporary, output->path) == 0) {
            sdg_unfinished_done(output->temporary);
            sdg_free(output->temporary);
            output->temporary = NULL;
        } else {
            write_failed(output);
        }
    }
    enum sdg_result result = output->result;
    close_output(handle);
    return result;
}

void sdg_output_discard(struct sdg_output **handle)
{
    if (*handle)
        close_output(handle);
}

enum sdg_result sdg_output_text(const struct sdg_log *log, const char *path, const char *text)
{
    struct sdg_output *output;
    SDG_TRY(sdg_output_open(log, path, &output));
    enum sdg_result result = sdg_output_write(output, text, strlen(text));
    if (result == SDG_OK)
        result = sdg_output_write(output, "\n", 1);
    if (result == SDG_OK)
        return sdg_output_commit(&output);
    sdg_output_discard(&output);
    return result;
}

enum sdg_result sdg_file_copy(const struct sdg_log *log, const char *from, const char *to)
{
    struct sdg_map map;
    const struct sdg_file file = sdg_file_of_path(from);
    struct sdg_output *output;
    SDG_TRY(sdg_file_map(log, &file, false, &map));
    enum sdg_result result = sdg_output_open(log, to, &output);
    if (result == SDG_OK) {
        result = sdg_output_write(output, map.data, map.size);
        if (result == SDG_OK)
            result = sdg_output_commit(&output);
        else
            sdg_output_discard(&output);
    }
    sdg_file_unmap(&map);
    return result;
}
