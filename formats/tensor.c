#include "formats/tensor.h"

#include <stdlib.h>
#include <string.h>

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct sdg_tensor *)a)->name, ((const struct sdg_tensor *)b)->name);
}

void sdg_tensor_sort(struct sdg_tensor *tensors, size_t count)
{
    if (count > 1)
        qsort(tensors, count, sizeof *tensors, by_name);
}

enum sdg_result sdg_tensor_sort_unique(const struct sdg_log *log, const char *path, struct sdg_tensor *tensors,
                                       size_t count)
{
    sdg_tensor_sort(tensors, count);
    for (size_t i = 1; i < count; i++)
        if (strcmp(tensors[i - 1].name, tensors[i].name) == 0)
            return sdg_fail(log, SDG_ERROR_INPUT, "%s: has two tensors named %s", path, tensors[i].name);
    return SDG_OK;
}

enum sdg_result sdg_tensor_check_readable(const struct sdg_log *log, const char *path, const struct sdg_tensor *tensor)
{
    if (tensor->unknown_type)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: tensor %s has the unknown dtype '%.32s'", path, tensor->name,
                        tensor->unreadable);
    return tensor->unreadable
        ? sdg_fail(log, SDG_ERROR_UNSUPPORTED, "%s: tensor %s %s", path, tensor->name, tensor->unreadable)
        : SDG_OK;
}

const struct sdg_tensor *sdg_tensor_search(const struct sdg_tensor *tensors, size_t count, const char *name)
{
    const struct sdg_tensor key = {.name = name};
    return count ? bsearch(&key, tensors, count, sizeof key, by_name) : NULL;
}
