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

// What the choice of a tile depends on beside the device.
struct product {
    int64_t m, n;
    bool integer;
    bool fours; // an invocation makes four neighbours along n at a time, as codes are words of four
};

// How a product is cut up: a tile of the shader's, and of cooperative matrices which, and whether two slices fit.
struct plan {
    const struct sdg_tile *tile;
    const struct sdg_vk_matrix *matrix; // NULL: the shader has none
    uint32_t buffers;
    bool by_columns; // the order of workgroups (shaders/tile.glsl)
};

// Bytes of shared memory that shaders/slices.glsl and matmul_coopmat.glsl take.
static uint32_t matrix_bytes(const struct sdg_tile *t, const struct sdg_vk_matrix *matrix, uint32_t row_bytes,
                             uint32_t buffers)
{
    const uint32_t padding = 16, slices = (t->m + t->n) * (row_bytes + padding),
                   patch = matrix->m * (matrix->n * (uint32_t)sizeof(float) + padding);
    return buffers * slices + t->threads * patch;
}

// The largest matrix of the device's that the tile is made of, and as many buffers as there is room for.
static bool plan_matrices(const struct sdg_vk_caps *caps, const struct sdg_tile *t, bool integer, struct plan *plan)
{
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
            *plan = (struct plan){.tile = t, .matrix = x, .buffers = buffers};
            return true;
        }
    return false;
}

static bool plan_tile(const struct sdg_vk_caps *caps, const struct sdg_shader *shader, const struct sdg_tile *t,
                      const struct product *product, struct plan *plan)
{
    if (shader->needs & SDG_FEATURE_COOPMAT)
        return plan_matrices(caps, t, product->integer, plan);
    *plan = (struct plan){.tile = t};
    if (shader->needs & SDG_FEATURE_LANES) // shaders/matmul_lanes.glsl stores only whole fours
        return t->threads == caps->subgroup_size && (!product->fours || (t->tn % 4 == 0 && product->n % 4 == 0));
    return t->threads <= caps->max_invocations && t->k * (t->m + 4 + t->n + 4) * sizeof(float) <= caps->shared_bytes &&
        t->tm * t->tn <= caps->most_outputs;
}

// The largest tile of the shader's that still gives the device enough workgroups, else the smallest; false if it has
// none for this shape and device.
static bool choose_tile(const struct sdg_vk_caps *caps, const struct sdg_shader *shader, const struct product *product,
                        struct plan *plan)
{
    const int64_t m = product->m, n = product->n;
    bool found = false;
    for (const struct sdg_tile *t = shader->tiles; t < shader->tiles + shader->tile_count; t++) {
        struct plan next;
        if (form_of(t->m, t->n) != form_of(m, n) || !plan_tile(caps, shader, t, product, &next))
            continue;
        *plan = next;
        found = true;
        if (sdg_vk_ceil(m, t->m) * sdg_vk_ceil(n, t->n) >= caps->workgroups)
            break;
    }
    return found;
}

// As it is being measured, or was measured to be best; false where it was not, or where that does not fit this product.
static bool choose_measured(const struct sdg_vk *vk, const struct product *product, struct sdg_vk_dispatch *d,
                            struct plan *plan)
{
    struct sdg_vk_tiles *tiles = vk->tiles;
    const struct sdg_shader *shader = tiles->forced_shader;
    const struct sdg_tile *tile = tiles->forced_tile;
    bool by_columns = tiles->forced_by_columns;
    if (!tiles->measuring) {
        const struct sdg_vk_choice *choice =
            sdg_vk_tiles_find(vk, d->family, d->type, d->columns, product->m, product->n);
        shader = choice ? choice->shader : NULL;
        tile = choice ? choice->tile : NULL;
        by_columns = choice && choice->by_columns;
    }
    if (!shader || form_of(product->m, product->n) != BROAD || strcmp(shader->family, d->family) ||
        shader->type != d->type || !plan_tile(&vk->caps, shader, tile, product, plan))
        return false;
    plan->by_columns = by_columns && sdg_vk_ceil(product->m, tile->m) <= vk->caps.max_groups[1];
    tiles->forced_fits = plan->by_columns == by_columns;
    d->shader = shader;
    return true;
}

// The shader first, and from its own tiles the tile.
static bool choose(const struct sdg_vk *vk, const struct product *product, struct sdg_vk_dispatch *d, struct plan *plan)
{
    if (choose_measured(vk, product, d, plan))
        return true;
    do
        d->shader = sdg_vk_find_shader(vk->features, d->family, d->type, d->columns, d->shader);
    while (d->shader && !choose_tile(&vk->caps, d->shader, product, plan));
    return d->shader;
}

static void add_plan(const struct sdg_vk *vk, struct sdg_vk_dispatch *d, const struct plan *plan,
                     const struct sdg_vk_matmul *matmul)
{
    const struct sdg_tile *tile = plan->tile;
    d->local_size = tile->threads;
    d->spec[SDG_SPEC_BM] = tile->m;
    d->spec[SDG_SPEC_BN] = tile->n;
    d->spec[SDG_SPEC_TM] = tile->tm;
    d->spec[SDG_SPEC_TN] = tile->tn;
    d->spec[SDG_SPEC_BY_COLUMNS] = plan->by_columns;
    d->groups[plan->by_columns] = sdg_vk_ceil(matmul->m, tile->m);
    d->groups[!plan->by_columns] = sdg_vk_ceil(matmul->n, tile->n);
    d->groups[2] = 1;
    if (!plan->matrix)
        return;
    d->local_size = tile->threads * vk->caps.matrices.subgroup;
    d->spec[SDG_SPEC_FRAGMENT_M] = plan->matrix->m;
    d->spec[SDG_SPEC_FRAGMENT_N] = plan->matrix->n;
    d->spec[SDG_SPEC_FRAGMENT_K] = plan->matrix->k;
    d->spec[SDG_SPEC_BUFFERS] = plan->buffers;
}

uint32_t sdg_vk_table_samples(const struct sdg_vk_lowering *lo)
{
    return lo->op->epilogue.table ? (uint32_t)sdg_vk_value(lo, lo->op->epilogue.table)->dims[1] : 1;
}

// What shaders/operands_s8.glsl needs.
static void add_integers(const struct sdg_vk_lowering *lo, struct sdg_vk_dispatch *d)
{
    const struct sdg_op *op = lo->op;
    d->bindings[d->binding_count++] = sdg_vk_read(lo, op->in[2]);
    d->bindings[d->binding_count++] = sdg_vk_read(lo, op->in[3]);
    d->spec[SDG_SPEC_IN_PAIRS] = sdg_vk_pairs_per_row(lo, op->in[2]);
    d->spec[SDG_SPEC_FLIP] = sdg_vk_value(lo, op->in[0])->dtype == SDG_U8 ? 0x80808080 : 0;
    d->spec[SDG_SPEC_WEIGHT_BITS] = (uint32_t)sdg_vk_value(lo, op->in[1])->bits;
}

static uint32_t table_kind(const struct sdg_vk_lowering *lo)
{
    if (!lo->op->epilogue.table)
        return SDG_TABLE_NONE;
    return sdg_vk_table_samples(lo) == 1 ? SDG_TABLE_SHARED : SDG_TABLE_PER_SAMPLE;
}

// "conv2d_f16_v4_128x128", "conv2d_s8_w4_dot_64x64", "linear_f16_w8_32x32"; with a "c" at the end by columns
static void name_kernel(struct sdg_vk_lowering *lo, const struct sdg_vk_dispatch *d, const struct plan *plan,
                        bool integer, int code_bits)
{
    char *text = lo->kernel;
    size_t size = sizeof lo->kernel;
    if (integer)
        snprintf(text, size, "%s%s%s", d->family, sdg_vk_value(lo, lo->op->in[1])->bits == 4 ? "_w4" : "",
                 d->shader->needs & SDG_FEATURE_COOPMAT     ? "_coopmat"
                     : d->shader->needs & SDG_FEATURE_LANES ? "_lanes"
                     : d->shader->needs & SDG_FEATURE_DOT   ? "_dot"
                                                            : "");
    if (code_bits)
        snprintf(text + strlen(text), size - strlen(text), "_w%d", code_bits);
    snprintf(text + strlen(text), size - strlen(text), "_%ux%u%s", plan->tile->m, plan->tile->n,
             plan->by_columns ? "c" : "");
}

enum sdg_result sdg_vk_emit_matmul(struct sdg_vk_lowering *lo, const struct sdg_vk_matmul *matmul)
{
    const struct sdg_op *op = lo->op;
    const struct sdg_epilogue *epilogue = &op->epilogue;
    const bool integer = sdg_vk_is_integer(lo->graph, op);
    const int code_bits = integer ? 0 : sdg_vk_weights_code_bits(lo->weights, op->in[1]);
    struct sdg_vk_dispatch d = {
        .family = integer ? matmul->integer_family : matmul->family,
        .type = sdg_vk_float_type(lo->graph, op),
        .columns = matmul->columns,
        .spec = {[SDG_SPEC_BIAS] = epilogue->bias != 0,
                 [SDG_SPEC_TABLE] = table_kind(lo),
                 [SDG_SPEC_RESIDUAL] = epilogue->residual != 0,
                 [SDG_SPEC_ACTIVATION] = epilogue->activation,
                 [SDG_SPEC_UPSAMPLE] = matmul->upsample,
                 [SDG_SPEC_GEGLU] = epilogue->gated,
                 [SDG_SPEC_WEIGHT_BITS] = (uint32_t)code_bits},
        .binding_count = 6,
        .bindings = {sdg_vk_read(lo, op->in[0]), sdg_vk_read(lo, op->in[1]), sdg_vk_write(lo, op->out),
                     sdg_vk_read(lo, epilogue->bias), sdg_vk_read(lo, epilogue->table),
                     sdg_vk_read(lo, epilogue->residual)},
        .push = matmul->push,
        .push_bytes = matmul->push_bytes,
    };
    sdg_vk_add_codes(lo, &d);
    if (integer)
        add_integers(lo, &d);
    const struct product product = {matmul->m, matmul->n, integer, integer || op->codes.interval || epilogue->gated};
    struct plan plan;
    if (!choose(lo->vk, &product, &d, &plan))
        return sdg_vk_no_shader(lo, &d);
    add_plan(lo->vk, &d, &plan, matmul);
    SDG_TRY(sdg_vk_emit(lo, &d));
    name_kernel(lo, &d, &plan, integer, code_bits);
    return SDG_OK;
}
