#include "examples.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sdgen/array.h"
#include "sdgen/picture.h"

static bool ends_in(const char *path, const char *extension)
{
    const size_t length = strlen(path), e = strlen(extension);
    return length > e && strcmp(path + length - e, extension) == 0;
}

// ---- a picture ----

static enum sdg_result convert(struct app_ui *ui, const struct sdg_image *image, const struct sdg_classifier_info *info,
                               struct app_examples *out)
{
    const size_t pixels = (size_t)info->image_size * (size_t)info->image_size, channels = (size_t)info->channels;
    uint8_t *brightness = malloc(pixels);
    out->pictures = malloc(pixels * channels * sizeof *out->pictures);
    if (!brightness || !out->pictures) {
        free(brightness);
        return app_fail(ui, SDG_ERROR_MEMORY, "not enough memory for a picture");
    }
    sdg_picture_brightness(image, brightness);
    for (size_t c = 0; c < channels; c++)
        for (size_t i = 0; i < pixels; i++)
            out->pictures[c * pixels + i] =
                (float)((channels == 1 ? brightness[i] : image->pixels[3 * i + c]) / 255.0 * info->white);
    out->count = 1;
    free(brightness);
    return SDG_OK;
}

static enum sdg_result read_picture(struct app_ui *ui, const char *path, const struct sdg_classifier_info *info,
                                    struct app_examples *out)
{
    struct sdg_image *image = NULL, *fitted = NULL;
    enum sdg_result result = sdg_picture_read(app_log_of(ui), path, &image);
    if (result == SDG_OK)
        result = sdg_picture_fit(app_log_of(ui), image, info->image_size, info->image_size, &fitted);
    if (result == SDG_OK)
        result = convert(ui, fitted, info, out);
    sdg_image_destroy(&fitted);
    sdg_image_destroy(&image);
    return result;
}

// ---- arrays ----

enum { SHAPE_TEXT = 200 };

// "[897, 8, 8]"
static const char *show_shape(const struct sdg_array *array, char text[SHAPE_TEXT])
{
    size_t used = (size_t)snprintf(text, SHAPE_TEXT, "[");
    for (int i = 0; i < array->dims && used < SHAPE_TEXT - 30; i++)
        used += (size_t)snprintf(text + used, SHAPE_TEXT - used, "%s%lld", i ? ", " : "", (long long)array->shape[i]);
    snprintf(text + used, SHAPE_TEXT - used, "]");
    return text;
}

// Pixels reach from black, 0, to white. Those of another scale are refused where that shows, else told.
static enum sdg_result check_range(struct app_ui *ui, const char *path, const float *pixels, size_t count, double white)
{
    double most = 0;
    for (size_t i = 0; i < count; i++) {
        const double pixel = (double)pixels[i];
        if (!(pixel >= 0 && pixel <= white))
            return app_fail(ui, SDG_ERROR_INPUT,
                            "%.200s: number %zu of the pictures is %g, should be 0 (black) to %g (the model's white)",
                            path, i + 1, pixel, white);
        most = fmax(most, pixel);
    }
    if (most > 0 && most <= 1 && white > 1)
        app_say(ui, SDG_LOG_WARNING, "%.200s: no number of the pictures is above %g, but the model's white is %g", path,
                most, white);
    return SDG_OK;
}

static enum sdg_result take_pictures(struct app_ui *ui, const char *path, struct sdg_array *array,
                                     const struct sdg_classifier_info *info, struct app_examples *out)
{
    const int sides = array->dims - 2;
    const bool many = array->dims == 3 || array->dims == 4;
    bool fits = (many || array->dims == 2) && array->shape[sides] == info->image_size &&
        array->shape[sides + 1] == info->image_size && (array->dims == 4 ? array->shape[1] : 1) == info->channels;
    char shape[SHAPE_TEXT];
    if (!fits)
        return app_fail(ui, SDG_ERROR_INPUT, "%.200s: pictures are of shape %s, should be [n, %d, %d, %d]%s", path,
                        show_shape(array, shape), info->channels, info->image_size, info->image_size,
                        info->channels == 1 ? ", or without the 1" : "");
    out->count = many ? (size_t)array->shape[0] : 1;
    const size_t numbers = out->count * (size_t)(info->channels * info->image_size) * (size_t)info->image_size;
    if (!out->count)
        return app_fail(ui, SDG_ERROR_INPUT, "%.200s: has no picture", path);
    const enum sdg_result result = check_range(ui, path, array->data, numbers, info->white);
    if (result != SDG_OK)
        return result;
    out->pictures = malloc(numbers * sizeof *out->pictures);
    if (!out->pictures)
        return app_fail(ui, SDG_ERROR_MEMORY, "not enough memory for %zu pictures", out->count);
    memcpy(out->pictures, array->data, numbers * sizeof *out->pictures);
    return SDG_OK;
}

static enum sdg_result take_labels(struct app_ui *ui, const char *path, const struct sdg_array *array,
                                   const struct sdg_classifier_info *info, struct app_examples *out)
{
    char shape[SHAPE_TEXT];
    if (array->dims != 1 || (size_t)array->shape[0] != out->count)
        return app_fail(ui, SDG_ERROR_INPUT, "%.200s: labels are of shape %s, should be [%zu], one a picture", path,
                        show_shape(array, shape), out->count);
    out->labels = malloc(out->count * sizeof *out->labels);
    if (!out->labels)
        return app_fail(ui, SDG_ERROR_MEMORY, "not enough memory for %zu labels", out->count);
    for (size_t i = 0; i < out->count; i++) {
        const double label = (double)array->data[i];
        if (!(label >= 0 && label < info->classes && label == floor(label)))
            return app_fail(ui, SDG_ERROR_INPUT, "%.200s: label %zu is %g, should be a class, 0 to %d", path, i + 1,
                            label, info->classes - 1);
        out->labels[i] = (int)label;
    }
    return SDG_OK;
}

// A file with a single array has no labels; one with several has to have them.
static enum sdg_result read_labels(struct app_ui *ui, const char *path, const struct sdg_classifier_info *info,
                                   struct app_examples *out)
{
    struct sdg_array *array = NULL;
    if (ends_in(path, ".npy"))
        return SDG_OK;
    if (sdg_array_read(NULL, path, NULL, &array) == SDG_OK) {
        sdg_array_destroy(&array);
        return SDG_OK;
    }
    enum sdg_result result = sdg_array_read(app_log_of(ui), path, "labels", &array);
    if (result == SDG_OK)
        result = take_labels(ui, path, array, info, out);
    sdg_array_destroy(&array);
    return result;
}

static enum sdg_result read_arrays(struct app_ui *ui, const char *path, const struct sdg_classifier_info *info,
                                   struct app_examples *out)
{
    struct sdg_array *array = NULL;
    enum sdg_result result = sdg_array_read(app_log_of(ui), path, "pictures", &array);
    if (result == SDG_OK)
        result = take_pictures(ui, path, array, info, out);
    sdg_array_destroy(&array);
    return result == SDG_OK ? read_labels(ui, path, info, out) : result;
}

enum sdg_result app_examples_read(struct app_ui *ui, const char *path, const struct sdg_classifier_info *info,
                                  struct app_examples *out)
{
    *out = (struct app_examples){0};
    const bool arrays = ends_in(path, ".npy") || ends_in(path, ".safetensors");
    enum sdg_result result = arrays ? read_arrays(ui, path, info, out) : read_picture(ui, path, info, out);
    if (result != SDG_OK)
        app_examples_free(out);
    return result;
}

void app_examples_free(struct app_examples *examples)
{
    free(examples->pictures);
    free(examples->labels);
    *examples = (struct app_examples){0};
}
