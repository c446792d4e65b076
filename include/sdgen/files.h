// A model's files where they are no files, or not all of one: assets inside of an Android package, parts of a larger
// file, bytes in memory. A list of them, each with a name, is a tree of folders in which the model lies as it would on
// disk (sdg_pipeline_params.files):
//
//     const struct sdg_file files[] = {
//         {.name = "emoji/model_index.json", .kind = SDG_FILE_COPIED, .data = text, .length = bytes},
//         {.name = "emoji/unet/config.json", .kind = SDG_FILE_PART, .fd = fd, .offset = 1204, .length = 733},
//         {.name = "emoji/unet/diffusion_pytorch_model.safetensors", .kind = SDG_FILE_PART, .fd = fd, ...},
//         ...
//     };
//     const struct sdg_pipeline_params params = {.model = "emoji", .files = files, .file_count = 12, ...};
//
// A checkpoint in a single file is a list of one, and `model` its name.
//
// - Names are paths in that tree: parts with a / between them, of which the last is the file's and the others are
//   folders, which are there because they are named. "." is the tree itself. No name is there twice or also a folder's,
//   none begins or ends with a /, no part is empty, "." or "..".
// - With a list, every path that is not absolute leads into the tree, whoever says it: the caller (`model`, `vae`,
//   `tokenizer`) or a file of the model (shards, `base_path`), with "emoji-w8/../emoji" for "emoji". So a model that
//   holds only what differs from its base wants the base in the same list, at the place that it would have beside it
//   on disk. Nothing is looked for in the working directory then; a path that begins with a / is the system's as ever.
// - Descriptors stay the caller's and may be closed when the call has returned: maps outlive them. Where they stand in
//   their file is neither used nor moved, so that several files of the list, and other threads, may share one. The list
//   and its strings need only live that long, too; SDG_FILE_KEPT says what does not.
// - Offsets and addresses need no alignment, and pages may be of any size: a part is mapped from the page on that it
//   begins in. Weights are read where they lie, nothing is copied beforehand.
// - On Android, an asset has a descriptor if it is in the package as it is (noCompress; AAsset_openFileDescriptor64
//   gives descriptor, offset and length). Others are read by the caller, AAsset_getBuffer, and given as memory.
#ifndef SDGEN_FILES_H
#define SDGEN_FILES_H

#include <stdint.h>

#include "sdgen/result.h"

#ifdef __cplusplus
extern "C" {
#endif

enum sdg_file_kind {
    // The whole file at `path`, of the system and as it sees it.
    SDG_FILE_PATH,
    // `length` bytes from `offset` on of the regular file that `fd` is open on for reading; SDG_FILE_REST: from there
    // to its end.
    SDG_FILE_PART,
    // `length` bytes at `data`, where they stay: weights are read there as long as the pipeline exists, so that the
    // caller must not change or free them before sdg_pipeline_destroy.
    SDG_FILE_KEPT,
    // `length` bytes at `data`, of which the library makes copies of its own: they are the caller's again when the call
    // has returned.
    SDG_FILE_COPIED
};

enum { SDG_FILE_REST = -1 }; // AssetFileDescriptor.UNKNOWN_LENGTH is the same

// A file of the list. Fields that its kind does not name must be zero.
//
// Every file of a list is checked, whether or not the model turns out to need it (of a path only that there is one):
// SDG_ERROR_USAGE for a name that is none, a length of 0, a negative number, offset and length beyond what files can
// have, and fields that its kind has no use for; SDG_ERROR_INPUT for a descriptor that is not open for reading or is on
// a folder, pipe or device, and for a file that ends before the part.
struct sdg_file {
    const char *name; // UTF-8, at most 1023 bytes; messages and sdg_file_at call it that
    enum sdg_file_kind kind;
    const char *path;       // SDG_FILE_PATH
    int fd;                 // SDG_FILE_PART
    int64_t offset, length; // bytes; a path has neither, memory only a length
    const void *data;       // SDG_FILE_KEPT, SDG_FILE_COPIED
};

#ifdef __cplusplus
}
#endif
#endif
