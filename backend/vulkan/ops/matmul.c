#include "backend/vulkan/vk_ops.h"

#include <stdio.h>

// Tiles of shaders/matmul.glsl and matmul_s8.glsl: a workgroup makes bm x bn outputs, an invocation tm x tn of them. tn
// is a multiple of 4.
struct tile { uint32_t bm, bn, tm, tn; };
static const struct tile tiles[] = {
    // from the most reuse to the least waste
    {128, 128, 8, 8}, {64, 64, 8, 4},
    {32, 32, 4, 4},   {128, 8, 4, 4}, // few output channels: the last convolutions of UNet and autoencoder
    {8, 32, 1, 4},                    // few rows: time embedding, pooled text
};
enum { NARROW = 3, FLAT = 4, BK = 16, WORKGROUPS_WANTED = 64 };

static uint32_t invocations(const struct tile *t)
{
    return t->bm / t->tm * (t->bn / t->tn);
}

static bool fits(const struct sdg_vk_caps *caps, const struct tile *t)
{
    return invocations(t) <= caps->max_invocations &&
        BK * (t->bm + 2 + t->bn + 2) * sizeof(float) <= caps->shared_bytes;
}

static int64_t workgroups(const struct tile *t, int64_t m, int64_t n)
{
    return sdg_vk_ceil(m, t->bm) * sdg_vk_ceil(n, t->bn);
}

// The largest tile that still gives the device enough workgroups; shapes that are much narrower than a tile have their
// own.
static const struct tile *choose_tile(const struct sdg_vk_caps *caps, int64_t m, int64_t n)
{
    if (n <= 8 && m > 8)
        return &tiles[NARROW];
    if (m <= 8)
        return &tiles[FLAT];
    for (int i = caps->software ? 1 : 0; i < 2; i++)
        if (fits(caps, &tiles[i]) && workgroups(&tiles[i], m, n) >= WORKGROUPS_WANTED)
            return &tiles[i];
    return &tiles[2];
}

uint32_t sdg_vk_table_samples(const struct sdg_vk_lowering *lo)
{
    return lo->op->epilogue.table ? (uint32_t)sdg_vk_value(lo, lo->op->epilogue.table)->dims[1] : 1;
}

// What shaders/matmul_s8.glsl has beyond shaders/matmul.glsl.
static void add_integers(const struct sdg_vk_lowering *lo, struct sdg_vk_dispatch *d)
{
    const struct sdg_op *op = lo->op;
    d->bindings[d->binding_count++] = sdg_vk_read(lo, op->in[2]);
    d->bindings[d->binding_count++] = sdg_vk_read(lo, op->in[3]);
    d->spec[11] = sdg_vk_pairs_per_row(lo, op->in[2]);
    d->spec[12] = sdg_vk_value(lo, op->in[0])->dtype == SDG_U8 ? 0x80808080 : 0;
    d->spec[13] = (uint32_t)sdg_vk_value(lo, op->in[1])->bits;
    d->spec_count = 14;
}

enum sdg_result sdg_vk_emit_matmul(struct sdg_vk_lowering *lo, const struct sdg_vk_matmul *matmul)
{
    const struct sdg_op *op = lo->op;
    const struct sdg_epilogue *epilogue = &op->epilogue;
    const struct tile *tile = choose_tile(&lo->vk->caps, matmul->m, matmul->n);
    const bool integer = sdg_vk_is_integer(lo->graph, op);
    struct sdg_vk_dispatch d = {
        .family = integer ? matmul->integer_family : matmul->family,
        .type = sdg_vk_float_type(lo->graph, op),
        .columns = integer ? 0 : matmul->columns,
        .local_size = invocations(tile),
        .spec_count = 8,
        .spec = {tile->bm, tile->bn, tile->tm, tile->tn, epilogue->bias != 0, epilogue->table != 0,
                 epilogue->residual != 0, epilogue->activation},
        .binding_count = 6,
        .bindings = {sdg_vk_read(lo, op->in[0]), sdg_vk_read(lo, op->in[1]), sdg_vk_write(lo, op->out),
                     sdg_vk_read(lo, epilogue->bias), sdg_vk_read(lo, epilogue->table),
                     sdg_vk_read(lo, epilogue->residual)},
        .push = matmul->push,
        .push_bytes = matmul->push_bytes,
        .groups = {sdg_vk_ceil(matmul->m, tile->bm), sdg_vk_ceil(matmul->n, tile->bn), 1},
    };
    const int code_bits = integer ? 0 : sdg_vk_weights_code_bits(lo->weights, op->in[1]);
    sdg_vk_add_codes(lo, &d);
    if (integer)
        add_integers(lo, &d);
    if (code_bits) {
        d.spec[11] = (uint32_t)code_bits;
        d.spec_count = 12;
    }
    SDG_TRY(sdg_vk_emit(lo, &d));
    if (integer) { // "conv2d_s8_w4_dot"
        bool dot = lo->steps[lo->step_count - 1].key.shader->needs & SDG_FEATURE_DOT;
        snprintf(lo->kernel, sizeof lo->kernel, "%s%s%s", d.family, sdg_vk_value(lo, op->in[1])->bits == 4 ? "_w4" : "",
                 dot ? "_dot" : "");
    }
    if (code_bits) // "conv2d_f16_w8"
        snprintf(lo->kernel + strlen(lo->kernel), sizeof lo->kernel - strlen(lo->kernel), "_w%d", code_bits);
    size_t used = strlen(lo->kernel);
    snprintf(lo->kernel + used, sizeof lo->kernel - used, "_%ux%u", tile->bm, tile->bn);
    return SDG_OK;
}
