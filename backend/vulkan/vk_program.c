#include "backend/vulkan/vk_program.h"

#include "backend/vulkan/vk_ops.h"
#include "backend/vulkan/vk_weights.h"
#include "graph/plan.h"

#include <stdio.h>

struct named { // a value the host writes or reads
    char *name;
    enum sdg_value_kind kind;
    enum sdg_dtype dtype;
    size_t count;
    int64_t id_limit; // token ids must be below this; 0 for values that are no ids
    struct sdg_vk_place place;
};

struct operation {
    char *name;
    char kernel[SDG_VK_KERNEL_NAME];
};

struct sdg_vk_program {
    struct sdg_program base;
    struct named *named;
    size_t named_count;
    struct operation *ops;
    int64_t *macs; // per operation
    double *seconds;
    size_t op_count;
    struct sdg_vk_step *steps;
    size_t step_count;
    int64_t rows;
    bool planned_only, profiling;
    struct sdg_memory memory;
    struct sdg_vk_buffer arena, inputs, row, row_host;
    struct sdg_vk_weights weights;
    void *converted; // room for the longest value that is not f32, so that writing and reading allocate nothing
    VkDescriptorPool pool;
    struct sdg_vk_recording recording;
};

// What exists during creation only.
struct builder {
    struct sdg_vk *vk;
    struct sdg_vk_program *program;
    const struct sdg_graph *graph;
    struct sdg_vk_place *places; // per value
    struct sdg_plan *plan;
    struct sdg_vk_lowering lowering;
};

// ---- checks ----

static bool has_type(const struct sdg_vk *vk, enum sdg_dtype dtype)
{
    return dtype == SDG_F32 || (dtype == SDG_F16 && (vk->features & SDG_FEATURE_F16));
}

// One storage type for all floats an operation touches, and one that the device has.
static enum sdg_result check_op(const struct sdg_vk *vk, const struct sdg_graph *graph, const struct sdg_op *op)
{
    enum sdg_dtype type = sdg_vk_float_type(graph, op);
    if (!has_type(vk, type))
        return sdg_fail(vk->base.log, SDG_ERROR_UNSUPPORTED, "%s: %s cannot store %s of type %s; use --type f32",
                        op->name, vk->base.info.name, sdg_op_name(op->kind), sdg_dtype_name(type));
    sdg_value touched[SDG_OP_MAX_READS + 1];
    int count = sdg_op_reads(graph, op, touched);
    touched[count++] = op->out;
    for (int i = 0; i < count; i++) {
        enum sdg_dtype other = graph->values[touched[i]].dtype;
        // the graph has seen to integers
        if (sdg_dtype_is_float(other) && other != type && !sdg_op_is_interval(op, touched[i]))
            return sdg_fail(vk->base.log, SDG_ERROR_UNSUPPORTED, "%s: backend vulkan has no %s from %s to %s", op->name,
                            sdg_op_name(op->kind), sdg_dtype_name(other), sdg_dtype_name(type));
    }
    return SDG_OK;
}

// ---- places ----

static size_t value_bytes(const struct sdg_value_info *v)
{
    size_t bytes = (size_t)sdg_value_elements(v) * sdg_dtype_size(v->dtype);
    // Shaders see codes as words. Places are aligned, so that nothing else is in the last one.
    return sdg_dtype_size(v->dtype) == 1 ? sdg_vk_align(bytes, 4) : bytes;
}

static enum sdg_result plan_arena(struct builder *b)
{
    const struct sdg_graph *graph = b->graph;
    const struct sdg_log *log = b->vk->base.log;
    size_t *scratch = sdg_alloc(log, graph->op_count, sizeof *scratch, "a plan");
    if (!scratch)
        return SDG_ERROR_MEMORY;
    for (size_t i = 0; i < graph->op_count; i++) {
        const struct sdg_vk_op *op = &sdg_vk_ops[graph->ops[i].kind];
        scratch[i] = op->scratch ? op->scratch(b->vk, graph, &graph->ops[i]) : 0;
    }
    enum sdg_result result = sdg_plan_create(graph, b->vk->caps.alignment, scratch, &b->plan);
    sdg_free(scratch);
    SDG_TRY(result);
    for (size_t i = 1; i < graph->value_count; i++)
        if (graph->values[i].kind == SDG_VALUE_ACTIVATION && b->plan->offset[i] != SIZE_MAX)
            b->places[i] =
                (struct sdg_vk_place){SDG_VK_SPACE_ARENA, b->plan->offset[i], value_bytes(&graph->values[i])};
    b->program->memory.arena = b->plan->arena_bytes;
    return SDG_OK;
}

static void place_inputs(struct builder *b)
{
    size_t *bytes = &b->program->memory.inputs;
    for (size_t i = 1; i < b->graph->value_count; i++) {
        const struct sdg_value_info *v = &b->graph->values[i];
        if (v->kind != SDG_VALUE_INPUT && v->kind != SDG_VALUE_TABLE)
            continue;
        b->places[i] = (struct sdg_vk_place){SDG_VK_SPACE_INPUTS, *bytes, value_bytes(v)};
        *bytes += sdg_vk_align(value_bytes(v), b->vk->caps.alignment);
    }
}

static bool is_named(const struct sdg_value_info *v)
{
    return v->name && (v->kind == SDG_VALUE_INPUT || v->kind == SDG_VALUE_TABLE || v->output);
}

static enum sdg_result copy_names(struct builder *b)
{
    const struct sdg_graph *graph = b->graph;
    const struct sdg_log *log = b->vk->base.log;
    struct sdg_vk_program *p = b->program;
    size_t count = 0;
    for (size_t i = 1; i < graph->value_count; i++)
        count += is_named(&graph->values[i]);
    p->named = sdg_alloc(log, count, sizeof *p->named, "a program's values");
    p->ops = sdg_alloc(log, graph->op_count, sizeof *p->ops, "a program's operations");
    p->macs = sdg_alloc(log, graph->op_count, sizeof *p->macs, "a program's operations");
    p->seconds = sdg_alloc(log, graph->op_count, sizeof *p->seconds, "a program's operations");
    if (!p->named || !p->ops || !p->macs || !p->seconds)
        return SDG_ERROR_MEMORY;
    for (size_t i = 1; i < graph->value_count; i++) {
        const struct sdg_value_info *v = &graph->values[i];
        if (!is_named(v))
            continue;
        struct named *n = &p->named[p->named_count];
        *n = (struct named){.name = sdg_strdup(log, v->name),
                            .kind = v->kind,
                            .dtype = v->dtype,
                            .count = (size_t)sdg_value_elements(v),
                            .place = b->places[i]};
        if (!n->name)
            return SDG_ERROR_MEMORY;
        p->named_count++;
        for (size_t k = 0; k < graph->op_count; k++)
            if (graph->ops[k].kind == SDG_OP_EMBED && graph->ops[k].in[0] == i)
                n->id_limit = graph->values[graph->ops[k].in[1]].dims[0];
    }
    for (size_t i = 0; i < graph->op_count; i++) {
        p->ops[i].name = sdg_strdup(log, graph->ops[i].name);
        if (!p->ops[i].name)
            return SDG_ERROR_MEMORY;
        p->macs[i] = sdg_op_macs(graph, &graph->ops[i]);
        p->op_count++;
    }
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
    *lo =
        (struct sdg_vk_lowering){.vk = b->vk, .graph = b->graph, .places = b->places, .weights = &b->program->weights};
    enum sdg_result result = SDG_OK;
    for (size_t i = 0; i < b->graph->op_count && result == SDG_OK; i++) {
        const struct sdg_op *op = &b->graph->ops[i];
        lo->op = op;
        lo->op_index = i;
        lo->kernel[0] = 0;
        lo->scratch = (struct sdg_vk_place){SDG_VK_SPACE_ARENA, b->plan->scratch[i], 0};
        result = sdg_vk_ops[op->kind].lower(lo);
        name_codes(lo);
        memcpy(b->program->ops[i].kernel, lo->kernel, sizeof lo->kernel);
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
    p->recording.row_from = &p->row_host;
    p->recording.row_to = &p->row;
    if (p->memory.arena)
        SDG_TRY(sdg_vk_buffer_create(vk, SDG_VK_MEMORY_DEVICE, p->memory.arena, "the arena of activations", &p->arena));
    if (p->memory.inputs) {
        SDG_TRY(sdg_vk_buffer_create(vk, SDG_VK_MEMORY_DEVICE, sdg_vk_align(p->memory.inputs, 4), "inputs and tables",
                                     &p->inputs));
        SDG_TRY(sdg_vk_upload_zeros(vk, &p->inputs));
    }
    size_t longest = 0;
    for (size_t i = 0; i < p->named_count; i++)
        if (p->named[i].dtype != SDG_F32 && p->named[i].place.bytes > longest)
            longest = p->named[i].place.bytes;
    p->converted = sdg_alloc_raw(vk->base.log, longest, 1, "a conversion buffer");
    return p->converted ? SDG_OK : SDG_ERROR_MEMORY;
}

static const struct sdg_vk_buffer *buffer_of(const struct sdg_vk_program *p, unsigned space)
{
    switch (space) {
    case SDG_VK_SPACE_ARENA: return &p->arena;
    case SDG_VK_SPACE_INPUTS: return &p->inputs;
    case SDG_VK_SPACE_ROW: return &p->row;
    default: return &p->weights.blocks[space - SDG_VK_SPACE_WEIGHTS];
    }
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
    VkDescriptorBufferInfo buffers[SDG_VK_MAX_BINDINGS];
    for (uint32_t i = 0; i < step->key.bindings; i++) {
        const struct sdg_vk_place *place = &step->bindings[i].place;
        buffers[i] = (VkDescriptorBufferInfo){
            .buffer = buffer_of(p, place->space)->handle, .offset = place->offset, .range = place->bytes};
    }
    const VkWriteDescriptorSet write = {
        .sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
        .dstSet = step->set,
        .descriptorCount = step->key.bindings,
        .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
        .pBufferInfo = buffers,
    };
    vk->fn.vkUpdateDescriptorSets(vk->device, 1, &write, 0, NULL);
    return sdg_vk_pipeline(vk, &step->key, &step->pipeline);
}

static enum sdg_result record(struct sdg_vk *vk, struct sdg_vk_program *p)
{
    return sdg_vk_record(vk, &p->recording, p->steps, p->step_count, p->macs, p->op_count, p->profiling);
}

static enum sdg_result make_runnable(struct builder *b, const struct sdg_program_params *params)
{
    struct sdg_vk *vk = b->vk;
    struct sdg_vk_program *p = b->program;
    SDG_TRY(create_buffers(b));
    SDG_TRY(sdg_vk_weights_load(vk, b->graph, params->weights, params->release_weights, &p->weights, b->places));
    if (p->step_count)
        SDG_TRY(create_pool(vk, p));
    for (size_t i = 0; i < p->step_count; i++)
        SDG_TRY(bind_step(vk, p, &p->steps[i]));
    SDG_TRY(sdg_vk_recording_create(vk, p->macs, p->op_count, &p->recording));
    SDG_TRY(record(vk, p));
    SDG_TRY(sdg_vk_upload_finish(vk));
    sdg_vk_pipelines_save(vk);
    return SDG_OK;
}

// ---- the backend's functions ----

static enum sdg_result build(struct builder *b, const struct sdg_program_params *params)
{
    struct sdg_vk *vk = b->vk;
    struct sdg_vk_program *p = b->program;
    const struct sdg_graph *graph = b->graph;
    SDG_TRY(sdg_graph_check(graph));
    for (size_t i = 0; i < graph->op_count; i++)
        SDG_TRY(check_op(vk, graph, &graph->ops[i]));
    p->rows = graph->rows;
    p->planned_only = params->plan_only;
    b->places = sdg_alloc(vk->base.log, graph->value_count, sizeof *b->places, "a program's values");
    if (!b->places)
        return SDG_ERROR_MEMORY;
    SDG_TRY(plan_arena(b));
    place_inputs(b);
    SDG_TRY(sdg_vk_weights_plan(vk, graph, params->weights, &p->weights, b->places));
    SDG_TRY(copy_names(b));
    SDG_TRY(lower(b));
    p->memory.weights = p->weights.total;
    p->memory.scratch = sdg_vk_uploader_bytes(vk);
    p->memory.total = p->memory.weights + p->memory.arena + p->memory.inputs + p->memory.scratch;
    if (!params->plan_only)
        return make_runnable(b, params);
    for (size_t i = 0; params->weights && i < p->weights.count; i++)
        SDG_TRY(sdg_weight_check(vk->base.log, params->weights, &graph->values[p->weights.list[i].value]));
    return SDG_OK;
}

enum sdg_result sdg_vk_program_create(struct sdg_backend *backend, const struct sdg_graph *graph,
                                      const struct sdg_program_params *params, struct sdg_program **out)
{
    struct sdg_vk *vk = sdg_vk_of(backend);
    *out = NULL;
    SDG_TRY(sdg_vk_alive(vk));
    struct sdg_vk_program *p = sdg_alloc(vk->base.log, 1, sizeof *p, "a program");
    if (!p)
        return SDG_ERROR_MEMORY;
    p->base.backend = backend;
    struct builder b = {.vk = vk, .program = p, .graph = graph};
    enum sdg_result result = build(&b, params);
    sdg_plan_destroy(&b.plan);
    sdg_free(b.places);
    if (result != SDG_OK)
        (void)sdg_vk_upload_finish(vk); // copies into this program's memory may be under way
    result = sdg_vk_validated(vk, result);
    if (result == SDG_OK)
        *out = &p->base;
    else
        sdg_vk_program_destroy(&p->base);
    return result;
}

void sdg_vk_program_destroy(struct sdg_program *program)
{
    struct sdg_vk_program *p = (struct sdg_vk_program *)program;
    struct sdg_vk *vk = sdg_vk_of(p->base.backend);
    sdg_vk_recording_destroy(vk, &p->recording);
    if (p->pool)
        vk->fn.vkDestroyDescriptorPool(vk->device, p->pool, NULL);
    sdg_vk_weights_free(vk, &p->weights);
    sdg_vk_buffer_destroy(vk, &p->arena);
    sdg_vk_buffer_destroy(vk, &p->inputs);
    sdg_vk_buffer_destroy(vk, &p->row);
    sdg_vk_buffer_destroy(vk, &p->row_host);
    for (size_t i = 0; i < p->named_count; i++)
        sdg_free(p->named[i].name);
    for (size_t i = 0; i < p->op_count; i++)
        sdg_free(p->ops[i].name);
    sdg_free(p->named);
    sdg_free(p->ops);
    sdg_free(p->macs);
    sdg_free(p->seconds);
    sdg_free(p->steps);
    sdg_free(p->converted);
    sdg_free(p);
}

static enum sdg_result find_named(const struct sdg_vk_program *p, const char *name, size_t count,
                                  const struct named **out)
{
    const struct sdg_log *log = p->base.backend->log;
    SDG_TRY(sdg_vk_alive(sdg_vk_of(p->base.backend)));
    if (p->planned_only)
        return sdg_fail(log, SDG_ERROR_USAGE, "%s: a program made to plan memory has no data", name);
    for (size_t i = 0; i < p->named_count; i++) {
        const struct named *n = &p->named[i];
        if (strcmp(n->name, name) != 0)
            continue;
        if (n->count != count)
            return sdg_fail(log, SDG_ERROR_USAGE, "%s: %zu elements given, should be %zu", name, count, n->count);
        *out = n;
        return SDG_OK;
    }
    return sdg_fail(log, SDG_ERROR_USAGE, "%s: the graph has no input, table or output of this name", name);
}

static enum sdg_result check_ids(const struct sdg_log *log, const struct named *n, const int32_t *ids)
{
    for (size_t i = 0; i < n->count && n->id_limit; i++)
        if (ids[i] < 0 || ids[i] >= n->id_limit)
            return sdg_fail(log, SDG_ERROR_INPUT, "%s: token id %d at position %zu, should be 0..%lld", n->name,
                            (int)ids[i], i, (long long)n->id_limit - 1);
    return SDG_OK;
}

enum sdg_result sdg_vk_program_write(struct sdg_program *program, const char *name, const void *data, size_t count)
{
    struct sdg_vk_program *p = (struct sdg_vk_program *)program;
    struct sdg_vk *vk = sdg_vk_of(p->base.backend);
    const struct named *n = NULL;
    SDG_TRY(find_named(p, name, count, &n));
    if (n->kind != SDG_VALUE_INPUT && n->kind != SDG_VALUE_TABLE)
        return sdg_fail(vk->base.log, SDG_ERROR_USAGE, "%s: only inputs and tables can be written", name);
    if (n->dtype == SDG_S32) {
        SDG_TRY(check_ids(vk->base.log, n, data));
    } else if (n->dtype != SDG_F32) {
        sdg_convert(p->converted, n->dtype, data, SDG_F32, count);
        data = p->converted;
    }
    enum sdg_result result = sdg_vk_upload(vk, &p->inputs, n->place.offset, data, n->place.bytes);
    if (result == SDG_OK)
        result = sdg_vk_upload_finish(vk);
    return sdg_vk_validated(vk, result);
}

enum sdg_result sdg_vk_program_read(struct sdg_program *program, const char *name, float *data, size_t count)
{
    struct sdg_vk_program *p = (struct sdg_vk_program *)program;
    struct sdg_vk *vk = sdg_vk_of(p->base.backend);
    const struct named *n = NULL;
    SDG_TRY(find_named(p, name, count, &n));
    if (n->dtype == SDG_S32)
        return sdg_fail(vk->base.log, SDG_ERROR_USAGE, "%s: is %s, only values computed as floats or codes can be read",
                        name, sdg_dtype_name(n->dtype));
    void *raw = n->dtype == SDG_F32 ? data : p->converted;
    enum sdg_result result = sdg_vk_download(vk, buffer_of(p, n->place.space), n->place.offset, raw, n->place.bytes);
    if (result == SDG_OK && n->dtype != SDG_F32)
        sdg_convert(data, SDG_F32, raw, n->dtype, count);
    return sdg_vk_validated(vk, result);
}

static enum sdg_result run(struct sdg_vk *vk, struct sdg_vk_program *p, int64_t row)
{
    uint32_t number = (uint32_t)row;
    memcpy(p->row_host.mapped, &number, sizeof number);
    SDG_TRY(sdg_vk_buffer_flush(vk, &p->row_host, 0, sizeof number));
    SDG_TRY(sdg_vk_recording_run(vk, &p->recording));
    return p->profiling ? sdg_vk_recording_times(vk, &p->recording, p->op_count, p->seconds) : SDG_OK;
}

enum sdg_result sdg_vk_program_run(struct sdg_program *program, int64_t row)
{
    struct sdg_vk_program *p = (struct sdg_vk_program *)program;
    struct sdg_vk *vk = sdg_vk_of(p->base.backend);
    SDG_TRY(sdg_vk_alive(vk));
    if (p->planned_only)
        return sdg_fail(vk->base.log, SDG_ERROR_USAGE, "a program made to plan memory cannot run");
    if (row < 0 || row >= p->rows)
        return sdg_fail(vk->base.log, SDG_ERROR_USAGE, "row %lld of a program with %lld rows", (long long)row,
                        (long long)p->rows);
    return sdg_vk_validated(vk, run(vk, p, row));
}

void sdg_vk_program_memory(const struct sdg_program *program, struct sdg_memory *out)
{
    *out = ((const struct sdg_vk_program *)program)->memory;
}

void sdg_vk_program_describe(const struct sdg_program *program,
                             void (*fn)(void *user, const char *op, const char *kernel), void *user)
{
    const struct sdg_vk_program *p = (const struct sdg_vk_program *)program;
    for (size_t i = 0; i < p->op_count; i++)
        fn(user, p->ops[i].name, p->ops[i].kernel);
}

void sdg_vk_program_profile(struct sdg_program *program, bool on)
{
    struct sdg_vk_program *p = (struct sdg_vk_program *)program;
    struct sdg_vk *vk = sdg_vk_of(p->base.backend);
    bool changed = p->profiling != on;
    p->profiling = on;
    if (on)
        memset(p->seconds, 0, p->op_count * sizeof *p->seconds);
    if (changed && !p->planned_only && !vk->lost)
        (void)record(vk, p); // a failure was reported, and the next run fails too
}

void sdg_vk_program_times(const struct sdg_program *program,
                          void (*fn)(void *user, size_t op_index, const char *op, const char *kernel, double seconds),
                          void *user)
{
    const struct sdg_vk_program *p = (const struct sdg_vk_program *)program;
    for (size_t i = 0; i < p->op_count; i++)
        fn(user, i, p->ops[i].name, p->ops[i].kernel, p->seconds[i]);
}
