#include "backend/cpu/cpu_program.h"

#include "base/clock.h"
#include "base/memory.h"

#include <string.h>

static size_t aligned(size_t bytes)
{
    return (bytes + SDG_CPU_ALIGNMENT - 1) / SDG_CPU_ALIGNMENT * SDG_CPU_ALIGNMENT;
}

static size_t value_bytes(const struct sdg_value_info *info)
{
    return (size_t)sdg_value_elements(info) * sdg_dtype_size(info->dtype);
}

// ---- weights ----

void sdg_cpu_want_weight(struct sdg_cpu_program *program, sdg_value v)
{
    if (v)
        program->wanted[v] = true;
}

// Outputs that make a part large enough for a thread.
static int64_t outputs_per_part(const struct sdg_weight *w)
{
    enum { VALUES = 1 << 16 };
    return w->inputs < VALUES ? VALUES / (int64_t)w->inputs : 1;
}

struct reading {
    const struct sdg_cpu_backend *backend;
    const struct sdg_weight *weight;
    enum sdg_dtype dtype;
    char *to;
    // of codes
    int8_t *codes;
    float *scales;
};

static void read_outputs(void *context, int64_t first, int64_t end, int thread)
{
    const struct reading *r = context;
    const struct sdg_weight *w = r->weight;
    const size_t o = (size_t)first, count = (size_t)(end - first);
    char *to = r->to + o * w->inputs * sdg_dtype_size(r->dtype);
    (void)thread;
    if (!r->backend->read_weight || !r->backend->read_weight(r->backend, w, o, count, r->dtype, to))
        sdg_weight_read(w, o, count, r->dtype, to);
}

void sdg_cpu_read_weight(struct sdg_cpu_program *program, sdg_value v, enum sdg_dtype dtype, void *to)
{
    const struct sdg_weight *w = &program->weights[v];
    struct reading r = {.backend = sdg_cpu_backend_of(program), .weight = w, .dtype = dtype, .to = to};
    sdg_cpu_run_parts(program, (int64_t)w->outputs, outputs_per_part(w), read_outputs, &r);
    if (program->release_weights)
        sdg_weight_release(w);
}

int sdg_cpu_code_bits(const struct sdg_cpu_program *program, sdg_value v)
{
    const struct sdg_weight *w = &program->weights[v];
    return w->tensors ? sdg_weight_code_bits(w) : 0;
}

static void read_codes(void *context, int64_t first, int64_t end, int thread)
{
    const struct reading *r = context;
    (void)thread;
    sdg_weight_read_codes(r->weight, (size_t)first, (size_t)(end - first), r->codes + (size_t)first * r->weight->inputs,
                          r->scales + first);
}

void sdg_cpu_read_codes(struct sdg_cpu_program *program, sdg_value v, int8_t *codes, float *scales)
{
    const struct sdg_weight *w = &program->weights[v];
    struct reading r = {.weight = w, .codes = codes, .scales = scales};
    sdg_cpu_run_parts(program, (int64_t)w->outputs, outputs_per_part(w), read_codes, &r);
    if (program->release_weights)
        sdg_weight_release(w);
}

static enum sdg_result find_weight(struct sdg_cpu_program *p, const struct sdg_tensors *tensors, sdg_value v)
{
    const struct sdg_value_info *info = sdg_cpu_value(p, v);
    return info->kind == SDG_VALUE_WEIGHT && !p->weights[v].tensors
        ? sdg_weight_find(p->base.log, tensors, info, &p->weights[v])
        : SDG_OK;
}

// All weights any operation uses, before memory is spent on the first of them.
static enum sdg_result find_weights(struct sdg_cpu_program *p, const struct sdg_tensors *tensors)
{
    for (size_t i = 0; i < sdg_cpu_graph(p)->op_count; i++) {
        const struct sdg_op *op = &sdg_cpu_graph(p)->ops[i];
        for (int k = 0; k < SDG_OP_MAX_INPUTS; k++)
            SDG_TRY(find_weight(p, tensors, op->in[k]));
        SDG_TRY(find_weight(p, tensors, op->epilogue.bias));
        SDG_TRY(find_weight(p, tensors, op->codes.smoothing));
    }
    return SDG_OK;
}

// ---- creation ----

static enum sdg_result select_kernel(struct sdg_cpu_program *p, struct sdg_cpu_step *step)
{
    const struct sdg_cpu_backend *backend = sdg_cpu_backend_of(p);
    for (size_t i = 0; backend->providers[i]; i++) {
        bool taken = false;
        SDG_TRY(backend->providers[i]->select(p, step, &taken));
        if (!taken)
            continue;
        sdg_cpu_want_weight(p, step->op->codes.smoothing);
        return SDG_OK;
    }
    return sdg_fail(p->base.log, SDG_ERROR_UNSUPPORTED, "%s: backend %s cannot run this %s", step->op->name,
                    backend->base.ops->name, sdg_op_name(step->op->kind));
}

static enum sdg_result select_kernels(struct sdg_cpu_program *p)
{
    for (size_t i = 0; i < sdg_cpu_graph(p)->op_count; i++) {
        p->steps[i].program = p;
        p->steps[i].op = &sdg_cpu_graph(p)->ops[i];
        p->steps[i].index = i;
        SDG_TRY(select_kernel(p, &p->steps[i]));
    }
    return SDG_OK;
}

static enum sdg_result plan_arena(struct sdg_cpu_program *p)
{
    size_t *scratch = sdg_alloc(p->base.log, sdg_cpu_graph(p)->op_count, sizeof *scratch, "the memory plan");
    if (!scratch)
        return SDG_ERROR_MEMORY;
    for (size_t i = 0; i < sdg_cpu_graph(p)->op_count; i++)
        scratch[i] = p->steps[i].scratch_bytes;
    enum sdg_result result = sdg_plan_create(sdg_cpu_graph(p), SDG_CPU_ALIGNMENT, 0, scratch, &p->plan);
    sdg_free(scratch);
    return result;
}

static bool owns_storage(const struct sdg_cpu_program *p, sdg_value v)
{
    enum sdg_value_kind kind = sdg_cpu_value(p, v)->kind;
    return kind == SDG_VALUE_INPUT || kind == SDG_VALUE_TABLE || (kind == SDG_VALUE_WEIGHT && p->wanted[v]);
}

static enum sdg_result allocate_value(struct sdg_cpu_program *p, sdg_value v)
{
    const struct sdg_value_info *info = sdg_cpu_value(p, v);
    if (info->kind == SDG_VALUE_ACTIVATION && p->plan->offset[v] != SIZE_MAX)
        p->data[v] = (char *)p->arena + p->plan->offset[v];
    if (!owns_storage(p, v))
        return SDG_OK;
    size_t bytes = aligned(value_bytes(info));
    bool weight = info->kind == SDG_VALUE_WEIGHT;
    p->data[v] = weight ? sdg_alloc_raw(p->base.log, bytes, 1, "weights") : sdg_alloc(p->base.log, bytes, 1, "inputs");
    if (!p->data[v])
        return SDG_ERROR_MEMORY;
    if (weight)
        sdg_cpu_read_weight(p, v, info->dtype, p->data[v]);
    return SDG_OK;
}

static enum sdg_result allocate_values(struct sdg_cpu_program *p)
{
    p->arena = sdg_alloc_raw(p->base.log, p->plan->arena_bytes, 1, "activations");
    if (!p->arena)
        return SDG_ERROR_MEMORY;
    for (sdg_value v = 1; v < sdg_cpu_graph(p)->value_count; v++)
        SDG_TRY(allocate_value(p, v));
    return SDG_OK;
}

static enum sdg_result prepare_step(struct sdg_cpu_program *p, struct sdg_cpu_step *step)
{
    if (step->scratch_bytes)
        step->scratch = (char *)p->arena + p->plan->scratch[step->index];
    if (step->weight_bytes) {
        step->weights = sdg_alloc_raw(p->base.log, aligned(step->weight_bytes), 1, "weights");
        if (!step->weights)
            return SDG_ERROR_MEMORY;
    }
    return step->prepare ? step->prepare(step) : SDG_OK;
}

static enum sdg_result build(struct sdg_cpu_program *p, const struct sdg_tensors *tensors)
{
    const struct sdg_graph *g = sdg_cpu_graph(p);
    p->data = sdg_alloc(p->base.log, g->value_count, sizeof *p->data, "a program's values");
    p->wanted = sdg_alloc(p->base.log, g->value_count, sizeof *p->wanted, "a program's values");
    p->weights = sdg_alloc(p->base.log, g->value_count, sizeof *p->weights, "a program's weights");
    p->steps = sdg_alloc(p->base.log, g->op_count, sizeof *p->steps, "a program's steps");
    if (!p->data || !p->wanted || !p->weights || !p->steps)
        return SDG_ERROR_MEMORY;
    if (tensors)
        SDG_TRY(find_weights(p, tensors));
    SDG_TRY(select_kernels(p));
    SDG_TRY(plan_arena(p));
    if (p->base.plan_only)
        return SDG_OK;
    SDG_TRY(allocate_values(p));
    for (size_t i = 0; i < g->op_count; i++) {
        SDG_TRY(sdg_backend_goes_on(p->base.backend));
        SDG_TRY(prepare_step(p, &p->steps[i]));
    }
    return SDG_OK;
}

static enum sdg_result create(struct sdg_program *program, const struct sdg_program_params *params)
{
    struct sdg_cpu_program *p = (struct sdg_cpu_program *)program;
    p->release_weights = params->release_weights;
    enum sdg_result result = build(p, params->weights);
    sdg_free(p->weights);
    p->weights = NULL;
    return result;
}

static void destroy_step(struct sdg_cpu_step *step)
{
    if (step->destroy)
        step->destroy(step);
    sdg_free(step->weights);
}

static void destroy(struct sdg_program *program)
{
    struct sdg_cpu_program *p = (struct sdg_cpu_program *)program;
    for (size_t i = 0; p->steps && i < sdg_cpu_graph(p)->op_count; i++)
        destroy_step(&p->steps[i]);
    for (sdg_value v = 1; p->data && p->wanted && v < sdg_cpu_graph(p)->value_count; v++)
        if (owns_storage(p, v))
            sdg_free(p->data[v]);
    sdg_plan_destroy(&p->plan);
    sdg_free(p->arena);
    sdg_free(p->steps);
    sdg_free(p->data);
    sdg_free(p->wanted);
}

// ---- use ----

static enum sdg_result write(struct sdg_program *program, sdg_value v, const void *data, size_t bytes)
{
    memcpy(((struct sdg_cpu_program *)program)->data[v], data, bytes);
    return SDG_OK;
}

static enum sdg_result read(struct sdg_program *program, sdg_value v, void *data, size_t bytes)
{
    memcpy(data, ((struct sdg_cpu_program *)program)->data[v], bytes);
    return SDG_OK;
}

static enum sdg_result run(struct sdg_program *program, int64_t row)
{
    struct sdg_cpu_program *p = (struct sdg_cpu_program *)program;
    for (size_t i = 0; i < sdg_cpu_graph(p)->op_count; i++) {
        struct sdg_cpu_step *step = &p->steps[i];
        double start = p->profiling ? sdg_clock() : 0;
        SDG_TRY(sdg_backend_goes_on(p->base.backend));
        SDG_TRY(step->run(step, row));
        if (p->profiling)
            step->seconds += sdg_clock() - start;
    }
    return SDG_OK;
}

static void memory(const struct sdg_program *program, struct sdg_memory *out)
{
    const struct sdg_cpu_program *p = (const struct sdg_cpu_program *)program;
    *out = (struct sdg_memory){.arena = p->plan->arena_bytes, .scratch = p->extra_bytes};
    for (sdg_value v = 1; v < sdg_cpu_graph(p)->value_count; v++)
        if (owns_storage(p, v))
            *(sdg_cpu_value(p, v)->kind == SDG_VALUE_WEIGHT ? &out->weights : &out->inputs) +=
                aligned(value_bytes(sdg_cpu_value(p, v)));
    for (size_t i = 0; i < sdg_cpu_graph(p)->op_count; i++)
        out->weights += aligned(p->steps[i].weight_bytes);
}

static const char *kernel(const struct sdg_program *program, size_t op_index)
{
    return ((const struct sdg_cpu_program *)program)->steps[op_index].kernel;
}

static void profile(struct sdg_program *program, bool on)
{
    struct sdg_cpu_program *p = (struct sdg_cpu_program *)program;
    p->profiling = on;
    for (size_t i = 0; i < sdg_cpu_graph(p)->op_count; i++)
        p->steps[i].seconds = 0;
}

static double seconds(const struct sdg_program *program, size_t op_index)
{
    return ((const struct sdg_cpu_program *)program)->steps[op_index].seconds;
}

const struct sdg_program_ops sdg_cpu_program_ops = {
    .bytes = sizeof(struct sdg_cpu_program),
    .create = create,
    .destroy = destroy,
    .write = write,
    .read = read,
    .run = run,
    .memory = memory,
    .kernel = kernel,
    .profile = profile,
    .seconds = seconds,
};
