// Unary functions; the numbers are those of enum sdg_unary. Written so that no intermediate overflows, whatever x is, and
// without the built-in tanh, whose precision drivers choose freely.
const uint UNARY_NONE = 0, UNARY_SILU = 1, UNARY_GELU_ERF = 2, UNARY_GELU_TANH = 3, UNARY_QUICK_GELU = 4, UNARY_RELU = 5,
           UNARY_TANH = 6, UNARY_SIGMOID = 7, UNARY_SOFTPLUS = 8, UNARY_AFFINE = 9,
           UNARY_EXP = 10, UNARY_SQRT = 11, UNARY_RECIPROCAL = 12;

float sigmoid(float x)
{
    float e = exp(-abs(x));
    return (x >= 0.0 ? 1.0 : e) / (1.0 + e);
}

// 1 - erf(a) for a >= 1, as exp(-q(a)) with q fitted to -log(erfc) on 1..6: relative error below 1e-5 where it is tiny, below 1e-7
// where it counts against 1.
float erf_complement(float a)
{
    a = min(a, 6.0);
    float q = 8.360976977e-8;
    q = q * a - 3.346560106e-6;
    q = q * a + 6.073015902e-5;
    q = q * a - 6.648885319e-4;
    q = q * a + 4.941265099e-3;
    q = q * a - 2.668666840e-2;
    q = q * a + 1.102291718e-1;
    q = q * a + 6.319303513e-1;
    q = q * a + 1.130046964;
    q = q * a - 2.480738331e-4;
    return exp(-q);
}

// Below 1 an odd polynomial. Largest error 1.8e-7, absolute and relative.
float erf(float x)
{
    float t = x * x;
    if (t >= 1.0)
        return sign(x) * (1.0 - erf_complement(abs(x)));
    float s = 7.882497448e-5;
    s = s * t - 8.018855006e-4;
    s = s * t + 5.189312156e-3;
    s = s * t - 2.685432881e-2;
    s = s * t + 1.128359735e-1;
    s = s * t - 3.761262596e-1;
    return x * (s * t + 1.128379167);
}

float gelu_erf(float x)
{
    float u = x * 0.7071067812;
    return 0.5 * x * (u <= -1.0 ? erf_complement(-u) : 1.0 + erf(u)); // the sum would lose a small result's digits
}

float hyperbolic_tangent(float x)
{
    float a = abs(x), t = x * x;
    if (a < 0.25) // the quotient below would lose the low bits
        return x * (1.0 + t * (-0.3333333333 + t * (0.1333333333 + t * (-0.0539682540 + t * 0.0218694885))));
    float e = exp(-2.0 * a);
    return sign(x) * (1.0 - e) / (1.0 + e);
}

// log(1 + e) for 0 <= e <= 1 by the series of 2 atanh(e / (2 + e)): exact for tiny e too.
float log_one_plus(float e)
{
    float z = e / (2.0 + e), t = z * z;
    float series = 1.0 + t * (0.3333333333 + t * (0.2 + t * (0.1428571429 + t * (0.1111111111 + t * (0.0909090909 + t * 0.0769230769)))));
    return 2.0 * z * series;
}

float one_of_unary(uint function, float x, float a, float b)
{
    switch (function) {
    case UNARY_SILU: return x * sigmoid(x);
    case UNARY_GELU_ERF: return gelu_erf(x);
    case UNARY_GELU_TANH: return x * sigmoid(1.595769122 * (x + 0.044715 * x * x * x)); // 0.5 (1 + tanh(u)) = sigmoid(2 u)
    case UNARY_QUICK_GELU: return x * sigmoid(1.702 * x);
    case UNARY_RELU: return max(x, 0.0);
    case UNARY_TANH: return hyperbolic_tangent(x);
    case UNARY_SIGMOID: return sigmoid(x);
    case UNARY_SOFTPLUS: return max(x, 0.0) + log_one_plus(exp(-abs(x)));
    case UNARY_AFFINE: return a * x + b;
    case UNARY_EXP: return exp(x);
    case UNARY_SQRT: return sqrt(x);
    case UNARY_RECIPROCAL: return 1.0 / x;
    default: return x;
    }
}

// With a condition around the switch SwiftShader compiles a product, which has this for every output, in 0.2 s; without it took 17, whatever
// the function.
float apply_unary(uint function, float x, float a, float b)
{
    return function == UNARY_NONE ? x : one_of_unary(function, x, a, b);
}
