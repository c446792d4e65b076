// Lanes: what a thread needs of its own while it computes a piece. Memory that is described to the library points to
// one place at a time, so no two threads may share it.
#include "backend/cpu/onednn/layer.h"

#include "base/memory.h"

static dnnl_status_t make_argument(const struct sdg_cpu_step *step, int shape, enum sdg_memory_role role,
                                   dnnl_memory_t *out)
{
    const struct sdg_layer *layer = step->state;
    const struct sdg_onednn *onednn = sdg_cpu_backend_of(step->program)->state;
    dnnl_memory_desc_t md;
    dnnl_status_t status =
        sdg_request_describe(step, layer->grid.width, layer->code_bits, layer->descriptions[shape], role, &md);
    if (status != dnnl_success || !md)
        return status;
    status = dnnl_memory_create(out, md, onednn->engine, DNNL_MEMORY_NONE);
    dnnl_memory_desc_destroy(md);
    return status;
}

static dnnl_status_t open_lane(const struct sdg_cpu_step *step, struct sdg_lane *lane)
{
    const struct sdg_layer *layer = step->state;
    const struct sdg_onednn *onednn = sdg_cpu_backend_of(step->program)->state;
    dnnl_status_t status = dnnl_stream_create(&lane->stream, onednn->engine, dnnl_stream_default_flags);
    for (int shape = 0; shape < layer->shape_count; shape++)
        for (int role = 0; role < (shape ? SDG_ROLE_WEIGHTS : SDG_ROLES) && status == dnnl_success; role++)
            status = make_argument(step, shape, (enum sdg_memory_role)role, &lane->arguments[shape][role].memory);
    return status;
}

enum sdg_result sdg_layer_open_lanes(struct sdg_cpu_step *step)
{
    struct sdg_layer *layer = step->state;
    layer->lanes =
        sdg_alloc(step->program->base.log, (size_t)layer->lane_count, sizeof *layer->lanes, "a kernel's arguments");
    if (!layer->lanes)
        return SDG_ERROR_MEMORY;
    for (int64_t i = 0; i < layer->lane_count; i++) {
        const dnnl_status_t status = open_lane(step, &layer->lanes[i]);
        if (status != dnnl_success)
            return sdg_layer_report(step, status, "make the kernel's arguments");
    }
    return SDG_OK;
}

static void close_lane(struct sdg_lane *lane)
{
    for (int shape = 0; shape < SDG_LAYER_SHAPES; shape++)
        for (int role = 0; role < SDG_ROLES; role++)
            if (lane->arguments[shape][role].memory)
                dnnl_memory_destroy(lane->arguments[shape][role].memory);
    if (lane->stream)
        dnnl_stream_destroy(lane->stream);
}

void sdg_layer_close_lanes(struct sdg_layer *layer)
{
    for (int64_t i = 0; layer->lanes && i < layer->lane_count; i++)
        close_lane(&layer->lanes[i]);
    sdg_free(layer->lanes);
    layer->lanes = NULL;
}
