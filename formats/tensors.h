// Named tensors of one component (UNet, VAE, text encoder), mapped from safetensors files, never copied.
// Names are those of diffusers folders whatever file they came from; name mapping happens on opening, nowhere else.
#ifndef SDG_FORMATS_TENSORS_H
#define SDG_FORMATS_TENSORS_H

#include "formats/tensor.h"

#include <stdbool.h>

// Owns the mapping. Thread-safety: look-ups from any thread; destruction from one.
struct sdg_tensors;

// Opens one safetensors file and checks every field of its header. SDG_ERROR_INPUT with path, tensor and reason
// otherwise; SDG_ERROR_UNSUPPORTED if one of its tensors cannot be read (a model's component may hold such tensors).
enum sdg_result sdg_tensors_open(const struct sdg_log *log, const char *path, struct sdg_tensors **out);
void sdg_tensors_destroy(struct sdg_tensors **tensors);

// Puts `tensors` over `*below`: names that it does not have are answered from there, so that a file need only hold what
// differs. Path and metadata remain those on top. On success *below belongs to `tensors` and is set to NULL; on failure
// both are as before.
enum sdg_result sdg_tensors_overlay(const struct sdg_log *log, struct sdg_tensors *tensors, struct sdg_tensors **below);

// From now on tensor `name`, of numbers or codes and at least two axes, stands for
//     what it is now + factor * up * down
// with up [outputs, rank] or [outputs, rank, 1, 1], and down [rank, inputs..] of as many inputs as the tensor has in
// all axes behind its first. Both are of a float type and copied: their file may be closed afterwards. Parts of one
// tensor add up. Other tensors of the same file, and views of it, stay as they are.
// SDG_ERROR_INPUT with names and shapes when a part does not fit; then none has been added.
// To be called before `tensors` is used by more than one thread.
struct sdg_low_rank {
    const char *name;
    const struct sdg_tensor *up, *down;
    float factor;
};
enum sdg_result sdg_tensors_add_low_rank(const struct sdg_log *log, struct sdg_tensors *tensors,
                                         const struct sdg_low_rank *parts, size_t count);

size_t sdg_tensors_count(const struct sdg_tensors *tensors);
const struct sdg_tensor *sdg_tensors_at(const struct sdg_tensors *tensors, size_t i);           // sorted by name
const struct sdg_tensor *sdg_tensors_find(const struct sdg_tensors *tensors, const char *name); // NULL if absent
// for messages: the file, the folder when there are several files
const char *sdg_tensors_path(const struct sdg_tensors *tensors);
// The same of the file that has `tensor`, one of `tensors`. *differs: whether that one lies over another (NULL: not
// asked).
const char *sdg_tensors_origin(const struct sdg_tensors *tensors, const struct sdg_tensor *tensor, bool *differs);
// The folder of differences that has no file for this component, so that all its tensors are those of its base; NULL
// where none was named.
const char *sdg_tensors_bare_folder(const struct sdg_tensors *tensors);
const char *sdg_tensors_metadata(const struct sdg_tensors *tensors, const char *key); // NULL if absent

// All of the file's, for copies of it, or the first file's where there are several.
const struct sdg_metadata *sdg_tensors_all_metadata(const struct sdg_tensors *tensors, size_t *count);

// What an original checkpoint holds for this component under names that its network has no place for.
struct sdg_unplaced {
    const char *name;  // as in the file
    const char *plain; // without the prefix of the component
    bool in_module;    // it stands inside a module that the network does have
};
// NULL if there is none.
const struct sdg_unplaced *sdg_tensors_unplaced(const struct sdg_tensors *tensors, size_t *count);
// True if no configuration says what the network is, so that it was concluded from these tensors: one that the network
// does not read shows that others are missing.
bool sdg_tensors_are_inferred_from(const struct sdg_tensors *tensors);

// The pages of this tensor (the whole ones inside it) are not needed any more: keeps a mapped file from staying
// resident beside reordered weights. The data stays readable (it is read from the file again).
void sdg_tensors_release(const struct sdg_tensors *tensors, const struct sdg_tensor *tensor);

// Tells models apart: 16 hexadecimal digits of names, types, shapes and a sample of the bytes (64 words spread over
// each tensor, and the last ones that fill no word), and of what was added to a tensor in the same way.
void sdg_tensors_fingerprint(const struct sdg_tensors *tensors, char text[17]);

// Writes a safetensors file under a temporary name and renames it; nothing is left behind on failure. Tensors that
// something was added to are refused: no file says such a sum.
enum sdg_result sdg_tensors_write(const struct sdg_log *log, const char *path, const struct sdg_tensor *tensors,
                                  size_t count, const struct sdg_metadata *metadata, size_t metadata_count);
#endif
