// What the files of sdeval share.
#ifndef SDG_APPS_SDEVAL_H
#define SDG_APPS_SDEVAL_H

#include <stdio.h>

#include "common/ui.h"
#include "sdgen/evaluate.h"

// What calibration saw at one site.
struct sdeval_range {
    char *name;
    size_t rows;
    double *timesteps, *min, *max, *typical; // [rows]
    double correlation;
};
struct sdeval_statistics { // empty if no file was given
    struct sdeval_range *ranges;
    size_t count, related, strongly; // sites, those with |r| > 0.5, > 0.7
};

void sdeval_write_json(FILE *file, const struct sdg_evaluation *evaluation, const struct sdeval_statistics *statistics);
enum sdg_result sdeval_write_html(struct app_ui *ui, FILE *file, const struct sdg_evaluation *evaluation,
                                  const struct sdeval_statistics *statistics);

#endif
