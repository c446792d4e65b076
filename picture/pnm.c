#include "picture/pnm.h"

#include "sdgen/picture.h"

#include <ctype.h>
#include <stdio.h>

struct pnm {
    const unsigned char *at, *end;
    int kind, width, height, most; // kind 1..6; most: the number that is white
    bool text, bits;
    size_t channels;
};

bool sdg_pnm_is(const void *data, size_t size)
{
    const char *magic = data;
    return size > 2 && magic[0] == 'P' && magic[1] >= '1' && magic[1] <= '6' &&
        (isspace((unsigned char)magic[2]) || magic[2] == '#');
}

// ---- numbers in text ----

static void skip_space(struct pnm *p)
{
    while (p->at < p->end && (isspace(*p->at) || *p->at == '#'))
        if (*p->at == '#')
            while (p->at < p->end && *p->at != '\n')
                p->at++;
        else
            p->at++;
}

// After spaces and comments; -1 if there is none.
static int text_number(struct pnm *p)
{
    int value = -1;
    skip_space(p);
    for (; p->at < p->end && isdigit(*p->at) && value < 1 << 24; p->at++)
        value = (value < 0 ? 0 : 10 * value) + (*p->at - '0');
    return value;
}

// ---- samples: one number each ----

// Bits need no space between them.
static int text_bit(struct pnm *p)
{
    skip_space(p);
    return p->at < p->end && (*p->at == '0' || *p->at == '1') ? *p->at++ - '0' : -1;
}

static int sample(struct pnm *p)
{
    if (p->text)
        return p->bits ? text_bit(p) : text_number(p);
    if (p->most < 256)
        return p->at < p->end ? *p->at++ : -1;
    if (p->end - p->at < 2)
        return -1;
    p->at += 2;
    return p->at[-2] << 8 | p->at[-1];
}

// One row, [width * channels] samples of 0..most; false at the end of the file or for a number above.
static bool read_row(struct pnm *p, uint8_t *out)
{
    const size_t samples = (size_t)p->width * p->channels;
    const unsigned char *packed = p->bits && !p->text ? p->at : NULL;
    if (packed) {
        size_t bytes = (samples + 7) / 8; // each row begins with a byte of its own
        if ((size_t)(p->end - p->at) < bytes)
            return false;
        p->at += bytes;
    }
    for (size_t i = 0; i < samples; i++) {
        int value = packed ? packed[i / 8] >> (7 - i % 8) & 1 : sample(p);
        if (value < 0 || value > p->most)
            return false;
        out[i] = (uint8_t)((value * 255 + p->most / 2) / p->most);
        if (p->bits)
            out[i] = (uint8_t)(255 - out[i]); // 1 is black
    }
    return true;
}

static enum sdg_result read_header(const struct sdg_log *log, const char *name, struct pnm *p)
{
    p->width = text_number(p);
    p->height = text_number(p);
    p->most = p->bits ? 1 : text_number(p);
    if (p->width < 1 || p->height < 1 || p->most < 1 || p->most > 65535 || p->at == p->end)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: is a PNM picture (P%d) with a broken header", name, p->kind);
    if (p->width > SDG_PICTURE_SIDE || p->height > SDG_PICTURE_SIDE)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: is %d x %d pixels, at most %d a side can be read", name, p->width,
                        p->height, SDG_PICTURE_SIDE);
    p->at++; // one space
    // No sample takes less than a byte, or a bit: told before memory is asked for.
    size_t samples = (size_t)p->width * (size_t)p->height * p->channels, left = (size_t)(p->end - p->at);
    if (left < (p->bits && !p->text ? samples / 8 : samples))
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: the file ends too early", name);
    return SDG_OK;
}

enum sdg_result sdg_pnm_decode(const struct sdg_log *log, const char *name, const void *data, size_t size,
                               struct sdg_image **out)
{
    const unsigned char *bytes = data;
    struct pnm p = {.at = bytes + 2, .end = bytes + size, .kind = bytes[1] - '0'};
    p.text = p.kind <= 3;
    p.bits = p.kind % 3 == 1;
    p.channels = p.kind % 3 == 0 ? 3 : 1;
    *out = NULL;
    SDG_TRY(read_header(log, name, &p));
    if (sdg_image_create(p.width, p.height, out) != SDG_OK)
        return sdg_fail(log, SDG_ERROR_MEMORY, "%s: not enough memory for %d x %d pixels", name, p.width, p.height);
    const size_t width = (size_t)p.width;
    for (int y = 0; y < p.height; y++) {
        uint8_t *row = (*out)->pixels + 3 * width * (size_t)y;
        if (!read_row(&p, row)) {
            sdg_image_destroy(out);
            return sdg_fail(log, SDG_ERROR_INPUT, "%s: row %d of %d is cut, or has no number from 0 to %d", name, y + 1,
                            p.height, p.most);
        }
        for (size_t x = width; p.channels == 1 && x-- > 0;) // from the end: grey lies where RGB will
            row[3 * x] = row[3 * x + 1] = row[3 * x + 2] = row[x];
    }
    return SDG_OK;
}

enum sdg_result sdg_ppm_encode(struct sdg_bytes *bytes, const struct sdg_image *image)
{
    char header[48];
    int length = snprintf(header, sizeof header, "P6\n%d %d\n255\n", image->width, image->height);
    sdg_bytes_add(bytes, header, (size_t)length);
    sdg_bytes_add(bytes, image->pixels, 3 * (size_t)image->width * (size_t)image->height);
    return bytes->failed ? SDG_ERROR_MEMORY : SDG_OK;
}
