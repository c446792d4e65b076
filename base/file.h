// Files: whole reads with a limit, read-only maps, outputs that appear complete or not at all, path helpers.
#ifndef SDG_BASE_FILE_H
#define SDG_BASE_FILE_H

#include "base/log.h"
#include "sdgen/files.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum sdg_path_kind { SDG_PATH_MISSING, SDG_PATH_FILE, SDG_PATH_FOLDER, SDG_PATH_OTHER };

// What is at `path`, links followed. MISSING also when it cannot be looked at.
enum sdg_path_kind sdg_path_kind(const char *path);
bool sdg_path_is_dangling(const char *path); // a link to something that is not there
// Whether both lead to one file, which need not be there yet: writing one would take the other's place. False of what
// is no ordinary file.
bool sdg_path_is_same(const char *a, const char *b);
const char *sdg_path_name(const char *path); // the part after the last '/'
// New strings, to be freed with sdg_free; NULL after reporting a failed allocation.
char *sdg_path_join(const struct sdg_log *log, const char *folder, const char *name);
char *sdg_path_folder(const struct sdg_log *log, const char *path); // "." when there is no '/'
// Makes a folder and those it is in, as far as they are missing, for this user alone. False if it is not there
// afterwards.
bool sdg_folder_create(const char *path);

// Reads a regular file of at most `limit` bytes. *data is owned by the caller (sdg_free) and ends with a NUL that *size
// does not count. Folders, pipes, devices, missing and larger files are SDG_ERROR_INPUT; nothing waits for a writer.
enum sdg_result sdg_file_read(const struct sdg_log *log, const char *path, size_t limit, char **data, size_t *size);
// The same for what a user names on a command line: "-" is standard input, and pipes and devices are read to their end.
enum sdg_result sdg_input_read(const struct sdg_log *log, const char *path, size_t limit, char **data, size_t *size);
// As sdg_file_read for text: bytes of 0 and broken UTF-8 are refused, a leading byte order mark is dropped.
enum sdg_result sdg_file_read_text(const struct sdg_log *log, const char *path, size_t limit, char **text);

// Files wherever they are, as sdgen/files.h says; messages call them by their name.
struct sdg_file sdg_file_of_path(const char *path); // which has to stay
// Looks at the fields and, where there is a descriptor, at its file, as all functions below do; not at what is at a
// path. SDG_ERROR_USAGE or SDG_ERROR_INPUT.
enum sdg_result sdg_file_check(const struct sdg_log *log, const struct sdg_file *file);
enum sdg_result sdg_file_text(const struct sdg_log *log, const struct sdg_file *file, size_t limit, char **text);
// Reads the first bytes, at most `room` of them; *got says how many there were.
enum sdg_result sdg_file_head(const struct sdg_log *log, const struct sdg_file *file, void *head, size_t room,
                              size_t *got);

bool sdg_utf8_valid(const char *text, size_t bytes);

// A regular file's bytes. `data` is NULL when the file is empty; it lies anywhere, as a part of a file may begin at any
// byte.
//
// A mapped file must not be truncated by another process while it is in use: the system answers an access to a page
// that is gone with SIGBUS. Whoever has to expect that opens with `copy`. A map whose file had no room in memory is
// SDG_ERROR_MEMORY.
struct sdg_map {
    const unsigned char *data;
    size_t size;
    enum {
        SDG_MAP_FILE, // pages of the file, which come and go
        SDG_MAP_COPY, // memory of its own
        SDG_MAP_KEPT, // memory of somebody else, which stays (SDG_FILE_KEPT)
    } kind;
    size_t before; // bytes that are mapped before `data`, from the beginning of its page on
};
// SDG_FILE_COPIED is copied always, SDG_FILE_KEPT never.
enum sdg_result sdg_file_map(const struct sdg_log *log, const struct sdg_file *file, bool copy, struct sdg_map *out);
void sdg_file_unmap(struct sdg_map *map); // leaves *map empty; an empty map is fine
// The file that is mapped at this address; NULL where none is. Async-signal-safe, for handlers of SIGBUS.
const char *sdg_map_path(const void *address);
// The whole pages inside data[0 .. bytes) may leave memory; they are read from the file again when touched. Nothing
// where no file is mapped.
void sdg_map_release(const struct sdg_map *map, const void *data, size_t bytes);

// An output file, written under a temporary name in the same folder and renamed by commit. An existing pipe or device
// is written directly; a link stays one, the file that it leads to is replaced, or made. A file that is replaced keeps
// its mode and, where we may give it away, its owner; one that nobody may write is an error. `log`, which must outlive
// the handle, and the handle are used by one thread at a time.
struct sdg_output;
enum sdg_result sdg_output_open(const struct sdg_log *log, const char *path, struct sdg_output **out);
// Onto a stream that stays open, standard output mostly; `name` is what messages call it. The rest is the same.
enum sdg_result sdg_output_stream(const struct sdg_log *log, FILE *stream, const char *name, struct sdg_output **out);
// For printing; a failed write is found by commit. Valid until then.
FILE *sdg_output_file(struct sdg_output *output);
// The file that discard would remove; NULL where there is none.
const char *sdg_output_temporary(const struct sdg_output *output);
// After a failure all further writes, and commit, fail with the same result and without a second message.
enum sdg_result sdg_output_write(struct sdg_output *output, const void *data, size_t bytes);
// Both free the handle and set *output to NULL; NULL is fine. If commit fails, or on discard, no file is left behind
// and an older file of that name is still there.
enum sdg_result sdg_output_commit(struct sdg_output **output);
void sdg_output_discard(struct sdg_output **output);
// A file's bytes under another name, the same way.
enum sdg_result sdg_file_copy(const struct sdg_log *log, const char *from, const char *to);
// A whole file of one text and a line end, the same way.
enum sdg_result sdg_output_text(const struct sdg_log *log, const char *path, const char *text);

#endif
