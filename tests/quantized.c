// The quantize rewrite, on the default model's UNet: the graph of integers computes what the simulated graph computes
// with the same intervals and the weights' codes as floats; and what is wrong in a quantized model's tensors is refused
// by name.
#include "backend/backend.h"
#include "base/memory.h"
#include "formats/model.h"
#include "quant/quantized.h"
#include "quant/simulate.h"
#include "quant/tdq.h"
#include "quant/rounding.h"
#include "sdgen/quantize.h"
#include "tests/support/weights.h"
#include "tests/temp.h"
#include "unet/unet.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct temp_log messages;
#define test_log (messages.log)

struct fixture {
    struct sdg_model *model;
    struct sdg_backend *backend;
};

enum { ROWS = 2, TRIALS = 4, SIDE = 4, TOKENS = 3, MAX_TENSORS = 4096 };
static const double timesteps[ROWS] = {900.5, 101};

static double timestep_of_row(const void *user, int64_t row)
{
    (void)user;
    return timesteps[row];
}

static struct sdg_graph *step_graph(const struct fixture *f)
{
    struct sdg_graph *graph;
    struct sdg_unet_shape shape = {
        .batch = 2, .height = SIDE, .width = SIDE, .tokens = TOKENS, .rows = ROWS, .table_batch = 1};
    assert_int_equal(sdg_unet_step_graph(&test_log, &f->model->unet_config, &shape, &graph), SDG_OK);
    assert_int_equal(sdg_graph_fuse(graph), SDG_OK);
    return graph;
}

// ---- a quantized model's tensors, and the same weights as floats ----

struct content {
    struct sdg_tensor tensors[MAX_TENSORS];
    size_t count;
    void *owned[MAX_TENSORS];
    size_t owned_count;
};

static void *own(struct content *c, size_t count, size_t size)
{
    assert_true(c->owned_count < MAX_TENSORS);
    return c->owned[c->owned_count++] = sdg_alloc(&test_log, count, size, "test data");
}

static struct sdg_tensor *find(struct content *c, const char *name)
{
    for (size_t i = 0; i < c->count; i++)
        if (strcmp(c->tensors[i].name, name) == 0)
            return &c->tensors[i];
    return NULL;
}

static struct sdg_tensor *add(struct content *c, enum sdg_dtype dtype, int rank, const int64_t *dims, void *data,
                              const char *owner, const char *what)
{
    assert_true(c->count < MAX_TENSORS);
    struct sdg_tensor *t = &c->tensors[c->count++];
    *t = (struct sdg_tensor){.dtype = dtype, .rank = rank, .data = data, .bytes = sdg_dtype_size(dtype)};
    for (int i = 0; i < rank; i++) {
        t->dims[i] = dims[i];
        t->bytes *= (size_t)dims[i];
    }
    char *name = own(c, 512, 1);
    snprintf(name, 512, "%s%s", owner, what);
    t->name = name;
    return t;
}

static void free_content(struct content *c)
{
    for (size_t i = 0; i < c->owned_count; i++)
        sdg_free(c->owned[i]);
    sdg_free(c);
}

// Puts the codes of a layer, maybe a part of a module's input channels, into the module's tensors of both files.
static void add_codes(struct content *integers, struct content *floats, const struct sdg_value_info *w,
                      const struct sdg_codes *codes, int bits)
{
    const int64_t taps = w->dims[2] * w->dims[3], whole = (w->slice_of ? w->slice_of : w->dims[1]) * taps,
                  part = w->dims[1] * taps, outputs = w->dims[0];
    const int64_t dims[4] = {w->dims[0], whole / taps, w->dims[2], w->dims[3]};
    struct sdg_tensor *f = find(floats, w->name), *q = find(integers, w->name);
    float *expanded = sdg_alloc(&test_log, (size_t)(outputs * part), sizeof *expanded, "weights");
    if (!q) {
        q = add(integers, SDG_S8, w->rank, dims, own(integers, (size_t)(outputs * whole), 1), w->name, "");
        f = add(floats, SDG_F32, w->rank, dims, own(floats, (size_t)(outputs * whole), sizeof(float)), w->name, "");
    }
    sdg_codes_expand(codes, expanded);
    for (int64_t o = 0; o < outputs; o++) {
        const int64_t at = o * whole + w->slice_start * taps;
        memcpy((int8_t *)q->data + at, codes->codes + o * part, (size_t)part);
        memcpy((float *)f->data + at, expanded + o * part, (size_t)part * sizeof *expanded);
    }
    sdg_free(expanded);
    if (bits == 4 && !w->slice_of) { // a part's file tensor is packed when it is complete
        uint8_t *packed = own(integers, (size_t)outputs, sdg_packed_row((size_t)whole));
        sdg_pack4(q->data, (size_t)outputs, (size_t)whole, packed);
        q->dtype = SDG_U8;
        q->rank = 2;
        q->dims[1] = (int64_t)sdg_packed_row((size_t)whole);
        q->bytes = (size_t)(outputs * q->dims[1]);
        q->data = packed;
    }
}

static void add_layer(const struct fixture *f, const struct sdg_graph *graph, const struct sdg_op *op, int bits,
                      struct content *integers, struct content *floats)
{
    const struct sdg_value_info *w = &graph->values[op->in[1]];
    const size_t outputs = (size_t)w->dims[0], inputs = (size_t)(w->dims[1] * w->dims[2] * w->dims[3]);
    float *weights = sdg_alloc(&test_log, outputs * inputs, sizeof *weights, "weights");
    struct sdg_codes codes;
    assert_int_equal(load_weight(&test_log, f->model->unet, w, SDG_F32, weights), SDG_OK);
    assert_int_equal(sdg_weights_round(&test_log, op->name, weights, outputs, inputs,
                                       &(struct sdg_weight_options){.bits = bits, .power = 2}, &codes),
                     SDG_OK);
    add_codes(integers, floats, w, &codes, bits);
    float *scales = own(integers, outputs, sizeof *scales);
    memcpy(scales, codes.scales, outputs * sizeof *scales);
    add(integers, SDG_F32, 1, (int64_t[]){w->dims[0]}, scales, op->name, ".weight_scale");
    sdg_codes_free(&codes);
    sdg_free(weights);
}

// Scales that rise with t, so that a wrong row or timestep shows, and where there are several tokens from one to the
// next as well; `constant`: of one time only.
static void add_site(const struct sdg_site *site, int bits, int64_t height, int64_t width, bool constant,
                     struct content *integers)
{
    const int64_t tokens = height * width, dims[3] = {constant ? 1 : SDG_TDQ_TIMES, height, width},
                  count = dims[0] * tokens;
    const int rank = tokens > 1 ? 3 : 1;
    float *scales = own(integers, (size_t)count, sizeof *scales);
    int32_t *zeros = own(integers, (size_t)count, sizeof *zeros);
    for (int64_t i = 0; i < count; i++) {
        scales[i] =
            (0.03f + 0.00002f * (float)(i / tokens)) * (1 + 0.05f * (float)(i % tokens % 9)) * (float)(1 << (8 - bits));
        zeros[i] = tokens > 1 ? (1 << (bits - 1)) + (int)(i % tokens % 5)
                              : sdg_interval_make(site->kind, bits, scales[i]).zero_point;
    }
    add(integers, SDG_F32, rank, dims, scales, site->name, ".input_scale");
    if (site->kind == SDG_SITE_SILU || tokens > 1)
        add(integers, SDG_S32, rank, dims, zeros, site->name, ".input_zero_point");
}

// The timesteps of tables by token: all.
static void add_timesteps(struct content *integers)
{
    const int64_t count = SDG_TDQ_TIMES;
    float *times = own(integers, SDG_TDQ_TIMES, sizeof *times);
    for (int t = 0; t < SDG_TDQ_TIMES; t++)
        times[t] = (float)t;
    add(integers, SDG_F32, 1, &count, times, "interval_timesteps", "");
}

// Whether only products of one token read a site.
static bool knows_tokens(const struct sdg_graph *graph, sdg_value site)
{
    for (size_t i = 0; i < graph->op_count; i++) {
        const struct sdg_op *op = &graph->ops[i];
        if (op->in[0] == site && sdg_op_is_quantizable(graph, op) && op->kind == SDG_OP_CONV2D &&
            op->u.conv2d.kernel_h > 1)
            return false;
    }
    return true;
}

static void add_rest(const struct fixture *f, struct content *c)
{
    for (size_t i = 0; i < sdg_tensors_count(f->model->unet); i++) {
        const struct sdg_tensor *t = sdg_tensors_at(f->model->unet, i);
        if (!find(c, t->name)) {
            assert_true(c->count < MAX_TENSORS);
            c->tensors[c->count++] = *t;
        }
    }
}

// `skip`: layers whose name contains it stay float. by_token: sites have an interval for each token where they can,
// every other one of them the same at all times.
static void make_contents(const struct fixture *f, int weight_bits, int activation_bits, const char *skip,
                          bool by_token, struct content **integers, struct content **floats)
{
    struct sdg_graph *graph = step_graph(f);
    struct sdg_sites sites;
    *integers = sdg_alloc(&test_log, 1, sizeof **integers, "tensors");
    *floats = sdg_alloc(&test_log, 1, sizeof **floats, "tensors");
    for (size_t i = 0; i < graph->op_count; i++)
        if (sdg_op_is_quantizable(graph, &graph->ops[i]) && !(skip && strstr(graph->ops[i].name, skip)))
            add_layer(f, graph, &graph->ops[i], weight_bits, *integers, *floats);
    assert_int_equal(sdg_sites_find(graph, &sites), SDG_OK);
    for (size_t i = 0; i < sites.count && activation_bits < SDG_FLOAT_BITS; i++) {
        const int64_t *d = graph->values[sites.sites[i].value].dims;
        const bool tokens = by_token && knows_tokens(graph, sites.sites[i].value);
        add_site(&sites.sites[i], activation_bits, tokens ? d[1] : 1, tokens ? d[2] : 1, tokens && i % 2, *integers);
    }
    if (by_token)
        add_timesteps(*integers);
    sdg_sites_clear(&sites);
    sdg_graph_destroy(&graph);
    add_rest(f, *integers);
    add_rest(f, *floats);
}

// Factors around 1 for the channels of each site, in both files, as the simulation has the same weights: nothing is
// folded.
static void add_smoothing(const struct fixture *f, struct content *integers, struct content *floats)
{
    struct sdg_graph *graph = step_graph(f);
    struct sdg_sites sites;
    assert_int_equal(sdg_sites_find(graph, &sites), SDG_OK);
    for (size_t i = 0; i < sites.count; i++) {
        const int64_t channels = graph->values[sites.sites[i].value].dims[3];
        float *factors = own(integers, (size_t)channels, sizeof *factors);
        for (int64_t c = 0; c < channels; c++)
            factors[c] = 0.5f + 0.13f * (float)(c * 5 % 11);
        add(integers, SDG_F32, 1, &channels, factors, sites.sites[i].name, ".input_smoothing");
        add(floats, SDG_F32, 1, &channels, factors, sites.sites[i].name, ".input_smoothing");
    }
    sdg_sites_clear(&sites);
    sdg_graph_destroy(&graph);
}

static struct sdg_tensors *write_and_open(const struct content *c, const char *file)
{
    struct sdg_tensors *tensors;
    const char *path = temp_path(file);
    assert_int_equal(sdg_tensors_write(&test_log, path, c->tensors, c->count, NULL, 0), SDG_OK);
    assert_int_equal(sdg_tensors_open(&test_log, path, &tensors), SDG_OK);
    return tensors;
}

// ---- running ----

static struct sdg_program *compile(struct sdg_backend *backend, const struct sdg_graph *graph,
                                   const struct sdg_tensors *weights, const struct sdg_quantized *q, int trial)
{
    struct sdg_program *program;
    struct sdg_program_params params = {.weights = weights};
    assert_int_equal(sdg_program_create(backend, graph, &params, &program), SDG_OK);
    for (size_t v = 1; v < graph->value_count; v++) {
        const struct sdg_value_info *info = &graph->values[v];
        if (info->kind != SDG_VALUE_INPUT && info->kind != SDG_VALUE_TABLE)
            continue;
        size_t count = (size_t)sdg_value_elements(info), length = strlen(info->name);
        float *data = sdg_alloc(&test_log, count, sizeof *data, "input");
        for (size_t i = 0; i < count; i++) // the same in both graphs: by name, not by number
            data[i] = sinf((float)(i * 7 + 13 * length + (size_t)info->name[length / 2] + 101 * trial)) * 0.8f;
        char name[SDG_OBSERVED_NAME_BYTES];
        for (size_t s = 0; q && s < q->site_count; s++)
            if (strcmp(info->name, sdg_interval_name(name, q->sites[s].name)) == 0)
                sdg_quantized_table(q, s, q->sites[s].height, q->sites[s].width, ROWS, timestep_of_row, NULL, data);
        assert_int_equal(sdg_program_write(program, info->name, data, count), SDG_OK);
        sdg_free(data);
    }
    return program;
}

static float *noise_of(struct sdg_backend *backend, const struct sdg_graph *graph, const struct sdg_tensors *weights,
                       const struct sdg_quantized *q, int trial, int row, size_t *count)
{
    struct sdg_program *program = compile(backend, graph, weights, q, trial);
    *count = (size_t)sdg_value_elements(&graph->values[sdg_graph_find(graph, "noise")]);
    float *data = sdg_alloc(&test_log, *count, sizeof *data, "output");
    assert_int_equal(sdg_program_run(program, row), SDG_OK);
    assert_int_equal(sdg_program_read(program, "noise", data, *count), SDG_OK);
    sdg_program_destroy(&program);
    return data;
}

static double relative_error(const float *got, const float *want, size_t count)
{
    double error = 0, power = 0;
    for (size_t i = 0; i < count; i++) {
        error += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        power += (double)want[i] * want[i];
    }
    return error / power;
}

static size_t count_ops(const struct sdg_graph *graph, enum sdg_op_kind kind)
{
    size_t count = 0;
    for (size_t i = 0; i < graph->op_count; i++)
        count += graph->ops[i].kind == kind;
    return count;
}

// What is quantized, and how.
struct kind {
    int weight_bits, activation_bits;
    const char *skip; // layers whose name contains it stay float
    bool by_token, scan_codes, smooth;
};

// Every site's values are smoothed before they become codes.
static void simulate_smoothing(struct sdg_graph *graph)
{
    for (size_t i = 0; i < graph->op_count; i++)
        if (graph->ops[i].kind == SDG_OP_FAKE_QUANTIZE) {
            const sdg_value factors = sdg_graph_vector_weight(graph, graph->values[graph->ops[i].out].dims[3],
                                                              "%s.input_smoothing", graph->ops[i].name);
            assert_int_equal(sdg_graph_smooth(graph, i, factors), SDG_OK);
        }
}

// Scans read the values of the codes that x_proj reads.
static void simulate_scans(struct sdg_graph *graph)
{
    for (size_t i = 0; i < graph->op_count; i++)
        for (size_t k = i + 1; graph->ops[i].kind == SDG_OP_FAKE_QUANTIZE && k < graph->op_count; k++)
            if (graph->ops[k].kind == SDG_OP_SELECTIVE_SCAN && graph->ops[k].in[0] == graph->ops[i].in[0])
                graph->ops[k].in[0] = graph->ops[i].out;
}

// Simulated and integer graph differ by rounding, which now and then moves a value that lies on the border of two codes
// to the other one; that code moves others behind it, and a part of what quantization loses is drawn anew. Where none
// is moved both are equal but for rounding. So of several inputs at least one has to be that, and the others have to be
// nearer to each other than to full precision; sums that are wrong leave none equal.
static void integers_compute_what_is_simulated(const struct fixture *f, const struct kind *kind)
{
    struct content *integers, *floats;
    make_contents(f, kind->weight_bits, kind->activation_bits, kind->skip, kind->by_token, &integers, &floats);
    if (kind->smooth)
        add_smoothing(f, integers, floats);
    struct sdg_tensors *q_file = write_and_open(integers, "integers.safetensors"),
                       *f_file = write_and_open(floats, "floats.safetensors");
    struct sdg_graph *real = step_graph(f), *simulated = step_graph(f), *plain = step_graph(f);
    struct sdg_quantized *q;
    char scheme[32];
    snprintf(scheme, sizeof scheme, "w%da%d-tdq", kind->weight_bits, kind->activation_bits);
    assert_int_equal(sdg_quantized_create(&test_log, scheme, q_file, real, &q), SDG_OK);
    q->scan_codes = kind->scan_codes;
    assert_int_equal(sdg_graph_quantize_model(real, q), SDG_OK);
    assert_int_equal(sdg_graph_simulate(simulated, kind->activation_bits), SDG_OK);
    if (kind->smooth)
        simulate_smoothing(simulated);
    if (kind->scan_codes)
        simulate_scans(simulated);
    size_t several = 0;
    for (size_t s = 0; s < q->site_count; s++) { // the simulation knows no tokens of its own
        char name[SDG_OBSERVED_NAME_BYTES];
        const sdg_value v = sdg_graph_find(simulated, sdg_interval_name(name, q->sites[s].name));
        simulated->values[v].dims[1] = (int64_t)q->sites[s].tokens;
        several += q->sites[s].tokens > 1;
        for (size_t i = 0; i < simulated->op_count; i++)
            if (simulated->ops[i].kind == SDG_OP_FAKE_QUANTIZE && simulated->ops[i].in[1] == v) {
                const struct sdg_interval codes = sdg_quantized_interval(q, s, 0, 0);
                simulated->ops[i].u.fake_quantize.lowest = codes.lo;
                simulated->ops[i].u.fake_quantize.highest = codes.hi;
            }
    }
    assert_true(kind->by_token ? several > 10 && several < q->site_count : !several);
    int equal = 0;
    for (int run = 0; run < (kind->skip ? 1 : TRIALS) * ROWS; run++) {
        const int trial = run / ROWS, row = run % ROWS;
        size_t count;
        float *a = noise_of(f->backend, real, q_file, q, trial, row, &count),
              *b = noise_of(f->backend, simulated, f_file, q, trial, row, &count);
        float *c = noise_of(f->backend, plain, f->model->unet, NULL, trial, row, &count);
        const double difference = relative_error(a, b, count), lost = relative_error(b, c, count);
        print_message("%s input %d row %d: integers against simulation NMSE %.1e, quantization loses %.1e\n", scheme,
                      trial, row, difference, lost);
        assert_true(lost > 1e-6 && lost < 1);
        if (!kind->skip) // the simulate rewrite has no exceptions
            assert_true(difference < lost);
        equal += difference < 1e-11;
        sdg_free(a);
        sdg_free(b);
        sdg_free(c);
    }
    if (!kind->skip)
        assert_true(equal >= 1);
    sdg_quantized_destroy(&q);
    sdg_graph_destroy(&real);
    sdg_graph_destroy(&simulated);
    sdg_graph_destroy(&plain);
    sdg_tensors_destroy(&q_file);
    sdg_tensors_destroy(&f_file);
    free_content(integers);
    free_content(floats);
}

static void same_as_simulated_w8a8(void **state)
{
    integers_compute_what_is_simulated(*state, &(struct kind){.weight_bits = 8, .activation_bits = 8});
}
static void same_as_simulated_w4a6(void **state)
{
    integers_compute_what_is_simulated(*state, &(struct kind){.weight_bits = 4, .activation_bits = 6});
}
static void same_as_simulated_by_token(void **state)
{
    integers_compute_what_is_simulated(*state,
                                       &(struct kind){.weight_bits = 8, .activation_bits = 8, .by_token = true});
}
static void layers_may_stay_float(void **state)
{
    integers_compute_what_is_simulated(*state, &(struct kind){.weight_bits = 8, .activation_bits = 8, .skip = "attn"});
}

// How the rewrite places codes: norms, geglu and attention make them; values that others read too are quantized by an
// operation.
static void codes_come_from_where_values_are_made(void **state)
{
    const struct fixture *f = *state;
    struct content *integers, *floats;
    make_contents(f, 8, 8, NULL, false, &integers, &floats);
    struct sdg_tensors *file = write_and_open(integers, "integers.safetensors");
    struct sdg_graph *graph = step_graph(f), *dynamic = step_graph(f);
    struct sdg_quantized *q, *measured;
    struct sdg_sites sites;
    size_t emitting = 0, layers = 0;
    assert_int_equal(sdg_sites_find(graph, &sites), SDG_OK);
    assert_int_equal(sdg_quantized_create(&test_log, "w8a8-tdq", file, graph, &q), SDG_OK);
    assert_int_equal(q->site_count, sites.count);
    assert_int_equal(q->temporal_sites, sites.count);
    assert_int_equal(sdg_graph_quantize_model(graph, q), SDG_OK);
    for (size_t i = 0; i < graph->op_count; i++) {
        const struct sdg_op *op = &graph->ops[i];
        emitting += op->codes.interval && op->kind != SDG_OP_QUANTIZE;
        layers += graph->values[op->in[0]].dtype == SDG_S8 || graph->values[op->in[0]].dtype == SDG_U8;
        if (op->kind == SDG_OP_LAYER_NORM || op->kind == SDG_OP_GEGLU || op->kind == SDG_OP_ATTENTION)
            assert_true(op->codes.interval);
        if (op->kind == SDG_OP_GROUP_NORM)
            assert_true(op->codes.interval || strcmp(op->name, "conv_norm_out") == 0);
    }
    print_message("%zu sites: %zu made where they are computed, %zu by quantize operations; %zu layers\n", sites.count,
                  emitting, count_ops(graph, SDG_OP_QUANTIZE), q->layer_count);
    assert_int_equal(emitting + count_ops(graph, SDG_OP_QUANTIZE), sites.count);
    assert_true(layers >= q->layer_count);
    assert_int_equal(sdg_quantized_create(&test_log, "w8a8-dynamic", file, dynamic, &measured), SDG_OK);
    assert_int_equal(sdg_graph_quantize_model(dynamic, measured), SDG_OK);
    assert_int_equal(count_ops(dynamic, SDG_OP_MEASURE_INTERVAL), sites.count);
    assert_int_equal(count_ops(dynamic, SDG_OP_QUANTIZE), sites.count);
    size_t count;
    float *a = noise_of(f->backend, dynamic, file, NULL, 0, 0, &count);
    struct sdg_graph *plain = step_graph(f);
    float *b = noise_of(f->backend, plain, f->model->unet, NULL, 0, 0, &count);
    print_message("w8a8-dynamic loses NMSE %.1e\n", relative_error(a, b, count));
    assert_true(relative_error(a, b, count) < 0.01);
    sdg_free(a);
    sdg_free(b);
    sdg_sites_clear(&sites);
    sdg_quantized_destroy(&q);
    sdg_quantized_destroy(&measured);
    sdg_graph_destroy(&graph);
    sdg_graph_destroy(&dynamic);
    sdg_graph_destroy(&plain);
    sdg_tensors_destroy(&file);
    free_content(integers);
    free_content(floats);
}

// ---- refusals ----

static struct sdg_tensor *first_ending(struct content *c, const char *ending)
{
    for (size_t i = 0; i < c->count; i++) {
        const size_t length = strlen(c->tensors[i].name), tail = strlen(ending);
        if (length >= tail && strcmp(c->tensors[i].name + length - tail, ending) == 0)
            return &c->tensors[i];
    }
    fail_msg("no tensor ends in %s", ending);
    return NULL;
}

// What both ends of the interval of a pixel are, a fraction `down` and `right` of the way from token (y, x) to the
// next.
static void mixed_ends(const struct sdg_quantized *q, size_t site, size_t y, size_t x, double down, double right,
                       double ends[2])
{
    ends[0] = ends[1] = 0;
    for (size_t i = 0; i < 4; i++) {
        const size_t token = (y + i / 2) * q->sites[site].width + x + i % 2;
        const struct sdg_interval interval = sdg_quantized_interval(q, site, token, timestep_of_row(NULL, 1));
        const double weight = (i / 2 ? down : 1 - down) * (i % 2 ? right : 1 - right);
        ends[0] -= weight * (double)interval.scale * interval.zero_point;
        ends[1] += weight * (double)interval.scale * (interval.hi - interval.zero_point);
    }
}

// A picture twice as wide and high: pixel (2y+1, 2x+1) lies a quarter of the way from token (y, x) to the next ones,
// the corners beyond the outermost centres.
static void check_resampled(const struct sdg_quantized *q, size_t site)
{
    const size_t h = q->sites[site].height, w = q->sites[site].width;
    float *table = sdg_alloc(&test_log, ROWS * 4 * h * w, 2 * sizeof *table, "a table");
    sdg_quantized_table(q, site, 2 * h, 2 * w, ROWS, timestep_of_row, NULL, table);
    const float (*row)[2] = (const float (*)[2])table + 4 * h * w; // row 1
    for (size_t y = 0; y + 1 < h; y++)
        for (size_t x = 0; x + 1 < w; x++) {
            double ends[2];
            mixed_ends(q, site, y, x, 0.25, 0.25, ends);
            const float *pair = row[(2 * y + 1) * 2 * w + 2 * x + 1];
            const double scale = (ends[1] - ends[0]) / 255;
            assert_true(fabs((double)pair[0] / scale - 1) < 1e-5 && fabs((double)pair[1] + ends[0] / scale) <= 0.501);
        }
    const struct sdg_interval corner = sdg_quantized_interval(q, site, h * w - 1, timestep_of_row(NULL, 1));
    const float *last = row[4 * h * w - 1];
    assert_true(fabsf(last[0] / corner.scale - 1) < 1e-5f && (int)last[1] == corner.zero_point);
    sdg_free(table);
}

// Intervals by token are for one size of picture, and not for kernels that mix tokens.
static void tokens_have_to_fit(void **state)
{
    const struct fixture *f = *state;
    struct content *integers, *floats;
    make_contents(f, 8, 8, NULL, true, &integers, &floats);
    struct sdg_graph *graph = step_graph(f), *larger;
    struct sdg_tensors *file = write_and_open(integers, "tokens.safetensors");
    struct sdg_quantized *q;
    struct sdg_unet_shape shape = {
        .batch = 2, .height = SIDE, .width = 2 * SIDE, .tokens = TOKENS, .rows = ROWS, .table_batch = 1};
    assert_int_equal(sdg_unet_step_graph(&test_log, &f->model->unet_config, &shape, &larger), SDG_OK);
    assert_int_equal(sdg_graph_fuse(larger), SDG_OK);
    assert_int_equal(sdg_quantized_create(&test_log, "w8a8-tdq", file, larger, &q), SDG_OK);
    messages.errors = 0;
    assert_int_equal(sdg_graph_quantize_model(larger, q), SDG_ERROR_INPUT);
    assert_int_equal(messages.errors, 1);
    assert_non_null(strstr(messages.last, " tokens, but "));
    assert_non_null(strstr(messages.last, "width and height: draw at the size of the calibration, or with"));
    sdg_graph_destroy(&larger);
    assert_int_equal(sdg_unet_step_graph(&test_log, &f->model->unet_config, &shape, &larger), SDG_OK);
    assert_int_equal(sdg_graph_fuse(larger), SDG_OK);
    q->resample = true;
    assert_int_equal(sdg_graph_quantize_model(larger, q), SDG_OK);
    size_t resampled = 0;
    for (size_t s = 0; s < q->site_count; s++) {
        size_t height, width;
        sdg_quantized_grid(q, s, larger, &height, &width);
        if (!q->sites[s].zero_points)
            continue;
        assert_true(height == q->sites[s].height && width == 2 * q->sites[s].width);
        if (q->sites[s].height > 1 && resampled++ < 8)
            check_resampled(q, s);
    }
    assert_true(resampled > 8);
    sdg_quantized_destroy(&q);
    sdg_tensors_destroy(&file);
    // a 3x3 convolution's site by token, with and without zero points of its shape
    struct sdg_tensor *zeros = first_ending(integers, ".conv1.input_zero_point"),
                      *scales = first_ending(integers, ".conv1.input_scale");
    enum { ALL = SIDE * SIDE };
    float *many_scales = own(integers, ALL, sizeof *many_scales);
    int32_t *many_zeros = own(integers, ALL, sizeof *many_zeros);
    for (int64_t i = 0; i < ALL; i++) {
        many_scales[i] = *(const float *)scales->data;
        many_zeros[i] = 255;
    }
    scales->rank = 3, scales->dims[0] = 1, scales->dims[1] = scales->dims[2] = SIDE, scales->data = many_scales;
    scales->bytes = ALL * sizeof *many_scales;
    file = write_and_open(integers, "tokens.safetensors");
    assert_int_equal(sdg_quantized_create(&test_log, "w8a8-tdq", file, graph, &q), SDG_ERROR_INPUT);
    assert_non_null(strstr(messages.last, "in the shape of the scales"));
    sdg_tensors_destroy(&file);
    zeros->rank = 3, zeros->dims[0] = 1, zeros->dims[1] = zeros->dims[2] = SIDE, zeros->data = many_zeros;
    zeros->bytes = ALL * sizeof *many_zeros;
    many_zeros[5]++;
    file = write_and_open(integers, "tokens.safetensors");
    assert_int_equal(sdg_quantized_create(&test_log, "w8a8-tdq", file, graph, &q), SDG_ERROR_INPUT);
    assert_non_null(strstr(messages.last, "zero point 5 is 256, should be 0 to 255"));
    sdg_tensors_destroy(&file);
    many_zeros[5]--;
    file = write_and_open(integers, "tokens.safetensors");
    assert_int_equal(sdg_quantized_create(&test_log, "w8a8-tdq", file, graph, &q), SDG_OK);
    assert_int_equal(sdg_graph_quantize_model(graph, q), SDG_ERROR_INPUT);
    assert_non_null(strstr(messages.last, "differ from token to token"));
    sdg_quantized_destroy(&q);
    sdg_tensors_destroy(&file);
    sdg_graph_destroy(&larger);
    sdg_graph_destroy(&graph);
    free_content(integers);
    free_content(floats);
}

// Values that are upsampled have other tokens than their codes would have before: then the values are upsampled, and it
// is the 3x3 convolution behind them that is refused.
static void upsampled_tokens(void **state)
{
    const struct fixture *f = *state;
    struct content *integers, *floats;
    make_contents(f, 8, 8, NULL, false, &integers, &floats);
    struct sdg_graph *graph = step_graph(f);
    struct sdg_tensor *scales = first_ending(integers, ".upsamplers.0.conv.input_scale");
    enum { ALL = SIDE * SIDE };
    static float many[ALL];
    static int32_t many_zeros[ALL];
    const int64_t name_bytes = (int64_t)strlen(scales->name) - (int64_t)strlen(".input_scale");
    for (size_t i = 0; i < graph->op_count; i++)
        if (!strncmp(graph->ops[i].name, scales->name, (size_t)name_bytes) && !graph->ops[i].name[name_bytes])
            memcpy(&scales->dims[1], &graph->values[graph->ops[i].in[0]].dims[1], 2 * sizeof scales->dims[1]);
    assert_in_range(scales->dims[1] * scales->dims[2], 2, ALL);
    for (int i = 0; i < ALL; i++)
        many[i] = 0.05f + 0.01f * (float)i;
    scales->rank = 3, scales->dims[0] = 1, scales->data = many;
    scales->bytes = (size_t)(scales->dims[1] * scales->dims[2]) * sizeof *many;
    char zeros_name[200];
    snprintf(zeros_name, sizeof zeros_name, "%.*s.input_zero_point", (int)name_bytes, scales->name);
    struct sdg_tensor zeros = *scales;
    zeros.name = zeros_name, zeros.dtype = SDG_S32, zeros.data = many_zeros;
    integers->tensors[integers->count++] = zeros;
    struct sdg_tensors *file = write_and_open(integers, "upsampled.safetensors");
    struct sdg_quantized *q;
    assert_int_equal(sdg_quantized_create(&test_log, "w8a8-tdq", file, graph, &q), SDG_OK);
    assert_int_equal(sdg_graph_quantize_model(graph, q), SDG_ERROR_INPUT);
    assert_non_null(strstr(messages.last, "upsamplers.0.conv (conv2d)"));
    assert_non_null(strstr(messages.last, "differ from token to token"));
    sdg_quantized_destroy(&q);
    sdg_tensors_destroy(&file);
    sdg_graph_destroy(&graph);
    free_content(integers);
    free_content(floats);
}

static float number; // in the place of all data of a tensor is too much: one number is patched and put back
static void patch(struct sdg_tensor *t, float value)
{
    memcpy(&number, t->data, sizeof number);
    memcpy((void *)t->data, &value, sizeof value);
}

struct damage {
    const char *ending; // of the tensor damaged
    enum { LOST, SHORTER, RETYPED, NUMBER } how;
    float value;
    const char *says;
};

// Factors over time for a site whose tokens have one interval at all times, and a smoothing vector for another.
static void add_more(struct content *integers)
{
    const char *found = NULL;
    for (size_t i = 0; i < integers->count && !found; i++)
        if (integers->tensors[i].rank == 3 && integers->tensors[i].dims[0] == 1 &&
            integers->tensors[i].dtype == SDG_F32)
            found = integers->tensors[i].name;
    assert_non_null(found);
    char site[200];
    snprintf(site, sizeof site, "%.*s", (int)(strlen(found) - strlen(".input_scale")), found);
    const int64_t times = SDG_TDQ_TIMES;
    float *factors = own(integers, SDG_TDQ_TIMES, sizeof *factors);
    for (int t = 0; t < SDG_TDQ_TIMES; t++)
        factors[t] = 1;
    // of the largest scales, so that a large factor leaves the range
    float *scales = (float *)(uintptr_t)first_ending(integers, found)->data;
    scales[0] = 100;
    add(integers, SDG_F32, 1, &times, factors, site, ".input_scale_time");
    const struct sdg_tensor *weight = first_ending(integers, ".attn1.to_q.weight");
    const int64_t channels = weight->dims[1];
    float *smoothing = own(integers, (size_t)channels, sizeof *smoothing);
    for (int64_t c = 0; c < channels; c++)
        smoothing[c] = 1 + (float)c;
    snprintf(site, sizeof site, "%.*s", (int)(strlen(weight->name) - strlen(".weight")), weight->name);
    add(integers, SDG_F32, 1, &channels, smoothing, site, ".input_smoothing");
}

static void refuse_damages(const struct fixture *f, const struct damage *damages, size_t count, bool tokens)
{
    struct content *integers, *floats;
    make_contents(f, 8, 8, NULL, tokens, &integers, &floats);
    struct sdg_graph *graph = step_graph(f);
    if (tokens)
        add_more(integers);
    for (size_t i = 0; i < count; i++) {
        const struct damage *d = &damages[i];
        struct sdg_tensor *t = first_ending(integers, d->ending);
        const struct sdg_tensor whole = *t;
        struct sdg_quantized *q = (void *)1;
        switch (d->how) {
        case LOST: t->name = "lost"; break;
        case SHORTER:
            t->bytes -= t->bytes / (size_t)t->dims[0];
            t->dims[0]--;
            break;
        case RETYPED: t->dtype = SDG_S32; break;
        case NUMBER: patch(t, d->value); break;
        }
        struct sdg_tensors *file = write_and_open(integers, "damaged.safetensors");
        messages.errors = 0;
        assert_int_equal(sdg_quantized_create(&test_log, "w8a8-tdq", file, graph, &q), SDG_ERROR_INPUT);
        assert_null(q);
        assert_int_equal(messages.errors, 1);
        if (!strstr(messages.last, d->says) || !strstr(messages.last, "damaged.safetensors") ||
            !strstr(messages.last, d->ending))
            fail_msg("damage %zu: '%s' does not say '%s'", i, messages.last, d->says);
        sdg_tensors_destroy(&file);
        *t = whole;
        if (d->how == NUMBER)
            memcpy((void *)t->data, &number, sizeof number);
    }
    struct sdg_quantized *q;
    struct sdg_tensors *file = write_and_open(integers, "damaged.safetensors");
    assert_int_equal(sdg_quantized_create(&test_log, "w8a9-tdq", file, graph, &q), SDG_ERROR_INPUT);
    assert_int_equal(sdg_quantized_create(&test_log, "w8a8-tdq", f->model->unet, graph, &q), SDG_ERROR_INPUT);
    assert_non_null(strstr(messages.last, "no layer has integer weights"));
    assert_int_equal(sdg_quantized_create(&test_log, "w8a8-tdq", file, graph, &q), SDG_OK); // all put back
    sdg_quantized_destroy(&q);
    sdg_tensors_destroy(&file);
    sdg_graph_destroy(&graph);
    free_content(integers);
    free_content(floats);
}

static void damaged_tensors_are_refused(void **state)
{
    static const struct damage plain[] = {
        {".input_scale", LOST, 0, "is missing"},
        {".input_scale", SHORTER, 0, "should be f32 [1] or [1000]"},
        {".input_scale", RETYPED, 0, "should be f32 [1] or [1000]"},
        {".input_scale", NUMBER, NAN, "scale 0 is nan"},
        {".input_scale", NUMBER, 0, "scale 0 is 0"},
        {".input_scale", NUMBER, -1, "scale 0 is -1"},
        {".input_scale", NUMBER, INFINITY, "scale 0 is inf"},
        {".input_zero_point", LOST, 0, "is missing"},
        {".input_zero_point", SHORTER, 0, "s32 in the shape of the scales"},
        {".input_zero_point", NUMBER, 7, "zero point 0 is"},
        {".weight_scale", LOST, 0, "has no scales"},
        {".weight_scale", SHORTER, 0, "should be f32 ["},
        {".weight_scale", NUMBER, NAN, "scale 0 is nan"},
        {".weight_scale", NUMBER, 0, "scale 0 is 0"},
        {".conv1.weight", SHORTER, 0, "are not ["},
    };
    static const struct damage by_token[] = {
        {".attn1.to_q.input_scale", LOST, 0, "is missing"},
        {".attn1.to_q.input_scale", SHORTER, 0, "or of tokens [1, height, width] or [timesteps, height, width]"},
        {".attn1.to_q.input_scale", RETYPED, 0, "should be f32 [1] or [1000]"},
        {".attn1.to_q.input_scale", NUMBER, NAN, "scale 0 is nan"},
        {".attn1.to_q.input_scale", NUMBER, 0, "scale 0 is 0"},
        {".attn1.to_q.input_scale", NUMBER, -1, "scale 0 is -1"},
        {".attn1.to_q.input_zero_point", LOST, 0, "is missing"},
        {".attn1.to_q.input_zero_point", SHORTER, 0, "s32 in the shape of the scales"},
        {".attn1.to_q.input_zero_point", NUMBER, -1, "should be 0 to 255"}, // the bits of -1.0f are negative
        {".attn1.to_q.input_zero_point", NUMBER, 1, "should be 0 to 255"},  // and those of 1.0f are large
        {"interval_timesteps", RETYPED, 0, "should be f32 [2 or more]"},
        {"interval_timesteps", NUMBER, 1, "should be ascending"},
        {"interval_timesteps", NUMBER, NAN, "should be ascending"},
        {".input_smoothing", SHORTER, 0, "should be f32 ["},
        {".input_smoothing", RETYPED, 0, "should be f32 ["},
        {".input_smoothing", NUMBER, 0, "scale 0 is 0"},
        {".input_smoothing", NUMBER, NAN, "scale 0 is nan"},
        {".input_scale_time", SHORTER, 0, "should be f32 [1000]"},
        {".input_scale_time", RETYPED, 0, "should be f32 [1000]"},
        {".input_scale_time", NUMBER, -2, "scale 0 is -2"},
        {".input_scale_time", NUMBER, 1e38f, "leaves the range of f32"},
    };
    refuse_damages(*state, plain, sizeof plain / sizeof *plain, false);
    refuse_damages(*state, by_token, sizeof by_token / sizeof *by_token, true);
}

// ---- Mamba blocks ----

static void mamba_same_as_simulated(void **state)
{
    integers_compute_what_is_simulated(*state, &(struct kind){.weight_bits = 8, .activation_bits = 8});
}
static void mamba_same_as_simulated_by_token(void **state)
{
    integers_compute_what_is_simulated(*state,
                                       &(struct kind){.weight_bits = 8, .activation_bits = 8, .by_token = true});
}
static void mamba_same_as_simulated_with_codes_in_scans(void **state)
{
    integers_compute_what_is_simulated(*state,
                                       &(struct kind){.weight_bits = 8, .activation_bits = 8, .scan_codes = true});
    integers_compute_what_is_simulated(
        *state, &(struct kind){.weight_bits = 8, .activation_bits = 8, .by_token = true, .scan_codes = true});
}

// Scans do not read codes that are smoothed. What products make of smoothed sites are floats.
static void mamba_same_as_simulated_when_smoothed(void **state)
{
    integers_compute_what_is_simulated(
        *state, &(struct kind){.weight_bits = 8, .activation_bits = 8, .by_token = true, .smooth = true});
}

// in_proj's codes are made by the norm, out_proj's by the last scan; x_proj's, which scans read as values, by the
// convolution if they may read codes.
static void mamba_codes_come_from_where_values_are_made(void **state)
{
    const struct fixture *f = *state;
    struct content *integers, *floats;
    make_contents(f, 8, 8, NULL, false, &integers, &floats);
    struct sdg_tensors *file = write_and_open(integers, "integers.safetensors");
    size_t quantized[2] = {0}, convolutions = 0;
    for (int scan_codes = 0; scan_codes < 2; scan_codes++) {
        struct sdg_graph *graph = step_graph(f);
        struct sdg_quantized *q;
        assert_int_equal(sdg_quantized_create(&test_log, "w8a8-tdq", file, graph, &q), SDG_OK);
        q->scan_codes = scan_codes;
        assert_int_equal(sdg_graph_quantize_model(graph, q), SDG_OK);
        for (size_t i = 0; i < graph->op_count; i++) {
            const struct sdg_op *op = &graph->ops[i];
            if (op->kind == SDG_OP_LAYER_NORM)
                assert_true(op->codes.interval);
            else if (op->kind == SDG_OP_CONV1D_CAUSAL)
                assert_true(!op->codes.interval == !scan_codes);
            else if (op->kind == SDG_OP_SELECTIVE_SCAN) {
                assert_true(!op->codes.interval == !op->in[7]); // the one that adds the other's result is the last
                assert_true(!op->in[8] == !scan_codes);
            }
        }
        quantized[scan_codes] = count_ops(graph, SDG_OP_QUANTIZE);
        convolutions = count_ops(graph, SDG_OP_CONV1D_CAUSAL);
        sdg_quantized_destroy(&q);
        sdg_graph_destroy(&graph);
    }
    assert_true(convolutions >= 2);
    assert_int_equal(quantized[0], quantized[1] + convolutions);
    sdg_tensors_destroy(&file);
    free_content(integers);
    free_content(floats);
}

// The same function with a Hadamard transform in it, and out_proj's codes made by that.
static void mamba_rotated(void **state)
{
    const struct fixture *f = *state;
    struct fixture rotated = *f;
    char *folder = strdup(temp_path("rotated"));
    struct sdg_rotate_params params = {
        .model = SDG_SOURCE_DIR "/tests/goldens/networks/pipelines/mamba-small", .output = folder, .log = test_log};
    size_t count, transforms = 0;
    assert_int_equal(sdg_rotate(&params), SDG_OK);
    assert_int_equal(sdg_rotate(&params), SDG_ERROR_OUTPUT); // it exists
    assert_int_equal(sdg_model_open(&test_log, folder, &rotated.model), SDG_OK);
    struct sdg_graph *plain = step_graph(f), *graph = step_graph(&rotated);
    float *want = noise_of(f->backend, plain, f->model->unet, NULL, 0, 1, &count),
          *got = noise_of(f->backend, graph, rotated.model->unet, NULL, 0, 1, &count);
    const double error = relative_error(got, want, count);
    print_message("rotated: NMSE %.1e to the plain model\n", error);
    assert_true(error < 1e-11);
    for (size_t i = 0; i < graph->op_count; i++)
        transforms += graph->ops[i].kind == SDG_OP_HADAMARD && graph->ops[i].u.hadamard.block >= 8;
    assert_int_equal(transforms, count_ops(plain, SDG_OP_SELECTIVE_SCAN) / 2);
    integers_compute_what_is_simulated(
        &rotated, &(struct kind){.weight_bits = 8, .activation_bits = 8, .by_token = true, .scan_codes = true});
    params.model = folder; // it has transforms
    params.output = temp_path("again");
    assert_int_equal(sdg_rotate(&params), SDG_ERROR_INPUT);
    params.model = SDG_SOURCE_DIR "/models/emoji-128"; // has no blocks
    assert_int_equal(sdg_rotate(&params), SDG_ERROR_INPUT);
    sdg_free(want);
    sdg_free(got);
    sdg_graph_destroy(&plain);
    sdg_graph_destroy(&graph);
    sdg_model_close(&rotated.model);
    free(folder);
}

static int set_up_with(void **state, const char *folder)
{
    static struct fixture f;
    temp_log(&messages);
    assert_int_equal(sdg_model_open(&test_log, folder, &f.model), SDG_OK);
    assert_int_equal(sdg_backend_create(&test_log, "cpu", &(struct sdg_backend_params){.threads = 2}, &f.backend),
                     SDG_OK);
    temp_make();
    *state = &f;
    return 0;
}

static int set_up(void **state)
{
    return set_up_with(state, SDG_SOURCE_DIR "/models/emoji-128");
}

static int set_up_mamba(void **state)
{
    return set_up_with(state, SDG_SOURCE_DIR "/tests/goldens/networks/pipelines/mamba-small");
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    sdg_backend_destroy(&f->backend);
    sdg_model_close(&f->model);
    temp_remove();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_as_simulated_w8a8),      cmocka_unit_test(same_as_simulated_w4a6),
        cmocka_unit_test(layers_may_stay_float),       cmocka_unit_test(codes_come_from_where_values_are_made),
        cmocka_unit_test(damaged_tensors_are_refused), cmocka_unit_test(same_as_simulated_by_token),
        cmocka_unit_test(tokens_have_to_fit),          cmocka_unit_test(upsampled_tokens),
    };
    const struct CMUnitTest mamba[] = {
        cmocka_unit_test(mamba_same_as_simulated),
        cmocka_unit_test(mamba_same_as_simulated_by_token),
        cmocka_unit_test(mamba_same_as_simulated_with_codes_in_scans),
        cmocka_unit_test(mamba_same_as_simulated_when_smoothed),
        cmocka_unit_test(mamba_codes_come_from_where_values_are_made),
        cmocka_unit_test(mamba_rotated),
    };
    return cmocka_run_group_tests_name("quantized", tests, set_up, tear_down) +
        cmocka_run_group_tests_name("quantized mamba", mamba, set_up_mamba, tear_down);
}
