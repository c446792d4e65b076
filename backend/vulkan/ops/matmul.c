#include "backend/vulkan/vk_ops.h"

#include <stdio.h>

// Tiles of shaders/matmul.glsl: a workgroup makes bm x bn outputs, an invocation tm x tn of them.
struct tile {
    uint32_t bm, bn, tm, tn;
};
static const struct tile tiles[] = { // from the most reuse to the least waste
    {128, 128, 8, 8},
    {64, 64, 8, 4},
    {32, 32, 4, 4},
    {128, 8, 4, 4}, // few output channels: the last convolutions of UNet and autoencoder
    {8, 32, 1, 4},  // few rows: time embedding, pooled text
};
enum { NARROW = 3, FLAT = 4, BK = 16, WORKGROUPS_WANTED = 64 };

static uint32_t invocations(const struct tile *t)
{
    return t->bm / t->tm * (t->bn / t->tn);
}

static bool fits(const struct sdg_vk_caps *caps, const struct tile *t)
{
    return invocations(t) <= caps->max_invocations && BK * (t->bm + 2 + t->bn + 2) * sizeof(float) <= caps->shared_bytes;
}

static int64_t workgroups(const struct tile *t, int64_t m, int64_t n)
{
    return sdg_vk_ceil(m, t->bm) * sdg_vk_ceil(n, t->bn);
}

// The largest tile that still gives the device enough workgroups; shapes that are much narrower than a tile have their own.
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

enum sdg_result sdg_vk_emit_matmul(struct sdg_vk_lowering *lo, const struct sdg_vk_matmul *matmul)
{
    const struct sdg_op *op = lo->op;
    const struct sdg_epilogue *epilogue = &op->epilogue;
    const struct tile *tile = choose_tile(&lo->vk->caps, matmul->m, matmul->n);
    struct sdg_vk_dispatch d = {
        .family = matmul->family,
        .type = sdg_vk_value(lo, op->out)->dtype,
        .columns = matmul->columns,
        .local_size = invocations(tile),
        .spec_count = 8,
        .spec = {tile->bm, tile->bn, tile->tm, tile->tn, epilogue->bias != 0, epilogue->table != 0, epilogue->residual != 0, epilogue->activation},
        .binding_count = 7,
        .bindings = {sdg_vk_read(lo, op->in[0]), sdg_vk_read(lo, op->in[1]), sdg_vk_write(lo, op->out), sdg_vk_read(lo, epilogue->bias),
                     sdg_vk_read(lo, epilogue->table), sdg_vk_read(lo, epilogue->residual), sdg_vk_row()},
        .push = matmul->push,
        .push_bytes = matmul->push_bytes,
        .groups = {sdg_vk_ceil(matmul->m, tile->bm), sdg_vk_ceil(matmul->n, tile->bn), 1},
    };
    SDG_TRY(sdg_vk_emit(lo, &d));
    size_t used = strlen(lo->kernel);
    snprintf(lo->kernel + used, sizeof lo->kernel - used, "_%ux%u", tile->bm, tile->bn);
    return SDG_OK;
}
