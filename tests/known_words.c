// Words of prompts that a model's captions did not have.
#include "text/known_words.h"

#include "base/file.h"
#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define MODEL SDG_SOURCE_DIR "/models/emoji-128"

static char said[600];

static void keep(void *user, enum sdg_log_level level, const char *text)
{
    (void)user;
    snprintf(said, sizeof said, "%d %s", (int)level, text);
}

static const struct sdg_log keeping = {.fn = keep, .level = SDG_LOG_INFO};

static const char *tell(const char *known, const char *prompt, bool plain)
{
    *said = 0;
    assert_int_equal(sdg_known_words_tell(&keeping, "m", known, prompt, plain), SDG_OK);
    return *said ? said + 2 : said;
}

static void test_words(void **state)
{
    (void)state;
    static const char list[] = "balloon\ncandle\nsnowman\r\nand\npi\xc3\xb1"
                               "ata\nbroken\n\nzebra"; // in any order
    static const struct {
        const char *prompt;
        bool plain;
        const char *said; // "" = nothing
    } cases[] = {
        {"", false, ""},
        {"a snowman, 3d, of it, 1000", false, ""},
        {"(Snowman:1.3) ZEBRA", false, ""},
        {"a PI\xc3\x91"
         "ATA",
         false, ""},
        {"pin\xcc\x83"
         "ata",
         false, ""}, // composed first
        {"a dinosaur", false, "m does not know the word 'dinosaur': it draws something else"},
        {"two candles", false, "m does not know the words 'two', 'candles' (nearest: candle): it draws something else"},
        {"snwoman, snwoman", false, "m does not know the word 'snwoman' (nearest: snowman): it draws something else"},
        {"snowman AND zebra BREAK candle", false, ""},
        {"snowman BREAK candle", true, "m does not know the word 'break': it draws something else"},
        {"BREAKfast", false, "m does not know the word 'breakfast': it draws something else"},
        {"[zebra:dragon:0.5]", false, "m does not know the word 'dragon': it draws something else"},
        {"don't", false, "m does not know the word 'don': it draws something else"},
        {"\xe3\x83\x84 \xf0\x9f\x9a\x80", false, ""},
        {"aaaa bbbb cccc dddd eeee ffff gggg hhhh", false,
         "m does not know the words 'aaaa', 'bbbb', 'cccc', 'dddd', 'eeee', 'ffff', ...: it draws something else"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *got = tell(list, cases[i].prompt, cases[i].plain);
        if (*cases[i].said ? strncmp(got, cases[i].said, strlen(cases[i].said)) != 0 : *got != 0)
            fail_msg("'%s': '%s'", cases[i].prompt, got);
    }
    char longest[3000];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    assert_non_null(strstr(tell(list, longest, false), "xxxx'"));
    assert_non_null(strstr(tell("", "zebra", false), "'zebra':"));
}

static char *model_words(void)
{
    char *words;
    assert_int_equal(sdg_file_read_text(NULL, MODEL "/words.txt", 1 << 20, &words), SDG_OK);
    return words;
}

static void expect_known(const char *known, const char *name)
{
    char path[600], line[400];
    int count = 0;
    snprintf(path, sizeof path, MODEL "/%s", name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    for (; fgets(line, sizeof line, file); count++)
        if (*tell(known, line, false))
            fail_msg("%s: %s: %s", name, line, said);
    fclose(file);
    assert_true(count >= 64);
}

// The default model's list has the words of the prompts that were made from its captions, and not what children ask
// for.
static void test_default_model(void **state)
{
    (void)state;
    char *known = model_words();
    expect_known(known, "calibration_prompts.txt");
    expect_known(known, "eval_prompts.txt");
    assert_non_null(strstr(tell(known, "a dinosaur", false), "'dinosaur'"));
    assert_non_null(strstr(tell(known, "my mum", false), "'mum'"));
    assert_non_null(strstr(tell(known, "three balloons", false), "'balloons' (nearest: balloon)"));
    sdg_free(known);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_default_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
