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
        if (option->initial && *option->initial && !option->otherwise) {
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
        assert_true(option->since);
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
        case APP_HELP_AS:
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
        expect_error(sdgen(name, "--steps", "5"), 1, "value is missing");
    }
}

static void test_later(void **state)
{
    (void)state;
    expect_error(sdgen("--type", "q8_0"), 1, "not in this version");
    expect_error(sdgen("--type", "q4_0"), 1, "not in this version");
    expect_error(sdgen("--preview", "tae"), 1, "not in this version");
    expect_error(sdgen("a <lora:style:0.8> house"), 1, "lora");
    expect_error(sdgen("-n", "<lora:style:0.8>"), 1, "lora");
    expect_error(sdgen("a <LyCO:style> house"), 1, "<LyCO:style>");
    expect_error(sdgen("caf\xe9"), 1, "UTF-8");
    expect_error(sdgen("x", "-m", "model.gguf"), 1, "GGUF");
}

// ---- stable-diffusion.cpp ----

static const struct app_other *find_other(const char *name)
{
    for (size_t i = 0; i < sdgen_command.other_count; i++)
        if (!strcmp(sdgen_command.others[i].name, name))
            return &sdgen_command.others[i];
    return NULL;
}

static const struct app_option *find_option(const char *name)
{
    for (size_t i = 0; i < sdgen_command.count; i++)
        if (!strcmp(sdgen_command.options[i].name, name))
            return &sdgen_command.options[i];
    return NULL;
}

// docs/stable-diffusion.cpp.md says of every flag what the tables say, and has them all.
static void test_table_of_others(void **state)
{
    (void)state;
    static const char *const verdicts[] = {
        [APP_MEANS_NOTHING] = "no effect", [APP_OTHER_MODELS] = "other models", [APP_NOT_YET] = "not yet"};
    FILE *file = fopen(SDG_SOURCE_DIR "/docs/stable-diffusion.cpp.md", "r");
    char line[600];
    size_t rows = 0, others = 0;
    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        char name[64], verdict[32];
        if (sscanf(line, "| `--%63[^`]`%*[^|]| %31[^|]|", name, verdict) != 2 &&
            sscanf(line, "| `--%63[^`]` | %31[^|]|", name, verdict) != 2)
            continue;
        verdict[strcspn(verdict, "|")] = 0;
        for (size_t n = strlen(verdict); n && verdict[n - 1] == ' ';)
            verdict[--n] = 0;
        const struct app_other *other = find_other(name);
        rows++;
        if (!!other == !!find_option(name))
            fail_msg("--%s is in %s", name, other ? "both tables" : "neither table");
        if (other ? strcmp(verdict, verdicts[other->verdict]) : strcmp(verdict, "same") && strcmp(verdict, "differs"))
            fail_msg("--%s: the table of options does not say '%s'", name, verdict);
        others += other != NULL;
    }
    fclose(file);
    assert_int_equal(others, sdgen_command.other_count);
    assert_int_equal(rows, 163);
}

// What a front end writes into a command line, and stable-diffusion.cpp's spellings, reach the drawing.
static void test_others(void **state)
{
    (void)state;
    struct app_ui ui = app_ui_create("sdgen");
    struct sdgen_options options;
    static const char *const line[] = {"sdgen",
                                       "-p",
                                       "a cat",
                                       "--fa",
                                       "--diffusion-fa",
                                       "--vae-on-cpu",
                                       "--lora-model-dir",
                                       "/x",
                                       "--lora-apply-mode",
                                       "auto",
                                       "--offload-to-cpu",
                                       "--guidance",
                                       "3.50",
                                       "--video-frames",
                                       "1",
                                       "--skip-layers",
                                       "[7,8,9]",
                                       "--scheduler",
                                       "normal",
                                       "--sigmas",
                                       "[14.6, 7,0]",
                                       "--steps",
                                       "8",
                                       "--max-vram",
                                       "vulkan0=6,cpu=-1,vulkan1=4",
                                       "--preview-path",
                                       "p.png",
                                       "--strength",
                                       "0.5"};
    ui.level = SDG_LOG_ERROR;
    assert_int_equal(sdgen_options_read(&ui, sizeof line / sizeof *line, (char **)(uintptr_t)line, &options), SDG_OK);
    assert_string_equal(options.values.schedule, "discrete"); // "normal"
    assert_int_equal(options.sigma_count, 3);
    assert_true(options.sigmas[0] == 14.6 && options.sigmas[1] == 7 && options.sigmas[2] == 0);
    assert_true(options.max_memory == 4);
    sdgen_options_free(&options);
    for (size_t i = 0; i < sdgen_command.other_count; i++) { // each by itself
        const struct app_other *other = &sdgen_command.others[i];
        char argument[96], neutral[96];
        snprintf(argument, sizeof argument, "--%s%s", other->name, other->takes_value ? "=x" : "");
        snprintf(neutral, sizeof neutral, "--%s=%s", other->name, other->neutral ? other->neutral : "");
        if (other->verdict != APP_MEANS_NOTHING)
            expect_error(sdgen("x", argument), 1, other->name);
        if (other->verdict == APP_MEANS_NOTHING || other->neutral) {
            const char *one[] = {"sdgen", "x", other->neutral ? neutral : argument};
            assert_int_equal(sdgen_options_read(&ui, 3, (char **)(uintptr_t)one, &options), SDG_OK);
            sdgen_options_free(&options);
        }
        if (other->takes_value) {
            snprintf(argument, sizeof argument, "--%s", other->name);
            expect_error(sdgen("x", argument), 1, "missing");
        }
    }
}

static void test_unknown(void **state)
{
    (void)state;
    expect_error(sdgen("--nonsense"), 1, "--nonsense");
    expect_error(sdgen("--step", "5"), 1, "'--steps'"); // no abbreviations
    expect_error(sdgen("--cfg", "5"), 1, "'--cfg-scale'");
    expect_error(sdgen("--neg", "5"), 1, "'--negative-prompt'");
    expect_error(sdgen("--negative", "5"), 1, "'--negative-prompt'");
    expect_error(sdgen("--sampler", "euler"), 1, "'--sampling-method'");
    expect_error(sdgen("--diffusion", "x"), 1, "unknown option '--diffusion'"); // an abbreviation of another's
    expect_error(sdgen("-w", "5"), 1, "did you mean '-W'");
    expect_error(sdgen("--sampling-method", "ipndm"), 1, "not in this version");
    expect_error(sdgen("--scheduler", "gits"), 1, "not in this version");
    expect_error(sdgen("--type", "q2_K"), 1, "not in this version");
    expect_error(sdgen("-M", "convert"), 1, "not in this version");
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
        {"--no-mmap", "--mmap", "--no-mmap"},
        {"--no-vae-tiling", "--vae-tiling", "--no-vae-tiling"},
        {"--quiet", "-v", "-q"},
        {"--taesd", "--vae", "a", "--taesd", "b"},
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
        {"nope", "x", "--backend", "all=nope"},
        {"vulkanx", "x", "--backend", "vulkanx"},
        {"--max-vram", "--max-vram", "cuda0=x"},
        {"--max-vram", "--max-vram", "1,"},
        {"xx", "x", "--backend", "xx=cpu"},
        {"'text' twice", "x", "--backend", "te=cpu,text=cpu"},
        {"'all' twice", "x", "--backend", "*=cpu,vae=cpu,all=cpu"},
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
        cmocka_unit_test_setup_teardown(test_table_of_others, enter, leave),
        cmocka_unit_test_setup_teardown(test_others, enter, leave),
        cmocka_unit_test_setup_teardown(test_unknown, enter, leave),
        cmocka_unit_test_setup_teardown(test_contradictions, enter, leave),
    };
    return cmocka_run_group_tests_name("cli_options", tests, NULL, NULL);
}
