// What becomes of a tokenizer's files, against transformers' CLIPTokenizer: tokenizer.json, added tokens, special
// tokens, lengths; and what is refused.
#include "tests/support/text_files.h"
#include "text/prompt.h"

#include <cjson/cJSON.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define START "<|startoftext|>"
#define END "<|endoftext|>"

static char *vocabulary, *merges; // of the default model

static int read_model(void **state)
{
    (void)state;
    vocabulary = file_text(MODEL_TOKENIZER, "vocab.json");
    merges = file_text(MODEL_TOKENIZER, "merges.txt");
    return vocabulary && merges ? 0 : -1;
}

static int free_model(void **state)
{
    (void)state;
    free(vocabulary);
    free(merges);
    return 0;
}

// ---- tokenizer.json from the default model's files ----

static cJSON *merge_list(bool pairs)
{
    cJSON *list = cJSON_CreateArray();
    for (const char *line = strchr(merges, '\n') + 1; *line;) {
        size_t length = strcspn(line, "\n");
        char text[400];
        assert_true(length < sizeof text);
        snprintf(text, sizeof text, "%.*s", (int)length, line);
        char *space = strchr(text, ' ');
        if (pairs) {
            *space = 0;
            cJSON_AddItemToArray(list, cJSON_CreateStringArray((const char *[]){text, space + 1}, 2));
        } else {
            cJSON_AddItemToArray(list, cJSON_CreateString(text));
        }
        line += length + (line[length] == '\n');
    }
    return list;
}

// Completes the tokenizer.json of a golden.
static char *whole_json(cJSON *json, bool pairs)
{
    cJSON *model = cJSON_AddObjectToObject(json, "model");
    cJSON_AddStringToObject(model, "type", "BPE");
    cJSON_AddItemToObject(model, "vocab", cJSON_Parse(vocabulary));
    cJSON_AddItemToObject(model, "merges", merge_list(pairs));
    return cJSON_PrintUnformatted(json);
}

static void clear(struct sdg_tokenizer_files *files)
{
    for (int i = 0; i < SDG_TOKENIZER_FILE_COUNT; i++)
        cJSON_free(files->text[i]);
}

static void use_model(struct sdg_tokenizer_files *files)
{
    const char *const texts[] = {vocabulary, merges};
    for (int i = 0; i < 2; i++) {
        char *copy = cJSON_malloc(strlen(texts[i]) + 1);
        assert_non_null(copy);
        files->text[i ? SDG_TOKENIZER_MERGES : SDG_TOKENIZER_VOCAB] = strcpy(copy, texts[i]);
    }
}

static void use_files(const cJSON *described, struct sdg_tokenizer_files *files)
{
    *files = (struct sdg_tokenizer_files){.folder = "folder"};
    for (int i = 0; i < SDG_TOKENIZER_FILE_COUNT; i++) {
        cJSON *json = cJSON_GetObjectItem(described, sdg_tokenizer_file_name((enum sdg_tokenizer_file)i));
        if (!json)
            continue;
        bool pairs = strcmp(cJSON_GetStringValue(cJSON_GetObjectItem(json, "merges")) ?: "pairs", "pairs") == 0;
        files->text[i] = i == SDG_TOKENIZER_JSON ? whole_json(json, pairs) : cJSON_PrintUnformatted(json);
    }
    if (!files->text[SDG_TOKENIZER_JSON])
        use_model(files);
}

// ---- Goldens ----

static void check_ids(const struct sdg_tokenizer *t, const char *text, const cJSON *expected, const char *line)
{
    int32_t *ids;
    size_t count;
    assert_int_equal(sdg_tokenize(t, NULL, text, &ids, &count), SDG_OK);
    size_t at = 0;
    bool same = (int)count + 2 == cJSON_GetArraySize(expected);
    for (const cJSON *id = expected->child; same && id; id = id->next, at++)
        same = id->valueint == (at == 0 ? sdg_tokenizer_begin(t) : at <= count ? ids[at - 1] : sdg_tokenizer_end(t));
    if (!same)
        fail_msg("'%s' differs near token %zu: %.900s", text, at, line);
    sdg_free(ids);
}

struct checked {
    int texts;       // how many
    cJSON *of_lines; // the texts of this line, and of those behind it that have none
};

static void check_row(const char *line, void *user)
{
    struct checked *checked = user;
    cJSON *row = cJSON_Parse(line);
    if (cJSON_HasObjectItem(row, "texts")) {
        cJSON_Delete(checked->of_lines);
        checked->of_lines = cJSON_DetachItemFromObject(row, "texts");
    }
    struct sdg_tokenizer_files files;
    struct sdg_tokenizer *t;
    use_files(cJSON_GetObjectItem(row, "files"), &files);
    if (sdg_tokenizer_create(NULL, &files, SDG_TEXT_TOKENS, &t) != SDG_OK)
        fail_msg("refused: %.900s", line);
    const cJSON *length = cJSON_GetObjectItem(row, "length");
    assert_int_equal(sdg_tokenizer_length(t), cJSON_IsNumber(length) ? length->valueint : SDG_TEXT_TOKENS);
    assert_int_equal(sdg_tokenizer_pad(t), cJSON_GetObjectItem(row, "pad_id")->valueint);
    const cJSON *text = checked->of_lines->child, *ids = cJSON_GetObjectItem(row, "ids")->child;
    for (; text && ids; text = text->next, ids = ids->next, checked->texts++)
        check_ids(t, text->valuestring, ids, line);
    sdg_tokenizer_destroy(&t);
    clear(&files);
    cJSON_Delete(row);
}

static void goldens(void **state)
{
    (void)state;
    struct checked checked = {0};
    long lines = each_line(SDG_SOURCE_DIR "/tests/goldens/text", "tokenizers.jsonl", check_row, &checked);
    cJSON_Delete(checked.of_lines);
    assert_true(lines > 55 && checked.texts == 3 * lines);
    print_message("%ld folders, %d texts equal\n", lines, checked.texts);
}

// CLIP's own vocabulary as tokenizer.json: the same ids as from its two files.
static void clip(void **state)
{
    (void)state;
    const char *folder = SDG_SHARED_DIR "/goldens/pipelines/sd15-tiny/tokenizer";
    struct sdg_tokenizer *two = folder_tokenizer(folder, NULL), *one;
    if (!two) {
        print_message("skipped: no CLIP vocabulary here\n");
        skip();
    }
    char *own[] = {vocabulary, merges};
    vocabulary = file_text(folder, "vocab.json");
    merges = file_text(folder, "merges.txt");
    struct sdg_tokenizer_files files = {.folder = "folder"};
    cJSON *json = cJSON_CreateObject();
    files.text[SDG_TOKENIZER_JSON] = whole_json(json, true);
    assert_int_equal(sdg_tokenizer_create(NULL, &files, SDG_TEXT_TOKENS, &one), SDG_OK);
    const char *text = "An astronaut's PHOTO, riding a horse; caf\xc3\xa9 \xf0\x9f\x90\xb1 3d";
    int32_t *a, *b;
    size_t a_count, b_count;
    assert_int_equal(sdg_tokenize(two, NULL, text, &a, &a_count), SDG_OK);
    assert_int_equal(sdg_tokenize(one, NULL, text, &b, &b_count), SDG_OK);
    assert_true(a_count > 10 && a_count == b_count);
    assert_memory_equal(a, b, a_count * sizeof *a);
    sdg_free(a);
    sdg_free(b);
    sdg_tokenizer_destroy(&one);
    sdg_tokenizer_destroy(&two);
    cJSON_Delete(json);
    clear(&files);
    free(vocabulary);
    free(merges);
    vocabulary = own[0];
    merges = own[1];
}

// ---- Refusals ----

struct refusal {
    enum sdg_tokenizer_file file;
    const char *text;
    enum sdg_result result;
    const char *words; // of the message
};

#define WHOLE(more) "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"" START "\":0,\"" END "\":1},\"merges\":[]}" more "}"

static void expect_refusal(const struct refusal *r)
{
    struct counting_log count = {0};
    struct sdg_log log = {counting_log_fn, &count, SDG_LOG_DEBUG};
    struct sdg_tokenizer_files files = {.folder = "folder"};
    struct sdg_tokenizer *t = (void *)&count;
    if (r->file != SDG_TOKENIZER_JSON) {
        files.text[SDG_TOKENIZER_VOCAB] = vocabulary;
        files.text[SDG_TOKENIZER_MERGES] = merges;
    }
    files.text[r->file] = (char *)r->text;
    enum sdg_result result = sdg_tokenizer_create(&log, &files, SDG_TEXT_TOKENS, &t);
    if (t || result != r->result || count.errors != 1 || !strstr(count.last, r->words) ||
        !strstr(count.last, sdg_tokenizer_file_name(r->file)))
        fail_msg("%s: result %d, %d errors: '%s'", r->text, (int)result, count.errors, count.last);
}

static void refusals(void **state)
{
    (void)state;
    const enum sdg_tokenizer_file JSON = SDG_TOKENIZER_JSON, CONFIG = SDG_TOKENIZER_CONFIG,
                                  MAP = SDG_TOKENIZER_SPECIAL_TOKENS;
    const enum sdg_result wrong = SDG_ERROR_INPUT, other = SDG_ERROR_UNSUPPORTED;
    const struct refusal rows[] = {
        {JSON, "{", wrong, "not valid JSON"},
        {JSON, "{}", wrong, "vocabulary"},
        {JSON, "[]", wrong, "vocabulary"},
        {JSON, "{\"model\":{\"vocab\":[[\"a\",0]],\"merges\":[]}}", wrong, "vocabulary"},
        {JSON, "{\"model\":{\"vocab\":{}}}", wrong, "model.merges"},
        {JSON, "{\"model\":{\"type\":\"Unigram\",\"vocab\":[]}}", other, "model is Unigram"},
        {JSON, WHOLE(",\"normalizer\":{\"type\":\"BertNormalizer\"}"), other, "normalizer has a step BertNormalizer"},
        {JSON, WHOLE(",\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":\"Nmt\"}]}"),
         other, "normalizer has a step Nmt"},
        {JSON, WHOLE(",\"pre_tokenizer\":{\"type\":\"Metaspace\"}"), other, "pre_tokenizer has a step Metaspace"},
        {JSON, WHOLE(",\"post_processor\":{\"type\":\"BertProcessing\"}"), other, "step BertProcessing"},
        {JSON, WHOLE(",\"post_processor\":{\"type\":\"RobertaProcessing\",\"cls\":[\"<s>\",0]}"), wrong, "'<s>'"},
        {JSON, WHOLE(",\"padding\":{\"direction\":\"Left\"}"), other, "padding is \"Left\""},
        {JSON, WHOLE(",\"truncation\":{\"direction\":\"Left\"}"), other, "truncation"},
        {JSON, WHOLE(",\"added_tokens\":[{\"id\":1}]"), wrong, "without content"},
        {JSON, WHOLE(",\"added_tokens\":[{\"id\":-2,\"content\":\"x\"}]"), wrong, "'x'"},
        {JSON, WHOLE(",\"added_tokens\":[{\"content\":\"x\"}]"), wrong, "'x'"},
        {JSON, "{\"model\":{\"vocab\":{\"" START "\":0},\"merges\":[]}}", wrong, END},
        {JSON, "{\"model\":{\"vocab\":{\"" END "\":0},\"merges\":[\"a\"]}}", wrong, "merge 1"},
        {JSON, "{\"model\":{\"vocab\":{\"" END "\":0},\"merges\":[[\"a\",\"b\"]]}}", wrong, "merge 1"},
        {JSON, "{\"model\":{\"vocab\":{\"" END "\":0},\"merges\":[[\"a\"]]}}", wrong, "merge 1"},
        {JSON, "{\"model\":{\"vocab\":{\"" END "\":0},\"merges\":[[\"a\",\"b\",\"c\"]]}}", wrong, "merge 1"},
        {JSON, "{\"model\":{\"vocab\":{\"" END "\":0},\"merges\":[3]}}", wrong, "merge 1"},
        {CONFIG, "{", wrong, "JSON"},
        {CONFIG, "{\"pad_token\":3}", wrong, "pad_token should be a string"},
        {CONFIG, "{\"model_max_length\":78}", wrong, "model_max_length is 78, but the text encoder has 77"},
        {CONFIG, "{\"model_max_length\":2}", other, "model_max_length is 2"},
        {CONFIG, "{\"model_max_length\":-1}", other, "model_max_length is -1"},
        {CONFIG, "{\"model_max_length\":\"77\"}", other, "model_max_length is \"77\""},
        {CONFIG, "{\"model_max_length\":76.5}", other, "model_max_length is 76.5"},
        {CONFIG, "{\"padding_side\":\"left\"}", other, "padding_side is \"left\""},
        {CONFIG, "{\"truncation_side\":\"left\"}", other, "truncation_side is \"left\""},
        {CONFIG, "{\"added_tokens_decoder\":[]}", wrong, "added_tokens_decoder"},
        {CONFIG, "{\"added_tokens_decoder\":{\"x\":{\"content\":\"y\"}}}", wrong, "'y'"},
        {CONFIG, "{\"additional_special_tokens\":3}", wrong, "additional_special_tokens"},
        {CONFIG, "{\"extra_special_tokens\":[3]}", wrong, "should be a string"},
        {MAP, "[]", wrong, "JSON"},
        {SDG_TOKENIZER_ADDED_TOKENS, "{\"x\":\"y\"}", wrong, "'x'"},
        {SDG_TOKENIZER_ADDED_TOKENS, "{\"x\":1e10}", wrong, "'x'"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        expect_refusal(&rows[i]);
}

// ---- Lengths, hints, memory ----

static void lengths(void **state)
{
    (void)state;
    static const struct {
        const char *config;
        int positions, length;
    } rows[] = {
        {NULL, 77, 77},
        {"{}", 248, 248},
        {"{\"model_max_length\":1000000000000000019884624838656}", 128, 128},
        {"{\"model_max_length\":128}", 128, 128},
        {"{\"model_max_length\":77}", 248, 77},
        {"{\"max_len\":20}", 77, 20},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct sdg_tokenizer_files files = {.folder = "folder"};
        struct sdg_tokenizer *t;
        files.text[SDG_TOKENIZER_VOCAB] = vocabulary;
        files.text[SDG_TOKENIZER_MERGES] = merges;
        files.text[SDG_TOKENIZER_CONFIG] = (char *)rows[i].config;
        assert_int_equal(sdg_tokenizer_create(NULL, &files, rows[i].positions, &t), SDG_OK);
        assert_int_equal(sdg_tokenizer_length(t), rows[i].length);
        sdg_tokenizer_destroy(&t);
    }
}

// A prompt in chunks of another length than 77, plain and long.
static void chunks(void **state)
{
    (void)state;
    enum { LENGTH = 10, ROOM = LENGTH - 2 };
    struct sdg_tokenizer_files files = {.folder = "folder", .pad = "!"};
    struct sdg_tokenizer *t;
    files.text[SDG_TOKENIZER_VOCAB] = vocabulary;
    files.text[SDG_TOKENIZER_MERGES] = merges;
    files.text[SDG_TOKENIZER_CONFIG] = (char *)"{\"model_max_length\":10}";
    assert_int_equal(sdg_tokenizer_create(NULL, &files, SDG_TEXT_TOKENS, &t), SDG_OK);
    const char *text = "a red cat on a green hill with a blue house and two white dogs";
    int32_t *ids;
    size_t count;
    assert_int_equal(sdg_tokenize(t, NULL, text, &ids, &count), SDG_OK);
    assert_true(count > ROOM && count < 16 * ROOM);
    for (int syntax = 0; syntax < 2; syntax++) {
        struct sdg_prompt_tokens tokens;
        const int wanted = syntax == SDG_PROMPT_PLAIN ? 1 : (int)(count + ROOM - 1) / ROOM;
        assert_int_equal(sdg_prompt_tokenize(t, NULL, (enum sdg_prompt_syntax)syntax, text, &tokens), SDG_OK);
        assert_true(tokens.length == LENGTH && tokens.chunks == wanted);
        assert_int_equal(tokens.truncated, syntax == SDG_PROMPT_PLAIN);
        for (int i = 0; i < wanted * LENGTH; i++) {
            size_t chunk = (size_t)i / LENGTH, in = (size_t)i % LENGTH, at = chunk * ROOM + in - 1;
            size_t used = count - chunk * ROOM < ROOM ? count - chunk * ROOM : ROOM;
            int32_t want = in == 0 ? sdg_tokenizer_begin(t)
                : in <= used       ? ids[at]
                : in == used + 1   ? sdg_tokenizer_end(t)
                                   : sdg_tokenizer_pad(t);
            assert_int_equal(tokens.ids[i], want);
        }
        assert_int_equal(sdg_prompt_pad_chunks(t, NULL, &tokens, wanted + 1), SDG_OK);
        assert_int_equal(tokens.ids[wanted * LENGTH + 2], 0); // "!"
        sdg_prompt_tokens_clear(&tokens);
    }
    sdg_free(ids);
    sdg_tokenizer_destroy(&t);
}

static void failing_allocations(void **state)
{
    (void)state;
    struct sdg_tokenizer_files files = {.folder = "folder"};
    files.text[SDG_TOKENIZER_JSON] = (char *)WHOLE("");
    files.text[SDG_TOKENIZER_CONFIG] = (char *)"{\"additional_special_tokens\":[\"x\"]}";
    files.text[SDG_TOKENIZER_ADDED_TOKENS] = (char *)"{\"Y\":2,\"Y_1\":3}";
    struct sdg_tokenizer *t = NULL;
    size_t failures = 0;
    while (!t) {
        struct counting_log count = {0};
        struct sdg_log log = {counting_log_fn, &count, SDG_LOG_DEBUG};
        sdg_test_fail_allocation(failures + 1);
        enum sdg_result result = sdg_tokenizer_create(&log, &files, SDG_TEXT_TOKENS, &t);
        sdg_test_fail_allocation(0);
        assert_int_equal(result, t ? SDG_OK : SDG_ERROR_MEMORY);
        assert_int_equal(count.errors, !t);
        failures += !t;
    }
    assert_true(failures > 25);
    int32_t *ids;
    size_t count;
    assert_int_equal(sdg_tokenize(t, NULL, "xy", &ids, &count), SDG_OK);
    assert_true(count == 3 && ids[0] == 4 && ids[1] == 2 && ids[2] == 3);
    sdg_free(ids);
    sdg_tokenizer_destroy(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goldens), cmocka_unit_test(clip),   cmocka_unit_test(refusals),
        cmocka_unit_test(lengths), cmocka_unit_test(chunks), cmocka_unit_test(failing_allocations),
    };
    return cmocka_run_group_tests(tests, read_model, free_model);
}
