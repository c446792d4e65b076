#include "backend/vulkan/vk_tiles.h"

#include "base/file.h"
#include "base/hash.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

// ---- the file ----
// Lines of text:
//     sdgen vulkan tiles 3
//     IDENTITY                             sdg_vk_identity, 16 hexadecimal digits
//     FAMILY TYPE LOG2(M) LOG2(N) SHADER MxN rows|columns PARTS BUFFERS whole|slices
//                                          any number of them; the order of workgroups, and how weights lie
//     end HASH                             of all bytes before this line

enum { FILE_LIMIT = 1 << 20, CHOICES_LIMIT = 4096 };
static const char first_line[] = "sdgen vulkan tiles 3";

int sdg_vk_log2(int64_t x)
{
    int power = 0;
    while (power < 40 && x >= INT64_C(2) << power)
        power++;
    // nearer to the next power: x > 2^(power + 1/2)
    return power + ((double)x * (double)x > 2.0 * (double)(INT64_C(1) << power) * (double)(INT64_C(1) << power));
}

static const struct sdg_shader *find_shader(const char *name)
{
    for (const struct sdg_shader *s = sdg_shaders; s < sdg_shaders + sdg_shader_count; s++)
        if (strcmp(s->name, name) == 0)
            return s;
    return NULL;
}

static const struct sdg_tile *find_tile(const struct sdg_shader *shader, unsigned m, unsigned n)
{
    for (const struct sdg_tile *t = shader->tiles; t < shader->tiles + shader->tile_count; t++)
        if (t->m == m && t->n == n)
            return t;
    return NULL;
}

static bool read_choice(const char *line, struct sdg_vk_choice *out)
{
    char type[8], shader[64], order[8], weights[8];
    unsigned m, n;
    int end = 0;
    *out = (struct sdg_vk_choice){0};
    if (sscanf(line, "%23s %7s %d %d %63s %ux%u %7s %u %u %7s%n", out->family, type, &out->m, &out->n, shader, &m, &n,
               order, &out->parts, &out->buffers, weights, &end) != 11 ||
        line[end] || out->parts < 1 || out->buffers < 1 || out->buffers > 2 || out->m < 0 || out->m > 40 ||
        out->n < 0 || out->n > 40)
        return false;
    out->shader = find_shader(shader);
    if (!out->shader || strcmp(out->shader->family, out->family) || strcmp(sdg_dtype_name(out->shader->type), type))
        return false;
    out->type = out->shader->type;
    out->by_columns = strcmp(order, "columns") == 0;
    out->sliced = strcmp(weights, "slices") == 0;
    if ((!out->by_columns && strcmp(order, "rows")) || (!out->sliced && strcmp(weights, "whole")))
        return false;
    out->tile = find_tile(out->shader, m, n);
    return out->tile != NULL;
}

static void write_choice(FILE *to, const struct sdg_vk_choice *c)
{
    fprintf(to, "%s %s %d %d %s %ux%u %s %u %u %s\n", c->family, sdg_dtype_name(c->type), c->m, c->n, c->shader->name,
            c->tile->m, c->tile->n, c->by_columns ? "columns" : "rows", c->parts, c->buffers,
            c->sliced ? "slices" : "whole");
}

// What is wrong with the file, or NULL. `text` ends with a 0 and is cut into lines.
static const char *parse(struct sdg_vk *vk, char *text, size_t bytes, enum sdg_result *result)
{
    enum { TAIL = 22 }; // "\nend 0123456789abcdef\n", the first of it the end of the line before
    char *end = bytes < TAIL ? text : text + bytes - TAIL + 1, tail[TAIL + 1], identity[20];
    int line = 0;
    if (bytes < TAIL || strlen(text) != bytes)
        return "damaged";
    snprintf(tail, sizeof tail, "\nend %016" PRIx64 "\n", sdg_hash_bytes(SDG_HASH_START, text, (size_t)(end - text)));
    if (memcmp(end - 1, tail, TAIL))
        return "damaged";
    snprintf(identity, sizeof identity, "%016" PRIx64, sdg_vk_identity(vk));
    for (char *at = text, *next; at < end; at = next, line++) {
        struct sdg_vk_choice choice;
        char *stop = strchr(at, '\n');
        *stop = 0;
        next = stop + 1;
        if (line == 0 && strcmp(at, first_line))
            return "of another version";
        if (line == 1 && strcmp(at, identity))
            return "made by another device, driver or build";
        if (line < 2)
            continue;
        if (line - 2 >= CHOICES_LIMIT || !read_choice(at, &choice))
            return "damaged";
        *result = sdg_vk_tiles_add(vk, &choice);
        if (*result != SDG_OK)
            return NULL;
    }
    return line < 2 ? "damaged" : NULL;
}

static enum sdg_result read_file(struct sdg_vk *vk)
{
    struct sdg_vk_tiles *tiles = vk->tiles;
    char *data = NULL;
    size_t bytes = 0;
    enum sdg_result result = SDG_OK;
    const enum sdg_path_kind kind = sdg_path_kind(tiles->path);
    if (kind == SDG_PATH_MISSING)
        return SDG_OK;
    const char *wrong = "no file that can be read";
    if (kind == SDG_PATH_FILE && sdg_file_read(NULL, tiles->path, FILE_LIMIT, &data, &bytes) == SDG_OK)
        wrong = parse(vk, data, bytes, &result);
    sdg_free(data);
    if (wrong) {
        tiles->count = 0;
        sdg_say(vk->base.log, SDG_LOG_INFO, "%s: %s; tiles are chosen as on any device of its class", tiles->path,
                wrong);
    }
    tiles->tuned = tiles->count > 0;
    return result;
}

enum sdg_result sdg_vk_tiles_save(struct sdg_vk *vk)
{
    struct sdg_vk_tiles *tiles = vk->tiles;
    struct sdg_output *output = NULL;
    char *text = NULL;
    size_t bytes = 0;
    if (!tiles->path)
        return SDG_OK;
    FILE *memory = open_memstream(&text, &bytes);
    if (!memory)
        return sdg_fail(vk->base.log, SDG_ERROR_MEMORY, "not enough memory for the tiles of a device");
    fprintf(memory, "%s\n%016" PRIx64 "\n", first_line, sdg_vk_identity(vk));
    for (size_t i = 0; i < tiles->count; i++)
        write_choice(memory, &tiles->list[i]);
    fflush(memory);
    fprintf(memory, "end %016" PRIx64 "\n", sdg_hash_bytes(SDG_HASH_START, text, bytes));
    const bool complete = fclose(memory) == 0;
    char *folder = sdg_path_folder(vk->base.log, tiles->path);
    enum sdg_result result = complete && folder ? SDG_OK : SDG_ERROR_MEMORY;
    if (result == SDG_OK && !sdg_folder_create(folder))
        result = sdg_fail(vk->base.log, SDG_ERROR_OUTPUT, "%s: the folder cannot be made", folder);
    sdg_free(folder);
    if (result == SDG_OK)
        result = sdg_output_open(vk->base.log, tiles->path, &output);
    if (result == SDG_OK)
        result = sdg_output_write(output, text, bytes);
    if (result == SDG_OK)
        result = sdg_output_commit(&output);
    sdg_output_discard(&output);
    free(text);
    return result;
}

// ---- the list ----

enum sdg_result sdg_vk_tiles_create(struct sdg_vk *vk, const char *cache_dir)
{
    vk->tiles = sdg_alloc(vk->base.log, 1, sizeof *vk->tiles, "the tiles of products");
    if (!vk->tiles)
        return SDG_ERROR_MEMORY;
    if (!cache_dir)
        return SDG_OK;
    char name[64];
    snprintf(name, sizeof name, "vulkan-%016" PRIx64 ".tiles", sdg_vk_identity(vk));
    vk->tiles->path = sdg_path_join(vk->base.log, cache_dir, name);
    return vk->tiles->path ? read_file(vk) : SDG_ERROR_MEMORY;
}

void sdg_vk_tiles_destroy(struct sdg_vk *vk)
{
    if (!vk->tiles)
        return;
    sdg_free(vk->tiles->list);
    sdg_free(vk->tiles->path);
    sdg_free(vk->tiles);
    vk->tiles = NULL;
}

enum sdg_result sdg_vk_tiles_add(struct sdg_vk *vk, const struct sdg_vk_choice *choice)
{
    struct sdg_vk_tiles *tiles = vk->tiles;
    if (!sdg_grow(vk->base.log, &tiles->list, &tiles->capacity, tiles->count + 1, sizeof *tiles->list,
                  "the tiles of products"))
        return SDG_ERROR_MEMORY;
    tiles->list[tiles->count++] = *choice;
    return SDG_OK;
}

const struct sdg_vk_choice *sdg_vk_tiles_find(const struct sdg_vk *vk, const char *family, enum sdg_dtype type,
                                              int64_t columns, int64_t m, int64_t n)
{
    const struct sdg_vk_choice *nearest = NULL;
    int least = 0;
    for (size_t i = 0; i < vk->tiles->count; i++) {
        const struct sdg_vk_choice *c = &vk->tiles->list[i];
        const int distance = abs(c->m - sdg_vk_log2(m)) + abs(c->n - sdg_vk_log2(n));
        if (c->type == type && columns % c->shader->width == 0 && !(c->shader->needs & ~vk->features) &&
            strcmp(c->family, family) == 0 && (!nearest || distance < least)) {
            nearest = c;
            least = distance;
        }
    }
    return nearest;
}
