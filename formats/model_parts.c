// What folders and single files have in common.
#include "formats/model_parts.h"

#include "base/file.h"

#include <string.h>

enum sdg_result sdg_add_canonical(const struct sdg_log *log, struct sdg_tensors *view, enum sdg_part part,
                                  const struct sdg_tensor *tensor, const char *name)
{
    struct sdg_tensor copy = *tensor;
    if (part == SDG_PART_VAE && sdg_name_is_vae_projection(name))
        while (copy.rank > 2 && copy.dims[copy.rank - 1] == 1)
            copy.rank--;
    return sdg_tensors_add(log, view, &copy, name);
}

enum sdg_result sdg_finish_inferred(const struct sdg_log *log, enum sdg_result result, struct sdg_tensors *view,
                                    struct sdg_tensors **out)
{
    if (result == SDG_OK)
        result = sdg_tensors_finish(log, view);
    if (result != SDG_OK) {
        sdg_tensors_destroy(&view);
        return result;
    }
    sdg_tensors_set_inferred(view);
    *out = view;
    return SDG_OK;
}
