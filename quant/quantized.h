// A quantized model as it runs: what its files say about each site and layer, and the rewrite that makes a graph
// compute with it. formats/quantized_folder.h has the format.
#ifndef SDG_QUANT_QUANTIZED_H
#define SDG_QUANT_QUANTIZED_H

#include "formats/tensors.h"
#include "formats/scheme.h"
#include "quant/sites.h"

struct sdg_quantized_site {
    char *name;
    enum sdg_site_kind kind;
    // Of its scales: 1, constant; SDG_TDQ_TIMES, by timestep; 0, measured at run time; or, of tokens, time_count.
    size_t times;
    size_t tokens;        // 1: the same for all; else height * width
    size_t height, width; // of the grid of tokens
    float *scales;        // [tokens][times]
    int *zero_points;     // [tokens][times] of codes 0 .. 2^bits - 1; NULL: as the kind says
    float *factors;       // [SDG_TDQ_TIMES] by timestep, which the scales of tokens are multiplied with; NULL: 1
    float *smoothing;     // [channels] what values are multiplied with before they become codes; NULL: 1
    bool folded;          // ... by what makes them
};

struct sdg_quantized { // read-only after creation
    struct sdg_scheme scheme;
    // those that at least one quantized layer reads, in order of execution, then operands of scans that the file has
    // intervals of, which are codes, too; none if activations stay float
    struct sdg_quantized_site *sites;
    size_t site_count;
    struct sdg_quantized_layer {
        char *name; // of the operation
        int bits;   // of its weights as they are stored, 4 or 8
    } *layers;
    size_t layer_count;
    uint64_t rounding_saves; // bytes by which codes that are rounded on loading are smaller than the floats in the file
    size_t unread_sites;     // others of the network: only layers in floating point read them
    size_t temporal_sites;   // whose scale changes with the timestep
    size_t token_sites;      // that have an interval for each token
    double *timesteps;       // [time_count] ascending, of tables of tokens that have one for each of them
    size_t time_count;
    // Set before the rewrite:
    bool resample;   // intervals of tokens fit any grid: they are interpolated
    bool scan_codes; // scans read the codes of their x where a layer that is not smoothed has them (Quamba)
};

// Reads and checks everything said about the sites and layers of `graph`, a fused step graph of any shape. `scheme`:
// its name in the model's configuration. What is missing, misshapen, not finite, not positive or inconsistent:
// SDG_ERROR_INPUT with file, tensor and reason.
enum sdg_result sdg_quantized_create(const struct sdg_log *log, const char *scheme, const struct sdg_tensors *tensors,
                                     const struct sdg_graph *graph, struct sdg_quantized **out);
// SDG_ERROR_INPUT where the configuration of the folder `path` counts other sites with a constant interval than there
// are; those with intervals by token, and unread ones, may count or not. -1: it says nothing.
enum sdg_result sdg_quantized_check_static(const struct sdg_log *log, const struct sdg_quantized *q, const char *path,
                                           int static_sites);
void sdg_quantized_destroy(struct sdg_quantized **quantized);

// The interval of a site's token (below its `tokens`) at a timestep, fractions allowed; of sites measured at run time
// only codes and kind are known (scale 1).
struct sdg_interval sdg_quantized_interval(const struct sdg_quantized *quantized, size_t site, size_t token, double t);
// Rows and columns of the tokens that a rewritten graph has at a site with an interval for each token; 1 and 1 of
// others.
void sdg_quantized_grid(const struct sdg_quantized *quantized, size_t site, const struct sdg_graph *graph,
                        size_t *height, size_t *width);
// Row table `table` [rows, height * width, 2] of a site: scale and zero point of each token at timestep(user, row).
// Where the grid is not that of the calibration, both ends of each interval are interpolated between its four
// neighbours, pixel centres in proportion; outside of the outermost centres it is that of the nearest.
void sdg_quantized_table(const struct sdg_quantized *quantized, size_t site, size_t height, size_t width, int64_t rows,
                         double (*timestep)(const void *user, int64_t row), const void *user, float *table);

// The quantize rewrite, of a fused graph of the same network. Layers with integer weights compute in integers; each
// site's codes are made by the operation that computes it where nothing else reads its values, else by a quantize
// operation. The caller writes the tables sdg_interval_name() (sdg_quantized_table). Where activations stay float the
// graph stays as it is: backends find the integers themselves (graph/weights.h, sdg_weight_code_bits). A site with an
// interval for each token in a graph where its tokens are another grid (unless quantized->resample), or that is read by
// a kernel larger than 1x1: SDG_ERROR_INPUT naming the operation.
enum sdg_result sdg_graph_quantize_model(struct sdg_graph *graph, const struct sdg_quantized *quantized);

#endif
