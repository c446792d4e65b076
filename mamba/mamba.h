// Mamba-1's block (arXiv 2312.00752), and the one of Vision Mamba (arXiv 2401.09417, "bimamba v2") that reads the
// tokens in both directions. Weights are named as their authors name them, M the block's path:
//     M.in_proj     [2E, C]: x, then the gate z
//     M.conv1d      [E, 1, K] and a bias: a causal convolution of x, then SiLU
//     M.x_proj      [R + 2S, E]: what delta is made of, B and C, of each token
//     M.dt_proj     [E, R] and a bias: delta before its softplus
//     M.A_log, M.D  [E, S], [E]
//     M.out_proj    [C, E]
// and for the direction from the last token to the first conv1d_b, x_proj_b, dt_proj_b, A_b_log and D_b. Tokens are
// H*W, in the order they are stored. A class token is a token like the others: whoever wants one puts it in.
//
// Operations have the names of their weights' modules; the scans are M.scan and M.scan_b, the parts of x_proj's results
// that dt_proj reads M.dt and M.dt_b.
#ifndef SDG_MAMBA_MAMBA_H
#define SDG_MAMBA_MAMBA_H

#include "formats/tensors.h"
#include "graph/graph.h"

enum { SDG_MAMBA_STATES_MAX = 256, SDG_MAMBA_KERNEL_MIN = 2, SDG_MAMBA_KERNEL_MAX = 8 };

struct sdg_mamba_config {
    int d_state; // S, 1 .. SDG_MAMBA_STATES_MAX
    int d_conv;  // K, SDG_MAMBA_KERNEL_MIN .. SDG_MAMBA_KERNEL_MAX
    int expand;  // E = expand * channels of the input
    int dt_rank; // R; 0: channels of the input / 16, rounded up
    bool bidirectional;
    bool halve; // both directions' sum is halved before out_proj (Vision Mamba's if_divide_out)
    bool in_proj_bias, no_conv_bias, out_proj_bias;
    // out_proj reads what M.hadamard makes of the scans' results, blocks of the largest power of two that divides E
    // (Quamba, arXiv 2410.13229): its weights then are those of a plain block times the same matrix
    bool hadamard;
};

// out_proj of what both directions say about x [N,H,W,C], gated, + residual (0: none): [N,H,W,C].
sdg_value sdg_mamba_block(struct sdg_graph *g, const char *path, sdg_value x, sdg_value residual,
                          const struct sdg_mamba_config *config);

// Looks through the weights that only scans and their convolutions read: all have to be finite, and so has exp(A_log)
// in f32. SDG_ERROR_INPUT naming file and tensor. Weights that are missing or have another shape are left to who reads
// them.
enum sdg_result sdg_mamba_check_weights(const struct sdg_log *log, const struct sdg_graph *graph,
                                        const struct sdg_tensors *tensors);

#endif
