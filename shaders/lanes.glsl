// What an invocation of matmul_lanes.glsl keeps in registers; the including file has defined SUM and A_LOAD.
#extension GL_KHR_shader_subgroup_shuffle : require
#include "columns.glsl"
const uint LANE_COUNT = THREADS;
const uint READS = BM / LANE_COUNT;

SUM sum[TM * TN];
A_LOAD a[READS]; // of the rows that this invocation reads, LANE_COUNT apart
