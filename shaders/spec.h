// Ids of the specialisation constants, for GLSL (`layout(constant_id = ...)`) and C (`spec[...]` of struct
// sdg_vk_dispatch), which both include this file. A shader uses those of the files it includes, and its own, so that
// different families share numbers; all are below SDG_SPEC_COUNT. C gives every constant of a pipeline a value, 0 where
// it names none, so the defaults in GLSL only help tools.
#ifndef SDG_SHADERS_SPEC_H
#define SDG_SHADERS_SPEC_H

#define SDG_SPEC_LOCAL_SIZE 0 // types.glsl: invocations of a workgroup

// codes.glsl
#define SDG_SPEC_LOWEST 1
#define SDG_SPEC_HIGHEST 2
#define SDG_SPEC_OUT_PAIRS 3
#define SDG_SPEC_SMOOTHED 16

// tile.glsl
#define SDG_SPEC_BM 4
#define SDG_SPEC_BN 5
#define SDG_SPEC_TM 6
#define SDG_SPEC_TN 7
#define SDG_SPEC_BY_COLUMNS 20
// parts.glsl
#define SDG_SPEC_SPLIT 21
// operands_*.glsl, slices.glsl, attention_coopmat.glsl
#define SDG_SPEC_BUFFERS 8
// slices.glsl, attention_coopmat.glsl
#define SDG_SPEC_FRAGMENT_M 17
#define SDG_SPEC_FRAGMENT_N 18
#define SDG_SPEC_FRAGMENT_K 19
// epilogue.glsl
#define SDG_SPEC_BIAS 9
#define SDG_SPEC_TABLE 10
#define SDG_SPEC_RESIDUAL 11
#define SDG_SPEC_ACTIVATION 12
// weights_float.glsl and weights_s8.glsl
#define SDG_SPEC_WEIGHT_BITS 13
// gate.glsl
#define SDG_SPEC_GEGLU 22
// weights.glsl
#define SDG_SPEC_WEIGHT_SLICE 23
// weights_s8.glsl, read_codes.glsl
#define SDG_SPEC_IN_PAIRS 14
#define SDG_SPEC_FLIP 15
#define SDG_SPEC_IN_LOWEST 24
#define SDG_SPEC_IN_HIGHEST 25
// conv2d.glsl; products have no smoothing
#define SDG_SPEC_UPSAMPLE 16
// loading.glsl
#define SDG_SPEC_NORMALISED 24

// attention.glsl
#define SDG_SPEC_DEPTH 9
#define SDG_SPEC_DEPTH_V 10
// attention.comp
#define SDG_SPEC_ROWS 4
#define SDG_SPEC_KEYS 5
#define SDG_SPEC_SLICE 6
#define SDG_SPEC_ONCE 7
// attention_coopmat.glsl
#define SDG_SPEC_SUBGROUP 12
// attention_lanes.glsl
#define SDG_SPEC_WAITING 9

// hadamard.comp
#define SDG_SPEC_BLOCK 4
#define SDG_SPEC_SPAN 5

// layer_norm.comp
#define SDG_SPEC_STATISTICS 4

// unary.comp, binary.comp; group_norm.comp, conv1d_causal.comp: its activation
#define SDG_SPEC_FUNCTION 4

// conv1d_causal.comp, selective_scan.glsl
#define SDG_SPEC_BACKWARD 5
// conv1d_causal.comp
#define SDG_SPEC_TAPS 6
#define SDG_SPEC_SHIFTED 7
#define SDG_SPEC_READS 8 // 0: floats, 1: unsigned codes, 2: signed ones
// selective_scan.glsl and those that include it
#define SDG_SPEC_STATES 6
#define SDG_SPEC_LANES 7
#define SDG_SPEC_CONTINUED 8
#define SDG_SPEC_GATED 9
#define SDG_SPEC_ADDED 10
#define SDG_SPEC_X_CODES 11 // and SDG_SPEC_IN_PAIRS of these
#define SDG_SPEC_X_SIGNED 12
#define SDG_SPEC_DELTA_PAIRS 13 // intervals of delta and gate; 0: they are no codes
#define SDG_SPEC_GATE_PAIRS 15
#define SDG_SPEC_SIGNED 17 // bits: delta's codes are, gate's codes are
// selective_scan_prepare.comp
#define SDG_SPEC_DELTA_BIAS 8

// move.glsl
#define SDG_SPEC_BYTES 4

// peak_memory.comp
#define SDG_SPEC_COPIED 4

#define SDG_SPEC_COUNT 26

#define SDG_WEIGHT_ROWS 31 // SDG_SPEC_WEIGHT_SLICE of weights that lie row by row

// Values of SDG_SPEC_TABLE: entries that a row of the epilogue's table has.
#define SDG_TABLE_NONE 0
#define SDG_TABLE_SHARED 1     // one for all samples
#define SDG_TABLE_PER_SAMPLE 2 // one each

#endif
