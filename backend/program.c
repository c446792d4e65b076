// The front of every program: keeps its graph, finds values by name and checks each call, so that all backends refuse
// the same calls with the same words.
#include "backend/program.h"

#include "base/finite.h"
#include "base/memory.h"
#include "formats/stored.h"

static const struct sdg_program_ops *ops_of(const struct sdg_program *program)
{
    return program->backend->ops->program;
}

static size_t value_bytes(const struct sdg_value_info *v)
{
    return (size_t)sdg_value_elements(v) * sdg_dtype_size(v->dtype);
}

// ---- life ----

static bool has_weights(const struct sdg_graph *graph)
{
    for (size_t v = 1; v < graph->value_count; v++)
        if (graph->values[v].kind == SDG_VALUE_WEIGHT)
            return true;
    return false;
}

static bool can_be_written(const struct sdg_value_info *v)
{
    return v->kind == SDG_VALUE_INPUT || v->kind == SDG_VALUE_TABLE;
}

// Room for the longest value that has to be converted, so that writing and reading allocate nothing.
static enum sdg_result make_room(struct sdg_program *p)
{
    for (size_t v = 1; v < p->graph->value_count; v++) {
        const struct sdg_value_info *info = &p->graph->values[v];
        bool converted = (can_be_written(info) || info->output) && info->dtype != SDG_F32 && info->dtype != SDG_S32;
        if (converted && value_bytes(info) > p->converted_bytes)
            p->converted_bytes = value_bytes(info);
    }
    if (p->plan_only || !p->converted_bytes)
        return SDG_OK;
    p->converted = sdg_alloc_raw(p->log, p->converted_bytes, 1, "a conversion buffer");
    return p->converted ? SDG_OK : SDG_ERROR_MEMORY;
}

enum sdg_result sdg_program_create(struct sdg_backend *backend, const struct sdg_graph *graph,
                                   const struct sdg_program_params *params, struct sdg_program **out)
{
    static const struct sdg_program_params defaults = {.weights = NULL};
    const struct sdg_program_ops *ops = backend->ops->program;
    *out = NULL;
    if (!params)
        params = &defaults;
    const struct sdg_log *log = params->log ? params->log : backend->log;
    SDG_TRY(sdg_graph_check(graph));
    if (!params->weights && !params->plan_only && has_weights(graph))
        return sdg_fail(log, SDG_ERROR_USAGE, "the network has weights, but none were given");
    struct sdg_program *program = sdg_alloc(log, 1, ops->bytes, "a program");
    if (!program)
        return SDG_ERROR_MEMORY;
    program->backend = backend;
    program->log = log;
    program->plan_only = params->plan_only;
    program->weights = params->weights;
    enum sdg_result result = sdg_graph_copy(log, graph, &program->graph);
    if (result == SDG_OK)
        result = sdg_graph_fuse_for(program->graph, ops->fusions ? ops->fusions(backend) : 0);
    if (result == SDG_OK)
        result = make_room(program);
    if (result == SDG_OK)
        result = ops->create(program, params);
    if (result != SDG_OK)
        sdg_program_destroy(&program);
    *out = program;
    return result;
}

bool sdg_backend_supports(struct sdg_backend *backend, const struct sdg_graph *graph, const struct sdg_tensors *weights)
{
    static const struct sdg_log silent = {0};
    const struct sdg_program_params params = {.weights = weights, .log = &silent, .plan_only = true};
    struct sdg_program *program = NULL;
    enum sdg_result result = sdg_program_create(backend, graph, &params, &program);
    sdg_program_destroy(&program);
    return result != SDG_ERROR_UNSUPPORTED;
}

void sdg_program_destroy(struct sdg_program **program)
{
    struct sdg_program *p = *program;
    if (!p)
        return;
    if (p->graph)
        ops_of(p)->destroy(p);
    sdg_graph_destroy(&p->graph);
    sdg_free(p->converted);
    sdg_free(p);
    *program = NULL;
}

const struct sdg_graph *sdg_program_graph(const struct sdg_program *program)
{
    return program->graph;
}

// ---- data ----

// The value of this name, with the checks that writing and reading share.
static enum sdg_result find(const struct sdg_program *p, const char *name, size_t count, sdg_value *out)
{
    const struct sdg_log *log = p->log;
    if (p->plan_only)
        return sdg_fail(log, SDG_ERROR_USAGE, "%s: a program made to plan memory has no data", name);
    *out = sdg_graph_find(p->graph, name);
    if (!*out)
        return sdg_fail(log, SDG_ERROR_USAGE, "%s: the graph has no input, table or output of this name", name);
    size_t elements = (size_t)sdg_value_elements(&p->graph->values[*out]);
    if (count != elements)
        return sdg_fail(log, SDG_ERROR_USAGE, "%s: %zu elements given, should be %zu", name, count, elements);
    return SDG_OK;
}

// Token ids select rows of every table that is read with them: the smallest one is their limit.
static int64_t id_limit(const struct sdg_graph *g, sdg_value ids)
{
    int64_t limit = INT64_MAX;
    for (size_t i = 0; i < g->op_count; i++) {
        const struct sdg_op *op = &g->ops[i];
        if (op->kind == SDG_OP_EMBED && op->in[0] == ids && g->values[op->in[1]].dims[0] < limit)
            limit = g->values[op->in[1]].dims[0];
    }
    return limit;
}

static enum sdg_result check_ids(const struct sdg_program *p, sdg_value v, const int32_t *ids, size_t count)
{
    int64_t limit = id_limit(p->graph, v);
    for (size_t i = 0; i < count; i++)
        if (ids[i] < 0 || ids[i] >= limit)
            return sdg_fail(p->log, SDG_ERROR_INPUT, "%s: token id %d at position %zu, should be 0..%lld",
                            p->graph->values[v].name, (int)ids[i], i, (long long)limit - 1);
    return SDG_OK;
}

enum sdg_result sdg_program_write(struct sdg_program *program, const char *name, const void *data, size_t count)
{
    sdg_value v = 0;
    SDG_TRY(find(program, name, count, &v));
    const struct sdg_value_info *info = &program->graph->values[v];
    if (!can_be_written(info))
        return sdg_fail(program->log, SDG_ERROR_USAGE, "%s: only inputs and tables can be written", name);
    if (info->dtype == SDG_S32) {
        SDG_TRY(check_ids(program, v, data, count));
    } else if (info->dtype != SDG_F32) {
        sdg_convert(program->converted, info->dtype, data, SDG_F32, count);
        data = program->converted;
    }
    return ops_of(program)->write(program, v, data, value_bytes(info));
}

enum sdg_result sdg_program_read(struct sdg_program *program, const char *name, float *data, size_t count)
{
    const struct sdg_log *log = program->log;
    sdg_value v = 0;
    SDG_TRY(find(program, name, count, &v));
    const struct sdg_value_info *info = &program->graph->values[v];
    if (info->dtype == SDG_S32)
        return sdg_fail(log, SDG_ERROR_USAGE, "%s: token ids can be written, not read", name);
    if (info->output && !program->ran)
        return sdg_fail(log, SDG_ERROR_USAGE, "%s: there is no result before the first run", name);
    if (info->dtype == SDG_F32)
        return ops_of(program)->read(program, v, data, value_bytes(info));
    SDG_TRY(ops_of(program)->read(program, v, program->converted, value_bytes(info)));
    sdg_convert(data, SDG_F32, program->converted, info->dtype, count);
    return SDG_OK;
}

// The first weight that is no number or infinite, and what it is; NULL if all are finite.
static const struct sdg_tensor *find_bad_weight(const struct sdg_program *p, float *value)
{
    for (size_t v = 1; p->weights && v < p->graph->value_count; v++) {
        const struct sdg_value_info *info = &p->graph->values[v];
        const struct sdg_tensor *t = info->kind == SDG_VALUE_WEIGHT ? sdg_tensors_find(p->weights, info->name) : NULL;
        if (t && sdg_tensor_has_bad_number(t, value))
            return t;
    }
    return NULL;
}

static bool computes_in_half(const struct sdg_graph *g)
{
    for (size_t v = 1; v < g->value_count; v++)
        if (g->values[v].dtype == SDG_F16 || g->values[v].dtype == SDG_BF16)
            return true;
    return false;
}

enum sdg_result sdg_program_check_finite(const struct sdg_program *program, const float *data, size_t count,
                                         const char *what)
{
    const size_t i = sdg_first_not_finite(data, count);
    if (i == count)
        return SDG_OK;
    float value;
    const struct sdg_tensor *weight = find_bad_weight(program, &value);
    if (weight)
        return sdg_fail(program->log, SDG_ERROR_INPUT,
                        "%s: tensor %s holds %g: the file is damaged, or was made by a merge or a training that failed",
                        sdg_tensors_path(program->weights), weight->name, (double)value);
    return sdg_fail(program->log, SDG_ERROR_COMPUTE, "%s is not finite (%g at element %zu of %zu)%s", what,
                    (double)data[i], i, count, computes_in_half(program->graph) ? "; try --type f32" : "");
}

enum sdg_result sdg_program_run(struct sdg_program *program, int64_t row)
{
    const struct sdg_log *log = program->log;
    if (program->plan_only)
        return sdg_fail(log, SDG_ERROR_USAGE, "a program made to plan memory cannot run");
    if (row < 0 || row >= program->graph->rows)
        return sdg_fail(log, SDG_ERROR_USAGE, "row %lld of a program with %lld rows", (long long)row,
                        (long long)program->graph->rows);
    program->ran = false;
    SDG_TRY(ops_of(program)->run(program, row));
    program->ran = true;
    return SDG_OK;
}

// ---- questions ----

void sdg_program_memory(const struct sdg_program *program, struct sdg_memory *out)
{
    *out = (struct sdg_memory){0};
    ops_of(program)->memory(program, out);
    out->scratch += program->converted_bytes;
    out->total = out->weights + out->arena + out->inputs + out->scratch;
}

struct sdg_work sdg_program_work(const struct sdg_program *program)
{
    const struct sdg_graph *graph = program->graph;
    if (ops_of(program)->work)
        return ops_of(program)->work(program);
    struct sdg_work work = {.dispatches = graph->op_count};
    for (size_t i = 0; i < graph->op_count; i++)
        work.bytes += sdg_op_bytes(graph, &graph->ops[i]);
    return work;
}

void sdg_program_describe(const struct sdg_program *program, void (*fn)(void *user, const char *op, const char *kernel),
                          void *user)
{
    for (size_t i = 0; i < program->graph->op_count; i++)
        fn(user, program->graph->ops[i].name, ops_of(program)->kernel(program, i));
}

void sdg_program_profile(struct sdg_program *program, bool on)
{
    if (!program->plan_only)
        ops_of(program)->profile(program, on);
}

void sdg_program_times(const struct sdg_program *program,
                       void (*fn)(void *user, size_t op_index, const char *op, const char *kernel, double seconds),
                       void *user)
{
    for (size_t i = 0; i < program->graph->op_count; i++)
        fn(user, i, program->graph->ops[i].name, ops_of(program)->kernel(program, i),
           ops_of(program)->seconds(program, i));
}
