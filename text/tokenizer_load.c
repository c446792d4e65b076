// Reading a tokenizer: vocabulary, merges and added tokens of transformers' files.
#include "base/hash.h"
#include "base/json.h"
#include "base/memory.h"
#include "text/tokenizer_data.h"
#include "text/tokenizer_settings.h"
#include "text/tokenizer_unicode.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define WORD_END "</w>"

// ---- The vocabulary, needed only while the rest is read ----

struct name {
    const char *text; // NULL in an empty slot
    size_t length;
    int32_t id;
};

struct names {
    struct name *slots;
    size_t mask, count;
};

struct loader {
    const struct sdg_log *log;
    const struct sdg_tokenizer_files *files;
    const char *vocabulary_file, *merges_file; // names, for messages
    cJSON *json;                               // of the vocabulary's file
    const cJSON *vocabulary, *pairs;           // pairs: the merges of a tokenizer.json, or NULL
    struct sdg_tokenizer_settings settings;
    struct names names;
    int32_t *ids; // of settings.added
    struct sdg_tokenizer *t;
};

static uint64_t hash_mix(uint64_t x)
{
    x = (x ^ (x >> 32)) * 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 29)) * 0xbf58476d1ce4e5b9u;
    return x ^ (x >> 32);
}

// Slots for `count` entries, at most half full.
static size_t table_size(size_t count)
{
    size_t size = 16;
    while (size / 2 < count)
        size *= 2;
    return size;
}

// The slot of the token `a` followed by `b`, or the empty one where it would go.
static struct name *name_slot(const struct names *names, const char *a, size_t a_length, const char *b, size_t b_length)
{
    size_t i = (size_t)hash_mix(sdg_hash_bytes(sdg_hash_bytes(SDG_HASH_START, a, a_length), b, b_length));
    for (;; i++) {
        struct name *slot = &names->slots[i & names->mask];
        if (!slot->text ||
            (slot->length == a_length + b_length && memcmp(slot->text, a, a_length) == 0 &&
             memcmp(slot->text + a_length, b, b_length) == 0))
            return slot;
    }
}

static int32_t name_id(const struct names *names, const char *a, size_t a_length, const char *b, size_t b_length)
{
    const struct name *slot = name_slot(names, a, a_length, b, b_length);
    return slot->text ? slot->id : SDG_NO_TOKEN;
}

static int32_t token_id(const struct names *names, const char *text)
{
    return name_id(names, text, strlen(text), "", 0);
}

static void put_name(struct names *names, const char *text, int32_t id)
{
    size_t length = strlen(text);
    struct name *slot = name_slot(names, text, length, "", 0);
    names->count += !slot->text;
    *slot = (struct name){text, length, id};
}

static enum sdg_result read_names(struct loader *l)
{
    size_t count = l->settings.added_count;
    for (const cJSON *item = l->vocabulary->child; item; item = item->next)
        count++;
    size_t size = table_size(count);
    l->names.slots = sdg_alloc(l->log, size, sizeof *l->names.slots, "the tokenizer's vocabulary");
    if (!l->names.slots)
        return SDG_ERROR_MEMORY;
    l->names.mask = size - 1;
    for (const cJSON *item = l->vocabulary->child; item; item = item->next) {
        double id = item->valuedouble;
        if (!cJSON_IsNumber(item) || !(id >= 0 && id < INT32_MAX) || id != floor(id))
            return sdg_fail(l->log, SDG_ERROR_INPUT, "%s/%s: the id of token '%s' is not an integer from 0 to %d",
                            l->files->folder, l->vocabulary_file, item->string, INT32_MAX - 1);
        put_name(&l->names, item->string, (int32_t)id);
        if ((size_t)id >= l->t->vocabulary)
            l->t->vocabulary = (size_t)id + 1;
    }
    return SDG_OK;
}

// ---- Bytes ----

// How byte-level vocabularies write a byte: printable Latin-1 as itself, the others as U+0100 and up, in order.
static size_t byte_text(int byte, char text[2])
{
    int c = byte, others = 0;
    for (int i = 0; i <= byte; i++) {
        bool printable = (i >= '!' && i <= '~') || (i >= 0xa1 && i <= 0xac) || i >= 0xae;
        c = printable ? i : 256 + others++;
    }
    if (c < 0x80) {
        text[0] = (char)c;
        return 1;
    }
    text[0] = (char)(0xc0 | (c >> 6));
    text[1] = (char)(0x80 | (c & 0x3f));
    return 2;
}

static enum sdg_result read_bytes(struct loader *l)
{
    const char *unknown = l->settings.named[SDG_TOKEN_UNKNOWN];
    int32_t fallback = token_id(&l->names, unknown);
    if (fallback == SDG_NO_TOKEN)
        return sdg_fail(l->log, SDG_ERROR_INPUT, "%s/%s: has no token '%s', which the tokenizer needs",
                        l->files->folder, l->vocabulary_file, unknown);
    for (int byte = 0; byte < 256; byte++) {
        char text[2];
        size_t length = byte_text(byte, text);
        int32_t id = name_id(&l->names, text, length, "", 0);
        int32_t last = name_id(&l->names, text, length, WORD_END, strlen(WORD_END));
        l->t->bytes[byte] = id == SDG_NO_TOKEN ? fallback : id;
        l->t->last_bytes[byte] = last == SDG_NO_TOKEN ? fallback : last;
    }
    return SDG_OK;
}

// ---- Merges ----

struct sdg_merge *sdg_merge_slot(const struct sdg_tokenizer *t, int32_t left, int32_t right)
{
    size_t i = (size_t)hash_mix(((uint64_t)(uint32_t)left << 32 | (uint32_t)right) + 1);
    for (;; i++) {
        struct sdg_merge *slot = &t->merges[i & t->merge_mask];
        if (slot->left == SDG_NO_TOKEN || (slot->left == left && slot->right == right))
            return slot;
    }
}

// `number` counts lines or pairs from 1, and is the rank.
static enum sdg_result add_merge(struct loader *l, const char *left, size_t left_length, const char *right,
                                 size_t right_length, size_t number)
{
    struct sdg_merge merge = {.rank = (int32_t)number};
    merge.left = name_id(&l->names, left, left_length, "", 0);
    merge.right = name_id(&l->names, right, right_length, "", 0);
    merge.result = name_id(&l->names, left, left_length, right, right_length);
    if (merge.left == SDG_NO_TOKEN || merge.right == SDG_NO_TOKEN || merge.result == SDG_NO_TOKEN)
        return sdg_fail(l->log, SDG_ERROR_INPUT, "%s/%s: %s %zu uses or makes a token that the vocabulary lacks",
                        l->files->folder, l->merges_file, l->pairs ? "merge" : "line", number);
    *sdg_merge_slot(l->t, merge.left, merge.right) = merge;
    return SDG_OK;
}

// Two tokens with one space between them, as in a line of merges.txt.
static enum sdg_result add_merge_text(struct loader *l, const char *text, size_t length, size_t number)
{
    const char *space = memchr(text, ' ', length);
    size_t left_length = space ? (size_t)(space - text) : 0;
    size_t right_length = space ? length - left_length - 1 : 0;
    if (!left_length || !right_length || memchr(space + 1, ' ', right_length))
        return sdg_fail(l->log, SDG_ERROR_INPUT, "%s/%s: %s %zu is not two tokens with one space between",
                        l->files->folder, l->merges_file, l->pairs ? "merge" : "line", number);
    return add_merge(l, text, left_length, space + 1, right_length, number);
}

static enum sdg_result alloc_merges(struct loader *l, size_t count)
{
    if (count > INT32_MAX)
        return sdg_fail(l->log, SDG_ERROR_INPUT, "%s/%s has too many merges (%zu)", l->files->folder, l->merges_file,
                        count);
    size_t size = table_size(count);
    l->t->merges = sdg_alloc_raw(l->log, size, sizeof *l->t->merges, "the tokenizer's merges");
    if (!l->t->merges)
        return SDG_ERROR_MEMORY;
    for (size_t i = 0; i < size; i++)
        l->t->merges[i] = (struct sdg_merge){.left = SDG_NO_TOKEN};
    l->t->merge_mask = size - 1;
    return SDG_OK;
}

static enum sdg_result read_lines(struct loader *l, const char *text)
{
    size_t lines = 1, number = 1;
    for (const char *c = text; *c; c++)
        lines += *c == '\n';
    SDG_TRY(alloc_merges(l, lines));
    for (const char *line = text; *line; number++) {
        size_t length = strcspn(line, "\n"), trimmed = length;
        if (trimmed && line[trimmed - 1] == '\r')
            trimmed--;
        if (trimmed && strncmp(line, "#version", strlen("#version")) != 0)
            SDG_TRY(add_merge_text(l, line, trimmed, number));
        line += length + (line[length] == '\n');
    }
    return SDG_OK;
}

// tokenizer.json: pairs of strings, or, before 2024, lines as in merges.txt.
static enum sdg_result read_pairs(struct loader *l)
{
    size_t count = 0, number = 1;
    for (const cJSON *item = l->pairs->child; item; item = item->next)
        count++;
    SDG_TRY(alloc_merges(l, count));
    for (const cJSON *item = l->pairs->child; item; item = item->next, number++) {
        const cJSON *left = item->child, *right = left ? left->next : NULL;
        if (cJSON_IsString(item))
            SDG_TRY(add_merge_text(l, item->valuestring, strlen(item->valuestring), number));
        else if (cJSON_IsArray(item) && cJSON_IsString(left) && cJSON_IsString(right) && !right->next)
            SDG_TRY(add_merge(l, left->valuestring, strlen(left->valuestring), right->valuestring,
                              strlen(right->valuestring), number));
        else
            return sdg_fail(l->log, SDG_ERROR_INPUT, "%s/%s: merge %zu is not two tokens", l->files->folder,
                            l->merges_file, number);
    }
    return SDG_OK;
}

// ---- Added tokens ----

// A token of the vocabulary keeps its id. Others are numbered on from the size of the vocabulary, in their order,
// whatever id their file names: as in transformers.
static enum sdg_result give_ids(struct loader *l)
{
    const struct sdg_tokenizer_settings *s = &l->settings;
    l->ids = sdg_alloc(l->log, s->added_count, sizeof *l->ids, "a tokenizer's added tokens");
    if (!l->ids)
        return SDG_ERROR_MEMORY;
    for (size_t i = 0; i < s->added_count; i++) {
        const struct sdg_added_token *a = &s->added[i];
        l->ids[i] = SDG_NO_TOKEN;
        if (!*a->content)
            continue;
        int32_t id = token_id(&l->names, a->content);
        if (id == SDG_NO_TOKEN) {
            id = (int32_t)l->names.count;
            put_name(&l->names, a->content, id);
        }
        if (a->id >= 0 && a->id != id)
            sdg_say(l->log, SDG_LOG_WARNING,
                    "%s: the added token '%s' is said to be number %d, but is number %d after the vocabulary's, "
                    "as in transformers",
                    l->files->folder, a->content, a->id, (int)id);
        l->ids[i] = id;
    }
    return SDG_OK;
}

static enum sdg_result named_id(struct loader *l, enum sdg_named_token which, int32_t *id)
{
    const char *text = l->settings.named[which];
    *id = token_id(&l->names, text);
    if (*id == SDG_NO_TOKEN)
        return sdg_fail(l->log, SDG_ERROR_INPUT, "%s/%s: has no token '%s', which the tokenizer needs",
                        l->files->folder, l->vocabulary_file, text);
    if ((size_t)*id >= l->t->vocabulary)
        l->t->vocabulary = (size_t)*id + 1;
    return SDG_OK;
}

// Where the same token is described more than once, the last counts.
static bool is_last(const struct loader *l, size_t i)
{
    for (size_t k = i + 1; k < l->settings.added_count; k++)
        if (l->ids[k] == l->ids[i])
            return false;
    return true;
}

static int32_t added_id(const struct loader *l, const char *content)
{
    for (size_t i = 0; i < l->settings.added_count; i++)
        if (strcmp(l->settings.added[i].content, content) == 0)
            return l->ids[i];
    return SDG_NO_TOKEN;
}

// An embedding of several vectors is kept as tokens NAME, NAME_1, NAME_2, ..; NAME in a text stands for all of them, as
// in diffusers.
static enum sdg_result find_more(struct loader *l, const char *content, struct sdg_special *special)
{
    size_t room = strlen(content) + 24, capacity = 0;
    char *name = sdg_alloc_raw(l->log, room, 1, "a tokenizer's added tokens");
    enum sdg_result result = name ? SDG_OK : SDG_ERROR_MEMORY;
    while (result == SDG_OK) {
        snprintf(name, room, "%s_%zu", content, special->more_count + 1);
        int32_t id = added_id(l, name);
        if (id == SDG_NO_TOKEN)
            break;
        if (sdg_grow(l->log, &special->more, &capacity, special->more_count + 1, sizeof *special->more,
                     "a tokenizer's added tokens"))
            special->more[special->more_count++] = id;
        else
            result = SDG_ERROR_MEMORY;
    }
    sdg_free(name);
    return result;
}

static enum sdg_result make_special(struct loader *l, const struct sdg_added_token *a, struct sdg_special *special)
{
    struct sdg_code_points raw = {0}, normalized = {0};
    enum sdg_result result = sdg_utf8_decode(l->log, a->content, strlen(a->content), &raw);
    if (result == SDG_OK && a->normalized)
        result = sdg_normalize(l->log, raw.at, raw.count, &normalized);
    if (a->normalized) {
        sdg_free(raw.at);
        raw = normalized;
        sdg_collapse_space(&raw);
    }
    special->at = raw.at;
    special->count = raw.count;
    special->normalized = a->normalized;
    special->single_word = a->single_word;
    return result == SDG_OK ? find_more(l, a->content, special) : result;
}

static enum sdg_result make_specials(struct loader *l)
{
    struct sdg_tokenizer *t = l->t;
    const struct sdg_tokenizer_settings *s = &l->settings;
    t->specials = sdg_alloc(l->log, s->added_count, sizeof *t->specials, "a tokenizer's added tokens");
    if (!t->specials)
        return SDG_ERROR_MEMORY;
    for (size_t i = 0; i < s->added_count; i++) {
        if (l->ids[i] == SDG_NO_TOKEN || s->added[i].hidden || !is_last(l, i))
            continue;
        struct sdg_special *special = &t->specials[t->special_count++];
        special->id = l->ids[i];
        SDG_TRY(make_special(l, &s->added[i], special));
        if (special->count)
            t->special_starts[special->normalized][special->at[0] & 255] = true;
    }
    return SDG_OK;
}

// ---- All of it ----

static enum sdg_result find_length(struct loader *l, int positions)
{
    const int length = l->settings.length;
    if (length > positions)
        return sdg_fail(
            l->log, SDG_ERROR_INPUT,
            "%s/%s: model_max_length is %d, but the text encoder has %d positions (max_position_embeddings)",
            l->files->folder, sdg_tokenizer_file_name(SDG_TOKENIZER_CONFIG), length, positions);
    l->t->length = length ? length : positions;
    return SDG_OK;
}

static enum sdg_result parse_vocabulary(struct loader *l)
{
    const bool whole = l->files->text[SDG_TOKENIZER_JSON] != NULL;
    enum sdg_tokenizer_file file = whole ? SDG_TOKENIZER_JSON : SDG_TOKENIZER_VOCAB;
    l->vocabulary_file = sdg_tokenizer_file_name(file);
    l->merges_file = whole ? l->vocabulary_file : sdg_tokenizer_file_name(SDG_TOKENIZER_MERGES);
    l->json = cJSON_ParseWithOpts(l->files->text[file], NULL, true);
    if (!l->json)
        return sdg_fail(l->log, SDG_ERROR_INPUT, "%s/%s: is not valid JSON", l->files->folder, l->vocabulary_file);
    const cJSON *model = cJSON_GetObjectItemCaseSensitive(l->json, "model");
    l->vocabulary = whole ? cJSON_GetObjectItemCaseSensitive(model, "vocab") : l->json;
    return SDG_OK;
}

static enum sdg_result find_vocabulary(struct loader *l)
{
    if (!cJSON_IsObject(l->vocabulary))
        return sdg_fail(l->log, SDG_ERROR_INPUT, "%s/%s: the vocabulary is not a JSON object", l->files->folder,
                        l->vocabulary_file);
    if (l->vocabulary == l->json)
        return SDG_OK;
    l->pairs = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(l->json, "model"), "merges");
    if (!cJSON_IsArray(l->pairs))
        return sdg_fail(l->log, SDG_ERROR_INPUT, "%s/%s: model.merges is not a list", l->files->folder, l->merges_file);
    return SDG_OK;
}

static enum sdg_result load(struct loader *l, int positions)
{
    SDG_TRY(parse_vocabulary(l));
    SDG_TRY(sdg_tokenizer_settings_read(l->log, l->files, l->vocabulary == l->json ? NULL : l->json, &l->settings));
    SDG_TRY(find_vocabulary(l));
    SDG_TRY(find_length(l, positions));
    SDG_TRY(read_names(l));
    SDG_TRY(read_bytes(l));
    SDG_TRY(l->pairs ? read_pairs(l) : read_lines(l, l->files->text[SDG_TOKENIZER_MERGES]));
    SDG_TRY(give_ids(l));
    SDG_TRY(named_id(l, SDG_TOKEN_BEGIN, &l->t->begin));
    SDG_TRY(named_id(l, SDG_TOKEN_END, &l->t->end));
    SDG_TRY(named_id(l, SDG_TOKEN_PAD, &l->t->pad));
    return make_specials(l);
}

enum sdg_result sdg_tokenizer_create(const struct sdg_log *log, const struct sdg_tokenizer_files *files, int positions,
                                     struct sdg_tokenizer **out)
{
    *out = NULL;
    struct loader l = {.log = log, .files = files};
    l.t = sdg_alloc(log, 1, sizeof *l.t, "a tokenizer");
    enum sdg_result result = l.t ? load(&l, positions) : SDG_ERROR_MEMORY;
    if (result == SDG_OK) {
        *out = l.t;
        l.t = NULL;
    }
    sdg_tokenizer_destroy(&l.t);
    sdg_tokenizer_settings_clear(&l.settings);
    sdg_free(l.ids);
    sdg_free(l.names.slots);
    cJSON_Delete(l.json);
    return result;
}
