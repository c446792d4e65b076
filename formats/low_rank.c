// Tensors that are sums: what a file holds, plus products of two thin matrices.
#include "base/memory.h"
#include "formats/stored.h"
#include "formats/view.h"

#include <inttypes.h>
#include <math.h>

static enum sdg_result no_fit(const struct sdg_log *log, const struct sdg_tensors *tensors,
                              const struct sdg_low_rank *part, const char *why)
{
    return sdg_fail(log, SDG_ERROR_INPUT, "%s: %s * %s cannot be added to %s: %s", sdg_tensors_path(tensors),
                    part->up->name, part->down->name, part->name, why);
}

// Elements behind the first axis.
static size_t inputs_of(const struct sdg_tensor *t)
{
    size_t count = 1;
    for (int i = 1; i < t->rank; i++)
        count *= (size_t)t->dims[i]; // as many as bytes, or fewer: cannot overflow
    return count;
}

// A matrix of floats; all axes behind the first make the other.
static bool is_matrix(const struct sdg_tensor *t)
{
    return t->rank >= 2 && sdg_dtype_is_float(t->dtype) && !t->added && t->bytes > 0;
}

static enum sdg_result check_part(const struct sdg_log *log, const struct sdg_tensors *tensors,
                                  const struct sdg_low_rank *part)
{
    const struct sdg_tensor *target = sdg_tensors_find(tensors, part->name);
    if (!target)
        return no_fit(log, tensors, part, "there is no such tensor");
    const struct sdg_encoding *encoding = sdg_encoding_of(target->dtype);
    if (!encoding || target->rank < 2)
        return no_fit(log, tensors, part, "it is no matrix of numbers or codes");
    if (!is_matrix(part->up) || !is_matrix(part->down))
        return no_fit(log, tensors, part, "both should be matrices of floats");
    if (!isfinite(part->factor))
        return no_fit(log, tensors, part, "the factor is no finite number");
    const size_t inputs = inputs_of(part->down);
    // Packed codes do not say how many there are in a row; what the product has is checked against the row's bytes.
    const size_t row = sdg_encoding_row(encoding, inputs) / sdg_dtype_size(target->dtype);
    if (inputs_of(part->up) != (size_t)part->down->dims[0] || part->up->dims[1] != part->down->dims[0] ||
        part->up->dims[0] != target->dims[0] || row != inputs_of(target))
        return sdg_fail(log, SDG_ERROR_INPUT,
                        "%s: %s [%" PRId64 ", %zu] * %s [%" PRId64 ", %zu] cannot be added to %s [%" PRId64 ", %zu]",
                        sdg_tensors_path(tensors), part->up->name, part->up->dims[0], inputs_of(part->up),
                        part->down->name, part->down->dims[0], inputs, part->name, target->dims[0], inputs_of(target));
    return SDG_OK;
}

// The floats of `from`, as f32.
static const float *copy(const struct sdg_log *log, struct sdg_tensors *tensors, const struct sdg_tensor *from)
{
    const struct sdg_stored stored = sdg_stored_numbers(from);
    size_t count = stored.outputs * stored.inputs, bytes;
    if (__builtin_mul_overflow(count, sizeof(float), &bytes))
        bytes = SIZE_MAX;
    float *to = sdg_tensors_room(log, tensors, bytes);
    if (to)
        sdg_stored_expand(&stored, 0, count, SDG_F32, to);
    return to;
}

static struct sdg_low_rank_part *make_part(const struct sdg_log *log, struct sdg_tensors *tensors,
                                           const struct sdg_low_rank *from)
{
    struct sdg_low_rank_part *part = sdg_tensors_room(log, tensors, sizeof *part);
    const float *up = part ? copy(log, tensors, from->up) : NULL, *down = up ? copy(log, tensors, from->down) : NULL;
    if (!down)
        return NULL;
    *part = (struct sdg_low_rank_part){.up = up,
                                       .down = down,
                                       .outputs = (size_t)from->up->dims[0],
                                       .inputs = inputs_of(from->down),
                                       .rank = (size_t)from->down->dims[0],
                                       .factor = from->factor};
    return part;
}

enum sdg_result sdg_tensors_add_low_rank(const struct sdg_log *log, struct sdg_tensors *tensors,
                                         const struct sdg_low_rank *parts, size_t count)
{
    for (size_t i = 0; i < count; i++)
        SDG_TRY(check_part(log, tensors, &parts[i]));
    struct sdg_low_rank_part **made = sdg_alloc(log, count, sizeof *made, "low-rank parts");
    if (!made)
        return SDG_ERROR_MEMORY;
    enum sdg_result result = SDG_OK;
    for (size_t i = 0; i < count && result == SDG_OK; i++)
        if (!(made[i] = make_part(log, tensors, &parts[i])))
            result = SDG_ERROR_MEMORY;
    for (size_t i = 0; i < count && result == SDG_OK; i++) {
        struct sdg_tensor *target = sdg_tensors_edit(tensors, parts[i].name);
        made[i]->next = target->added;
        target->added = made[i];
    }
    sdg_free(made);
    return result;
}
