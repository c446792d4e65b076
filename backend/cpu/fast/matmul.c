// Products of two activations in f32: op(a) op(b).
//
// The right factor is packed as [panels of `tile` columns][inner][tile], zeros behind its last column. Work is cut into
// blocks of rows; a block goes through the inner length CHUNK at a time, each time through all panels, so that what it
// reads of the left factor stays in the cache, and adds to sums of its own. A transposed left factor is copied a chunk
// at a time, since its columns are far apart.
#include "backend/cpu/fast/fast.h"
#include "backend/cpu/fast/tools.h"

#include <string.h>

enum { CHUNK = 256, MOST_ROWS = 48, FEWEST_ROWS = 6, BLOCKS_WANTED = 8 };

struct shape {
    int64_t rows, inner, columns, a_channels, b_channels;
    int64_t panels, block; // rows of a block
    bool transpose_a, transpose_b;
};

static int64_t positions_of(const struct sdg_value_info *v)
{
    return v->dims[0] * v->dims[1] * v->dims[2];
}

static struct shape shape_of(const struct sdg_cpu_step *step)
{
    const struct sdg_op *op = step->op;
    const struct sdg_value_info *a = sdg_cpu_value(step->program, op->in[0]),
                                *b = sdg_cpu_value(step->program, op->in[1]),
                                *out = sdg_cpu_value(step->program, op->out);
    const int64_t tile = sdg_fast_kernels_for(step)->tile;
    struct shape s = {
        .rows = positions_of(out),
        .inner = op->u.matmul.transpose_a ? positions_of(a) : a->dims[3],
        .columns = out->dims[3],
        .a_channels = a->dims[3],
        .b_channels = b->dims[3],
        .transpose_a = op->u.matmul.transpose_a,
        .transpose_b = op->u.matmul.transpose_b,
    };
    s.panels = (s.columns + tile - 1) / tile;
    // few rows are cut finer, so that several threads have some
    const int64_t fair = (s.rows / BLOCKS_WANTED + FEWEST_ROWS - 1) / FEWEST_ROWS * FEWEST_ROWS;
    s.block = fair < FEWEST_ROWS ? FEWEST_ROWS : fair > MOST_ROWS ? MOST_ROWS : fair;
    return s;
}

struct state {
    size_t packed, sums, copies; // where these are in scratch memory
    size_t sums_each;            // bytes of a thread's
};

struct loop {
    const struct sdg_cpu_step *step;
    const struct sdg_fast_kernels *kernels;
    struct shape shape;
    const float *a, *b;
    float *packed;
    int64_t row; // of tables
};

static struct state places(const struct sdg_cpu_step *step, const struct shape *s)
{
    const struct sdg_cpu_backend *backend = sdg_cpu_backend_of(step->program);
    const size_t tile = (size_t)sdg_fast_kernels_for(step)->tile;
    struct state at = {.packed = 0};
    at.sums = sdg_fast_align((size_t)s->panels * (size_t)s->inner * tile * sizeof(float));
    at.sums_each = sdg_fast_align((size_t)MOST_ROWS * (size_t)s->panels * tile * sizeof(float));
    at.copies = at.sums + at.sums_each * (size_t)backend->threads;
    return at;
}

static size_t scratch_bytes(const struct sdg_cpu_step *step, const struct shape *s)
{
    const size_t copy = s->transpose_a ? (size_t)CHUNK * MOST_ROWS * sizeof(float) : 0;
    return places(step, s).copies + copy * (size_t)sdg_cpu_backend_of(step->program)->threads;
}

// One chunk of the inner length of one panel.
static void pack(void *context, int64_t index, int thread)
{
    const struct loop *l = context;
    const struct shape *s = &l->shape;
    const int64_t tile = l->kernels->tile, chunks = (s->inner + CHUNK - 1) / CHUNK, first = index % chunks * CHUNK,
                  end = s->inner < first + CHUNK ? s->inner : first + CHUNK, column = index / chunks * tile,
                  count = s->columns - column < tile ? s->columns - column : tile;
    (void)thread;
    for (int64_t k = first; k < end; k++) {
        float *to = l->packed + (index / chunks * s->inner + k) * tile;
        if (s->transpose_b)
            for (int64_t c = 0; c < count; c++)
                to[c] = l->b[(column + c) * s->b_channels + k];
        else
            memcpy(to, l->b + k * s->b_channels + column, (size_t)count * sizeof *to);
        if (count < tile)
            memset(to + count, 0, (size_t)(tile - count) * sizeof *to);
    }
}

static void finish_rows(const struct loop *l, int64_t first, int64_t count, const float *sums)
{
    const struct shape *s = &l->shape;
    const struct sdg_cpu_program *p = l->step->program;
    const struct sdg_epilogue *e = &l->step->op->epilogue;
    const int64_t tile = l->kernels->tile, tokens = s->rows / sdg_cpu_value(p, l->step->op->out)->dims[0];
    const float *bias = e->bias ? sdg_cpu_data(p, e->bias) : NULL,
                *residual = e->residual ? sdg_cpu_data(p, e->residual) : NULL;
    float *out = sdg_cpu_data(p, l->step->op->out);
    for (int64_t i = 0; i < count; i++)
        for (int64_t panel = 0; panel < s->panels; panel++) {
            const int64_t column = panel * tile, at = (first + i) * s->columns + column;
            struct sdg_fast_epilogue end = {.activation = e->activation, .scale = 1};
            end.bias = bias ? bias + column : NULL;
            end.residual = residual ? residual + at : NULL;
            if (e->table)
                end.table = sdg_cpu_table(p, e->table, l->row) +
                    (first + i) / tokens * sdg_cpu_table_stride(p, e->table) + column;
            l->kernels->epilogue(&end, sums + (panel * s->block + i) * tile, out + at,
                                 s->columns - column < tile ? s->columns - column : tile);
        }
}

static void block(void *context, int64_t index, int thread)
{
    const struct loop *l = context;
    const struct shape *s = &l->shape;
    const struct state at = places(l->step, s);
    const int64_t tile = l->kernels->tile, first = index * s->block,
                  count = s->rows - first < s->block ? s->rows - first : s->block;
    float *sums = (float *)((char *)l->step->scratch + at.sums + at.sums_each * (size_t)thread),
          *copy = (float *)((char *)l->step->scratch + at.copies) + (int64_t)thread * CHUNK * MOST_ROWS;
    memset(sums, 0, (size_t)(s->block * s->panels * tile) * sizeof *sums);
    for (int64_t k = 0; k < s->inner; k += CHUNK) {
        const int64_t depth = s->inner - k < CHUNK ? s->inner - k : CHUNK;
        const float *a = l->a + first * s->a_channels + k;
        if (s->transpose_a) {
            for (int64_t i = 0; i < depth; i++)
                memcpy(copy + i * count, l->a + (k + i) * s->a_channels + first, (size_t)count * sizeof *copy);
            a = copy;
        }
        for (int64_t panel = 0; panel < s->panels; panel++)
            l->kernels->strided_sums(a, s->transpose_a ? 1 : s->a_channels, s->transpose_a ? count : 1, count,
                                     l->packed + (panel * s->inner + k) * tile, depth, sums + panel * s->block * tile);
    }
    finish_rows(l, first, count, sums);
}

static enum sdg_result run(const struct sdg_cpu_step *step, int64_t row)
{
    struct loop l = {
        .step = step,
        .kernels = sdg_fast_kernels_for(step),
        .shape = shape_of(step),
        .a = sdg_cpu_data(step->program, step->op->in[0]),
        .b = sdg_cpu_data(step->program, step->op->in[1]),
        .packed = step->scratch,
        .row = row,
    };
    sdg_cpu_run(step->program, l.shape.panels * ((l.shape.inner + CHUNK - 1) / CHUNK), pack, &l);
    sdg_cpu_run(step->program, (l.shape.rows + l.shape.block - 1) / l.shape.block, block, &l);
    return SDG_OK;
}

void sdg_fast_select_matmul(struct sdg_cpu_step *step, bool *taken)
{
    const struct sdg_epilogue *e = &step->op->epilogue;
    bool half;
    if (!sdg_fast_types(step, &half) || half || (e->bias && sdg_cpu_value(step->program, e->bias)->dtype != SDG_F32))
        return;
    const struct shape s = shape_of(step);
    step->scratch_bytes = scratch_bytes(step, &s);
    sdg_cpu_want_weight(step->program, e->bias);
    sdg_fast_take(step, run, taken);
}
