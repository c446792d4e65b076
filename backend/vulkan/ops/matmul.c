#include "backend/vulkan/vk_ops.h"
#include "backend/vulkan/vk_tiles.h"

#include <stdio.h>

enum { THIN = 8 };

// Shapes that are much narrower than a tile waste most of it, so that few rows (time embedding, pooled text) and few
// columns (the last convolutions of UNet and autoencoder) have tiles of their own.
enum form { FEW_ROWS, FEW_COLUMNS, BROAD };

static enum form form_of(int64_t m, int64_t n)
{
    return m <= THIN ? FEW_ROWS : n <= THIN ? FEW_COLUMNS : BROAD;
}

// What the choice of a shader and a tile depends on beside the device.
struct product {
    const char *family;
    enum sdg_dtype type;
    int64_t m, n, k; // k: in units of the shader, channels or words of four
    int64_t pitch;   // columns of the outputs, of which n are made
    int64_t columns; // what a shader's width must divide
    bool integer;
    bool loads; // works on what it loads
    bool fours; // an invocation makes four neighbours along n at a time, as codes are words of four
};

// How a product is cut up.
struct plan {
    const struct sdg_shader *shader;
    const struct sdg_tile *tile;        // of the shader's
    const struct sdg_vk_matrix *matrix; // NULL: the shader has none
    uint32_t buffers;                   // slices of each operand in shared memory
    uint32_t parts;                     // of k (shaders/parts.glsl)
    bool by_columns;                    // the order of workgroups (shaders/tile.glsl)
    bool sliced;                        // weights are to lie in slices (shaders/weights.glsl)
};

// ---- what fits the device ----

// Bytes of shared memory that shaders/slices.glsl and matmul_coopmat.glsl take.
static uint32_t matrix_bytes(const struct sdg_tile *t, const struct sdg_vk_matrix *matrix, uint32_t row_bytes,
                             uint32_t buffers)
{
    const uint32_t padding = 16, slices = (t->m + t->n) * (row_bytes + padding),
                   patch = matrix->m * (matrix->n * (uint32_t)sizeof(float) + padding);
    return buffers * slices + t->threads * patch;
}

// The largest matrix of the device's that the tile is made of, and as many buffers as there is room for.
static bool plan_matrices(const struct sdg_vk_caps *caps, bool integer, struct plan *plan)
{
    const struct sdg_tile *t = plan->tile;
    const struct sdg_vk_matrix_sizes *sizes = integer ? &caps->matrices.bytes : &caps->matrices.halves;
    const uint32_t subgroup = caps->matrices.subgroup, depth = integer ? 4 * t->k : t->k,
                   row_bytes = integer ? depth : 2 * depth;
    if (t->threads > caps->matrices.most_subgroups || t->threads * subgroup > caps->max_invocations ||
        t->tm * t->tn > caps->most_outputs * subgroup)
        return false;
    const struct sdg_vk_matrix *x = sizes->list, *end = x + sizes->count;
    while (x < end && (t->tm % x->m || t->tn % x->n || depth % x->k || x->n % 4 || x->k % 8))
        x++;
    for (uint32_t buffers = 2; x < end && buffers > 0; buffers--)
        if (matrix_bytes(t, x, row_bytes, buffers) <= caps->shared_bytes) {
            plan->matrix = x;
            plan->buffers = buffers;
            return true;
        }
    return false;
}

// As many of the buffers that are wanted as there is room for, of shaders/operands_*.glsl.
static bool plan_slices(const struct sdg_vk_caps *caps, uint32_t buffers, struct plan *plan)
{
    const struct sdg_tile *t = plan->tile;
    const uint32_t bytes = t->k * (t->m + 4 + t->n + 4) * (uint32_t)sizeof(float);
    plan->buffers = buffers * bytes <= caps->shared_bytes ? buffers : 1;
    return t->threads <= caps->max_invocations && bytes <= caps->shared_bytes && t->tm * t->tn <= caps->most_outputs;
}

static bool plan_tile(const struct sdg_vk_caps *caps, const struct sdg_shader *shader, const struct sdg_tile *tile,
                      const struct product *product, uint32_t buffers, struct plan *plan)
{
    *plan = (struct plan){
        .shader = shader,
        .tile = tile,
        .buffers = 1,
        .parts = 1,
        .sliced = caps->weight_slices && !(shader->needs & SDG_FEATURE_LANES),
    };
    // works on loads: which shaders of single channels do not, nor lanes, which are for devices that do not gain by it
    if (product->loads && ((shader->needs & SDG_FEATURE_LANES) || (!product->integer && shader->width == 1)))
        return false;
    if (shader->needs & SDG_FEATURE_COOPMAT)
        return plan_matrices(caps, product->integer, plan);
    if (shader->needs & SDG_FEATURE_LANES) // shaders/matmul_lanes.glsl stores only whole fours
        return tile->threads == caps->subgroup_size &&
            (!product->fours || (tile->tn % 4 == 0 && product->pitch % 4 == 0));
    return plan_slices(caps, buffers, plan);
}

// ---- parts of k ----

enum { MOST_PARTS = 16 };

// Scratch memory for the sums of all parts, in rows of whole fours.
static uint64_t part_bytes(const struct product *product, uint32_t parts)
{
    return (uint64_t)parts * (uint64_t)product->m * (uint64_t)(sdg_vk_ceil(product->n, 4) * 4) * sizeof(float);
}

// At most as many as are wanted, none empty or shorter than it should be on devices of this class.
static uint32_t count_parts(const struct sdg_vk_caps *caps, const struct product *product, const struct plan *plan,
                            int64_t wanted)
{
    const uint64_t room = caps->max_range < caps->max_allocation ? caps->max_range : caps->max_allocation;
    if (!caps->least_part || plan->shader->needs & SDG_FEATURE_LANES)
        return 1;
    const int64_t slices = sdg_vk_ceil(product->k, plan->tile->k),
                  least = sdg_vk_ceil(caps->least_part, plan->tile->k * (product->integer ? 4 : 1));
    int64_t parts = wanted < MOST_PARTS ? wanted : MOST_PARTS;
    parts = slices / least < parts ? slices / least : parts;
    while (parts > 1 && part_bytes(product, (uint32_t)parts) > room)
        parts--;
    return parts > 1 ? (uint32_t)sdg_vk_ceil(slices, sdg_vk_ceil(slices, parts)) : 1;
}

// ---- the choice ----

// The largest tile of the shader's that gives the device enough workgroups, if need be with k in parts, else the
// smallest; false if it has none for this shape and device.
static bool choose_tile(const struct sdg_vk_caps *caps, const struct sdg_shader *shader, const struct product *product,
                        struct plan *plan)
{
    const int64_t m = product->m, n = product->n;
    bool found = false;
    for (const struct sdg_tile *t = shader->tiles; t < shader->tiles + shader->tile_count; t++) {
        struct plan next;
        if (form_of(t->m, t->n) != form_of(m, n) || !plan_tile(caps, shader, t, product, caps->buffers, &next))
            continue;
        const int64_t groups = sdg_vk_ceil(m, t->m) * sdg_vk_ceil(n, t->n);
        next.parts = count_parts(caps, product, &next, sdg_vk_ceil(caps->workgroups, groups));
        *plan = next;
        found = true;
        if (groups * next.parts >= caps->workgroups)
            break;
    }
    return found;
}

// As it is being measured, or was measured to be best; false where it was not, or where that does not fit this product.
static bool choose_measured(const struct sdg_vk *vk, const struct product *product, struct plan *plan)
{
    struct sdg_vk_tiles *tiles = vk->tiles;
    const struct sdg_vk_choice *choice = tiles->measuring
        ? &tiles->forced
        : sdg_vk_tiles_find(vk, product->family, product->type, product->columns, product->m, product->n);
    if (!choice || !choice->shader || form_of(product->m, product->n) != BROAD ||
        strcmp(choice->shader->family, product->family) || choice->shader->type != product->type ||
        !plan_tile(&vk->caps, choice->shader, choice->tile, product, choice->buffers, plan))
        return false;
    plan->parts = count_parts(&vk->caps, product, plan, choice->parts);
    plan->by_columns = choice->by_columns && sdg_vk_ceil(product->m, plan->tile->m) <= vk->caps.max_groups[1];
    plan->sliced = choice->sliced && !(choice->shader->needs & SDG_FEATURE_LANES);
    tiles->forced_fits =
        plan->by_columns == choice->by_columns && plan->parts == choice->parts && plan->sliced == choice->sliced;
    return true;
}

// The shader first, and from its own tiles the tile.
static bool choose(const struct sdg_vk *vk, const struct product *product, struct plan *plan)
{
    if (choose_measured(vk, product, plan))
        return true;
    const struct sdg_shader *shader = NULL;
    do
        shader = sdg_vk_find_shader(vk->features, product->family, product->type, product->columns, shader);
    while (shader && !choose_tile(&vk->caps, shader, product, plan));
    return shader;
}

// Of a product that touches no floats any will do; a gated one stores its codes in pairs, as elements of 16 bits where
// there are such.
static enum sdg_dtype type_of(const struct sdg_vk *vk, const struct sdg_graph *graph, const struct sdg_op *op)
{
    const bool pairs =
        op->epilogue.gated && op->codes.interval && sdg_vk_is_integer(graph, op) && !op->load.codes.interval;
    return pairs && (vk->features & SDG_FEATURE_F16) ? SDG_F16 : sdg_vk_float_type(graph, op);
}

// Of `n` columns.
static struct product product_of(const struct sdg_vk_lowering *lo, const struct sdg_vk_matmul *matmul, int64_t n)
{
    const struct sdg_op *op = lo->op;
    const bool integer = sdg_vk_is_integer(lo->graph, op);
    return (struct product){
        .family = integer ? matmul->integer_family : matmul->family,
        .type = type_of(lo->vk, lo->graph, op),
        .m = matmul->m,
        .n = n,
        .k = matmul->k,
        .pitch = matmul->n,
        .columns = matmul->columns,
        .integer = integer,
        .loads = op->load.norm || op->load.codes.interval,
        .fours = integer || op->codes.interval || op->epilogue.gated,
    };
}

// The end of the band of columns that begins at `first`: of those whose weights are bound at once.
static int64_t end_of_band(const struct sdg_vk_lowering *lo, const struct sdg_vk_matmul *matmul, int64_t first)
{
    const int64_t band = sdg_vk_weights_band(lo->weights, lo->op->in[1]);
    return band && band < matmul->n - first ? first + band : matmul->n;
}

size_t sdg_vk_matmul_scratch(const struct sdg_vk_lowering *lo, const struct sdg_vk_matmul *matmul)
{
    size_t most = 0;
    for (int64_t first = 0, end; first < matmul->n; first = end) {
        end = end_of_band(lo, matmul, first);
        const struct product product = product_of(lo, matmul, end - first);
        struct plan plan;
        const size_t bytes =
            choose(lo->vk, &product, &plan) && plan.parts > 1 ? (size_t)part_bytes(&product, plan.parts) : 0;
        most = bytes > most ? bytes : most;
    }
    return most;
}

int64_t sdg_vk_matmul_slice(const struct sdg_vk_lowering *lo, const struct sdg_vk_matmul *matmul)
{
    const struct product product = product_of(lo, matmul, matmul->n);
    struct plan plan;
    if (!choose(lo->vk, &product, &plan) || !plan.sliced)
        return 0;
    const bool halves = product.integer && sdg_vk_value(lo, lo->op->in[1])->bits == 4; // words of two, as stored
    return plan.tile->k / (halves ? 2 : 1);
}

// ---- dispatches ----

static void add_plan(const struct sdg_vk *vk, struct sdg_vk_dispatch *d, const struct plan *plan,
                     const struct product *product)
{
    const struct sdg_tile *tile = plan->tile;
    d->shader = plan->shader;
    d->local_size = tile->threads;
    d->spec[SDG_SPEC_BM] = tile->m;
    d->spec[SDG_SPEC_BN] = tile->n;
    d->spec[SDG_SPEC_TM] = tile->tm;
    d->spec[SDG_SPEC_TN] = tile->tn;
    d->spec[SDG_SPEC_BY_COLUMNS] = plan->by_columns;
    d->spec[SDG_SPEC_BUFFERS] = plan->buffers;
    d->spec[SDG_SPEC_SPLIT] = plan->parts > 1;
    d->groups[plan->by_columns] = sdg_vk_ceil(product->m, tile->m);
    d->groups[!plan->by_columns] = sdg_vk_ceil(product->n, tile->n);
    d->groups[2] = plan->parts;
    if (!plan->matrix)
        return;
    d->local_size = tile->threads * vk->caps.matrices.subgroup;
    d->spec[SDG_SPEC_FRAGMENT_M] = plan->matrix->m;
    d->spec[SDG_SPEC_FRAGMENT_N] = plan->matrix->n;
    d->spec[SDG_SPEC_FRAGMENT_K] = plan->matrix->k;
}

// Entries of a row of the epilogue's table: 1 or the batch.
static uint32_t table_samples(const struct sdg_vk_lowering *lo)
{
    return lo->op->epilogue.table ? (uint32_t)sdg_vk_value(lo, lo->op->epilogue.table)->dims[1] : 1;
}

// The binding of something that has `size` bytes for each column, from a later column on.
static struct sdg_vk_binding from_column(struct sdg_vk_binding b, int64_t column, size_t size)
{
    if (b.place.space != SDG_VK_SPACE_ROW) { // it is there
        b.place.offset += (size_t)column * size;
        b.place.bytes -= (size_t)column * size;
    }
    return b;
}

static bool reads_unsigned(const struct sdg_vk_lowering *lo)
{
    const struct sdg_output_codes *codes = &lo->op->load.codes;
    return codes->interval ? codes->lowest == 0 : sdg_vk_value(lo, lo->op->in[0])->dtype == SDG_U8;
}

// What shaders/operands_s8.glsl needs, from column `first` on.
static void add_integers(const struct sdg_vk_lowering *lo, struct sdg_vk_dispatch *d, int64_t first)
{
    const struct sdg_op *op = lo->op;
    d->bindings[d->binding_count++] = sdg_vk_read(lo, op->in[2]);
    d->bindings[d->binding_count++] = from_column(sdg_vk_read(lo, op->in[3]), first, sizeof(float));
    d->spec[SDG_SPEC_IN_PAIRS] = sdg_vk_pairs_per_row(lo, op->in[2]);
    d->spec[SDG_SPEC_FLIP] = reads_unsigned(lo) ? 0x80808080 : 0;
    if (op->load.codes.interval) {
        d->spec[SDG_SPEC_IN_LOWEST] = (uint32_t)op->load.codes.lowest;
        d->spec[SDG_SPEC_IN_HIGHEST] = (uint32_t)op->load.codes.highest;
    }
    d->spec[SDG_SPEC_WEIGHT_BITS] = (uint32_t)sdg_vk_value(lo, op->in[1])->bits;
}

static uint32_t table_kind(const struct sdg_vk_lowering *lo)
{
    if (!lo->op->epilogue.table)
        return SDG_TABLE_NONE;
    return table_samples(lo) == 1 ? SDG_TABLE_SHARED : SDG_TABLE_PER_SAMPLE;
}

// "conv2d_f16_v4_128x128", "conv2d_s8_w4_dot_64x64", "linear_f16_w8_32x32"; behind it "c" by columns, "d" where slices
// have two buffers that might have one, "s" where weights lie in slices, "_p4" with k in four parts, "_b3" with columns
// in three bands, of which it is the first's plan, "_norm" and "_round" where what is loaded is normalised or becomes
// codes
static void name_kernel(struct sdg_vk_lowering *lo, const struct plan *plan, bool integer, int code_bits, int64_t bands)
{
    const unsigned needs = plan->shader->needs;
    char *text = lo->kernel;
    size_t size = sizeof lo->kernel;
    if (integer)
        snprintf(text, size, "%s%s%s", plan->shader->family, sdg_vk_value(lo, lo->op->in[1])->bits == 4 ? "_w4" : "",
                 needs & SDG_FEATURE_COOPMAT     ? "_coopmat"
                     : needs & SDG_FEATURE_LANES ? "_lanes"
                     : needs & SDG_FEATURE_DOT   ? "_dot"
                                                 : "");
    if (code_bits)
        snprintf(text + strlen(text), size - strlen(text), "_w%d", code_bits);
    snprintf(text + strlen(text), size - strlen(text), "_%ux%u%s%s%s", plan->tile->m, plan->tile->n,
             plan->by_columns ? "c" : "", plan->buffers == 2 && !plan->matrix ? "d" : "",
             sdg_vk_weights_slice(lo->weights, lo->op->in[1]) ? "s" : "");
    if (plan->parts > 1)
        snprintf(text + strlen(text), size - strlen(text), "_p%u", plan->parts);
    if (bands > 1)
        snprintf(text + strlen(text), size - strlen(text), "_b%lld", (long long)bands);
    if (lo->op->load.norm || lo->op->load.codes.interval)
        snprintf(text + strlen(text), size - strlen(text), lo->op->load.norm ? "_norm" : "_round");
}

struct sdg_push_sum_parts { // GLSL twin: Push in shaders/sum_parts_push.glsl
    struct sdg_push_product product;
    uint32_t rows_per_sample, parts;
};
_Static_assert(sizeof(struct sdg_push_sum_parts) == 28, "as in the shader");

static struct sdg_push_product push_of(const struct sdg_vk_lowering *lo, const struct product *product)
{
    return (struct sdg_push_product){
        .m = (uint32_t)product->m,
        .n = (uint32_t)product->n,
        .k = (uint32_t)product->k,
        .pitch = (uint32_t)product->pitch,
        .table_samples = table_samples(lo),
    };
}

// `whole` makes the outputs of k in one part, and is cut in two: sums of parts to scratch memory, outputs of these.
static enum sdg_result emit_parts(struct sdg_vk_lowering *lo, const struct sdg_vk_dispatch *whole,
                                  const struct product *product, const struct plan *plan,
                                  const struct sdg_vk_matmul *matmul)
{
    const size_t bytes = (size_t)part_bytes(product, plan->parts);
    const struct sdg_push_sum_parts push = {
        .product = push_of(lo, product),
        .rows_per_sample = (uint32_t)matmul->rows_per_sample,
        .parts = plan->parts,
    };
    static const int of_outputs[] = {SDG_SPEC_BIAS,   SDG_SPEC_TABLE,   SDG_SPEC_RESIDUAL, SDG_SPEC_ACTIVATION,
                                     SDG_SPEC_LOWEST, SDG_SPEC_HIGHEST, SDG_SPEC_OUT_PAIRS};
    static const int of_operands[] = {SDG_SPEC_UPSAMPLE, SDG_SPEC_NORMALISED, SDG_SPEC_IN_LOWEST, SDG_SPEC_IN_HIGHEST};
    enum { OUT = 2, OF_OUTPUTS = 3, NORM = 4, OF_OPERANDS = 8 }; // bindings
    struct sdg_vk_dispatch sums = *whole, outputs = *whole;
    for (size_t i = 0; i < sizeof of_outputs / sizeof *of_outputs; i++)
        sums.spec[of_outputs[i]] = 0;
    sums.bindings[OUT] = sdg_vk_scratch(lo, 0, bytes, true);
    for (uint32_t i = OF_OUTPUTS; i < OF_OPERANDS; i++)
        if (i != NORM || !lo->op->load.norm)
            sums.bindings[i] = sdg_vk_row();
    add_plan(lo->vk, &sums, plan, product);
    outputs.family = product->integer ? "sum_parts_s8" : "sum_parts";
    outputs.columns = 0;
    for (size_t i = 0; i < sizeof of_operands / sizeof *of_operands; i++)
        outputs.spec[of_operands[i]] = 0;
    outputs.bindings[0] = sdg_vk_scratch(lo, 0, bytes, false);
    outputs.push = &push;
    outputs.push_bytes = sizeof push;
    SDG_TRY(sdg_vk_emit(lo, &sums));
    return sdg_vk_emit_elements(lo, &outputs, product->m * sdg_vk_ceil(product->n, 4));
}

// Columns [first, first + n), whose weights are a band.
static enum sdg_result emit_band(struct sdg_vk_lowering *lo, const struct sdg_vk_matmul *matmul, int64_t first,
                                 int64_t n)
{
    const struct sdg_op *op = lo->op;
    const struct sdg_epilogue *epilogue = &op->epilogue;
    const struct product product = product_of(lo, matmul, n);
    const struct sdg_push_product columns = push_of(lo, &product);
    const size_t out_size = sdg_dtype_size(sdg_vk_value(lo, op->out)->dtype),
                 residual_size = sdg_dtype_size(sdg_vk_value(lo, epilogue->residual)->dtype);
    unsigned char push[SDG_VK_MAX_PUSH];
    memcpy(push, matmul->push, matmul->push_bytes);
    memcpy(push, &columns, sizeof columns);
    const int code_bits = product.integer ? 0 : sdg_vk_weights_code_bits(lo->weights, op->in[1]);
    const int64_t slice = sdg_vk_weights_slice(lo->weights, op->in[1]); // a power of two
    struct sdg_vk_dispatch d = {
        .family = product.family,
        .type = product.type,
        .columns = product.columns,
        .spec = {[SDG_SPEC_BIAS] = epilogue->bias != 0,
                 [SDG_SPEC_TABLE] = table_kind(lo),
                 [SDG_SPEC_RESIDUAL] = epilogue->residual != 0,
                 [SDG_SPEC_ACTIVATION] = epilogue->activation,
                 [SDG_SPEC_UPSAMPLE] = matmul->upsample,
                 [SDG_SPEC_NORMALISED] = op->load.norm != 0,
                 [SDG_SPEC_GEGLU] = epilogue->gated,
                 [SDG_SPEC_WEIGHT_BITS] = (uint32_t)code_bits,
                 [SDG_SPEC_WEIGHT_SLICE] = slice ? (uint32_t)sdg_vk_log2(slice) : SDG_WEIGHT_ROWS},
        .binding_count = 6,
        .bindings = {sdg_vk_read(lo, op->in[0]),
                     {.place = sdg_vk_weights_place(lo->vk, lo->graph, lo->weights, lo->places, op->in[1], first)},
                     from_column(sdg_vk_write(lo, op->out), epilogue->gated ? first / 2 : first, out_size),
                     from_column(sdg_vk_read(lo, epilogue->bias), first, sizeof(float)),
                     op->load.norm ? sdg_vk_read(lo, op->load.norm) // in the table's place: shaders/loading.glsl
                                   : from_column(sdg_vk_read(lo, epilogue->table), first, sizeof(float)),
                     from_column(sdg_vk_read(lo, epilogue->residual), first, residual_size)},
        .push = push,
        .push_bytes = matmul->push_bytes,
    };
    sdg_vk_add_codes(lo, &d);
    if (product.integer)
        add_integers(lo, &d, first);
    struct plan plan;
    if (!choose(lo->vk, &product, &plan))
        return sdg_vk_no_shader(lo, &d);
    if (plan.parts > 1) {
        SDG_TRY(emit_parts(lo, &d, &product, &plan, matmul));
    } else {
        add_plan(lo->vk, &d, &plan, &product);
        SDG_TRY(sdg_vk_emit(lo, &d));
    }
    if (first == 0)
        name_kernel(lo, &plan, product.integer, code_bits, sdg_vk_ceil(matmul->n, n));
    return SDG_OK;
}

enum sdg_result sdg_vk_emit_matmul(struct sdg_vk_lowering *lo, const struct sdg_vk_matmul *matmul)
{
    for (int64_t first = 0, end; first < matmul->n; first = end) {
        end = end_of_band(lo, matmul, first);
        SDG_TRY(emit_band(lo, matmul, first, end - first));
    }
    return SDG_OK;
}
