#include "backend/vulkan/vk_program.h"

#include "backend/vulkan/vk_ops.h"
#include "backend/vulkan/vk_weights.h"
#include "base/hash.h"
#include "graph/plan.h"

#include <stdio.h>

struct sdg_vk_program {
    struct sdg_program base;
    struct sdg_vk_place *places;         // per value
    char (*kernels)[SDG_VK_KERNEL_NAME]; // per operation
    double *work, *seconds;              // per operation
    struct sdg_vk_step *steps;
    size_t step_count;
    bool profiling;
    struct sdg_memory memory;
    struct sdg_vk_buffer *arena; // pieces of `piece` bytes, the last one perhaps smaller; no value lies in two
    size_t arena_count, piece;
    struct sdg_vk_buffer inputs, row, row_host;
    // What the host reads after a run, as far as it is not large: the run copies it to where that is quick.
    struct sdg_vk_buffer results;
    size_t results_bytes;
    struct sdg_vk_copy *result_copies;
    sdg_value *result_values; // of each copy
    size_t result_count;
    struct sdg_vk_weights weights;
    VkDescriptorPool pool;
    struct sdg_vk_recording recording;
};

// What exists during creation only.
struct builder {
    struct sdg_vk *vk;
    struct sdg_vk_program *program;
    const struct sdg_graph *graph; // the program's
    struct sdg_plan *plan;
    struct sdg_vk_lowering lowering;
};

static struct sdg_vk *context_of(const struct sdg_vk_program *p)
{
    return sdg_vk_of(p->base.backend);
}

// ---- checks ----

static bool has_type(const struct sdg_vk *vk, enum sdg_dtype dtype)
{
    return dtype == SDG_F32 || (dtype == SDG_F16 && (vk->features & SDG_FEATURE_F16));
}

// One storage type for all floats an operation touches, and one that the device has.
static enum sdg_result check_op(const struct sdg_vk *vk, const struct sdg_log *log, const struct sdg_graph *graph,
                                const struct sdg_op *op)
{
    enum sdg_dtype type = sdg_vk_float_type(graph, op);
    if (!has_type(vk, type))
        return sdg_fail(log, SDG_ERROR_UNSUPPORTED, "%s: %s cannot store %s of type %s; use --type f32", op->name,
                        vk->base.info.name, sdg_op_name(op->kind), sdg_dtype_name(type));
    sdg_value touched[SDG_OP_MAX_READS + 1];
    int count = sdg_op_reads(graph, op, touched);
    touched[count++] = op->out;
    for (int i = 0; i < count; i++) {
        enum sdg_dtype other = graph->values[touched[i]].dtype;
        // the graph has seen to integers
        if (sdg_dtype_is_float(other) && other != type && !sdg_op_is_interval(op, touched[i]))
            return sdg_fail(log, SDG_ERROR_UNSUPPORTED, "%s: backend vulkan has no %s from %s to %s", op->name,
                            sdg_op_name(op->kind), sdg_dtype_name(other), sdg_dtype_name(type));
    }
    return SDG_OK;
}

// ---- places ----

enum { RESULTS_LIMIT = 16 << 20 }; // bytes; others are copied when they are read

static size_t value_bytes(const struct sdg_value_info *v)
{
    size_t bytes = (size_t)sdg_value_elements(v) * sdg_dtype_size(v->dtype);
    // Shaders see codes as words. Places are aligned, so that nothing else is in the last one.
    return sdg_dtype_size(v->dtype) == 1 ? sdg_vk_align(bytes, 4) : bytes;
}

static size_t scratch_bytes(const struct sdg_vk_lowering *lo)
{
    const struct sdg_vk_op *op = sdg_vk_ops[lo->op->kind];
    if (op && op->product) {
        const struct sdg_vk_matmul product = op->product(lo->graph, lo->op);
        return sdg_vk_matmul_scratch(lo, &product);
    }
    return op && op->scratch ? op->scratch(lo) : 0;
}

static enum sdg_result plan_arena(struct builder *b)
{
    const struct sdg_graph *graph = b->graph;
    const struct sdg_log *log = b->program->base.log;
    size_t *scratch = sdg_alloc(log, graph->op_count, sizeof *scratch, "a plan");
    if (!scratch)
        return SDG_ERROR_MEMORY;
    for (size_t i = 0; i < graph->op_count; i++) {
        b->lowering.op = &graph->ops[i];
        scratch[i] = scratch_bytes(&b->lowering);
    }
    const size_t alignment = b->vk->caps.alignment,
                 most = b->vk->caps.max_allocation < SIZE_MAX ? (size_t)b->vk->caps.max_allocation : SIZE_MAX;
    b->program->piece = most & ~(alignment - 1);
    enum sdg_result result = sdg_plan_create(graph, alignment, b->program->piece, scratch, &b->plan);
    sdg_free(scratch);
    SDG_TRY(result);
    for (size_t i = 1; i < graph->value_count; i++)
        if (graph->values[i].kind == SDG_VALUE_ACTIVATION && b->plan->offset[i] != SIZE_MAX)
            b->program->places[i] =
                (struct sdg_vk_place){SDG_VK_SPACE_ARENA, b->plan->offset[i], value_bytes(&graph->values[i])};
    b->program->memory.arena = b->plan->arena_bytes;
    if (b->plan->arena_bytes == 0)
        return SDG_OK;
    const size_t pieces = (b->plan->arena_bytes - 1) / b->program->piece + 1;
    b->program->arena = sdg_alloc(log, pieces, sizeof *b->program->arena, "the arena of activations");
    return b->program->arena ? SDG_OK : SDG_ERROR_MEMORY;
}

static void place_inputs(struct builder *b)
{
    size_t *bytes = &b->program->memory.inputs;
    for (size_t i = 1; i < b->graph->value_count; i++) {
        const struct sdg_value_info *v = &b->graph->values[i];
        if (v->kind != SDG_VALUE_INPUT && v->kind != SDG_VALUE_TABLE)
            continue;
        b->program->places[i] = (struct sdg_vk_place){SDG_VK_SPACE_INPUTS, *bytes, value_bytes(v)};
        *bytes += sdg_vk_align(value_bytes(v), b->vk->caps.alignment);
    }
}

// The buffer of a place, which begins there at *offset.
static const struct sdg_vk_buffer *buffer_of(const struct sdg_vk_program *p, const struct sdg_vk_place *place,
                                             size_t *offset)
{
    *offset = place->offset;
    switch (place->space) {
    case SDG_VK_SPACE_ARENA: *offset = place->offset % p->piece; return &p->arena[place->offset / p->piece];
    case SDG_VK_SPACE_INPUTS: return &p->inputs;
    case SDG_VK_SPACE_ROW: return &p->row;
    default: return &p->weights.blocks[place->space - SDG_VK_SPACE_WEIGHTS];
    }
}

static enum sdg_result place_results(struct builder *b)
{
    const struct sdg_graph *graph = b->graph;
    struct sdg_vk_program *p = b->program;
    p->result_copies = sdg_alloc(p->base.log, graph->value_count, sizeof *p->result_copies, "a program's results");
    p->result_values = sdg_alloc(p->base.log, graph->value_count, sizeof *p->result_values, "a program's results");
    if (!p->result_copies || !p->result_values)
        return SDG_ERROR_MEMORY;
    // each begins where flushes do
    const size_t alignment = b->vk->caps.atom > b->vk->caps.alignment ? b->vk->caps.atom : b->vk->caps.alignment;
    for (size_t i = 1; i < graph->value_count; i++) {
        const struct sdg_vk_place *place = &p->places[i];
        size_t offset;
        if (!graph->values[i].output || place->space != SDG_VK_SPACE_ARENA ||
            p->results_bytes + place->bytes > RESULTS_LIMIT)
            continue;
        p->result_values[p->result_count] = (sdg_value)i;
        p->result_copies[p->result_count++] = (struct sdg_vk_copy){
            .from = buffer_of(p, place, &offset),
            .to = &p->results,
            .part = {.srcOffset = offset, .dstOffset = p->results_bytes, .size = place->bytes},
        };
        p->results_bytes += sdg_vk_align(place->bytes, alignment);
    }
    return SDG_OK;
}

static enum sdg_result allocate_lists(struct builder *b)
{
    const struct sdg_graph *graph = b->graph;
    const struct sdg_log *log = b->program->base.log;
    struct sdg_vk_program *p = b->program;
    p->places = sdg_alloc(log, graph->value_count, sizeof *p->places, "a program's values");
    p->kernels = sdg_alloc(log, graph->op_count, sizeof *p->kernels, "a program's operations");
    p->work = sdg_alloc(log, graph->op_count, sizeof *p->work, "a program's operations");
    p->seconds = sdg_alloc(log, graph->op_count, sizeof *p->seconds, "a program's operations");
    if (!p->places || !p->kernels || !p->work || !p->seconds)
        return SDG_ERROR_MEMORY;
    for (size_t i = 0; i < graph->op_count; i++)
        p->work[i] =
            (double)sdg_op_macs(graph, &graph->ops[i]) + SDG_VK_WORK_PER_BYTE * sdg_op_bytes(graph, &graph->ops[i]);
    return SDG_OK;
}

// A kernel that makes codes is named after them too: "group_norm_f16_u8".
static void name_codes(struct sdg_vk_lowering *lo)
{
    enum sdg_dtype type = lo->graph->values[lo->op->out].dtype;
    size_t used = strlen(lo->kernel);
    if (!sdg_dtype_is_float(type))
        snprintf(lo->kernel + used, sizeof lo->kernel - used, "_%s", sdg_dtype_name(type));
}

static enum sdg_result lower(struct builder *b)
{
    struct sdg_vk_lowering *lo = &b->lowering;
    enum sdg_result result = SDG_OK;
    for (size_t i = 0; i < b->graph->op_count && result == SDG_OK; i++) {
        const struct sdg_op *op = &b->graph->ops[i];
        lo->op = op;
        lo->op_index = i;
        lo->kernel[0] = 0;
        lo->scratch = (struct sdg_vk_place){SDG_VK_SPACE_ARENA, b->plan->scratch[i], 0};
        result = sdg_vk_ops[op->kind]
            ? sdg_vk_ops[op->kind]->lower(lo)
            : sdg_fail(lo->log, SDG_ERROR_UNSUPPORTED,
                       "%s: %s is an operation for training, which backend vulkan does not run", op->name,
                       sdg_op_name(op->kind));
        name_codes(lo);
        memcpy(b->program->kernels[i], lo->kernel, sizeof lo->kernel);
    }
    sdg_vk_hazards_free(&lo->hazards);
    b->program->steps = lo->steps;
    b->program->step_count = lo->step_count;
    return result;
}

// ---- memory, pipelines, descriptor sets ----

static enum sdg_result create_buffers(struct builder *b)
{
    struct sdg_vk *vk = b->vk;
    struct sdg_vk_program *p = b->program;
    SDG_TRY(sdg_vk_buffer_create(vk, SDG_VK_MEMORY_STAGING, vk->caps.alignment, "the row number", &p->row_host));
    SDG_TRY(sdg_vk_buffer_create(vk, SDG_VK_MEMORY_DEVICE, vk->caps.alignment, "the row number", &p->row));
    for (; p->arena_count * p->piece < p->memory.arena; p->arena_count++) {
        const size_t left = p->memory.arena - p->arena_count * p->piece;
        SDG_TRY(sdg_vk_buffer_create(vk, SDG_VK_MEMORY_DEVICE, left < p->piece ? left : p->piece,
                                     "the arena of activations", &p->arena[p->arena_count]));
    }
    if (p->memory.inputs) {
        SDG_TRY(sdg_vk_buffer_create(vk, SDG_VK_MEMORY_UPLOAD, sdg_vk_align(p->memory.inputs, 4), "inputs and tables",
                                     &p->inputs));
        SDG_TRY(sdg_vk_upload_zeros(vk, &p->inputs));
    }
    if (p->results_bytes)
        SDG_TRY(sdg_vk_buffer_create(vk, SDG_VK_MEMORY_STAGING, p->results_bytes, "results", &p->results));
    return SDG_OK;
}

static enum sdg_result create_pool(struct sdg_vk *vk, struct sdg_vk_program *p)
{
    uint32_t descriptors = 0;
    for (size_t i = 0; i < p->step_count; i++)
        descriptors += p->steps[i].key.bindings;
    const VkDescriptorPoolSize size = {.type = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, .descriptorCount = descriptors};
    const VkDescriptorPoolCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
        .maxSets = (uint32_t)p->step_count,
        .poolSizeCount = 1,
        .pPoolSizes = &size,
    };
    SDG_VK_TRY(vk, "a program", vkCreateDescriptorPool, vk->device, &info, NULL, &p->pool);
    SDG_VK_NAME(vk, DESCRIPTOR_POOL, p->pool, "a program");
    return SDG_OK;
}

static enum sdg_result bind_step(struct sdg_vk *vk, struct sdg_vk_program *p, struct sdg_vk_step *step)
{
    VkDescriptorSetLayout layout = sdg_vk_set_layout(vk, step->key.bindings);
    const VkDescriptorSetAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
        .descriptorPool = p->pool,
        .descriptorSetCount = 1,
        .pSetLayouts = &layout,
    };
    SDG_VK_TRY(vk, "a program", vkAllocateDescriptorSets, vk->device, &info, &step->set);
    SDG_VK_NAME(vk, DESCRIPTOR_SET, step->set, "%s", step->name);
    VkDescriptorBufferInfo buffers[SDG_VK_MAX_BINDINGS];
    for (uint32_t i = 0; i < step->key.bindings; i++) {
        const struct sdg_vk_place *place = &step->bindings[i].place;
        size_t offset;
        const struct sdg_vk_buffer *buffer = buffer_of(p, place, &offset);
        buffers[i] = (VkDescriptorBufferInfo){.buffer = buffer->handle, .offset = offset, .range = place->bytes};
    }
    const VkWriteDescriptorSet write = {
        .sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
        .dstSet = step->set,
        .descriptorCount = step->key.bindings,
        .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
        .pBufferInfo = buffers,
    };
    vk->fn.vkUpdateDescriptorSets(vk->device, 1, &write, 0, NULL);
    return SDG_OK;
}

static enum sdg_result make_pipelines(struct sdg_vk *vk, struct sdg_vk_program *p)
{
    const struct sdg_vk_pipeline_key **keys = sdg_alloc(p->base.log, p->step_count, sizeof *keys, "pipelines");
    if (!keys)
        return SDG_ERROR_MEMORY;
    for (size_t i = 0; i < p->step_count; i++)
        keys[i] = &p->steps[i].key;
    enum sdg_result result = sdg_vk_pipelines_make(vk, keys, p->step_count);
    sdg_free(keys);
    for (size_t i = 0; i < p->step_count && result == SDG_OK; i++)
        result = sdg_vk_pipeline(vk, &p->steps[i].key, &p->steps[i].pipeline);
    return result;
}

static enum sdg_result record(struct sdg_vk *vk, struct sdg_vk_program *p)
{
    return sdg_vk_record(vk, &p->recording,
                         &(struct sdg_vk_script){
                             .steps = p->steps,
                             .step_count = p->step_count,
                             .work = p->work,
                             .op_count = p->base.graph->op_count,
                             .row = {&p->row_host, &p->row, {.size = sizeof(uint32_t)}},
                             .results = p->result_copies,
                             .result_count = p->result_count,
                             .timed = p->profiling,
                         });
}

static enum sdg_result make_runnable(struct builder *b, const struct sdg_program_params *params)
{
    struct sdg_vk *vk = b->vk;
    struct sdg_vk_program *p = b->program;
    SDG_TRY(create_buffers(b));
    SDG_TRY(sdg_vk_weights_load(vk, p->base.log, b->graph, params->release_weights, &p->weights, b->program->places));
    if (p->step_count)
        SDG_TRY(create_pool(vk, p));
    for (size_t i = 0; i < p->step_count; i++)
        SDG_TRY(bind_step(vk, p, &p->steps[i]));
    if (p->step_count)
        SDG_TRY(make_pipelines(vk, p));
    SDG_TRY(sdg_vk_recording_create(vk, p->base.log, b->graph->op_count, &p->recording));
    SDG_TRY(record(vk, p));
    SDG_TRY(sdg_vk_upload_finish(vk));
    sdg_vk_pipelines_save(vk);
    return SDG_OK;
}

// ---- the program's functions ----

static enum sdg_result build(struct builder *b, const struct sdg_program_params *params)
{
    struct sdg_vk *vk = b->vk;
    struct sdg_vk_program *p = b->program;
    const struct sdg_graph *graph = b->graph;
    for (size_t i = 0; i < graph->op_count; i++)
        SDG_TRY(check_op(vk, p->base.log, graph, &graph->ops[i]));
    SDG_TRY(allocate_lists(b));
    SDG_TRY(sdg_vk_weights_plan(vk, p->base.log, graph, params->weights, &p->weights, p->places));
    b->lowering = (struct sdg_vk_lowering){
        .vk = vk,
        .log = p->base.log,
        .graph = graph,
        .places = p->places,
        .weights = &p->weights,
    };
    SDG_TRY(plan_arena(b));
    place_inputs(b);
    SDG_TRY(place_results(b));
    SDG_TRY(lower(b));
    p->memory.weights = p->weights.total;
    p->memory.scratch = sdg_vk_uploader_bytes(vk) + p->results_bytes;
    if (!params->plan_only)
        return make_runnable(b, params);
    return SDG_OK;
}

static enum sdg_result create(struct sdg_program *program, const struct sdg_program_params *params)
{
    struct sdg_vk_program *p = (struct sdg_vk_program *)program;
    struct sdg_vk *vk = context_of(p);
    SDG_TRY(sdg_vk_alive(vk));
    struct builder b = {.vk = vk, .program = p, .graph = program->graph};
    enum sdg_result result = build(&b, params);
    sdg_plan_destroy(&b.plan);
    if (result != SDG_OK)
        (void)sdg_vk_upload_finish(vk); // copies into this program's memory may be under way
    return sdg_vk_validated(vk, program->log, result);
}

static void destroy(struct sdg_program *program)
{
    struct sdg_vk_program *p = (struct sdg_vk_program *)program;
    struct sdg_vk *vk = context_of(p);
    // what was written last, and never used, may be on its way
    if (p->inputs.handle)
        sdg_vk_upload_settle(vk);
    sdg_vk_recording_destroy(vk, &p->recording);
    if (p->pool)
        vk->fn.vkDestroyDescriptorPool(vk->device, p->pool, NULL);
    sdg_vk_weights_free(vk, &p->weights);
    for (size_t i = 0; i < p->arena_count; i++)
        sdg_vk_buffer_destroy(vk, &p->arena[i]);
    sdg_free(p->arena);
    sdg_vk_buffer_destroy(vk, &p->inputs);
    sdg_vk_buffer_destroy(vk, &p->row);
    sdg_vk_buffer_destroy(vk, &p->row_host);
    sdg_vk_buffer_destroy(vk, &p->results);
    sdg_free(p->places);
    sdg_free(p->kernels);
    sdg_free(p->result_copies);
    sdg_free(p->result_values);
    sdg_free(p->work);
    sdg_free(p->seconds);
    sdg_free(p->steps);
}

static enum sdg_result write(struct sdg_program *program, sdg_value v, const void *data, size_t bytes)
{
    struct sdg_vk_program *p = (struct sdg_vk_program *)program;
    struct sdg_vk *vk = context_of(p);
    SDG_TRY(sdg_vk_alive(vk));
    // The run comes behind the copy, if there is one, in the device's queue: nobody has to wait for it.
    return sdg_vk_validated(vk, program->log, sdg_vk_upload(vk, &p->inputs, p->places[v].offset, data, bytes));
}

// What a run has copied to the host, or NULL.
static const struct sdg_vk_copy *find_result(const struct sdg_vk_program *p, sdg_value v)
{
    for (size_t i = 0; i < p->result_count; i++)
        if (p->result_values[i] == v)
            return &p->result_copies[i];
    return NULL;
}

static enum sdg_result read_result(struct sdg_vk *vk, const struct sdg_vk_program *p, const struct sdg_vk_copy *copy,
                                   void *data, size_t bytes)
{
    SDG_TRY(sdg_vk_buffer_invalidate(vk, &p->results, copy->part.dstOffset, bytes));
    memcpy(data, p->results.mapped + copy->part.dstOffset, bytes);
    return SDG_OK;
}

static enum sdg_result read(struct sdg_program *program, sdg_value v, void *data, size_t bytes)
{
    struct sdg_vk_program *p = (struct sdg_vk_program *)program;
    struct sdg_vk *vk = context_of(p);
    SDG_TRY(sdg_vk_alive(vk));
    const struct sdg_vk_place *place = &p->places[v];
    const struct sdg_vk_copy *copy = find_result(p, v);
    if (copy)
        return sdg_vk_validated(vk, program->log, read_result(vk, p, copy, data, bytes));
    size_t offset;
    const struct sdg_vk_buffer *buffer = buffer_of(p, place, &offset);
    return sdg_vk_validated(vk, program->log, sdg_vk_download(vk, buffer, offset, data, bytes));
}

static enum sdg_result run_row(struct sdg_vk *vk, struct sdg_vk_program *p, int64_t row)
{
    if (sdg_vk_recording_is_stale(vk, &p->recording))
        SDG_TRY(record(vk, p));
    uint32_t number = (uint32_t)row;
    memcpy(p->row_host.mapped, &number, sizeof number);
    SDG_TRY(sdg_vk_buffer_flush(vk, &p->row_host, 0, sizeof number));
    SDG_TRY(sdg_vk_recording_run(vk, &p->recording));
    return p->profiling ? sdg_vk_recording_times(vk, &p->recording, p->base.graph->op_count, p->seconds) : SDG_OK;
}

static enum sdg_result run(struct sdg_program *program, int64_t row)
{
    struct sdg_vk_program *p = (struct sdg_vk_program *)program;
    struct sdg_vk *vk = context_of(p);
    SDG_TRY(sdg_vk_alive(vk));
    return sdg_vk_validated(vk, program->log, run_row(vk, p, row));
}

static void memory(const struct sdg_program *program, struct sdg_memory *out)
{
    *out = ((const struct sdg_vk_program *)program)->memory;
}

// Of a row table, only its row is read.
static double bytes_of_table_row(const struct sdg_vk_program *p, const struct sdg_vk_place *place)
{
    const struct sdg_graph *graph = p->base.graph;
    for (size_t v = 1; v < graph->value_count; v++)
        if (graph->values[v].kind == SDG_VALUE_TABLE && p->places[v].offset == place->offset)
            return (double)place->bytes / (double)graph->values[v].dims[0];
    return (double)place->bytes;
}

// What is written may be read before (a word of codes); it counts once all the same, as do the operands of which an
// embedding reads some rows.
static struct sdg_work work(const struct sdg_program *program)
{
    const struct sdg_vk_program *p = (const struct sdg_vk_program *)program;
    struct sdg_work work = {.dispatches = p->step_count};
    for (size_t i = 0; i < p->step_count; i++)
        for (uint32_t k = 0; k < p->steps[i].key.bindings; k++) {
            const struct sdg_vk_place *place = &p->steps[i].bindings[k].place;
            if (place->space != SDG_VK_SPACE_ROW)
                work.bytes += place->space == SDG_VK_SPACE_INPUTS ? bytes_of_table_row(p, place) : (double)place->bytes;
        }
    return work;
}

uint64_t sdg_vk_program_identity(const struct sdg_program *program)
{
    const struct sdg_vk_program *p = (const struct sdg_vk_program *)program;
    uint64_t hash = SDG_HASH_START;
    for (size_t i = 0; i < p->step_count; i++) {
        const struct sdg_vk_step *step = &p->steps[i];
        hash = sdg_hash_bytes(hash, &step->key, sizeof step->key);
        hash = sdg_hash_bytes(hash, step->groups, sizeof step->groups);
        hash = sdg_hash_bytes(hash, step->push, step->push_bytes);
    }
    return hash;
}

static const char *kernel(const struct sdg_program *program, size_t op_index)
{
    return ((const struct sdg_vk_program *)program)->kernels[op_index];
}

static void profile(struct sdg_program *program, bool on)
{
    struct sdg_vk_program *p = (struct sdg_vk_program *)program;
    bool changed = p->profiling != on;
    p->profiling = on;
    if (on)
        memset(p->seconds, 0, program->graph->op_count * sizeof *p->seconds);
    if (changed)
        p->recording.count = 0; // the next run records it anew
}

static double seconds(const struct sdg_program *program, size_t op_index)
{
    return ((const struct sdg_vk_program *)program)->seconds[op_index];
}

static unsigned fusions(struct sdg_backend *backend)
{
    return SDG_FUSION_UPSAMPLE | SDG_FUSION_GATE |
        (sdg_vk_of(backend)->caps.loads ? SDG_FUSION_NORM | SDG_FUSION_QUANTIZE : 0);
}

const struct sdg_program_ops sdg_vk_program_ops = {
    .fusions = fusions,
    .bytes = sizeof(struct sdg_vk_program),
    .create = create,
    .destroy = destroy,
    .write = write,
    .read = read,
    .run = run,
    .memory = memory,
    .work = work,
    .kernel = kernel,
    .profile = profile,
    .seconds = seconds,
};
