// The step of a state, exp(t) h + v for t <= 0. Where the state fades slowly it is h + (exp(t) - 1) h + v with the difference from its
// series: exp(t) itself, rounded, and off by some units in the last place as devices may be, errs by the same at every step, and the state
// remembers 1 / |t| of them.
float decayed(float h, float t, float v)
{
    bool slowly = t > -0.0625;
    float factor = slowly ? t * (1.0 + t * (0.5 + t * (0.1666666667 + t * 0.0416666667))) : exp(t);
    return factor * h + v + (slowly ? h : 0.0);
}
