// a / b rounded as IEEE 754 says. A device's own division may be off by 2.5 units in the last place, and codes have to be the same
// everywhere: they are round(y * (1 / scale)), where one unit in 1 / scale moves values from one code to the next.
//
// The device's quotient of the significands is corrected in integers, which are exact on every device: neither fused multiply-adds nor
// a way of treating denormals is relied on, and no compiler can contract anything. With both significands in [2^23, 2^24) and the quotient
// c as an integer in [2^23, 2^24], the remainder 2^23 a - c b is at most a few b and so right modulo 2^32. The nearest c is the quotient:
// two such numbers never have one half way between two floats.
//
// Zeros, denormals, infinities, NaN and quotients out of the range of normal numbers are left to the device.
float divide(float a, float b)
{
    uint bits_a = floatBitsToUint(a), bits_b = floatBitsToUint(b);
    int exponent_a = int(bits_a >> 23 & 0xffu), exponent_b = int(bits_b >> 23 & 0xffu), exponent = exponent_a - exponent_b + 127;
    uint part_a = bits_a & 0x7fffffu | 0x800000u, part_b = bits_b & 0x7fffffu | 0x800000u;
    if (part_a < part_b) {
        part_a *= 2;
        exponent--;
    }
    if (min(exponent_a, exponent_b) == 0 || max(exponent_a, exponent_b) == 255 || exponent < 1 || exponent > 253)
        return a / b;
    uint c = uint(float(part_a) / float(part_b) * 8388608.0);
    int remainder = int((part_a << 23) - c * part_b), divisor = int(part_b);
    for (; 2 * remainder > divisor; remainder -= divisor)
        c++;
    for (; 2 * remainder < -divisor; remainder += divisor)
        c--;
    // c = 2^24 carries into the exponent
    return uintBitsToFloat((bits_a ^ bits_b) & 0x80000000u | (uint(exponent) << 23) + (c - 0x800000u));
}
