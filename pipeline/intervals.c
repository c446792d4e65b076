// Quantized models in the pipeline: opened and checked with the model, applied to each step graph, intervals written
// before the loop.
#include "pipeline/intervals.h"

#include "base/memory.h"
#include "quant/quantized.h"
#include "unet/unet.h"

#include <string.h>

enum sdg_result sdg_quantized_open(struct sdg_pipeline *p)
{
    const struct sdg_quantization_config *config = &p->model->unet_config.quantization;
    const struct sdg_unet_shape shape = sdg_unet_smallest_shape(&p->model->unet_config);
    const char *intervals = p->params.intervals ? p->params.intervals : "calibrated";
    const bool resample = strcmp(intervals, "resample") == 0;
    struct sdg_graph *graph;
    if (!resample && strcmp(intervals, "calibrated") != 0)
        return sdg_fail(&p->log, SDG_ERROR_USAGE, "intervals are '%.40s', should be calibrated or resample", intervals);
    if (!config->present)
        return SDG_OK;
    SDG_TRY(sdg_unet_fused_step_graph(&p->log, &p->model->unet_config, &shape, &graph));
    enum sdg_result result = sdg_quantized_create(&p->log, config->scheme, p->model->unet, graph, &p->quantized);
    if (result == SDG_OK)
        result = sdg_quantized_check_static(&p->log, p->quantized, p->model->path, config->static_sites);
    if (result == SDG_OK) {
        p->quantized->resample = resample;
        p->quantized->scan_codes = config->scan_codes;
    }
    sdg_graph_destroy(&graph);
    return result;
}

enum sdg_result sdg_quantized_rewrite(const struct sdg_pipeline *p, struct sdg_graph *graph)
{
    return p->quantized ? sdg_graph_quantize_model(graph, p->quantized) : SDG_OK;
}

enum sdg_result sdg_quantized_write_tables(const struct sdg_log *log, const struct sdg_quantized *q,
                                           struct sdg_program *program, int64_t rows,
                                           double (*timestep)(const void *user, int64_t row), const void *user)
{
    char name[SDG_OBSERVED_NAME_BYTES];
    if (!q || q->scheme.rule == SDG_INTERVAL_DYNAMIC || !q->site_count)
        return SDG_OK;
    size_t tokens = 1, count, height, width;
    for (size_t i = 0; i < q->site_count; i++) {
        sdg_quantized_grid(q, i, sdg_program_graph(program), &height, &width);
        tokens = height * width > tokens ? height * width : tokens;
    }
    if (!sdg_mul_size((size_t)rows * 2, tokens, &count))
        return sdg_fail(log, SDG_ERROR_MEMORY, "the intervals of %zu tokens do not fit in the address space", tokens);
    float *data = sdg_alloc_raw(log, count, sizeof *data, "intervals");
    if (!data)
        return SDG_ERROR_MEMORY;
    enum sdg_result result = SDG_OK;
    for (size_t i = 0; i < q->site_count && result == SDG_OK; i++) {
        sdg_quantized_grid(q, i, sdg_program_graph(program), &height, &width);
        sdg_quantized_table(q, i, height, width, rows, timestep, user, data);
        result = sdg_program_write(program, sdg_interval_name(name, q->sites[i].name), data,
                                   (size_t)rows * height * width * 2);
    }
    sdg_free(data);
    return result;
}

enum sdg_result sdg_quantized_write_intervals(const struct sdg_pipeline *p, struct sdg_program *program, int64_t rows,
                                              double (*timestep)(const void *user, int64_t row), const void *user)
{
    return sdg_quantized_write_tables(&p->log, p->quantized, program, rows, timestep, user);
}
