// The folder of a quantized model, written.
#ifndef SDG_QUANTIZE_QUANT_WRITE_H
#define SDG_QUANTIZE_QUANT_WRITE_H

#include "quantize/quant_plan.h"
#include "quantize/quant_settings.h"

struct sdg_quant_result {
    const struct sdg_quantize_params *params;
    const struct sdg_quant_settings *settings;
    const struct sdg_quant_subject *subject;
    const struct sdg_quant_plan *plan;
    const struct sdg_statistics_info *calibration;  // NULL without statistics
    char statistics[17];                            // hash, "" = none
    double bytes_before, bytes_after, bytes_stored; // set by sdg_quant_write
};
// Refuses what sdg_quant_write would refuse for the place of the output, before the work is done.
enum sdg_result sdg_quant_check_output(const struct sdg_log *log, const struct sdg_quantize_params *params);
enum sdg_result sdg_quant_write(const struct sdg_log *log, struct sdg_quant_result *result);

#endif
