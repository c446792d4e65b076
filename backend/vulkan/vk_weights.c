#include "backend/vulkan/vk_weights.h"

#include "backend/vulkan/vk_ops.h"

// A block is at most this long unless one tensor is longer: large enough for few allocations, small enough for
// fragmented heaps.
static const size_t block_limit = (size_t)512 << 20;

// ---- rows ----

// One behind the other, or in slices one behind the other, each with its part of all rows. GLSL twin:
// shaders/weights.glsl.
struct rows { size_t count, length, slice; }; // elements; slice 0: whole

static size_t place_in(const struct rows *r, size_t row, size_t at)
{
    return r->slice ? (at / r->slice * r->count + row) * r->slice + at % r->slice : row * r->length + at;
}

// Elements, with those that fill up the last slice.
static size_t room_of(const struct rows *r)
{
    return r->count * (r->slice ? (r->length + r->slice - 1) / r->slice * r->slice : r->length);
}

// Of a matrix or a kernel whose rows are [taps][I].
static struct rows rows_of(const struct sdg_value_info *v, int64_t slice)
{
    return (struct rows){(size_t)v->dims[0], (size_t)(v->dims[1] * v->dims[2] * v->dims[3]), (size_t)slice};
}

// Where row o of a gated layer goes, whose values and gates come in turns, two each: the inverse of row_of_weights() in
// shaders/gate.glsl.
static size_t gated_place(size_t o, size_t outputs)
{
    const size_t half = outputs / 2, c = o % half;
    return c / 2 * 4 + c % 2 + (o < half ? 0 : 2);
}

// ---- integers: words of four weights along the inputs, in groups of four outputs ----

struct word_layout {
    size_t inputs, taps, words_per_tap, words; // words: of a row, all taps
    bool halves;                               // weights have 4 bits, and words are stored in twos
    size_t stored;                             // words of a row as stored
    struct rows fours;                         // of these, for four outputs each, the last filled up with zeros
};

static struct word_layout word_layout(const struct sdg_value_info *v, int64_t slice)
{
    struct word_layout l = {
        .inputs = (size_t)v->dims[1], .taps = (size_t)(v->dims[2] * v->dims[3]), .halves = v->bits == 4};
    l.words_per_tap = (l.inputs + 3) / 4;
    l.words = l.words_per_tap * l.taps;
    l.stored = l.halves ? (l.words + 1) / 2 : l.words;
    l.fours = (struct rows){((size_t)v->dims[0] + 3) / 4, l.stored, (size_t)slice};
    return l;
}

// Four weights of a row [I][taps], the lowest input in the lowest byte; 0 behind the last.
static uint32_t word_at(const int8_t *row, const struct word_layout *l, size_t word)
{
    const size_t tap = word / l->words_per_tap, first = word % l->words_per_tap * 4;
    uint32_t bytes = 0;
    for (size_t i = first; i < first + 4 && i < l->inputs; i++)
        bytes |= (uint32_t)(uint8_t)row[i * l->taps + tap] << (i - first) * 8;
    return bytes;
}

// A word, or two in one: the first in the lower halves of its bytes.
static uint32_t stored_at(const int8_t *row, const struct word_layout *l, size_t at)
{
    if (!l->halves)
        return word_at(row, l, at);
    const uint32_t half = 0x0f0f0f0f, second = 2 * at + 1 < l->words ? word_at(row, l, 2 * at + 1) : 0;
    return (word_at(row, l, 2 * at) & half) | (second & half) << 4;
}

static size_t words_and_sums(const struct word_layout *l)
{
    return (room_of(&l->fours) + l->fours.count) * 4;
}

// s8 [O][I][taps] -> words [O / 4][stored][O % 4], the middle in slices, then the sums of rows, s32 [O].
static void put_words(uint32_t *to, const int8_t *from, const struct sdg_value_info *v, int64_t slice, bool gated)
{
    const struct word_layout l = word_layout(v, slice);
    const size_t outputs = (size_t)v->dims[0], row = l.inputs * l.taps;
    uint32_t *sums = to + room_of(&l.fours) * 4;
    memset(to, 0, words_and_sums(&l) * sizeof *to);
    for (size_t o = 0; o < outputs; o++, from += row) {
        const size_t place = gated ? gated_place(o, outputs) : o;
        for (size_t at = 0; at < l.stored; at++)
            to[place_in(&l.fours, place / 4, at) * 4 + place % 4] = stored_at(from, &l, at);
        int32_t sum = 0;
        for (size_t i = 0; i < row; i++)
            sum += from[i];
        sums[o] = (uint32_t)sum;
    }
}

// ---- floats kept as codes ----

static size_t code_words(const struct rows *rows, int bits)
{
    return (room_of(rows) * (size_t)bits + 31) / 32;
}

// s8 [O][I][taps] -> rows of codes [taps][I], the first in the lowest bits of a word.
static void put_codes(uint32_t *to, const int8_t *from, const struct sdg_value_info *v,
                      const struct sdg_vk_weight *weight)
{
    const struct rows rows = rows_of(v, weight->slice);
    const size_t inputs = (size_t)v->dims[1], taps = (size_t)(v->dims[2] * v->dims[3]),
                 bits = (size_t)weight->code_bits, per_word = 32 / bits;
    const uint32_t mask = bits == 4 ? 15 : 255;
    memset(to, 0, code_words(&rows, weight->code_bits) * sizeof *to);
    for (size_t o = 0; o < rows.count; o++)
        for (size_t k = 0; k < rows.length; k++) {
            const size_t at = place_in(&rows, o, k);
            to[at / per_word] |= ((uint32_t)from[(o * inputs + k % inputs) * taps + k / inputs] & mask)
                << at % per_word * bits;
        }
}

// ---- bands of outputs ----

// The weight as if the band that begins with output `first` were all of it.
static struct sdg_value_info band_at(const struct sdg_value_info *v, const struct sdg_vk_weight *weight, int64_t first)
{
    struct sdg_value_info band = *v;
    band.dims[0] = weight->band < v->dims[0] - first ? weight->band : v->dims[0] - first;
    return band;
}

static size_t band_bytes(const struct sdg_value_info *band, const struct sdg_vk_weight *weight)
{
    const struct rows rows = rows_of(band, weight->slice);
    if (weight->code_bits)
        return (code_words(&rows, weight->code_bits) + rows.count) * sizeof(uint32_t);
    if (weight->layout != SDG_VK_LAYOUT_WORDS && weight->layout != SDG_VK_LAYOUT_GATED)
        return room_of(&rows) * sdg_dtype_size(weight->dtype);
    const struct word_layout l = word_layout(band, weight->slice);
    return words_and_sums(&l) * sizeof(uint32_t);
}

// The place of the band that begins with output `first`, in one that begins at `offset`.
static struct sdg_vk_place band_place(const struct sdg_vk *vk, const struct sdg_value_info *v,
                                      const struct sdg_vk_weight *weight, const struct sdg_vk_place *whole,
                                      int64_t first)
{
    const struct sdg_value_info front = band_at(v, weight, 0), band = band_at(v, weight, first);
    const size_t pitch = sdg_vk_align(band_bytes(&front, weight), vk->caps.alignment);
    return (struct sdg_vk_place){whole->space, whole->offset + (size_t)(first / weight->band) * pitch,
                                 band_bytes(&band, weight)};
}

// As many outputs as a binding holds, in bands of about the same size. The first of a band begins where a binding may
// in whatever has at least a byte for each of them, or of gated ones for two. All, if not even that many fit, which is
// refused where it is bound.
static int64_t choose_band(const struct sdg_vk *vk, const struct sdg_value_info *v, struct sdg_vk_weight weight)
{
    const int64_t all = v->dims[0], unit = (int64_t)vk->caps.alignment * (weight.gated ? 2 : 1);
    for (int64_t bands = 1; bands <= sdg_vk_ceil(all, unit); bands++) {
        weight.band = bands == 1 ? all : sdg_vk_ceil(sdg_vk_ceil(all, bands), unit) * unit;
        const struct sdg_value_info front = band_at(v, &weight, 0);
        if (band_bytes(&front, &weight) <= vk->caps.max_range)
            return weight.band;
    }
    return all;
}

// ---- planning ----

static struct sdg_vk_weight *find(const struct sdg_vk_weights *weights, sdg_value v)
{
    for (size_t i = 0; i < weights->count; i++)
        if (weights->list[i].value == v)
            return &weights->list[i];
    return NULL;
}

int64_t sdg_vk_weights_band(const struct sdg_vk_weights *weights, sdg_value v)
{
    const struct sdg_vk_weight *weight = find(weights, v);
    return weight ? weight->band : 0;
}

int64_t sdg_vk_weights_slice(const struct sdg_vk_weights *weights, sdg_value v)
{
    const struct sdg_vk_weight *weight = find(weights, v);
    return weight ? weight->slice : 0;
}

struct sdg_vk_place sdg_vk_weights_place(const struct sdg_vk *vk, const struct sdg_graph *graph,
                                         const struct sdg_vk_weights *weights, const struct sdg_vk_place *places,
                                         sdg_value v, int64_t first)
{
    const struct sdg_vk_weight *weight = find(weights, v);
    return weight ? band_place(vk, &graph->values[v], weight, &places[v], first) : places[v];
}

int sdg_vk_weights_code_bits(const struct sdg_vk_weights *weights, sdg_value v)
{
    const struct sdg_vk_weight *weight = find(weights, v);
    return weight ? weight->code_bits : 0;
}

// Appends a weight (0 or other kinds of values: nothing to do) and gives it a place.
static enum sdg_result want(struct sdg_vk *vk, const struct sdg_log *log, const struct sdg_graph *graph,
                            struct sdg_vk_weights *weights, struct sdg_vk_place *places, struct sdg_vk_weight wanted,
                            const struct sdg_op *op)
{
    const sdg_value v = wanted.value;
    const enum sdg_dtype dtype = wanted.dtype;
    const struct sdg_value_info *info = &graph->values[v];
    if (!v || info->kind != SDG_VALUE_WEIGHT)
        return SDG_OK;
    if (places[v].space != SDG_VK_SPACE_NONE) {
        const struct sdg_vk_weight *known = find(weights, v);
        if (known->dtype == dtype && known->layout == wanted.layout && known->code_bits == wanted.code_bits &&
            known->band == wanted.band && known->gated == wanted.gated)
            return SDG_OK;
        return sdg_fail(log, SDG_ERROR_UNSUPPORTED, "%s: backend vulkan cannot use the weight %s both as %s and as %s",
                        op->name, info->name, sdg_dtype_name(known->dtype), sdg_dtype_name(dtype));
    }
    const int64_t last_band = (info->dims[0] - 1) / wanted.band * wanted.band;
    const struct sdg_vk_place end = band_place(vk, info, &wanted, &(struct sdg_vk_place){0}, last_band);
    size_t bytes = end.offset + end.bytes, room = sdg_vk_align(bytes, vk->caps.alignment);
    size_t limit = vk->caps.max_allocation < block_limit ? (size_t)vk->caps.max_allocation : block_limit;
    size_t last = weights->block_count - 1;
    if (weights->block_count == 0 || (weights->block_bytes[last] > 0 && weights->block_bytes[last] + room > limit)) {
        if (!sdg_grow(log, &weights->block_bytes, &weights->block_bytes_capacity, weights->block_count + 1,
                      sizeof *weights->block_bytes, "blocks of weights"))
            return SDG_ERROR_MEMORY;
        last = weights->block_count++;
        weights->block_bytes[last] = 0;
    }
    if (!sdg_grow(log, &weights->list, &weights->capacity, weights->count + 1, sizeof *weights->list, "weights"))
        return SDG_ERROR_MEMORY;
    weights->list[weights->count++] = wanted;
    places[v] = (struct sdg_vk_place){SDG_VK_SPACE_WEIGHTS + (unsigned)last, weights->block_bytes[last], bytes};
    weights->block_bytes[last] += room;
    weights->total += room;
    return SDG_OK;
}

// Where the weight is stored; several operations may want the same one.
static enum sdg_result find_stored(const struct sdg_log *log, const struct sdg_graph *graph,
                                   const struct sdg_tensors *from, const struct sdg_vk_weights *weights,
                                   const struct sdg_vk_place *places, struct sdg_vk_weight *weight)
{
    const struct sdg_value_info *info = &graph->values[weight->value];
    if (!from || info->kind != SDG_VALUE_WEIGHT)
        return SDG_OK;
    if (places[weight->value].space == SDG_VK_SPACE_NONE)
        return sdg_weight_find(log, from, info, &weight->stored);
    weight->stored = find(weights, weight->value)->stored;
    return SDG_OK;
}

enum { MATRIX = 1, SCALES = 3 }; // operands of products

static bool is_product(const struct sdg_op *op)
{
    return sdg_vk_ops[op->kind] && sdg_vk_ops[op->kind]->product;
}

// The length of the slices of a product's weight: as its shader reads them, or as the first of several products does;
// others read rows as they are.
static int64_t choose_slice(struct sdg_vk *vk, const struct sdg_graph *graph, const struct sdg_op *op,
                            const struct sdg_vk_weights *weights)
{
    const sdg_value v = op->in[MATRIX];
    const struct sdg_vk_weight *known = find(weights, v);
    if (known)
        return known->slice;
    for (size_t i = 0; i < graph->op_count; i++)
        for (int k = 0; k < SDG_OP_MAX_INPUTS; k++)
            if (graph->ops[i].in[k] == v && !(is_product(&graph->ops[i]) && k == MATRIX))
                return 0;
    const struct sdg_vk_lowering lo = {.vk = vk, .graph = graph, .op = op};
    const struct sdg_vk_matmul product = sdg_vk_ops[op->kind]->product(graph, op);
    return sdg_vk_matmul_slice(&lo, &product);
}

enum sdg_result sdg_vk_weights_plan(struct sdg_vk *vk, const struct sdg_log *log, const struct sdg_graph *graph,
                                    const struct sdg_tensors *from, struct sdg_vk_weights *weights,
                                    struct sdg_vk_place *places)
{
    for (size_t i = 0; i < graph->op_count; i++) {
        const struct sdg_op *op = &graph->ops[i];
        const bool gated = op->epilogue.gated;
        int64_t band = 0; // of a gated product's weight, whose scales and bias are in the same order
        // Matrices and embeddings in the storage type of the activations or as integers; norm parameters, biases and
        // scales in f32.
        for (int k = 0; k < SDG_OP_MAX_INPUTS; k++) {
            const struct sdg_value_info *info = &graph->values[op->in[k]];
            enum sdg_dtype dtype = info->keeps_f32 ? SDG_F32
                : info->dtype == SDG_S8            ? SDG_S8
                                                   : sdg_vk_float_type(graph, op);
            const bool product = k == MATRIX && is_product(op) && info->kind == SDG_VALUE_WEIGHT;
            const int64_t slice = product ? choose_slice(vk, graph, op, weights) : 0;
            const bool ordered = slice || (op->kind == SDG_OP_CONV2D && info->dims[2] * info->dims[3] > 1);
            enum sdg_vk_layout layout = dtype == SDG_S8 ? gated ? SDG_VK_LAYOUT_GATED : SDG_VK_LAYOUT_WORDS
                : ordered                               ? SDG_VK_LAYOUT_ROWS
                                                        : SDG_VK_LAYOUT_FILE;
            struct sdg_vk_weight wanted = {
                .value = op->in[k],
                .dtype = dtype,
                .layout = layout,
                .slice = slice,
                .band = band && k == SCALES ? band : info->dims[0],
                .gated = gated && (k == MATRIX || k == SCALES),
            };
            SDG_TRY(find_stored(log, graph, from, weights, places, &wanted));
            if (product && from)
                wanted.code_bits = sdg_weight_code_bits(&wanted.stored);
            if (product)
                wanted.band = choose_band(vk, info, wanted);
            if (product && gated)
                band = wanted.band;
            SDG_TRY(want(vk, log, graph, weights, places, wanted, op));
        }
        struct sdg_vk_weight bias = {
            .value = op->epilogue.bias,
            .dtype = SDG_F32,
            .layout = SDG_VK_LAYOUT_FILE,
            .band = band ? band : graph->values[op->epilogue.bias].dims[0],
            .gated = gated,
        };
        SDG_TRY(find_stored(log, graph, from, weights, places, &bias));
        SDG_TRY(want(vk, log, graph, weights, places, bias, op));
        struct sdg_vk_weight smoothing = {
            .value = op->codes.smoothing,
            .dtype = SDG_F32,
            .layout = SDG_VK_LAYOUT_FILE,
            .band = graph->values[op->codes.smoothing].dims[0],
        };
        SDG_TRY(find_stored(log, graph, from, weights, places, &smoothing));
        SDG_TRY(want(vk, log, graph, weights, places, smoothing, op));
    }
    return SDG_OK;
}

// One row [I][taps] -> [taps][I], elements of 2 or 4 bytes.
static void put_taps_first(void *to, const void *from, size_t inputs, size_t taps, size_t size)
{
    for (size_t tap = 0; tap < taps; tap++)
        for (size_t i = 0; i < inputs; i++)
            if (size == 2)
                ((uint16_t *)to)[tap * inputs + i] = ((const uint16_t *)from)[i * taps + tap];
            else
                ((uint32_t *)to)[tap * inputs + i] = ((const uint32_t *)from)[i * taps + tap];
}

// [O][I][taps] -> rows [taps][I]. `row`: room for one.
static void put_rows(char *to, const char *from, const struct sdg_value_info *v, const struct sdg_vk_weight *weight,
                     void *row)
{
    const struct rows rows = rows_of(v, weight->slice);
    const size_t taps = (size_t)(v->dims[2] * v->dims[3]), size = sdg_dtype_size(weight->dtype),
                 run = rows.slice ? rows.slice : rows.length;
    if (rows.slice && rows.length % rows.slice)
        memset(to, 0, room_of(&rows) * size);
    for (size_t o = 0; o < rows.count; o++, from += rows.length * size) {
        const char *source = from;
        if (taps > 1) {
            put_taps_first(row, from, (size_t)v->dims[1], taps, size);
            source = row;
        }
        for (size_t k = 0; k < rows.length; k += run)
            memcpy(to + place_in(&rows, o, k) * size, source + k * size,
                   (run < rows.length - k ? run : rows.length - k) * size);
    }
}

struct staging { // host memory for one tensor at a time
    void *loaded, *ordered;
    void *row; // of those that are ordered
};

// `count` outputs of the band that begins with `first`, as weight->dtype or as codes and their scales.
static void read_band(const struct sdg_vk_weight *weight, size_t first, size_t count, void *to, float *scales)
{
    const size_t turns = weight->gated ? 2 : 1, rows = count / turns,
                 row = weight->stored.inputs * (weight->code_bits ? 1 : sdg_dtype_size(weight->dtype));
    for (size_t i = 0; i < turns; i++) {
        const size_t from = i * weight->stored.outputs / turns + first / turns;
        char *place = (char *)to + i * rows * row;
        if (weight->code_bits)
            sdg_weight_read_codes(&weight->stored, from, rows, (int8_t *)place, scales + i * rows);
        else
            sdg_weight_read(&weight->stored, from, rows, weight->dtype, place);
    }
}

// Puts a band, which is `v`, where it belongs. `first`: its first output.
static enum sdg_result load_band(struct sdg_vk *vk, const struct sdg_value_info *v, size_t first,
                                 const struct sdg_vk_buffer *to, const struct sdg_vk_weight *weight,
                                 const struct sdg_vk_place *place, const struct staging *staging)
{
    const size_t outputs = (size_t)v->dims[0];
    if (weight->code_bits) {
        uint32_t *codes = staging->ordered;
        const struct rows rows = rows_of(v, weight->slice);
        read_band(weight, first, outputs, staging->loaded, (float *)(codes + code_words(&rows, weight->code_bits)));
        put_codes(codes, staging->loaded, v, weight);
        return sdg_vk_upload(vk, to, place->offset, codes, place->bytes);
    }
    if (to->mapped && weight->layout == SDG_VK_LAYOUT_FILE) { // straight into the device's memory
        read_band(weight, first, outputs, to->mapped + place->offset, NULL);
        return sdg_vk_buffer_flush(vk, to, place->offset, place->bytes);
    }
    read_band(weight, first, outputs, staging->loaded, NULL);
    if (weight->layout == SDG_VK_LAYOUT_FILE)
        return sdg_vk_upload(vk, to, place->offset, staging->loaded, place->bytes);
    if (weight->layout == SDG_VK_LAYOUT_ROWS)
        put_rows(staging->ordered, staging->loaded, v, weight, staging->row);
    else
        put_words(staging->ordered, staging->loaded, v, weight->slice, weight->layout == SDG_VK_LAYOUT_GATED);
    return sdg_vk_upload(vk, to, place->offset, staging->ordered, place->bytes);
}

static enum sdg_result load_weight(struct sdg_vk *vk, const struct sdg_value_info *v, bool release,
                                   const struct sdg_vk_buffer *to, const struct sdg_vk_weight *weight,
                                   const struct sdg_vk_place *whole, const struct staging *staging)
{
    for (int64_t first = 0; first < v->dims[0]; first += weight->band) {
        const struct sdg_value_info band = band_at(v, weight, first);
        const struct sdg_vk_place place = band_place(vk, v, weight, whole, first);
        SDG_TRY(load_band(vk, &band, (size_t)first, to, weight, &place, staging));
    }
    if (release)
        sdg_weight_release(&weight->stored);
    return SDG_OK;
}

static enum sdg_result create_blocks(struct sdg_vk *vk, const struct sdg_log *log, struct sdg_vk_weights *weights)
{
    weights->blocks = sdg_alloc(log, weights->block_count, sizeof *weights->blocks, "blocks of weights");
    if (!weights->blocks)
        return SDG_ERROR_MEMORY;
    for (size_t i = 0; i < weights->block_count; i++)
        SDG_TRY(sdg_vk_buffer_create(vk, SDG_VK_MEMORY_UPLOAD, weights->block_bytes[i], "a block of weights",
                                     &weights->blocks[i]));
    return SDG_OK;
}

enum sdg_result sdg_vk_weights_load(struct sdg_vk *vk, const struct sdg_log *log, const struct sdg_graph *graph,
                                    bool release, struct sdg_vk_weights *weights, const struct sdg_vk_place *places)
{
    if (weights->count == 0)
        return SDG_OK;
    SDG_TRY(create_blocks(vk, log, weights));
    size_t longest = 0, longest_ordered = 0, longest_row = 0;
    for (size_t i = 0; i < weights->count; i++) {
        const struct sdg_vk_weight *weight = &weights->list[i];
        const struct sdg_value_info front = band_at(&graph->values[weight->value], weight, 0);
        const size_t loaded =
                         (size_t)sdg_value_elements(&front) * (weight->code_bits ? 1 : sdg_dtype_size(weight->dtype)),
                     ordered = band_bytes(&front, weight);
        if (loaded > longest)
            longest = loaded;
        const size_t row = weight->layout == SDG_VK_LAYOUT_ROWS ? loaded / (size_t)front.dims[0] : 0;
        if ((weight->code_bits || weight->layout != SDG_VK_LAYOUT_FILE) && ordered > longest_ordered)
            longest_ordered = ordered;
        if (row > longest_row)
            longest_row = row;
    }
    struct staging staging = {
        .loaded = sdg_alloc_raw(log, longest, 1, "a weight"),
        .ordered = sdg_alloc_raw(log, longest_ordered, 1, "a weight"),
        .row = sdg_alloc_raw(log, longest_row, 1, "a row of a weight"),
    };
    enum sdg_result result = staging.loaded && staging.ordered && staging.row ? SDG_OK : SDG_ERROR_MEMORY;
    for (size_t i = 0; i < weights->count && result == SDG_OK; i++) {
        const struct sdg_vk_weight *weight = &weights->list[i];
        const struct sdg_vk_place *place = &places[weight->value];
        result = load_weight(vk, &graph->values[weight->value], release,
                             &weights->blocks[place->space - SDG_VK_SPACE_WEIGHTS], weight, place, &staging);
    }
    sdg_free(staging.loaded);
    sdg_free(staging.ordered);
    sdg_free(staging.row);
    if (result == SDG_OK)
        result = sdg_vk_upload_finish(vk);
    return result;
}

void sdg_vk_weights_free(struct sdg_vk *vk, struct sdg_vk_weights *weights)
{
    for (size_t i = 0; weights->blocks && i < weights->block_count; i++)
        sdg_vk_buffer_destroy(vk, &weights->blocks[i]);
    sdg_free(weights->blocks);
    sdg_free(weights->block_bytes);
    sdg_free(weights->list);
    *weights = (struct sdg_vk_weights){0};
}
