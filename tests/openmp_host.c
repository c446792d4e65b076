// A program that uses OpenMP itself and asks it for fewer threads than the library has, or calls the library from
// several at once: the pictures are the same.
#include "sdgen/sdgen.h"

#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static const struct sdg_generate_params picture = {
    .prompt = "a red apple, 3d", .steps = 2, .width = 64, .height = 64, .seed = 1};

// NULL if anything fails; to be destroyed.
static struct sdg_image *draw(const char *model, int threads)
{
    struct sdg_pipeline *pipeline = NULL;
    struct sdg_image *image = NULL;
    const struct sdg_pipeline_params params = {.model = model, .backend = "cpu", .threads = threads};
    if (sdg_pipeline_create(&params, &pipeline) == SDG_OK)
        sdg_generate(pipeline, &picture, &image, NULL);
    sdg_pipeline_destroy(&pipeline);
    return image;
}

static void check_same(const struct sdg_image *a, const struct sdg_image *b)
{
    assert_non_null(a);
    assert_non_null(b);
    assert_int_equal(a->width, b->width);
    assert_int_equal(a->height, b->height);
    assert_memory_equal(a->pixels, b->pixels, (size_t)a->width * (size_t)a->height * 3);
}

static void check_settings(const char *model)
{
    struct sdg_image *first = draw(model, 3), *more[2] = {NULL, NULL};
    const int before = omp_get_max_threads();
    omp_set_dynamic(1);
    struct sdg_image *second = draw(model, 3);
    omp_set_dynamic(0);
    check_same(first, second);
    sdg_image_destroy(&second);

    omp_set_num_threads(1);
    second = draw(model, 3);
    assert_int_equal(omp_get_max_threads(), 1); // the program's own setting stays
    omp_set_num_threads(before);
    check_same(first, second);
    sdg_image_destroy(&second);

#pragma omp parallel for num_threads(2)
    for (int i = 0; i < 2; i++)
        more[i] = draw(model, 3);
    for (int i = 0; i < 2; i++) {
        check_same(first, more[i]);
        sdg_image_destroy(&more[i]);
    }
    assert_int_equal(omp_get_max_threads(), before);
    sdg_image_destroy(&first);
}

static void test_floats(void **state)
{
    (void)state;
    check_settings(SDG_SOURCE_DIR "/models/emoji-128");
}

static void test_integers(void **state)
{
    (void)state;
    check_settings(SDG_SOURCE_DIR "/models/emoji-128-w8a8-tdq");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_floats), cmocka_unit_test(test_integers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
