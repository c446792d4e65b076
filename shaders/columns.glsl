// Where in the tile output j of an invocation is: in groups of GROUP neighbours, those of neighbouring invocations side by side.
uint column(uint first_n, uint j)
{
    return (j / GROUP * THREADS_N + first_n) * GROUP + j % GROUP;
}
