// An implicit matrix product: row m is an output pixel, k runs over [kernel_h][kernel_w][units of in_c], as the weights were laid out on
// upload. A unit is UNIT channels, the last one filled up. C twin: struct sdg_push_conv2d in backend/vulkan/ops/conv2d.c.
//
// Where UPSAMPLE is more than 1, the picture is what x becomes when each pixel is repeated so often in both directions; only x is there.
layout(constant_id = SDG_SPEC_UPSAMPLE) const uint UPSAMPLE = 1;
layout(push_constant) uniform Push {
    uint m, n, k, pitch, table_samples; // as outputs.glsl says; k: units
    uint in_h, in_w, in_c;  // of the picture
    uint out_w, out_pixels; // out_pixels = out_h * out_w
    uint kernel_w;
    uint stride;
    int pad_top, pad_left;
} p;

// Where the window of an output pixel starts; y is far outside the picture for rows past the end.
struct Window {
    uint picture; // index in x of the picture's first pixel
    int y, x;
};
#define A_ROW Window
#include "loading.glsl"

Window a_row(uint m)
{
    if (m >= p.m)
        return Window(0, -0x40000000, 0);
    uint picture = m / p.out_pixels, pixel = m % p.out_pixels;
    return Window(picture * (p.in_h / UPSAMPLE) * (p.in_w / UPSAMPLE), int(pixel / p.out_w * p.stride) - p.pad_top, int(pixel % p.out_w * p.stride) - p.pad_left);
}

uint sample_of(uint m)
{
    return m / p.out_pixels;
}

// k as a tap and a unit of its channels, advanced without divisions.
int tap_y, tap_x;
uint unit;

void cursor_normalise()
{
    uint units_per_tap = (p.in_c + UNIT - 1) / UNIT;
    while (unit >= units_per_tap) {
        unit -= units_per_tap;
        if (++tap_x == int(p.kernel_w)) {
            tap_x = 0;
            tap_y++;
        }
    }
}

void cursor_start(uint k)
{
    tap_y = 0;
    tap_x = 0;
    unit = k;
    cursor_normalise();
}

void cursor_advance()
{
    unit += BK;
    cursor_normalise();
}

// The pixel of x at the cursor; false outside of the picture.
bool find_pixel(Window window, out uint pixel)
{
    int y = window.y + tap_y, x = window.x + tap_x;
    pixel = window.picture + uint(y) / UPSAMPLE * (p.in_w / UPSAMPLE) + uint(x) / UPSAMPLE;
    return y >= 0 && y < int(p.in_h) && x >= 0 && x < int(p.in_w);
}

// Elements of a run of k are neighbours in a row of x: the channels of a pixel under one tap.
uint run_length()
{
    return (p.in_c + UNIT - 1) / UNIT;
}

uint run_count()
{
    return p.k / run_length();
}

// The first element of the pixel under tap `run` of a window; false outside of the picture.
bool find_run(Window window, uint run, out uint first)
{
    tap_y = int(run / p.kernel_w);
    tap_x = int(run % p.kernel_w);
    uint pixel;
    bool inside = find_pixel(window, pixel);
    first = pixel * p.in_c;
    return inside;
}
