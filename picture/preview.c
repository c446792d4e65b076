#include "sdgen/picture.h"

#include "base/log.h"

#include <math.h>

enum { CHANNELS = 4, MOST_FACTOR = 64 };

// The picture as a linear map of the four channels of SD 1.x latents, fitted by K. Turner
// (discuss.huggingface.co/t/decoding-latents-to-rgb-without-upscaling/23204).
static const float rgb_of_latent[CHANNELS][3] = {
    {0.298f, 0.207f, 0.208f},
    {0.187f, 0.286f, 0.173f},
    {-0.158f, 0.189f, 0.264f},
    {-0.184f, -0.271f, -0.473f},
};

bool sdg_preview_has(int channels)
{
    return channels == CHANNELS;
}

// Early latents are mostly noise, of up to 15 times the size of the picture in it.
static float scale_of(const float *latent, size_t count)
{
    double square = 0;
    for (size_t i = 0; i < count; i++)
        square += (double)latent[i] * latent[i];
    return (float)(1 / fmax(1, sqrt(square / (double)count)));
}

// Pixel i of the latent's `pixels`.
static void project(const float *latent, size_t pixels, size_t i, float scale, uint8_t rgb[3])
{
    for (size_t k = 0; k < 3; k++) {
        float value = 0;
        for (size_t c = 0; c < CHANNELS; c++)
            value += rgb_of_latent[c][k] * latent[c * pixels + i];
        value = (value * scale + 1) * 127.5f;
        rgb[k] = value > 0 ? (uint8_t)fminf(value + 0.5f, 255) : 0;
    }
}

enum sdg_result sdg_preview(const struct sdg_log *log, const struct sdg_preview_params *p, struct sdg_image **out)
{
    struct sdg_image *image = NULL;
    SDG_REQUIRE(log, out, "out");
    *out = NULL;
    SDG_REQUIRE(log, p, "params");
    SDG_REQUIRE(log, p->latent, "params.latent");
    if (!sdg_preview_has(p->channels))
        return sdg_fail(log, SDG_ERROR_UNSUPPORTED, "there is no preview for latents of %d channels, only for %d",
                        p->channels, CHANNELS);
    int side = p->factor ? p->factor : 1; // of the square of a latent pixel
    if (p->width < 1 || p->height < 1 || side < 1 || side > MOST_FACTOR || p->width > SDG_PICTURE_SIDE / side ||
        p->height > SDG_PICTURE_SIDE / side)
        return sdg_fail(
            log, SDG_ERROR_USAGE,
            "a preview of a latent of %d x %d, times %d, is out of range: factors are 1 to %d, sides of the "
            "preview 1 to %d",
            p->width, p->height, side, MOST_FACTOR, SDG_PICTURE_SIDE);
    if (sdg_image_create(p->width * side, p->height * side, &image) != SDG_OK)
        return sdg_fail(log, SDG_ERROR_MEMORY, "not enough memory for a preview");
    size_t width = (size_t)p->width, pixels = width * (size_t)p->height, factor = (size_t)side;
    float scale = scale_of(p->latent, CHANNELS * pixels);
    for (size_t y = 0; y < (size_t)image->height; y++)
        for (size_t x = 0; x < (size_t)image->width; x++)
            project(p->latent, pixels, y / factor * width + x / factor, scale,
                    image->pixels + 3 * (y * (size_t)image->width + x));
    *out = image;
    return SDG_OK;
}
