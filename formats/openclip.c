// Text encoders as OpenCLIP stores them: query, key and value projections in one tensor, the text projection
// transposed.
#include "formats/model_parts.h"

#include <stdio.h>
#include <string.h>

// Rows [3C, ...] of a fused projection are three tensors that follow each other; nothing is copied.
static enum sdg_result add_fused(const struct sdg_log *log, struct sdg_tensors *view, const char *path,
                                 const struct sdg_tensor *fused, int layer, const char *leaf)
{
    static const char *const parts[] = {"q_proj", "k_proj", "v_proj"};
    if (fused->rank < 1 || fused->dims[0] % 3 != 0)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: the first dimension of tensor %s should be a multiple of 3", path,
                        fused->name);
    for (int i = 0; i < 3; i++) {
        char name[SDG_NAME_ROOM];
        struct sdg_tensor part = *fused;
        part.dims[0] /= 3;
        part.bytes /= 3;
        part.data = (const char *)fused->data + (size_t)i * part.bytes;
        snprintf(name, sizeof name, "text_model.encoder.layers.%d.self_attn.%s.%s", layer, parts[i], leaf);
        SDG_TRY(sdg_tensors_add(log, view, &part, name));
    }
    return SDG_OK;
}

// [hidden, projection] for x * W becomes the [projection, hidden] of a linear layer.
static enum sdg_result add_projection(const struct sdg_log *log, struct sdg_tensors *view, const char *path,
                                      const struct sdg_tensor *stored)
{
    if (stored->rank != 2)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: tensor %s should have 2 dimensions", path, stored->name);
    struct sdg_tensor turned = *stored;
    size_t rows = (size_t)stored->dims[0], columns = (size_t)stored->dims[1], size = sdg_dtype_size(stored->dtype);
    char *data = sdg_tensors_room(log, view, stored->bytes);
    if (!data)
        return SDG_ERROR_MEMORY;
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++)
            memcpy(data + (j * rows + i) * size, (const char *)stored->data + (i * columns + j) * size, size);
    turned.dims[0] = stored->dims[1];
    turned.dims[1] = stored->dims[0];
    turned.data = data;
    return sdg_tensors_add(log, view, &turned, "text_projection.weight");
}

struct openclip {
    const struct sdg_text_config *config;
    size_t prefix; // characters
    bool skip_last;
};

// Layer `layer`'s tensor `leaf`.
static enum sdg_result add_layer(const struct sdg_log *log, struct sdg_tensors *view, const char *path,
                                 const struct sdg_tensor *tensor, size_t prefix, int layer, const char *leaf)
{
    char name[SDG_NAME_ROOM];
    if (strcmp(leaf, "attn.in_proj_weight") == 0)
        return add_fused(log, view, path, tensor, layer, "weight");
    if (strcmp(leaf, "attn.in_proj_bias") == 0)
        return add_fused(log, view, path, tensor, layer, "bias");
    if (sdg_name_from_ldm(SDG_PART_OPENCLIP, &(struct sdg_ldm_layout){0}, tensor->name + prefix, name))
        return sdg_tensors_add(log, view, tensor, name);
    return sdg_tensors_add_unplaced(log, view, tensor->name, prefix, true);
}

static enum sdg_result add_tensor(const struct sdg_log *log, struct sdg_tensors *view, const char *path,
                                  const struct sdg_tensor *tensor, const struct openclip *o)
{
    char name[SDG_NAME_ROOM];
    int layer = 0, end = 0;
    const char *plain = tensor->name + o->prefix;
    if (strcmp(plain, "positional_embedding") == 0)
        return sdg_tensors_add(log, view, tensor, "text_model.embeddings.position_embedding.weight");
    if (strcmp(plain, "text_projection") == 0)
        return o->config->projection_dim ? add_projection(log, view, path, tensor) : SDG_OK;
    if (sscanf(plain, "transformer.resblocks.%3d.%n", &layer, &end) == 1 && end > 0)
        return o->skip_last && layer == o->config->layers
            ? SDG_OK
            : add_layer(log, view, path, tensor, o->prefix, layer, plain + end);
    if (sdg_name_from_ldm(SDG_PART_OPENCLIP, &(struct sdg_ldm_layout){0}, plain, name))
        return sdg_tensors_add(log, view, tensor, name);
    return sdg_tensors_add_unplaced(log, view, tensor->name, o->prefix, false);
}

enum sdg_result sdg_openclip_open(const struct sdg_log *log, struct sdg_source *source, const char *prefix,
                                  const struct sdg_text_config *config, bool skip_last, struct sdg_tensors **out)
{
    struct sdg_tensors *view = NULL;
    const struct openclip o = {config, strlen(prefix), skip_last};
    SDG_TRY(sdg_tensors_new(log, source->path, &view));
    enum sdg_result result = sdg_tensors_use(log, view, source);
    for (size_t i = 0; result == SDG_OK && i < source->count; i++)
        if (strncmp(source->tensors[i].name, prefix, o.prefix) == 0)
            result = add_tensor(log, view, source->path, &source->tensors[i], &o);
    return sdg_finish_inferred(log, result, view, out);
}
