// Every operation on every backend: `test_ops [--bench] [--cpu-mask=NAME] [--pieces=N] [--scan-workgroups=N]
// [--norm-workgroups=N] [--least-part=N] [--buffers=N] [--weight-slices=0|1] [--device=N] [--disable=RUNG,...]
// [--enable=RUNG,...] [--only=OPERATION,...] [--except=OPERATION,...] [--all] [--changed] [--part=K/N] [--list]
// [BACKEND]... [FILTER]`, backends reference, cpu and vulkan (all that are there by default). The mask holds the CPU to
// an instruction set; layers that the CPU would not cut, as they are small, are cut into about N pieces; Vulkan cuts
// long scans and group norms into chunks until they have that many workgroups, and products with few of them along k
// into parts no shorter than that, keeps so many slices in shared memory, reads weights in slices or row by row, runs
// on device N as `sdgen --list-devices` counts them, and does without the rungs that are named, or with those that it
// has but would not use. Operations as ops.def names them, and the groups of cases beside them: integers, codes,
// compositions, programs, goldens; --list prints them all and runs none. FILTER runs the cases whose label contains it,
// as a failure prints it. Vulkan by software, where compiling a kernel takes a hundred times as long as running it, has
// of large grids the cases in which two choices meet that did not before (adds_pair() in tests/ops/check.h); with --all
// it has all of them, as every other device does. --changed leaves out those that Vulkan computes as with all that the
// device has, or without one of the rungs if there is more to the change: the same shaders with the same constants.
// --part runs the K-th of N parts of these.
//
// The reference is compared with layers computed in float64 elsewhere and with sums written out in
// tests/ops/compositions.c; the other backends with those and with the reference. Cases are in tests/ops/, one file per
// operation. Each case also checks that a run changes nothing beside its result, that row 0 gives the same bytes after
// another row, that no run allocates, that the memory planned is the memory used and, on a CPU, that 1, 2 and 3 threads
// give the same bytes.
#include "tests/ops/check.h"

#if SDG_HAVE_ONEDNN
#include "backend/cpu/onednn/grid.h"
#endif
#if SDG_HAVE_VULKAN
#include "backend/vulkan/vk_pipeline.h"
#endif

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static const struct {
    const char *name;
    void (*check)(struct suite *suite);
} operations[] = {
#define SDG_OP(name, upper, operands, result) {#name, check_##name},
#include "graph/ops.def"
#undef SDG_OP
    {"integers", check_integers},
    {"codes", check_codes},
    {"compositions", check_compositions},
    {"programs", check_programs},
};
enum { OPERATIONS = sizeof operations / sizeof *operations };

static const char *const all_backends[] = {"reference", "cpu", "vulkan"};
enum { BACKENDS = sizeof all_backends / sizeof *all_backends, TESTS = BACKENDS * (OPERATIONS + 1) };

struct job {
    struct suite *suite;
    char name[64];
    void (*check)(struct suite *suite);
};

static void check_all_goldens(struct suite *s)
{
    static const char shared[] = SDG_SHARED_DIR "/goldens/layers";
    static const char *const blocks[] = {"d16-L7-b1", "d24-L16-b2", "d32-L33-b1", "d48-L64-b1"};
    // a program that was carried to another machine is run in the project's folder there
    const bool carried = access(SDG_SOURCE_DIR "/tests/goldens/layers", F_OK) != 0;
    check_goldens(s, carried ? "tests/goldens/layers" : SDG_SOURCE_DIR "/tests/goldens/layers");
    check_mamba_goldens(s,
                        carried ? "tests/goldens/layers/mamba.safetensors"
                                : SDG_SOURCE_DIR "/tests/goldens/layers/mamba.safetensors");
    FILE *file = fopen(SDG_SHARED_DIR "/goldens/layers/conv.safetensors", "rb");
    if (file) {
        fclose(file);
        check_goldens(s, shared);
        for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) {
            char path[512];
            snprintf(path, sizeof path, "%s/goldens/mamba/%s.safetensors", SDG_SHARED_DIR, blocks[i]);
            check_mamba_goldens(s, path);
        }
    } else if (s->type == SDG_F32) {
        printf("skipped: the larger set of layers, not found\n");
    }
}

static void run_job(void **state)
{
    struct job *job = *state;
    struct suite *s = job->suite;
    static const enum sdg_dtype types[] = {SDG_F32, SDG_F16, SDG_BF16};
    s->cases = s->failures = s->unsupported = s->same = 0;
    memset(s->worst, 0, sizeof s->worst);
    memset(s->pairs, 0, sizeof s->pairs);
    s->turn = 0;
    for (int i = 0; i < 3; i++) {
        s->type = types[i];
        job->check(s);
    }
    if (s->cases + s->same && !s->bench)
        printf("%s: %d cases, %d failures, %d of a type it does not have, %d left out; worst NMSE f32 %.1e, f16 %.1e, "
               "bf16 %.1e\n",
               job->name, s->cases, s->failures, s->unsupported, s->same, s->worst[SDG_F32], s->worst[SDG_F16],
               s->worst[SDG_BF16]);
    assert_int_equal(s->failures, 0);
}

// Errors are expected in tests of wrong calls, so they are shown only when one case is looked at.
static void show(void *user, enum sdg_log_level level, const char *message)
{
    const struct suite *s = user;
    if (s->filter && level == SDG_LOG_ERROR)
        printf("    %s\n", message);
}

static bool open_backend(struct suite *s, const struct sdg_log *log, const char *name)
{
    bool vulkan = strcmp(name, "vulkan") == 0; // with validation layers where they are: any message of theirs fails
    struct sdg_backend_params params = {.threads = 1, .cpu_mask = s->cpu_mask};
    if (vulkan)
        params = (struct sdg_backend_params){.device = s->device, .disable = s->disable, .validation = !s->bench};
    enum sdg_result result = sdg_backend_create(log, name, &params, &s->tested);
    if (params.validation && result == SDG_ERROR_DEVICE) {
        params.validation = false;
        result = sdg_backend_create(log, name, &params, &s->tested);
        printf("%s", result == SDG_OK ? "skipped: validation layers, not found\n" : "");
    }
    if (result == SDG_OK && !vulkan)
        for (int i = 0; i < 2 && result == SDG_OK; i++)
            result =
                sdg_backend_create(log, name, &(struct sdg_backend_params){.threads = i + 2, .cpu_mask = s->cpu_mask},
                                   &s->with_threads[i]);
    if (result == SDG_OK)
        result = sdg_backend_create(log, "reference", &(struct sdg_backend_params){0}, &s->reference);
    if (result == SDG_ERROR_DEVICE || result == SDG_ERROR_UNSUPPORTED)
        printf("skipped: backend %s is not there\n", name);
    else if (result != SDG_OK)
        s->failures = 1;
    else
        printf("backend %s: %s, %s\n", name, sdg_backend_info(s->tested)->name, sdg_backend_info(s->tested)->note);
    return result == SDG_OK;
}

static void close_backend(struct suite *s)
{
    sdg_backend_destroy(&s->with_threads[0]);
    sdg_backend_destroy(&s->with_threads[1]);
    sdg_backend_destroy(&s->tested);
    for (int i = 0; i < MOST_BEFORE; i++)
        sdg_backend_destroy(&s->before[i]);
    sdg_backend_destroy(&s->reference);
}

struct options {
    const char *filter, *cpu_mask;
    const char *wrong;                            // an option that there is not, or NULL
    const char *only, *except, *disable, *enable; // names with commas between them, or NULL
    int device;                                   // vulkan: -1 = the best
    uint32_t scan_workgroups, norm_workgroups;    // 0: as the device likes
    uint32_t least_part, buffers;                 // 0: as the device likes
    int weight_slices;                            // -1: as the device likes
    int part, parts;
    bool bench, all, changed;
};

#if SDG_HAVE_VULKAN
// What tests of a device without rungs, or with other numbers, come after: the device with every rung and without each.
static void open_before(struct suite *s, const struct options *o)
{
    const bool is_single = !(s->disable & (s->disable - 1)) && !o->enable && !o->least_part && !o->buffers &&
        !o->scan_workgroups && !o->norm_workgroups && o->weight_slices < 0;
    unsigned disable[MOST_BEFORE] = {0};
    int count = 1;
    for (unsigned bit = 1; bit && bit <= s->disable && count < MOST_BEFORE; bit <<= 1)
        if (s->disable & bit && !is_single)
            disable[count++] = bit;
    for (int i = 0; i < count; i++)
        if (sdg_backend_create(s->log, "vulkan",
                               &(struct sdg_backend_params){.device = s->device, .disable = disable[i]},
                               &s->before[i]) != SDG_OK)
            s->failures++;
}
#endif

static void set_up_vulkan(struct suite *s, const struct options *o)
{
#if SDG_HAVE_VULKAN
    if (!s->tested || strcmp(s->name, "vulkan") != 0)
        return;
    if (o->changed)
        open_before(s, o);
    struct sdg_vk_caps *caps = &sdg_vk_of(s->tested)->caps;
    if (o->scan_workgroups)
        caps->scan_workgroups = o->scan_workgroups;
    if (o->norm_workgroups)
        caps->norm_workgroups = o->norm_workgroups;
    if (o->least_part)
        caps->least_part = o->least_part;
    if (o->buffers)
        caps->buffers = o->buffers;
    if (o->weight_slices >= 0)
        caps->weight_slices = o->weight_slices;
    unsigned enable = 0;
    const unsigned there = (caps->half_arithmetic && caps->storage_16bit ? SDG_FEATURE_PAIRS : 0) |
        (caps->dot_product ? SDG_FEATURE_DOT : 0);
    if (o->enable && sdg_vk_rungs(o->enable, &enable) && (enable & ~there))
        printf("skipped: %s, not all of it is there\n", o->enable);
    sdg_vk_of(s->tested)->features |= enable & there;
    s->pairwise = caps->software && !o->all && !o->bench;
#else
    (void)s;
    (void)o;
#endif
}

static bool rungs_of(const char *names, unsigned *mask)
{
#if SDG_HAVE_VULKAN
    return sdg_vk_rungs(names, mask);
#else
    (void)names;
    *mask = 0;
    return true;
#endif
}

static bool is_listed(const char *names, const char *name)
{
    const size_t length = strlen(name);
    for (const char *at = names; at && *at; at += strcspn(at, ","), at += *at == ',')
        if (strcspn(at, ",") == length && strncmp(at, name, length) == 0)
            return true;
    return false;
}

// Returns how many.
static int add_jobs(struct suite *s, const struct options *o, struct job *jobs, struct CMUnitTest *tests)
{
    int count = 0;
    for (int i = 0; i <= OPERATIONS; i++) {
        const char *what = i < OPERATIONS ? operations[i].name : "goldens";
        if ((o->only && !is_listed(o->only, what)) || is_listed(o->except, what))
            continue;
        struct job *job = &jobs[count];
        *job = (struct job){.suite = s, .check = i < OPERATIONS ? operations[i].check : check_all_goldens};
        snprintf(job->name, sizeof job->name, "%s %s", s->name, what);
        tests[count++] = (struct CMUnitTest){.name = job->name, .test_func = run_job, .initial_state = job};
    }
    return count;
}

// False: no operation's name, of which nothing would be run.
static bool are_names(const char *names)
{
    for (const char *at = names; at && *at; at += strcspn(at, ","), at += *at == ',') {
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(at, ","), at);
        bool known = strcmp(name, "goldens") == 0;
        for (int i = 0; i < OPERATIONS; i++)
            known = known || strcmp(name, operations[i].name) == 0;
        if (!known) {
            printf("%s: no operation or group of cases\n", name);
            return false;
        }
    }
    return true;
}

static int print_names(void)
{
    for (int i = 0; i < OPERATIONS; i++)
        printf("%s\n", operations[i].name);
    printf("goldens\n");
    return 0;
}

static bool is_backend(const char *text)
{
    for (int i = 0; i < BACKENDS; i++)
        if (strcmp(text, all_backends[i]) == 0)
            return true;
    return false;
}

static void read_options(int argc, char **argv, struct options *o, bool *chosen)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--bench") == 0)
            o->bench = true;
        else if (strcmp(argv[i], "--all") == 0)
            o->all = true;
        else if (strcmp(argv[i], "--changed") == 0)
            o->changed = true;
        else if (strncmp(argv[i], "--cpu-mask=", 11) == 0)
            o->cpu_mask = argv[i] + 11;
        else if (strncmp(argv[i], "--only=", 7) == 0)
            o->only = argv[i] + 7;
        else if (strncmp(argv[i], "--except=", 9) == 0)
            o->except = argv[i] + 9;
#if SDG_HAVE_ONEDNN
        else if (strncmp(argv[i], "--pieces=", 9) == 0)
            sdg_test_pieces(strtol(argv[i] + 9, NULL, 10));
#endif
        else if (strncmp(argv[i], "--scan-workgroups=", 18) == 0)
            o->scan_workgroups = (uint32_t)strtoul(argv[i] + 18, NULL, 10);
        else if (strncmp(argv[i], "--norm-workgroups=", 18) == 0)
            o->norm_workgroups = (uint32_t)strtoul(argv[i] + 18, NULL, 10);
        else if (strncmp(argv[i], "--least-part=", 13) == 0)
            o->least_part = (uint32_t)strtoul(argv[i] + 13, NULL, 10);
        else if (strncmp(argv[i], "--buffers=", 10) == 0)
            o->buffers = (uint32_t)strtoul(argv[i] + 10, NULL, 10);
        else if (strncmp(argv[i], "--weight-slices=", 16) == 0)
            o->weight_slices = atoi(argv[i] + 16) != 0;
        else if (strncmp(argv[i], "--device=", 9) == 0)
            o->device = (int)strtol(argv[i] + 9, NULL, 10);
        else if (strncmp(argv[i], "--disable=", 10) == 0)
            o->disable = argv[i] + 10;
        else if (strncmp(argv[i], "--enable=", 9) == 0)
            o->enable = argv[i] + 9;
        else if (sscanf(argv[i], "--part=%d/%d", &o->part, &o->parts) == 2)
            o->part--;
        else if (strncmp(argv[i], "--", 2) == 0)
            o->wrong = argv[i];
        else if (!is_backend(argv[i]))
            o->filter = argv[i];
        for (int k = 0; k < BACKENDS; k++)
            chosen[k] = chosen[k] || strcmp(argv[i], all_backends[k]) == 0;
    }
}

int main(int argc, char **argv)
{
    static struct suite suites[BACKENDS];
    static struct sdg_log logs[BACKENDS];
    static struct job jobs[TESTS];
    static struct CMUnitTest tests[TESTS];
    struct options o = {.device = -1, .weight_slices = -1};
    bool chosen[BACKENDS] = {false}, any = false;
    if (argc == 2 && strcmp(argv[1], "--list") == 0)
        return print_names();
    read_options(argc, argv, &o, chosen);
    if (o.parts && (o.part < 0 || o.part >= o.parts))
        o.wrong = "--part";
    if (o.wrong) {
        printf("%s: no such option, or out of range\n", o.wrong);
        return 1;
    }
    if (!are_names(o.only) || !are_names(o.except))
        return 1;
    unsigned disable = 0, enable = 0;
    if ((o.disable && !rungs_of(o.disable, &disable)) || (o.enable && !rungs_of(o.enable, &enable))) {
        printf("%s %s: no rungs\n", o.disable ? o.disable : "", o.enable ? o.enable : "");
        return 1;
    }
    for (int k = 0; k < BACKENDS; k++)
        any = any || chosen[k];
    int count = 0, failed = 0, matched = 0;
    for (int k = 0; k < BACKENDS; k++) {
        struct suite *s = &suites[k];
        s->log = &logs[k];
        s->name = all_backends[k];
        s->filter = o.filter;
        s->cpu_mask = o.cpu_mask;
        s->bench = o.bench;
        s->device = o.device;
        s->disable = disable;
        s->part = o.part;
        s->parts = o.parts;
        logs[k] = (struct sdg_log){.fn = show, .user = s, .level = SDG_LOG_ERROR};
        if ((!any || chosen[k]) && open_backend(s, &logs[k], all_backends[k]))
            count += add_jobs(s, &o, jobs + count, tests + count);
        set_up_vulkan(s, &o);
        failed += s->failures;
    }
    if (count)
        failed += _cmocka_run_group_tests("ops", tests, (size_t)count, NULL, NULL);
    for (int k = 0; k < BACKENDS; k++) {
        matched += suites[k].matched;
        close_backend(&suites[k]);
    }
    if (count && o.filter && !matched) {
        printf("%s: no case has that in its label\n", o.filter);
        return 1;
    }
    return failed ? 1 : 0;
}
