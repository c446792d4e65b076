#version 450
#extension GL_GOOGLE_include_directive : require
#include "types.glsl"
#include "functions.glsl"

// An implicit matrix product: row m is an output pixel, k runs over [kernel_h][kernel_w][in_c], as the weights were laid out on
// upload. C twin: struct sdg_push_conv2d in backend/vulkan/ops/conv2d.c.
layout(push_constant) uniform Push {
    uint m, n, k;
    uint in_h, in_w, in_c;
    uint out_w, out_pixels; // out_pixels = out_h * out_w
    uint kernel_w;
    uint stride;
    int pad_top, pad_left;
    uint table_samples;
} p;

layout(binding = 0) readonly buffer X { PACK x[]; };

// Where the window of an output pixel starts; y is far outside the picture for rows past the end.
struct Window {
    uint picture; // index of the picture's first pixel
    int y, x;
};
#define A_ROW Window

Window a_row(uint m)
{
    if (m >= p.m)
        return Window(0, -0x40000000, 0);
    uint picture = m / p.out_pixels, pixel = m % p.out_pixels;
    return Window(picture * p.in_h * p.in_w, int(pixel / p.out_w * p.stride) - p.pad_top, int(pixel % p.out_w * p.stride) - p.pad_left);
}

// k as a tap and a channel, advanced without divisions.
int tap_y, tap_x;
uint channel;

void cursor_normalise()
{
    while (channel >= p.in_c) {
        channel -= p.in_c;
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
    channel = k;
    cursor_normalise();
}

void cursor_advance()
{
    channel += 16; // BK
    cursor_normalise();
}

VALUE a_load(Window window)
{
    int y = window.y + tap_y, x_at = window.x + tap_x;
    if (y < 0 || y >= int(p.in_h) || x_at < 0 || x_at >= int(p.in_w))
        return VALUE(0.0);
    return VALUE(x[((window.picture + uint(y) * p.in_w + uint(x_at)) * p.in_c + channel) / WIDTH]);
}

uint sample_of(uint m)
{
    return m / p.out_pixels;
}

#include "matmul.glsl"
