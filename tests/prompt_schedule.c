// What a prompt is at each step, and what is said about it. The texts and steps are the examples that
// stable-diffusion-webui documents for its syntax (the doctests of modules/prompt_parser.py, release 1.10, and its
// wiki, "Prompt editing", "Alternating Words", "Composable Diffusion"), and others worked out by hand from the same
// rules.
#include "text/prompt_schedule.h"

#include "base/memory.h"
#include "sdgen/sdgen.h"
#include "text/prompt_check.h"
#include "text/tokenizer.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct sdg_prompt_schedule make(const char *prompt, bool composes, int steps, int asked)
{
    struct sdg_prompt_schedule s;
    assert_int_equal(sdg_prompt_schedule_create(NULL, SDG_PROMPT_A1111, prompt, composes, steps, asked, &s), SDG_OK);
    assert_int_equal(s.steps, steps);
    return s;
}

// `expected`: the text of each step; one that is missing is that of the step before.
static void expect_part(const char *prompt, const struct sdg_prompt_schedule *s, int part, const char *const *expected)
{
    const char *text = expected[0];
    for (int step = 0; step < s->steps; step++) {
        text = expected[step] ? expected[step] : text;
        const char *own = s->texts[s->at[step * s->parts + part]];
        if (strcmp(own, text))
            fail_msg("'%s' is '%s' in step %d of %d, should be '%s'", prompt, own, step + 1, s->steps, text);
    }
}

static void expect(const char *prompt, int steps, const char *const expected[16])
{
    struct sdg_prompt_schedule s = make(prompt, true, steps, steps);
    assert_int_equal(s.parts, 1);
    assert_float_equal(s.weights[0], 1, 0);
    expect_part(prompt, &s, 0, expected);
    sdg_prompt_schedule_clear(&s);
    assert_null(s.texts);
}

#define EXPECT(prompt, steps, ...) expect(prompt, steps, (const char *const[16]){__VA_ARGS__})
#define ALL(prompt) EXPECT(prompt, 4, prompt)

// webui's doctests, with 10 steps.
static void editing(void **state)
{
    (void)state;
    EXPECT("test", 10, "test");
    EXPECT("a [b:3]", 10, "a ", [3] = "a b");
    EXPECT("a [b: 3]", 10, "a ", [3] = "a b");
    EXPECT("a [[[b]]:2]", 10, "a ", [2] = "a [[b]]");
    EXPECT("[(a:2):3]", 10, "", [3] = "(a:2)");
    EXPECT("a [b : c : 1] d", 10, "a b  d", [1] = "a  c  d");
    EXPECT("a[b:[c:d:2]:1]e", 10, "abe", "ace", "ade");
    EXPECT("a [unbalanced", 10, "a [unbalanced");
    EXPECT("a [b:.5] c", 10, "a  c", [5] = "a b c");
    EXPECT("((a][:b:c [d:3]", 10, "((a][:b:c ", [3] = "((a][:b:c d");
    EXPECT("[a|(b:1.1)]", 10, "a", "(b:1.1)", "a", "(b:1.1)", "a", "(b:1.1)", "a", "(b:1.1)", "a", "(b:1.1)");
    EXPECT("[fe|]male", 10, "female", "male", "female", "male", "female", "male", "female", "male", "female", "male");
    EXPECT("[fe|||]male", 10, "female", "male", "male", "male", "female", "male", "male", "male", "female", "male");
}

// The example that begins webui's prompt_parser.py, with 100 steps.
static void landscape(void **state)
{
    (void)state;
    static const char prompt[] = "fantasy landscape with a [mountain:lake:0.25] and [an oak:a christmas tree:0.75]"
                                 "[ in foreground::0.6][: in background:0.25] [shoddy:masterful:0.5]";
    static const struct {
        int last;
        const char *text;
    } expected[] = {
        {25, "fantasy landscape with a mountain and an oak in foreground shoddy"},
        {50, "fantasy landscape with a lake and an oak in foreground in background shoddy"},
        {60, "fantasy landscape with a lake and an oak in foreground in background masterful"},
        {75, "fantasy landscape with a lake and an oak in background masterful"},
        {100, "fantasy landscape with a lake and a christmas tree in background masterful"},
    };
    struct sdg_prompt_schedule s = make(prompt, true, 100, 100);
    assert_int_equal(s.text_count, 5);
    for (int step = 1, i = 0; step <= 100; i += step++ == expected[i].last)
        assert_string_equal(s.texts[s.at[step - 1]], expected[i].text);
    sdg_prompt_schedule_clear(&s);
}

static void numbers(void **state)
{
    (void)state;
    EXPECT("[a:b:0]", 4, "b");
    EXPECT("[a:b:-1]", 4, "b");
    EXPECT("[a:b:+1]", 4, "a", "b");
    EXPECT("[a:b:0.0]", 4, "b");
    EXPECT("[a:b:1.0]", 4, "a"); // a share, of all steps
    EXPECT("[a:b:1.]", 4, "a");
    EXPECT("[a:b:99]", 4, "a");
    EXPECT("[a:b:4]", 4, "a");
    EXPECT("[a:b:0.99]", 4, "a", [3] = "b");  // 3.96 is 3
    EXPECT("[a:b:0.29]", 10, "a", [2] = "b"); // 2.9 is 2
    EXPECT("[a:b:1e0]", 4, "a", "b");         // without a point: a number of steps
    EXPECT("[a:b:5e-1]", 4, "b");             // of which half a one is none
    EXPECT("[a:b:\t2\n]", 4, "a", [2] = "b");
    EXPECT("[::2]x", 4, "x");
    EXPECT("[:a:2]x", 4, "x", [2] = "ax");
    EXPECT("[a::2]x", 4, "ax", [2] = "x");
    EXPECT("[:2]x", 4, "x");
    EXPECT("[a:3:2]", 4, "a", [2] = "3");
}

static void texts(void **state)
{
    (void)state;
    ALL("[a] (b) (c:1.2) [[d]]");
    ALL("[a:b]");
    ALL("[a:b:c:2]"); // too many colons,
    ALL("[a:b:2 c]"); // no number,
    ALL("[a:b:2");    // no end,
    ALL("[a:(b:2]");  // brackets in it that are not whole
    ALL("[a:b:2)");
    ALL("\\[a:b:2]");
    ALL("[a:b:2\\]");
    ALL("a: b: c");
    ALL("{a|b}");
    ALL("a | b [c:d:2]"); // a | of no bracket: nothing depends on the step
    ALL("(a|b) [c:d:2]");
    ALL("[a|b:2]");
    ALL("[a:b:2]\\"); // no more does a backslash at the end let anything
    EXPECT("[a\\|b:c:2]", 4, "a\\|b", [2] = "c");
    EXPECT("[\\[a\\]:b:2]", 4, "\\[a\\]", [2] = "b");
    EXPECT("[a|[b:c:2]|[d|e]]", 6, "a", "b", "d", "a", "c", "e"); // the inner ones know the step, not their turn
    EXPECT("[[a|b]|c]", 4, "a", "c", "a", "c");
    EXPECT("([a:b:1]:1.3)", 3, "(a:1.3)", "(b:1.3)");
    EXPECT("[(x:1.1)|[y]] z", 2, "(x:1.1) z", "[y] z");
    EXPECT("\xc3\xa9[\xe7\x8c\xab|\xe7\x8a\xac]", 2, "\xc3\xa9\xe7\x8c\xab", "\xc3\xa9\xe7\x8a\xac");
}

static void composed(void **state)
{
    (void)state;
    struct sdg_prompt_schedule s = make("a cat :1.2 AND a dog AND a [penguin:pig:1] : -2.2 \n", true, 2, 2);
    assert_int_equal(s.parts, 3);
    expect_part("first", &s, 0, (const char *const[]){"a cat", NULL});
    expect_part("second", &s, 1, (const char *const[]){" a dog", NULL});
    expect_part("third", &s, 2, (const char *const[]){" a penguin", " a pig"});
    assert_float_equal(s.weights[0], 1.2, 1e-6);
    assert_float_equal(s.weights[1], 1, 0);
    assert_float_equal(s.weights[2], -2.2, 1e-6);
    assert_int_equal(s.text_count, 4);
    sdg_prompt_schedule_clear(&s);

    static const struct {
        const char *prompt;
        double weight;
        const char *text;
    } weights[] = {
        {"x AND a:2", 2, " a"},
        {"x AND a:.5", 0.5, " a"},
        {"x AND a:1.", 1, " a"},
        {"x AND a :+3", 3, " a"},
        {"x AND (a:2)", 1, " (a:2)"},
        {"x AND a:b", 1, " a:b"},
        {"x AND a:1:2", 2, " a:1"},
        {"x AND a:1.2.3", 1, " a:1.2.3"},
        {"x AND a:1e1", 1, " a:1e1"},
        {"x AND :2", 2, ""},
        {"x AND", 1, ""},
        {"x AND a:-", 1, " a:-"},
        {"x AND a:99999", 1000, " a"},
    };
    for (size_t i = 0; i < sizeof weights / sizeof *weights; i++) {
        s = make(weights[i].prompt, true, 1, 1);
        assert_int_equal(s.parts, 2);
        if (fabs((double)s.weights[1] - weights[i].weight) > 1e-6 || strcmp(s.texts[s.at[1]], weights[i].text))
            fail_msg("'%s' gives '%s' at %g", weights[i].prompt, s.texts[s.at[1]], (double)s.weights[1]);
        sdg_prompt_schedule_clear(&s);
    }
    // AND is a word of its own, in capitals; a bracket does not hold it back
    static const char *const whole[] = {"SAND",
                                        "ANDy",
                                        "_AND",
                                        "and",
                                        "And",
                                        "AND1",
                                        "\xc3\x89"
                                        "AND",
                                        "a:2",
                                        "16:9 "};
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
        s = make(whole[i], true, 1, 1);
        assert_int_equal(s.parts, 1);
        assert_float_equal(s.weights[0], 1, 0);
        assert_string_equal(s.texts[0], whole[i]);
        sdg_prompt_schedule_clear(&s);
    }
    s = make("[a,AND.b:1]", true, 1, 1);
    assert_int_equal(s.parts, 2);
    sdg_prompt_schedule_clear(&s);
    s = make("a AND b:2", false, 1, 1); // a negative prompt
    assert_int_equal(s.parts, 1);
    assert_string_equal(s.texts[0], "a AND b:2");
    sdg_prompt_schedule_clear(&s);
    assert_int_equal(sdg_prompt_schedule_create(NULL, SDG_PROMPT_PLAIN, "[a:b:0.5] AND [c|d]", true, 2, 2, &s), SDG_OK);
    assert_int_equal(s.parts * s.text_count, 1);
    assert_string_equal(s.texts[0], "[a:b:0.5] AND [c|d]");
    sdg_prompt_schedule_clear(&s);
}

// With an init image fewer steps are run than asked for: they are counted from 1, the share is of those asked for.
static void fewer_steps(void **state)
{
    (void)state;
    struct sdg_prompt_schedule s = make("[a:b:0.5] [c:d:1]", true, 7, 10);
    expect_part("[a:b:0.5] [c:d:1]", &s, 0, (const char *const[]){"a c", "a d", "a d", "a d", "a d", "b d", "b d"});
    sdg_prompt_schedule_clear(&s);
    s = make("[a:b:0.5]", true, 3, 10);
    assert_int_equal(s.text_count, 1); // what no step says is not encoded
    sdg_prompt_schedule_clear(&s);
}

// A megabyte of brackets, and more text than there may be: done in time, or refused.
static void hostile(void **state)
{
    (void)state;
    enum { BYTES = 1 << 20 };
    static const char *const units[] = {"[", "(", "]", "[a|", "[a:", "[:b:1]", "\\", "AND", ":"};
    char *text = malloc(BYTES + 8);
    struct sdg_prompt_schedule s;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        const size_t length = strlen(units[i]);
        size_t at = 0;
        for (; at + length < BYTES; at += length)
            memcpy(text + at, units[i], length);
        text[at] = 0;
        s = make(text, true, 2, 2);
        sdg_prompt_schedule_clear(&s);
        sdg_prompt_warn(NULL, text, false, 2, 2);
    }
    strcpy(text + BYTES - 8, "[a|b|c]");
    memset(text, 'x', BYTES - 8);
    assert_int_equal(sdg_prompt_schedule_create(NULL, SDG_PROMPT_A1111, text, true, 3, 3, &s), SDG_OK);
    sdg_prompt_schedule_clear(&s);
    strcpy(text + BYTES - 60, "[1|2|3|4|5|6|7|8|9|10|11|12|13|14|15|16|17|18]");
    assert_int_equal(sdg_prompt_schedule_create(NULL, SDG_PROMPT_A1111, text, true, 18, 18, &s), SDG_ERROR_USAGE);
    assert_null(s.texts);
    char *parts = text;
    for (int i = 0; i < SDG_PROMPT_MAX_PARTS; i++)
        parts = stpcpy(parts, "a AND ");
    assert_int_equal(sdg_prompt_schedule_create(NULL, SDG_PROMPT_A1111, text, true, 1, 1, &s), SDG_ERROR_USAGE);
    parts[-5] = 0; // 64 parts
    s = make(text, true, 1, 1);
    assert_int_equal(s.parts, SDG_PROMPT_MAX_PARTS);
    sdg_prompt_schedule_clear(&s);
    free(text);
}

static void failing_allocations(void **state)
{
    (void)state;
    struct sdg_prompt_schedule s;
    size_t n = 0;
    for (enum sdg_result result = SDG_ERROR_MEMORY; result != SDG_OK; n++) {
        sdg_test_fail_allocation(n + 1);
        result = sdg_prompt_schedule_create(NULL, SDG_PROMPT_A1111, "a [b:[c|d]:1] AND e [f::2]", true, 3, 3, &s);
        sdg_test_fail_allocation(0);
        assert_true(result == SDG_OK || (result == SDG_ERROR_MEMORY && !s.texts && !s.at && !s.weights));
    }
    assert_true(n > 10);
    sdg_prompt_schedule_clear(&s);
}

// ---- what is said ----

struct heard {
    int count;
    char last[600];
};

static void hear(void *user, enum sdg_log_level level, const char *message)
{
    struct heard *h = user;
    (void)level;
    h->count++;
    snprintf(h->last, sizeof h->last, "%s", message);
}

// One line with these two words, or none.
static void expect_warning(const char *prompt, bool negative, const char *place, const char *piece)
{
    struct heard heard = {0};
    const struct sdg_log log = {.fn = hear, .user = &heard, .level = SDG_LOG_WARNING};
    sdg_prompt_warn(&log, prompt, negative, 4, 4);
    if (heard.count != (place != NULL) || (place && (!strstr(heard.last, place) || !strstr(heard.last, piece))))
        fail_msg("of '%s' is said: %s (%d lines)", prompt, heard.last, heard.count);
}

static void warnings(void **state)
{
    (void)state;
    expect_warning("a (cat:1,2)", false, "character 3:", "'(cat:1,2)'");
    expect_warning("(b:1.2.3) c", false, "character 1:", "'(b:1.2.3)'");
    expect_warning("\xc3\xa9 (a:)", false, "character 3:", "'(a:)'");
    expect_warning("(a:1e3)", false, "character 1:", "'(a:1e3)'");
    expect_warning("(a:1.2 )) b", false, "character 9:", "')'");
    expect_warning("((a) b", false, "character 1:", "'(");
    expect_warning("a [b", false, "character 3:", "'[b'");
    expect_warning("b] c", false, "character 2:", "']'");
    expect_warning("[dog:cat]", false, "character 1:", "'[dog:cat]'");
    expect_warning("[dog:cat:x], (y:0,3)", false, "character 1:", "(and 1 more)");
    expect_warning("a|b [c:d:2]", false, "character 2:", "'|'");
    expect_warning("a cat:1.2", false, "character 6:", "':1.2'");
    expect_warning("[a:b:4]", false, "character 1:", "'[a:b:4]'");
    expect_warning("[a:1.2]", false, "character 1:", "'[a:1.2]'");
    expect_warning("a cat, embedding:easynegative", true, "character 8:", "'embedding:easynegative'");
    expect_warning("(embedding:style-x:1.2)", false, "character 2:", "'embedding:style-x'");
    expect_warning("a AND b", true, "character 3:", "'AND'");
    static const char *const fine[] = {"",
                                       "a cat",
                                       "(a:1.2) [b] ((c)) (d: -1 )",
                                       "[a:b:0.5] [c|d]",
                                       "\\(a\\) \\]",
                                       "{a|b}",
                                       "(ratio: wide)",
                                       "word embedding: a study",
                                       "an_embedding:x",
                                       "a: b",
                                       "x AND y:2 AND (z:3)",
                                       "(a:1.2:0.5)"};
    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++)
        expect_warning(fine[i], false, NULL, NULL);
}

static void expect_refusal(const char *prompt, enum sdg_result expected, const char *word)
{
    struct heard heard = {0};
    const struct sdg_log log = {.fn = hear, .user = &heard, .level = SDG_LOG_WARNING};
    enum sdg_result result = sdg_check_prompt(&log, "the prompt", prompt, false);
    if (result != expected || heard.count != (expected != SDG_OK) || !strstr(heard.last, word))
        fail_msg("'%s' gives %d: %s", prompt, result, heard.last);
}

static void refusals(void **state)
{
    (void)state;
    static const char *const tags[] = {"<lora:x:1>",   "<LoRA:x>",      "<lyco:style:0.8>", "<hypernet:y:1>",
                                       "<anything:z>", "< lora : x:1>", "<LORA:x",          "<embedding:e>"};
    for (size_t i = 0; i < sizeof tags / sizeof *tags; i++) {
        char prompt[80];
        snprintf(prompt, sizeof prompt, "a cat %s, red", tags[i]);
        expect_refusal(prompt, SDG_ERROR_UNSUPPORTED, "LoRA");
        expect_refusal(prompt, SDG_ERROR_UNSUPPORTED, "'<");
        assert_int_equal(sdg_check_prompt(NULL, "the prompt", prompt, true), SDG_OK);
    }
    static const char *const fine[] = {"<3",   "a < b",      "<cat-toy>", "<>",    "<a>",
                                       "< :>", "a <b c: d>", "<x:>",      "<y: z", "<|startoftext|>"};
    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++)
        expect_refusal(fine[i], SDG_OK, "");
    expect_refusal("caf\xe9", SDG_ERROR_USAGE, "UTF-8");
    expect_refusal("\xc3", SDG_ERROR_USAGE, "UTF-8");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(editing),  cmocka_unit_test(landscape),
        cmocka_unit_test(numbers),  cmocka_unit_test(texts),
        cmocka_unit_test(composed), cmocka_unit_test(fewer_steps),
        cmocka_unit_test(hostile),  cmocka_unit_test(failing_allocations),
        cmocka_unit_test(warnings), cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
