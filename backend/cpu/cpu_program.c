#include "backend/cpu/cpu_program.h"

#include "base/memory.h"

#include <omp.h>
#include <string.h>

static size_t aligned(size_t bytes)
{
    return (bytes + SDG_CPU_ALIGNMENT - 1) / SDG_CPU_ALIGNMENT * SDG_CPU_ALIGNMENT;
}

static size_t value_bytes(const struct sdg_value_info *info)
{
    return (size_t)sdg_value_elements(info) * sdg_dtype_size(info->dtype);
}

static const char *value_name(const struct sdg_value_info *info)
{
    return info->name ? info->name : "unnamed value";
}

// ---- the graph's copy: its arrays and one block of names ----

static size_t name_bytes(const char *name)
{
    return name ? strlen(name) + 1 : 0;
}

static char *copy_name(char **pool, const char *name)
{
    if (!name)
        return NULL;
    char *copy = memcpy(*pool, name, name_bytes(name));
    *pool += name_bytes(name);
    return copy;
}

static enum sdg_result copy_graph(struct sdg_cpu_program *p, const struct sdg_graph *from)
{
    size_t bytes = 0;
    for (size_t i = 1; i < from->value_count; i++)
        bytes += name_bytes(from->values[i].name);
    for (size_t i = 0; i < from->op_count; i++)
        bytes += name_bytes(from->ops[i].name);
    struct sdg_graph *g = &p->graph;
    g->log = p->log;
    g->rows = from->rows;
    g->values = sdg_alloc(p->log, from->value_count, sizeof *g->values, "a program's values");
    g->ops = sdg_alloc(p->log, from->op_count, sizeof *g->ops, "a program's operations");
    p->names = sdg_alloc(p->log, bytes, 1, "a program's names");
    p->data = sdg_alloc(p->log, from->value_count, sizeof *p->data, "a program's values");
    p->wanted = sdg_alloc(p->log, from->value_count, sizeof *p->wanted, "a program's values");
    p->id_limit = sdg_alloc(p->log, from->value_count, sizeof *p->id_limit, "a program's values");
    p->steps = sdg_alloc(p->log, from->op_count, sizeof *p->steps, "a program's steps");
    if (!g->values || !g->ops || !p->names || !p->data || !p->wanted || !p->id_limit || !p->steps)
        return SDG_ERROR_MEMORY;
    char *pool = p->names;
    for (size_t i = 1; i < from->value_count; i++) {
        g->values[i] = from->values[i];
        g->values[i].name = copy_name(&pool, from->values[i].name);
    }
    for (size_t i = 0; i < from->op_count; i++) {
        g->ops[i] = from->ops[i];
        g->ops[i].name = copy_name(&pool, from->ops[i].name);
    }
    g->value_count = g->value_capacity = from->value_count;
    g->op_count = g->op_capacity = from->op_count;
    return SDG_OK;
}

// Token ids select rows of every embedding that reads them: the smallest table is their limit.
static void find_id_limits(struct sdg_cpu_program *p)
{
    for (size_t i = 0; i < p->graph.op_count; i++) {
        const struct sdg_op *op = &p->graph.ops[i];
        if (op->kind != SDG_OP_EMBED)
            continue;
        int64_t *limit = &p->id_limit[op->in[0]], rows = p->graph.values[op->in[1]].dims[0];
        if (*limit == 0 || rows < *limit)
            *limit = rows;
    }
}

// ---- weights ----

void sdg_cpu_want_weight(struct sdg_cpu_program *program, sdg_value v)
{
    if (v)
        program->wanted[v] = true;
}

enum sdg_result sdg_cpu_read_weight(struct sdg_cpu_program *program, sdg_value v, enum sdg_dtype dtype, void *to)
{
    return sdg_weight_load(program->log, program->weights, &program->graph.values[v], dtype, to,
                           program->release_weights);
}

static enum sdg_result check_weight(struct sdg_cpu_program *p, sdg_value v)
{
    return v && p->graph.values[v].kind == SDG_VALUE_WEIGHT ? sdg_weight_check(p->log, p->weights, &p->graph.values[v])
                                                            : SDG_OK;
}

// All weights any operation uses, before memory is spent on the first of them.
static enum sdg_result check_weights(struct sdg_cpu_program *p)
{
    for (size_t i = 0; i < p->graph.op_count; i++) {
        const struct sdg_op *op = &p->graph.ops[i];
        for (int k = 0; k < SDG_OP_MAX_INPUTS; k++)
            SDG_TRY(check_weight(p, op->in[k]));
        SDG_TRY(check_weight(p, op->epilogue.bias));
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
        if (taken)
            return SDG_OK;
    }
    return sdg_fail(p->log, SDG_ERROR_UNSUPPORTED, "%s: backend %s cannot run this %s", step->op->name,
                    backend->base.ops->name, sdg_op_name(step->op->kind));
}

static enum sdg_result select_kernels(struct sdg_cpu_program *p)
{
    for (size_t i = 0; i < p->graph.op_count; i++) {
        p->steps[i].program = p;
        p->steps[i].op = &p->graph.ops[i];
        p->steps[i].index = i;
        SDG_TRY(select_kernel(p, &p->steps[i]));
    }
    return SDG_OK;
}

static enum sdg_result plan_arena(struct sdg_cpu_program *p)
{
    size_t *scratch = sdg_alloc(p->log, p->graph.op_count, sizeof *scratch, "the memory plan");
    if (!scratch)
        return SDG_ERROR_MEMORY;
    for (size_t i = 0; i < p->graph.op_count; i++)
        scratch[i] = p->steps[i].scratch_bytes;
    enum sdg_result result = sdg_plan_create(&p->graph, SDG_CPU_ALIGNMENT, scratch, &p->plan);
    sdg_free(scratch);
    return result;
}

static bool owns_storage(const struct sdg_cpu_program *p, size_t v)
{
    enum sdg_value_kind kind = p->graph.values[v].kind;
    return kind == SDG_VALUE_INPUT || kind == SDG_VALUE_TABLE || (kind == SDG_VALUE_WEIGHT && p->wanted[v]);
}

static enum sdg_result allocate_value(struct sdg_cpu_program *p, size_t v)
{
    const struct sdg_value_info *info = &p->graph.values[v];
    if (info->kind == SDG_VALUE_ACTIVATION && p->plan->offset[v] != SIZE_MAX)
        p->data[v] = (char *)p->arena + p->plan->offset[v];
    if (!owns_storage(p, v))
        return SDG_OK;
    size_t bytes = aligned(value_bytes(info));
    bool weight = info->kind == SDG_VALUE_WEIGHT;
    p->data[v] = weight ? sdg_alloc_raw(p->log, bytes, 1, "weights") : sdg_alloc(p->log, bytes, 1, "inputs");
    if (!p->data[v])
        return SDG_ERROR_MEMORY;
    return weight ? sdg_cpu_read_weight(p, (sdg_value)v, info->dtype, p->data[v]) : SDG_OK;
}

static enum sdg_result allocate_values(struct sdg_cpu_program *p)
{
    p->arena = sdg_alloc_raw(p->log, p->plan->arena_bytes, 1, "activations");
    if (!p->arena)
        return SDG_ERROR_MEMORY;
    for (size_t v = 1; v < p->graph.value_count; v++)
        SDG_TRY(allocate_value(p, v));
    return SDG_OK;
}

static enum sdg_result prepare_step(struct sdg_cpu_program *p, struct sdg_cpu_step *step)
{
    if (step->scratch_bytes)
        step->scratch = (char *)p->arena + p->plan->scratch[step->index];
    if (step->weight_bytes) {
        step->weights = sdg_alloc_raw(p->log, aligned(step->weight_bytes), 1, "weights");
        if (!step->weights)
            return SDG_ERROR_MEMORY;
    }
    return step->prepare ? step->prepare(step) : SDG_OK;
}

static enum sdg_result build(struct sdg_cpu_program *p, const struct sdg_graph *graph,
                             const struct sdg_program_params *params)
{
    SDG_TRY(copy_graph(p, graph));
    find_id_limits(p);
    if (p->weights)
        SDG_TRY(check_weights(p));
    SDG_TRY(select_kernels(p));
    SDG_TRY(plan_arena(p));
    if (params->plan_only)
        return SDG_OK;
    SDG_TRY(allocate_values(p));
    for (size_t i = 0; i < p->graph.op_count; i++)
        SDG_TRY(prepare_step(p, &p->steps[i]));
    return SDG_OK;
}

// Kernels prepared in create() may start OpenMP threads as well, so creation runs under the backend's number, too.
static int enter_threads(const struct sdg_cpu_backend *backend)
{
    int before = omp_get_max_threads();
    omp_set_num_threads(backend->threads);
    return before;
}

enum sdg_result sdg_cpu_program_create(struct sdg_backend *backend, const struct sdg_graph *graph,
                                       const struct sdg_program_params *params, struct sdg_program **out)
{
    *out = NULL;
    SDG_TRY(sdg_graph_check(graph));
    struct sdg_cpu_program *p = sdg_alloc(backend->log, 1, sizeof *p, "a program");
    if (!p)
        return SDG_ERROR_MEMORY;
    p->base.backend = backend;
    p->log = backend->log;
    p->weights = params->weights;
    p->release_weights = params->release_weights;
    p->planned_only = params->plan_only;
    int before = enter_threads(sdg_cpu_backend_of(p));
    enum sdg_result result = build(p, graph, params);
    omp_set_num_threads(before);
    p->weights = NULL;
    if (result == SDG_OK)
        *out = &p->base;
    else
        sdg_cpu_program_destroy(&p->base);
    return result;
}

static void destroy_step(struct sdg_cpu_step *step)
{
    if (step->destroy)
        step->destroy(step);
    sdg_free(step->weights);
}

void sdg_cpu_program_destroy(struct sdg_program *program)
{
    struct sdg_cpu_program *p = (struct sdg_cpu_program *)program;
    if (!p)
        return;
    for (size_t i = 0; i < p->graph.op_count; i++)
        destroy_step(&p->steps[i]);
    for (size_t v = 1; v < p->graph.value_count; v++)
        if (owns_storage(p, v))
            sdg_free(p->data[v]);
    sdg_plan_destroy(&p->plan);
    sdg_free(p->arena);
    sdg_free(p->steps);
    sdg_free(p->data);
    sdg_free(p->wanted);
    sdg_free(p->id_limit);
    sdg_free(p->names);
    sdg_free(p->graph.values);
    sdg_free(p->graph.ops);
    sdg_free(p);
}

// ---- use ----

// The value of this name and its checks that writing and reading share.
static enum sdg_result find_value(const struct sdg_cpu_program *p, const char *name, size_t count, sdg_value *out)
{
    if (p->planned_only)
        return sdg_fail(p->log, SDG_ERROR_USAGE, "%s: a program made to plan memory has no data", name);
    sdg_value v = sdg_graph_find(&p->graph, name);
    if (!v)
        return sdg_fail(p->log, SDG_ERROR_USAGE, "%s: the graph has no input, table or output of this name", name);
    size_t elements = (size_t)sdg_value_elements(&p->graph.values[v]);
    if (count != elements)
        return sdg_fail(p->log, SDG_ERROR_USAGE, "%s: %zu elements given, should be %zu", name, count, elements);
    *out = v;
    return SDG_OK;
}

static enum sdg_result write_ids(const struct sdg_cpu_program *p, sdg_value v, const int32_t *ids, size_t count)
{
    int64_t limit = p->id_limit[v];
    for (size_t i = 0; i < count && limit; i++)
        if (ids[i] < 0 || ids[i] >= limit)
            return sdg_fail(p->log, SDG_ERROR_INPUT, "%s: token id %d at position %zu, should be 0..%lld",
                            value_name(&p->graph.values[v]), ids[i], i, (long long)limit - 1);
    memcpy(p->data[v], ids, count * sizeof *ids);
    return SDG_OK;
}

enum sdg_result sdg_cpu_program_write(struct sdg_program *program, const char *name, const void *data, size_t count)
{
    struct sdg_cpu_program *p = (struct sdg_cpu_program *)program;
    sdg_value v = 0;
    SDG_TRY(find_value(p, name, count, &v));
    const struct sdg_value_info *info = &p->graph.values[v];
    if (info->kind != SDG_VALUE_INPUT && info->kind != SDG_VALUE_TABLE)
        return sdg_fail(p->log, SDG_ERROR_USAGE, "%s: only inputs and tables can be written", name);
    if (info->dtype == SDG_S32)
        return write_ids(p, v, data, count);
    sdg_convert(p->data[v], info->dtype, data, SDG_F32, count);
    return SDG_OK;
}

enum sdg_result sdg_cpu_program_read(struct sdg_program *program, const char *name, float *data, size_t count)
{
    struct sdg_cpu_program *p = (struct sdg_cpu_program *)program;
    sdg_value v = 0;
    SDG_TRY(find_value(p, name, count, &v));
    const struct sdg_value_info *info = &p->graph.values[v];
    if (info->dtype == SDG_S32 || !p->data[v])
        return sdg_fail(p->log, SDG_ERROR_USAGE, "%s: is %s, only values computed as floats or codes can be read", name,
                        sdg_dtype_name(info->dtype));
    sdg_convert(data, SDG_F32, p->data[v], info->dtype, count);
    return SDG_OK;
}

static enum sdg_result run_steps(struct sdg_cpu_program *p, int64_t row)
{
    for (size_t i = 0; i < p->graph.op_count; i++) {
        struct sdg_cpu_step *step = &p->steps[i];
        double start = p->profiling ? omp_get_wtime() : 0;
        SDG_TRY(step->run(step, row));
        if (p->profiling)
            step->seconds += omp_get_wtime() - start;
    }
    return SDG_OK;
}

enum sdg_result sdg_cpu_program_run(struct sdg_program *program, int64_t row)
{
    struct sdg_cpu_program *p = (struct sdg_cpu_program *)program;
    if (p->planned_only)
        return sdg_fail(p->log, SDG_ERROR_USAGE, "a program made to plan memory cannot run");
    if (row < 0 || row >= (p->graph.rows > 0 ? p->graph.rows : 1))
        return sdg_fail(p->log, SDG_ERROR_USAGE, "row %lld of a program with %lld rows", (long long)row,
                        (long long)p->graph.rows);
    int before = enter_threads(sdg_cpu_backend_of(p));
    enum sdg_result result = run_steps(p, row);
    omp_set_num_threads(before);
    return result;
}

void sdg_cpu_program_memory(const struct sdg_program *program, struct sdg_memory *out)
{
    const struct sdg_cpu_program *p = (const struct sdg_cpu_program *)program;
    *out = (struct sdg_memory){.arena = p->plan->arena_bytes, .scratch = p->extra_bytes};
    for (size_t v = 1; v < p->graph.value_count; v++)
        if (owns_storage(p, v))
            *(p->graph.values[v].kind == SDG_VALUE_WEIGHT ? &out->weights : &out->inputs) +=
                aligned(value_bytes(&p->graph.values[v]));
    for (size_t i = 0; i < p->graph.op_count; i++)
        out->weights += aligned(p->steps[i].weight_bytes);
    out->total = out->weights + out->arena + out->inputs + out->scratch;
}

void sdg_cpu_program_describe(const struct sdg_program *program,
                              void (*fn)(void *user, const char *op, const char *kernel), void *user)
{
    const struct sdg_cpu_program *p = (const struct sdg_cpu_program *)program;
    for (size_t i = 0; i < p->graph.op_count; i++)
        fn(user, p->steps[i].op->name, p->steps[i].kernel);
}

void sdg_cpu_program_profile(struct sdg_program *program, bool on)
{
    struct sdg_cpu_program *p = (struct sdg_cpu_program *)program;
    p->profiling = on;
    for (size_t i = 0; i < p->graph.op_count; i++)
        p->steps[i].seconds = 0;
}

void sdg_cpu_program_times(const struct sdg_program *program,
                           void (*fn)(void *user, size_t op_index, const char *op, const char *kernel, double seconds),
                           void *user)
{
    const struct sdg_cpu_program *p = (const struct sdg_cpu_program *)program;
    for (size_t i = 0; i < p->graph.op_count; i++)
        fn(user, i, p->steps[i].op->name, p->steps[i].kernel, p->steps[i].seconds);
}
