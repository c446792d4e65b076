// What sdg_quantize refuses, and that nothing is left behind by a failure.
#include "tests/support/quantizing.h"

static void refused(const struct sdg_quantize_params *params, struct outcome *o, enum sdg_result want,
                    const char *words)
{
    int before = temp_count(temp_root);
    bool existed = sdg_path_kind(params->output) != SDG_PATH_MISSING;
    enum sdg_result result = sdg_quantize(params);
    if (result != want || o->log.errors != 1 || !strstr(o->log.last, words))
        fail_msg("result %d instead of %d, %d errors, '%s' should have '%s'", (int)result, (int)want, o->log.errors,
                 o->log.last, words);
    assert_int_equal(o->reports, 0);
    assert_int_equal(temp_count(temp_root), before);
    assert_true(existed == (sdg_path_kind(params->output) != SDG_PATH_MISSING));
}

static void statistics_that_do_not_fit(void **state)
{
    (void)state;
    struct outcome o;
    char fingerprint[17], *out = output_path("never"), *bad = output_path("bad.safetensors");
    const struct sdg_site *site = &network.sites.sites[5];
    fingerprint_of(base, fingerprint);
    struct sdg_quantize_params params;
    write_statistics(bad, "0123456789abcdef", NULL, NULL);
    params = params_for(out, "w8a8-tdq", &o);
    params.statistics = bad;
    refused(&params, &o, SDG_ERROR_INPUT, "is of another model");
    write_statistics(bad, fingerprint, site->name, NULL);
    params = params_for(out, "w8a8-tdq", &o);
    params.statistics = bad;
    refused(&params, &o, SDG_ERROR_INPUT, site->name);
    write_statistics(bad, fingerprint, NULL, site->name);
    params = params_for(out, "w8a8-tdq", &o);
    params.statistics = bad;
    refused(&params, &o, SDG_ERROR_INPUT, "channels there");
    params = params_for(out, "w8a8-table", &o);
    params.statistics = NULL;
    refused(&params, &o, SDG_ERROR_USAGE, "statistics");
    params = params_for(out, "w8a8-static", &o);
    params.statistics = temp_path("no-such-file");
    refused(&params, &o, SDG_ERROR_INPUT, "no-such-file");
    free(out), free(bad);
}

static void parameters_that_are_wrong(void **state)
{
    (void)state;
    struct outcome o;
    char *out = output_path("never");
    static const struct {
        const char *scheme, *intervals, *skip;
        int group;
        const char *words;
    } cases[] = {
        {"w9a8-tdq", NULL, NULL, 0, "w9a8-tdq"},
        {"w16a8-static", NULL, NULL, 0, "simulated"},
        {NULL, NULL, NULL, 0, "no quantization scheme"},
        {"w8a9-static", NULL, NULL, 0, "w8a9"},
        {"w8a16", "tdq", NULL, 0, "intervals"},
        {"w8a8-tdq", "sometimes", NULL, 0, "sometimes"},
        {"w8a8-tdq", NULL, "a(b", 0, "'a(b' is no regular expression"},
        {"w8a8-tdq", NULL, "", 0, "empty expression"},
        {"w8a8-tdq", NULL, ".", 0, "nothing is left"},
        {"w8a8-tdq", NULL, NULL, 64, "groups"},
        {"w4a16", NULL, NULL, 20, "multiple of 16"},
        {"w4a16", NULL, NULL, -16, "multiple of 16"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sdg_quantize_params params = params_for(out, cases[i].scheme, &o);
        params.intervals = cases[i].intervals;
        params.skip = &cases[i].skip;
        params.skip_count = cases[i].skip != NULL;
        params.group = cases[i].group;
        refused(&params, &o, SDG_ERROR_USAGE, cases[i].words);
    }
    struct sdg_quantize_params params = params_for(out, "w8a8-static", &o);
    params.threads = -3;
    refused(&params, &o, SDG_ERROR_USAGE, "threads");
    params = params_for(out, "w8a8-static", &o);
    params.seed = UINT64_MAX;
    refused(&params, &o, SDG_ERROR_USAGE, "seed");
    params = params_for(out, "w8a8-static", &o);
    params.model = statistics_path;
    refused(&params, &o, SDG_ERROR_UNSUPPORTED, "single file");
    o = (struct outcome){0};
    params.model = SDG_SOURCE_DIR "/README.md";
    refused(&params, &o, SDG_ERROR_INPUT, "text file");
    free(out);
}

static void scheme_files_that_are_wrong(void **state)
{
    (void)state;
    struct outcome o;
    char *out = output_path("never");
    static const struct {
        const char *text, *words;
        enum sdg_result result;
    } cases[] = {
        {"", "not valid JSON", SDG_ERROR_INPUT},
        {"[]", "no JSON object", SDG_ERROR_INPUT},
        {"{\"scheme\":8}", "scheme", SDG_ERROR_INPUT},
        {"{\"scheme\":\"w8a8\"}", "w8a8", SDG_ERROR_USAGE},
        {"{}", "no quantization scheme", SDG_ERROR_USAGE},
        {"{\"scheme\":\"w8a8-tdq\",\"sikp\":[]}", "sikp", SDG_ERROR_INPUT},
        {"{\"scheme\":\"w8a8-tdq\",\"skip\":\"a\"}", "array", SDG_ERROR_INPUT},
        {"{\"scheme\":\"w8a8-tdq\",\"skip\":[1]}", "skip", SDG_ERROR_INPUT},
        {"{\"scheme\":\"w8a8-tdq\",\"skip\":[\"[\"]}", "regular expression", SDG_ERROR_INPUT},
        {"{\"scheme\":\"w4a16\",\"group\":1.5}", "group", SDG_ERROR_INPUT},
        {"{\"scheme\":\"w4a16\",\"group\":-1}", "group", SDG_ERROR_INPUT},
        {"{\"scheme\":\"w8a8-tdq\",\"overrides\":[7]}", "overrides", SDG_ERROR_INPUT},
        {"{\"scheme\":\"w8a8-tdq\",\"overrides\":[{\"match\":\"a\",\"weight_bits\":5}]}", "weight_bits",
         SDG_ERROR_INPUT},
        {"{\"scheme\":\"w8a8-tdq\",\"overrides\":[{\"match\":\"a\"}]}", "weight_bits", SDG_ERROR_INPUT},
        {"{\"scheme\":\"w8a8-tdq\",\"overrides\":[{\"weight_bits\":8}]}", "empty expression", SDG_ERROR_INPUT},
        {"{\"scheme\":\"w8a8-tdq\",\"overrides\":[{\"match\":\"a\",\"weight_bits\":8,\"group\":1}]}", "group",
         SDG_ERROR_INPUT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sdg_quantize_params params = params_for(out, NULL, &o);
        params.scheme_file = temp_text("wrong.json", cases[i].text);
        refused(&params, &o, cases[i].result, cases[i].words);
    }
    free(out);
}

static void outputs_that_exist(void **state)
{
    (void)state;
    struct outcome o;
    char *out = output_path("existing"), *link = output_path("link");
    struct sdg_quantize_params params = params_for(out, "w8a8-static", &o);
    quantize(&params, &o);
    params = params_for(out, "w4a8-static", &o);
    refused(&params, &o, SDG_ERROR_OUTPUT, "exists already: choose another name, or replace it with --force");
    check_weights(out, 8, 0); // as it was
    params = params_for(out, "w4a8-static", &o);
    params.force = true;
    quantize(&params, &o);
    check_weights(out, 4, 0);
    temp_text("precious/thesis.txt", "years of work");
    char *foreign = output_path("precious");
    params = params_for(foreign, "w8a8-static", &o);
    params.force = true;
    refused(&params, &o, SDG_ERROR_OUTPUT, "is not replaced");
    params.output = base;
    o.log.errors = 0;
    refused(&params, &o, SDG_ERROR_OUTPUT, "is not replaced");
    assert_int_equal(symlink("nowhere", link), 0); // a name that is taken although there is nothing behind it
    params = params_for(link, "w8a8-static", &o);
    refused(&params, &o, SDG_ERROR_OUTPUT, "exists already");
    remove(link);
    char *deep = output_path("no/such/folder");
    params = params_for(deep, "w8a8-static", &o);
    refused(&params, &o, SDG_ERROR_OUTPUT, "cannot be created");
    params = params_for(temp_path("again"), "w8a8-static", &o);
    params.model = out;
    refused(&params, &o, SDG_ERROR_INPUT, "quantized already");
    free(out), free(link), free(foreign), free(deep);
}

static bool stop_at_third(void *user, const struct sdg_progress *progress)
{
    return ++*(int *)user < 3 || !progress;
}

static bool count_stages(void *user, const struct sdg_progress *progress)
{
    int *last = user;
    int stage = !strcmp(progress->stage, "weights");
    assert_true(stage || !strcmp(progress->stage, "intervals"));
    assert_true(progress->step == last[stage] + 1 && progress->step <= progress->steps && progress->seconds_left >= 0);
    last[stage] = progress->step;
    last[2 + stage] = progress->steps;
    return true;
}

static void cancelling(void **state)
{
    (void)state;
    struct outcome o;
    char *out = output_path("cancelled");
    int calls = 0, last[4] = {0};
    struct sdg_quantize_params params = params_for(out, "w8a8-static", &o);
    params.progress = stop_at_third;
    params.progress_user = &calls;
    refused(&params, &o, SDG_ERROR_CANCELLED, "cancelled");
    assert_int_equal(calls, 3);
    params = params_for(out, "w8a8-static", &o);
    params.progress = count_stages;
    params.progress_user = last;
    quantize(&params, &o);
    assert_true(last[0] == last[2] && last[1] == last[3] && last[1] == (int)o.modules);
    free(out);
}

// Every failed allocation is one message and leaves nothing.
static void out_of_memory(void **state)
{
    (void)state;
    struct outcome o;
    char *out = output_path("no-memory");
    size_t failures = 0;
    int before = temp_count(temp_root);
    for (size_t n = 1;; n += 1 + n / 8) {
        struct sdg_quantize_params params = params_for(out, "w8a8-static", &o);
        params.threads = 1;
        sdg_test_fail_allocation(n);
        enum sdg_result result = sdg_quantize(&params);
        sdg_test_fail_allocation(0);
        if (result == SDG_OK)
            break;
        failures++;
        assert_int_equal(result, SDG_ERROR_MEMORY);
        assert_int_equal(o.log.errors, 1);
        assert_int_equal(temp_count(temp_root), before);
    }
    assert_true(failures > 20);
    print_message("%zu failed allocations\n", failures);
    free(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(statistics_that_do_not_fit),
        cmocka_unit_test(parameters_that_are_wrong),
        cmocka_unit_test(scheme_files_that_are_wrong),
        cmocka_unit_test(outputs_that_exist),
        cmocka_unit_test(cancelling),
        cmocka_unit_test(out_of_memory),
    };
    prepare_model_tests();
    return finish_model_tests(cmocka_run_group_tests(tests, set_up, tear_down));
}
