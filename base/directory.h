// Folders: listing, and outputs of several files that appear complete or not at all.
#ifndef SDG_BASE_DIRECTORY_H
#define SDG_BASE_DIRECTORY_H

#include "base/log.h"

#include <stdbool.h>

// Calls fn with the name of every regular file in a folder (links followed), in no particular order; stops at the first
// failure.
enum sdg_result sdg_folder_list(const struct sdg_log *log, const char *folder,
                                enum sdg_result (*fn)(void *user, const char *name), void *user);

// The same for the folders in a folder, without "." and "..".
enum sdg_result sdg_folder_list_folders(const struct sdg_log *log, const char *folder,
                                        enum sdg_result (*fn)(void *user, const char *name), void *user);

// The path of `to` as seen from the folder `from`, both existing: "../base". A new string, to be freed with sdg_free.
enum sdg_result sdg_path_relative(const struct sdg_log *log, const char *from, const char *to, char **out);

// A folder that is filled under a temporary name beside its place and renamed by commit. The folder it lies in must
// exist.
struct sdg_folder_output;
// `replace`: commit puts it in the place of an existing folder, which is gone afterwards: the caller has looked at what
// that is. Without it anything of that name is SDG_ERROR_OUTPUT now and on commit.
enum sdg_result sdg_folder_output_open(const struct sdg_log *log, const char *path, bool replace,
                                       struct sdg_folder_output **out);
// What lies at the top of a replaced folder and is not on this list of names (NULL at its end; it must stay) is not the
// program's: commit moves it into the new folder.
void sdg_folder_output_keep_others(struct sdg_folder_output *output, const char *const *own);
const char *sdg_folder_output_path(const struct sdg_folder_output *output); // where to write meanwhile
// Makes a folder inside; one that is there already is fine.
enum sdg_result sdg_folder_output_add(struct sdg_folder_output *output, const char *name);
// Both free the handle and set *output to NULL; NULL is fine. If commit fails, or on discard, nothing is left behind
// and an older folder of that name is as it was.
enum sdg_result sdg_folder_output_commit(struct sdg_folder_output **output);
void sdg_folder_output_discard(struct sdg_folder_output **output);

#endif
