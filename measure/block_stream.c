#include "measure/block_stream.h"

#include "base/memory.h"
#include "pipeline/networks.h"

#include <stdio.h>

// ---- the rewrite, and what is read after each run ----

// Inputs of the network can be read as they are; what an operation makes has to become an output.
static void mark_input(struct sdg_block_recorder *r, struct sdg_graph *graph, sdg_value v, size_t k)
{
    const struct sdg_value_info *info = &graph->values[v];
    const bool given = info->kind == SDG_VALUE_INPUT;
    r->batch = (size_t)info->dims[0];
    r->stream->elements[k] = (size_t)sdg_value_elements(info) / r->batch;
    snprintf(r->names[k], SDG_RECORDER_NAME_BYTES, "%s", given ? info->name : "");
    if (given)
        return;
    snprintf(r->names[k], SDG_RECORDER_NAME_BYTES, "block:input%zu", k);
    sdg_graph_output(graph, r->names[k], v);
}

enum sdg_result sdg_block_recorder_mark(struct sdg_block_recorder *r, struct sdg_graph *graph)
{
    struct sdg_block block;
    SDG_TRY(sdg_block_extract(graph->log, graph, r->block, &block));
    r->stream->input_count = block.input_count;
    for (size_t k = 0; k < block.input_count; k++)
        mark_input(r, graph, block.inputs[k], k);
    sdg_block_clear(&block);
    return sdg_graph_check(graph);
}

enum sdg_result sdg_block_recorder_read(struct sdg_block_recorder *r, struct sdg_program *program, size_t row,
                                        size_t samples)
{
    struct sdg_block_stream *s = r->stream;
    size_t *capacity = &s->capacities[SDG_BLOCK_INPUTS];
    if (!sdg_grow(r->log, &s->rows, capacity, s->count + r->batch, sizeof *s->rows, "a block's samples"))
        return SDG_ERROR_MEMORY;
    for (size_t k = 0; k < s->input_count; k++) {
        const size_t n = s->elements[k];
        if (!sdg_grow(r->log, &s->inputs[k], &s->capacities[k], (s->count + r->batch) * n, sizeof **s->inputs,
                      "a block's samples"))
            return SDG_ERROR_MEMORY;
        SDG_TRY(sdg_program_read(program, r->names[k], s->inputs[k] + s->count * n, r->batch * n));
    }
    for (size_t i = 0; i < samples; i++)
        s->rows[s->count++] = row;
    return SDG_OK;
}

static enum sdg_result mark(void *user, struct sdg_graph *graph)
{
    return sdg_block_recorder_mark(user, graph);
}

static enum sdg_result record(void *user, struct sdg_program *program, int call)
{
    struct sdg_block_recorder *r = user;
    return sdg_block_recorder_read(r, program, (size_t)call, r->batch);
}

static void ignore(void *user, int call, float *answer)
{
    (void)user, (void)call, (void)answer;
}

enum sdg_result sdg_block_stream_record(struct sdg_pipeline *p, const struct sdg_generate_params *generate,
                                        const struct sdg_trajectory *trajectory, const char *block,
                                        struct sdg_block_stream *stream)
{
    struct sdg_block_recorder r = {.log = &p->log, .block = block, .stream = stream};
    const struct sdg_hooks before = p->hooks;
    sdg_network_clear(p, SDG_NETWORK_UNET_STEP);
    p->hooks = (struct sdg_hooks){.rewrite = mark, .after_run = record, .user = &r};
    enum sdg_result result = sdg_trajectory_replay(p, generate, trajectory, ignore, NULL);
    p->hooks = before;
    sdg_network_clear(p, SDG_NETWORK_UNET_STEP);
    return result;
}

void sdg_block_stream_clear(struct sdg_block_stream *s)
{
    for (size_t k = 0; k < SDG_BLOCK_INPUTS; k++)
        sdg_free(s->inputs[k]);
    sdg_free(s->rows);
    *s = (struct sdg_block_stream){0};
}
