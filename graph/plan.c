#include "graph/plan.h"

#include "base/memory.h"
#include "graph/build.h"

#include <inttypes.h>
#include <stdlib.h>

// Something that needs bytes of the arena from operation `first` to operation `last`, both included.
struct interval {
    size_t first, last, bytes;
    size_t *offset; // where the result goes, an element of plan->offset or plan->scratch
    size_t at;      // offset in the layout being tried
    size_t number;  // order of creation: makes sorting deterministic
};

// Which intervals are placed first. No order is always best, so each is tried and the smallest arena wins.
enum order { BY_SIZE, BY_AREA, BY_DURATION, ORDER_COUNT };

static int compare_number(size_t a, size_t b)
{
    return (a > b) - (a < b);
}

static size_t duration(const struct interval *interval)
{
    return interval->last - interval->first + 1;
}

static int by_size(const void *left, const void *right)
{
    const struct interval *a = left, *b = right;
    int order = compare_number(b->bytes, a->bytes);
    return order ? order : compare_number(a->number, b->number);
}

static int by_area(const void *left, const void *right)
{
    const struct interval *a = left, *b = right;
    double area_a = (double)a->bytes * (double)duration(a), area_b = (double)b->bytes * (double)duration(b);
    int order = (area_a < area_b) - (area_a > area_b);
    return order ? order : by_size(left, right);
}

static int by_duration(const void *left, const void *right)
{
    const struct interval *a = left, *b = right;
    int order = compare_number(duration(b), duration(a));
    return order ? order : by_size(left, right);
}

static bool align_up(size_t bytes, size_t alignment, size_t *out)
{
    if (__builtin_add_overflow(bytes, alignment - 1, out))
        return false;
    *out &= ~(alignment - 1);
    return true;
}

// Where something begins that would begin at `at`, but must not lie across a multiple of `piece`. SIZE_MAX: nowhere.
static size_t keep_whole(size_t at, size_t bytes, size_t piece)
{
    if (piece == 0 || bytes == 0 || at % piece + bytes <= piece)
        return at;
    size_t next;
    return __builtin_add_overflow(at, piece - at % piece, &next) ? SIZE_MAX : next;
}

// Best fit: the smallest hole between the placed intervals alive at the same time, else the end of them.
// `placed` is sorted by offset and stays so. False if the arena would exceed the address space.
static bool place(struct interval **placed, size_t count, struct interval *next, size_t piece, size_t *arena)
{
    size_t covered = 0, best = SIZE_MAX, best_hole = SIZE_MAX;
    for (size_t i = 0; i < count; i++) {
        const struct interval *other = placed[i];
        if (other->first > next->last || other->last < next->first)
            continue;
        const size_t start = keep_whole(covered, next->bytes, piece);
        size_t hole = other->at > start ? other->at - start : 0;
        if (hole >= next->bytes && hole < best_hole) {
            best_hole = hole;
            best = start;
        }
        if (other->at + other->bytes > covered)
            covered = other->at + other->bytes;
    }
    next->at = best != SIZE_MAX ? best : keep_whole(covered, next->bytes, piece);
    size_t end;
    if (__builtin_add_overflow(next->at, next->bytes, &end) || end == SIZE_MAX)
        return false;
    if (end > *arena)
        *arena = end;
    size_t slot = count;
    for (; slot > 0 && placed[slot - 1]->at > next->at; slot--)
        placed[slot] = placed[slot - 1];
    placed[slot] = next;
    return true;
}

static bool try_order(enum order order, struct interval *intervals, size_t count, size_t piece,
                      struct interval **placed, size_t *arena)
{
    int (*const compare[ORDER_COUNT])(const void *, const void *) = {by_size, by_area, by_duration};
    qsort(intervals, count, sizeof *intervals, compare[order]);
    *arena = 0;
    for (size_t i = 0; i < count; i++) {
        if (!place(placed, i, &intervals[i], piece, arena))
            return false;
    }
    return true;
}

static void live_peak(const struct interval *intervals, size_t count, size_t *change, size_t op_count, size_t *peak)
{
    // change[i]: bytes that begin at i less bytes that ended at i - 1, modulo 2^N; the running sum is exact as long as
    // it fits.
    for (size_t i = 0; i < count; i++) {
        change[intervals[i].first] += intervals[i].bytes;
        change[intervals[i].last + 1] -= intervals[i].bytes;
    }
    size_t alive = 0;
    *peak = 0;
    for (size_t i = 0; i < op_count; i++) {
        alive += change[i];
        if (alive > *peak)
            *peak = alive;
    }
}

struct work {
    size_t piece;
    struct interval *intervals;
    size_t count;
    size_t *first, *last; // per value: operations that make and last read it; first is SIZE_MAX outside the arena
    size_t *change;       // per operation, two more
    struct interval **placed;
};

static void find_lifetimes(const struct sdg_graph *g, struct work *work)
{
    for (size_t v = 0; v < g->value_count; v++)
        work->first[v] = SIZE_MAX;
    for (size_t i = 0; i < g->op_count; i++) {
        const struct sdg_op *op = &g->ops[i];
        sdg_value reads[SDG_OP_MAX_READS];
        int read_count = sdg_op_reads(g, op, reads);
        for (int r = 0; r < read_count; r++)
            work->last[reads[r]] = i;
        work->first[op->out] = i;
        work->last[op->out] = i;
    }
    for (size_t v = 1; v < g->value_count; v++) {
        if (g->values[v].output)
            work->last[v] = g->op_count - 1;
    }
}

static enum sdg_result add_interval(const struct sdg_graph *g, struct work *work, size_t first, size_t last,
                                    size_t bytes, size_t alignment, size_t *offset)
{
    struct interval *interval = &work->intervals[work->count];
    *interval = (struct interval){.first = first, .last = last, .offset = offset, .number = work->count};
    if (!align_up(bytes, alignment, &interval->bytes))
        return sdg_fail(g->log, SDG_ERROR_MEMORY, "%s: %zu bytes do not fit in the address space", g->ops[first].name,
                        bytes);
    if (work->piece && interval->bytes > work->piece)
        return sdg_fail(g->log, SDG_ERROR_UNSUPPORTED,
                        "%s needs %zu MiB in one piece, more than the %zu MiB this device gives at once; try a smaller "
                        "picture, VAE tiling or --type f16",
                        g->ops[first].name, interval->bytes >> 20, work->piece >> 20);
    work->count++;
    return SDG_OK;
}

static enum sdg_result collect(const struct sdg_graph *g, size_t alignment, const size_t *scratch_bytes,
                               struct sdg_plan *plan, struct work *work)
{
    for (size_t v = 0; v < g->value_count; v++) {
        plan->offset[v] = SIZE_MAX;
        if (work->first[v] == SIZE_MAX)
            continue;
        size_t bytes;
        uint64_t elements = (uint64_t)sdg_value_elements(&g->values[v]);
        if (elements > SIZE_MAX || !sdg_mul_size((size_t)elements, sdg_dtype_size(g->values[v].dtype), &bytes))
            bytes = SIZE_MAX;
        SDG_TRY(add_interval(g, work, work->first[v], work->last[v], bytes, alignment, &plan->offset[v]));
    }
    for (size_t i = 0; i < g->op_count; i++) {
        plan->scratch[i] = SIZE_MAX;
        if (scratch_bytes && scratch_bytes[i])
            SDG_TRY(add_interval(g, work, i, i, scratch_bytes[i], alignment, &plan->scratch[i]));
    }
    return SDG_OK;
}

static enum sdg_result lay_out(const struct sdg_graph *g, struct sdg_plan *plan, struct work *work)
{
    live_peak(work->intervals, work->count, work->change, g->op_count, &plan->live_peak);
    plan->arena_bytes = SIZE_MAX;
    for (enum order order = BY_SIZE; order < ORDER_COUNT && plan->arena_bytes > plan->live_peak; order++) {
        size_t arena;
        if (!try_order(order, work->intervals, work->count, work->piece, work->placed, &arena) ||
            arena >= plan->arena_bytes)
            continue;
        plan->arena_bytes = arena;
        for (size_t i = 0; i < work->count; i++)
            *work->intervals[i].offset = work->intervals[i].at;
    }
    if (plan->arena_bytes == SIZE_MAX)
        return sdg_fail(g->log, SDG_ERROR_MEMORY,
                        "the activations of a graph of %zu operations do not fit in the address space", g->op_count);
    return SDG_OK;
}

static enum sdg_result allocate(const struct sdg_graph *g, struct sdg_plan *plan, struct work *work)
{
    size_t most = g->value_count + g->op_count;
    bool ok = (plan->offset = sdg_alloc(g->log, g->value_count, sizeof *plan->offset, "a memory plan")) &&
        (plan->scratch = sdg_alloc(g->log, g->op_count, sizeof *plan->scratch, "a memory plan")) &&
        (work->intervals = sdg_alloc(g->log, most, sizeof *work->intervals, "a memory plan")) &&
        (work->placed = sdg_alloc(g->log, most, sizeof *work->placed, "a memory plan")) &&
        (work->first = sdg_alloc(g->log, g->value_count, sizeof *work->first, "a memory plan")) &&
        (work->last = sdg_alloc(g->log, g->value_count, sizeof *work->last, "a memory plan")) &&
        (work->change = sdg_alloc(g->log, g->op_count + 2, sizeof *work->change, "a memory plan"));
    return ok ? SDG_OK : SDG_ERROR_MEMORY;
}

enum sdg_result sdg_plan_create(const struct sdg_graph *graph, size_t alignment, size_t piece,
                                const size_t *scratch_bytes, struct sdg_plan **out)
{
    *out = NULL;
    SDG_TRY(sdg_graph_check(graph));
    if (alignment == 0 || (alignment & (alignment - 1)))
        return sdg_fail(graph->log, SDG_ERROR_USAGE, "an alignment of %zu is not a power of two", alignment);
    if (piece & (alignment - 1))
        return sdg_fail(graph->log, SDG_ERROR_USAGE, "pieces of %zu bytes are no multiple of the alignment", piece);
    struct sdg_plan *plan = sdg_alloc(graph->log, 1, sizeof *plan, "a memory plan");
    if (!plan)
        return SDG_ERROR_MEMORY;
    struct work work = {.piece = piece};
    enum sdg_result result = allocate(graph, plan, &work);
    if (result == SDG_OK) {
        find_lifetimes(graph, &work);
        result = collect(graph, alignment, scratch_bytes, plan, &work);
    }
    if (result == SDG_OK)
        result = lay_out(graph, plan, &work);
    sdg_free(work.intervals);
    sdg_free(work.placed);
    sdg_free(work.first);
    sdg_free(work.last);
    sdg_free(work.change);
    if (result != SDG_OK)
        sdg_plan_destroy(&plan);
    *out = plan;
    return result;
}

void sdg_plan_destroy(struct sdg_plan **plan)
{
    if (!*plan)
        return;
    sdg_free((*plan)->offset);
    sdg_free((*plan)->scratch);
    sdg_free(*plan);
    *plan = NULL;
}
