// Timing of single networks on random inputs, for sdbench.
#include "pipeline/pipeline.h"

#include "base/memory.h"
#include "text/text_encoder.h"
#include "unet/unet.h"
#include "vae/vae.h"

#include <string.h>

struct request {
    int64_t h, w, batch; // latent size
};

static enum sdg_result make(struct sdg_pipeline *p, const char *network, const struct request *r, struct sdg_program **program)
{
    if (strcmp(network, "text") == 0)
        return sdg_make_text(p, 0, (int)r->batch, 1, false, program);
    if (strcmp(network, "unet") == 0)
        return sdg_make_unet_step(p, r->batch, r->h, r->w, SDG_TEXT_TOKENS, 1, false, program);
    if (strcmp(network, "vae") == 0)
        return sdg_make_decoder(p, r->h, r->w, false, program);
    return sdg_fail(&p->log, SDG_ERROR_USAGE, "network is '%s', should be text, unet or vae", network);
}

static enum sdg_result build_graph(struct sdg_pipeline *p, const char *network, const struct request *r, struct sdg_graph **graph)
{
    const struct sdg_model *m = p->model;
    if (strcmp(network, "text") == 0)
        return sdg_text_graph(&p->log, &m->text_config[0], &(struct sdg_text_params){.batch = (int)r->batch, .tokens = SDG_TEXT_TOKENS, .skip = 1, .final_norm = m->text_encoders == 1}, graph);
    if (strcmp(network, "unet") == 0) {
        int64_t table_batch = m->unet_config.addition_time_embed_dim ? r->batch : 1;
        return sdg_unet_step_graph(&p->log, &m->unet_config, &(struct sdg_unet_shape){r->batch, r->h, r->w, SDG_TEXT_TOKENS, 1, table_batch}, graph);
    }
    return sdg_vae_decoder_graph(&p->log, &m->vae_config, 1, r->h, r->w, graph);
}

// The same network as the graph that was compiled: names and sizes of its inputs, and its operations.
static enum sdg_result describe(struct sdg_pipeline *p, const char *network, const struct request *r, struct sdg_graph **graph)
{
    SDG_TRY(build_graph(p, network, r, graph));
    enum sdg_result result = sdg_graph_fuse(*graph);
    if (result == SDG_OK && strcmp(network, "unet") == 0)
        result = sdg_quantized_rewrite(p, *graph);
    if (result != SDG_OK)
        sdg_graph_destroy(graph);
    return result;
}

static enum sdg_result write_random(struct sdg_pipeline *p, const struct sdg_graph *graph, struct sdg_program *program)
{
    struct sdg_rng rng;
    sdg_rng_seed(&rng, SDG_RNG_CPU, 1);
    for (size_t v = 1; v < graph->value_count; v++) {
        const struct sdg_value_info *info = &graph->values[v];
        if (info->kind != SDG_VALUE_INPUT && info->kind != SDG_VALUE_TABLE)
            continue;
        size_t count = (size_t)sdg_value_elements(info);
        float *data = sdg_alloc(&p->log, count, sizeof *data, "random inputs");
        if (!data)
            return SDG_ERROR_MEMORY;
        if (info->dtype != SDG_S32) // token ids stay 0
            sdg_rng_normal(&rng, data, count);
        enum sdg_result result = sdg_program_write(program, info->name, data, count);
        sdg_free(data);
        SDG_TRY(result);
    }
    return SDG_OK;
}

static double middle_timestep(const void *user, int64_t row)
{
    (void)user;
    (void)row;
    return 500;
}

struct kernels {
    const struct sdg_graph *graph;
    double scale;
    void (*fn)(void *user, const char *op, const char *kernel, double seconds, double macs);
    void *user;
};

static void report_kernel(void *user, size_t op_index, const char *op, const char *kernel, double seconds)
{
    const struct kernels *k = user;
    double macs = op_index < k->graph->op_count ? (double)sdg_op_macs(k->graph, &k->graph->ops[op_index]) : 0;
    k->fn(k->user, op, kernel, seconds * k->scale, macs);
}

static enum sdg_result run(struct sdg_program *program, const struct sdg_graph *graph, int repeat, double *seconds, struct kernels *kernels)
{
    SDG_TRY(sdg_program_run(program, 0)); // warm-up
    sdg_program_profile(program, kernels->fn != NULL);
    for (int i = 0; i < repeat; i++) {
        double start = sdg_clock();
        SDG_TRY(sdg_program_run(program, 0));
        seconds[i] = sdg_clock() - start;
    }
    kernels->graph = graph;
    kernels->scale = 1.0 / repeat;
    if (kernels->fn)
        sdg_program_times(program, report_kernel, kernels);
    return SDG_OK;
}

enum sdg_result sdg_bench(struct sdg_pipeline *p, const char *network, int width, int height, int batch, int repeat, double *seconds,
                          struct sdg_bench_info *info, void (*kernel)(void *user, const char *op, const char *kernel, double seconds, double macs), void *user)
{
    int factor = sdg_vae_factor(&p->model->vae_config), native = p->model->unet_config.sample_size * factor;
    width = width ? width : native;
    height = height ? height : native;
    if (width < factor || height < factor || width % factor || height % factor || width > 16384 || height > 16384)
        return sdg_fail(&p->log, SDG_ERROR_USAGE, "size is %dx%d, should be multiples of %d", width, height, factor);
    if (repeat < 1 || batch < 0 || batch > 64)
        return sdg_fail(&p->log, SDG_ERROR_USAGE, "repeat is %d and batch %d, should be 1 or more and 1..64", repeat, batch);
    int samples = strcmp(network, "unet") == 0 ? 2 : 1; // a guidance pair
    struct request r = {height / factor, width / factor, samples * (batch ? batch : 1)};
    struct sdg_program *program = NULL;
    struct sdg_graph *graph = NULL;
    struct kernels kernels = {.fn = kernel, .user = user};
    enum sdg_result result = make(p, network, &r, &program);
    if (result == SDG_OK)
        result = describe(p, network, &r, &graph);
    if (result == SDG_OK)
        result = write_random(p, graph, program);
    if (result == SDG_OK && strcmp(network, "unet") == 0)
        result = sdg_quantized_write_intervals(p, program, 1, middle_timestep, NULL);
    if (result == SDG_OK)
        result = run(program, graph, repeat, seconds, &kernels);
    if (result == SDG_OK && info) {
        struct sdg_memory memory;
        sdg_program_memory(program, &memory);
        *info = (struct sdg_bench_info){.planned = memory.total, .resident_peak = sdg_resident_peak(), .macs = sdg_graph_macs(graph)};
    }
    sdg_graph_destroy(&graph);
    if (program)
        sdg_program_destroy(&program);
    return result;
}
