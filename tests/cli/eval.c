// sdeval: tables, JSON and page of a small evaluation; the page is well-formed and asks nothing of anybody; mistakes
// are told.
#include "run.h"

#include <math.h>

#include <cjson/cJSON.h>

#include "apps/common/report.h"
#include "apps/common/output.h"

static char folder[64];
#define MODEL SDG_SOURCE_DIR "/models/emoji-128"

static int enter(void **state)
{
    (void)state;
    folder_enter(folder, sizeof folder);
    setenv("SDGEN_MODEL", MODEL, 1);
    return 0;
}

static int leave(void **state)
{
    (void)state;
    folder_leave(folder);
    return 0;
}

#define sdeval(...) run_with((char *const[]){SDEVAL_PROGRAM, __VA_ARGS__, NULL}, NULL)
#define SMALL "--backend", "cpu", "-t", "1", "-W", "64", "-H", "64", "--steps", "2", "--prompts", "prompts.txt"

// ---- pages ----

// Reads a page as XML: elements closed in order, attributes quoted and not twice, entities known. Calls fail_msg with
// where it is not.
struct page {
    const char *text, *at;
    char open[64][32];
    int depth, elements;
};

static void wrong(const struct page *p, const char *what)
{
    fail_msg("%s at byte %td: %.60s", what, p->at - p->text, p->at);
}

static void take_name(struct page *p, char name[32])
{
    size_t n = strcspn(p->at, " />=\n");
    if (!n || n >= 32)
        wrong(p, "no name");
    memcpy(name, p->at, n);
    name[n] = 0;
    p->at += n;
}

static void take_entity(struct page *p)
{
    static const char *const known[] = {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;", "&#10;"};
    for (int i = 0; i < 6; i++)
        if (!strncmp(p->at, known[i], strlen(known[i]))) {
            p->at += strlen(known[i]);
            return;
        }
    wrong(p, "unknown entity");
}

static void take_attribute(struct page *p)
{
    char name[32];
    take_name(p, name);
    if (strncmp(p->at, "=\"", 2))
        wrong(p, "no quoted value");
    p->at += 2;
    bool refers = !strcmp(name, "src") || !strcmp(name, "href") || !strcmp(name, "xlink:href");
    if ((refers && strncmp(p->at, "data:image/png;base64,iVBORw0KGgo", 33)) || !strncmp(name, "on", 2))
        wrong(p, "a reference or a script");
    while (*p->at && *p->at != '"') {
        if (*p->at == '<')
            wrong(p, "'<' in a value");
        if (*p->at == '&')
            take_entity(p);
        else
            p->at++;
    }
    p->at += *p->at == '"';
}

static void take_tag(struct page *p)
{
    char name[32];
    if (p->at[1] == '/') {
        p->at += 2;
        take_name(p, name);
        if (!p->depth || strcmp(p->open[p->depth - 1], name) || *p->at != '>')
            wrong(p, "closes what is not open");
        p->depth--;
        p->at++;
        return;
    }
    p->at++;
    take_name(p, name);
    static const char *const forbidden[] = {"script", "link", "iframe", "object", "embed", "base", "use", "image"};
    for (int i = 0; i < 8; i++)
        if (!strcmp(name, forbidden[i]))
            wrong(p, "an element that loads or runs something");
    p->elements++;
    while (*p->at == ' ') {
        p->at++;
        take_attribute(p);
    }
    if (!strncmp(p->at, "/>", 2)) {
        p->at += 2;
        return;
    }
    if (*p->at != '>' || p->depth == 64)
        wrong(p, "a tag without end");
    p->at++;
    strcpy(p->open[p->depth++], name);
}

// Words that a number without a value would be written as, in what is not picture data.
static void check_words(const char *text)
{
    static const char marker[] = "base64,";
    char *copy = strdup(text), *to = copy;
    assert_non_null(copy);
    while (*text) {
        if (!strncmp(text, marker, sizeof marker - 1))
            text += strcspn(text, "\"");
        *to++ = *text++;
    }
    *to = 0;
    static const char *const words[] = {"nan", "inf", "url(", "@import", "://"};
    for (int i = 0; i < 5; i++)
        if (strstr(copy, words[i]))
            fail_msg("'%s': %.60s", words[i], strstr(copy, words[i]));
    free(copy);
}

static int check_page(const char *text)
{
    static const char doctype[] = "<!DOCTYPE html>\n";
    struct page p = {.text = text, .at = text + strlen(doctype)};
    assert_memory_equal(text, doctype, strlen(doctype));
    while (*p.at)
        if (*p.at == '<')
            take_tag(&p);
        else if (*p.at == '&')
            take_entity(&p);
        else
            p.at++;
    if (p.depth)
        wrong(&p, "an element stays open");
    check_words(text);
    return p.elements;
}

static char *read_file(const char *path)
{
    size_t room = 8 << 20;
    char *text = malloc(room);
    assert_non_null(text);
    size_t size = read_whole(path, text, room);
    assert_true(size > 0 && size < room - 1);
    return text;
}

// ---- the program ----

static const cJSON *get(const cJSON *object, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    if (!item)
        fail_msg("there is no '%s'", name);
    return item;
}

static void check_json(const char *path)
{
    char *text = read_file(path);
    const char *end;
    cJSON *json = cJSON_ParseWithOpts(text, &end, true);
    assert_non_null(json);
    const cJSON *settings = get(json, "settings"), *models = get(json, "models");
    assert_int_equal(get(settings, "steps")->valueint, 2);
    assert_int_equal(get(settings, "runs")->valueint, 2);
    assert_string_equal(cJSON_GetArrayItem(get(settings, "prompts"), 0)->valuestring,
                        "a <b>\"red\" & 'green'</b> apple\\");
    assert_int_equal(cJSON_GetArraySize(models), 4);
    const cJSON *slow = cJSON_GetArrayItem(models, 3); // rounded elsewhere, and no further away than that
    assert_string_equal(get(slow, "name")->valuestring, "emoji-128 reference");
    assert_true(get(slow, "output_sqnr")->valuedouble > 90 && get(slow, "latent_sqnr")->valuedouble > 80);
    const cJSON *same = cJSON_GetArrayItem(models, 1), *other = cJSON_GetArrayItem(models, 2);
    assert_string_equal(get(same, "name")->valuestring, "<same>");
    assert_true(cJSON_IsNull(get(same, "psnr")) && cJSON_IsNull(get(same, "latent_sqnr"))); // infinite
    assert_true(get(same, "ssim")->valuedouble == 1 && get(same, "latent_mse")->valuedouble == 0);
    assert_string_equal(get(other, "scheme")->valuestring, "bf16");
    assert_true(get(other, "psnr")->valuedouble > 20 && get(other, "psnr")->valuedouble < 90);
    assert_int_equal(cJSON_GetArraySize(get(other, "latent_sqnr_by_step")), 2);
    assert_true(cJSON_GetArrayItem(get(other, "latent_sqnr_by_step"), 1)->valuedouble ==
                get(other, "latent_sqnr")->valuedouble);
    assert_int_equal(cJSON_GetArraySize(get(other, "psnr_by_run")), 2);
    assert_int_equal(get(settings, "output_runs")->valueint, 2);
    const cJSON *outputs = get(other, "output_sqnr_by_call");
    assert_int_equal(cJSON_GetArraySize(outputs), 2);
    assert_true(fabs(cJSON_GetArrayItem(outputs, 0)->valuedouble + cJSON_GetArrayItem(outputs, 1)->valuedouble -
                     2 * get(other, "output_sqnr")->valuedouble) < 1e-6);
    assert_true(get(other, "output_sqnr")->valuedouble > 20 && get(other, "output_sqnr")->valuedouble < 90);
    assert_true(cJSON_IsNull(get(same, "output_sqnr")));
    assert_true(get(other, "seconds_step")->valuedouble > 0 && get(other, "unet_bytes")->valuedouble > 1e6);
    cJSON_Delete(json);
    free(text);
}

static void test_files(void **state)
{
    (void)state;
    static const char prompts[] = "a <b>\"red\" & 'green'</b> apple\\\n\ncat face\r\nnever drawn\n";
    write_whole("prompts.txt", prompts, sizeof prompts - 1);
    const struct run *run = sdeval(SMALL, "--limit", "2", "-M", MODEL ",name=<same>", MODEL ",type=bf16",
                                   MODEL ",backend=reference", "--json", "out.json", "--report", "out.html");
    if (run->status)
        fail_msg("exit status %d: %s", run->status, run->err);
    assert_non_null(strstr(
        run->out, "<same>              f32                 inf       inf      inf          0      inf   1.0000"));
    assert_non_null(strstr(run->out, "emoji-128 bf16"));
    assert_non_null(strstr(run->out, "output dB at t ="));
    assert_int_equal(count_files(), 3);
    check_json("out.json");
    char *page = read_file("out.html");
    assert_true(check_page(page) > 60);
    assert_non_null(strstr(page, "<h2>Outputs over the timestep</h2>"));
    assert_non_null(strstr(page, "a &lt;b&gt;&quot;red&quot; &amp; &#39;green&#39;&lt;/b&gt; apple\\"));
    int pictures = 0;
    for (const char *at = page; (at = strstr(at, "<img ")); at++)
        pictures++;
    assert_int_equal(pictures, 2 + 2 * 6); // each model's with the difference beside it
    assert_true(strstr(page, "<img ") < strstr(page, "<table>"));
    free(page);
    run = sdeval(SMALL, "--limit", "1", "-q", "-M", MODEL, "--json", "-");
    assert_int_equal(run->status, 0);
    assert_int_equal(run->out[0], '{'); // and nothing else
    cJSON *json = cJSON_Parse(run->out);
    assert_non_null(json);
    cJSON_Delete(json);
    unlink("out.json"), unlink("out.html"), unlink("prompts.txt");
}

static void expect_error(const struct run *run, int status, const char *word)
{
    const char *error = strstr(run->err, "error: ");
    if (run->status != status || !error || strstr(error + 1, "error: ") || !strstr(error, word))
        fail_msg("expected exit status %d and one error with '%s', got %d and: %s", status, word, run->status,
                 run->err);
}

static void test_mistakes(void **state)
{
    (void)state;
    write_whole("prompts.txt", "cat\n", 4);
    write_whole("empty.txt", "\n\r\n", 3);
    expect_error(sdeval("--prompts", "prompts.txt"), 1, "-M");
    expect_error(sdeval("-M", MODEL), 1, "--prompts");
    expect_error(sdeval("-M", MODEL, "--prompts", "empty.txt"), 2, "no prompt");
    expect_error(sdeval("-M", MODEL, "--prompts", "missing.txt"), 2, "missing.txt");
    expect_error(sdeval("-M", MODEL ",colour=red", "--prompts", "prompts.txt"), 1, "colour=red");
    expect_error(sdeval("-M", "nowhere", "--prompts", "prompts.txt"), 2, "nowhere");
    expect_error(sdeval("-M", MODEL, "--prompts", "prompts.txt", "--stats", "prompts.txt"), 2, "prompts.txt");
    expect_error(sdeval("-M", MODEL, "--prompts", "prompts.txt", "--report", "no/such/folder.html"), 2, "no/such");
    static const struct {
        const char *text, *word;
        size_t size;
        int status;
    } files[] = {
        {"a\r\n\r\ncaf\xe9\r\n", "line 3 is not UTF-8", 11, 2},
        {"a\0b", "zero byte", 3, 2},
        {"\xff\xfe"
         "a\0",
         "UTF-16", 4, 2},
        {" \t\n", "no prompt", 3, 2},
        {"a\rb\n<lora:x:1>", "line 3 has '<lora:x:1>'", 14, 1},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        write_whole("empty.txt", files[i].text, files[i].size);
        expect_error(sdeval("-M", MODEL, "--prompts", "empty.txt"), files[i].status, files[i].word);
    }
    assert_int_equal(count_files(), 2);
    unlink("prompts.txt"), unlink("empty.txt");
}

// ---- drawings with what numbers can be ----

static void test_drawings(void **state)
{
    (void)state;
    struct app_ui ui = app_ui_create("test");
    struct sdg_output *output;
    assert_int_equal(app_output_open(&ui, "page.html", &output), SDG_OK);
    static const double x[] = {0, 1, 2, 3, 4}, gaps[] = {1, INFINITY, -3, NAN, 2},
                        none[] = {INFINITY, INFINITY, INFINITY, INFINITY, INFINITY},
                        map[] = {1, INFINITY, NAN, -INFINITY};
    const struct report_line lines[] = {{x, gaps, 5, report_color(0), report_dash(0), "a"},
                                        {x, none, 5, report_color(11), report_dash(11), "b < c"},
                                        {x, x, 0, report_color(1), "", NULL}};
    const struct report_chart empty = {.width = 300, .height = 200, .x_max = 0},
                              one = {.width = 300,
                                     .height = 200,
                                     .x_max = 4,
                                     .x_label = "<x>",
                                     .x_name = "x",
                                     .unit = "dB",
                                     .lines = lines,
                                     .line_count = 3};
    const char *const names[] = {"a & b", "c"};
    const struct report_map cells = {.rows = 2,
                                     .columns = 2,
                                     .values = map,
                                     .row_names = names,
                                     .row_titles = names,
                                     .low = 0,
                                     .high = 1,
                                     .cell_width = 8,
                                     .cell_height = 8};
    report_begin(sdg_output_file(output), "<title> & \"more\"");
    report_chart(sdg_output_file(output), &empty);
    report_chart(sdg_output_file(output), &one);
    report_legend(sdg_output_file(output), names, 2);
    report_map(sdg_output_file(output), &cells);
    report_map_legend(sdg_output_file(output), 0, 1, "<dB>");
    report_end(sdg_output_file(output));
    assert_int_equal(sdg_output_commit(&output), SDG_OK);
    char *page = read_file("page.html");
    check_page(page);
    assert_non_null(strstr(page, "&lt;title&gt; &amp; &quot;more&quot;"));
    assert_non_null(strstr(page, "<title>x 2&#10;a: -3 dB</title>"));
    assert_non_null(strstr(page, "<title>x 3</title>")); // no number there
    free(page);
    unlink("page.html");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_files, enter, leave),
        cmocka_unit_test_setup_teardown(test_mistakes, enter, leave),
        cmocka_unit_test_setup_teardown(test_drawings, enter, leave),
    };
    return cmocka_run_group_tests_name("sdeval", tests, NULL, NULL);
}
