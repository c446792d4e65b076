// Measures every shader and tile that a product could take, and the ways it could be cut up, on products of the shapes
// that networks have, and keeps the fastest.
#include "backend/vulkan/vk_tune.h"

#include "backend/vulkan/vk_ops.h"
#include "backend/vulkan/vk_tiles.h"
#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

// ---- products ----

enum { LINEAR_K = 640, CONV_C = 320, KERNEL = 3, LEAST_RUNS = 3, MOST_RUNS = 20, NARROW = 8 };
static const double least_seconds = 0.01; // of a candidate's measured runs together
static const double gain_wanted = 1.03;   // smaller ones are chance: the rule's choice stays

// Those of a guidance pair of Stable Diffusion 1.5 at 512x512 and of its autoencoder, the most frequent first: outputs
// m = side * side * samples (of linear: rows), and n.
static const struct shape {
    int64_t samples, side, n;
} shapes[] = {
    {2, 64, 320}, {2, 32, 640}, {2, 16, 1280}, {2, 8, 1280}, {2, 32, 1280}, {1, 128, 320}, {2, 8, 320}, {2, 64, 1280},
};
// What a product is of.
static const struct kind {
    const char *family;
    bool conv, integer;
    enum sdg_dtype type;
} kinds[] = {
    {"conv2d", true, false, SDG_F16},    {"linear", false, false, SDG_F16},   {"conv2d_s8", true, true, SDG_F16},
    {"linear_s8", false, true, SDG_F16}, {"conv2d", true, false, SDG_F32},    {"linear", false, false, SDG_F32},
    {"conv2d_s8", true, true, SDG_F32},  {"linear_s8", false, true, SDG_F32},
};

struct tuner {
    struct sdg_vk *vk;
    double end; // by sdg_clock
    struct sdg_tensors *weights;
    float *input; // [input_count], for all
    size_t input_count;
    void (*fn)(void *user, const struct sdg_tuning *tuning);
    void *user;
};

// ---- weights and inputs, of small numbers ----

static int number(size_t i)
{
    return (int)(i * 37 % 17) - 8;
}

static enum sdg_result add_tensor(const struct sdg_log *log, struct sdg_tensor *t, const char *name,
                                  enum sdg_dtype dtype, int rank, int64_t n, int64_t inputs, int64_t kernel)
{
    *t = (struct sdg_tensor){.name = name, .dtype = dtype, .rank = rank, .dims = {n, inputs, kernel, kernel}};
    const size_t count = (size_t)(n * inputs * kernel * kernel);
    t->bytes = count * sdg_dtype_size(dtype);
    void *data = sdg_alloc_raw(log, t->bytes, 1, "weights to measure with");
    if (!data)
        return SDG_ERROR_MEMORY;
    for (size_t i = 0; i < count; i++)
        if (dtype == SDG_F16)
            ((uint16_t *)data)[i] = sdg_f16_from_f32((float)number(i) / 64);
        else if (dtype == SDG_S8)
            ((int8_t *)data)[i] = (int8_t)number(i);
        else
            ((float *)data)[i] = 1.0f / 64;
    t->data = data;
    return SDG_OK;
}

static const char *name_of(char *text, size_t size, const struct kind *kind, int64_t n)
{
    snprintf(text, size, "%s%s.%lld", kind->conv ? "conv" : "linear", kind->integer ? "_s8" : "", (long long)n);
    return text;
}

static enum sdg_result write_weights(struct tuner *t, const char *path)
{
    static const int64_t sizes[] = {320, 640, 1280};
    enum { SIZES = sizeof sizes / sizeof *sizes, TENSORS = 5 * SIZES };
    struct sdg_tensor list[TENSORS] = {0};
    char names[TENSORS][24];
    const struct sdg_log *log = t->vk->base.log;
    enum sdg_result result = SDG_OK;
    size_t count = 0;
    for (size_t i = 0; i < SIZES && result == SDG_OK; i++) {
        for (int k = 0; k < 4 && result == SDG_OK; k++, count++) // the first four kinds are all there are but for types
            result = add_tensor(log, &list[count], name_of(names[count], sizeof names[count], &kinds[k], sizes[i]),
                                kinds[k].integer ? SDG_S8 : SDG_F16, kinds[k].conv ? 4 : 2, sizes[i],
                                kinds[k].conv ? CONV_C : LINEAR_K, kinds[k].conv ? KERNEL : 1);
        if (result != SDG_OK)
            break;
        snprintf(names[count], sizeof names[count], "scale.%lld", (long long)sizes[i]);
        result = add_tensor(log, &list[count], names[count], SDG_F32, 1, sizes[i], 1, 1);
        count++;
    }
    if (result == SDG_OK)
        result = sdg_tensors_write(log, path, list, count, NULL, 0);
    if (result == SDG_OK)
        result = sdg_tensors_open(log, path, &t->weights);
    for (size_t i = 0; i < TENSORS; i++)
        sdg_free((void *)list[i].data);
    return result;
}

static enum sdg_result make_operands(struct tuner *t)
{
    char path[512];
    const char *folder = getenv("TMPDIR");
    snprintf(path, sizeof path, "%.400s/sdgen-tune-XXXXXX", folder && *folder ? folder : "/tmp");
    const int file = mkstemp(path);
    if (file < 0)
        return sdg_fail(t->vk->base.log, SDG_ERROR_OUTPUT, "%s: cannot be written", path);
    close(file);
    const enum sdg_result result = write_weights(t, path);
    unlink(path); // stays mapped
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const size_t m = (size_t)(shapes[i].samples * shapes[i].side * shapes[i].side);
        t->input_count = m * LINEAR_K > t->input_count ? m * LINEAR_K : t->input_count;
    }
    t->input = sdg_alloc_raw(t->vk->base.log, t->input_count, sizeof *t->input, "inputs to measure with");
    for (size_t i = 0; t->input && i < t->input_count; i++)
        t->input[i] = (float)number(i) / 8;
    return result == SDG_OK && !t->input ? SDG_ERROR_MEMORY : result;
}

// ---- a product ----

static int64_t side_of(const struct tuner *t, const struct shape *s)
{
    return t->vk->caps.software ? s->side / 4 : s->side;
}

static enum sdg_result build(const struct tuner *t, const struct kind *kind, const struct shape *s,
                             struct sdg_graph **out)
{
    struct sdg_graph *g;
    char name[24];
    SDG_TRY(sdg_graph_create(t->vk->base.log, &g));
    *out = g;
    name_of(name, sizeof name, kind, s->n);
    const int64_t columns = kind->conv ? CONV_C : LINEAR_K;
    const sdg_value x = sdg_graph_input(g, "x", s->samples, side_of(t, s), side_of(t, s), columns);
    const struct sdg_conv_params same = {.stride = 1, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1};
    sdg_value interval = 0, codes = 0, scale = 0;
    if (kind->integer) {
        interval = sdg_graph_interval_table(g, "interval", 1, 1);
        codes = sdg_graph_quantize(g, "codes", x, interval, -128, 127);
        scale = sdg_graph_vector_weight(g, s->n, "scale.%lld", (long long)s->n);
    }
    const sdg_value y = kind->conv
        ? sdg_graph_conv2d(g, "product", x, sdg_graph_conv_weight(g, s->n, columns, KERNEL, KERNEL, "%s", name), same,
                           (struct sdg_epilogue){0})
        : sdg_graph_linear(g, "product", x, sdg_graph_linear_weight(g, s->n, columns, "%s", name),
                           (struct sdg_epilogue){0});
    SDG_TRY(sdg_graph_check(g));
    const size_t op = g->op_count - 1;
    if (kind->integer)
        SDG_TRY(sdg_graph_use_codes(g, op, codes, interval, scale, 8));
    sdg_graph_output(g, "y", y);
    return kind->type == SDG_F32 ? sdg_graph_check(g) : sdg_graph_set_type(g, kind->type);
}

static void find_product(void *user, const char *op, const char *kernel)
{
    if (strcmp(op, "product") == 0)
        snprintf(user, 64, "%s", kernel);
}

// The kernel that the product takes as things are; "" if none.
static enum sdg_result plan(const struct tuner *t, const struct sdg_graph *g, char kernel[static 64])
{
    struct sdg_program *program;
    kernel[0] = 0;
    SDG_TRY(sdg_program_create(&t->vk->base, g, &(struct sdg_program_params){.weights = t->weights, .plan_only = true},
                               &program));
    sdg_program_describe(program, find_product, kernel);
    sdg_program_destroy(&program);
    return SDG_OK;
}

static void add_seconds(void *user, size_t op_index, const char *op, const char *kernel, double seconds)
{
    (void)op_index;
    (void)kernel;
    if (strcmp(op, "product") == 0)
        *(double *)user += seconds;
}

// Host clocks would count what surrounds a kernel, which is more than the kernel where it is small.
static enum sdg_result refuse(const struct tuner *t, const char *why)
{
    return sdg_fail(t->vk->base.log, SDG_ERROR_UNSUPPORTED,
                    "vulkan: %s cannot be tuned: %s, so that nothing is known of how long a kernel takes",
                    t->vk->base.info.name, why);
}

// The shortest run's time. Fails where the device has no time stamps that can be true.
static enum sdg_result time_runs(const struct tuner *t, struct sdg_program *program, double *best)
{
    double sum = 0;
    *best = 0;
    for (int run = 0; run <= MOST_RUNS && (run <= LEAST_RUNS || sum < least_seconds); run++) {
        double seconds = 0;
        sdg_program_profile(program, true); // from nothing
        const double start = sdg_clock();
        SDG_TRY(sdg_program_run(program, 0));
        const double elapsed = sdg_clock() - start;
        sdg_program_times(program, add_seconds, &seconds);
        if (t->vk->distrusted)
            return refuse(t, "its driver's time stamps cannot be true");
        if (seconds <= 0)
            return refuse(t, "its driver's time stamps stand still");
        if (run == 0) // warms up
            continue;
        *best = *best == 0 || seconds < *best ? seconds : *best;
        sum += elapsed;
    }
    return SDG_OK;
}

static enum sdg_result measure(const struct tuner *t, const struct sdg_graph *g, double *seconds)
{
    static const float interval[] = {1.0f / 16, 0};
    struct sdg_program *program;
    SDG_TRY(sdg_program_create(&t->vk->base, g, &(struct sdg_program_params){.weights = t->weights}, &program));
    const struct sdg_value_info *x = &g->values[sdg_graph_find(g, "x")];
    enum sdg_result result = sdg_program_write(program, "x", t->input, (size_t)sdg_value_elements(x));
    if (result == SDG_OK && sdg_graph_find(g, "interval"))
        result = sdg_program_write(program, "interval", interval, 2);
    if (result == SDG_OK)
        result = time_runs(t, program, seconds);
    sdg_program_destroy(&program);
    return result;
}

// ---- candidates ----

struct best {
    struct sdg_vk_choice choice, rules; // the fastest; what the rule chooses, once that was measured
    struct sdg_tuning tuning;
    char kernel[64], rule[64];
};

// Whether the shader reads as much at once as any of the same rungs.
static bool is_widest(const struct sdg_shader *shader, int64_t columns)
{
    for (const struct sdg_shader *s = sdg_shaders; s < sdg_shaders + sdg_shader_count; s++)
        if (s->needs == shader->needs && s->type == shader->type && s->width > shader->width &&
            columns % s->width == 0 && strcmp(s->family, shader->family) == 0)
            return false;
    return true;
}

// Measures the product as `candidate` has it, if it can be that and is not what was best so far.
static enum sdg_result try_candidate(struct tuner *t, const struct sdg_graph *g, const struct sdg_vk_choice *candidate,
                                     struct best *best)
{
    struct sdg_vk_tiles *tiles = t->vk->tiles;
    char kernel[64];
    double seconds = 0;
    tiles->forced = *candidate;
    tiles->forced_fits = false;
    enum sdg_result result = plan(t, g, kernel);
    if (result == SDG_OK && tiles->forced_fits && strcmp(kernel, best->kernel)) {
        result = measure(t, g, &seconds);
        best->tuning.candidates++;
        if (strcmp(kernel, best->rule) == 0) {
            best->tuning.rule_seconds = seconds;
            best->rules = *candidate;
        }
        if (result == SDG_OK && (best->tuning.seconds == 0 || seconds < best->tuning.seconds)) {
            best->tuning.seconds = seconds;
            best->choice = *candidate;
            snprintf(best->kernel, sizeof best->kernel, "%s", kernel);
        }
    }
    tiles->forced = (struct sdg_vk_choice){0};
    return result;
}

// In one part, and in more and more until the device has workgroups enough.
static enum sdg_result try_parts(struct tuner *t, const struct sdg_graph *g, const struct sdg_vk_choice *whole,
                                 int64_t groups, struct best *best)
{
    struct sdg_vk_choice candidate = *whole;
    do {
        if (sdg_clock() < t->end)
            SDG_TRY(try_candidate(t, g, &candidate, best));
        candidate.parts *= 2;
    } while (groups * candidate.parts < 2 * (int64_t)t->vk->caps.workgroups);
    return SDG_OK;
}

static enum sdg_result try_all(struct tuner *t, const struct kind *kind, const struct sdg_graph *g, int64_t m,
                               int64_t n, struct best *best)
{
    const int64_t columns = kind->conv ? CONV_C : LINEAR_K;
    const uint32_t buffers = t->vk->caps.buffers;
    SDG_TRY(plan(t, g, best->rule));
    for (const struct sdg_shader *s = sdg_shaders; s < sdg_shaders + sdg_shader_count; s++) {
        if (s->type != kind->type || strcmp(s->family, kind->family) || (s->needs & ~t->vk->features) ||
            columns % s->width || !is_widest(s, columns))
            continue;
        const bool sliced = t->vk->caps.weight_slices && !(s->needs & SDG_FEATURE_LANES);
        for (const struct sdg_tile *tile = s->tiles; tile < s->tiles + s->tile_count; tile++)
            if (tile->m > NARROW && tile->n > NARROW) {
                const struct sdg_vk_choice whole = {
                    .shader = s, .tile = tile, .parts = 1, .buffers = buffers, .sliced = sliced};
                SDG_TRY(try_parts(t, g, &whole, sdg_vk_ceil(m, tile->m) * sdg_vk_ceil(n, tile->n), best));
            }
    }
    if (!best->choice.shader)
        return SDG_OK;
    // these matter for what is best otherwise
    struct sdg_vk_choice other = best->choice;
    other.buffers = 3 - buffers;
    SDG_TRY(try_candidate(t, g, &other, best));
    other = best->choice;
    other.sliced = !other.sliced;
    SDG_TRY(try_candidate(t, g, &other, best));
    other = best->choice;
    other.by_columns = true;
    return try_candidate(t, g, &other, best);
}

// Keeps what is clearly better than the rule, else the rule's, so that no neighbour's choice counts here.
static enum sdg_result tune_one(struct tuner *t, const struct kind *kind, const struct shape *s)
{
    const int64_t m = s->samples * side_of(t, s) * side_of(t, s);
    struct best best = {0};
    struct sdg_graph *g = NULL;
    enum sdg_result result = build(t, kind, s, &g);
    if (result == SDG_OK)
        result = try_all(t, kind, g, m, s->n, &best);
    sdg_graph_destroy(&g);
    if (result != SDG_OK || sdg_clock() >= t->end || best.tuning.seconds <= 0) // not all of them: nothing is known
        return result;
    char product[96];
    snprintf(product, sizeof product, "%s %s, %lld x %lld outputs", kind->family, sdg_dtype_name(kind->type),
             (long long)m, (long long)s->n);
    best.tuning.product = product;
    best.tuning.kernel = best.kernel;
    best.tuning.rule = best.rule;
    best.tuning.differs = !best.rules.shader || best.tuning.rule_seconds > gain_wanted * best.tuning.seconds;
    t->fn(t->user, &best.tuning);
    struct sdg_vk_choice kept = best.tuning.differs ? best.choice : best.rules;
    snprintf(kept.family, sizeof kept.family, "%s", kind->family);
    kept.type = kind->type;
    kept.m = sdg_vk_log2(m);
    kept.n = sdg_vk_log2(s->n);
    return sdg_vk_tiles_add(t->vk, &kept);
}

static enum sdg_result tune_all(struct tuner *t)
{
    SDG_TRY(make_operands(t));
    const struct sdg_vk_tiles *tiles = t->vk->tiles;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (size_t k = 0; k < sizeof kinds / sizeof *kinds && sdg_clock() < t->end; k++)
            if (sdg_backend_has_type(&t->vk->base, kinds[k].type) &&
                !(tiles->most_products && tiles->count >= (size_t)tiles->most_products)) {
                SDG_TRY(sdg_backend_goes_on(&t->vk->base));
                SDG_TRY(tune_one(t, &kinds[k], &shapes[i]));
            }
    return SDG_OK;
}

enum sdg_result sdg_vk_tune(struct sdg_backend *backend, double seconds,
                            void (*fn)(void *user, const struct sdg_tuning *tuning), void *user)
{
    struct sdg_vk *vk = sdg_vk_of(backend);
    struct tuner t = {.vk = vk, .end = sdg_clock() + seconds, .fn = fn, .user = user};
    SDG_TRY(sdg_vk_alive(vk));
    if (vk->caps.timestamp_bits == 0)
        return refuse(&t, "it has no time stamps");
    vk->tiles->count = 0;
    vk->tiles->measuring = true; // the rule is what is compared with
    enum sdg_result result = tune_all(&t);
    vk->tiles->measuring = false;
    sdg_tensors_destroy(&t.weights);
    sdg_free(t.input);
    if (result != SDG_OK)
        vk->tiles->count = 0;
    vk->tiles->tuned = vk->tiles->count > 0;
    if (result == SDG_OK && !vk->tiles->count)
        return sdg_fail(vk->base.log, SDG_ERROR_UNSUPPORTED,
                        "vulkan: not one product of %s could be measured in %g s; give it more time",
                        vk->base.info.name, seconds);
    return result == SDG_OK ? sdg_vk_tiles_save(vk) : result;
}
