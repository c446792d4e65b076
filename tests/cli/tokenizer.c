// sdgen with the tokenizers that real folders have: tokenizer.json, added tokens, none at all.
#include "run.h"

#include <cjson/cJSON.h>

#define MODEL SDG_SOURCE_DIR "/models/emoji-128"
#define SDXL SDG_SHARED_DIR "/goldens/pipelines/sdxl-tiny"
#define SMALL "--backend", "cpu", "-t", "1", "-W", "64", "-H", "64", "--steps", "1"

static char folder[64];

static int enter(void **state)
{
    (void)state;
    folder_enter(folder, sizeof folder);
    unsetenv("SDGEN_TOKENIZER");
    return 0;
}

// Empties `name`, a folder of files and links.
static void empty(const char *name)
{
    DIR *dir = opendir(name);
    struct dirent *entry;
    char path[600];
    while (dir && (entry = readdir(dir)))
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..")) {
            snprintf(path, sizeof path, "%.200s/%.255s", name, entry->d_name);
            unlink(path);
        }
    if (dir)
        closedir(dir);
}

static int leave(void **state)
{
    (void)state;
    empty("m/tokenizer");
    rmdir("m/tokenizer");
    empty("m");
    folder_leave(folder);
    return 0;
}

// A model "m" whose parts are those of `from`, but for the folder tokenizer, which is empty.
static void make_model(const char *from)
{
    DIR *dir = opendir(from);
    struct dirent *entry;
    assert_non_null(dir);
    assert_int_equal(mkdir("m", 0777), 0);
    while ((entry = readdir(dir))) {
        char target[600], path[300];
        if (entry->d_name[0] == '.' || !strcmp(entry->d_name, "tokenizer"))
            continue;
        snprintf(target, sizeof target, "%.300s/%.255s", from, entry->d_name);
        snprintf(path, sizeof path, "m/%.255s", entry->d_name);
        assert_int_equal(symlink(target, path), 0);
    }
    closedir(dir);
    assert_int_equal(mkdir("m/tokenizer", 0777), 0);
}

static void put(const char *name, const char *text)
{
    char path[300];
    snprintf(path, sizeof path, "m/tokenizer/%s", name);
    write_whole(path, text, strlen(text));
}

static void link_file(const char *name)
{
    char target[600], path[300];
    snprintf(target, sizeof target, MODEL "/tokenizer/%s", name);
    snprintf(path, sizeof path, "m/tokenizer/%s", name);
    assert_int_equal(symlink(target, path), 0);
}

static void expect_same(const char *a, const char *b)
{
    static char x[1 << 18], y[1 << 18];
    size_t n = read_whole(a, x, sizeof x), m = read_whole(b, y, sizeof y);
    assert_true(n > 1000 && n == m && memcmp(x, y, n) == 0);
}

// Refused in one line, before anything else.
static void expect_refused(const struct run *run, const char *words)
{
    if (run->status != 2 || count_lines(run->err) != 1 || !strstr(run->err, words))
        fail_msg("exit status %d, should be 2 and one line with '%s': %s", run->status, words, run->err);
}

// The default model's tokenizer as transformers 5 saves it.
static void write_tokenizer_json(void)
{
    static char vocabulary[1 << 18], merges[1 << 18];
    assert_true(read_whole(MODEL "/tokenizer/vocab.json", vocabulary, sizeof vocabulary) > 0);
    assert_true(read_whole(MODEL "/tokenizer/merges.txt", merges, sizeof merges) > 0);
    cJSON *json = cJSON_CreateObject(), *model = cJSON_AddObjectToObject(json, "model");
    cJSON_AddStringToObject(model, "type", "BPE");
    cJSON_AddItemToObject(model, "vocab", cJSON_Parse(vocabulary));
    cJSON *list = cJSON_AddArrayToObject(model, "merges");
    strtok(merges, "\n"); // the version
    for (char *line; (line = strtok(NULL, "\n"));) {
        char *space = strchr(line, ' ');
        *space = 0;
        cJSON_AddItemToArray(list, cJSON_CreateStringArray((const char *[]){line, space + 1}, 2));
    }
    char *text = cJSON_PrintUnformatted(json);
    put("tokenizer.json", text);
    cJSON_free(text);
    cJSON_Delete(json);
}

static void test_tokenizer_json(void **state)
{
    (void)state;
    make_model(MODEL);
    write_tokenizer_json();
    expect_done(sdgen("a red apple, 3d", SMALL, "-m", MODEL, "-o", "two.ppm"));
    expect_done(sdgen("a red apple, 3d", SMALL, "-m", "m", "-o", "one.ppm"));
    expect_same("one.ppm", "two.ppm");
}

// A token whose embedding is missing: an error where it is used.
static void test_added_token(void **state)
{
    (void)state;
    make_model(MODEL);
    link_file("vocab.json");
    link_file("merges.txt");
    put("added_tokens.json", "{\"<cat-toy>\":3514}");
    expect_done(sdgen("a red apple, 3d", SMALL, "-m", MODEL, "-o", "two.ppm"));
    expect_done(sdgen("a red apple, 3d", SMALL, "-m", "m", "-o", "one.ppm"));
    expect_same("one.ppm", "two.ppm");
    const struct run *run = sdgen("(a <cat-toy>:1.2), 3d", "-q", SMALL, "-m", "m", "-o", "x.ppm");
    expect_refused(run, "added token number 3514");
}

static void test_no_tokenizer(void **state)
{
    (void)state;
    make_model(MODEL);
    expect_refused(sdgen("x", SMALL, "-m", "m"), "no usable tokenizer in its folder tokenizer (");
    link_file("vocab.json");
    expect_refused(sdgen("x", SMALL, "-m", "m"), "m/tokenizer/merges.txt");
    link_file("merges.txt");
    put("tokenizer_config.json", "{\"model_max_length\":78}");
    expect_refused(sdgen("x", SMALL, "-m", "m"), "model_max_length is 78, but the text encoder has 77");
    put("tokenizer_config.json", "{\"pad_token\":\"[PAD]\"}"); // the vocabulary lacks it, and has ids to 3513
    expect_refused(sdgen("x", SMALL, "-m", "m"), "has ids up to 3514, the text encoder only 3514 embeddings");
    put("tokenizer_config.json", "{\"model_max_length\":20}");
    expect_done(sdgen("x", SMALL, "-m", "m", "-o", "x.ppm"));
}

// Stable Diffusion XL without its second one.
static void test_no_second(void **state)
{
    (void)state;
    if (access(SDXL "/tokenizer_2/vocab.json", R_OK) != 0) {
        print_message("skipped: no reference models\n");
        skip();
    }
    make_model(SDXL);
    assert_int_equal(rmdir("m/tokenizer"), 0);
    assert_int_equal(symlink(SDXL "/tokenizer", "m/tokenizer"), 0);
    expect_done(sdgen("x", SMALL, "-m", "m", "-o", "x.ppm"));
    assert_int_equal(unlink("m/tokenizer_2"), 0);
    expect_refused(sdgen("x", SMALL, "-m", "m"), "no usable tokenizer in its folder tokenizer_2 (");
    assert_int_equal(unlink("m/tokenizer"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_tokenizer_json, enter, leave),
        cmocka_unit_test_setup_teardown(test_added_token, enter, leave),
        cmocka_unit_test_setup_teardown(test_no_tokenizer, enter, leave),
        cmocka_unit_test_setup_teardown(test_no_second, enter, leave),
    };
    return cmocka_run_group_tests_name("cli_tokenizer", tests, NULL, NULL);
}
