// What a program's signal handlers may ask of the library.
#include "sdgen/sdgen.h"

#include "base/file.h"
#include "base/unfinished.h"

const char *sdg_file_at(const void *address)
{
    return sdg_map_path(address);
}

void sdg_discard_outputs(void)
{
    sdg_unfinished_remove();
}
