// Frame for checking operations: a case builds a graph around one operation out of made-up data; the frame runs it on
// the backend under test and compares with the reference backend, which computes in f32 from the same (already rounded)
// data.
#ifndef TESTS_OPS_CHECK_H
#define TESTS_OPS_CHECK_H

#include "backend/backend.h"

#include <stdbool.h>

enum fill {
    NORMAL, // gaussian, scale and shift
    FLAT,   // all equal to `shift`: no variance
    EDGE,   // zeros of both signs, subnormals, large and tiny magnitudes, gaussian times `scale` between them
};

struct data {
    enum fill fill;
    float scale, shift;
};
#define NORMAL_DATA ((struct data){NORMAL, 1, 0})

enum { MOST_LEAVES = 12, MOST_PAIRS = 1 << 14, MOST_BEFORE = 8 };

struct suite {
    const struct sdg_log *log;
    struct sdg_backend *tested, *reference;
    // the tested one again with other numbers of threads; NULL where that has no meaning
    struct sdg_backend *with_threads[2];
    // vulkan: the device as it was tested before; cases that one of these computes as the tested one does are left out
    struct sdg_backend *before[MOST_BEFORE];
    const char *name;   // of the tested backend
    const char *filter; // run only labels that contain this; NULL: all
    const char *cpu_mask;
    int device;          // vulkan: index, -1 = the best
    unsigned disable;    // vulkan: enum sdg_feature bits that are not used
    bool bench;          // time instead of check
    bool pairwise;       // of large grids, run the cases that adds_pair() tells
    int part, parts;     // of the cases, run every parts-th, from the part-th on; parts 0: all
    int turn;            // cases of the current operation so far
    enum sdg_dtype type; // of the current pass
    int cases, failures, unsupported, same;
    int matched;                   // cases of all operations that the filter let through
    double worst[SDG_DTYPE_COUNT]; // NMSE reached, of the current operation
    uint64_t pairs[MOST_PAIRS];    // hashes of the pairs of choices that the current operation's cases had, 0: free
};

struct fixture {
    struct suite *suite;
    char label[256];
    struct sdg_graph *graph;
    int inputs, weights;
    struct {
        const char *name;
        void *values;
        size_t count;
        bool table;
    } input[MOST_LEAVES]; // float, or int32_t of ids
    struct sdg_tensor weight[MOST_LEAVES];
    char weight_name[MOST_LEAVES][32];
    struct sdg_tensors *file; // the weights, after write_weights()
    char path[64];
    uint64_t random;
    double bound_factor; // multiplies the bound on NMSE; 1 unless a case says why not
    // each element by itself must be right, not only the sum of squares: for operations that add nothing up
    bool pointwise;
    const char *kernel; // the last one's name has to contain this, if not NULL
    double relative;    // if not 0: each element may be wrong by this part of itself
    // finish() only: the reference computes from values, then the last operation is made to read these codes instead
    struct read_codes {
        int operand;
        char name[16]; // of the intervals
        sdg_value codes, interval;
    } reads[3];
    // If highest is not 0, the result is codes, and what is expected are codes before rounding and clipping: y / scale
    // + zero point. Where those are integers, `slack` 0 asks for equality. Where y is a sum or a function that backends
    // round differently, codes beside each other are both right if y / scale is within `slack` of the middle between
    // them.
    struct {
        int lowest, highest;
        double slack;
        sdg_value interval;  // finish() only: the reference computes y, then the operation is made to emit codes of it
        const float *pairs;  // ... with these scales and zero points, per row
        int64_t tokens;      // ... and per token, if not 0
        sdg_value smoothing; // ... of y times these, or 0
        const float *factors;
    } codes;
};

// Codes are up to 255 scales from the zero point, and a y of that size carries an error of some 2^-22 of itself in f32:
// 2^-14. Ten times that.
#define CODE_SLACK 1e-3

// Starts the case named by the format, e.g. begin(s, "conv2d(type=%s,n=%d)", ...). False if the filter leaves it out.
bool begin(struct suite *suite, struct fixture *f, const char *format, ...) SDG_PRINTF(3, 4);
// Leaves with random content, rounded to the type under test.
sdg_value input(struct fixture *f, const char *name, int64_t n, int64_t h, int64_t w, int64_t c, struct data data);
sdg_value ids(struct fixture *f, const char *name, int64_t n, int64_t t, int32_t limit);
sdg_value table(struct fixture *f, const char *name, int64_t rows, int64_t n, int64_t c);
sdg_value conv_weight(struct fixture *f, int64_t out, int64_t in, int kh, int kw);
sdg_value linear_weight(struct fixture *f, int64_t out, int64_t in);
sdg_value vector_weight(struct fixture *f, int64_t n, float scale, float shift);
sdg_value conv1d_weight(struct fixture *f, int64_t channels, int kernel);
sdg_value matrix_weight(struct fixture *f, int64_t rows, int64_t columns, struct data data);
// What a selective_scan, or its gradient, is checked with.
struct scan_shape {
    int n, h, w, channels, states;
    int rank; // channels of bc before B; those of C come first where `c_first`
    bool c_first, backward, bias, gate, add;
};
struct sdg_scan_operands scan_operands(struct fixture *f, const struct scan_shape *shape);
struct sdg_scan_params scan_params(const struct scan_shape *shape);
// Row table [rows,1,1,2] of `pairs`: scale and zero point per row, kept by the caller.
sdg_value intervals(struct fixture *f, const char *name, int64_t rows, const float *pairs);
// Row table [rows,tokens,1,2], likewise.
sdg_value token_intervals(struct fixture *f, const char *name, int64_t rows, int64_t tokens, const float *pairs);
// What codes of x stand for, of intervals that differ from row to row and, where asked for, from token to token: two
// rows of `pairs` [2, tokens, 2], which are filled and kept by the caller. finish() has the operation read the codes
// themselves as that operand.
sdg_value coded(struct fixture *f, int operand, sdg_value x, bool by_token, bool is_signed, float *pairs);
// Integer weights [O,I,k,k] (rank 4) or [O,I] (rank 2) in the file, 8 bits or 4 packed; a value for a float operation,
// to be turned with sdg_graph_use_codes. `codes` are copied.
sdg_value integer_weight(struct fixture *f, int rank, const int64_t dims[4], int bits, const int8_t *codes);
// Float weight that the file has as random codes of so many bits, with a scale per output.
sdg_value code_weight(struct fixture *f, int rank, const int64_t dims[4], int bits);
// Vector weight with these values.
sdg_value known_vector(struct fixture *f, int64_t n, const float *values);
// Content of the leaf input made last, as written: rounded to the type under test.
const float *last_input(const struct fixture *f);
// Runs and compares value `y`; prints a failure with its label; releases everything.
void finish(struct fixture *f, sdg_value y);

// For tests that know the result at one row: `bound` is the largest NMSE allowed. Releases everything.
void finish_expected(struct fixture *f, sdg_value y, int64_t row, const float *expected, double bound);
// The same at the first and the last row.
void finish_rows_expected(struct fixture *f, sdg_value y, const float *first, const float *last, double bound);
// Replaces the content of the leaf made last.
void set_input(struct fixture *f, const float *values);
void set_weight(struct fixture *f, const float *values);

// For tests of programs: what finish() does, in parts. Weights go to a temporary file, since that is where programs
// take them from.
bool write_weights(struct fixture *f);
// A program of f->graph on `backend` with its inputs and tables written.
enum sdg_result load(struct fixture *f, struct sdg_backend *backend, struct sdg_program **program);
void release(struct fixture *f);

// For grids of cases, where a backend compiles a kernel for nearly each of them, which on a processor takes a hundred
// times as long as to run it: faults come of one choice or of two that meet, so that a case counts if two of its
// choices have not met before. Remembers those of this case. Always true without suite.pairwise. `first`: the number
// of choices[0]; numbers tell apart what several calls ask.
bool adds_pair(struct suite *suite, int first, int count, const int64_t *choices);

const char *type_name(const struct suite *suite);
void note_failure(struct fixture *f, const char *format, ...) SDG_PRINTF(2, 3);
double nmse(const float *got, const float *expected, size_t count);
double gaussian(uint64_t *state);
double uniform(uint64_t *state);              // 0 <= u < 1
void *get(size_t bytes);                      // zeroed, at least one byte; free() it
double type_bound(const struct suite *suite); // largest NMSE allowed to a result stored in the type under test

// tests/ops/NAME.c: all cases of one operation, for the type of the current pass.
#define SDG_OP(name, upper, operands, result) void check_##name(struct suite *suite);
#include "graph/ops.def"
#undef SDG_OP
// Sums of integers and their epilogue, computed here as well.
void check_integers(struct suite *suite);
// Float operations that emit codes, and those that move codes.
void check_codes(struct suite *suite);
// Compositions: an epilogue, a joined input or a weight slice is the same as the separate operations; computed here,
// not by a backend.
void check_compositions(struct suite *suite);
// Layers computed in float64 elsewhere: `folder` holds conv, norm, activation, attention.safetensors.
void check_goldens(struct suite *suite, const char *folder);
void check_mamba_goldens(struct suite *suite, const char *path);
// Rules that hold for every program: errors, memory estimate, failing allocations.
void check_programs(struct suite *suite);

#endif
