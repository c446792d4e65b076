// Operations for training in f32: gradients of functions, of rounding and of the scan, sums, and what moves elements
// for them.
#include "backend/cpu/fast/fast.h"
#include "backend/cpu/fast/tools.h"

#include <string.h>

enum { PART_ELEMENTS = 16384, SUMMED = 32 }; // SUMMED: channels whose sums are made together

static const float *read_at(const struct sdg_cpu_step *step, sdg_value v)
{
    return v ? sdg_cpu_data(step->program, v) : NULL;
}

static int64_t positions_of(const struct sdg_value_info *v)
{
    return v->dims[0] * v->dims[1] * v->dims[2];
}

static int64_t part_rows(int64_t channels)
{
    return channels < PART_ELEMENTS ? PART_ELEMENTS / channels : 1;
}

// ---- functions ----

struct functions {
    const struct sdg_fast_kernels *kernels;
    enum sdg_unary function;
    const float *x, *grad;
    float *out;
};

static void unary_part(void *context, int64_t first, int64_t end, int thread)
{
    const struct functions *f = context;
    (void)thread;
    f->kernels->unary_gradient(f->function, f->x, f->grad, f->out, first, end);
}

static enum sdg_result run_unary_gradient(const struct sdg_cpu_step *step, int64_t row)
{
    const struct sdg_op *op = step->op;
    struct functions f = {
        .kernels = sdg_fast_kernels_for(step),
        .function = op->u.unary_gradient.function,
        .x = read_at(step, op->in[0]),
        .grad = read_at(step, op->in[1]),
        .out = sdg_cpu_data(step->program, op->out),
    };
    (void)row;
    sdg_cpu_run_parts(step->program, sdg_value_elements(sdg_cpu_value(step->program, op->out)), PART_ELEMENTS,
                      unary_part, &f);
    return SDG_OK;
}

// ---- rounding ----

struct rounding {
    const struct sdg_fast_kernels *kernels;
    struct sdg_fast_fake_quantize op;
    int64_t rows, tokens; // tokens that have an interval of their own
    double *sums;         // per row
};

static struct rounding rounding_of(const struct sdg_cpu_step *step, int64_t row)
{
    const struct sdg_op *op = step->op;
    const struct sdg_value_info *x = sdg_cpu_value(step->program, op->in[0]);
    const bool forward = op->kind == SDG_OP_FAKE_QUANTIZE;
    return (struct rounding){
        .kernels = sdg_fast_kernels_for(step),
        .op = {.x = read_at(step, op->in[0]),
               .grad = forward ? NULL : read_at(step, op->in[2]),
               .out = sdg_cpu_data(step->program, op->out),
               .intervals = sdg_fast_intervals(step->program, op->in[1], row),
               .lowest = (float)(forward ? op->u.fake_quantize.lowest : op->u.fake_quantize_gradient.lowest),
               .highest = (float)(forward ? op->u.fake_quantize.highest : op->u.fake_quantize_gradient.highest),
               .channels = x->dims[3]},
        .rows = positions_of(x),
        .sums = step->scratch,
    };
}

static void round_rows(void *context, int64_t first, int64_t end, int thread)
{
    const struct rounding *r = context;
    (void)thread;
    if (r->op.grad)
        r->kernels->fake_quantize_gradient(&r->op, first, end);
    else
        r->kernels->fake_quantize(&r->op, first, end);
}

// fake_quantize, and its gradient with respect to x.
static enum sdg_result run_rounding(const struct sdg_cpu_step *step, int64_t row)
{
    struct rounding r = rounding_of(step, row);
    sdg_cpu_run_parts(step->program, r.rows, part_rows(r.op.channels), round_rows, &r);
    return SDG_OK;
}

static void sum_rows(void *context, int64_t first, int64_t end, int thread)
{
    const struct rounding *r = context;
    (void)thread;
    for (int64_t i = first; i < end; i++)
        r->sums[i] = r->kernels->fake_quantize_scale(&r->op, i);
}

static enum sdg_result run_interval_gradient(const struct sdg_cpu_step *step, int64_t row)
{
    struct rounding r = rounding_of(step, row);
    const int64_t tokens = sdg_cpu_value(step->program, step->op->out)->dims[2];
    sdg_cpu_run_parts(step->program, r.rows, part_rows(r.op.channels), sum_rows, &r);
    for (int64_t token = 0; token < tokens; token++) {
        double sum = 0;
        for (int64_t i = token; i < r.rows; i += tokens)
            sum += r.sums[i];
        r.op.out[2 * token] = (float)sum;
        r.op.out[2 * token + 1] = 0;
    }
    return SDG_OK;
}

// ---- scan ----

struct scan {
    const struct sdg_fast_kernels *kernels;
    struct sdg_fast_scan_gradient op;
    float *work;
    size_t work_each; // floats
};

static size_t scan_work(const struct sdg_cpu_step *step)
{
    const struct sdg_value_info *x = sdg_cpu_value(step->program, step->op->in[0]);
    return sdg_fast_kernels_for(step)->scan_gradient_work(x->dims[1] * x->dims[2],
                                                          sdg_cpu_value(step->program, step->op->in[3])->dims[1]);
}

static void scan_sample(void *context, int64_t sample, int thread)
{
    const struct scan *s = context;
    s->kernels->scan_gradient(&s->op, sample, s->work + (size_t)thread * s->work_each);
}

static enum sdg_result run_scan_gradient(const struct sdg_cpu_step *step, int64_t row)
{
    const struct sdg_op *op = step->op;
    const struct sdg_cpu_program *p = step->program;
    const struct sdg_value_info *x = sdg_cpu_value(p, op->in[0]), *gate = sdg_cpu_value(p, op->in[6]);
    struct scan s = {
        .kernels = sdg_fast_kernels_for(step),
        .op = {.x = read_at(step, op->in[0]),
               .delta = read_at(step, op->in[1]),
               .bc = read_at(step, op->in[2]),
               .a_log = read_at(step, op->in[3]),
               .d = read_at(step, op->in[4]),
               .delta_bias = read_at(step, op->in[5]),
               .gate = read_at(step, op->in[6]),
               .add = read_at(step, op->in[7]),
               .grad = read_at(step, op->in[8]),
               .out = sdg_cpu_data(p, op->out),
               .tokens = x->dims[1] * x->dims[2],
               .channels = x->dims[3],
               .states = sdg_cpu_value(p, op->in[3])->dims[1],
               .bc_channels = sdg_cpu_value(p, op->in[2])->dims[3],
               .gate_channels = op->in[6] ? gate->dims[3] : 0,
               .out_channels = sdg_cpu_value(p, op->out)->dims[3],
               .params = op->u.selective_scan_gradient},
        .work = step->scratch,
        .work_each = scan_work(step),
    };
    (void)row;
    sdg_cpu_run(p, x->dims[0], scan_sample, &s);
    return SDG_OK;
}

// ---- sums ----

struct sum {
    const float *x;
    float *out;
    struct sdg_axes axes;
    int64_t samples, tokens, channels, out_tokens, out_channels, blocks;
};

static void add_position(const struct sum *s, const float *x, int64_t count, double *sums)
{
    if (!s->axes.channels) {
        for (int64_t c = 0; c < count; c++)
            sums[c] += x[c];
        return;
    }
    double part[4] = {0};
    int64_t c = 0;
    for (; c + 4 <= s->channels; c += 4)
        for (int k = 0; k < 4; k++)
            part[k] += x[c + k];
    for (; c < s->channels; c++)
        part[0] += x[c];
    sums[0] += part[0] + part[1] + (part[2] + part[3]);
}

// `index` counts positions of the result, then blocks of its channels.
static void add_up(void *context, int64_t index, int thread)
{
    const struct sum *s = context;
    const int64_t position = index / s->blocks, first = index % s->blocks * SUMMED;
    const int64_t count = s->out_channels - first < SUMMED ? s->out_channels - first : SUMMED;
    const int64_t sample = s->axes.samples ? 0 : position / s->out_tokens, samples = s->axes.samples ? s->samples : 1;
    const int64_t token = s->axes.tokens ? 0 : position % s->out_tokens, tokens = s->axes.tokens ? s->tokens : 1;
    double sums[SUMMED] = {0};
    (void)thread;
    for (int64_t n = sample; n < sample + samples; n++)
        for (int64_t t = token; t < token + tokens; t++)
            add_position(s, s->x + (n * s->tokens + t) * s->channels + first, count, sums);
    for (int64_t c = 0; c < count; c++)
        s->out[position * s->out_channels + first + c] = (float)sums[c];
}

static void add_up_part(void *context, int64_t first, int64_t end, int thread)
{
    for (int64_t i = first; i < end; i++)
        add_up(context, i, thread);
}

static enum sdg_result run_sum(const struct sdg_cpu_step *step, int64_t row)
{
    const struct sdg_op *op = step->op;
    const struct sdg_value_info *x = sdg_cpu_value(step->program, op->in[0]),
                                *out = sdg_cpu_value(step->program, op->out);
    struct sum s = {
        .x = read_at(step, op->in[0]),
        .out = sdg_cpu_data(step->program, op->out),
        .axes = op->u.sum,
        .samples = x->dims[0],
        .tokens = x->dims[1] * x->dims[2],
        .channels = x->dims[3],
        .out_tokens = out->dims[1] * out->dims[2],
        .out_channels = out->dims[3],
    };
    (void)row;
    s.blocks = (s.out_channels + SUMMED - 1) / SUMMED;
    const int64_t count = positions_of(out) * s.blocks, each = sdg_value_elements(x) / count;
    sdg_cpu_run_parts(step->program, count, each < PART_ELEMENTS ? PART_ELEMENTS / (each + 1) + 1 : 1, add_up_part, &s);
    return SDG_OK;
}

// ---- moving ----

struct move {
    const float *x;
    float *out;
    int64_t x_samples, x_tokens, x_channels, tokens, channels, start;
};

static void pad_rows(void *context, int64_t first, int64_t end, int thread)
{
    const struct move *m = context;
    (void)thread;
    for (int64_t i = first; i < end; i++) {
        float *out = m->out + i * m->channels;
        memset(out, 0, (size_t)m->channels * sizeof *out);
        memcpy(out + m->start, m->x + i * m->x_channels, (size_t)m->x_channels * sizeof *out);
    }
}

static void broadcast_rows(void *context, int64_t first, int64_t end, int thread)
{
    const struct move *m = context;
    (void)thread;
    for (int64_t i = first; i < end; i++) {
        const int64_t n = m->x_samples == 1 ? 0 : i / m->tokens, t = m->x_tokens == 1 ? 0 : i % m->tokens;
        const float *x = m->x + (n * m->x_tokens + t) * m->x_channels;
        float *out = m->out + i * m->channels;
        if (m->x_channels == m->channels)
            memcpy(out, x, (size_t)m->channels * sizeof *out);
        else
            for (int64_t c = 0; c < m->channels; c++)
                out[c] = *x;
    }
}

static enum sdg_result run_move(const struct sdg_cpu_step *step, int64_t row)
{
    const struct sdg_op *op = step->op;
    const struct sdg_value_info *x = sdg_cpu_value(step->program, op->in[0]),
                                *out = sdg_cpu_value(step->program, op->out);
    struct move m = {
        .x = read_at(step, op->in[0]),
        .out = sdg_cpu_data(step->program, op->out),
        .x_samples = x->dims[0],
        .x_tokens = x->dims[1] * x->dims[2],
        .x_channels = x->dims[3],
        .tokens = out->dims[1] * out->dims[2],
        .channels = out->dims[3],
        .start = op->kind == SDG_OP_PAD ? op->u.pad.start : 0,
    };
    (void)row;
    sdg_cpu_run_parts(step->program, positions_of(out), part_rows(m.channels),
                      op->kind == SDG_OP_PAD ? pad_rows : broadcast_rows, &m);
    return SDG_OK;
}

// ---- selection ----

static bool is_f32(const struct sdg_cpu_step *step)
{
    bool half;
    return sdg_fast_types(step, &half) && !half;
}

// What the machinery is to keep plain: everything but A_log's gradient is computed here.
static bool select_scan(struct sdg_cpu_step *step)
{
    const struct sdg_op *op = step->op;
    if (op->gradient_of != 0)
        return false;
    for (int k = 3; k < 6; k++)
        sdg_cpu_want_weight(step->program, op->in[k]);
    step->scratch_bytes = scan_work(step) * sizeof(float) * (size_t)sdg_cpu_backend_of(step->program)->threads;
    return true;
}

void sdg_fast_select_gradient(struct sdg_cpu_step *step, bool *taken)
{
    const struct sdg_op *op = step->op;
    if (!is_f32(step))
        return;
    switch (op->kind) {
    case SDG_OP_UNARY_GRADIENT: sdg_fast_take(step, run_unary_gradient, taken); break;
    case SDG_OP_FAKE_QUANTIZE:
        if (!op->in[2])
            sdg_fast_take(step, run_rounding, taken);
        break;
    case SDG_OP_FAKE_QUANTIZE_GRADIENT:
        if (op->gradient_of == 1)
            step->scratch_bytes = (size_t)positions_of(sdg_cpu_value(step->program, op->in[0])) * sizeof(double);
        sdg_fast_take(step, op->gradient_of == 1 ? run_interval_gradient : run_rounding, taken);
        break;
    case SDG_OP_SELECTIVE_SCAN_GRADIENT:
        if (select_scan(step))
            sdg_fast_take(step, run_scan_gradient, taken);
        break;
    case SDG_OP_SUM: sdg_fast_take(step, run_sum, taken); break;
    case SDG_OP_PAD:
    case SDG_OP_BROADCAST: sdg_fast_take(step, run_move, taken); break;
    default: break;
    }
}
