#include "quantize/quant_subject.h"

#include "base/file.h"
#include "formats/kinds.h"
#include "unet/unet.h"
#include "vim/vim.h"

static enum sdg_result open_unet(const struct sdg_log *log, const char *path, struct sdg_quant_subject *s)
{
    SDG_TRY(sdg_model_open(log, path, &s->model));
    s->path = s->model->path;
    s->name = "UNet";
    s->tensors = s->model->unet;
    s->quantization = &s->model->unet_config.quantization;
    s->files = &sdg_quantized_unet_files;
    s->time_channels = s->model->unet_config.channels[0];
    return SDG_OK;
}

static enum sdg_result open_vim(const struct sdg_log *log, const char *path, struct sdg_quant_subject *s)
{
    SDG_TRY(sdg_vim_model_open(log, path, &s->vim));
    s->path = s->vim->path;
    s->name = "network";
    s->tensors = s->vim->tensors;
    s->quantization = &s->vim->config.quantization;
    s->files = &sdg_quantized_network_files;
    return SDG_OK;
}

enum sdg_result sdg_quant_subject_open(const struct sdg_log *log, const char *path, struct sdg_quant_subject *out)
{
    struct sdg_quant_subject s = {0};
    if (sdg_path_kind(path) == SDG_PATH_FILE) {
        SDG_TRY(sdg_check_file_kind(log, NULL, path));
        return sdg_fail(log, SDG_ERROR_UNSUPPORTED,
                        "%s: is a single file; quantized models are made of diffusers folders", path);
    }
    bool vim;
    SDG_TRY(sdg_vim_model_is(log, path, &vim));
    SDG_TRY(vim ? open_vim(log, path, &s) : open_unet(log, path, &s));
    if (s.quantization->present) {
        enum sdg_result result =
            sdg_fail(log, SDG_ERROR_INPUT, "%s: is quantized already (%s): start from the full-precision model", path,
                     s.quantization->scheme);
        sdg_quant_subject_close(&s);
        return result;
    }
    *out = s;
    return SDG_OK;
}

void sdg_quant_subject_close(struct sdg_quant_subject *subject)
{
    sdg_model_close(&subject->model);
    sdg_vim_model_close(&subject->vim);
    *subject = (struct sdg_quant_subject){0};
}

enum sdg_result sdg_quant_subject_graph(const struct sdg_log *log, const struct sdg_quant_subject *subject,
                                        struct sdg_graph **out)
{
    if (subject->vim)
        return sdg_vim_graph(log, &subject->vim->config, 1, out);
    const struct sdg_unet_config *config = &subject->model->unet_config;
    const struct sdg_unet_shape shape = sdg_unet_smallest_shape(config);
    return sdg_unet_fused_step_graph(log, config, &shape, out);
}
