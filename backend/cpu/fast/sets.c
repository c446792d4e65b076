// Picks the kernels for the processor at hand.
#include "backend/cpu/fast/sets.h"

#include <stdio.h>
#include <string.h>

#define KERNEL_COUNT(kernel) +1
_Static_assert(sizeof(struct sdg_fast_kernels) ==
                   offsetof(struct sdg_fast_kernels, convert) +
                       (1 SDG_FAST_EACH_KERNEL(KERNEL_COUNT)) * sizeof(void (*)(void)),
               "SDG_FAST_EACH_KERNEL lists all kernels");
#undef KERNEL_COUNT

#define BIT(feature) SDG_CPU_##feature
static const struct sdg_fast_set rows[] = {
    {"generic", 0, &sdg_fast_kernels_generic},
#if defined(__x86_64__)
    {"sse2", SDG_FAST_NEEDS_SSE2(BIT, |), &sdg_fast_kernels_sse2},
    {"avx2", SDG_FAST_NEEDS_AVX2(BIT, |), &sdg_fast_kernels_avx2},
    {"avx512", SDG_FAST_NEEDS_AVX512(BIT, |), &sdg_fast_kernels_avx512},
    {"avx512bf16", SDG_FAST_NEEDS_AVX512BF16(BIT, |), &sdg_fast_kernels_avx512bf16},
#elif defined(__aarch64__)
    {"neon", SDG_FAST_NEEDS_NEON(BIT, |), &sdg_fast_kernels_neon},
    {"neon_dotprod", SDG_FAST_NEEDS_NEON_DOTPROD(BIT, |), &sdg_fast_kernels_neon_dotprod},
    {"neon_i8mm", SDG_FAST_NEEDS_NEON_I8MM(BIT, |), &sdg_fast_kernels_neon_i8mm},
    {"neon_bf16", SDG_FAST_NEEDS_NEON_BF16(BIT, |), &sdg_fast_kernels_neon_bf16},
    {"neon_fp16", SDG_FAST_NEEDS_NEON_FP16(BIT, |), &sdg_fast_kernels_neon_fp16},
#endif
};
#undef BIT
enum { ROWS = sizeof rows / sizeof *rows };

const struct sdg_fast_set *sdg_fast_sets(size_t *count)
{
    *count = ROWS;
    return rows;
}

void sdg_fast_select(const struct sdg_fast_set *sets, size_t count, unsigned features, bool f16,
                     struct sdg_fast_kernels *out)
{
    *out = (struct sdg_fast_kernels){0};
    for (size_t i = 0; i < count; i++) {
        const struct sdg_fast_kernels *own = sets[i].kernels;
        if (sets[i].needs & ~features || (own->halves == SDG_FAST_HALVES && !f16))
            continue;
        out->name = sets[i].name;
        out->halves = own->halves ? own->halves : out->halves;
        out->tile = own->tile ? own->tile : out->tile;
        if (own->unit) {
            out->unit = own->unit;
            out->code_sums = own->code_sums;
        }
#define TAKE(kernel) out->kernel = own->kernel ? own->kernel : out->kernel;
        SDG_FAST_EACH_KERNEL(TAKE)
#undef TAKE
    }
}

static bool find(const char *name, size_t length, unsigned *bits)
{
    for (int i = 0; i < ROWS; i++)
        if (strlen(rows[i].name) == length && memcmp(rows[i].name, name, length) == 0) {
            *bits = rows[i].needs;
            return true;
        }
    *bits = sdg_cpu_feature_named(name, length);
    return *bits != 0;
}

static bool is_row(const char *name)
{
    for (int i = 0; i < ROWS; i++)
        if (strcmp(rows[i].name, name) == 0)
            return true;
    return false;
}

// All rows, and the features that are no rows.
static void list_names(char *text, size_t size)
{
#define NAME(feature, bit) #feature,
    static const char *const features[] = {SDG_CPU_FEATURES(NAME) NULL};
#undef NAME
    size_t used = 0;
    for (int i = 0; i < ROWS && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%s", i ? ", " : "", rows[i].name);
    const char *between = " or the features ";
    for (const char *const *feature = features; *feature && used < size; feature++)
        if (!is_row(*feature)) {
            used += (size_t)snprintf(text + used, size - used, "%s%s", between, *feature);
            between = ", ";
        }
}

enum sdg_result sdg_fast_mask(const struct sdg_log *log, const char *names, unsigned *mask)
{
    *mask = names ? 0 : ~0u;
    for (const char *name = names; name; name = strchr(name, ',') ? strchr(name, ',') + 1 : NULL) {
        unsigned bits;
        const size_t length = strcspn(name, ",");
        if (!find(name, length, &bits)) {
            char known[256];
            list_names(known, sizeof known);
            return sdg_fail(log, SDG_ERROR_USAGE, "no instruction set '%.*s', should be some of %s",
                            (int)(length < 64 ? length : 64), name, known);
        }
        *mask |= bits;
    }
    return SDG_OK;
}
