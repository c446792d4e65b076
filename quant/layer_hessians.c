#include "quant/layer_hessians.h"

#include "base/memory.h"
#include "quant/statistics_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char format_name[] = "sdgen hessians";
enum { MAX_CHANNELS = 1 << 20, MAX_KERNEL = 64, NAME_BYTES = 512, PARTS = 3 };
enum part { HESSIAN, KERNEL, SAMPLES };
static const char *const suffixes[PARTS] = {".hessian", ".kernel", ".samples"};

enum sdg_result sdg_hessians_create(const struct sdg_log *log, const struct sdg_statistics_info *info,
                                    struct sdg_hessians **out)
{
    struct sdg_hessians *h = sdg_alloc(log, 1, sizeof *h, "Hessians");
    if (!h)
        return SDG_ERROR_MEMORY;
    enum sdg_result result = sdg_statistics_create(log, info, &h->about);
    if (result != SDG_OK) {
        sdg_hessians_destroy(&h);
        return result;
    }
    *out = h;
    return SDG_OK;
}

static void drop_last(struct sdg_hessians *h)
{
    struct sdg_layer_hessian *l = &h->layers[--h->count];
    sdg_hessian_free(&l->hessian);
    sdg_free(l->site);
}

void sdg_hessians_destroy(struct sdg_hessians **handle)
{
    struct sdg_hessians *h = *handle;
    *handle = NULL;
    if (!h)
        return;
    while (h->count)
        drop_last(h);
    sdg_free(h->layers);
    sdg_statistics_destroy(&h->about);
    sdg_free(h);
}

const struct sdg_layer_hessian *sdg_hessians_find(const struct sdg_hessians *h, const char *site)
{
    for (size_t i = 0; i < h->count; i++)
        if (strcmp(h->layers[i].site, site) == 0)
            return &h->layers[i];
    return NULL;
}

static enum sdg_result new_layer(const struct sdg_log *log, struct sdg_hessians *h, const char *site, size_t channels,
                                 size_t kernel_h, size_t kernel_w)
{
    struct sdg_layer_hessian layer = {.channels = channels, .kernel_h = kernel_h, .kernel_w = kernel_w};
    if (channels < 1 || channels > MAX_CHANNELS || kernel_h < 1 || kernel_h > MAX_KERNEL || kernel_w < 1 ||
        kernel_w > MAX_KERNEL)
        return sdg_fail(log, SDG_ERROR_USAGE,
                        "site %s: a Hessian of %zu channels and a kernel of %zux%zu: should be 1 to %d and 1 to %d",
                        site, channels, kernel_h, kernel_w, MAX_CHANNELS, MAX_KERNEL);
    if (!sdg_grow(log, &h->layers, &h->capacity, h->count + 1, sizeof *h->layers, "Hessians"))
        return SDG_ERROR_MEMORY;
    SDG_TRY(sdg_hessian_create(log, channels * kernel_h * kernel_w, &layer.hessian));
    layer.site = sdg_strdup(log, site);
    if (!layer.site) {
        sdg_hessian_free(&layer.hessian);
        return SDG_ERROR_MEMORY;
    }
    h->layers[h->count++] = layer;
    return SDG_OK;
}

static bool same_shape(const struct sdg_layer_hessian *l, size_t channels, size_t kernel_h, size_t kernel_w)
{
    return l->channels == channels && l->kernel_h == kernel_h && l->kernel_w == kernel_w;
}

enum sdg_result sdg_hessians_site(const struct sdg_log *log, struct sdg_hessians *h, const char *site, size_t channels,
                                  size_t kernel_h, size_t kernel_w, size_t *index)
{
    const struct sdg_layer_hessian *old = sdg_hessians_find(h, site);
    if (!old) {
        SDG_TRY(new_layer(log, h, site, channels, kernel_h, kernel_w));
        *index = h->count - 1;
        return SDG_OK;
    }
    if (!same_shape(old, channels, kernel_h, kernel_w))
        return sdg_fail(
            log, SDG_ERROR_USAGE,
            "the Hessian of site %s has %zu channels and a kernel of %zux%zu and cannot get %zu and %zux%zu", site,
            old->channels, old->kernel_h, old->kernel_w, channels, kernel_h, kernel_w);
    *index = (size_t)(old - h->layers);
    return SDG_OK;
}

// ---- merging ----

// Every layer of `a` is in `b`, of the same shape.
static enum sdg_result same_layers(const struct sdg_log *log, const struct sdg_hessians *a, const char *a_name,
                                   const struct sdg_hessians *b, const char *b_name)
{
    for (size_t i = 0; i < a->count; i++) {
        const struct sdg_layer_hessian *x = &a->layers[i], *y = sdg_hessians_find(b, x->site);
        if (!y || !same_shape(y, x->channels, x->kernel_h, x->kernel_w))
            return sdg_fail(
                log, SDG_ERROR_INPUT,
                "%s and %s do not belong together: the Hessian of site %s is not in both, or has another shape", a_name,
                b_name, x->site);
    }
    return SDG_OK;
}

static int by_site(const void *a, const void *b)
{
    return strcmp(((const struct sdg_layer_hessian *)a)->site, ((const struct sdg_layer_hessian *)b)->site);
}

static void sort(struct sdg_hessians *h)
{
    if (h->count > 1)
        qsort(h->layers, h->count, sizeof *h->layers, by_site);
}

static enum sdg_result add_missing(const struct sdg_log *log, struct sdg_hessians *into,
                                   const struct sdg_hessians *from)
{
    size_t old_count = into->count;
    for (size_t i = 0; i < from->count; i++) {
        const struct sdg_layer_hessian *l = &from->layers[i];
        size_t index;
        enum sdg_result result = sdg_hessians_site(log, into, l->site, l->channels, l->kernel_h, l->kernel_w, &index);
        if (result != SDG_OK) {
            while (into->count > old_count)
                drop_last(into);
            return result;
        }
    }
    return SDG_OK;
}

enum sdg_result sdg_hessians_merge(const struct sdg_log *log, struct sdg_hessians *into, const char *into_name,
                                   const struct sdg_hessians *from, const char *from_name)
{
    bool blank = !into->count || !from->count;
    if (!blank) {
        SDG_TRY(same_layers(log, into, into_name, from, from_name));
        SDG_TRY(same_layers(log, from, from_name, into, into_name));
    }
    SDG_TRY(sdg_statistics_merge(log, into->about, into_name, from->about, from_name));
    SDG_TRY(add_missing(log, into, from));
    for (size_t i = 0; i < from->count; i++) {
        struct sdg_layer_hessian *l = (struct sdg_layer_hessian *)sdg_hessians_find(into, from->layers[i].site);
        SDG_TRY(sdg_hessian_merge(log, l->site, &l->hessian, &from->layers[i].hessian));
    }
    sort(into);
    return SDG_OK;
}

// ---- files ----

struct kernel {
    int32_t sizes[3];
    int64_t samples;
};

static size_t sum_count(const struct sdg_hessian *h)
{
    return h->inputs * (h->inputs + 1) / 2;
}

static struct sdg_tensor describe(char *name, const char *site, enum part part, enum sdg_dtype dtype, size_t count,
                                  const void *data)
{
    snprintf(name, NAME_BYTES, "%s%s", site, suffixes[part]);
    return (struct sdg_tensor){.name = name,
                               .dtype = dtype,
                               .rank = 1,
                               .dims = {(int64_t)count},
                               .data = data,
                               .bytes = count * sdg_dtype_size(dtype)};
}

enum sdg_result sdg_hessians_write(const struct sdg_log *log, struct sdg_hessians *h, const char *path)
{
    struct sdg_file_about about;
    for (size_t i = 0; i < h->count; i++)
        if (strlen(h->layers[i].site) > NAME_BYTES - 16)
            return sdg_fail(log, SDG_ERROR_USAGE, "%s: the name of site %.40s... is longer than %d bytes", path,
                            h->layers[i].site, NAME_BYTES - 16);
    sort(h);
    sdg_file_about_make(h->about, format_name, &about);
    const size_t count = 2 + PARTS * h->count;
    struct sdg_tensor *tensors = sdg_alloc(log, count, sizeof *tensors, "Hessians");
    char (*names)[NAME_BYTES] = sdg_alloc(log, count, sizeof *names, "Hessians");
    struct kernel *kernels = sdg_alloc(log, h->count, sizeof *kernels, "Hessians");
    enum sdg_result result = tensors && names && kernels ? SDG_OK : SDG_ERROR_MEMORY;
    if (result == SDG_OK) {
        struct sdg_tensor *t = tensors;
        *t++ = about.tensors[0];
        for (size_t i = 0; i < h->count; i++) { // large elements first: all of them are aligned
            const struct sdg_layer_hessian *l = &h->layers[i];
            kernels[i] = (struct kernel){{(int32_t)l->channels, (int32_t)l->kernel_h, (int32_t)l->kernel_w},
                                         (int64_t)l->hessian.samples};
            *t = describe(names[t - tensors], l->site, HESSIAN, SDG_S64, sum_count(&l->hessian), l->hessian.sums), t++;
            *t = describe(names[t - tensors], l->site, SAMPLES, SDG_S64, 1, &kernels[i].samples), t++;
        }
        for (size_t i = 0; i < h->count; i++, t++)
            *t = describe(names[t - tensors], h->layers[i].site, KERNEL, SDG_S32, 3, kernels[i].sizes);
        *t = about.tensors[1];
        result = sdg_tensors_write(log, path, tensors, count, about.metadata,
                                   sizeof about.metadata / sizeof *about.metadata);
    }
    sdg_free(kernels);
    sdg_free(names);
    sdg_free(tensors);
    return result;
}

static enum sdg_result find_part(const struct sdg_log *log, const char *path, const struct sdg_tensors *tensors,
                                 const char *site, enum part part, enum sdg_dtype dtype, size_t count,
                                 const struct sdg_tensor **out)
{
    char name[NAME_BYTES + 16];
    snprintf(name, sizeof name, "%s%s", site, suffixes[part]);
    *out = sdg_tensors_find(tensors, name);
    if (!*out || (*out)->dtype != dtype || (*out)->rank != 1 || (*out)->bytes != count * sdg_dtype_size(dtype))
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: %s is missing, or is not %s with %zu elements", path, name,
                        sdg_dtype_name(dtype), count);
    return SDG_OK;
}

static enum sdg_result check_layer(const struct sdg_log *log, const char *path, const struct sdg_layer_hessian *l)
{
    for (size_t i = 0; i < l->hessian.inputs; i++)
        if (!(sdg_hessian_at(&l->hessian, i, i) >= 0))
            return sdg_fail(log, SDG_ERROR_INPUT,
                            "%s: the Hessian of site %s has a negative sum of squares for input %zu", path, l->site, i);
    return SDG_OK;
}

static enum sdg_result read_layer(const struct sdg_log *log, const char *path, const struct sdg_tensors *tensors,
                                  const char *site, struct sdg_hessians *h)
{
    const struct sdg_tensor *sums, *kernel, *samples;
    int32_t sizes[3];
    int64_t seen;
    size_t index;
    SDG_TRY(find_part(log, path, tensors, site, KERNEL, SDG_S32, 3, &kernel));
    memcpy(sizes, kernel->data, sizeof sizes);
    for (int i = 0; i < 3; i++)
        if (sizes[i] < 1)
            return sdg_fail(log, SDG_ERROR_INPUT, "%s: %s.kernel has %d, should be positive", path, site,
                            (int)sizes[i]);
    enum sdg_result result =
        sdg_hessians_site(log, h, site, (size_t)sizes[0], (size_t)sizes[1], (size_t)sizes[2], &index);
    if (result != SDG_OK)
        return result == SDG_ERROR_USAGE ? SDG_ERROR_INPUT : result; // the same numbers, but here they come from a file
    struct sdg_layer_hessian *l = &h->layers[index];
    SDG_TRY(find_part(log, path, tensors, site, HESSIAN, SDG_S64, sum_count(&l->hessian), &sums));
    SDG_TRY(find_part(log, path, tensors, site, SAMPLES, SDG_S64, 1, &samples));
    memcpy(l->hessian.sums, sums->data, sums->bytes);
    memcpy(&seen, samples->data, sizeof seen);
    if (seen < 0)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: %s.samples is negative", path, site);
    l->hessian.samples = (uint64_t)seen;
    return check_layer(log, path, l);
}

static enum sdg_result read_layers(const struct sdg_log *log, const char *path, const struct sdg_tensors *tensors,
                                   struct sdg_hessians *h)
{
    const size_t count = sdg_tensors_count(tensors), ending = strlen(suffixes[KERNEL]);
    for (size_t i = 0; i < count; i++) {
        const char *full = sdg_tensors_at(tensors, i)->name;
        size_t length = strlen(full);
        char site[NAME_BYTES];
        if (length <= ending || strcmp(full + length - ending, suffixes[KERNEL]) != 0)
            continue;
        if (length - ending > NAME_BYTES - 16)
            return sdg_fail(log, SDG_ERROR_INPUT, "%s: the name of site %.40s... is too long", path, full);
        snprintf(site, sizeof site, "%.*s", (int)(length - ending), full);
        SDG_TRY(read_layer(log, path, tensors, site, h));
    }
    if (count != 2 + PARTS * h->count)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: has tensors that belong to no Hessian", path);
    sort(h);
    return SDG_OK;
}

enum sdg_result sdg_hessians_read(const struct sdg_log *log, const char *path, struct sdg_hessians **out)
{
    struct sdg_tensors *tensors;
    SDG_TRY(sdg_tensors_open(log, path, &tensors));
    struct sdg_hessians *h = sdg_alloc(log, 1, sizeof *h, "Hessians");
    enum sdg_result result = h ? sdg_file_about_read(log, path, tensors, format_name, &h->about) : SDG_ERROR_MEMORY;
    if (result == SDG_OK)
        result = read_layers(log, path, tensors, h);
    sdg_tensors_destroy(&tensors);
    if (result != SDG_OK) {
        sdg_hessians_destroy(&h);
        return result;
    }
    *out = h;
    return SDG_OK;
}

bool sdg_hessians_is_file(const char *path)
{
    struct sdg_tensors *tensors;
    if (sdg_tensors_open(NULL, path, &tensors) != SDG_OK)
        return false;
    const char *format = sdg_tensors_metadata(tensors, "format");
    bool is = format && strcmp(format, format_name) == 0;
    sdg_tensors_destroy(&tensors);
    return is;
}
