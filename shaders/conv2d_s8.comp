#version 450
#extension GL_GOOGLE_include_directive : require
#ifdef DOT
#extension GL_EXT_spirv_intrinsics : require
#endif
#include "types.glsl"
#include "functions.glsl"
#include "read_codes.glsl"

// As conv2d.comp, in words of four channels: k runs over [kernel_h][kernel_w][words], the last word of a tap filled up. C twin: struct
// sdg_push_conv2d in backend/vulkan/ops/conv2d.c.
layout(push_constant) uniform Push {
    uint m, n, k;           // k: words
    uint in_h, in_w, in_c;
    uint out_w, out_pixels; // out_pixels = out_h * out_w
    uint kernel_w;
    uint stride;
    int pad_top, pad_left;
    uint table_samples;
} p;

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

// k as a tap and a word of channels, advanced without divisions.
int tap_y, tap_x;
uint word;

void cursor_normalise()
{
    uint words_per_tap = (p.in_c + 3) / 4;
    while (word >= words_per_tap) {
        word -= words_per_tap;
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
    word = k;
    cursor_normalise();
}

void cursor_advance()
{
    word += 8; // BK
    cursor_normalise();
}

uint a_load(Window window, uint outside)
{
    int y = window.y + tap_y, x_at = window.x + tap_x;
    if (y < 0 || y >= int(p.in_h) || x_at < 0 || x_at >= int(p.in_w))
        return outside;
    return read_codes((window.picture + uint(y) * p.in_w + uint(x_at)) * p.in_c + 4 * word, p.in_c - 4 * word);
}

uint sample_of(uint m)
{
    return m / p.out_pixels;
}

#include "matmul_s8.glsl"
