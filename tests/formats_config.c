// formats/: config.json and scheduler_config.json, as published models have them and with every kind of bad value.
#include "base/json.h"
#include "formats/config.h"
#include "tests/temp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static const char sd15_unet[] =
    "{\"_class_name\":\"UNet2DConditionModel\",\"_diffusers_version\":\"0.6.0\",\"act_fn\":\"silu\",\"attention_head_"
    "dim\":8,"
    "\"block_out_channels\":[320,640,1280,1280],\"center_input_sample\":false,\"cross_attention_dim\":768,"
    "\"down_block_types\":[\"CrossAttnDownBlock2D\",\"CrossAttnDownBlock2D\",\"CrossAttnDownBlock2D\",\"DownBlock2D\"],"
    "\"downsample_padding\":1,\"flip_sin_to_cos\":true,\"freq_shift\":0,\"in_channels\":4,\"layers_per_block\":2,"
    "\"mid_block_scale_factor\":1,\"norm_eps\":1e-05,\"norm_num_groups\":32,\"out_channels\":4,\"sample_size\":64,"
    "\"up_block_types\":[\"UpBlock2D\",\"CrossAttnUpBlock2D\",\"CrossAttnUpBlock2D\",\"CrossAttnUpBlock2D\"]}";

static const char sd21_unet[] =
    "{\"_class_name\":\"UNet2DConditionModel\",\"act_fn\":\"silu\",\"attention_head_dim\":[5,10,20,20],"
    "\"block_out_channels\":[320,640,1280,1280],\"cross_attention_dim\":1024,\"dual_cross_attention\":false,"
    "\"down_block_types\":[\"CrossAttnDownBlock2D\",\"CrossAttnDownBlock2D\",\"CrossAttnDownBlock2D\",\"DownBlock2D\"],"
    "\"up_block_types\":[\"UpBlock2D\",\"CrossAttnUpBlock2D\",\"CrossAttnUpBlock2D\",\"CrossAttnUpBlock2D\"],"
    "\"num_class_embeds\":null,\"only_cross_attention\":false,\"sample_size\":96,\"upcast_attention\":true,"
    "\"use_linear_projection\":true}";

static const char sdxl_unet[] =
    "{\"_class_name\":\"UNet2DConditionModel\",\"addition_embed_type\":\"text_time\",\"addition_time_embed_dim\":256,"
    "\"attention_head_dim\":[5,10,20],\"block_out_channels\":[320,640,1280],\"class_embed_type\":null,\"class_"
    "embeddings_concat\":false,"
    "\"conv_in_kernel\":3,\"conv_out_kernel\":3,\"cross_attention_dim\":2048,\"cross_attention_norm\":null,"
    "\"down_block_types\":[\"DownBlock2D\",\"CrossAttnDownBlock2D\",\"CrossAttnDownBlock2D\"],\"encoder_hid_dim\":null,"
    "\"mid_block_only_cross_attention\":null,\"mid_block_type\":\"UNetMidBlock2DCrossAttn\",\"num_attention_heads\":"
    "null,"
    "\"projection_class_embeddings_input_dim\":2816,\"resnet_out_scale_factor\":1.0,\"resnet_skip_time_act\":false,"
    "\"resnet_time_scale_shift\":\"default\",\"sample_size\":128,\"time_cond_proj_dim\":null,\"time_embedding_type\":"
    "\"positional\","
    "\"transformer_layers_per_block\":[1,2,10],\"up_block_types\":[\"CrossAttnUpBlock2D\",\"CrossAttnUpBlock2D\","
    "\"UpBlock2D\"],"
    "\"upcast_attention\":null,\"use_linear_projection\":true}";

static const char sd15_vae[] =
    "{\"_class_name\":\"AutoencoderKL\",\"_diffusers_version\":\"0.6.0\",\"act_fn\":\"silu\",\"block_out_channels\":["
    "128,256,512,512],"
    "\"down_block_types\":[\"DownEncoderBlock2D\",\"DownEncoderBlock2D\",\"DownEncoderBlock2D\",\"DownEncoderBlock2D\"]"
    ","
    "\"in_channels\":3,\"latent_channels\":4,\"layers_per_block\":2,\"norm_num_groups\":32,\"out_channels\":3,\"sample_"
    "size\":512,"
    "\"up_block_types\":[\"UpDecoderBlock2D\",\"UpDecoderBlock2D\",\"UpDecoderBlock2D\",\"UpDecoderBlock2D\"]}";

static const char tiny_vae[] =
    "{\"_class_name\":\"AutoencoderTiny\",\"act_fn\":\"relu\",\"block_out_channels\":[64,64,64,64],"
    "\"decoder_block_out_channels\":[64,64,64,64],\"encoder_block_out_channels\":[64,64,64,64],"
    "\"num_decoder_blocks\":[3,3,3,1],\"num_encoder_blocks\":[1,3,3,3],\"scaling_factor\":1.0}";

static const char sd15_text[] = "{\"architectures\":[\"CLIPTextModel\"],\"attention_dropout\":0.0,\"bos_token_id\":0,"
                                "\"dropout\":0.0,\"eos_token_id\":2,"
                                "\"hidden_act\":\"quick_gelu\",\"hidden_size\":768,\"intermediate_size\":3072,\"layer_"
                                "norm_eps\":1e-05,\"max_position_embeddings\":77,"
                                "\"model_type\":\"clip_text_model\",\"num_attention_heads\":12,\"num_hidden_layers\":"
                                "12,\"pad_token_id\":1,\"projection_dim\":768,"
                                "\"torch_dtype\":\"float32\",\"vocab_size\":49408}";

static const char sdxl_text_2[] =
    "{\"architectures\":[\"CLIPTextModelWithProjection\"],\"eos_token_id\":2,\"hidden_act\":\"gelu\","
    "\"hidden_size\":1280,\"intermediate_size\":5120,\"model_type\":\"clip_text_model\","
    "\"num_attention_heads\":20,\"num_hidden_layers\":32,\"projection_dim\":1280,\"vocab_size\":49408}";

static const char sd15_scheduler[] = "{\"_class_name\":\"PNDMScheduler\",\"_diffusers_version\":\"0.6.0\",\"beta_end\":"
                                     "0.012,\"beta_schedule\":\"scaled_linear\","
                                     "\"beta_start\":0.00085,\"num_train_timesteps\":1000,\"set_alpha_to_one\":false,"
                                     "\"skip_prk_steps\":true,\"steps_offset\":1,"
                                     "\"trained_betas\":null,\"clip_sample\":false}";

static void test_unet(void **state)
{
    (void)state;
    struct sdg_unet_config c;
    assert_int_equal(sdg_unet_config_parse(NULL, "c", sd15_unet, &c), SDG_OK);
    assert_true(c.in_channels == 4 && c.out_channels == 4 && c.sample_width == 64 && c.sample_height == 64 &&
                c.levels == 4 && c.cross_attention_dim == 768);
    assert_true(c.channels[0] == 320 && c.channels[1] == 640 && c.channels[2] == 1280 && c.channels[3] == 1280);
    assert_true(c.down_attention[0] && c.down_attention[2] && !c.down_attention[3] && !c.up_attention[0] &&
                c.up_attention[3] && c.mid_attention);
    assert_true(c.layers_per_block[0] == 2 && c.layers_per_block[3] == 2 && c.heads[0] == 8 && c.heads[3] == 8);
    assert_true(c.transformer_layers[0] == 1 && c.transformer_layers[3] == 1 && c.norm_groups == 32 &&
                c.norm_eps == 1e-5f);
    assert_true(!c.linear_projection && c.flip_sin_to_cos && c.freq_shift == 0 && !c.time_cond_proj_dim &&
                !c.addition_embed_dim);

    assert_int_equal(sdg_unet_config_parse(NULL, "c", sd21_unet, &c), SDG_OK);
    assert_true(c.heads[0] == 5 && c.heads[1] == 10 && c.heads[3] == 20 && c.linear_projection &&
                c.cross_attention_dim == 1024);
    assert_true(c.sample_width == 96 && c.layers_per_block[1] == 2 && c.norm_groups == 32 && c.in_channels == 4);

    assert_int_equal(sdg_unet_config_parse(NULL, "c", sdxl_unet, &c), SDG_OK);
    assert_true(c.levels == 3 && c.addition_embed_dim == 2816 && c.addition_time_embed_dim == 256 &&
                c.transformer_layers[2] == 10);
    assert_true(!c.down_attention[0] && c.down_attention[2] && c.up_attention[0] && !c.up_attention[2] &&
                c.heads[2] == 20);

    assert_int_equal(sdg_unet_config_parse(NULL, "c", "{}", &c), SDG_OK); // diffusers' defaults
    assert_true(c.levels == 4 && c.cross_attention_dim == 1280 && c.channels[3] == 1280 && c.down_attention[0] &&
                !c.up_attention[0]);
}

static void test_vae(void **state)
{
    (void)state;
    struct sdg_vae_config c;
    assert_int_equal(sdg_vae_config_parse(NULL, "c", sd15_vae, &c), SDG_OK);
    assert_true(!c.tiny && c.in_channels == 3 && c.out_channels == 3 && c.latent_channels == 4 && c.levels == 4 &&
                c.layers_per_block == 2);
    assert_true(c.channels[0] == 128 && c.channels[3] == 512 && c.norm_groups == 32 && c.scaling_factor == 0.18215f);
    assert_true(c.mid_attention && c.quant_conv && c.post_quant_conv);
    assert_int_equal(sdg_vae_config_parse(NULL, "c", tiny_vae, &c), SDG_OK);
    assert_true(c.tiny && c.levels == 4 && c.channels[0] == 64 && c.decoder_channels[3] == 64 &&
                c.encoder_blocks[0] == 1 && c.encoder_blocks[3] == 3 && c.decoder_blocks[0] == 3 &&
                c.decoder_blocks[3] == 1);
    assert_true(c.scaling_factor == 1 && c.latent_magnitude == 3 && c.latent_shift == 0.5f && c.latent_channels == 4 &&
                c.out_channels == 3);
}

static void test_text(void **state)
{
    (void)state;
    struct sdg_text_config c;
    assert_int_equal(sdg_text_config_parse(NULL, "c", sd15_text, &c), SDG_OK);
    assert_true(c.vocab_size == 49408 && c.hidden == 768 && c.intermediate == 3072 && c.layers == 12 && c.heads == 12 &&
                c.positions == 77);
    assert_true(c.activation == SDG_TEXT_QUICK_GELU && c.eps == 1e-5f && c.eos_token_id == 2 && c.projection_dim == 0);
    assert_int_equal(sdg_text_config_parse(NULL, "c", sdxl_text_2, &c), SDG_OK);
    assert_true(c.hidden == 1280 && c.layers == 32 && c.heads == 20 && c.activation == SDG_TEXT_GELU &&
                c.projection_dim == 1280);
    assert_int_equal(c.positions, 77);
}

static void test_scheduler(void **state)
{
    (void)state;
    struct sdg_scheduler_config c, d;
    assert_int_equal(sdg_scheduler_config_parse(NULL, "c", sd15_scheduler, "", &c), SDG_OK);
    assert_string_equal(c.class_name, "PNDMScheduler");
    assert_true(c.train_timesteps == 1000 && c.beta_start == 0.00085f && c.beta_end == 0.012f &&
                c.beta_schedule == SDG_BETA_SCALED_LINEAR);
    assert_true(c.prediction == SDG_PREDICT_EPSILON && c.spacing == SDG_SPACING_LEADING && c.steps_offset == 1 &&
                !c.set_alpha_to_one);
    assert_true(!c.clip_sample && c.original_inference_steps == 50 && c.timestep_scaling == 10 && c.solver.order == 2 &&
                c.final_sigmas_zero);
    sdg_scheduler_config_default(&d); // Stable Diffusion 1.x's, but for the name
    assert_string_equal(d.class_name, "");
    memset(c.class_name, 0, sizeof c.class_name);
    assert_memory_equal(&c, &d, sizeof c);

    // Defaults of the classes, read off diffusers' signatures.
    static const struct {
        const char *name;
        float beta_end;
        enum sdg_beta_schedule beta;
        enum sdg_spacing spacing;
        bool to_one, clip;
    } classes[] = {
        {"DDIMScheduler", 0.02f, SDG_BETA_LINEAR, SDG_SPACING_LEADING, true, true},
        {"DDPMScheduler", 0.02f, SDG_BETA_LINEAR, SDG_SPACING_LEADING, true, true},
        {"PNDMScheduler", 0.02f, SDG_BETA_LINEAR, SDG_SPACING_LEADING, false, false},
        {"LCMScheduler", 0.012f, SDG_BETA_SCALED_LINEAR, SDG_SPACING_LEADING, true, false},
        {"EulerDiscreteScheduler", 0.02f, SDG_BETA_LINEAR, SDG_SPACING_LINSPACE, true, false},
        {"DPMSolverMultistepScheduler", 0.02f, SDG_BETA_LINEAR, SDG_SPACING_LINSPACE, true, false},
        {"HeunDiscreteScheduler", 0.012f, SDG_BETA_LINEAR, SDG_SPACING_LINSPACE, true, false},
    };
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
        char text[100];
        snprintf(text, sizeof text, "{\"_class_name\":\"%s\"}", classes[i].name);
        assert_int_equal(sdg_scheduler_config_parse(NULL, "c", text, "", &c), SDG_OK);
        assert_true(c.beta_end == classes[i].beta_end && c.beta_schedule == classes[i].beta &&
                    c.spacing == classes[i].spacing);
        assert_true(c.set_alpha_to_one == classes[i].to_one && c.clip_sample == classes[i].clip && c.steps_offset == 0);
    }
    assert_int_equal(
        sdg_scheduler_config_parse(
            NULL, "c",
            "{\"prediction_type\":\"v_prediction\",\"timestep_spacing\":\"trailing\","
            "\"rescale_betas_zero_snr\":true,\"use_karras_sigmas\":true,\"final_sigmas_type\":\"sigma_min\"}",
            "", &c),
        SDG_OK);
    assert_true(c.prediction == SDG_PREDICT_V && c.spacing == SDG_SPACING_TRAILING && c.rescale_betas_zero_snr &&
                c.use_karras_sigmas && !c.final_sigmas_zero);
}

static void keep(void *user, enum sdg_log_level level, const char *text)
{
    (void)level;
    snprintf(user, 300, "%s", text);
}

// What a scheduler says about the network is read into the configuration or stops the model, whatever the sampler.
static void test_scheduler_levels(void **state)
{
    (void)state;
    struct sdg_scheduler_config c;
    char said[300];
    const struct sdg_log log = {.fn = keep, .user = said, .level = SDG_LOG_WARNING};
    assert_int_equal(sdg_scheduler_config_parse(NULL, "c",
                                                "{\"_class_name\":\"EDMDPMSolverMultistepScheduler\",\"sigma_max\":120,"
                                                "\"prediction_type\":\"v_prediction\",\"solver_order\":3,\"rho\":5,"
                                                "\"sigma_schedule\":\"exponential\",\"beta_start\":7}",
                                                "", &c),
                     SDG_OK);
    assert_true(c.edm.used && c.edm.sigma_max == 120 && c.edm.sigma_min == 0.002f && c.edm.sigma_data == 0.5f &&
                c.edm.rho == 5 && c.edm.exponential && c.prediction == SDG_PREDICT_V && c.solver.order == 3);
    // keys that the class does not know say nothing
    assert_int_equal(sdg_scheduler_config_parse(NULL, "c",
                                                "{\"_class_name\":\"HeunDiscreteScheduler\",\"sigma_data\":1,"
                                                "\"rescale_betas_zero_snr\":true,\"final_sigmas_type\":\"nonsense\"}",
                                                "", &c),
                     SDG_OK);
    assert_true(!c.edm.used && !c.rescale_betas_zero_snr && c.final_sigmas_zero);
    static const struct {
        const char *text, *index, *words;
    } refused[] = {
        {"{\"_class_name\":\"FlowMatchEulerDiscreteScheduler\",\"shift\":3}", "", "FlowMatchEulerDiscreteScheduler"},
        {"{\"_class_name\":\"PNDMScheduler\"}", "FlowMatchEulerDiscreteScheduler", "FlowMatchEulerDiscreteScheduler"},
        {"{\"_class_name\":\"FlowMatchEulerDiscreteScheduler\"}", "PNDMScheduler", "FlowMatchEulerDiscreteScheduler"},
        {"{\"_class_name\":\"EDMEulerScheduler\"}", "PNDMScheduler", "EDMEulerScheduler"},
        {"{\"_class_name\":\"EulerDiscreteScheduler\"}", "EDMEulerScheduler", "EDMEulerScheduler"},
        {"{\"_class_name\":\"SCMScheduler\",\"beta_start\":0.1}", "", "SCMScheduler"},
        {"{\"_class_name\":\"MyScheduler\",\"levels\":7}", "", "MyScheduler"},
        {"{\"_class_name\":\"DPMSolverMultistepScheduler\",\"use_flow_sigmas\":true}", "", "use_flow_sigmas is true"},
        {"{\"_class_name\":\"DPMSolverMultistepScheduler\",\"prediction_type\":\"flow_prediction\"}", "",
         "prediction_type"},
        {"{\"_class_name\":\"EDMEulerScheduler\",\"prediction_type\":\"sample\"}", "", "prediction_type"},
        {"{\"_class_name\":\"EDMEulerScheduler\",\"sigma_min\":90}", "", "sigma_min is 90"},
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        *said = 0;
        if (sdg_scheduler_config_parse(&log, "dir/c.json", refused[i].text, refused[i].index, &c) == SDG_OK ||
            !strstr(said, refused[i].words) || !strstr(said, "dir/c.json"))
            fail_msg("%s: '%s'", refused[i].text, said);
    }
}

enum kind { UNET, VAE, TINY, TEXT, SCHEDULER };

static enum sdg_result parse(enum kind kind, const struct sdg_log *log, const char *text, bool *untouched)
{
    union {
        unsigned char bytes[8192];
        struct sdg_unet_config unet;
        struct sdg_vae_config vae;
        struct sdg_text_config text;
        struct sdg_scheduler_config scheduler;
    } out, before;
    memset(&out, 0x5a, sizeof out);
    before = out;
    enum sdg_result result;
    switch (kind) {
    case UNET: result = sdg_unet_config_parse(log, "dir/config.json", text, &out.unet); break;
    case TEXT: result = sdg_text_config_parse(log, "dir/config.json", text, &out.text); break;
    case SCHEDULER: result = sdg_scheduler_config_parse(log, "dir/config.json", text, "", &out.scheduler); break;
    default: result = sdg_vae_config_parse(log, "dir/config.json", text, &out.vae);
    }
    *untouched = memcmp(&out, &before, sizeof out) == 0;
    return result;
}

static const char *const bases[] = {
    [UNET] = sd15_unet, [VAE] = sd15_vae, [TINY] = tiny_vae, [TEXT] = sd15_text, [SCHEDULER] = sd15_scheduler};

static void test_bad_values(void **state)
{
    (void)state;
    enum { IN = SDG_ERROR_INPUT, UN = SDG_ERROR_UNSUPPORTED };
    static const struct {
        enum kind kind;
        const char *key, *value;
        int result;
    } cases[] = {
        {UNET, "block_out_channels", "[1073741824,1073741824,1073741824,1073741824]", IN},
        {UNET, "block_out_channels", "[0,640,1280,1280]", IN},
        {UNET, "block_out_channels", "[-320,640,1280,1280]", IN},
        {UNET, "block_out_channels", "[]", IN},
        {UNET, "block_out_channels", "[32,32,32,32,32,32,32,32,32]", IN},
        {UNET, "block_out_channels", "[320,640,1280]", IN},
        {UNET, "block_out_channels", "[320,640,1280,1000]", IN},
        {UNET, "block_out_channels", "320", IN},
        {UNET, "layers_per_block", "-1", IN},
        {UNET, "layers_per_block", "0", IN},
        {UNET, "layers_per_block", "1000000000", IN},
        {UNET, "layers_per_block", "[2,2]", IN},
        {UNET, "layers_per_block", "2.5", IN},
        {UNET, "layers_per_block", "1e300", IN},
        {UNET, "attention_head_dim", "0", IN},
        {UNET, "attention_head_dim", "7", IN},
        {UNET, "attention_head_dim", "[8,8,8]", IN},
        {UNET, "num_attention_heads", "\"8\"", IN},
        {UNET, "norm_num_groups", "7", IN},
        {UNET, "norm_eps", "0", IN},
        {UNET, "norm_eps", "-1", IN},
        {UNET, "norm_eps", "\"small\"", IN},
        {UNET, "in_channels", "0", IN},
        {UNET, "out_channels", "1000000", IN},
        {UNET, "cross_attention_dim", "0", IN},
        {UNET, "cross_attention_dim", "[768,768,768,1024]", UN},
        {UNET, "transformer_layers_per_block", "[1,1,1,1000]", IN},
        {UNET, "transformer_layers_per_block", "[[1],[1],[1],[1]]", IN},
        {UNET, "down_block_types", "[\"NoSuchBlock\",\"NoSuchBlock\",\"NoSuchBlock\",\"NoSuchBlock\"]", UN},
        {UNET, "down_block_types", "[\"DownBlock2D\"]", IN},
        {UNET, "down_block_types", "[1,2,3,4]", UN},
        {UNET, "up_block_types", "\"UpBlock2D\"", IN},
        {UNET, "mid_block_type", "\"UNetMidBlock2DSimpleCrossAttn\"", UN},
        {UNET, "class_embed_type", "\"timestep\"", UN},
        {UNET, "num_class_embeds", "1000", UN},
        {UNET, "addition_embed_type", "\"image\"", UN},
        {UNET, "addition_embed_type", "\"text_time\"", IN},
        {UNET, "dual_cross_attention", "true", UN},
        {UNET, "only_cross_attention", "[false,false,true,true]", UN},
        {UNET, "encoder_hid_dim_type", "\"text_proj\"", UN},
        {UNET, "resnet_time_scale_shift", "\"scale_shift\"", UN},
        {UNET, "act_fn", "\"gelu\"", UN},
        {UNET, "conv_in_kernel", "1", UN},
        {UNET, "time_embedding_type", "\"fourier\"", UN},
        {UNET, "time_cond_proj_dim", "3", IN},
        {UNET, "use_linear_projection", "1", IN},
        {UNET, "_class_name", "\"SD3Transformer2DModel\"", UN},
        {UNET, "_class_name", "3", IN},
        {VAE, "norm_num_groups", "7", IN},
        {VAE, "norm_num_groups", "0", IN},
        {VAE, "latent_channels", "0", IN},
        {VAE, "scaling_factor", "0", IN},
        {VAE, "scaling_factor", "1e999", IN},
        {VAE, "latents_mean", "[0,0,0,0]", UN},
        {VAE, "block_out_channels", "[128,256,512]", IN},
        {VAE, "up_block_types",
         "[\"AttnUpDecoderBlock2D\",\"UpDecoderBlock2D\",\"UpDecoderBlock2D\",\"UpDecoderBlock2D\"]", UN},
        {VAE, "_class_name", "\"VQModel\"", UN},
        {VAE, "act_fn", "\"relu\"", UN},
        {TINY, "num_encoder_blocks", "[1,3,3]", IN},
        {TINY, "encoder_block_out_channels", "[64,64,64,32]", UN},
        {TINY, "upsampling_scaling_factor", "4", IN},
        {TINY, "act_fn", "\"silu\"", UN},
        {TINY, "upsample_fn", "\"bilinear\"", UN},
        {TINY, "quantization_config", "{\"quant_method\":\"quanto\"}", UN},
        {VAE, "latents_std", "[1,1,1,1]", UN},
        {VAE, "quantization_config", "{\"quant_method\":\"quanto\"}", UN},
        {VAE, "force_upcast", "\"yes\"", IN},
        {UNET, "sample_size", "[64]", IN},
        {UNET, "sample_size", "[64,0]", IN},
        {UNET, "sample_size", "\"64\"", IN},
        {TEXT, "quantization_config", "{\"quant_method\":\"bitsandbytes\"}", UN},
        {TEXT, "pruned_heads", "{\"0\":[1]}", UN},
        {TEXT, "is_decoder", "true", UN},
        {TEXT, "add_cross_attention", "true", UN},
        {TEXT, "use_attention_mask", "1", IN},
        {TEXT, "hidden_size", "\"forty\"", IN},
        {TEXT, "num_attention_heads", "0", IN},
        {TEXT, "num_attention_heads", "7", IN},
        {TEXT, "num_hidden_layers", "1000000000", IN},
        {TEXT, "vocab_size", "-5", IN},
        {TEXT, "vocab_size", "2147483648", IN},
        {TEXT, "eos_token_id", "49408", IN},
        {TEXT, "max_position_embeddings", "1", IN},
        {TEXT, "hidden_act", "\"relu\"", UN},
        {TEXT, "architectures", "[\"T5EncoderModel\"]", UN},
        {TEXT, "architectures", "[3]", UN},
        {TEXT, "model_type", "\"t5\"", UN},
        {SCHEDULER, "num_train_timesteps", "0", IN},
        {SCHEDULER, "num_train_timesteps", "1e9", IN},
        {SCHEDULER, "beta_start", "-0.1", IN},
        {SCHEDULER, "beta_end", "1.5", IN},
        {SCHEDULER, "beta_schedule", "\"cosine\"", UN},
        {SCHEDULER, "prediction_type", "\"flow\"", UN},
        {SCHEDULER, "timestep_spacing", "7", IN},
        {SCHEDULER, "steps_offset", "1000", IN},
        {SCHEDULER, "trained_betas", "[0.1]", UN},
        {SCHEDULER, "trained_betas", "0.1", UN},
        {SCHEDULER, "_class_name", "\"0123456789012345678901234567890123456789012345678901234567890123\"", IN},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct temp_log t;
        bool untouched;
        cJSON *root = cJSON_Parse(bases[cases[i].kind]);
        cJSON_DeleteItemFromObjectCaseSensitive(root, cases[i].key);
        cJSON_AddItemToObject(root, cases[i].key, cJSON_CreateRaw(cases[i].value));
        char *text = cJSON_PrintUnformatted(root);
        enum sdg_result result = parse(cases[i].kind, temp_log(&t), text, &untouched);
        if ((int)result != cases[i].result || !untouched)
            fail_msg("%s = %s: result %d, %s", cases[i].key, cases[i].value, (int)result, t.last);
        if (t.errors != 1 || !strstr(t.last, "dir/config.json: ") || !strstr(t.last, cases[i].key))
            fail_msg("%s = %s: %d errors, '%s'", cases[i].key, cases[i].value, t.errors, t.last);
        cJSON_free(text);
        cJSON_Delete(root);
    }
    print_message("%zu bad values\n", sizeof cases / sizeof *cases);
}

// Options of the classes: which values diffusers 0.42 computes alike (accepted) and which differ.
static void test_scheduler_options(void **state)
{
    (void)state;
#define DPM "DPMSolverMultistepScheduler"
#define UNIPC "UniPCMultistepScheduler"
#define EULER "EulerDiscreteScheduler"
#define EDM "EDM"
    static const struct {
        const char *class_name, *text;
        char concerns; // s: solver, t: timesteps and sigmas, 0: accepted
        const char *words;
    } cases[] = {
        // as diffusers saves it
        {DPM,
         "\"algorithm_type\":\"dpmsolver++\",\"beta_schedule\":\"scaled_linear\",\"dynamic_thresholding_ratio\":0.995,"
         "\"euler_at_final\":false,\"final_sigmas_type\":\"zero\",\"flow_shift\":1.0,\"lambda_min_clipped\":-Infinity,"
         "\"lower_order_final\":true,\"solver_order\":2,\"solver_type\":\"midpoint\",\"use_dynamic_shifting\":false,"
         "\"use_flow_sigmas\":false,\"use_lu_lambdas\":false,\"variance_type\":null",
         0, ""},
        {DPM, "\"solver_type\":\"bh2\"", 0, ""},
        {DPM, "\"algorithm_type\":\"sde-dpmsolver++\",\"solver_type\":\"heun\",\"solver_order\":3", 0, ""},
        {DPM, "\"algorithm_type\":\"nonsense\"", 's',
         "algorithm_type is \"nonsense\", supported: dpmsolver++, dpmsolver, sde-dpmsolver++, sde-dpmsolver, deis"},
        {DPM, "\"algorithm_type\":\"dpmsolver\"", 's',
         "algorithm_type is \"dpmsolver\", supported: dpmsolver++, sde-dpmsolver++ with final_sigmas_type zero"},
        {DPM, "\"algorithm_type\":\"dpmsolver\",\"final_sigmas_type\":\"sigma_min\"", 0, ""},
        {DPM, "\"algorithm_type\":\"sde-dpmsolver\",\"final_sigmas_type\":\"sigma_min\",\"solver_order\":3", 's',
         "algorithm_type is \"sde-dpmsolver\", supported: with solver_order 3 the others"},
        {DPM, "\"solver_type\":\"euler\"", 's', "solver_type is \"euler\", supported: midpoint, heun"},
        {DPM, "\"solver_order\":4", 's', "solver_order is 4, supported: 2, 1, 3"},
        {DPM, "\"solver_order\":\"2nd\"", 's', "solver_order is \"2nd\""},
        {DPM, "\"variance_type\":\"learned\"", 's', "variance_type is \"learned\", supported: null"},
        {DPM, "\"thresholding\":true", 's', "thresholding is true, supported: false"},
        {DPM, "\"lambda_min_clipped\":-5.1,\"beta_schedule\":\"squaredcos_cap_v2\",\"use_lu_lambdas\":true", 0, ""},
        {DPM, "\"lambda_min_clipped\":Infinity", 't', "lambda_min_clipped is Infinity, "},
        {DPM, "\"lambda_min_clipped\":NaN", 't', "lambda_min_clipped is \"NaN\", "},
        {DPM, "\"use_karras_sigmas\":true,\"use_beta_sigmas\":true", 't',
         "use_karras_sigmas is true, supported: one of"},
        {DPM, "\"use_exponential_sigmas\":true,\"use_beta_sigmas\":true", 't', "use_exponential_sigmas is true"},
        {DPM, "\"use_karras_sigmas\":true,\"sigma_min\":2,\"sigma_max\":1", 't', "sigma_min is 2, supported: below"},
        {EULER, "\"timestep_type\":\"continuous\",\"interpolation_type\":\"log_linear\",\"sigma_max\":80.0", 0, ""},
        {EULER, "\"timestep_type\":\"nonsense\"", 't',
         "timestep_type is \"nonsense\", supported: discrete, continuous"},
        {EULER, "\"interpolation_type\":\"cubic\"", 't',
         "interpolation_type is \"cubic\", supported: linear, log_linear"},
        {EULER, "\"sigma_min\":null,\"algorithm_type\":\"nonsense\",\"solver_order\":5,\"thresholding\":true", 0, ""},
        {UNIPC, "\"solver_order\":3,\"solver_type\":\"midpoint\",\"disable_corrector\":[],\"solver_p\":null", 0, ""},
        {UNIPC,
         "\"predict_x0\":false,\"solver_type\":\"bh1\",\"lower_order_final\":false,\"disable_corrector\":[0,3],"
         "\"final_sigmas_type\":\"sigma_min\"",
         0, ""},
        {UNIPC, "\"solver_order\":4", 's', "solver_order is 4, supported: 2, 1, 3"},
        {UNIPC, "\"solver_type\":\"bh3\"", 's', "solver_type is \"bh3\", supported: bh2, bh1"},
        {UNIPC, "\"solver_type\":\"bh1\"", 's', "solver_type is \"bh1\", supported: bh2 with final_sigmas_type zero"},
        {UNIPC, "\"predict_x0\":false", 's', "predict_x0 is false, supported: true with final_sigmas_type zero"},
        {UNIPC, "\"lower_order_final\":false", 's', "lower_order_final is false, supported: true with"},
        {UNIPC, "\"disable_corrector\":7", 's', "disable_corrector is 7, supported: a list of steps"},
        {UNIPC, "\"solver_p\":{}", 's', "solver_p is "},
        {UNIPC, "\"use_dynamic_shifting\":true", 't', "use_dynamic_shifting is true, supported: false"},
        {UNIPC, "\"shift_terminal\":0.1", 't', "shift_terminal is 0.1, supported: null"},
        {"DDPMScheduler", "\"variance_type\":\"learned\"", 's', "variance_type is \"learned\", supported: fixed_small"},
        {"DDPMScheduler", "\"variance_type\":\"fixed_small_log\"", 0, ""},
        {"DDPMScheduler", "\"variance_type\":\"fixed_large\"", 0, ""},
        {"DDIMScheduler", "\"variance_type\":\"nonsense\",\"skip_prk_steps\":false", 0, ""},
        {"TCDScheduler", "\"thresholding\":true", 0, ""}, // knows it, and does nothing with it
        {"LCMScheduler", "\"thresholding\":true", 's', "thresholding is true"},
        {"SASolverScheduler", "\"predictor_order\":3", 0, ""}, // the pipeline says that there is no such sampler
        {"MyScheduler", "\"beta_start\":0.001", 0, ""},
        {EDM "EulerScheduler", "\"sigma_max\":120,\"sigma_data\":1.0,\"algorithm_type\":\"nonsense\"", 0, ""},
        {EDM "DPMSolverMultistepScheduler", "\"algorithm_type\":\"sde-dpmsolver++\",\"solver_order\":3", 's',
         "algorithm_type is \"sde-dpmsolver++\", supported: with solver_order 3 the others"},
        {EDM "DPMSolverMultistepScheduler", "\"algorithm_type\":\"dpmsolver\",\"final_sigmas_type\":\"sigma_min\"", 's',
         "algorithm_type is \"dpmsolver\", supported: dpmsolver++, sde-dpmsolver++"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sdg_scheduler_config c;
        char text[1000];
        snprintf(text, sizeof text, "{\"_class_name\":\"%s\",%s}", cases[i].class_name, cases[i].text);
        assert_int_equal(sdg_scheduler_config_parse(NULL, "c", text, "", &c), SDG_OK);
        const char *said = cases[i].concerns == 's' ? c.solver_objection : c.schedule_objection,
                   *other = cases[i].concerns == 's' ? c.schedule_objection : c.solver_objection;
        if (*other || (*said != 0) != (cases[i].concerns != 0) || !strstr(said, cases[i].words))
            fail_msg("%s: '%s', '%s'", text, c.solver_objection, c.schedule_objection);
        assert_false(c.solver.runge_kutta_start);
        // what the pipeline's index names goes before the file, also for what an absent key stands for
        if (strncmp(cases[i].class_name, EDM, 3) == 0)
            continue;
        assert_int_equal(sdg_scheduler_config_parse(NULL, "c", text, "PNDMScheduler", &c), SDG_OK);
        assert_string_equal(c.class_name, "PNDMScheduler");
        assert_true(c.solver.runge_kutta_start && !c.set_alpha_to_one && !*c.solver_objection);
    }
}

// Every prefix of every configuration, and single characters replaced: an error or a configuration, never more.
static void test_mangled(void **state)
{
    (void)state;
    static const char replacements[] = "{}[],:\"0-.e tfn\\x";
    int accepted = 0, refused = 0;
    for (enum kind kind = UNET; kind <= SCHEDULER; kind++) {
        size_t length = strlen(bases[kind]);
        char text[4096];
        bool untouched;
        for (size_t n = 0; n < length; n++) {
            struct temp_log t;
            snprintf(text, sizeof text, "%.*s", (int)n, bases[kind]);
            assert_int_equal(parse(kind, temp_log(&t), text, &untouched), SDG_ERROR_INPUT);
            assert_true(untouched && t.errors == 1);
            for (const char *r = replacements; *r; r++) {
                snprintf(text, sizeof text, "%s", bases[kind]);
                text[n] = *r;
                enum sdg_result result = parse(kind, temp_log(&t), text, &untouched);
                assert_true((result == SDG_OK) != untouched && t.errors == (result != SDG_OK));
                accepted += result == SDG_OK;
                refused += result != SDG_OK;
            }
        }
    }
    print_message("%d mangled configurations refused, %d accepted\n", refused, accepted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unet),
        cmocka_unit_test(test_vae),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_scheduler),
        cmocka_unit_test(test_scheduler_options),
        cmocka_unit_test(test_scheduler_levels),
        cmocka_unit_test(test_bad_values),
        cmocka_unit_test(test_mangled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
