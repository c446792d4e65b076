// A gated layer multiplies y[c] with gelu(y[n / 2 + c]). Columns are taken in another order then, so that whoever makes four neighbours of
// them has two values and, behind these, their gates: column i of the product is row row_of_weights(i) of w.
layout(constant_id = SDG_SPEC_GEGLU) const uint GATED = 0;

uint row_of_weights(uint n)
{
    return GATED == 0 ? n : n / 4 * 2 + n % 2 + (n & 2) * (p.n / 4);
}
