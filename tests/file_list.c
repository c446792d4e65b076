// Lists of files as trees of folders: their names, what is found by which path, and models that are opened out of them,
// wherever the bytes are, and however odd what the list says is.
#include "base/platform.h"
#include "formats/file_list.h"
#include "tests/model_files.h"
#include "tests/mutate.h"
#include "tests/support/packed.h"

static struct packed packed = {.fd = -1};

// ---- names ----

static struct sdg_file named(const char *name)
{
    return (struct sdg_file){.name = name, .kind = SDG_FILE_KEPT, .data = "x", .length = 1};
}

static void expect_list(const char *const *names, size_t count, enum sdg_result want, const char *words)
{
    struct temp_log t;
    struct sdg_file list[8];
    struct sdg_files files;
    for (size_t i = 0; i < count; i++)
        list[i] = named(names[i]);
    const enum sdg_result result = sdg_files_init(temp_log(&t), list, count, false, &files);
    if (result != want || t.errors != (want != SDG_OK) || (want != SDG_OK && !strstr(t.last, words)))
        fail_msg("%s: result %d, %d errors, '%s' should have '%s'", names[0] ? names[0] : "NULL", (int)result, t.errors,
                 t.last, words);
    sdg_files_clear(&files);
}

static void test_names(void **state)
{
    (void)state;
    static char longest[SDG_FILE_NAME_BYTES + 1];
    memset(longest, 'a', SDG_FILE_NAME_BYTES - 1);
    expect_list((const char *[]){longest}, 1, SDG_OK, "");
    longest[SDG_FILE_NAME_BYTES - 1] = 'a';
    const struct {
        const char *name, *words;
    } bad[] = {
        {NULL, "its name is NULL"},        {"", "is empty"},
        {"/", "begins or ends with a /"},  {"/a", "begins or ends with a /"},
        {"a/", "begins or ends with a /"}, {"a//b", "or has two together"},
        {".", "has a part . or .."},       {"..", "has a part . or .."},
        {"../a", "has a part . or .."},    {"a/..", "has a part . or .."},
        {"a/./b", "has a part . or .."},   {"a/../b", "has a part . or .."},
        {"caf\xe9", "is not valid UTF-8"}, {longest, "is longer than 1023 bytes"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        expect_list((const char *[]){bad[i].name}, 1, SDG_ERROR_USAGE, bad[i].words);
        expect_list((const char *[]){"good", bad[i].name}, 2, SDG_ERROR_USAGE, bad[i].words);
        expect_list((const char *[]){"good", bad[i].name}, 2, SDG_ERROR_USAGE, "files[1]: ");
    }
    expect_list((const char *[]){"...", "..a", "a..", ".a", "a b", "caf\xc3\xa9", "A", "a"}, 8, SDG_OK, "");
    expect_list((const char *[]){"b", "a", "c", "a"}, 4, SDG_ERROR_USAGE, "\"a\" is there twice");
    expect_list((const char *[]){"a/b", "a-b", "a"}, 3, SDG_ERROR_USAGE, "\"a\" is the name of a file and a folder");
    expect_list((const char *[]){"a/b/c/d", "a/b"}, 2, SDG_ERROR_USAGE, "\"a/b\" is the name of a file and a folder");
    expect_list((const char *[]){"a/b/c", "a/bc", "a/b-/c", "ab"}, 4, SDG_OK, "");
}

static void test_no_list(void **state)
{
    (void)state;
    struct temp_log t;
    struct sdg_files files;
    const struct sdg_file one = named("a");
    assert_int_equal(sdg_files_init(temp_log(&t), NULL, 0, true, &files), SDG_OK);
    assert_true(!files.listed && files.copy);
    assert_int_equal(sdg_files_init(temp_log(&t), NULL, 1, false, &files), SDG_ERROR_USAGE);
    assert_true(t.errors == 1 && strstr(t.last, "files is NULL"));
    assert_int_equal(sdg_files_init(temp_log(&t), &one, 0, false, &files), SDG_ERROR_USAGE);
    assert_true(t.errors == 1 && strstr(t.last, "file_count is 0"));
    assert_int_equal(sdg_files_init(temp_log(&t), &(struct sdg_file){.name = "a", .kind = SDG_FILE_PART, .fd = -1}, 1,
                                    false, &files),
                     SDG_ERROR_USAGE);
    assert_true(t.errors == 1 && strstr(t.last, "a: its descriptor is negative"));
    sdg_files_clear(&files);
}

// ---- paths ----

static char listed[200];

static enum sdg_result note(void *user, const char *name)
{
    (void)user;
    const size_t used = strlen(listed);
    snprintf(listed + used, sizeof listed - used, "%s ", name);
    return SDG_OK;
}

static const char *list_of(const struct sdg_files *files, const char *folder, bool folders)
{
    *listed = 0;
    const enum sdg_result result = folders ? sdg_files_list_folders(NULL, files, folder, note, NULL)
                                           : sdg_files_list(NULL, files, folder, note, NULL);
    return result == SDG_OK ? listed : "failed";
}

static void test_paths(void **state)
{
    (void)state;
    static const char *const names[] = {"m/unet/config.json", "m/unet/w", "m/unet-2/w", "m/a", "m/z", "b", "m-2/c/d/e"};
    struct sdg_file list[7];
    struct sdg_files files;
    struct temp_log t;
    char *text;
    for (size_t i = 0; i < 7; i++) {
        list[i] = named(names[i]);
        list[i].data = names[i];
        list[i].length = (int64_t)strlen(names[i]);
    }
    assert_int_equal(sdg_files_init(NULL, list, 7, false, &files), SDG_OK);
    static const struct {
        const char *path, *name; // NULL: nothing, "/": a folder
    } cases[] = {
        {"b", "b"},
        {"./b", "b"},
        {"b/", "b"},
        {"m/../b", "b"},
        {"m/unet/../../b", "b"},
        {"m//unet/./config.json", "m/unet/config.json"},
        {"m-2/../m/nowhere/../unet/w", "m/unet/w"},
        {"", "/"},
        {".", "/"},
        {"m/..", "/"},
        {"m", "/"},
        {"m/", "/"},
        {"m/unet", "/"},
        {"m-2/c/d", "/"},
        {"m/une", NULL},
        {"m/unet/config.jso", NULL},
        {"m/unet/config.json/x", NULL},
        {"..", NULL},
        {"../b", NULL},
        {"m/../../b", NULL},
        {"/b", NULL},
        {"c", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *path = cases[i].path, *name = cases[i].name;
        const enum sdg_path_kind kind = sdg_files_kind(&files, path),
                                 want = !name ? SDG_PATH_MISSING
            : *name == '/'                    ? SDG_PATH_FOLDER
                                              : SDG_PATH_FILE;
        if (kind != want)
            fail_msg("'%s' is %d, should be %d", path, (int)kind, (int)want);
        const enum sdg_result result = sdg_files_text(temp_log(&t), &files, path, 100, &text);
        if (kind == SDG_PATH_FILE) {
            assert_int_equal(result, SDG_OK);
            assert_string_equal(text, name);
            sdg_free(text);
        } else {
            assert_true(result == SDG_ERROR_INPUT && t.errors == 1);
            assert_true(*path == '/' || strstr(t.last, name ? "is a folder" : "is none of the files that were given"));
        }
        assert_false(sdg_files_is_dangling(&files, path));
    }
    assert_string_equal(list_of(&files, "m", false), "a z ");
    assert_string_equal(list_of(&files, "m", true), "unet-2 unet ");
    assert_string_equal(list_of(&files, "", false), "b ");
    assert_string_equal(list_of(&files, "m/..", true), "m-2 m ");
    assert_string_equal(list_of(&files, "m-2", false), "");
    assert_string_equal(list_of(&files, "m-2/c/d/", false), "e ");
    assert_string_equal(list_of(&files, "b", false), "failed");
    assert_string_equal(list_of(&files, "m/unet/config.json", true), "failed");
    assert_string_equal(list_of(&files, "..", true), "failed");
    // Paths of the system, with and without a list.
    assert_int_equal(sdg_files_kind(&files, temp_root), SDG_PATH_FOLDER);
    assert_int_equal(sdg_files_kind(NULL, temp_root), SDG_PATH_FOLDER);
    assert_int_equal(sdg_files_kind(NULL, "m/unet/w"), SDG_PATH_MISSING);
    temp_text("inside/one", "1");
    assert_string_equal(list_of(&files, temp_path("inside"), false), "one ");
    assert_int_equal(sdg_files_text(NULL, &files, temp_path("inside/one"), 100, &text), SDG_OK);
    assert_string_equal(text, "1");
    sdg_free(text);
    // As long as names can be, and longer on the way.
    char path[3 * SDG_FILE_NAME_BYTES];
    memset(path, 'x', sizeof path);
    memcpy(path + SDG_FILE_NAME_BYTES - 1, "/../b", 6);
    assert_int_equal(sdg_files_kind(&files, path), SDG_PATH_FILE);
    memset(path, 'x', sizeof path);
    memcpy(path + 2 * SDG_FILE_NAME_BYTES, "/../b", 6);
    assert_int_equal(sdg_files_kind(&files, path), SDG_PATH_MISSING);
    sdg_files_clear(&files);
}

// ---- models ----

static enum sdg_result open_packed(const struct sdg_log *log, const char *path, const char *vae, const char *tokenizer,
                                   struct sdg_model **out)
{
    const struct sdg_model_params params = {
        .vae = vae, .tokenizer = tokenizer, .files = packed.files, .file_count = packed.count};
    *out = NULL;
    return sdg_model_open_params(log, path, &params, out);
}

static void same_tensors(const struct sdg_tensors *a, const struct sdg_tensors *b)
{
    assert_int_equal(sdg_tensors_count(a), sdg_tensors_count(b));
    for (size_t i = 0; i < sdg_tensors_count(a); i++) {
        const struct sdg_tensor *x = sdg_tensors_at(a, i), *y = sdg_tensors_at(b, i);
        assert_string_equal(x->name, y->name);
        assert_true(x->dtype == y->dtype && x->rank == y->rank && x->bytes == y->bytes);
        assert_memory_equal(x->data, y->data, x->bytes);
    }
}

static void same_models(const struct sdg_model *a, const struct sdg_model *b)
{
    same_tensors(a->unet, b->unet);
    same_tensors(a->vae, b->vae);
    same_tensors(a->text[0], b->text[0]);
    assert_memory_equal(&a->unet_config, &b->unet_config, sizeof a->unet_config);
    assert_memory_equal(&a->vae_config, &b->vae_config, sizeof a->vae_config);
    assert_memory_equal(&a->scheduler, &b->scheduler, sizeof a->scheduler);
    for (int i = 0; i < SDG_TOKENIZER_FILE_COUNT; i++) {
        const char *x = a->tokenizer[0].text[i], *y = b->tokenizer[0].text[i];
        assert_true(!x == !y && (!x || strcmp(x, y) == 0));
    }
}

// Opened from a list in every way, what the list refers to gone, `name` is what it is on disk at `path`.
static void expect_same(const char *path, const char *name, void (*add)(void))
{
    struct sdg_model *disk = open_model(path);
    for (enum packed_way way = PACKED_PATHS; way < PACKED_WAYS; way++) {
        struct temp_log t;
        struct sdg_model *model;
        add();
        packed_make(&packed, way);
        if (open_packed(temp_log(&t), name, NULL, NULL, &model) != SDG_OK)
            fail_msg("%s, way %d: %s", name, (int)way, t.last);
        assert_int_equal(t.errors, 0);
        packed_let_go(&packed);
        same_models(model, disk);
        for (size_t i = 0; i < sdg_tensors_count(model->unet); i++)
            sdg_tensors_release(model->unet, sdg_tensors_at(model->unet, i));
        same_models(model, disk);
        assert_int_equal(model->base_count, disk->base_count);
        sdg_model_close(&model);
        packed_free(&packed);
    }
    sdg_model_close(&disk);
}

static void add_bare(void)
{
    packed_add(&packed, temp_path("m"), "");
}

static void add_below(void)
{
    packed_add(&packed, temp_path("m"), "some/where/m");
}

static void add_snapshot(void)
{
    packed_add(&packed, temp_path("hub"), "models--a--b");
}

static void test_folder(void **state)
{
    (void)state;
    make_folder("m");
    expect_same(temp_path("m"), ".", add_bare);
    expect_same(temp_path("m"), "some/where/m/", add_below);
    for (size_t page = 16384; page <= 65536; page *= 4) {
        sdg_test_page(page);
        expect_same(temp_path("m"), "some/where/m", add_below);
        sdg_test_page(0);
    }
    make_folder("hub/snapshots/1234");
    put("hub", "refs/main", "1234");
    expect_same(temp_path("hub"), "models--a--b", add_snapshot);
}

static void name_base(const char *root, const char *base)
{
    char config[2000], fingerprint[17];
    struct sdg_model *model = open_model(temp_path(base));
    sdg_tensors_fingerprint(model->unet, fingerprint);
    sdg_model_close(&model);
    snprintf(config, sizeof config, "%.*s,\"_sdgen\":{\"base_path\":\"../%s\",\"base\":\"%s\"}}",
             (int)strlen(unet_json) - 1, unet_json, base, fingerprint);
    put(root, "unet/config.json", config);
}

static void make_chain(void)
{
    const struct sdg_tensor one[] = {tensor("conv_out.bias", 1, 4, 0, 0, 0)},
                            two[] = {tensor("mine.bias", 1, 5, 0, 0, 0)};
    make_folder("m");
    write_weights("one/unet/some_name.safetensors", one, 1);
    name_base("one", "m");
    write_weights("two/unet/other.safetensors", two, 1);
    name_base("two", "one");
}

static void add_chain(void)
{
    packed_add(&packed, temp_path("m"), "deep/m");
    packed_add(&packed, temp_path("one"), "deep/one");
    packed_add(&packed, temp_path("two"), "deep/two");
}

// Folders of differences, with their bases in the list, or without one of them.
static void test_bases(void **state)
{
    (void)state;
    struct temp_log t;
    struct sdg_model *model;
    make_chain();
    expect_same(temp_path("two"), "deep/two", add_chain);
    packed_add(&packed, temp_path("two"), "two");
    packed_add(&packed, temp_path("one"), "one");
    packed_make(&packed, PACKED_KEPT);
    assert_int_equal(open_packed(temp_log(&t), "two", NULL, NULL, &model), SDG_ERROR_INPUT);
    assert_true(t.errors == 1 && !model && strstr(t.last, "one/../m"));
    packed_free(&packed);
    packed_add(&packed, temp_path("one"), ""); // its base would be outside
    packed_make(&packed, PACKED_KEPT);
    assert_int_equal(open_packed(temp_log(&t), ".", NULL, NULL, &model), SDG_ERROR_INPUT);
    assert_true(t.errors == 1 && !model && strstr(t.last, "../m"));
    packed_free(&packed);
}

// Autoencoders and tokenizers beside the model, and paths of the system beside a list.
static void test_other_parts(void **state)
{
    (void)state;
    struct temp_log t;
    struct sdg_model *model;
    const struct sdg_tensor vae[] = {tensor("decoder.mid_block.attentions.0.to_v.weight", 2, 16, 16, 0, 0),
                                     tensor("decoder.conv_in.weight", 4, 64, 4, 3, 3)};
    make_folder("m");
    write_weights("v/diffusion_pytorch_model.safetensors", vae, 1);
    put("v", "config.json", vae_json);
    put("t", "tokenizer/vocab.json", "{\"b\":0}");
    put("t", "tokenizer/merges.txt", "#version: 0.2\n");
    packed_add(&packed, temp_path("m"), "m");
    packed_add(&packed, temp_path("v"), "v");
    packed_add(&packed, temp_path("t"), "t");
    packed_make(&packed, PACKED_MIXED);
    for (int system = 0; system < 2; system++) {
        assert_int_equal(open_packed(temp_log(&t), system ? temp_path("m") : "m", system ? temp_path("v") : "v",
                                     system ? "t" : temp_path("t"), &model),
                         SDG_OK);
        assert_int_equal(sdg_tensors_count(model->vae), 1);
        assert_string_equal(model->tokenizer[0].text[SDG_TOKENIZER_VOCAB], "{\"b\":0}");
        sdg_model_close(&model);
    }
    static const struct {
        const char *model, *vae, *tokenizer, *words;
    } absent[] = {
        {"n", NULL, NULL, "n: is neither a file nor a folder of the 14 files that were given, such as m/"},
        {"runwayml/stable", NULL, NULL, "runwayml/stable: is neither"},
        {"../m", NULL, NULL, "../m: is neither"},
        {"m", "w", NULL, "w: there is no such autoencoder file or folder"},
        {"m", NULL, "u", "u: has no tokenizer.json"},
        {"/nowhere", NULL, NULL, "/nowhere: there is no such model file or folder"},
        {"m/unet", NULL, NULL, "is one component of a diffusers model"},
        {"t", NULL, NULL, "t: is no diffusers model folder"},
        {"m/unet/config.json", NULL, NULL, "is a JSON file without weights"},
    };
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++) {
        if (open_packed(temp_log(&t), absent[i].model, absent[i].vae, absent[i].tokenizer, &model) != SDG_ERROR_INPUT ||
            t.errors != 1 || !strstr(t.last, absent[i].words))
            fail_msg("%d errors, '%s' should have '%s'", t.errors, t.last, absent[i].words);
    }
    packed_free(&packed);
}

// The shards of a component are named by a file in it.
static void test_shards(void **state)
{
    (void)state;
    const struct sdg_tensor first[] = {tensor("conv_in.weight", 4, 32, 4, 3, 3)},
                            second[] = {tensor("conv_out.bias", 1, 4, 0, 0, 0)};
    make_folder("m");
    remove(temp_path("m/unet/diffusion_pytorch_model.safetensors"));
    write_weights("m/unet/a.safetensors", first, 1);
    write_weights("m/unet/b.safetensors", second, 1);
    put("m", "unet/diffusion_pytorch_model.safetensors.index.json",
        "{\"weight_map\":{\"conv_in.weight\":\"a.safetensors\",\"conv_out.bias\":\"b.safetensors\"}}");
    expect_same(temp_path("m"), "some/where/m", add_below);
}

// ---- what goes wrong ----

static void test_allocations(void **state)
{
    (void)state;
    make_chain();
    add_chain();
    packed_make(&packed, PACKED_MIXED);
    for (size_t n = 1;; n++) {
        struct temp_log t;
        struct sdg_model *model;
        sdg_test_fail_allocation(n);
        const enum sdg_result result = open_packed(temp_log(&t), "deep/two", "deep/one", "deep/m", &model);
        sdg_test_fail_allocation(0);
        if (result == SDG_OK) {
            sdg_model_close(&model);
            print_message("%zu allocations\n", n - 1);
            break;
        }
        assert_true(result == SDG_ERROR_MEMORY && !model && t.errors == 1);
    }
    packed_free(&packed);
}

static int64_t odd_number(int64_t good)
{
    static const int64_t ends[] = {
        0, 1, -1, -2, INT64_MAX, INT64_MIN, 4096, UINT32_MAX, (int64_t)1 << 40, INT64_MAX - 1};
    switch (fuzz_next() % 4) {
    case 0: return ends[fuzz_next() % 10];
    case 1: return good + (int64_t)(fuzz_next() % 64) - 32;
    case 2: return (int64_t)((uint64_t)fuzz_next() << 32 | fuzz_next());
    default: return good ^ (int64_t)((uint64_t)1 << fuzz_next() % 63);
    }
}

// One field of one file to something else. Memory cannot be checked for being there: only what parts say is changed.
static void damage_list(struct packed *p, char (*names)[PACKED_NAME])
{
    const size_t i = fuzz_next() % p->count;
    struct sdg_file *file = &p->files[i];
    const size_t length = strlen(file->name);
    switch (fuzz_next() % 6) {
    case 0: file->offset = odd_number(file->offset); break;
    case 1: file->length = odd_number(file->length); break;
    case 2: file->fd = (int)(fuzz_next() % 40) - 2; break;
    case 3: // another's part
        file->offset = p->files[fuzz_next() % p->count].offset;
        file->length = p->files[fuzz_next() % p->count].length;
        break;
    case 4: file->name = p->files[fuzz_next() % p->count].name; break;
    default:
        memcpy(names[i], file->name, length + 1);
        names[i][fuzz_next() % (length + 1)] = "./\xff"
                                               "a\0_"[fuzz_next() % 6];
        file->name = names[i];
    }
}

static int open_descriptors(void)
{
    int count = 0;
    for (int fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

// Whatever a list says, a model is opened from it or refused in one line.
static void test_odd_lists(void **state)
{
    (void)state;
    enum { TRIALS = 4000 };
    static char names[PACKED_MOST][PACKED_NAME];
    static struct packed good;
    int opened = 0;
    make_folder("m");
    packed_add(&packed, temp_path("m"), "m");
    packed_make(&packed, PACKED_PARTS);
    good = packed;
    fuzz_state = 1;
    const int descriptors = open_descriptors();
    for (int i = 0; i < TRIALS; i++) {
        struct temp_log t;
        struct sdg_model *model;
        for (unsigned n = 1 + fuzz_next() % 2; n > 0; n--)
            damage_list(&packed, names);
        const enum sdg_result result = open_packed(temp_log(&t), "m", NULL, NULL, &model);
        assert_true(result == SDG_OK || result == SDG_ERROR_USAGE || result == SDG_ERROR_INPUT ||
                    result == SDG_ERROR_UNSUPPORTED);
        assert_int_equal(t.errors, result != SDG_OK);
        assert_true(!model == (result != SDG_OK));
        if (result == SDG_OK) {
            opened++;
            sdg_model_close(&model);
        }
        memcpy(packed.files, good.files, sizeof good.files);
    }
    assert_int_equal(open_descriptors(), descriptors);
    print_message("%d of %d lists are good\n", opened, TRIALS);
    assert_true(opened > 0 && opened < TRIALS / 2);
    packed_free(&packed);
}

// Files in memory that end where their allocation does, with damage: a byte read behind them would be noticed.
static void test_damaged_memory(void **state)
{
    (void)state;
    enum { TRIALS = 3000 };
    make_folder("m");
    packed_add(&packed, temp_path("m"), "m");
    packed_make(&packed, PACKED_KEPT);
    fuzz_state = 7;
    for (int i = 0; i < TRIALS; i++) {
        struct temp_log t;
        struct sdg_model *model;
        struct sdg_file *file = &packed.files[fuzz_next() % packed.count], whole = *file;
        const size_t size = (size_t)file->length, room = size + 64;
        unsigned char *bytes = malloc(room);
        memcpy(bytes, file->data, size);
        const size_t left = mutate(bytes, size, room);
        unsigned char *exact = malloc(left ? left : 1);
        memcpy(exact, bytes, left);
        file->data = exact;
        file->length = (int64_t)left;
        file->kind = fuzz_next() % 2 ? SDG_FILE_KEPT : SDG_FILE_COPIED;
        const enum sdg_result result = open_packed(temp_log(&t), "m", NULL, NULL, &model);
        assert_int_equal(t.errors, result != SDG_OK);
        sdg_model_close(&model);
        free(exact);
        free(bytes);
        *file = whole;
    }
    packed_free(&packed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),          cmocka_unit_test(test_no_list),     cmocka_unit_test(test_paths),
        cmocka_unit_test(test_folder),         cmocka_unit_test(test_bases),       cmocka_unit_test(test_other_parts),
        cmocka_unit_test(test_shards),         cmocka_unit_test(test_allocations), cmocka_unit_test(test_odd_lists),
        cmocka_unit_test(test_damaged_memory),
    };
    return run_model_tests(tests);
}
