// For tests: the files of folders as a list that sdgen/files.h describes, wherever their bytes are.
#ifndef SDG_TESTS_SUPPORT_PACKED_H
#define SDG_TESTS_SUPPORT_PACKED_H

#include "sdgen/files.h"
#include "tests/temp.h"

#include <fcntl.h>

enum { PACKED_MOST = 64, PACKED_NAME = 300 };

enum packed_way {
    PACKED_PATHS,
    PACKED_PARTS, // of one file, at odd offsets, with other bytes between them
    PACKED_KEPT,  // in memory, at odd addresses, without a byte to spare behind them
    PACKED_COPIED,
    PACKED_MIXED, // one of each in turn
    PACKED_WAYS
};

struct packed {
    struct sdg_file files[PACKED_MOST];
    size_t count;
    char names[PACKED_MOST][PACKED_NAME], paths[PACKED_MOST][2 * PACKED_NAME];
    char *memory[PACKED_MOST];
    int fd;
};

// Adds all that is below `folder`, with names below `as`.
static inline void packed_add(struct packed *p, const char *folder, const char *as)
{
    DIR *dir = opendir(folder);
    if (!dir) {
        perror(folder);
        exit(1);
    }
    for (struct dirent *entry; (entry = readdir(dir));) {
        char path[2 * PACKED_NAME], name[PACKED_NAME];
        struct stat info;
        if (*entry->d_name == '.' || snprintf(path, sizeof path, "%s/%s", folder, entry->d_name) >= (int)sizeof path ||
            snprintf(name, sizeof name, "%s%s%s", as, *as ? "/" : "", entry->d_name) >= (int)sizeof name ||
            stat(path, &info) != 0)
            continue;
        if (S_ISDIR(info.st_mode)) {
            packed_add(p, path, name);
        } else if (p->count < PACKED_MOST) {
            memcpy(p->names[p->count], name, sizeof name);
            memcpy(p->paths[p->count], path, sizeof path);
            p->files[p->count] =
                (struct sdg_file){.name = p->names[p->count], .path = p->paths[p->count], .length = info.st_size};
            p->count++;
        }
    }
    closedir(dir);
}

static inline void packed_read(const char *path, char *to, size_t bytes)
{
    FILE *file = fopen(path, "rb");
    if (!file || fread(to, 1, bytes, file) != bytes) {
        perror(path);
        exit(1);
    }
    fclose(file);
}

// Behind what is in p->fd, on an offset that is 1 more than a multiple of `align`.
static inline int64_t packed_append(struct packed *p, const char *data, size_t bytes, int64_t align)
{
    static const char other[8192] = "{\"these are no bytes of the model\":";
    const int64_t end = lseek(p->fd, 0, SEEK_END), at = (end + align) / align * align + 1;
    const bool good =
        write(p->fd, other, (size_t)(at - end)) == at - end && write(p->fd, data, bytes) == (ssize_t)bytes;
    if (!good) {
        perror("the file of all files");
        exit(1);
    }
    return at;
}

// The list in that way; what was added is read now.
static inline void packed_make(struct packed *p, enum packed_way way)
{
    p->fd = open(temp_path("packed.bin"), O_RDWR | O_CREAT | O_TRUNC, 0666);
    for (size_t i = 0; i < p->count; i++) {
        struct sdg_file *file = &p->files[i];
        const size_t bytes = (size_t)file->length;
        const enum packed_way one = way == PACKED_MIXED ? (enum packed_way)(i % PACKED_MIXED) : way;
        char *memory = malloc(bytes + 1);
        packed_read(p->paths[i], memory + 1, bytes);
        if (one == PACKED_PATHS)
            *file = (struct sdg_file){.name = p->names[i], .kind = SDG_FILE_PATH, .path = p->paths[i]};
        else if (one == PACKED_PARTS)
            *file = (struct sdg_file){.name = p->names[i],
                                      .kind = SDG_FILE_PART,
                                      .fd = p->fd,
                                      .offset = packed_append(p, memory + 1, bytes, i % 2 ? 4096 : 2),
                                      .length = (int64_t)bytes};
        else
            *file = (struct sdg_file){.name = p->names[i],
                                      .kind = one == PACKED_KEPT ? SDG_FILE_KEPT : SDG_FILE_COPIED,
                                      .data = memory + 1,
                                      .length = (int64_t)bytes};
        if (file->data)
            p->memory[i] = memory;
        else
            free(memory);
    }
}

// What the list refers to may go away, but for what is kept: descriptors are closed, memory is overwritten and freed.
static inline void packed_let_go(struct packed *p)
{
    close(p->fd);
    p->fd = -1;
    for (size_t i = 0; i < p->count; i++)
        if (p->files[i].kind == SDG_FILE_COPIED) {
            memset(p->memory[i], 0xa5, (size_t)p->files[i].length);
            free(p->memory[i]);
            p->memory[i] = NULL;
        }
    memset(p->names, '?', sizeof p->names);
    memset(p->paths, '?', sizeof p->paths);
    memset(p->files, 0xff, sizeof p->files);
}

static inline void packed_free(struct packed *p)
{
    if (p->fd >= 0)
        close(p->fd);
    for (size_t i = 0; i < PACKED_MOST; i++)
        free(p->memory[i]);
    *p = (struct packed){.fd = -1};
}

#endif
