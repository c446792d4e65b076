#include "measure/moments.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/random.h"
#include "quant/layer_hessians.h"
#include "quant/sites.h"

enum { SAMPLES = 64, RARE = 4, MANY_CALLS = 16 };
static const double seconds_between_writes = 30;

struct layer { // one site and the operation that its Hessian is for
    bool wanted;
    size_t index;         // in the Hessians
    int64_t n, h, w, c;   // of the site's value
    int64_t out_h, out_w; // of the operation's result
    int kernel_h, kernel_w, stride, pad_top, pad_left;
    float *rows; // [SAMPLES, inputs], in the order of weights: [c, kernel_h, kernel_w]
    size_t row_count;
    enum sdg_result added;
};

struct sdg_moments {
    struct sdg_hessians *hessians;
    struct layer *layers; // one a site
    size_t count;
    int calls;
    double written; // clock of the last write
    bool changed;   // since then
};

enum sdg_result sdg_moments_create(const struct sdg_log *log, const struct sdg_statistics_info *info,
                                   struct sdg_moments **out)
{
    struct sdg_moments *m = sdg_alloc(log, 1, sizeof *m, "Hessians");
    if (!m)
        return SDG_ERROR_MEMORY;
    m->written = sdg_clock();
    enum sdg_result result = sdg_hessians_create(log, info, &m->hessians);
    if (result != SDG_OK) {
        sdg_moments_destroy(&m);
        return result;
    }
    *out = m;
    return SDG_OK;
}

void sdg_moments_destroy(struct sdg_moments **handle)
{
    struct sdg_moments *m = *handle;
    *handle = NULL;
    if (!m)
        return;
    for (size_t i = 0; i < m->count; i++)
        sdg_free(m->layers[i].rows);
    sdg_free(m->layers);
    sdg_hessians_destroy(&m->hessians);
    sdg_free(m);
}

enum sdg_result sdg_moments_resume(const struct sdg_log *log, struct sdg_moments *m, const char *path)
{
    struct sdg_hessians *old;
    SDG_TRY(sdg_hessians_read(log, path, &old));
    enum sdg_result result = sdg_hessians_merge(log, m->hessians, "this run", old, path);
    sdg_hessians_destroy(&old);
    return result;
}

// ---- the layers ----

// The operation that a site is named after. Others may have the same name: upsampling has that of its convolution.
static const struct sdg_op *first_consumer(const struct sdg_graph *graph, const struct sdg_site *site)
{
    const struct sdg_op *op = graph->ops; // there is always one
    while (op->in[0] != site->value || !sdg_op_is_quantizable(graph, op))
        op++;
    return op;
}

static enum sdg_result prepare_layer(const struct sdg_log *log, struct sdg_moments *m, const struct sdg_graph *graph,
                                     const struct sdg_site *site, struct layer *l)
{
    const struct sdg_op *op = first_consumer(graph, site);
    const int64_t *in = graph->values[site->value].dims, *out = graph->values[op->out].dims;
    *l = (struct layer){.n = in[0],
                        .h = in[1],
                        .w = in[2],
                        .c = in[3],
                        .out_h = out[1],
                        .out_w = out[2],
                        .kernel_h = 1,
                        .kernel_w = 1,
                        .stride = 1};
    if (op->kind == SDG_OP_CONV2D) {
        l->kernel_h = op->u.conv2d.kernel_h;
        l->kernel_w = op->u.conv2d.kernel_w;
        l->stride = op->u.conv2d.stride;
        l->pad_top = op->u.conv2d.pad_top;
        l->pad_left = op->u.conv2d.pad_left;
    }
    const int64_t inputs = l->c * l->kernel_h * l->kernel_w;
    if (inputs > SDG_MOMENTS_MAX_INPUTS)
        return SDG_OK;
    l->wanted = true;
    l->rows = sdg_alloc_raw(log, SAMPLES, (size_t)inputs * sizeof *l->rows, "rows of a layer's inputs");
    return l->rows ? sdg_hessians_site(log, m->hessians, site->name, (size_t)l->c, (size_t)l->kernel_h,
                                       (size_t)l->kernel_w, &l->index)
                   : SDG_ERROR_MEMORY;
}

enum sdg_result sdg_moments_prepare(const struct sdg_log *log, struct sdg_moments *m, const struct sdg_graph *graph,
                                    int calls)
{
    struct sdg_sites sites;
    SDG_TRY(sdg_sites_find(graph, &sites));
    m->calls = calls;
    m->layers = sdg_alloc(log, sites.count, sizeof *m->layers, "Hessians");
    enum sdg_result result = m->layers ? SDG_OK : SDG_ERROR_MEMORY;
    for (size_t i = 0; i < sites.count && result == SDG_OK; i++)
        result = prepare_layer(log, m, graph, &sites.sites[i], &m->layers[m->count++]);
    sdg_sites_clear(&sites);
    return result;
}

// ---- which rows ----

// Positions depend on prompt and run alone, so shards take those that one run takes.
bool sdg_moments_wants_prompt(const struct sdg_moments *m, size_t prompt)
{
    return sdg_statistics_wants(m->hessians->about, prompt);
}

bool sdg_moments_wants(const struct sdg_moments *m, size_t prompt, int call)
{
    return m->calls < MANY_CALLS || ((size_t)call + prompt) % RARE == 0;
}

// What lies under the kernel at one place of the result; 0 beyond the edges.
static void gather_row(const struct layer *l, const float *value, int64_t position, float *row)
{
    const int64_t n = position / (l->out_h * l->out_w), y = position / l->out_w % l->out_h, x = position % l->out_w;
    const int taps = l->kernel_h * l->kernel_w;
    for (int tap = 0; tap < taps; tap++) {
        const int64_t in_y = y * l->stride - l->pad_top + tap / l->kernel_w,
                      in_x = x * l->stride - l->pad_left + tap % l->kernel_w;
        const bool inside = in_y >= 0 && in_y < l->h && in_x >= 0 && in_x < l->w;
        const float *from = inside ? value + ((n * l->h + in_y) * l->w + in_x) * l->c : NULL;
        for (int64_t c = 0; c < l->c; c++)
            row[c * taps + tap] = from ? from[c] : 0;
    }
}

void sdg_moments_gather(struct sdg_moments *m, size_t site, const float *value, size_t prompt, int call)
{
    struct layer *l = &m->layers[site];
    if (!l->wanted)
        return;
    const int64_t positions = l->n * l->out_h * l->out_w;
    const size_t inputs = (size_t)(l->c * l->kernel_h * l->kernel_w);
    uint64_t random = (uint64_t)prompt << 20 ^ (uint64_t)call;
    l->row_count = positions < SAMPLES ? (size_t)positions : SAMPLES;
    for (size_t i = 0; i < l->row_count; i++) {
        int64_t position =
            l->row_count == (size_t)positions ? (int64_t)i : (int64_t)(sdg_random_next(&random) % (uint64_t)positions);
        gather_row(l, value, position, l->rows + i * inputs);
    }
}

struct adding {
    const struct sdg_log *log;
    struct sdg_moments *m;
};

static void add_layer(void *context, int64_t index, int thread)
{
    const struct adding *a = context;
    struct layer *l = &a->m->layers[index];
    (void)thread;
    if (!l->wanted)
        return;
    struct sdg_layer_hessian *h = &a->m->hessians->layers[l->index];
    l->added = sdg_hessian_add(a->log, h->site, &h->hessian, l->rows, l->row_count);
}

enum sdg_result sdg_moments_add(const struct sdg_log *log, struct sdg_pool *pool, struct sdg_moments *m)
{
    struct adding adding = {log, m};
    sdg_pool_run(pool, (int64_t)m->count, add_layer, &adding);
    for (size_t i = 0; i < m->count; i++)
        SDG_TRY(m->layers[i].added);
    return SDG_OK;
}

// ---- files ----

// Writing sorts the Hessians by name: the layers find theirs again.
static enum sdg_result write(const struct sdg_log *log, struct sdg_moments *m, const char *path)
{
    char **names = sdg_alloc(log, m->count, sizeof *names, "Hessians");
    if (!names)
        return SDG_ERROR_MEMORY;
    for (size_t i = 0; i < m->count; i++)
        if (m->layers[i].wanted)
            names[i] = m->hessians->layers[m->layers[i].index].site;
    enum sdg_result result = sdg_hessians_write(log, m->hessians, path);
    for (size_t i = 0; i < m->count; i++)
        if (m->layers[i].wanted)
            m->layers[i].index = (size_t)(sdg_hessians_find(m->hessians, names[i]) - m->hessians->layers);
    sdg_free(names);
    m->written = sdg_clock();
    m->changed = false;
    return result;
}

enum sdg_result sdg_moments_finish_prompt(const struct sdg_log *log, struct sdg_moments *m, size_t prompt,
                                          const char *path)
{
    sdg_statistics_mark_done(m->hessians->about, prompt);
    m->changed = true;
    return sdg_clock() - m->written > seconds_between_writes ? write(log, m, path) : SDG_OK;
}

enum sdg_result sdg_moments_flush(const struct sdg_log *log, struct sdg_moments *m, const char *path)
{
    return m->changed || !sdg_statistics_done_count(m->hessians->about) ? write(log, m, path) : SDG_OK;
}
