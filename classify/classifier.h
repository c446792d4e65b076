// Inside classify/: a compiled classifier, and running it on more pictures than it takes at once.
#ifndef SDG_CLASSIFY_CLASSIFIER_H
#define SDG_CLASSIFY_CLASSIFIER_H

#include "backend/backend.h"
#include "quant/quantized.h"
#include "sdgen/classify.h"
#include "vim/vim_model.h"

struct sdg_classifier {
    struct sdg_log log;
    struct sdg_vim_model *model;
    struct sdg_quantized *quantized; // NULL: a floating-point model
    struct sdg_backend *backend;
    struct sdg_program *program; // of `batch` pictures
    char backend_name[16];
    enum sdg_dtype dtype;
    int64_t batch;
    float *patches; // of `batch` pictures
};

// Reads what the model's files say about its quantization, if it is quantized; and applies that to a fused graph.
enum sdg_result sdg_classifier_open_quantized(struct sdg_classifier *classifier);
enum sdg_result sdg_classifier_quantize(const struct sdg_classifier *classifier, struct sdg_graph *graph);
// Compiles the network after `rewrite` (may be NULL), for classifier->batch pictures, and writes what no picture
// changes: positions and intervals.
enum sdg_result sdg_classifier_compile(const struct sdg_classifier *classifier,
                                       enum sdg_result (*rewrite)(void *user, struct sdg_graph *graph), void *user,
                                       struct sdg_program **out);
// Runs a program on pictures [count][..] batch by batch; after each run `read` gets the index of its first picture and
// how many of the batch are pictures.
enum sdg_result sdg_classifier_run(
    struct sdg_classifier *classifier, struct sdg_program *program, const float *pictures, size_t count,
    enum sdg_result (*read)(void *user, struct sdg_program *program, size_t first, size_t pictures), void *user);

#endif
