// What the passes over the tokens share: of a sample's tokens, in the order of the scan, a workgroup walks over one chunk, for CHANNELS
// channels. LANES invocations share a channel, each with every LANES-th of its states in registers. Tokens come in tiles: the whole
// workgroup computes dt and dt x of a tile, then each invocation moves its states through it.
#include "selective_scan_push.glsl"
layout(constant_id = SDG_SPEC_BACKWARD) const uint BACKWARD = 0;
layout(constant_id = SDG_SPEC_LANES) const uint LANES = 4; // a power of two

const uint INVOCATIONS = 128, TILE = 8;
const uint CHANNELS = INVOCATIONS / LANES, PER_LANE = (STATES + LANES - 1) / LANES;

layout(constant_id = SDG_SPEC_SMOOTHED) const uint SMOOTHED = 0; // there are factors of results that become codes
layout(constant_id = SDG_SPEC_X_CODES) const uint X_CODES = 0;   // x is codes
layout(constant_id = SDG_SPEC_X_SIGNED) const uint X_SIGNED = 0;
layout(constant_id = SDG_SPEC_IN_PAIRS) const uint IN_PAIRS = 0; // as OUT_PAIRS in codes.glsl, of x
layout(constant_id = SDG_SPEC_DELTA_PAIRS) const uint DELTA_PAIRS = 0; // intervals of delta and gate; 0: no codes
layout(constant_id = SDG_SPEC_GATE_PAIRS) const uint GATE_PAIRS = 0;
layout(constant_id = SDG_SPEC_SIGNED) const uint SIGNED = 0;
const uint KINDS = STATES + 2 + SMOOTHED, X_PAIRS = X_CODES == 0 ? 0 : IN_PAIRS == 0 ? 1 : IN_PAIRS;

layout(binding = 0) readonly buffer X { SCALAR x[]; };
layout(binding = 0) readonly buffer XWords { uint x_words[]; };
layout(binding = 1) readonly buffer Delta { SCALAR delta[]; };
layout(binding = 1) readonly buffer DeltaWords { uint delta_words[]; };
layout(binding = 2) readonly buffer BC { SCALAR bc[]; };
layout(binding = 3) readonly buffer Constants { float constants[]; }; // see selective_scan_prepare.comp

shared float steps[TILE * CHANNELS];  // dt
shared float inputs[TILE * CHANNELS]; // dt x

// Where the token is, counted through all samples, that comes at `place` in the scan.
uint token_at(uint place)
{
    return gl_WorkGroupID.z * p.tokens + (BACKWARD != 0 ? p.tokens - 1 - place : place);
}

// Invocations of channels beyond the last do what its own do, and store nothing.
uint channel(uint i)
{
    return min(gl_WorkGroupID.x * CHANNELS + i % CHANNELS, p.c - 1);
}

bool is_channel(uint i)
{
    return gl_WorkGroupID.x * CHANNELS + i % CHANNELS < p.c;
}

// The i-th state of an invocation; false for those that only the last lanes lack.
uint state_of(uint i)
{
    return gl_LocalInvocationID.x / CHANNELS + i * LANES;
}

bool is_state(uint i)
{
    return (i + 1) * LANES <= STATES || state_of(i) < STATES;
}

// Byte `at` of words: the word it is in -> the code.
float code_in(uint word, uint at, bool is_signed)
{
    int shift = int(at % 4 * 8);
    return float(is_signed ? bitfieldExtract(int(word), shift, 8) : int(bitfieldExtract(word, shift, 8)));
}

// A code's value, where the intervals begin at constants[first].
float value_of(float code, uint first, uint pairs, uint token)
{
    uint pair = first + (pairs > 1 ? 2 * (token % pairs) : 0);
    return (code - constants[pair + 1]) * constants[pair];
}

// Element `at`, of a token counted through all samples.
float x_at(uint at, uint token)
{
    if (X_CODES == 0)
        return float(x[at]);
    return value_of(code_in(x_words[at / 4], at, X_SIGNED != 0), KINDS * p.c, IN_PAIRS, token);
}

float delta_at(uint at, uint token)
{
    if (DELTA_PAIRS == 0)
        return float(delta[at]);
    return value_of(code_in(delta_words[at / 4], at, (SIGNED & 1) != 0), KINDS * p.c + 2 * X_PAIRS, DELTA_PAIRS, token);
}

void load_rates(out float rates[PER_LANE])
{
    [[unroll]] for (uint i = 0; i < PER_LANE; i++)
        rates[i] = is_state(i) ? constants[state_of(i) * p.c + channel(gl_LocalInvocationID.x)] : 0.0;
}

void load_tile(uint first, uint count)
{
    for (uint i = gl_LocalInvocationID.x; i < count * CHANNELS; i += INVOCATIONS) {
        uint c = channel(i), token = token_at(first + i / CHANNELS), at = token * p.c + c;
        float dt = apply_unary(UNARY_SOFTPLUS, delta_at(at, token) + constants[(STATES + 1) * p.c + c], 0.0, 0.0);
        steps[i] = dt;
        inputs[i] = dt * x_at(at, token);
    }
}

uint state_at(uint chunk, uint i)
{
    return state_of_chunk(chunk, state_of(i), channel(gl_LocalInvocationID.x));
}
