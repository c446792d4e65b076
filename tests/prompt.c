// The A1111 syntax, chunks and weights, with expectations worked out by hand from the rules in prompt.h.
#include "text/prompt.h"
#include "tests/support/text_files.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <time.h>

#include <cmocka.h>

enum { N = SDG_TEXT_TOKENS };

static struct sdg_tokenizer *tokenizer; // of the default model

static int load(void **state)
{
    (void)state;
    tokenizer = folder_tokenizer(MODEL_TOKENIZER, "!"); // padding that differs from the end token
    return tokenizer ? 0 : -1;
}

static int unload(void **state)
{
    (void)state;
    sdg_tokenizer_destroy(&tokenizer);
    return 0;
}

static struct sdg_prompt_tokens parse(enum sdg_prompt_syntax syntax, const char *text)
{
    struct sdg_prompt_tokens tokens;
    assert_int_equal(sdg_prompt_tokenize(tokenizer, NULL, syntax, text, &tokens), SDG_OK);
    assert_in_range(tokens.chunks, 1, SDG_PROMPT_MAX_CHUNKS);
    return tokens;
}

// Texts and their weights, up to a NULL text. The text "|" ends a chunk.
struct expected {
    const char *text;
    double weight;
};

static void expect_prompt(const char *prompt, const struct expected *expected)
{
    int32_t ids[SDG_PROMPT_MAX_CHUNKS * N];
    double weights[SDG_PROMPT_MAX_CHUNKS * N];
    int chunk = 0, used = 0;
    bool weighted = false;
    for (int i = 0; i < SDG_PROMPT_MAX_CHUNKS * N; i++) {
        ids[i] = i % N == 0 ? sdg_tokenizer_begin(tokenizer)
            : i % N == 1    ? sdg_tokenizer_end(tokenizer)
                            : sdg_tokenizer_pad(tokenizer);
        weights[i] = 1;
    }
    for (; expected->text; expected++) {
        if (strcmp(expected->text, "|") == 0) {
            chunk++;
            used = 0;
            continue;
        }
        int32_t *part;
        size_t count;
        assert_int_equal(sdg_tokenize(tokenizer, NULL, expected->text, &part, &count), SDG_OK);
        for (size_t i = 0; i < count; i++, used++) {
            assert_true(used < N - 2);
            ids[chunk * N + 1 + used] = part[i];
            ids[chunk * N + 2 + used] = sdg_tokenizer_end(tokenizer);
            weights[chunk * N + 1 + used] = expected->weight;
            weighted |= expected->weight != 1;
        }
        sdg_free(part);
    }
    struct sdg_prompt_tokens own = parse(SDG_PROMPT_A1111, prompt);
    bool same = own.chunks == chunk + 1 && own.weighted == weighted && !own.truncated;
    for (int i = 0; same && i < own.chunks * N; i++)
        same = own.ids[i] == ids[i] && fabs((double)own.weights[i] - weights[i]) <= 1e-6 * fmax(1, fabs(weights[i]));
    if (!same)
        fail_msg("'%s' gives other tokens or weights", prompt);
    sdg_prompt_tokens_clear(&own);
    assert_null(own.ids);
}

#define EXPECT(prompt, ...) expect_prompt(prompt, (const struct expected[]){__VA_ARGS__, {NULL, 0}})

static void brackets(void **state)
{
    (void)state;
    EXPECT("a red cat", {"a red cat", 1});
    EXPECT("", {"", 1});
    EXPECT("(important)", {"important", 1.1});
    EXPECT("an (important) word", {"an", 1}, {"important", 1.1}, {"word", 1});
    EXPECT("[less] of it", {"less", 1 / 1.1}, {"of it", 1});
    EXPECT("((a)) [[b]] (((c)))", {"a", 1.21}, {"b", 1 / 1.21}, {"c", 1.331});
    EXPECT("([even])", {"even", 1});
    EXPECT("(cat)(dog)", {"catdog", 1.1});            // equal neighbours are one text,
    EXPECT("cat(dog:1.2)", {"cat", 1}, {"dog", 1.2}); // others are not
    EXPECT("(cat dog:1.5) (a (b:2) c:0.5)", {"cat dog", 1.5}, {"a", 0.5}, {"b", 1}, {"c", 0.5});
    EXPECT("((house:1.3)) [on] ((sky))", {"house", 1.43}, {"on", 1 / 1.1}, {"sky", 1.21});
}

static void unbalanced(void **state)
{
    (void)state;
    EXPECT("(unbalanced", {"unbalanced", 1.1});
    EXPECT("a ((b c", {"a", 1}, {"b c", 1.21});
    EXPECT("[a (b", {"a", 1 / 1.1}, {"b", 1});
    EXPECT("(unbalanced]", {"unbalanced]", 1.1});
    EXPECT("a) b]", {"a) b]", 1});
    EXPECT("(a [b) c]", {"a", 1.1}, {"b", 1}, {"c", 1 / 1.1}); // the two kinds are paired separately
    EXPECT("()[](())", {"", 1});
    EXPECT("(((", {"", 1});
    EXPECT("(a:1.5) b:1.5)", {"a", 1.5}, {"b:1.5)", 1});
}

static void numbers(void **state)
{
    (void)state;
    EXPECT("(a:2) (b:2.) (c:.25) (d:-1) (e:+3) (f:0)", {"a", 2}, {"b", 2}, {"c", 0.25}, {"d", -1}, {"e", 3}, {"f", 0});
    EXPECT("(a: 1.3) (b:\t1.4 )", {"a", 1.3}, {"b", 1.4});
    EXPECT("(a:1.2:1.3)", {"a:1.2", 1.3}); // only the last one is before the bracket
    EXPECT("(a:1.2 b)", {"a:1.2 b", 1.1});
    EXPECT("(a:1.2.3) (b:) (c:x) (d:.) (e:-) (f:1,5)", {"a:1.2.3", 1.1}, {"b:", 1.1}, {"c:x", 1.1}, {"d:.", 1.1},
           {"e:-", 1.1}, {"f:1,5", 1.1});
    EXPECT("(a:1e3) (b:0x1) (c:inf)", {"a:1e3", 1.1}, {"b:0x1", 1.1}, {"c:inf", 1.1});
    EXPECT("[a:1.2]", {"a:1.2", 1 / 1.1});
    EXPECT("ratio 16:9", {"ratio 16:9", 1});
    EXPECT("(a:1.23456789012345678901234567890)", {"a", 1.2345678901234568});
    EXPECT("(a:0.00000000000000000000000001)", {"a", 0});
    EXPECT("(a:000000000000000000000000000001.5)", {"a", 1.5});
    EXPECT("(a:99999999) (b:-99999999)", {"a", SDG_PROMPT_WEIGHT_MAX}, {"b", -SDG_PROMPT_WEIGHT_MAX});
    EXPECT("((a:900):0.5) ((b:2000):0.5)", {"a", 450}, {"b", SDG_PROMPT_WEIGHT_MAX});
}

static void escapes(void **state)
{
    (void)state;
    EXPECT("\\(a\\) \\[b\\] c\\\\d", {"(a) [b] c\\d", 1});
    EXPECT("(a \\) b)", {"a ) b", 1.1});
    EXPECT("[a \\] b] [a \\[ b] c", {"a ] b", 1 / 1.1}, {"", 1}, {"a [ b", 1 / 1.1}, {"c", 1});
    EXPECT("(a\\:1.2)", {"a", 1.2}); // the backslash before anything else is dropped
    EXPECT("a\\b\\", {"ab", 1});
    EXPECT("\\\\(a)", {"\\", 1}, {"a", 1.1});
}

static void breaks(void **state)
{
    (void)state;
    EXPECT("cat BREAK dog", {"cat", 1}, {"|", 0}, {"dog", 1});
    EXPECT("cat\nBREAK\ndog", {"cat", 1}, {"|", 0}, {"dog", 1});
    EXPECT("cat,BREAK,dog", {"cat,", 1}, {"|", 0}, {",dog", 1});
    EXPECT("BREAK dog", {"|", 0}, {"dog", 1});
    EXPECT("cat BREAK", {"cat", 1});
    EXPECT("BREAK", {"", 1});
    EXPECT("a BREAK BREAK b", {"a", 1}, {"|", 0}, {"|", 0}, {"b", 1});
    EXPECT("(a BREAK b:1.5)", {"a", 1.5}, {"|", 0}, {"b", 1.5});
    EXPECT("(BREAK)x", {"|", 0}, {"x", 1});
    EXPECT("break BREAKS xBREAK BREAK_ 1BREAK \xc3\xa9"
           "BREAK BREAK\xd0\xb0 BREA",
           {"break BREAKS xBREAK BREAK_ 1BREAK \xc3\xa9"
            "BREAK BREAK\xd0\xb0 BREA",
            1});
    EXPECT("\xe2\x80\x94"
           "BREAK\xe2\x80\x94",
           {"\xe2\x80\x94", 1}, {"|", 0}, {"\xe2\x80\x94", 1});
    EXPECT("\xff"
           "BREAK\xff",
           {"\xff", 1}, {"|", 0}, {"\xff", 1});
}

static void plain_takes_all_literally(void **state)
{
    (void)state;
    const char *text = "(a:1.2) [b] \\( BREAK c";
    struct sdg_prompt_tokens plain = parse(SDG_PROMPT_PLAIN, text),
                             escaped = parse(SDG_PROMPT_A1111, "\\(a:1.2\\) \\[b\\] \\\\\\( break c");
    assert_int_equal(plain.chunks, 1);
    assert_false(plain.weighted);
    assert_memory_equal(plain.ids, escaped.ids, N * sizeof *plain.ids);
    sdg_prompt_tokens_clear(&plain);
    sdg_prompt_tokens_clear(&escaped);
}

// ---- Goldens: 77 ids as transformers gives them ----

struct golden_run {
    const struct sdg_tokenizer *tokenizer;
    const char *pad; // lines with another one are left out
    int plain, cut, a1111;
};

static void check_golden(const char *line, void *user)
{
    struct golden_run *run = user;
    cJSON *row = cJSON_Parse(line);
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItem(row, "text")),
               *pad = cJSON_GetStringValue(cJSON_GetObjectItem(row, "pad"));
    const cJSON *cut = cJSON_GetObjectItem(row, "ids77"), *ids = cut ? cut : cJSON_GetObjectItem(row, "ids");
    assert_non_null(text);
    int32_t expected[N];
    for (int i = 0; i < N; i++) {
        const cJSON *id = cJSON_GetArrayItem(ids, i);
        expected[i] = id ? id->valueint : sdg_tokenizer_pad(run->tokenizer);
    }
    for (int syntax = 0; (!pad || strcmp(pad, run->pad) == 0) && syntax < 2; syntax++) {
        bool a1111 = syntax == SDG_PROMPT_A1111;
        if (a1111 && (cut || strpbrk(text, "\\()[]:") || strstr(text, "BREAK")))
            continue;
        struct sdg_prompt_tokens own;
        assert_int_equal(sdg_prompt_tokenize(run->tokenizer, NULL, (enum sdg_prompt_syntax)syntax, text, &own), SDG_OK);
        if (own.chunks != 1 || own.weighted || own.truncated != (cut != NULL) ||
            memcmp(own.ids, expected, sizeof expected) != 0)
            fail_msg("differs: %.200s", line);
        sdg_prompt_tokens_clear(&own);
        run->a1111 += a1111;
        run->plain += !a1111;
        run->cut += cut != NULL;
    }
    cJSON_Delete(row);
}

static void golden_ids(void **state)
{
    (void)state;
    struct golden_run run = {.tokenizer = tokenizer, .pad = "!"};
    assert_true(each_line(SDG_SOURCE_DIR "/tests/goldens/text", "tokens.jsonl", check_golden, &run) > 140);
    assert_true(run.plain > 120 && run.a1111 > 90 && run.cut > 5);
    print_message("default model: %d plain prompts, of these %d cut, and %d in A1111 syntax equal\n", run.plain,
                  run.cut, run.a1111);
    struct sdg_tokenizer *clip = folder_tokenizer(SDG_SHARED_DIR "/goldens/pipelines/sd15-tiny/tokenizer", NULL);
    if (!clip) {
        print_message("CLIP skipped: no vocabulary here\n");
        return;
    }
    run = (struct golden_run){.tokenizer = clip, .pad = "<|endoftext|>"};
    assert_true(each_line(SDG_SHARED_DIR "/goldens/tokenizer", "tokens.jsonl", check_golden, &run) > 300);
    assert_true(run.plain > 300 && run.a1111 > 100 && run.cut > 20);
    print_message("CLIP: %d plain prompts, of these %d cut, and %d in A1111 syntax equal\n", run.plain, run.cut,
                  run.a1111);
    sdg_tokenizer_destroy(&clip);
}

// ---- Chunks ----

// "x x x ..." of `count` tokens
static char *words(int count)
{
    char *text = calloc((size_t)count + 1, 2);
    assert_non_null(text);
    for (int i = 0; i < count; i++)
        memcpy(text + 2 * i, "x ", 2);
    return text;
}

static void expect_chunks(int token_count, enum sdg_prompt_syntax syntax, int chunks, bool truncated)
{
    char *text = words(token_count);
    struct sdg_prompt_tokens own = parse(syntax, text), x = parse(SDG_PROMPT_PLAIN, "x");
    assert_int_equal(own.chunks, chunks);
    assert_int_equal(own.truncated, truncated);
    assert_false(own.weighted);
    for (int chunk = 0, left = token_count; chunk < chunks; chunk++, left -= N - 2) {
        int here = left < N - 2 ? left : N - 2;
        const int32_t *ids = own.ids + chunk * N;
        for (int i = 0; i < N; i++)
            assert_int_equal(ids[i],
                             i == 0              ? sdg_tokenizer_begin(tokenizer)
                                 : i <= here     ? x.ids[1]
                                 : i == here + 1 ? sdg_tokenizer_end(tokenizer)
                                                 : sdg_tokenizer_pad(tokenizer));
    }
    sdg_prompt_tokens_clear(&own);
    sdg_prompt_tokens_clear(&x);
    free(text);
}

static void chunks(void **state)
{
    (void)state;
    for (int count = 0; count < 160; count++) {
        expect_chunks(count, SDG_PROMPT_A1111, count <= 75 ? 1 : count <= 150 ? 2 : 3, false);
        expect_chunks(count, SDG_PROMPT_PLAIN, 1, count > 75);
    }
    expect_chunks(16 * 75, SDG_PROMPT_A1111, 16, false);
    expect_chunks(16 * 75 + 1, SDG_PROMPT_A1111, 16, true);
    expect_chunks(5000, SDG_PROMPT_A1111, 16, true);

    char text[6 * 20 + 1] = "";
    for (int breaks_in = 0; breaks_in < 20; breaks_in++) {
        struct sdg_prompt_tokens own = parse(SDG_PROMPT_A1111, text);
        assert_int_equal(own.chunks, breaks_in < 1 ? 1 : breaks_in < 16 ? breaks_in : 16);
        assert_int_equal(own.truncated, breaks_in > 16);
        sdg_prompt_tokens_clear(&own);
        strcat(text, "BREAK ");
    }
}

// Weights go on over the end of a chunk; begin, end and padding have none.
static void weights_over_chunks(void **state)
{
    (void)state;
    char *inner = words(100), text[300];
    snprintf(text, sizeof text, "x (%s:1.5)", inner);
    struct sdg_prompt_tokens own = parse(SDG_PROMPT_A1111, text);
    assert_int_equal(own.chunks, 2);
    assert_true(own.weighted);
    for (int i = 0; i < 2 * N; i++) {
        bool heavy = (i >= 2 && i <= 75) || (i >= N + 1 && i <= N + 26);
        assert_true(own.weights[i] == (heavy ? 1.5f : 1.0f));
    }
    sdg_prompt_tokens_clear(&own);
    free(inner);
}

static void pad_chunks(void **state)
{
    (void)state;
    struct sdg_prompt_tokens own = parse(SDG_PROMPT_A1111, "a (cat:1.5)"),
                             before = parse(SDG_PROMPT_A1111, "a (cat:1.5)"), empty = parse(SDG_PROMPT_A1111, "");
    assert_int_equal(sdg_prompt_pad_chunks(tokenizer, NULL, &own, 1), SDG_OK);
    assert_int_equal(own.chunks, 1);
    assert_int_equal(sdg_prompt_pad_chunks(tokenizer, NULL, &own, 20), SDG_OK);
    assert_int_equal(own.chunks, 20);
    assert_true(own.weighted);
    for (int chunk = 0; chunk < 20; chunk++) {
        const struct sdg_prompt_tokens *expected = chunk ? &empty : &before;
        assert_memory_equal(own.ids + chunk * N, expected->ids, N * sizeof *own.ids);
        assert_memory_equal(own.weights + chunk * N, expected->weights, N * sizeof *own.weights);
    }
    sdg_prompt_tokens_clear(&own);
    sdg_prompt_tokens_clear(&before);
    sdg_prompt_tokens_clear(&empty);
}

// ---- Embeddings ----

static void apply_weights(void **state)
{
    (void)state;
    struct sdg_prompt_tokens own = parse(SDG_PROMPT_A1111, "x (x:3) BREAK x");
    assert_int_equal(own.chunks, 2);
    float z[2 * N * 2];
    for (int i = 0; i < 2 * N * 2; i++)
        z[i] = i % 2 ? 1 : 2;
    sdg_prompt_apply_weights(&own, z, 2);
    // Token 2 of chunk 0 has three times as much: the sum goes from 3 * 77 to 3 * 79.
    double scale = 77.0 / 79;
    for (int token = 0; token < N; token++)
        for (int i = 0; i < 2; i++)
            assert_true(fabs((double)z[token * 2 + i] - (i ? 1 : 2) * (token == 2 ? 3 : 1) * scale) < 1e-6);
    for (int i = N * 2; i < 2 * N * 2; i++) // no weights there: bit for bit as before
        assert_true(z[i] == (i % 2 ? 1 : 2));

    // A mean that cannot be restored: all of the sum is in a token of weight 0, or there is none.
    own.weights[2] = 0;
    for (int sum = 0; sum < 2; sum++) {
        memset(z, 0, sizeof z);
        z[4] = (float)sum;
        z[5] = sum ? 1 : 0;
        sdg_prompt_apply_weights(&own, z, 2);
        for (int i = 0; i < 2 * N * 2; i++)
            assert_true(z[i] == 0);
    }
    sdg_prompt_tokens_clear(&own);
}

// ---- Hostile prompts ----

static void long_prompts(void **state)
{
    (void)state;
    static const char *const units[] = {"(", ")",   "[",   "(a",     "(a)",    "[a](b:1.1)", "\\",         "\\(",
                                        ":", "(a:", "(: ", "BREAK ", "(BREAK", ":1.5)",      "BREAKBREAK", "\xff"};
    const size_t bytes = (size_t)1 << 20;
    char *text = malloc(bytes + 16);
    assert_non_null(text);
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        size_t unit = strlen(units[i]), length = 0;
        for (; length < bytes; length += unit)
            memcpy(text + length, units[i], unit);
        text[length] = 0;
        clock_t start = clock();
        struct sdg_prompt_tokens own = parse(SDG_PROMPT_A1111, text);
        assert_true((double)(clock() - start) / CLOCKS_PER_SEC < 20); // minutes where something is quadratic
        for (int k = 0; k < own.chunks * N; k++)
            assert_true(own.weights[k] >= -SDG_PROMPT_WEIGHT_MAX && own.weights[k] <= SDG_PROMPT_WEIGHT_MAX);
        sdg_prompt_tokens_clear(&own);
    }
    free(text);
    text = malloc((size_t)SDG_TEXT_MAX_BYTES + 2);
    assert_non_null(text);
    memset(text, '(', (size_t)SDG_TEXT_MAX_BYTES + 1);
    text[SDG_TEXT_MAX_BYTES + 1] = 0;
    for (int syntax = 0; syntax < 2; syntax++) {
        struct sdg_prompt_tokens own;
        assert_int_equal(sdg_prompt_tokenize(tokenizer, NULL, (enum sdg_prompt_syntax)syntax, text, &own),
                         SDG_ERROR_USAGE);
        assert_null(own.ids);
    }
    free(text);
}

static void failing_allocations(void **state)
{
    (void)state;
    size_t failures = 0;
    struct sdg_prompt_tokens own = {0};
    while (!own.ids) {
        struct counting_log count = {0};
        struct sdg_log log = {counting_log_fn, &count, SDG_LOG_DEBUG};
        sdg_test_fail_allocation(failures + 1);
        enum sdg_result result =
            sdg_prompt_tokenize(tokenizer, &log, SDG_PROMPT_A1111, "a (b [c:d] e:1.2) BREAK f\\(", &own);
        sdg_test_fail_allocation(0);
        assert_int_equal(result, own.ids ? SDG_OK : SDG_ERROR_MEMORY);
        assert_int_equal(count.errors, !own.ids);
        if (!own.ids)
            assert_true(own.chunks == 0 && !own.weights);
        failures += !own.ids;
    }
    assert_true(failures > 10);
    enum sdg_result padded = SDG_ERROR_MEMORY;
    for (size_t n = 1; padded != SDG_OK; n++, failures++) {
        assert_int_equal(own.chunks, 2);
        sdg_test_fail_allocation(n);
        padded = sdg_prompt_pad_chunks(tokenizer, NULL, &own, 3);
        sdg_test_fail_allocation(0);
    }
    assert_int_equal(own.chunks, 3);
    print_message("allocations: %zu made to fail\n", failures - 1);
    sdg_prompt_tokens_clear(&own);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(brackets),
        cmocka_unit_test(unbalanced),
        cmocka_unit_test(numbers),
        cmocka_unit_test(escapes),
        cmocka_unit_test(breaks),
        cmocka_unit_test(plain_takes_all_literally),
        cmocka_unit_test(golden_ids),
        cmocka_unit_test(chunks),
        cmocka_unit_test(weights_over_chunks),
        cmocka_unit_test(pad_chunks),
        cmocka_unit_test(apply_weights),
        cmocka_unit_test(long_prompts),
        cmocka_unit_test(failing_allocations),
    };
    return cmocka_run_group_tests_name("prompt", tests, load, unload);
}
