// Inside quant/: shared by statistics.c, statistics_file.c and layer_hessians.c.
#ifndef SDG_QUANT_STATISTICS_FILE_H
#define SDG_QUANT_STATISTICS_FILE_H

#include "formats/tensors.h"
#include "quant/statistics.h"

void sdg_statistics_sort(struct sdg_statistics *s); // sites by name

// What every file of a calibration says about where it comes from: metadata (format first) and the tensors timesteps
// and prompts_done.
struct sdg_file_about {
    char steps[16], shard[32];
    struct sdg_metadata metadata[7];
    struct sdg_tensor tensors[2];
};
// points into *s and *out
void sdg_file_about_make(const struct sdg_statistics *s, const char *format, struct sdg_file_about *out);
// Reads it, every field checked. *out has no sites.
enum sdg_result sdg_file_about_read(const struct sdg_log *log, const char *path, const struct sdg_tensors *tensors,
                                    const char *format, struct sdg_statistics **out);

#endif
