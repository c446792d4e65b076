// Output files of the programs: what they are called, and that they appear complete or not at all.
#include "run.h"

#include "apps/common/output.h"

static char folder[64];
static struct app_ui ui = {.program = "test", .level = SDG_LOG_ERROR};

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

static void test_output(void **state)
{
    (void)state;
    struct sdg_output *output;
    char data[16];
    // Discarded: nothing, and what was there stays.
    write_whole("a.png", "old", 3);
    assert_int_equal(app_output_open(&ui, "a.png", &output), SDG_OK);
    fputs("new", sdg_output_file(output));
    assert_int_equal(read_whole("a.png", data, sizeof data), 3);
    assert_string_equal(data, "old"); // not before it is complete
    sdg_output_discard(&output);
    assert_int_equal(count_files(), 1);
    assert_int_equal(read_whole("a.png", data, sizeof data), 3);
    assert_string_equal(data, "old");
    assert_int_equal(app_output_open(&ui, "a.png", &output), SDG_OK);
    fputs("newer", sdg_output_file(output));
    assert_int_equal(sdg_output_commit(&output), SDG_OK);
    assert_int_equal(count_files(), 1);
    assert_int_equal(read_whole("a.png", data, sizeof data), 5);
    assert_int_equal(app_output_check(&ui, "b.png"), SDG_OK);
    assert_int_equal(count_files(), 1);
    assert_int_equal(app_output_check(&ui, "absent/b.png"), SDG_ERROR_OUTPUT);
    assert_int_equal(app_output_check(&ui, "."), SDG_ERROR_OUTPUT);
    // One file by two names, there or not.
    assert_int_equal(app_output_check_apart(&ui, "o", "a.png", "p", "./a.png"), SDG_ERROR_USAGE);
    assert_int_equal(app_output_check_apart(&ui, "o", "b.png", "p", ".//b.png"), SDG_ERROR_USAGE);
    assert_int_equal(app_output_check_apart(&ui, "o", "a.png", "p", "b.png"), SDG_OK);
    assert_int_equal(app_output_check_apart(&ui, "o", "b.png", "p", "c.png"), SDG_OK);
    assert_int_equal(app_output_check_apart(&ui, "o", "absent/b.png", "p", "b.png"), SDG_OK);
    assert_int_equal(app_output_check_apart(&ui, "o", "/dev/null", "p", "/dev/null"), SDG_OK);
    assert_int_equal(app_output_check_apart(&ui, "o", "-", "p", "-"), SDG_OK);
    assert_int_equal(app_output_check_apart(&ui, "o", NULL, "p", "a.png"), SDG_OK);
    assert_int_equal(symlink("a.png", "link.png"), 0);
    assert_int_equal(app_output_check_apart(&ui, "o", "link.png", "p", "a.png"), SDG_ERROR_USAGE);
    assert_int_equal(unlink("link.png"), 0);

    static const struct {
        const char *pattern;
        int64_t number, count;
        const char *name;
    } names[] = {
        {"a.png", 1, 1, "a.png"},
        {"a.png", 1, 2, "a_1.png"},
        {"a.png", 12, 12, "a_12.png"},
        {"a%d.png", 0, 1, "a0.png"},
        {"a%d.png", 10, 12, "a10.png"},
        {"%03d.png", 7, 12, "007.png"},
        {"%3d.png", 7, 12, "  7.png"},
        {"d.e/a", 2, 2, "d.e/a_2"},
        {".png", 1, 2, ".png_1"},
        {"d/.png", 1, 2, "d/.png_1"},
        // other percent signs are themselves, %% is one before a d, folders are as they are
        {"50%.png", 1, 1, "50%.png"},
        {"50%.png", 1, 2, "50%_1.png"},
        {"50%%.png", 1, 1, "50%.png"},
        {"50%%d.png", 3, 1, "50%d.png"},
        {"%%%d%%.png", 3, 1, "%3%.png"},
        {"100% done/x.png", 1, 1, "100% done/x.png"},
        {"100%done/%d.png", 7, 2, "100%done/7.png"},
        {"%d/x.png", 7, 2, "%d/x_7.png"},
        {"%s%n%5.png", 1, 1, "%s%n%5.png"},
        {"%020d.png", 1, 1, "00000000000000000001.png"},
        {"%", 1, 1, "%"},
        {"%5", 1, 1, "%5"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *name = NULL;
        assert_int_equal(app_output_name(&ui, names[i].pattern, names[i].number, names[i].count, &name), SDG_OK);
        assert_string_equal(name, names[i].name);
        free(name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_output, enter, leave),
    };
    return cmocka_run_group_tests_name("cli_files", tests, NULL, NULL);
}
