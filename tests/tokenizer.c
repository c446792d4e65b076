// The tokenizer against transformers' ids, by hand-made vocabularies, and with hostile files.
#include "tests/support/text_files.h"
#include "text/tokenizer_unicode.h"

#include <cjson/cJSON.h>
#include <setjmp.h>
#include <stdarg.h>
#include <time.h>

#include <cmocka.h>

#define START "<|startoftext|>"
#define END "<|endoftext|>"
#define SPECIALS "\"" START "\":100,\"" END "\":101"

// ---- Goldens ----

struct golden_run {
    struct sdg_tokenizer *plain, *bang; // padding token <|endoftext|>, !
    long texts, tokens;
};

static void check_text(struct golden_run *run, const struct sdg_tokenizer *t, const cJSON *row, const char *line)
{
    const cJSON *expected = cJSON_GetObjectItem(row, "ids");
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItem(row, "text"));
    assert_non_null(text);
    assert_non_null(t);
    int32_t *ids;
    size_t count;
    assert_int_equal(sdg_tokenize(t, NULL, text, &ids, &count), SDG_OK);
    bool same = (int)count + 2 == cJSON_GetArraySize(expected);
    size_t at = 0;
    for (const cJSON *id = expected->child; same && id; id = id->next, at++) {
        int32_t own = at == 0 ? sdg_tokenizer_begin(t) : at <= count ? ids[at - 1] : sdg_tokenizer_end(t);
        same = own == id->valueint;
    }
    if (!same)
        fail_msg("differs near token %zu: %.200s", at, line);
    run->tokens += (long)count;
    run->texts++;
    sdg_free(ids);
}

// A line without a padding token is true for both.
static void check_golden(const char *line, void *user)
{
    struct golden_run *run = user;
    cJSON *row = cJSON_Parse(line);
    const cJSON *pad = cJSON_GetObjectItem(row, "pad");
    const bool bang = pad && strcmp(pad->valuestring, "!") == 0;
    if (!bang)
        check_text(run, run->plain, row, line);
    if (bang || (!pad && run->bang))
        check_text(run, run->bang, row, line);
    cJSON_Delete(row);
}

static void golden_default_model(void **state)
{
    (void)state;
    struct golden_run run = {folder_tokenizer(MODEL_TOKENIZER, NULL), folder_tokenizer(MODEL_TOKENIZER, "!"), 0, 0};
    assert_non_null(run.plain);
    assert_int_equal(sdg_tokenizer_vocabulary(run.plain), 3514);
    assert_int_equal(sdg_tokenizer_begin(run.plain), 3512);
    assert_int_equal(sdg_tokenizer_end(run.plain), 3513);
    assert_int_equal(sdg_tokenizer_pad(run.plain), 3513);
    assert_int_equal(sdg_tokenizer_pad(run.bang), 0);
    each_line(SDG_SOURCE_DIR "/tests/goldens/text", "tokens.jsonl", check_golden, &run);
    assert_true(run.texts > 250);
    print_message("default model: %ld texts, %ld tokens equal\n", run.texts, run.tokens);
    sdg_tokenizer_destroy(&run.plain);
    sdg_tokenizer_destroy(&run.bang);
    assert_null(run.plain);
}

static void golden_clip(void **state)
{
    (void)state;
    struct golden_run run = {folder_tokenizer(SDG_SHARED_DIR "/goldens/pipelines/sd15-tiny/tokenizer", END), NULL, 0,
                             0};
    if (!run.plain) {
        print_message("skipped: no CLIP vocabulary here\n");
        skip();
    }
    long lines = each_line(SDG_SHARED_DIR "/goldens/tokenizer", "tokens.jsonl", check_golden, &run);
    assert_true(lines > 300);
    print_message("CLIP: %ld texts, %ld tokens equal\n", lines, run.tokens);
    sdg_tokenizer_destroy(&run.plain);
}

// ---- Where tokens come from ----

// transformers' offsets, in bytes. Of a character and its marks it names the first only; here they are one.
static void check_spans(const char *line, void *user)
{
    struct golden_run *run = user;
    cJSON *row = cJSON_Parse(line);
    const cJSON *want_ids = cJSON_GetObjectItem(row, "ids"), *want = cJSON_GetObjectItem(row, "spans");
    const bool exact = cJSON_IsTrue(cJSON_GetObjectItem(row, "exact"));
    const char *text = cJSON_GetObjectItem(row, "text")->valuestring;
    struct sdg_token_span *spans;
    int32_t *ids;
    size_t count;
    assert_int_equal(sdg_tokenize_spans(run->plain, NULL, text, &ids, &spans, &count), SDG_OK);
    if ((int)count != cJSON_GetArraySize(want_ids))
        fail_msg("%s: %zu tokens", line, count);
    for (size_t i = 0; i < count; i++) {
        const cJSON *span = cJSON_GetArrayItem(want, (int)i);
        const size_t begin = (size_t)cJSON_GetArrayItem(span, 0)->valueint,
                     end = (size_t)cJSON_GetArrayItem(span, 1)->valueint;
        assert_int_equal(ids[i], cJSON_GetArrayItem(want_ids, (int)i)->valueint);
        if (exact ? spans[i].begin != begin || spans[i].end != end
                  : spans[i].begin > begin || spans[i].end < end || spans[i].end > strlen(text))
            fail_msg("%s: token %zu comes from %zu to %zu, not %zu to %zu", line, i, spans[i].begin, spans[i].end,
                     begin, end);
    }
    sdg_free(ids);
    sdg_free(spans);
    cJSON_Delete(row);
    run->texts++;
}

static void golden_spans(void **state)
{
    (void)state;
    struct golden_run run = {folder_tokenizer(MODEL_TOKENIZER, NULL), NULL, 0, 0};
    each_line(SDG_SOURCE_DIR "/tests/goldens/text", "spans.jsonl", check_spans, &run);
    assert_true(run.texts >= 25);
    sdg_tokenizer_destroy(&run.plain);
}

// Those that compose, in bytes: what stands behind them is not shifted.
static void spans_of_compositions(void **state)
{
    static const struct {
        const char *text;
        size_t first_end, last_begin;
    } cases[] = {
        {"e\xcc\x81 cat", 3, 4},                             // a letter and its accent
        {"\xe1\x84\x92\xe1\x85\xa1\xe1\x86\xab cat", 9, 10}, // a syllable of three jamo
        {"q\xcc\xa3\xcc\x87 cat", 5, 6},                     // marks that stay marks
        {"\xce\xa9 cat", 2, 3},                              // lower case is as long
        {"\xc4\xb0 cat", 2, 3},                              // and here it is two characters
        {"\xff\xe2\x82 cat", 1, 4},                          // no UTF-8: two replacements
    };
    (void)state;
    struct sdg_tokenizer *t = folder_tokenizer(MODEL_TOKENIZER, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sdg_token_span *spans;
        int32_t *ids;
        size_t count;
        assert_int_equal(sdg_tokenize_spans(t, NULL, cases[i].text, &ids, &spans, &count), SDG_OK);
        assert_int_equal(spans[0].begin, 0);
        assert_int_equal(spans[0].end, cases[i].first_end);
        assert_int_equal(spans[count - 1].begin, cases[i].last_begin);
        assert_int_equal(spans[count - 1].end, strlen(cases[i].text));
        sdg_free(ids);
        sdg_free(spans);
    }
    sdg_tokenizer_destroy(&t);
}

// ---- Hand-made vocabularies ----

static struct sdg_tokenizer *small(const char *vocabulary, const char *merges, const char *pad)
{
    struct sdg_tokenizer *t;
    struct counting_log count = {0};
    struct sdg_log log = {counting_log_fn, &count, SDG_LOG_DEBUG};
    enum sdg_result result = text_tokenizer(&log, "small", vocabulary, merges, pad, &t);
    if (result != SDG_OK)
        fail_msg("%s", count.last);
    assert_int_equal(count.errors, 0);
    return t;
}

static void expect_ids(const struct sdg_tokenizer *t, const char *text, size_t expected_count, const int32_t *expected)
{
    int32_t *ids;
    size_t count;
    assert_int_equal(sdg_tokenize(t, NULL, text, &ids, &count), SDG_OK);
    assert_int_equal(count, expected_count);
    assert_memory_equal(ids, expected, count * sizeof *ids);
    sdg_free(ids);
}

#define EXPECT(t, text, ...) \
    expect_ids(t, text, sizeof((int32_t[]){__VA_ARGS__}) / sizeof(int32_t), (int32_t[]){__VA_ARGS__})

#define ABC                                                                                                           \
    "{\"a\":0,\"b\":1,\"c\":2,\"a</w>\":3,\"b</w>\":4,\"c</w>\":5,\"bc</w>\":6,\"ab\":7,\"abc</w>\":8,\"aa\":9,\"1</" \
    "w>\":10," SPECIALS "}"

static void merges_by_rank(void **state)
{
    (void)state;
    struct sdg_tokenizer *t = small(ABC, "#version: 0.2\nb c</w>\na b\na a\nab c</w>\n", NULL);
    assert_int_equal(sdg_tokenizer_vocabulary(t), 102);
    EXPECT(t, "a", 3);
    EXPECT(t, "abc", 0, 6);     // "b c</w>" ranks before "a b"
    EXPECT(t, "abac", 7, 0, 5); // no merge of "a" and "c</w>"
    EXPECT(t, "aaaa", 9, 0, 3); // the leftmost pair first; the last letter is another token
    EXPECT(t, "aab", 9, 4);     // "a b" is no pair here: the word ends in "b</w>"
    EXPECT(t, "ABC aBc", 0, 6, 0, 6);
    EXPECT(t, "11", 10, 10);  // numbers one by one
    EXPECT(t, "abz", 7, 101); // a byte without a token is <|endoftext|>
    EXPECT(t, "a\xc3\xa9", 0, 101, 101);
    sdg_tokenizer_destroy(&t);
    t = small(ABC, "a b\nb c</w>\nab c</w>\n", NULL); // without a version line
    EXPECT(t, "abc", 8);
    sdg_tokenizer_destroy(&t);
}

static void tolerated(void **state)
{
    (void)state;
    struct sdg_tokenizer *t = small(ABC, "a b\r\n\r\nb c</w>\r\nab c</w>\r\n", NULL); // line ends, blank lines
    EXPECT(t, "abc", 8);
    sdg_tokenizer_destroy(&t);
    t = small(ABC, "a b\nb c</w>\nab c</w>\na b", NULL); // the last duplicate counts: "b c</w>" ranks first
    EXPECT(t, "abc", 0, 6);
    sdg_tokenizer_destroy(&t);
    t = small(ABC, "", NULL);
    EXPECT(t, "abc", 0, 1, 5);
    EXPECT(t, " ", );
    EXPECT(t, "", );
    sdg_tokenizer_destroy(&t);
    // duplicates, the largest id
    t = small("{\"a</w>\":1,\"a</w>\":2,\"b</w>\":2,\"\":3,\"q\":2147483646," SPECIALS "}", "", "a</w>");
    EXPECT(t, "a b", 2, 2);
    assert_int_equal(sdg_tokenizer_pad(t), 2);
    assert_int_equal(sdg_tokenizer_vocabulary(t), 2147483647);
    sdg_tokenizer_destroy(&t);
    t = small("{\"a</w>\":1,\"" END "\":3}", "", "!"); // what the vocabulary lacks is added after it: begin, padding
    EXPECT(t, "a!" START "a", 1, 3, 2, 1);             // as in transformers, though 3 is taken
    assert_true(sdg_tokenizer_begin(t) == 2 && sdg_tokenizer_pad(t) == 3);
    sdg_tokenizer_destroy(&t);
    t = NULL;
    sdg_tokenizer_destroy(&t);
}

static void special_tokens(void **state)
{
    (void)state;
    const char *vocabulary = "{\"!\":0,\"!</w>\":1,\"a</w>\":2,\"<\":3,\"|</w>\":4,\"|\":5,\"></w>\":6," SPECIALS "}";
    struct sdg_tokenizer *t = small(vocabulary, "", END);
    EXPECT(t, "a!", 2, 1);
    EXPECT(t, "a" START "!", 2, 100, 1);
    EXPECT(t, "a<|StartOfText|>!", 2, 100, 1); // normalised: any case
    EXPECT(t, END END, 101, 101);
    EXPECT(t, "<|", 3, 4);
    // As it is only; in another case it is three words of 2, 9 and 2 bytes, which the sign after it does not join.
    EXPECT(t, "<|ENDOFTEXT|>!", 3, 4, 101, 101, 101, 101, 101, 101, 101, 101, 101, 5, 6, 1);
    sdg_tokenizer_destroy(&t);
    t = small(vocabulary, "", "!");
    EXPECT(t, "a!!a", 2, 0, 0, 2); // the padding token is special too
    EXPECT(t, "<|ENDOFTEXT|>!", 101, 0);
    sdg_tokenizer_destroy(&t);
}

// ---- Hostile files ----

static void expect_refusal(const char *vocabulary, const char *merges, const char *pad, const char *message_part)
{
    struct counting_log count = {0};
    struct sdg_log log = {counting_log_fn, &count, SDG_LOG_DEBUG};
    struct sdg_tokenizer *t = (void *)&count;
    assert_int_equal(text_tokenizer(&log, "hostile", vocabulary, merges, pad, &t), SDG_ERROR_INPUT);
    assert_null(t);
    assert_int_equal(count.errors, 1);
    assert_memory_equal(count.last, "hostile/", 8);
    if (!strstr(count.last, message_part))
        fail_msg("'%s' does not say '%s'", count.last, message_part);
}

static void hostile_files(void **state)
{
    (void)state;
    static const char *const broken[] = {
        "", "{", "null x", "{\"a\":}", "{\"a\":1,}", "{" SPECIALS "} x", "\xff", "{\"\\ud800\":1}"};
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++)
        expect_refusal(broken[i], "", NULL, "not valid JSON");
    static const char *const other[] = {"[]", "[1,2]", "3", "\"a\"", "null", "true"};
    for (size_t i = 0; i < sizeof other / sizeof *other; i++)
        expect_refusal(other[i], "", NULL, "not a JSON object");
    static const char *const ids[] = {"-1",    "1.5",  "2147483647", "4294967296", "1e300",
                                      "\"1\"", "null", "[]",         "{}",         "true"};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        char vocabulary[200];
        snprintf(vocabulary, sizeof vocabulary, "{" SPECIALS ",\"q\":%s}", ids[i]);
        expect_refusal(vocabulary, "", NULL, "'q'");
    }
    expect_refusal("{}", "", NULL, END);
    expect_refusal("{\"" START "\":1}", "", NULL, END);
    expect_refusal(ABC, "", "", "''");
    static const char *const lines[] = {"a", "a ", " b", "a  b", "a b c", "a\tb", " ", "\ra b", "a b "};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        char merges[100];
        snprintf(merges, sizeof merges, "#version: 0.2\na b\n%s\nb c</w>\n", lines[i]);
        expect_refusal(ABC, merges, NULL, "line 3");
    }
    expect_refusal(ABC, "x b\n", NULL, "line 1"); // left, right and result that the vocabulary lacks
    expect_refusal(ABC, "a x\n", NULL, "line 1");
    expect_refusal(ABC, "a c\n", NULL, "line 1");
}

// Every prefix and every change of one byte of a small tokenizer loads or is refused.
static void damaged_files(void **state)
{
    (void)state;
    const char vocabulary[] = ABC, merges[] = "#version: 0.2\nb c</w>\na b\nab c</w>\n";
    int loaded = 0, refused = 0;
    for (size_t i = 0; i < sizeof vocabulary - 1 + sizeof merges - 1; i++) {
        for (int change = 0; change < 6; change++) {
            char v[sizeof vocabulary], m[sizeof merges];
            memcpy(v, vocabulary, sizeof v);
            memcpy(m, merges, sizeof m);
            char *byte = i < sizeof vocabulary - 1 ? v + i : m + (i - (sizeof vocabulary - 1));
            *byte = (char[]){0, '"', '9', '\\', '\n', (char)0xff}[change];
            struct sdg_tokenizer *t;
            enum sdg_result result = text_tokenizer(NULL, "damaged", v, m, NULL, &t);
            loaded += result == SDG_OK;
            refused += result == SDG_ERROR_INPUT;
            assert_int_equal(result == SDG_OK, t != NULL);
            if (t) {
                int32_t *ids;
                size_t count;
                assert_int_equal(sdg_tokenize(t, NULL, "abc a1\xc3\xa9 " END, &ids, &count), SDG_OK);
                assert_true(count >= 5);
                sdg_free(ids);
            }
            sdg_tokenizer_destroy(&t);
        }
    }
    assert_true(loaded > 100);
    assert_true(refused > 100);
    print_message("damaged: %d loaded, %d refused\n", loaded, refused);
}

// ---- Hostile text ----

static void expect_same(const struct sdg_tokenizer *t, const char *text, const char *other)
{
    int32_t *ids;
    size_t count;
    assert_int_equal(sdg_tokenize(t, NULL, other, &ids, &count), SDG_OK);
    expect_ids(t, text, count, ids);
    sdg_free(ids);
}

#define R "\xef\xbf\xbd"

// The examples of the Unicode standard, section 3.9, "U+FFFD substitution of maximal subparts".
static void invalid_utf8(void **state)
{
    (void)state;
    struct sdg_tokenizer *t = folder_tokenizer(MODEL_TOKENIZER, NULL);
    assert_non_null(t);
    expect_same(t, "\xc0\xaf\xe0\x80\xbf\xf0\x81\x82\x41", R R R R R R R R "A");
    expect_same(t, "\xed\xa0\x80\xed\xbf\xbf\xed\xaf\x41", R R R R R R R R "A");
    expect_same(t, "\xf4\x91\x92\x93\xff\x41\x80\xbf\x42", R R R R R "A" R R "B");
    expect_same(t, "\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41", R R R R "A");
    expect_same(t, "a\xf0\x9f\x98", "a" R);
    for (int byte = 0x80; byte < 0x100; byte++)
        expect_same(t, (char[]){'x', (char)byte, 'y', 0}, "x" R "y");
    sdg_tokenizer_destroy(&t);
}

static char *repeat(const char *unit, size_t times)
{
    size_t length = strlen(unit);
    char *text = malloc(length * times + 1);
    assert_non_null(text);
    for (size_t i = 0; i < times; i++)
        memcpy(text + i * length, unit, length);
    text[length * times] = 0;
    return text;
}

// A megabyte of the worst there is: one word, one letter with marks out of order, signs that almost begin a special
// token.
static void long_texts(void **state)
{
    (void)state;
    static const char *const units[] = {"a",
                                        "abcdefghij",
                                        "cat ",
                                        "'s",
                                        "<|endoftext|",
                                        START,
                                        END,
                                        "!<|",
                                        "\xcc\x81\xcc\x96",
                                        "\xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa7",
                                        "\xff",
                                        "\xc4\xb0"};
    struct sdg_tokenizer *t = folder_tokenizer(MODEL_TOKENIZER, NULL);
    assert_non_null(t);
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        char *text = repeat(units[i], ((size_t)1 << 20) / strlen(units[i]));
        int32_t *ids;
        size_t count;
        clock_t start = clock();
        assert_int_equal(sdg_tokenize(t, NULL, text, &ids, &count), SDG_OK);
        double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
        assert_true(count > 10000);
        assert_true(seconds < 20); // a second at most, unless something is quadratic: then minutes
        sdg_free(ids);
        free(text);
    }
    char *text = repeat("a", SDG_TEXT_MAX_BYTES + (size_t)1);
    int32_t *ids = (int32_t *)text;
    size_t count = 1;
    assert_int_equal(sdg_tokenize(t, NULL, text, &ids, &count), SDG_ERROR_USAGE);
    assert_null(ids);
    assert_int_equal(count, 0);
    free(text);
    sdg_tokenizer_destroy(&t);
}

// Many marks take another way than few: they have to be sorted alike.
static void many_marks(void **state)
{
    (void)state;
    struct sdg_tokenizer *t = folder_tokenizer(MODEL_TOKENIZER, NULL);
    assert_non_null(t);
    for (size_t n = 1; n < 60; n++) {
        char *mixed = repeat("\xcc\x81\xcc\x96", n), *below = repeat("\xcc\x96", n), *above = repeat("\xcc\x81", n);
        char text[300], sorted[300];
        snprintf(text, sizeof text, "e%s", mixed);
        snprintf(sorted, sizeof sorted, "\xc3\xa9%s%s", below, above + 2); // one of them composes with the letter
        expect_same(t, text, sorted);
        free(mixed);
        free(below);
        free(above);
    }
    sdg_tokenizer_destroy(&t);
}

// ---- Memory ----

static void failing_allocations(void **state)
{
    (void)state;
    const char *text =
        "e\xcc\x81 abc I\xcc\x87 " END " a\xcc\x81\xcc\x96\xcc\x81\xcc\x96\xcc\x81\xcc\x96\xcc\x81\xcc\x96\xcc\x81\xcc"
        "\x96\xcc\x81\xcc\x96\xcc\x81\xcc\x96\xcc\x81\xcc\x96"
        "\xcc\x81\xcc\x96\xcc\x81\xcc\x96\xcc\x81\xcc\x96\xcc\x81\xcc\x96\xcc\x81\xcc\x96\xcc\x81\xcc\x96\xcc\x81\xcc"
        "\x96\xcc\x81\xcc\x96\xcc\x81\xcc\x96 abcabcabcabcabcabcabcabc";
    size_t create_failures = 0, tokenize_failures = 0;
    struct sdg_tokenizer *t = NULL;
    while (!t) {
        struct counting_log count = {0};
        struct sdg_log log = {counting_log_fn, &count, SDG_LOG_DEBUG};
        sdg_test_fail_allocation(create_failures + 1);
        enum sdg_result result = text_tokenizer(&log, "small", ABC, "a b\nab c</w>\n", "a</w>", &t);
        sdg_test_fail_allocation(0);
        assert_int_equal(result, t ? SDG_OK : SDG_ERROR_MEMORY);
        assert_int_equal(count.errors, !t);
        create_failures += !t;
    }
    assert_true(create_failures >= 6);
    int32_t *ids = NULL;
    while (!ids) {
        struct counting_log count = {0};
        struct sdg_log log = {counting_log_fn, &count, SDG_LOG_DEBUG};
        size_t n;
        sdg_test_fail_allocation(tokenize_failures + 1);
        enum sdg_result result = sdg_tokenize(t, &log, text, &ids, &n);
        sdg_test_fail_allocation(0);
        assert_int_equal(result, ids ? SDG_OK : SDG_ERROR_MEMORY);
        assert_int_equal(count.errors, !ids);
        tokenize_failures += !ids;
    }
    assert_true(tokenize_failures >= 8);
    print_message("allocations: %zu to create, %zu to tokenize\n", create_failures, tokenize_failures);
    sdg_free(ids);
    sdg_tokenizer_destroy(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_default_model),  cmocka_unit_test(golden_clip),    cmocka_unit_test(golden_spans),
        cmocka_unit_test(spans_of_compositions), cmocka_unit_test(merges_by_rank), cmocka_unit_test(tolerated),
        cmocka_unit_test(special_tokens),        cmocka_unit_test(hostile_files),  cmocka_unit_test(damaged_files),
        cmocka_unit_test(invalid_utf8),          cmocka_unit_test(long_texts),     cmocka_unit_test(many_marks),
        cmocka_unit_test(failing_allocations),
    };
    return cmocka_run_group_tests_name("tokenizer", tests, NULL, NULL);
}
