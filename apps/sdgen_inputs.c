#include "sdgen_inputs.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/random.h>

#include "base/memory.h"
#include "sdgen_from.h"

static enum sdg_result read_seed(struct app_ui *ui, struct app_seed wanted, uint64_t *seed)
{
    uint32_t number; // as other programs draw it: many take no more than 32 bits
    *seed = wanted.value;
    if (!wanted.random)
        return SDG_OK;
    if (getrandom(&number, sizeof number, 0) != sizeof number)
        return app_fail(ui, SDG_ERROR_INPUT, "the system has no random numbers for a seed (%s), give one with -s",
                        strerror(errno));
    *seed = number;
    return SDG_OK;
}

// -------------------------------------------------------------------------------------------------- size

static int next_multiple(int pixels, int factor)
{
    return (pixels + factor - 1) / factor * factor;
}

// What is drawn for a picture of inputs->width x height.
static enum sdg_result find_drawn_size(struct app_ui *ui, int factor, struct sdgen_inputs *inputs)
{
    inputs->drawn_width = next_multiple(inputs->width, factor);
    inputs->drawn_height = next_multiple(inputs->height, factor);
    if (inputs->drawn_width > SDG_PICTURE_SIDE || inputs->drawn_height > SDG_PICTURE_SIDE)
        return app_fail(ui, SDG_ERROR_USAGE,
                        "%d x %d: the sides are no multiples of %d, and the next ones are above %d", inputs->width,
                        inputs->height, factor, SDG_PICTURE_SIDE);
    if (inputs->drawn_width != inputs->width || inputs->drawn_height != inputs->height)
        app_say(ui, SDG_LOG_INFO, "%d x %d pixels: drawn at %d x %d, multiples of %d, and cut to the middle",
                inputs->width, inputs->height, inputs->drawn_width, inputs->drawn_height, factor);
    return SDG_OK;
}

// -------------------------------------------------------------------------------------------------- noise

static enum sdg_result check_noise(struct app_ui *ui, const char *path, const struct sdg_pipeline_info *model,
                                   struct sdgen_inputs *inputs)
{
    const struct sdg_array *noise = inputs->noise;
    const int64_t *shape = noise->shape + (noise->dims == 4);
    bool good = (noise->dims == 3 || (noise->dims == 4 && noise->shape[0] == 1)) && shape[0] == model->latent_channels;
    for (int i = 1; good && i < 3; i++)
        good = shape[i] >= 1 && shape[i] <= SDG_PICTURE_SIDE / model->factor;
    if (!good)
        return app_fail(ui, SDG_ERROR_INPUT, "%.200s: the noise should be of shape [1, %d, height / %d, width / %d]",
                        path, model->latent_channels, model->factor, model->factor);
    inputs->noise_count = (size_t)(shape[0] * shape[1] * shape[2]);
    for (size_t i = 0; i < inputs->noise_count; i++)
        if (!isfinite(noise->data[i]))
            return app_fail(ui, SDG_ERROR_INPUT, "%.200s: number %zu of the noise is not finite (%g)", path, i + 1,
                            (double)noise->data[i]);
    int width = (int)shape[2] * model->factor, height = (int)shape[1] * model->factor;
    if ((inputs->width && next_multiple(inputs->width, model->factor) != width) ||
        (inputs->height && next_multiple(inputs->height, model->factor) != height))
        return app_fail(ui, SDG_ERROR_USAGE, "--load-noise: %.200s is for %d x %d pixels, not for %d x %d", path, width,
                        height, inputs->width ? inputs->width : width, inputs->height ? inputs->height : height);
    inputs->width = inputs->width ? inputs->width : width;
    inputs->height = inputs->height ? inputs->height : height;
    return SDG_OK;
}

// Only for its hash: the array itself may come from a larger file.
static enum sdg_result hash_file(struct app_ui *ui, const char *path, char hash[static 17])
{
    const char *name;
    char *data;
    size_t size;
    enum sdg_result result = sdgen_read_file(ui, path, &name, &data, &size);
    if (result != SDG_OK)
        return result;
    sdg_picture_hash(data, size, hash);
    sdg_free(data);
    return SDG_OK;
}

static enum sdg_result read_noise(struct app_ui *ui, const char *path, const struct sdg_pipeline_info *model,
                                  struct sdgen_inputs *inputs)
{
    enum sdg_result result = sdg_array_read(app_log_of(ui), path, "noise", &inputs->noise);
    if (result == SDG_OK)
        result = check_noise(ui, path, model, inputs);
    return result == SDG_OK ? hash_file(ui, path, inputs->noise_hash) : result;
}

// -------------------------------------------------------------------------------------------------- pictures

// A picture file, with what lies under its transparency, and the hash of its bytes.
struct source {
    const char *name; // for messages
    struct sdg_image *image;
    uint8_t *alpha; // NULL = opaque
};

static void free_source(struct source *source)
{
    sdg_image_destroy(&source->image);
    sdg_picture_free(source->alpha);
}

static enum sdg_result read_source(struct app_ui *ui, const char *path, struct source *source, char hash[static 17])
{
    char *data;
    size_t size;
    *source = (struct source){0};
    enum sdg_result result = sdgen_read_file(ui, path, &source->name, &data, &size);
    if (result != SDG_OK)
        return result;
    sdg_picture_hash(data, size, hash);
    result = sdg_picture_decode_alpha(app_log_of(ui), source->name, data, size, &source->image, &source->alpha);
    sdg_free(data);
    return result;
}

// Whether less than a pixel is cut off when one size is scaled to cover the other.
static bool same_proportions(int width, int height, int other_width, int other_height)
{
    double a = (double)width * other_height, b = (double)height * other_width;
    double least = width < other_width ? width : other_width,
           least_height = height < other_height ? height : other_height;
    least = least < least_height ? least : least_height;
    return fabs(a - b) * least <= (a > b ? a : b);
}

// Scales and cuts *image to the picture's size, then puts it on what is drawn.
static enum sdg_result fit_source(struct app_ui *ui, const struct sdgen_inputs *inputs, struct sdg_image **image)
{
    struct sdg_image *fitted = NULL;
    enum sdg_result result = SDG_OK;
    if ((*image)->width != inputs->width || (*image)->height != inputs->height) {
        result = sdg_picture_fit(app_log_of(ui), *image, inputs->width, inputs->height, &fitted);
        sdg_image_destroy(image);
        *image = fitted;
    }
    if (result != SDG_OK || (inputs->width == inputs->drawn_width && inputs->height == inputs->drawn_height))
        return result;
    result = sdg_picture_place(app_log_of(ui), *image, inputs->drawn_width, inputs->drawn_height, &fitted);
    sdg_image_destroy(image);
    *image = fitted;
    return result;
}

// On its background, whatever the transparent parts hide.
static void put_on_background(struct app_ui *ui, const struct sdgen_options *options, struct source *source,
                              struct sdgen_inputs *inputs)
{
    const uint8_t *color = options->background;
    if (!source->alpha)
        return;
    sdg_picture_composite(source->image, source->alpha, color);
    inputs->transparent = true;
    app_say(ui, SDG_LOG_WARNING, "%.200s: has transparent parts, they are put on %s (--init-alpha-color names another)",
            source->name, options->values.init_alpha_color);
}

// The picture's size is what was asked for, else the init image's own.
static enum sdg_result read_init(struct app_ui *ui, const struct sdgen_options *options, struct sdgen_inputs *inputs,
                                 struct source *source)
{
    enum sdg_result result = read_source(ui, options->values.init_image, source, inputs->init_hash);
    if (result != SDG_OK)
        return result;
    put_on_background(ui, options, source, inputs);
    const struct sdg_image *image = source->image;
    inputs->width = inputs->width ? inputs->width : image->width;
    inputs->height = inputs->height ? inputs->height : image->height;
    if (image->width != inputs->width || image->height != inputs->height)
        app_say(ui, SDG_LOG_INFO, "%.200s: %d x %d pixels, %s %d x %d%s", source->name, image->width, image->height,
                same_proportions(image->width, image->height, inputs->width, inputs->height) ? "scaled to"
                                                                                             : "scaled to cover",
                inputs->width, inputs->height,
                same_proportions(image->width, image->height, inputs->width, inputs->height)
                    ? ""
                    : ", which has other proportions: its middle is used");
    return SDG_OK;
}

// -------------------------------------------------------------------------------------------------- masks

// Where it is painted anew, in percent of the pixels; *least and *most of the values.
static double masked_share(const uint8_t *mask, size_t pixels, int *least, int *most)
{
    size_t count = 0;
    *least = 255;
    *most = 0;
    for (size_t i = 0; i < pixels; i++) {
        count += mask[i] >= 128;
        *least = mask[i] < *least ? mask[i] : *least;
        *most = mask[i] > *most ? mask[i] : *most;
    }
    return 100.0 * (double)count / (double)pixels;
}

// The model paints in latent pixels, and asks the mask at the first pixel of each.
static bool reaches_latent(const struct sdgen_inputs *inputs, int factor)
{
    for (int y = 0; y < inputs->drawn_height; y += factor)
        for (int x = 0; x < inputs->drawn_width; x += factor)
            if (inputs->mask[(size_t)y * (size_t)inputs->drawn_width + (size_t)x] >= 128)
                return true;
    return false;
}

// Whatever will not be what was meant, and what was concluded.
static void tell_about_mask(struct app_ui *ui, const char *name, enum sdg_mask_kind kind, bool transparent, int factor,
                            const struct sdgen_inputs *inputs)
{
    static const char *const readings[] = {
        [SDG_MASK_BRIGHTNESS] = "white is painted anew, transparent parts count as black",
        [SDG_MASK_ERASED] = "what is transparent (erased) is painted anew",
        [SDG_MASK_BRUSH] = "what is opaque is painted anew, as strokes of a brush on nothing",
    };
    int least, most;
    const size_t pixels = (size_t)inputs->drawn_width * (size_t)inputs->drawn_height;
    double share = masked_share(inputs->mask, pixels, &least, &most);
    if (transparent)
        app_say(ui, SDG_LOG_WARNING, "%.200s: a mask with transparent parts: %s (%.3g %% of the picture)", name,
                readings[kind], share);
    const char *colour = most == 0 ? "black" : least == 255 ? "white" : least == most ? "one grey" : NULL;
    if (share == 0)
        app_say(ui, SDG_LOG_WARNING, "%.200s: the mask is %s all over: nothing is painted anew", name,
                colour ? colour : "darker than half");
    else if (share == 100)
        app_say(ui, SDG_LOG_WARNING, "%.200s: the mask is %s all over: everything is painted anew", name,
                colour ? colour : "lighter than half");
    else if (!reaches_latent(inputs, factor))
        app_say(
            ui, SDG_LOG_WARNING,
            "%.200s: what is white in the mask is too small: the model paints squares of %d x %d pixels, and at the "
            "corner of none it is white",
            name, factor, factor);
}

// A grey picture of a mask, so that it is scaled as pictures are.
static enum sdg_result grey_picture(struct app_ui *ui, struct source *source, enum sdg_mask_kind *kind)
{
    struct sdg_image *image = source->image;
    const size_t pixels = (size_t)image->width * (size_t)image->height;
    uint8_t *mask = sdg_alloc_raw(app_log_of(ui), pixels, 1, "the mask");
    if (!mask)
        return SDG_ERROR_MEMORY;
    *kind = sdg_picture_mask(image, source->alpha, mask);
    for (size_t i = 0; i < pixels; i++)
        memset(image->pixels + 3 * i, mask[i], 3);
    sdg_free(mask);
    return SDG_OK;
}

// `init`: the init image as it was read, to which the mask belongs.
static enum sdg_result read_mask(struct app_ui *ui, const char *path, const struct sdg_image *init, int factor,
                                 struct sdgen_inputs *inputs)
{
    struct source source;
    enum sdg_mask_kind kind = SDG_MASK_BRIGHTNESS;
    enum sdg_result result = read_source(ui, path, &source, inputs->mask_hash);
    if (result == SDG_OK && !same_proportions(source.image->width, source.image->height, init->width, init->height))
        app_say(ui, SDG_LOG_WARNING,
                "%.200s: the mask (%d x %d) has other proportions than the picture (%d x %d): its middle is used",
                source.name, source.image->width, source.image->height, init->width, init->height);
    if (result == SDG_OK)
        result = grey_picture(ui, &source, &kind);
    if (result == SDG_OK)
        result = fit_source(ui, inputs, &source.image);
    if (result == SDG_OK) {
        inputs->mask =
            sdg_alloc_raw(app_log_of(ui), (size_t)inputs->drawn_width, (size_t)inputs->drawn_height, "the mask");
        result = inputs->mask ? SDG_OK : SDG_ERROR_MEMORY;
    }
    if (result == SDG_OK) {
        sdg_picture_brightness(source.image, inputs->mask);
        tell_about_mask(ui, source.name, kind, source.alpha != NULL, factor, inputs);
    }
    free_source(&source);
    return result;
}

// -------------------------------------------------------------------------------------------------- all

static enum sdg_result read_pictures(struct app_ui *ui, const struct sdgen_options *options, int factor,
                                     struct sdgen_inputs *inputs, struct source *init)
{
    const struct sdgen_values *values = &options->values;
    enum sdg_result result = find_drawn_size(ui, factor, inputs);
    if (result == SDG_OK && values->mask)
        result = read_mask(ui, values->mask, init->image, factor, inputs);
    if (result == SDG_OK && init->image) {
        result = fit_source(ui, inputs, &init->image);
        inputs->init = init->image;
        init->image = NULL;
    }
    return result;
}

enum sdg_result sdgen_inputs_read(struct app_ui *ui, const struct sdgen_options *options,
                                  const struct sdg_pipeline_info *model, struct sdgen_inputs *inputs)
{
    const struct sdgen_values *values = &options->values;
    struct source init = {0};
    *inputs = (struct sdgen_inputs){.width = (int)values->width, .height = (int)values->height};
    enum sdg_result result = read_seed(ui, values->seed, &inputs->seed);
    if (result == SDG_OK && values->init_image)
        result = read_init(ui, options, inputs, &init);
    if (result == SDG_OK && values->load_noise)
        result = read_noise(ui, values->load_noise, model, inputs);
    inputs->width = inputs->width ? inputs->width : model->width;
    inputs->height = inputs->height ? inputs->height : model->height;
    if (result == SDG_OK)
        result = read_pictures(ui, options, model->factor, inputs, &init);
    free_source(&init);
    return result;
}

void sdgen_inputs_free(struct sdgen_inputs *inputs)
{
    sdg_image_destroy(&inputs->init);
    sdg_free(inputs->mask);
    sdg_array_destroy(&inputs->noise);
}
