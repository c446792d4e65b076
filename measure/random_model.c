// A folder in diffusers' layout with random weights, as large as a real model, for timing where no real one is.
#include "sdgen/bench.h"

#include "base/directory.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "formats/model.h"
#include "text/text_encoder.h"
#include "unet/unet.h"
#include "vae/vae.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

// ---- shapes ----

static const struct shape {
    const char *name;
    const char *unet_channels, *down_blocks, *up_blocks, *vae_channels, *vae_down, *vae_up; // lists of JSON
    int cross, text_layers, text_heads, sample;
} shapes[] = {
    {"sd15", "320, 640, 1280, 1280",
     "\"CrossAttnDownBlock2D\", \"CrossAttnDownBlock2D\", \"CrossAttnDownBlock2D\", \"DownBlock2D\"",
     "\"UpBlock2D\", \"CrossAttnUpBlock2D\", \"CrossAttnUpBlock2D\", \"CrossAttnUpBlock2D\"", "128, 256, 512, 512",
     "\"DownEncoderBlock2D\", \"DownEncoderBlock2D\", \"DownEncoderBlock2D\", \"DownEncoderBlock2D\"",
     "\"UpDecoderBlock2D\", \"UpDecoderBlock2D\", \"UpDecoderBlock2D\", \"UpDecoderBlock2D\"", 768, 12, 12, 64},
    {"small", "64, 128, 160", "\"CrossAttnDownBlock2D\", \"CrossAttnDownBlock2D\", \"DownBlock2D\"",
     "\"UpBlock2D\", \"CrossAttnUpBlock2D\", \"CrossAttnUpBlock2D\"", "32, 64, 64, 64",
     "\"DownEncoderBlock2D\", \"DownEncoderBlock2D\", \"DownEncoderBlock2D\", \"DownEncoderBlock2D\"",
     "\"UpDecoderBlock2D\", \"UpDecoderBlock2D\", \"UpDecoderBlock2D\", \"UpDecoderBlock2D\"", 128, 2, 2, 16},
};

static const char model_index[] =
    "{\"_class_name\": \"StableDiffusionPipeline\", \"requires_safety_checker\": false, \"safety_checker\": [null, "
    "null],\n \"feature_extractor\": [null, null], \"image_encoder\": [null, null],\n \"scheduler\": [\"diffusers\", "
    "\"DDIMScheduler\"], \"text_encoder\": [\"transformers\", \"CLIPTextModel\"],\n \"tokenizer\": [\"transformers\", "
    "\"CLIPTokenizer\"], \"unet\": [\"diffusers\", \"UNet2DConditionModel\"], \"vae\": [\"diffusers\", "
    "\"AutoencoderKL\"]}";
static const char scheduler[] =
    "{\"_class_name\": \"DDIMScheduler\", \"beta_start\": 0.00085, \"beta_end\": 0.012, \"beta_schedule\": "
    "\"scaled_linear\",\n \"clip_sample\": false, \"num_train_timesteps\": 1000, \"set_alpha_to_one\": false, "
    "\"steps_offset\": 1}";
static const char weights_name[] = "diffusion_pytorch_model.safetensors";

// ---- weights ----

struct weights {
    const struct sdg_log *log;
    struct sdg_tensor *list;
    size_t count, capacity;
    struct sdg_graph *graphs[3]; // whose names the tensors have
    int graph_count;
    uint64_t random;
};

static bool ends_with(const char *name, const char *end)
{
    const size_t length = strlen(name), tail = strlen(end);
    return length >= tail && strcmp(name + length - tail, end) == 0;
}

// What layers begin with in torch: gains 1, biases 0, uniform weights of a variance of a third of 1 / inputs, which
// with normalisation between them keep values at their size.
static void fill(struct weights *w, struct sdg_tensor *t, uint16_t *data)
{
    const size_t count = t->bytes / sizeof *data;
    if (t->rank == 1) {
        const uint16_t value = sdg_f16_from_f32(ends_with(t->name, ".bias") ? 0 : 1);
        for (size_t i = 0; i < count; i++)
            data[i] = value;
        return;
    }
    double inputs = 1;
    for (int d = 1; d < t->rank; d++)
        inputs *= (double)t->dims[d];
    const float step = (float)(2 / sqrt(inputs) / 65536), lowest = (float)(-1 / sqrt(inputs));
    for (size_t i = 0; i < count; i += 4) {
        const uint64_t bits = sdg_random_next(&w->random);
        for (size_t k = i; k < i + 4 && k < count; k++)
            data[k] = sdg_f16_from_f32(lowest + step * (float)(bits >> 16 * (k - i) & 0xffff));
    }
}

static bool is_listed(const struct weights *w, const char *name)
{
    for (size_t i = 0; i < w->count; i++)
        if (strcmp(w->list[i].name, name) == 0)
            return true;
    return false;
}

static enum sdg_result add_weight(struct weights *w, const struct sdg_value_info *v)
{
    if (!sdg_grow(w->log, &w->list, &w->capacity, w->count + 1, sizeof *w->list, "random weights"))
        return SDG_ERROR_MEMORY;
    struct sdg_tensor *t = &w->list[w->count];
    *t = (struct sdg_tensor){.name = v->name, .dtype = SDG_F16, .rank = v->rank, .bytes = sizeof(uint16_t)};
    for (int d = 0; d < v->rank; d++) {
        t->dims[d] = d == 1 && v->slice_of ? v->slice_of : v->dims[d];
        t->bytes *= (size_t)t->dims[d];
    }
    uint16_t *data = sdg_alloc_raw(w->log, t->bytes, 1, "random weights");
    if (!data)
        return SDG_ERROR_MEMORY;
    t->data = data;
    w->count++;
    fill(w, t, data);
    return SDG_OK;
}

// Consumes the graph.
static enum sdg_result add_graph(struct weights *w, struct sdg_graph *graph)
{
    w->graphs[w->graph_count++] = graph;
    for (size_t i = 1; i < graph->value_count; i++)
        if (graph->values[i].kind == SDG_VALUE_WEIGHT && !is_listed(w, graph->values[i].name))
            SDG_TRY(add_weight(w, &graph->values[i]));
    return SDG_OK;
}

static void free_weights(struct weights *w)
{
    for (size_t i = 0; i < w->count; i++)
        sdg_free((void *)w->list[i].data);
    for (int i = 0; i < w->graph_count; i++)
        sdg_graph_destroy(&w->graphs[i]);
    sdg_free(w->list);
}

// ---- components ----

struct writer {
    const struct sdg_log *log;
    const struct shape *shape;
    const struct sdg_model *tokens_of; // the model whose tokenizer it gets
    struct sdg_folder_output *output;
    char config[2048]; // of the component
};

static enum sdg_result write_text(const struct writer *w, const char *folder, const char *name, const char *text)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s/%s", sdg_folder_output_path(w->output), folder, name);
    return sdg_output_text(w->log, path, text);
}

typedef enum sdg_result add_fn(const struct writer *w, struct weights *weights);

static enum sdg_result add_unet(const struct writer *w, struct weights *weights)
{
    struct sdg_unet_config c;
    struct sdg_graph *graph;
    SDG_TRY(sdg_unet_config_parse(w->log, "unet", w->config, &c));
    const struct sdg_unet_shape smallest = sdg_unet_smallest_shape(&c);
    SDG_TRY(sdg_unet_time_graph(w->log, &c, 1, &graph));
    SDG_TRY(add_graph(weights, graph));
    SDG_TRY(sdg_unet_context_graph(w->log, &c, 1, 1, &graph));
    SDG_TRY(add_graph(weights, graph));
    SDG_TRY(sdg_unet_step_graph(w->log, &c, &smallest, &graph));
    return add_graph(weights, graph);
}

static enum sdg_result add_vae(const struct writer *w, struct weights *weights)
{
    struct sdg_vae_config c;
    struct sdg_graph *graph;
    SDG_TRY(sdg_vae_config_parse(w->log, "vae", w->config, &c));
    SDG_TRY(sdg_vae_decoder_graph(w->log, &c, 1, 1, 1, &graph));
    SDG_TRY(add_graph(weights, graph));
    SDG_TRY(sdg_vae_encoder_graph(w->log, &c, 1, sdg_vae_factor(&c), sdg_vae_factor(&c), &graph));
    return add_graph(weights, graph);
}

static enum sdg_result add_text(const struct writer *w, struct weights *weights)
{
    struct sdg_text_config c;
    struct sdg_graph *graph;
    SDG_TRY(sdg_text_config_parse(w->log, "text_encoder", w->config, &c));
    const struct sdg_text_params params = {.batch = 1, .tokens = c.positions, .skip = 1, .final_norm = true};
    SDG_TRY(sdg_text_graph(w->log, &c, &params, &graph));
    return add_graph(weights, graph);
}

static enum sdg_result write_component(const struct writer *w, const char *folder, const char *weights_file,
                                       uint64_t seed, add_fn *add)
{
    struct weights weights = {.log = w->log, .random = seed};
    char path[4096];
    SDG_TRY(sdg_folder_output_add(w->output, folder));
    SDG_TRY(write_text(w, folder, "config.json", w->config));
    enum sdg_result result = add(w, &weights);
    snprintf(path, sizeof path, "%s/%s/%s", sdg_folder_output_path(w->output), folder, weights_file);
    if (result == SDG_OK)
        result = sdg_tensors_write(w->log, path, weights.list, weights.count, NULL, 0);
    free_weights(&weights);
    return result;
}

static enum sdg_result write_networks(struct writer *w)
{
    const struct shape *s = w->shape;
    const struct sdg_text_config *tokens = &w->tokens_of->text_config[0];
    snprintf(w->config, sizeof w->config,
             "{\"_class_name\": \"UNet2DConditionModel\", \"in_channels\": 4, \"out_channels\": 4, \"sample_size\": "
             "%d,\n \"block_out_channels\": [%s], \"layers_per_block\": 2, \"attention_head_dim\": 8, "
             "\"cross_attention_dim\": %d,\n \"down_block_types\": [%s],\n \"up_block_types\": [%s]}",
             s->sample, s->unet_channels, s->cross, s->down_blocks, s->up_blocks);
    SDG_TRY(write_component(w, "unet", weights_name, 1, add_unet));
    snprintf(w->config, sizeof w->config,
             "{\"_class_name\": \"AutoencoderKL\", \"in_channels\": 3, \"out_channels\": 3, \"latent_channels\": 4, "
             "\"sample_size\": %d,\n \"block_out_channels\": [%s], \"layers_per_block\": 2, \"scaling_factor\": "
             "0.18215,\n \"down_block_types\": [%s],\n \"up_block_types\": [%s]}",
             8 * s->sample, s->vae_channels, s->vae_down, s->vae_up);
    SDG_TRY(write_component(w, "vae", weights_name, 2, add_vae));
    snprintf(w->config, sizeof w->config,
             "{\"architectures\": [\"CLIPTextModel\"], \"vocab_size\": %d, \"hidden_size\": %d, "
             "\"intermediate_size\": %d,\n \"num_hidden_layers\": %d, \"num_attention_heads\": %d, "
             "\"max_position_embeddings\": %d, \"eos_token_id\": %d,\n \"hidden_act\": \"quick_gelu\"}",
             tokens->vocab_size, s->cross, 4 * s->cross, s->text_layers, s->text_heads, tokens->positions,
             tokens->eos_token_id);
    return write_component(w, "text_encoder", "model.safetensors", 3, add_text);
}

static enum sdg_result copy_tokenizer_file(void *user, const char *name)
{
    const struct writer *w = user;
    char from[4096], to[4096];
    snprintf(from, sizeof from, "%s/%s", w->tokens_of->tokenizer[0].folder, name);
    snprintf(to, sizeof to, "%s/tokenizer/%s", sdg_folder_output_path(w->output), name);
    return sdg_file_copy(w->log, from, to);
}

static enum sdg_result write_all(struct writer *w)
{
    SDG_TRY(write_networks(w));
    SDG_TRY(sdg_folder_output_add(w->output, "scheduler"));
    SDG_TRY(write_text(w, "scheduler", "scheduler_config.json", scheduler));
    SDG_TRY(sdg_folder_output_add(w->output, "tokenizer"));
    SDG_TRY(sdg_folder_list(w->log, w->tokens_of->tokenizer[0].folder, copy_tokenizer_file, w));
    return write_text(w, ".", "model_index.json", model_index);
}

// ---- the call ----

static const struct shape *find_shape(const char *name)
{
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        if (strcmp(shapes[i].name, name) == 0)
            return &shapes[i];
    return NULL;
}

enum sdg_result sdg_bench_write_model(const struct sdg_log *log, const char *shape, const char *folder)
{
    SDG_REQUIRE(log, shape, "shape");
    SDG_REQUIRE(log, folder, "folder");
    struct sdg_model *tokens_of = NULL;
    struct writer w = {.log = log, .shape = find_shape(shape)};
    if (!w.shape)
        return sdg_fail(log, SDG_ERROR_USAGE, "shape is '%s', should be sd15 or small", shape);
    if (!sdg_default_model())
        return sdg_fail(log, SDG_ERROR_INPUT, "the default model, whose tokenizer is needed, is not installed");
    SDG_TRY(sdg_model_open(log, sdg_default_model(), &tokens_of));
    w.tokens_of = tokens_of;
    enum sdg_result result = sdg_folder_output_open(log, folder, false, &w.output);
    if (result == SDG_OK)
        result = write_all(&w);
    if (result == SDG_OK)
        result = sdg_folder_output_commit(&w.output);
    sdg_folder_output_discard(&w.output);
    sdg_model_close(&tokens_of);
    return result;
}
