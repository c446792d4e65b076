#include "text/tokenizer_settings.h"

#include "base/json.h"
#include "base/memory.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The attributes of transformers' tokenizers that name a token, in its order; the first four under the name of
// enum sdg_named_token. Other keys that end in "_token" make a special token as well, after these.
static const struct {
    const char *key;
    const char *fallback; // NULL: none
} attributes[] = {
    {"bos_token", "<|startoftext|>"},
    {"eos_token", "<|endoftext|>"},
    {"unk_token", "<|endoftext|>"},
    {"sep_token", NULL},
    {"pad_token", "<|endoftext|>"},
    {"cls_token", NULL},
    {"mask_token", NULL},
};

enum { ATTRIBUTES = sizeof attributes / sizeof *attributes, MAX_OTHERS = 4096, MAX_ADDED = 16384 };
static const int attribute_of[SDG_TOKEN_NAMED_COUNT] = {
    [SDG_TOKEN_BEGIN] = 0, [SDG_TOKEN_END] = 1, [SDG_TOKEN_UNKNOWN] = 2, [SDG_TOKEN_PAD] = 4};

// A special token as a file names it. Points into the parsed files.
struct token {
    const char *content; // NULL: none
    bool described;      // by an object, not a plain string
    bool makes_special;  // a token of this text in added_tokens.json is special, too
    bool normalized, single_word, left, right, special;
};

struct reader {
    const struct sdg_log *log;
    struct sdg_tokenizer_settings *out;
    struct sdg_json config, map, added; // zero where there is no such file
    const cJSON *tokenizer;
    char *paths[SDG_TOKENIZER_FILE_COUNT];
    struct token named[ATTRIBUTES];
    struct token others[MAX_OTHERS]; // extra special tokens
    size_t other_count;
};

// ---- Tokens in files ----

static bool flag(const cJSON *object, const char *key, bool fallback)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    return cJSON_IsBool(item) ? cJSON_IsTrue(item) : fallback;
}

// A token is stored as a string or as an object with its text in "content". A plain string is looked for in the text as
// it is.
static enum sdg_result read_token(const struct sdg_json *json, const char *key, const cJSON *item,
                                  bool normalized_fallback, struct token *out)
{
    const cJSON *content = cJSON_IsObject(item) ? cJSON_GetObjectItemCaseSensitive(item, "content") : item;
    if (!cJSON_IsString(content) || !*content->valuestring)
        return sdg_fail(json->log, SDG_ERROR_INPUT, "%s: %s should be a string", json->path, key);
    *out = (struct token){.content = content->valuestring, .described = cJSON_IsObject(item)};
    out->makes_special = !out->described || !normalized_fallback; // transformers' way of comparing them
    if (out->described) {
        out->normalized = flag(item, "normalized", normalized_fallback);
        out->single_word = flag(item, "single_word", false);
        out->left = flag(item, "lstrip", false);
        out->right = flag(item, "rstrip", false);
        out->special = flag(item, "special", !normalized_fallback);
    }
    return SDG_OK;
}

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), of_end = strlen(end);
    return length >= of_end && strcmp(text + length - of_end, end) == 0;
}

static enum sdg_result add_other(struct reader *r, const struct sdg_json *json, const cJSON *item)
{
    struct token token;
    if (r->other_count == MAX_OTHERS)
        return sdg_fail(r->log, SDG_ERROR_UNSUPPORTED, "%s: more than %d special tokens", json->path, MAX_OTHERS);
    SDG_TRY(read_token(json, item->string ? item->string : "a special token", item, true, &token));
    r->others[r->other_count++] = token;
    return SDG_OK;
}

static enum sdg_result add_others(struct reader *r, const struct sdg_json *json, const char *key)
{
    const cJSON *list = sdg_json_get(json, key), *item;
    if (list && !cJSON_IsArray(list) && !cJSON_IsObject(list))
        return sdg_fail(r->log, SDG_ERROR_INPUT, "%s: %s should be a list of tokens", json->path, key);
    cJSON_ArrayForEach(item, list) SDG_TRY(add_other(r, json, item));
    return SDG_OK;
}

// The named tokens of tokenizer_config.json or special_tokens_map.json; what is not there stays.
static enum sdg_result read_named(struct reader *r, const struct sdg_json *json, bool normalized_fallback)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, json->object)
    {
        int i = 0;
        while (i < ATTRIBUTES && strcmp(item->string, attributes[i].key) != 0)
            i++;
        if (cJSON_IsNull(item))
            continue;
        if (i < ATTRIBUTES)
            SDG_TRY(read_token(json, item->string, item, normalized_fallback, &r->named[i]));
        else if (ends_with(item->string, "_token") && (cJSON_IsString(item) || cJSON_IsObject(item)))
            SDG_TRY(add_other(r, json, item));
    }
    return SDG_OK;
}

// ---- Added tokens ----

static enum sdg_result add(struct reader *r, const char *path, const char *content, double id, bool normalized,
                           bool single_word, bool special)
{
    struct sdg_tokenizer_settings *out = r->out;
    if (!(id >= -1 && id < INT_MAX) || id != floor(id))
        return sdg_fail(r->log, SDG_ERROR_INPUT, "%s: the id of token '%s' is not an integer from 0 to %d", path,
                        content, INT_MAX - 1);
    if (out->added_count == MAX_ADDED)
        return sdg_fail(r->log, SDG_ERROR_UNSUPPORTED, "%s: more than %d added tokens", path, MAX_ADDED);
    if (!sdg_grow(r->log, &out->added, &out->added_capacity, out->added_count + 1, sizeof *out->added,
                  "a tokenizer's added tokens"))
        return SDG_ERROR_MEMORY;
    char *copy = sdg_strdup(r->log, content);
    if (!copy)
        return SDG_ERROR_MEMORY;
    out->added[out->added_count++] = (struct sdg_added_token){copy, (int)id, normalized, single_word, special, false};
    return SDG_OK;
}

// An entry of added_tokens_decoder or of tokenizer.json's list.
static enum sdg_result add_described(struct reader *r, const char *path, const cJSON *item, double id)
{
    const cJSON *content = cJSON_GetObjectItemCaseSensitive(item, "content");
    if (!cJSON_IsString(content))
        return sdg_fail(r->log, SDG_ERROR_INPUT, "%s: an added token without content", path);
    bool special = flag(item, "special", false);
    return add(r, path, content->valuestring, id, flag(item, "normalized", !special), flag(item, "single_word", false),
               special);
}

static enum sdg_result read_decoder(struct reader *r, const cJSON *decoder)
{
    const cJSON *item;
    if (!cJSON_IsObject(decoder))
        return sdg_fail(r->log, SDG_ERROR_INPUT, "%s: added_tokens_decoder should be an object", r->config.path);
    cJSON_ArrayForEach(item, decoder)
    {
        char *end;
        double id = strtod(item->string, &end);
        if (end == item->string || *end)
            id = NAN;
        SDG_TRY(add_described(r, r->config.path, item, id));
    }
    return SDG_OK;
}

static bool is_special(const struct reader *r, const char *content)
{
    for (int i = 0; i < ATTRIBUTES; i++)
        if (r->named[i].makes_special && strcmp(r->named[i].content, content) == 0)
            return true;
    for (size_t i = 0; i < r->other_count; i++)
        if (r->others[i].makes_special && strcmp(r->others[i].content, content) == 0)
            return true;
    return false;
}

static enum sdg_result read_added_file(struct reader *r)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, r->added.object)
    {
        bool special = is_special(r, item->string);
        double id = cJSON_IsNumber(item) ? item->valuedouble : NAN;
        if (*item->string)
            SDG_TRY(add(r, r->added.path, item->string, id, !special, false, special));
    }
    return SDG_OK;
}

static enum sdg_result read_tokenizer_added(struct reader *r)
{
    const char *path = r->paths[SDG_TOKENIZER_JSON];
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(r->tokenizer, "added_tokens"), *item;
    cJSON_ArrayForEach(item, list)
    {
        const cJSON *id = cJSON_GetObjectItemCaseSensitive(item, "id");
        SDG_TRY(add_described(r, path, item, cJSON_IsNumber(id) ? id->valuedouble : NAN));
    }
    return SDG_OK;
}

// By id; of equal ids the one that was read last.
static void sort_added(struct sdg_tokenizer_settings *s)
{
    for (size_t i = 1; i < s->added_count; i++) { // sorted already, as a rule
        struct sdg_added_token token = s->added[i];
        size_t at = i;
        for (; at > 0 && s->added[at - 1].id > token.id; at--)
            s->added[at] = s->added[at - 1];
        s->added[at] = token;
    }
    size_t kept = 0;
    for (size_t i = 0; i < s->added_count; i++) {
        if (kept && s->added[kept - 1].id == s->added[i].id)
            sdg_free(s->added[--kept].content);
        s->added[kept++] = s->added[i];
    }
    s->added_count = kept;
}

static bool equal(const struct token *a, const struct token *b)
{
    return a->content && strcmp(a->content, b->content) == 0 && a->described == b->described &&
        a->normalized == b->normalized && a->single_word == b->single_word && a->left == b->left &&
        a->right == b->right && a->special == b->special;
}

// A special token that no list of added tokens describes is added after those, unless one like it was before. (One with
// the same text and other properties takes its place.)
static enum sdg_result add_special(struct reader *r, const struct token *token, bool named, size_t described)
{
    const struct sdg_tokenizer_settings *s = r->out;
    const struct token *const lists[] = {r->named, r->others};
    const size_t counts[] = {ATTRIBUTES, r->other_count};
    if (!token->content)
        return SDG_OK;
    for (size_t i = 0; i < described; i++)
        if (strcmp(s->added[i].content, token->content) == 0) {
            s->added[i].special |= named;
            return SDG_OK;
        }
    for (int list = 0; list < 2; list++)
        for (size_t i = 0; i < counts[list]; i++) {
            if (&lists[list][i] == token)
                return add(r, "", token->content, -1, token->normalized, token->single_word,
                           named || !token->described || token->special);
            if (equal(&lists[list][i], token))
                return SDG_OK;
        }
    return SDG_OK;
}

static enum sdg_result add_specials(struct reader *r)
{
    const size_t described = r->out->added_count;
    for (int i = 0; i < ATTRIBUTES; i++)
        SDG_TRY(add_special(r, &r->named[i], true, described));
    for (size_t i = 0; i < r->other_count; i++)
        SDG_TRY(add_special(r, &r->others[i], false, described));
    return SDG_OK;
}

// split_special_tokens: special tokens in a text are text.
static void hide_specials(struct sdg_tokenizer_settings *s)
{
    for (size_t i = 0; i < s->added_count; i++)
        for (size_t k = 0; k < s->added_count && !s->added[i].hidden; k++)
            s->added[i].hidden = s->added[k].special && strcmp(s->added[k].content, s->added[i].content) == 0;
}

// ---- The rest of the configuration ----

// Python writes a tokenizer without a limit as one of 1e30 tokens.
static enum sdg_result read_length(struct reader *r)
{
    const double unlimited = 1e6;
    const char *key = "model_max_length";
    const cJSON *length = sdg_json_get(&r->config, key);
    char shown[64];
    if (!length)
        length = sdg_json_get(&r->config, key = "max_len");
    if (!length || (cJSON_IsNumber(length) && length->valuedouble > unlimited))
        return SDG_OK;
    if (!cJSON_IsNumber(length) || length->valuedouble < 3 || length->valuedouble != floor(length->valuedouble))
        return sdg_fail(r->log, SDG_ERROR_UNSUPPORTED, "%s: %s is %s, should be a number of tokens, at least 3",
                        r->config.path, key, sdg_json_show(length, shown));
    r->out->length = (int)length->valuedouble;
    return SDG_OK;
}

static enum sdg_result check_right(const struct sdg_log *log, const char *path, const char *key, const cJSON *side)
{
    char shown[64];
    if (!side || cJSON_IsNull(side) ||
        (cJSON_IsString(side) && (strcmp(side->valuestring, "right") == 0 || strcmp(side->valuestring, "Right") == 0)))
        return SDG_OK;
    return sdg_fail(log, SDG_ERROR_UNSUPPORTED, "%s: %s is %s, supported: right", path, key,
                    sdg_json_show(side, shown));
}

static const cJSON *member(const cJSON *object, const char *a, const char *b)
{
    return cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(object, a), b);
}

// Padding and truncation: the configuration has the last word, tokenizer.json one where it says nothing.
static enum sdg_result check_sides(struct reader *r)
{
    static const char *const sides[][2] = {{"padding_side", "padding"}, {"truncation_side", "truncation"}};
    for (int i = 0; i < 2; i++) {
        const cJSON *side = sdg_json_get(&r->config, sides[i][0]);
        SDG_TRY(check_right(r->log, r->config.path, sides[i][0], side));
        if (!side)
            SDG_TRY(check_right(r->log, r->paths[SDG_TOKENIZER_JSON], sides[i][1],
                                member(r->tokenizer, sides[i][1], "direction")));
    }
    return SDG_OK;
}

// One of the steps of tokenizer.json, or each of a "Sequence" of them, has to be one of CLIP's.
static enum sdg_result check_steps(struct reader *r, const char *what, const cJSON *step, const char *const *known,
                                   int depth)
{
    const cJSON *type = cJSON_GetObjectItemCaseSensitive(step, "type"), *item;
    if (!step || cJSON_IsNull(step))
        return SDG_OK;
    if (cJSON_IsString(type) && strcmp(type->valuestring, "Sequence") == 0 && depth < 4) {
        static const char *const lists[] = {"normalizers", "pretokenizers", "processors"};
        for (int i = 0; i < 3; i++)
            cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(step, lists[i]))
                SDG_TRY(check_steps(r, what, item, known, depth + 1));
        return SDG_OK;
    }
    for (const char *const *name = known; *name; name++)
        if (cJSON_IsString(type) && strcmp(type->valuestring, *name) == 0)
            return SDG_OK;
    return sdg_fail(r->log, SDG_ERROR_UNSUPPORTED,
                    "%s: its %s has a step %s, so it is another tokenizer than CLIP's, which Stable Diffusion uses",
                    r->paths[SDG_TOKENIZER_JSON], what, cJSON_IsString(type) ? type->valuestring : "without a type");
}

// transformers makes CLIP's normalisation, words and begin and end whatever the file says of them. What says something
// else is no file of CLIP's.
static enum sdg_result check_kind(struct reader *r)
{
    static const char *const normalizers[] = {"NFC", "Replace", "Lowercase", NULL},
                             *const words[] = {"Split", "ByteLevel", NULL},
                             *const ends[] = {"RobertaProcessing", "TemplateProcessing", "ByteLevel", NULL};
    const cJSON *type = member(r->tokenizer, "model", "type");
    if (cJSON_IsString(type) && strcmp(type->valuestring, "BPE") != 0)
        return sdg_fail(r->log, SDG_ERROR_UNSUPPORTED,
                        "%s: its model is %s, but Stable Diffusion's is CLIP's byte-level BPE",
                        r->paths[SDG_TOKENIZER_JSON], type->valuestring);
    SDG_TRY(check_steps(r, "normalizer", cJSON_GetObjectItemCaseSensitive(r->tokenizer, "normalizer"), normalizers, 0));
    SDG_TRY(check_steps(r, "pre_tokenizer", cJSON_GetObjectItemCaseSensitive(r->tokenizer, "pre_tokenizer"), words, 0));
    return check_steps(r, "post_processor", cJSON_GetObjectItemCaseSensitive(r->tokenizer, "post_processor"), ends, 0);
}

// Texts begin and end with what the configuration says. A file made for other tokens than these is not of this model.
static enum sdg_result check_ends(struct reader *r)
{
    static const char *const keys[] = {[SDG_TOKEN_BEGIN] = "cls", [SDG_TOKEN_END] = "sep"};
    for (int i = SDG_TOKEN_BEGIN; i <= SDG_TOKEN_END; i++) {
        const cJSON *token = cJSON_GetArrayItem(member(r->tokenizer, "post_processor", keys[i]), 0);
        if (cJSON_IsString(token) && strcmp(token->valuestring, r->out->named[i]) != 0)
            return sdg_fail(
                r->log, SDG_ERROR_INPUT, "%s: post_processor's %s is '%s', but the %s of the configuration '%s'",
                r->paths[SDG_TOKENIZER_JSON], keys[i], token->valuestring, attributes[i].key, r->out->named[i]);
    }
    return SDG_OK;
}

// ---- All of it ----

static enum sdg_result parse(struct reader *r, const struct sdg_tokenizer_files *files, enum sdg_tokenizer_file file,
                             struct sdg_json *json)
{
    return files->text[file] ? sdg_json_parse(r->log, r->paths[file], files->text[file], json) : SDG_OK;
}

static enum sdg_result make_paths(struct reader *r, const char *folder)
{
    for (int i = 0; i < SDG_TOKENIZER_FILE_COUNT; i++) {
        const char *name = sdg_tokenizer_file_name((enum sdg_tokenizer_file)i);
        size_t room = strlen(folder) + strlen(name) + 2;
        r->paths[i] = sdg_alloc_raw(r->log, room, 1, "a tokenizer's files");
        if (!r->paths[i])
            return SDG_ERROR_MEMORY;
        snprintf(r->paths[i], room, "%s/%s", folder, name);
    }
    return SDG_OK;
}

static enum sdg_result read_map(struct reader *r)
{
    SDG_TRY(read_named(r, &r->map, false));
    SDG_TRY(add_others(r, &r->map, "extra_special_tokens"));
    SDG_TRY(read_added_file(r)); // "additional" ones are no special ones to it
    if (!sdg_json_get(&r->config, "extra_special_tokens") && !sdg_json_get(&r->config, "additional_special_tokens") &&
        !sdg_json_get(&r->map, "extra_special_tokens"))
        SDG_TRY(add_others(r, &r->map, "additional_special_tokens"));
    return read_tokenizer_added(r);
}

static enum sdg_result read_all(struct reader *r, const struct sdg_tokenizer_files *files)
{
    SDG_TRY(make_paths(r, files->folder));
    SDG_TRY(parse(r, files, SDG_TOKENIZER_CONFIG, &r->config));
    SDG_TRY(parse(r, files, SDG_TOKENIZER_SPECIAL_TOKENS, &r->map));
    SDG_TRY(parse(r, files, SDG_TOKENIZER_ADDED_TOKENS, &r->added));
    SDG_TRY(check_kind(r));
    for (int i = 0; i < ATTRIBUTES; i++)
        r->named[i].content = attributes[i].fallback;
    SDG_TRY(read_named(r, &r->config, true));
    bool extra = cJSON_GetArraySize(sdg_json_get(&r->config, "extra_special_tokens")) > 0;
    SDG_TRY(add_others(r, &r->config, extra ? "extra_special_tokens" : "additional_special_tokens"));
    const cJSON *decoder = sdg_json_get(&r->config, "added_tokens_decoder");
    SDG_TRY(decoder ? read_decoder(r, decoder) : read_map(r));
    sort_added(r->out);
    if (files->pad)
        r->named[attribute_of[SDG_TOKEN_PAD]] = (struct token){.content = files->pad};
    SDG_TRY(add_specials(r));
    SDG_TRY(read_length(r));
    SDG_TRY(check_sides(r));
    if (cJSON_IsTrue(sdg_json_get(&r->config, "split_special_tokens")))
        hide_specials(r->out);
    for (int i = 0; i < SDG_TOKEN_NAMED_COUNT; i++)
        if (!(r->out->named[i] = sdg_strdup(r->log, r->named[attribute_of[i]].content)))
            return SDG_ERROR_MEMORY;
    return check_ends(r);
}

enum sdg_result sdg_tokenizer_settings_read(const struct sdg_log *log, const struct sdg_tokenizer_files *files,
                                            const cJSON *tokenizer_json, struct sdg_tokenizer_settings *out)
{
    *out = (struct sdg_tokenizer_settings){0};
    struct reader *r = sdg_alloc(log, 1, sizeof *r, "a tokenizer's settings");
    if (!r)
        return SDG_ERROR_MEMORY;
    r->log = log;
    r->out = out;
    r->tokenizer = tokenizer_json;
    enum sdg_result result = read_all(r, files);
    sdg_json_free(&r->config);
    sdg_json_free(&r->map);
    sdg_json_free(&r->added);
    for (int i = 0; i < SDG_TOKENIZER_FILE_COUNT; i++)
        sdg_free(r->paths[i]);
    sdg_free(r);
    return result;
}

void sdg_tokenizer_settings_clear(struct sdg_tokenizer_settings *settings)
{
    for (size_t i = 0; i < settings->added_count; i++)
        sdg_free(settings->added[i].content);
    sdg_free(settings->added);
    for (int i = 0; i < SDG_TOKEN_NAMED_COUNT; i++)
        sdg_free(settings->named[i]);
    *settings = (struct sdg_tokenizer_settings){0};
}
