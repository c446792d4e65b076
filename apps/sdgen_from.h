// sdgen --from: the parameters stored in a picture become values of the command line, for what it does not say itself.
#ifndef SDG_APPS_SDGEN_FROM_H
#define SDG_APPS_SDGEN_FROM_H

#include "sdgen_options.h"

// From options->values.from. Files that the picture started from are looked for beside it and in the working directory;
// one that is missing, or has become another, is an error that says how to name it.
enum sdg_result sdgen_from_picture(struct app_ui *ui, struct sdgen_options *options);
// -i without any prompt: that of the init image, where it has one.
enum sdg_result sdgen_from_init(struct app_ui *ui, struct sdgen_options *options);
void sdgen_from_free(struct sdgen_from **from);

// -M metadata.
enum sdg_result sdgen_print_metadata(struct app_ui *ui, const struct sdgen_values *values);

#endif
