// For tests: an AutoencoderTiny of any factor and any number of latent channels, in a folder. Its weights are small
// numbers that differ; what it decodes to is no picture, but every size is as in a real one.
#ifndef SDG_TESTS_SMALL_VAE_H
#define SDG_TESTS_SMALL_VAE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { SMALL_VAE_WIDTH = 4, SMALL_VAE_LEVELS_MAX = 4 };

struct small_vae {
    char header[16384]; // of the safetensors file
    size_t length, bytes;
};

static inline void small_vae_tensor(struct small_vae *v, const char *name, int rank, int out, int in)
{
    size_t bytes = sizeof(float) * (size_t)out * (rank == 4 ? (size_t)in * 9 : 1);
    char shape[40];
    snprintf(shape, sizeof shape, rank == 4 ? "%d,%d,3,3" : "%d", out, in);
    v->length += (size_t)snprintf(v->header + v->length, sizeof v->header - v->length,
                                  "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}",
                                  v->length ? "," : "{", name, shape, v->bytes, v->bytes + bytes);
    v->bytes += bytes;
}

static inline void small_vae_conv(struct small_vae *v, const char *path, int in, int out, bool bias)
{
    char name[100];
    snprintf(name, sizeof name, "%s.weight", path);
    small_vae_tensor(v, name, 4, out, in);
    snprintf(name, sizeof name, "%s.bias", path);
    if (bias)
        small_vae_tensor(v, name, 1, out, 0);
}

static inline void small_vae_layer(struct small_vae *v, const char *side, int *index, int in, int out, bool bias)
{
    char path[80];
    snprintf(path, sizeof path, "%s.layers.%d", side, (*index)++);
    small_vae_conv(v, path, in, out, bias);
}

static inline void small_vae_block(struct small_vae *v, const char *side, int *index)
{
    char path[80];
    for (int j = 0; j < 3; j++) {
        snprintf(path, sizeof path, "%s.layers.%d.conv.%d", side, *index, 2 * j);
        small_vae_conv(v, path, SMALL_VAE_WIDTH, SMALL_VAE_WIDTH, true);
    }
    ++*index;
}

static inline void small_vae_layers(struct small_vae *v, int levels, int latent_channels)
{
    const int width = SMALL_VAE_WIDTH;
    int index = 0;
    small_vae_layer(v, "decoder", &index, latent_channels, width, true);
    index++; // activation
    for (int i = 0; i < levels; i++) {
        bool last = i == levels - 1;
        small_vae_block(v, "decoder", &index);
        index += !last; // upsampler
        small_vae_layer(v, "decoder", &index, width, last ? 3 : width, last);
    }
    index = 0;
    for (int i = 0; i < levels; i++) {
        small_vae_layer(v, "encoder", &index, i ? width : 3, width, !i);
        small_vae_block(v, "encoder", &index);
    }
    small_vae_layer(v, "encoder", &index, width, latent_channels, true);
    v->length += (size_t)snprintf(v->header + v->length, sizeof v->header - v->length, "}");
    while (v->length % 8)
        v->header[v->length++] = ' ';
}

// Writes FOLDER/config.json and its weights; the factor is 2^(levels - 1). False if a file cannot be written.
static inline bool small_vae_write(const char *folder, int levels, int latent_channels)
{
    static struct small_vae v;
    char path[600], widths[40] = "", blocks[40] = "";
    v = (struct small_vae){.bytes = 0};
    small_vae_layers(&v, levels, latent_channels);
    for (int i = 0; i < levels; i++) {
        snprintf(widths + strlen(widths), sizeof widths - strlen(widths), "%s%d", i ? "," : "", SMALL_VAE_WIDTH);
        snprintf(blocks + strlen(blocks), sizeof blocks - strlen(blocks), "%s1", i ? "," : "");
    }
    mkdir(folder, 0777);
    snprintf(path, sizeof path, "%.500s/config.json", folder);
    FILE *file = fopen(path, "wb");
    if (!file)
        return false;
    fprintf(file,
            "{\"_class_name\":\"AutoencoderTiny\",\"latent_channels\":%d,\"encoder_block_out_channels\":[%s],"
            "\"decoder_block_out_channels\":[%s],\"num_encoder_blocks\":[%s],\"num_decoder_blocks\":[%s]}",
            latent_channels, widths, widths, blocks, blocks);
    bool good = !fclose(file);
    snprintf(path, sizeof path, "%.500s/diffusion_pytorch_model.safetensors", folder);
    file = fopen(path, "wb");
    if (!file)
        return false;
    for (int i = 0; i < 8; i++)
        fputc((int)((uint64_t)v.length >> (8 * i) & 0xff), file);
    good &= fwrite(v.header, 1, v.length, file) == v.length;
    for (size_t i = 0; i < v.bytes / sizeof(float); i++) {
        float value = (float)((i * 37) % 19) / 40.0f - 0.2f;
        good &= fwrite(&value, sizeof value, 1, file) == 1;
    }
    return !fclose(file) && good;
}

#endif
