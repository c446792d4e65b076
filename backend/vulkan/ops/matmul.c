#include "backend/vulkan/vk_ops.h"

#include <stdio.h>

enum { WORKGROUPS_WANTED = 64, THIN = 8, SOFTWARE_OUTPUTS = 32 };

// Shapes that are much narrower than a tile waste most of it, so that few rows (time embedding, pooled text) and few
// columns (the last convolutions of UNet and autoencoder) have tiles of their own.
enum form { FEW_ROWS, FEW_COLUMNS, BROAD };

static enum form form_of(int64_t m, int64_t n)
{
    return m <= THIN ? FEW_ROWS : n <= THIN ? FEW_COLUMNS : BROAD;
}

static bool fits(const struct sdg_vk_caps *caps, const struct sdg_shader *shader, const struct sdg_tile *t, int64_t n,
                 bool fours)
{
    if (shader->needs & SDG_FEATURE_LANES)
        return t->threads == caps->subgroup_size && !(fours && (n % 4 || t->tn % 4));
    return t->threads <= caps->max_invocations && t->k * (t->m + 4 + t->n + 4) * sizeof(float) <= caps->shared_bytes &&
        !(caps->software && t->tm * t->tn > SOFTWARE_OUTPUTS);
}

// The largest tile of the shader's that still gives the device enough workgroups, else the smallest; NULL if it has
// none for this shape and device.
static const struct sdg_tile *choose_tile(const struct sdg_vk_caps *caps, const struct sdg_shader *shader, int64_t m,
                                          int64_t n, bool fours)
{
    const struct sdg_tile *chosen = NULL;
    for (const struct sdg_tile *t = shader->tiles; t < shader->tiles + shader->tile_count; t++) {
        if (form_of(t->m, t->n) != form_of(m, n) || !fits(caps, shader, t, n, fours))
            continue;
        chosen = t;
        if (sdg_vk_ceil(m, t->m) * sdg_vk_ceil(n, t->n) >= WORKGROUPS_WANTED)
            break;
    }
    return chosen;
}

// The shader first, and from its own tiles the tile.
static const struct sdg_tile *choose(const struct sdg_vk *vk, const struct sdg_vk_matmul *matmul, bool integer,
                                     struct sdg_vk_dispatch *d)
{
    const bool fours = integer || d->spec[SDG_SPEC_HIGHEST] != 0; // four neighbours make a word
    const struct sdg_tile *tile = NULL;
    do {
        d->shader = sdg_vk_find_shader(vk->features, d->family, d->type, d->columns, d->shader);
        tile = d->shader ? choose_tile(&vk->caps, d->shader, matmul->m, matmul->n, fours) : NULL;
    } while (d->shader && !tile);
    return tile;
}

static void add_tile(struct sdg_vk_dispatch *d, const struct sdg_tile *tile, const struct sdg_vk_matmul *matmul)
{
    d->local_size = tile->threads;
    d->spec[SDG_SPEC_BM] = tile->m;
    d->spec[SDG_SPEC_BN] = tile->n;
    d->spec[SDG_SPEC_TM] = tile->tm;
    d->spec[SDG_SPEC_TN] = tile->tn;
    d->groups[0] = sdg_vk_ceil(matmul->m, tile->m);
    d->groups[1] = sdg_vk_ceil(matmul->n, tile->n);
    d->groups[2] = 1;
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

// "conv2d_f16_v4_128x128", "conv2d_s8_w4_dot_64x64", "linear_f16_w8_32x32"
static void name_kernel(struct sdg_vk_lowering *lo, const struct sdg_vk_dispatch *d, const struct sdg_tile *tile,
                        bool integer, int code_bits)
{
    char *text = lo->kernel;
    size_t size = sizeof lo->kernel;
    if (integer)
        snprintf(text, size, "%s%s%s", d->family, sdg_vk_value(lo, lo->op->in[1])->bits == 4 ? "_w4" : "",
                 d->shader->needs & SDG_FEATURE_LANES     ? "_lanes"
                     : d->shader->needs & SDG_FEATURE_DOT ? "_dot"
                                                          : "");
    if (code_bits)
        snprintf(text + strlen(text), size - strlen(text), "_w%d", code_bits);
    snprintf(text + strlen(text), size - strlen(text), "_%ux%u", tile->m, tile->n);
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
    const struct sdg_tile *tile = choose(lo->vk, matmul, integer, &d);
    if (!tile)
        return sdg_vk_no_shader(lo, &d);
    add_tile(&d, tile, matmul);
    SDG_TRY(sdg_vk_emit(lo, &d));
    name_kernel(lo, &d, tile, integer, code_bits);
    return SDG_OK;
}
