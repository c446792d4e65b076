// What a model's files are opened by: names in a caller's list of files (sdgen/files.h), or paths of the system.
// Whoever opens a model asks here and nowhere else, so that folders, single files, bases, shards, autoencoders and
// tokenizers need not know which it is.
//
// Thread-safety: read-only between sdg_files_init and sdg_files_clear.
#ifndef SDG_FORMATS_FILE_LIST_H
#define SDG_FORMATS_FILE_LIST_H

#include "base/file.h"

enum { SDG_FILE_NAME_BYTES = 1024 };

// With a list, a path that begins with a / is the system's and every other one a name in it, "." and ".." resolved by
// their spelling; without one, all are the system's. All zero, as NULL in the functions below: paths, mapped.
struct sdg_files {
    bool listed;
    const struct sdg_file **sorted; // [count] by name
    size_t count;
    bool copy; // weights are read into memory rather than mapped (but SDG_FILE_KEPT)
};

// `list` [count] has to stay until sdg_files_clear; NULL: there is none. SDG_ERROR_USAGE and SDG_ERROR_INPUT as
// sdgen/files.h says.
enum sdg_result sdg_files_init(const struct sdg_log *log, const struct sdg_file *list, size_t count, bool copy,
                               struct sdg_files *out);
void sdg_files_clear(struct sdg_files *files);

// What is there. A folder of a list is what names have before a /.
enum sdg_path_kind sdg_files_kind(const struct sdg_files *files, const char *path);
// As in base/file.h; nothing in a list is a link.
bool sdg_files_is_dangling(const struct sdg_files *files, const char *path);
enum sdg_result sdg_files_text(const struct sdg_log *log, const struct sdg_files *files, const char *path, size_t limit,
                               char **text);
enum sdg_result sdg_files_head(const struct sdg_log *log, const struct sdg_files *files, const char *path, void *head,
                               size_t room, size_t *got);
enum sdg_result sdg_files_map(const struct sdg_log *log, const struct sdg_files *files, const char *path,
                              struct sdg_map *out);
// As in base/directory.h: the names of the files, or of the folders, in a folder.
enum sdg_result sdg_files_list(const struct sdg_log *log, const struct sdg_files *files, const char *folder,
                               enum sdg_result (*fn)(void *user, const char *name), void *user);
enum sdg_result sdg_files_list_folders(const struct sdg_log *log, const struct sdg_files *files, const char *folder,
                                       enum sdg_result (*fn)(void *user, const char *name), void *user);

#endif
