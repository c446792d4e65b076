// Second moments of the inputs of a network's layers, for GPTQ: a Hessian for each site, of what its first consumer
// multiplies with its weights. That is a site's channels for a linear layer, and for a convolution the channels under
// each of its kernel's taps, in the order of the weights: [channels, kernel height, kernel width].
//
// As a file (safetensors): what sdg_statistics files say about where they come from, under the format "sdgen hessians",
// and for a site NAME of K = channels * kernel height * kernel width inputs
//     NAME.hessian  s64 [K (K + 1) / 2], sums and order of struct sdg_hessian      NAME.samples  s64 [1]
//     NAME.kernel   s32 [3]: channels, kernel height, kernel width
// Sums are integers, so that merged files equal the file of one run byte for byte.
#ifndef SDG_QUANT_LAYER_HESSIANS_H
#define SDG_QUANT_LAYER_HESSIANS_H

#include "quant/hessian.h"
#include "quant/statistics.h"

#include <stdbool.h>

struct sdg_layer_hessian {
    char *site;
    size_t channels, kernel_h, kernel_w;
    struct sdg_hessian hessian;
};
struct sdg_hessians {                 // read freely, change through the functions below
    struct sdg_statistics *about;     // model, sampler, prompts seen: statistics without sites
    struct sdg_layer_hessian *layers; // by name after reading, writing and merging
    size_t count, capacity;
};

enum sdg_result sdg_hessians_create(const struct sdg_log *log, const struct sdg_statistics_info *info,
                                    struct sdg_hessians **out);
void sdg_hessians_destroy(struct sdg_hessians **hessians);
// The index of a site's Hessian, added if it is new. Pointers into layers[] are invalid after one was added.
enum sdg_result sdg_hessians_site(const struct sdg_log *log, struct sdg_hessians *h, const char *site, size_t channels,
                                  size_t kernel_h, size_t kernel_w, size_t *index);
const struct sdg_layer_hessian *sdg_hessians_find(const struct sdg_hessians *h, const char *site); // NULL if absent

enum sdg_result sdg_hessians_write(const struct sdg_log *log, struct sdg_hessians *h, const char *path);
// every field is checked
enum sdg_result sdg_hessians_read(const struct sdg_log *log, const char *path, struct sdg_hessians **out);
// True if the file has Hessians; false also if it cannot be read.
bool sdg_hessians_is_file(const char *path);
// As sdg_statistics_merge; but after a failure for want of memory, or a sum out of range, `into` is of no further use.
enum sdg_result sdg_hessians_merge(const struct sdg_log *log, struct sdg_hessians *into, const char *into_name,
                                   const struct sdg_hessians *from, const char *from_name);

#endif
