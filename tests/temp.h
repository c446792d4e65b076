// For tests: a temporary folder that goes away, files in it, and a log that remembers its messages.
#ifndef SDG_TESTS_TEMP_H
#define SDG_TESTS_TEMP_H

#include "base/log.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct temp_log {
    struct sdg_log log;
    int errors, warnings;
    char last[1024]; // of the errors
};

static void temp_log_say(void *user, enum sdg_log_level level, const char *message)
{
    struct temp_log *t = user;
    t->errors += level == SDG_LOG_ERROR;
    t->warnings += level == SDG_LOG_WARNING;
    if (level == SDG_LOG_ERROR)
        snprintf(t->last, sizeof t->last, "%s", message);
}

static inline const struct sdg_log *temp_log(struct temp_log *t)
{
    *t = (struct temp_log){.log = {temp_log_say, t, SDG_LOG_DEBUG}};
    return &t->log;
}

static char temp_root[64];

static inline void temp_make(void)
{
    // In memory where that is possible: the mutation tests write tens of thousands of files.
    const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(temp_root, sizeof temp_root, "%s/sdgen-test-XXXXXX", base);
    if (!mkdtemp(temp_root)) {
        perror(temp_root);
        exit(1);
    }
}

// One of eight buffers in turn: copy what is needed for long.
static inline const char *temp_path(const char *name)
{
    static char paths[8][600];
    static int turn;
    char *path = paths[turn++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", temp_root, name);
    return path;
}

static inline void temp_remove_tree(const char *path)
{
    struct stat info;
    if (lstat(path, &info) == 0 && S_ISDIR(info.st_mode)) {
        DIR *dir = opendir(path);
        for (struct dirent *entry; dir && (entry = readdir(dir));) {
            char child[4096];
            if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
                continue;
            if (snprintf(child, sizeof child, "%s/%s", path, entry->d_name) < (int)sizeof child)
                temp_remove_tree(child);
        }
        if (dir)
            closedir(dir);
    }
    remove(path);
}

static inline void temp_remove(void)
{
    temp_remove_tree(temp_root);
}

// Writes root/name, making the folders on the way.
static inline const char *temp_write(const char *name, const void *data, size_t bytes)
{
    const char *path = temp_path(name);
    char folder[600];
    snprintf(folder, sizeof folder, "%s", path);
    for (char *slash = strchr(folder + strlen(temp_root) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        mkdir(folder, 0777);
        *slash = '/';
    }
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(data, 1, bytes, file) != bytes || fclose(file) != 0) {
        perror(path);
        exit(1);
    }
    return path;
}

static inline const char *temp_text(const char *name, const char *text)
{
    return temp_write(name, text, strlen(text));
}

static inline int temp_count(const char *folder)
{
    int count = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    if (dir)
        closedir(dir);
    return count;
}

// For cmocka: a folder for a test, or for all tests of a program.
static inline int temp_setup(void **state)
{
    (void)state;
    temp_make();
    return 0;
}
static inline int temp_teardown(void **state)
{
    (void)state;
    temp_remove();
    return 0;
}

#endif
