// A quantized model as it runs: what its files say about each site and layer, and the rewrite that makes a graph
// compute with it.
//
// Tensors of the UNet file, M a module, OP an operation of the fused graph (M, or "M[a:b]" for the part of a layer that
// reads channels a .. b-1 of a split skip connection), SITE a site (quant/sites.h):
//     M.weight               s8 in the float tensor's shape, or four bits a code: u8 [O, (inputs + 1) / 2], rows as
//     sdg_pack4 makes them
//                            absent from files with the metadata "codes": "rounded": the codes of the base's weights,
//                            each the nearest
//     OP.weight_scale        f32 [O], > 0; where activations stay float also [O, G], a scale per group of inputs
//     SITE.input_scale       f32 [1000] over t = 0..999, or [1], > 0; or with a scale for each token [1000, tokens] or
//                            [1, tokens], where only linear layers and 1x1 convolutions read the site: such a model
//                            draws pictures of the one size that has so many tokens there. Absent under the dynamic
//                            rule
//     SITE.input_zero_point  s32, the same shape, SiLU sites only: round(0.2785 / scale), at most the highest code
#ifndef SDG_QUANT_QUANTIZED_H
#define SDG_QUANT_QUANTIZED_H

#include "formats/tensors.h"
#include "quant/scheme.h"
#include "quant/sites.h"

#define SDG_LAYERS_KEY "layers" // metadata: how many layers are quantized
#define SDG_CODES_KEY "codes"
#define SDG_CODES_ROUNDED "rounded"

struct sdg_quantized_site {
    char *name;
    enum sdg_site_kind kind;
    size_t times;  // of its scales: 1, constant; SDG_TDQ_TIMES, by timestep; 0, measured at run time
    size_t tokens; // 1: the same for all; else the site's tokens
    float *scales; // [tokens][times]
};

struct sdg_quantized { // read-only after creation
    struct sdg_scheme scheme;
    // those that at least one quantized layer reads, in order of execution; none if activations stay float
    struct sdg_quantized_site *sites;
    size_t site_count;
    struct sdg_quantized_layer {
        char *name; // of the operation
        int bits;   // of its weights, 4 or 8
    } *layers;
    size_t layer_count;
    uint64_t rounding_saves; // bytes by which codes that are rounded on loading are smaller than the floats in the file
    size_t temporal_sites;   // whose scale changes with the timestep
};

// Reads and checks everything said about the sites and layers of `graph`, a fused step graph of any shape. `scheme`:
// its name in the model's configuration. What is missing, misshapen, not finite, not positive or inconsistent:
// SDG_ERROR_INPUT with file, tensor and reason.
enum sdg_result sdg_quantized_create(const struct sdg_log *log, const char *scheme, const struct sdg_tensors *tensors,
                                     const struct sdg_graph *graph, struct sdg_quantized **out);
void sdg_quantized_destroy(struct sdg_quantized **quantized);

// The interval of a site's token (below its `tokens`) at a timestep, fractions allowed; of sites measured at run time
// only codes and kind are known (scale 1).
struct sdg_interval sdg_quantized_interval(const struct sdg_quantized *quantized, size_t site, size_t token, double t);
// Row table `table` [rows, tokens, 2] of a site: scale and zero point of each token at timestep(user, row).
void sdg_quantized_table(const struct sdg_quantized *quantized, size_t site, int64_t rows,
                         double (*timestep)(const void *user, int64_t row), const void *user, float *table);

// The quantize rewrite, of a fused graph of the same network. Layers with integer weights compute in integers; each
// site's codes are made by the operation that computes it where nothing else reads its values, else by a quantize
// operation. The caller writes the tables sdg_interval_name() (sdg_quantized_table). Where activations stay float the
// graph stays as it is: backends find the integers themselves (backend.h, sdg_weight_code_bits). A site with an
// interval for each token in a graph where it has another number of tokens, or is read by a kernel larger than 1x1:
// SDG_ERROR_INPUT naming the operation.
enum sdg_result sdg_graph_quantize_model(struct sdg_graph *graph, const struct sdg_quantized *quantized);

#endif
