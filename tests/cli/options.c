// The command line of sdgen: every option of its table with every kind of bad value, contradictions, help texts.
// The table is linked in, so an option that is added is tested.
#include "run.h"

#include "apps/sdgen_options.h"

static char folder[64];

static int enter(void **state)
{
    (void)state;
    folder_enter(folder, sizeof folder);
    return 0;
}

static int leave(void **state)
{
    (void)state;
    folder_leave(folder);
    return 0;
}

// Exit status `status`, one line on stderr that is an error and contains `word`, nothing on stdout, no file.
static void expect_error(const struct run *run, int status, const char *word)
{
    bool good = run->status == status && count_lines(run->err) == 1 && !strncmp(run->err, "sdgen: error: ", 14) &&
        strstr(run->err, word) && run->out_size == 0 && count_files() == 0 && strlen(run->err) < 600;
    if (!good)
        fail_msg("expected exit status %d and one error line with '%s', got %d, %zu bytes on stdout, %d files and: %s",
                 status, word, run->status, run->out_size, count_files(), run->err);
}

static bool takes_value(const struct app_option *option)
{
    return option->kind != APP_FLAG && option->kind != APP_HELP && option->kind != APP_HELP_ALL;
}

// Whether `text` contains `words` where any space may be a line break and spaces.
static bool contains_wrapped(const char *text, const char *words)
{
    for (; *text; text++) {
        const char *a = text, *b = words;
        while (*a && *b && (*a == *b || (*b == ' ' && *a == '\n'))) {
            bool space = *b == ' ';
            a++;
            b++;
            while (space && *a == ' ')
                a++;
        }
        if (!*b)
            return true;
    }
    return false;
}

static void test_help(void **state)
{
    (void)state;
    char text[sizeof((struct run *)0)->out];
    const struct run *run = sdgen("-h");
    assert_int_equal(run->status, 0);
    assert_string_equal(run->err, "");
    memcpy(text, run->out, sizeof text);
    run = sdgen("--help-all");
    assert_int_equal(run->status, 0);
    assert_string_equal(run->err, "");
    for (size_t i = 0; i < sdgen_command.count; i++) {
        const struct app_option *option = &sdgen_command.options[i];
        char name[80], standard[80];
        snprintf(name, sizeof name, "--%s%s%s", option->name, option->word ? " " : "",
                 option->word ? option->word : "");
        const char *at = strstr(run->out, name);
        if (!at)
            fail_msg("--help-all lacks %s", name);
        if (option->initial && *option->initial && !option->otherwise && !(option->flags & APP_LATER)) {
            snprintf(standard, sizeof standard, "(default: %s)", option->initial);
            char entry[1200]; // up to the next option
            size_t length = strlen(at);
            for (const char *line = strchr(at, '\n'); line; line = strchr(line + 1, '\n'))
                if (!strncmp(line, "\n  -", 4) || !strncmp(line, "\n      --", 9)) {
                    length = (size_t)(line - at);
                    break;
                }
            snprintf(entry, sizeof entry, "%.*s", (int)length, at);
            if (!contains_wrapped(entry, standard))
                fail_msg("--help-all does not say '%s' after %s", standard, name);
        }
        // every legal name, right behind it
        for (const char *const *legal = option->names ? option->names() : NULL; legal && *legal; legal++) {
            const char *next = strstr(at + 1, "\n      --"), *found = strstr(at, *legal);
            if (!found || (next && found > next))
                fail_msg("--help-all does not say '%s' after %s", *legal, name);
        }
        snprintf(name, sizeof name, "--%s", option->name);
        if (option->flags & APP_COMMON)
            assert_non_null(strstr(text, name));
        assert_true(option->since || option->flags & APP_LATER);
    }
    assert_non_null(strstr(run->out, "130"));
    assert_true(strlen(text) < strlen(run->out));
}

static void test_defaults(void **state)
{
    (void)state;
    struct app_ui ui = app_ui_create("sdgen");
    struct sdgen_options options;
    char *arguments[] = {(char *)"sdgen", (char *)"a cat", NULL};
    assert_int_equal(sdgen_options_read(&ui, 2, arguments, &options), SDG_OK);
    const struct sdgen_values *values = &options.values;
    assert_null(values->sampler); // left to the library
    assert_null(values->schedule);
    assert_string_equal(values->rng, "cuda");
    assert_string_equal(values->output, "output.png");
    assert_string_equal(values->preview, "none");
    assert_string_equal(values->backend, "auto");
    assert_true(values->seed.value == 42 && !values->seed.random);
    assert_true(options.background[0] == 255 && options.background[1] == 255 && options.background[2] == 255);
    assert_int_equal(values->steps, 0);
    assert_int_equal(values->batch, 1);
    assert_int_equal(values->clip_skip, -1);
    assert_int_equal(values->width, 0);
    assert_false(sdgen_given(&options, "cfg-scale")); // the model's
    assert_true(values->strength == 0.75);
    assert_int_equal(options.tile, 32);
    assert_true(values->tile_overlap == 0.5);
    assert_null(values->model);
    sdgen_options_free(&options);
}

static void expect_refused(const struct app_option *option, const char *value)
{
    char argument[256], word[80];
    snprintf(argument, sizeof argument, "--%s=%s", option->name, value);
    snprintf(word, sizeof word, "--%s", option->name);
    const struct run *run = sdgen(argument);
    if (run->status != 1 || count_lines(run->err) != 1 || !strstr(run->err, word))
        fail_msg("%s: exit status %d, %s", argument, run->status, run->err);
    assert_int_equal(count_files(), 0);
}

// Every option with values that are no values.
static void test_bad_values(void **state)
{
    (void)state;
    static const char *const no_integer[] = {
        "",   "abc", "7x", "1.5", "1e3", " 7", "+7", "0x10", "-", "--", "99999999999999999999", "-99999999999999999999",
        "7\n"};
    static const char *const no_real[] = {"",   "abc", "7x", "nan",   "inf", "-inf", "1e999", "1,5",
                                          " 7", "7 ",  "+7", "0x1p3", "1e",  ".",    "-",     "7..5"};
    int runs = 0;
    for (size_t i = 0; i < sdgen_command.count; i++) {
        const struct app_option *option = &sdgen_command.options[i];
        if (option->flags & APP_LATER)
            continue;
        char number[64];
        switch (option->kind) {
        case APP_INTEGER:
            for (size_t k = 0; k < sizeof no_integer / sizeof *no_integer; k++, runs++)
                expect_refused(option, no_integer[k]);
            if (option->min != 0 || option->max != 0) {
                snprintf(number, sizeof number, "%lld", (long long)option->min - 1);
                expect_refused(option, number);
                snprintf(number, sizeof number, "%lld", (long long)option->max + 1);
                expect_refused(option, number);
                runs += 2;
            }
            break;
        case APP_SEED:
            for (size_t k = 0; k < sizeof no_integer / sizeof *no_integer; k++, runs++)
                expect_refused(option, no_integer[k]);
            expect_refused(option, "18446744073709551616");
            break;
        case APP_REAL:
        case APP_NUMBER:
            for (size_t k = 0; k < sizeof no_real / sizeof *no_real; k++, runs++)
                expect_refused(option, no_real[k]);
            snprintf(number, sizeof number, "%.17g", option->min - 0.01);
            expect_refused(option, number);
            snprintf(number, sizeof number, "%.17g", option->max + 0.01);
            expect_refused(option, number);
            if (option->flags & APP_ABOVE) {
                snprintf(number, sizeof number, "%.17g", option->min);
                expect_refused(option, number);
            }
            runs += 2;
            break;
        case APP_NAME:
            expect_refused(option, "");
            expect_refused(option, "nope");
            expect_refused(option, "EULER ");
            runs += 3;
            break;
        case APP_NAMES:
            expect_refused(option, "");
            expect_refused(option, "nope");
            snprintf(number, sizeof number, "%s,", option->names()[0]);
            expect_refused(option, number);
            snprintf(number, sizeof number, "%s,nope", option->names()[0]);
            expect_refused(option, number);
            runs += 4;
            break;
        case APP_FILE:
            expect_refused(option, "");
            runs++;
            break;
        case APP_FLAG:
        case APP_HELP:
        case APP_HELP_ALL:
            expect_refused(option, "1");
            runs++;
            break;
        case APP_TEXT: break;
        }
    }
    print_message("%d bad values refused\n", runs);
    assert_true(runs > 150);
}

static void test_missing_values(void **state)
{
    (void)state;
    for (size_t i = 0; i < sdgen_command.count; i++) {
        const struct app_option *option = &sdgen_command.options[i];
        char name[80], letter[8];
        snprintf(name, sizeof name, "--%s", option->name);
        snprintf(letter, sizeof letter, "-%c", option->letter);
        if (!takes_value(option))
            continue;
        expect_error(sdgen(name), 1, name);
        if (option->letter)
            expect_error(sdgen(letter), 1, name);
        if (!(option->flags & APP_LATER))
            expect_error(sdgen(name, "--steps", "5"), 1, "value is missing");
    }
}

static void test_later(void **state)
{
    (void)state;
    int count = 0;
    for (size_t i = 0; i < sdgen_command.count; i++) {
        const struct app_option *option = &sdgen_command.options[i];
        char argument[80];
        snprintf(argument, sizeof argument, "--%s=x", option->name);
        if (!(option->flags & APP_LATER))
            continue;
        expect_error(sdgen(argument), 1, "not in this version");
        count++;
    }
    assert_true(count >= 5);
    expect_error(sdgen("--type", "q8_0"), 1, "not in this version");
    expect_error(sdgen("--type", "q4_0"), 1, "not in this version");
    expect_error(sdgen("--preview", "tae"), 1, "not in this version");
    expect_error(sdgen("--preview", "vae"), 1, "not in this version");
    expect_error(sdgen("a <lora:style:0.8> house"), 1, "lora");
    expect_error(sdgen("-n", "<lora:style:0.8>"), 1, "lora");
    expect_error(sdgen("x", "-m", "model.gguf"), 1, "GGUF");
}

static void test_unknown(void **state)
{
    (void)state;
    expect_error(sdgen("--nonsense"), 1, "--nonsense");
    expect_error(sdgen("--step", "5"), 1, "'--steps'"); // no abbreviations
    expect_error(sdgen("--sampling-metod", "euler"), 1, "'--sampling-method'");
    expect_error(sdgen("-Z"), 1, "-Z");
    expect_error(sdgen("-qZ"), 1, "-Z");
    expect_error(sdgen("--sampling-method", "eulr"), 1, "did you mean 'euler'");
    expect_error(sdgen("--scheduler", "karas"), 1, "did you mean 'karras'");
    expect_error(sdgen("--sampling-method", "nope"), 1, "unipc"); // lists what is legal
    expect_error(sdgen("--disable-features", "dot,warp"), 1, "'warp' is unknown (legal: onednn, ");
    expect_error(sdgen("--disable-features", "dot,subgrup"), 1, "did you mean 'subgroup'");
    expect_error(sdgen("two", "prompts"), 1, "prompts");
    expect_error(sdgen("--", "two", "-prompts"), 1, "-prompts");
    expect_error(sdgen("a\nb", "c\nd\033[31m"), 1, "c?d?[31m"); // one line whatever is in it
}

static void test_contradictions(void **state)
{
    (void)state;
    static const char *const cases[][5] = {
        // word of the message, arguments
        {"given twice", "a cat", "-p", "a dog"},
        {"given twice", "a cat", "--prompt-file", "p.txt"},
        {"--prompt-file", "-p", "a cat", "--prompt-file", "p.txt"},
        {"--negative-prompt-file", "-n", "a", "--negative-prompt-file", "p.txt"},
        {"--init-img", "--mask", "m.png"},
        {"--init-img", "--strength", "0.5"},
        {"--no-mmap", "--mmap", "--no-mmap"},
        {"--no-vae-tiling", "--vae-tiling", "--no-vae-tiling"},
        {"--quiet", "-v", "-q"},
        {"--steps", "--sigmas", "3,2,0", "--steps", "2"},
        {"--scheduler", "--sigmas", "3,2,0", "--scheduler", "karras"},
        {"--taesd", "--vae", "a", "--taesd", "b"},
        {"--preview", "--preview-path", "p.png"},
        {"--preview", "--preview-interval", "2"},
        {"--image", "-M", "metadata"},
        {"--mode", "--image", "a.png"},
        {"standard input", "--prompt-file", "-", "-i", "-"},
        {"--batch-count", "-o", "-", "-b", "2"},
        {"--batch-count", "--dump-latents", "a.npy", "-b", "2"},
        {"standard output", "--preview-path", "-", "--preview", "proj"},
        {"above 0", "-i", "a.png", "--strength", "0"},
        {"--init-alpha-color", "-i", "a.png", "--init-alpha-color", "#12345"},
        {"--init-alpha-color", "-i", "a.png", "--init-alpha-color", "#12345g"},
        {"--init-alpha-color", "-i", "a.png", "--init-alpha-color", "whit"},
        {"--init-img", "--init-alpha-color", "white"},
        {"--mask", "--keep-unmasked"},
        {"--mask", "--no-keep-unmasked", "-i", "a.png"},
        {"--no-keep-unmasked", "--keep-unmasked", "--no-keep-unmasked"},
        {"there is no prompt", "-o", "a.png"},
        {"there is no prompt", "--steps", "3"},
        {"only read", "-o", "a.webp"},
        {"is a folder", "-o", "."},
        {"is a folder", "-o", "/tmp/"},
        {"--mode", "--metadata-format", "json"},
        {"--vae-tile-size", "--vae-tile-size", "32x"},
        {"--vae-tile-size", "--vae-tile-size", "x32"},
        {"--vae-tile-size", "--vae-tile-size", "32x32x32"},
        {"square", "--vae-tile-size", "32x64"},
        {"--sigmas", "--sigmas", ""},
        {"--sigmas", "--sigmas", "1"},
        {"--sigmas", "--sigmas", "1,2"},
        {"--sigmas", "--sigmas", "2,1,"},
        {"--sigmas", "--sigmas", "2,-1"},
        {"--sigmas", "--sigmas", "nan,1"},
        {".png", "-o", "a.gif"},
        {".png", "-o", "noextension"},
        {".png", "-o", "folder.png/noextension"},
        {"one %d", "-o", "%d%d.png"},
        {"at most 20 digits", "-o", "a%9999d.png"},
        {"at most 20 digits", "-o", "%99999999999999999999999d.png"},
        {".npy", "--dump-latents", "a.txt"},
        {".npy", "--load-noise", "a.png"},
        {"too large", "-s", "18446744073709551615", "-b", "2"},
        {"is too large", "-s", "99999999999999999999999"},
        {"is no seed", "-s", "1.5"},
        {"UTF-8", "bad \xff text"},
        {"UTF-8", "-n", "\xc0\x80"},
        {"nope", "x", "--backend", "nope"},
        {"nope", "x", "--backend", "te=nope"},
        {"xx", "x", "--backend", "xx=cpu"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_error(run_with((char *const[]){SDGEN_PROGRAM, (char *)cases[i][1], (char *)cases[i][2],
                                              (char *)cases[i][3], (char *)cases[i][4], NULL},
                              NULL),
                     1, cases[i][0]);
    expect_error(sdgen("-M", "metadata", "--image", "a.png", "-p", "x"), 1, "no meaning with -M");
    expect_error(sdgen("-M", "metadata", "--image", "a.png", "x"), 1, "no meaning with -M");
    expect_error(sdgen("-M", "metadata", "--image", "a.png", "--from", "b.png"), 1, "no meaning with -M");

    // Alone: the help, and an error, as it is no success.
    const struct run *run = sdgen("-h");
    static char help[sizeof run->out];
    memcpy(help, run->out, sizeof help);
    run = run_with((char *const[]){SDGEN_PROGRAM, NULL}, NULL);
    assert_int_equal(run->status, 1);
    assert_string_equal(run->out, help);
    assert_non_null(strstr(run->err, "no prompt"));
    assert_int_equal(count_files(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_help, enter, leave),
        cmocka_unit_test_setup_teardown(test_defaults, enter, leave),
        cmocka_unit_test_setup_teardown(test_bad_values, enter, leave),
        cmocka_unit_test_setup_teardown(test_missing_values, enter, leave),
        cmocka_unit_test_setup_teardown(test_later, enter, leave),
        cmocka_unit_test_setup_teardown(test_unknown, enter, leave),
        cmocka_unit_test_setup_teardown(test_contradictions, enter, leave),
    };
    return cmocka_run_group_tests_name("cli_options", tests, NULL, NULL);
}
