#include "learn/block_learner.h"

#include "base/finite.h"
#include "base/memory.h"
#include "base/random.h"
#include "learn/adamw.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

struct sdg_learn_options sdg_learn_defaults(void)
{
    return (struct sdg_learn_options){.updates = 50,
                                      .runs = 4,
                                      .weight_rate = 0.04,
                                      .activation_rate = 0.01,
                                      .smoothing_rate = 5e-3,
                                      .decay = 1e-5,
                                      .clip = 2};
}

// Samples in the order of their rows.
struct shelf {
    const struct sdg_learn_samples *samples;
    size_t *order;    // [count]
    size_t *first;    // [rows + 1] where each row begins
    size_t *occupied; // [occupied_count] rows that have samples
    size_t occupied_count;
};

struct learner {
    const struct sdg_learn_problem *problem;
    const struct sdg_learn_options *options;
    struct sdg_program *program;
    struct sdg_adamw_range *ranges; // [range_count] of layers, of sites' scales, of smoothing vectors
    size_t range_count;
    struct sdg_adamw adamw;
    double *parameters, *gradients; // [adamw.count]
    size_t *layer_at, *site_at,
        *smooth_at; // index of the first parameter of each; smooth_at: SIZE_MAX where there is none
    struct shelf learned, held;
    size_t batch, input_count;
    size_t elements[SDG_BLOCK_INPUTS], result_elements; // of one sample
    float *numbers;                                     // room for the largest input of the program
};

// ---- samples ----

static void clear_shelf(struct shelf *s)
{
    sdg_free(s->order);
    sdg_free(s->first);
    sdg_free(s->occupied);
}

// By counting, so that samples of one row stay in their order.
static enum sdg_result make_shelf(const struct sdg_log *log, const struct sdg_learn_samples *samples, size_t rows,
                                  struct shelf *out)
{
    *out = (struct shelf){.samples = samples,
                          .order = sdg_alloc(log, samples->count, sizeof *out->order, "samples"),
                          .first = sdg_alloc(log, rows + 1, sizeof *out->first, "samples"),
                          .occupied = sdg_alloc(log, rows, sizeof *out->occupied, "samples")};
    if (!out->order || !out->first || !out->occupied)
        return SDG_ERROR_MEMORY;
    for (size_t r = 0, n = 0; r < rows; r++) {
        out->first[r] = n;
        for (size_t i = 0; i < samples->count; i++)
            if (samples->rows[i] == r)
                out->order[n++] = i;
        out->first[r + 1] = n;
        if (n > out->first[r])
            out->occupied[out->occupied_count++] = r;
    }
    return SDG_OK;
}

static size_t row_size(const struct shelf *s, size_t row)
{
    return s->first[row + 1] - s->first[row];
}

// ---- parameters ----

static const struct sdg_learnable *what_of(const struct learner *l)
{
    return l->problem->what;
}

// Appends a range of parameters; returns the index of its first.
static size_t place(struct learner *l, size_t *at, size_t count, double rate)
{
    const size_t first = *at;
    l->ranges[l->range_count++] = (struct sdg_adamw_range){count, rate};
    *at += count;
    return first;
}

// Rates of scales are counted in codes: the outermost of 2 half codes is half steps away from zero.
static double rate_of(double codes, int lowest, int highest)
{
    return codes / ((highest - lowest + 1) / 2);
}

static size_t place_parameters(struct learner *l)
{
    const struct sdg_learnable *w = what_of(l);
    const struct sdg_learn_options *o = l->options;
    size_t at = 0;
    for (size_t i = 0; i < w->layer_count; i++)
        l->layer_at[i] =
            place(l, &at, w->layers[i].outputs, rate_of(o->weight_rate, w->layers[i].lowest, w->layers[i].highest));
    for (size_t i = 0; i < w->site_count; i++)
        l->site_at[i] =
            place(l, &at, w->sites[i].tokens, rate_of(o->activation_rate, w->sites[i].lowest, w->sites[i].highest));
    for (size_t i = 0; i < w->site_count; i++)
        l->smooth_at[i] = l->problem->smoothing[i] ? place(l, &at, w->sites[i].channels, o->smoothing_rate) : SIZE_MAX;
    return at;
}

static enum sdg_result make_parameters(struct learner *l)
{
    const struct sdg_learnable *w = what_of(l);
    const struct sdg_log *log = l->problem->log;
    const struct sdg_adamw_options adamw = {
        .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .decay = l->options->decay, .clip = l->options->clip};
    l->ranges = sdg_alloc(log, w->layer_count + 2 * w->site_count, sizeof *l->ranges, "what is learned");
    l->layer_at = sdg_alloc(log, w->layer_count, sizeof *l->layer_at, "what is learned");
    l->site_at = sdg_alloc(log, w->site_count, sizeof *l->site_at, "what is learned");
    l->smooth_at = sdg_alloc(log, w->site_count, sizeof *l->smooth_at, "what is learned");
    if (!l->ranges || !l->layer_at || !l->site_at || !l->smooth_at)
        return SDG_ERROR_MEMORY;
    const size_t count = place_parameters(l);
    l->parameters = sdg_alloc(log, count, sizeof *l->parameters, "what is learned");
    l->gradients = sdg_alloc(log, count, sizeof *l->gradients, "gradients");
    return l->parameters && l->gradients ? sdg_adamw_create(log, l->ranges, l->range_count, &adamw, &l->adamw)
                                         : SDG_ERROR_MEMORY;
}

static float step_of(const struct learner *l, size_t layer, size_t n)
{
    return (float)((double)l->problem->steps[layer][n] * exp(l->parameters[l->layer_at[layer] + n]));
}

static float factor_of(const struct learner *l, size_t site, size_t token)
{
    return (float)exp(l->parameters[l->site_at[site] + token]);
}

static float scale_of(const struct learner *l, size_t site, size_t row, size_t token)
{
    return l->problem->scales[site][row * what_of(l)->sites[site].tokens + token] * factor_of(l, site, token);
}

static float zero_of(const struct learner *l, size_t site, size_t row, size_t token)
{
    const float *zeros = l->problem->zeros[site];
    return zeros ? zeros[row * what_of(l)->sites[site].tokens + token] : 0;
}

static float smoothing_of(const struct learner *l, size_t site, size_t channel)
{
    return l->smooth_at[site] == SIZE_MAX
        ? 1
        : (float)((double)l->problem->smoothing[site][channel] * exp(-l->parameters[l->smooth_at[site] + channel]));
}

// ---- what the program is given ----

static enum sdg_result write_part(struct learner *l, const char *owner, enum sdg_learnable_part part, size_t count)
{
    char name[SDG_LEARNABLE_NAME_BYTES];
    return sdg_program_write(l->program, sdg_learnable_name(name, owner, part), l->numbers, count);
}

static enum sdg_result write_site(struct learner *l, size_t i, size_t row)
{
    const struct sdg_learnable_site *s = &what_of(l)->sites[i];
    for (size_t t = 0; t < s->tokens; t++) {
        l->numbers[2 * t] = scale_of(l, i, row, t);
        l->numbers[2 * t + 1] = zero_of(l, i, row, t);
    }
    SDG_TRY(write_part(l, s->name, SDG_LEARN_INTERVAL, 2 * s->tokens));
    for (size_t k = 0; k < s->channels; k++)
        l->numbers[k] = smoothing_of(l, i, k);
    SDG_TRY(write_part(l, s->name, SDG_LEARN_SMOOTHING, s->channels));
    for (size_t k = 0; k < s->channels; k++)
        l->numbers[k] = 1 / l->numbers[k];
    return write_part(l, s->name, SDG_LEARN_INVERSE, s->channels);
}

static enum sdg_result write_parameters(struct learner *l, size_t row)
{
    const struct sdg_learnable *w = what_of(l);
    for (size_t i = 0; i < w->site_count; i++)
        SDG_TRY(write_site(l, i, row));
    for (size_t i = 0; i < w->layer_count; i++) {
        for (size_t n = 0; n < w->layers[i].outputs; n++) {
            l->numbers[2 * n] = step_of(l, i, n);
            l->numbers[2 * n + 1] = 0;
        }
        SDG_TRY(write_part(l, w->layers[i].name, SDG_LEARN_STEPS, 2 * w->layers[i].outputs));
    }
    return SDG_OK;
}

static enum sdg_result write_samples(struct learner *l, const char *name, const float *data, size_t elements,
                                     const size_t *chosen)
{
    for (size_t i = 0; i < l->batch; i++)
        memcpy(l->numbers + i * elements, data + chosen[i] * elements, elements * sizeof *data);
    return sdg_program_write(l->program, name, l->numbers, l->batch * elements);
}

// Runs the samples of numbers first, first + 1, .. of a row, beginning anew after its last; their mean loss.
static enum sdg_result run_batch(struct learner *l, const struct shelf *s, size_t row, size_t first, double *loss)
{
    char name[SDG_BLOCK_NAME_BYTES];
    float value;
    size_t chosen[SDG_LEARN_MAX_BATCH];
    for (size_t i = 0; i < l->batch; i++)
        chosen[i] = s->order[s->first[row] + (first + i) % row_size(s, row)];
    for (size_t k = 0; k < l->input_count; k++)
        SDG_TRY(write_samples(l, sdg_block_input_name(name, k), s->samples->inputs[k], l->elements[k], chosen));
    SDG_TRY(write_samples(l, "target", s->samples->targets, l->result_elements, chosen));
    SDG_TRY(write_parameters(l, row));
    SDG_TRY(sdg_program_run(l->program, 0));
    SDG_TRY(sdg_program_read(l->program, "loss", &value, 1));
    *loss = (double)value;
    return sdg_program_check_finite(l->program, &value, 1, "the loss of a block");
}

// ---- gradients ----

static enum sdg_result read_gradient(struct learner *l, const char *owner, enum sdg_learnable_part part, size_t count)
{
    char name[SDG_LEARNABLE_NAME_BYTES];
    SDG_TRY(sdg_program_read(l->program, sdg_learnable_gradient(name, owner, part), l->numbers, count));
    return sdg_program_check_finite(l->program, l->numbers, count, "the gradients of a block");
}

// d/da of start exp(a) is the value itself; of smoothing, start exp(-s), its negative.
static enum sdg_result add_site_gradients(struct learner *l, size_t i, size_t row)
{
    const struct sdg_learnable_site *s = &what_of(l)->sites[i];
    SDG_TRY(read_gradient(l, s->name, SDG_LEARN_INTERVAL, 2 * s->tokens));
    for (size_t t = 0; t < s->tokens; t++)
        l->gradients[l->site_at[i] + t] += (double)l->numbers[2 * t] * (double)scale_of(l, i, row, t);
    if (l->smooth_at[i] == SIZE_MAX)
        return SDG_OK;
    double *to = l->gradients + l->smooth_at[i];
    SDG_TRY(read_gradient(l, s->name, SDG_LEARN_SMOOTHING, s->channels));
    for (size_t k = 0; k < s->channels; k++)
        to[k] -= (double)l->numbers[k] * (double)smoothing_of(l, i, k);
    SDG_TRY(read_gradient(l, s->name, SDG_LEARN_INVERSE, s->channels));
    for (size_t k = 0; k < s->channels; k++)
        to[k] += (double)l->numbers[k] / (double)smoothing_of(l, i, k);
    return SDG_OK;
}

static enum sdg_result add_gradients(struct learner *l, size_t row)
{
    const struct sdg_learnable *w = what_of(l);
    for (size_t i = 0; i < w->site_count; i++)
        SDG_TRY(add_site_gradients(l, i, row));
    for (size_t i = 0; i < w->layer_count; i++) {
        SDG_TRY(read_gradient(l, w->layers[i].name, SDG_LEARN_STEPS, 2 * w->layers[i].outputs));
        for (size_t n = 0; n < w->layers[i].outputs; n++)
            l->gradients[l->layer_at[i] + n] += (double)l->numbers[2 * n] * (double)step_of(l, i, n);
    }
    return SDG_OK;
}

// ---- learning ----

static void shuffle(size_t *items, size_t count, uint64_t *random)
{
    for (size_t i = count; i > 1; i--) {
        const size_t k = (size_t)(sdg_random_uniform(random) * (double)i), item = items[k];
        items[k] = items[i - 1];
        items[i - 1] = item;
    }
}

// All rows take their turn before one comes again, each with samples from a random place on.
struct walk {
    uint64_t random;
    size_t next; // of the shelf's occupied rows, which are shuffled each time round
};

static size_t next_row(struct walk *w, struct shelf *s)
{
    if (w->next == 0)
        shuffle(s->occupied, s->occupied_count, &w->random);
    const size_t row = s->occupied[w->next];
    w->next = (w->next + 1) % s->occupied_count;
    shuffle(s->order + s->first[row], row_size(s, row), &w->random);
    return row;
}

// Of the rates: half a cosine down to nothing, so that what is kept is not where the last few batches pushed it.
static double share_at(int update, int updates)
{
    return (1 + cos(acos(-1.0) * update / updates)) / 2;
}

static enum sdg_result update(struct learner *l, struct walk *w, double share, double *loss)
{
    const int runs = l->options->runs;
    memset(l->gradients, 0, l->adamw.count * sizeof *l->gradients);
    *loss = 0;
    for (int i = 0; i < runs; i++) {
        const size_t row = next_row(w, &l->learned);
        double one;
        SDG_TRY(run_batch(l, &l->learned, row, 0, &one));
        SDG_TRY(add_gradients(l, row));
        *loss += one / runs;
    }
    for (size_t i = 0; i < l->adamw.count; i++)
        l->gradients[i] /= runs;
    sdg_adamw_step(&l->adamw, share, l->parameters, l->gradients);
    return SDG_OK;
}

// Mean loss of a shelf; the last batch of a row is filled up with its first samples.
static enum sdg_result measure(struct learner *l, const struct shelf *s, double *loss)
{
    size_t runs = 0;
    *loss = 0;
    for (size_t i = 0; i < s->occupied_count; i++)
        for (size_t at = 0; at < row_size(s, s->occupied[i]); at += l->batch, runs++) {
            double one;
            SDG_TRY(run_batch(l, s, s->occupied[i], at, &one));
            *loss += one;
        }
    *loss /= (double)runs;
    return SDG_OK;
}

static enum sdg_result learn(struct learner *l, sdg_learn_progress_fn progress, void *user, struct sdg_learned *out)
{
    const struct shelf *judge = l->held.samples->count ? &l->held : &l->learned;
    struct walk w = {.random = l->options->seed};
    double loss;
    SDG_TRY(measure(l, judge, &out->loss_before));
    for (int i = 0; i < l->options->updates; i++) {
        SDG_TRY(update(l, &w, share_at(i, l->options->updates), &loss));
        if (progress && !progress(user, i + 1, l->options->updates, loss))
            return SDG_ERROR_CANCELLED;
    }
    SDG_TRY(measure(l, judge, &out->loss_after));
    out->better = out->loss_after < out->loss_before;
    if (out->better)
        return SDG_OK;
    out->loss_after = out->loss_before;
    memset(l->parameters, 0, l->adamw.count * sizeof *l->parameters);
    return SDG_OK;
}

// ---- what comes of it ----

static enum sdg_result allocate_learned(const struct learner *l, struct sdg_learned *out)
{
    const struct sdg_learnable *w = what_of(l);
    const struct sdg_log *log = l->problem->log;
    out->site_count = w->site_count;
    out->layer_count = w->layer_count;
    out->factors = sdg_alloc(log, w->site_count, sizeof *out->factors, "what was learned");
    out->smoothing = sdg_alloc(log, w->site_count, sizeof *out->smoothing, "what was learned");
    out->steps = sdg_alloc(log, w->layer_count, sizeof *out->steps, "what was learned");
    if (!out->factors || !out->smoothing || !out->steps)
        return SDG_ERROR_MEMORY;
    for (size_t i = 0; i < w->site_count; i++) {
        const bool smoothed = l->smooth_at[i] != SIZE_MAX;
        out->factors[i] = sdg_alloc(log, w->sites[i].tokens, sizeof **out->factors, "what was learned");
        out->smoothing[i] =
            smoothed ? sdg_alloc(log, w->sites[i].channels, sizeof **out->smoothing, "what was learned") : NULL;
        if (!out->factors[i] || (smoothed && !out->smoothing[i]))
            return SDG_ERROR_MEMORY;
    }
    for (size_t i = 0; i < w->layer_count; i++)
        if (!(out->steps[i] = sdg_alloc(log, w->layers[i].outputs, sizeof **out->steps, "what was learned")))
            return SDG_ERROR_MEMORY;
    return SDG_OK;
}

static enum sdg_result conclude(const struct learner *l, struct sdg_learned *out)
{
    const struct sdg_learnable *w = what_of(l);
    SDG_TRY(allocate_learned(l, out));
    for (size_t i = 0; i < w->site_count; i++) {
        for (size_t t = 0; t < w->sites[i].tokens; t++)
            out->factors[i][t] = factor_of(l, i, t);
        for (size_t k = 0; out->smoothing[i] && k < w->sites[i].channels; k++)
            out->smoothing[i][k] = smoothing_of(l, i, k);
    }
    for (size_t i = 0; i < w->layer_count; i++)
        for (size_t n = 0; n < w->layers[i].outputs; n++)
            out->steps[i][n] = step_of(l, i, n);
    return SDG_OK;
}

void sdg_learned_clear(struct sdg_learned *l)
{
    for (size_t i = 0; i < l->site_count; i++) {
        if (l->factors)
            sdg_free(l->factors[i]);
        if (l->smoothing)
            sdg_free(l->smoothing[i]);
    }
    for (size_t i = 0; l->steps && i < l->layer_count; i++)
        sdg_free(l->steps[i]);
    sdg_free(l->factors);
    sdg_free(l->smoothing);
    sdg_free(l->steps);
    *l = (struct sdg_learned){0};
}

// ---- the program ----

static enum sdg_result check_block(const struct sdg_log *log, const struct sdg_graph *block, size_t *batch)
{
    *batch = (size_t)block->values[sdg_graph_find(block, "result")].dims[0];
    for (size_t i = 1; i < block->value_count; i++)
        if (block->values[i].kind == SDG_VALUE_TABLE)
            return sdg_fail(log, SDG_ERROR_UNSUPPORTED,
                            "the block reads table %s: blocks with tables cannot be learned", block->values[i].name);
    return *batch <= SDG_LEARN_MAX_BATCH
        ? SDG_OK
        : sdg_fail(log, SDG_ERROR_USAGE, "%zu samples in a batch, at most %d", *batch, SDG_LEARN_MAX_BATCH);
}

// Elements of a sample of each input, how many inputs there are, and elements of the result.
static size_t measure_block(const struct sdg_graph *block, size_t batch, size_t elements[SDG_BLOCK_INPUTS],
                            size_t *result)
{
    char name[SDG_BLOCK_NAME_BYTES];
    size_t count = 0;
    sdg_value v;
    while (count < SDG_BLOCK_INPUTS && (v = sdg_graph_find(block, sdg_block_input_name(name, count))) != 0)
        elements[count++] = (size_t)sdg_value_elements(&block->values[v]) / batch;
    *result = (size_t)sdg_value_elements(&block->values[sdg_graph_find(block, "result")]) / batch;
    return count;
}

static size_t largest_input(const struct sdg_graph *graph)
{
    size_t largest = 1;
    for (size_t i = 1; i < graph->value_count; i++) {
        const struct sdg_value_info *v = &graph->values[i];
        const size_t n = (size_t)sdg_value_elements(v);
        if ((v->kind == SDG_VALUE_INPUT || v->output) && n > largest)
            largest = n;
    }
    return largest;
}

static enum sdg_result compile(struct learner *l)
{
    const struct sdg_learn_problem *p = l->problem;
    struct sdg_graph *graph;
    SDG_TRY(check_block(p->log, p->block, &l->batch));
    l->input_count = measure_block(p->block, l->batch, l->elements, &l->result_elements);
    SDG_TRY(sdg_graph_copy(p->log, p->block, &graph));
    enum sdg_result result = sdg_graph_learn(graph, p->what, l->options->loss);
    const struct sdg_program_params params = {.weights = p->weights, .log = p->log};
    if (result == SDG_OK)
        result = sdg_program_create(p->backend, graph, &params, &l->program);
    if (result == SDG_OK) {
        l->numbers = sdg_alloc(p->log, largest_input(graph), sizeof *l->numbers, "a batch");
        result = l->numbers ? SDG_OK : SDG_ERROR_MEMORY;
    }
    sdg_graph_destroy(&graph);
    return result;
}

static void clear_learner(struct learner *l)
{
    sdg_program_destroy(&l->program);
    sdg_adamw_clear(&l->adamw);
    clear_shelf(&l->learned);
    clear_shelf(&l->held);
    sdg_free(l->parameters);
    sdg_free(l->gradients);
    sdg_free(l->ranges);
    sdg_free(l->layer_at);
    sdg_free(l->site_at);
    sdg_free(l->smooth_at);
    sdg_free(l->numbers);
}

enum sdg_result sdg_learn_block(const struct sdg_learn_problem *problem, const struct sdg_learn_options *options,
                                sdg_learn_progress_fn progress, void *user, struct sdg_learned *out)
{
    struct learner l = {.problem = problem, .options = options};
    *out = (struct sdg_learned){0};
    if (!problem->learned.count || options->updates < 0 || options->runs < 1)
        return sdg_fail(problem->log, SDG_ERROR_USAGE, "there is nothing to learn from, or no update to make");
    enum sdg_result result = compile(&l);
    if (result == SDG_OK)
        result = make_parameters(&l);
    if (result == SDG_OK)
        result = make_shelf(problem->log, &problem->learned, problem->rows, &l.learned);
    if (result == SDG_OK)
        result = make_shelf(problem->log, &problem->held, problem->rows, &l.held);
    if (result == SDG_OK)
        result = learn(&l, progress, user, out);
    if (result == SDG_OK)
        result = conclude(&l, out);
    clear_learner(&l);
    if (result != SDG_OK)
        sdg_learned_clear(out);
    return result;
}

// ---- the float block ----

static enum sdg_result run_floats(struct sdg_program *program, const float *const inputs[], size_t input_count,
                                  const size_t *elements, size_t result_elements, size_t batch, size_t count,
                                  float *room, float *results)
{
    char name[SDG_BLOCK_NAME_BYTES];
    for (size_t at = 0; at < count; at += batch) {
        const size_t some = count - at < batch ? count - at : batch;
        for (size_t k = 0; k < input_count; k++) {
            memset(room, 0, batch * elements[k] * sizeof *room);
            memcpy(room, inputs[k] + at * elements[k], some * elements[k] * sizeof *room);
            SDG_TRY(sdg_program_write(program, sdg_block_input_name(name, k), room, batch * elements[k]));
        }
        SDG_TRY(sdg_program_run(program, 0));
        SDG_TRY(sdg_program_read(program, "result", room, batch * result_elements));
        memcpy(results + at * result_elements, room, some * result_elements * sizeof *room);
    }
    return sdg_program_check_finite(program, results, count * result_elements, "what a block answers");
}

enum sdg_result sdg_learn_targets(struct sdg_backend *backend, const struct sdg_graph *block,
                                  const struct sdg_tensors *weights, const float *const inputs[], size_t count,
                                  float *results)
{
    size_t batch, elements[SDG_BLOCK_INPUTS], result_elements;
    struct sdg_program *program = NULL;
    const struct sdg_program_params params = {.weights = weights, .log = block->log};
    SDG_TRY(check_block(block->log, block, &batch));
    const size_t input_count = measure_block(block, batch, elements, &result_elements);
    float *room = sdg_alloc(block->log, largest_input(block), sizeof *room, "a batch");
    enum sdg_result result = room ? sdg_program_create(backend, block, &params, &program) : SDG_ERROR_MEMORY;
    if (result == SDG_OK)
        result = run_floats(program, inputs, input_count, elements, result_elements, batch, count, room, results);
    sdg_program_destroy(&program);
    sdg_free(room);
    return result;
}
