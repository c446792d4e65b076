#include "backend/transfer.h"

#include "base/memory.h"

static size_t elements(const struct sdg_value_info *v)
{
    return (size_t)sdg_value_elements(v);
}

static enum sdg_result read_finite(struct sdg_program *from, const struct sdg_value_info *v, float *data)
{
    SDG_TRY(sdg_program_read(from, v->name, data, elements(v)));
    return sdg_program_check_finite(from, data, elements(v), v->name);
}

static enum sdg_result copy_outputs(struct sdg_program *from, struct sdg_program *to, float *staging)
{
    const struct sdg_graph *g = sdg_program_graph(from);
    for (size_t i = 1; i < g->value_count; i++) {
        const struct sdg_value_info *v = &g->values[i];
        if (!v->output)
            continue;
        SDG_TRY(read_finite(from, v, staging));
        SDG_TRY(sdg_program_write(to, v->name, staging, elements(v)));
    }
    return SDG_OK;
}

enum sdg_result sdg_program_copy(struct sdg_program *from, struct sdg_program *to)
{
    const struct sdg_graph *g = sdg_program_graph(from);
    size_t largest = 0;
    for (size_t i = 1; i < g->value_count; i++)
        if (g->values[i].output && elements(&g->values[i]) > largest)
            largest = elements(&g->values[i]);
    float *staging = sdg_alloc_raw(g->log, largest, sizeof *staging, "values on their way to another network");
    if (!staging)
        return SDG_ERROR_MEMORY;
    enum sdg_result result = copy_outputs(from, to, staging);
    sdg_free(staging);
    return result;
}

// ---- snapshots ----

struct sdg_snapshot {
    const struct sdg_log *log;
    struct kept {
        char *name;
        float *data;
        size_t count;
    } *values;
    size_t count, capacity;
};

enum sdg_result sdg_snapshot_create(const struct sdg_log *log, struct sdg_snapshot **out)
{
    *out = sdg_alloc(log, 1, sizeof **out, "a snapshot");
    if (!*out)
        return SDG_ERROR_MEMORY;
    (*out)->log = log;
    return SDG_OK;
}

void sdg_snapshot_destroy(struct sdg_snapshot **snapshot)
{
    struct sdg_snapshot *s = *snapshot;
    if (!s)
        return;
    for (size_t i = 0; i < s->count; i++) {
        sdg_free(s->values[i].name);
        sdg_free(s->values[i].data);
    }
    sdg_free(s->values);
    sdg_free(s);
    *snapshot = NULL;
}

static enum sdg_result add_value(struct sdg_snapshot *s, struct sdg_program *program, const struct sdg_value_info *v)
{
    if (!sdg_grow(s->log, &s->values, &s->capacity, s->count + 1, sizeof *s->values, "a snapshot"))
        return SDG_ERROR_MEMORY;
    struct kept kept = {.count = elements(v)};
    kept.name = sdg_strdup(s->log, v->name);
    kept.data = kept.name ? sdg_alloc_raw(s->log, kept.count, sizeof *kept.data, v->name) : NULL;
    enum sdg_result result = kept.data ? read_finite(program, v, kept.data) : SDG_ERROR_MEMORY;
    if (result == SDG_OK) {
        s->values[s->count++] = kept;
        return SDG_OK;
    }
    sdg_free(kept.name);
    sdg_free(kept.data);
    return result;
}

enum sdg_result sdg_snapshot_add(struct sdg_snapshot *snapshot, struct sdg_program *program)
{
    const struct sdg_graph *g = sdg_program_graph(program);
    for (size_t i = 1; i < g->value_count; i++)
        if (g->values[i].output)
            SDG_TRY(add_value(snapshot, program, &g->values[i]));
    return SDG_OK;
}

enum sdg_result sdg_snapshot_write(const struct sdg_snapshot *snapshot, struct sdg_program *to)
{
    for (size_t i = 0; i < snapshot->count; i++) {
        const struct kept *kept = &snapshot->values[i];
        SDG_TRY(sdg_program_write(to, kept->name, kept->data, kept->count));
    }
    return SDG_OK;
}

size_t sdg_snapshot_bytes(const struct sdg_program *program)
{
    const struct sdg_graph *g = sdg_program_graph(program);
    size_t bytes = 0, each;
    for (size_t i = 1; i < g->value_count; i++)
        if (g->values[i].output &&
            (!sdg_mul_size(elements(&g->values[i]), sizeof(float), &each) ||
             __builtin_add_overflow(bytes, each, &bytes)))
            return SIZE_MAX;
    return bytes;
}
