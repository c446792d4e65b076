package org.sdgen;

/** What a model is, for programs that prepare pictures or a user interface: {@code struct sdg_pipeline_info}. */
public final class PipelineInfo {
    private String model;
    private int width;
    private int height;
    private int factor;
    private int latentChannels;
    private double cfgScale;
    private String sampler;
    private String schedule;
    private int steps;
    private double eta;
    private String prediction;
    private String scheme;
    private boolean inpainting;
    private boolean sdxl;
    private boolean lcm;
    private boolean encodes;
    private int promptTokens;

    PipelineInfo() {} // its fields are set by the library

    /** Name of its folder or file, without the path. */
    public String model() {
        return model;
    }

    /** Pixels of a picture when no size is asked for. */
    public int width() {
        return width;
    }

    /** Pixels of a picture when no size is asked for. */
    public int height() {
        return height;
    }

    /** Pixels of the picture per latent pixel, along a side: widths and heights are multiples of it. */
    public int factor() {
        return factor;
    }

    /** Channels of a latent. */
    public int latentChannels() {
        return latentChannels;
    }

    /** When none is asked for. */
    public double cfgScale() {
        return cfgScale;
    }

    /** How the model wants to be drawn where nothing is asked for; null: it does not say. */
    public String sampler() {
        return sampler;
    }

    /** How the model wants to be drawn where nothing is asked for; null: it does not say. */
    public String schedule() {
        return schedule;
    }

    /** How the model wants to be drawn where nothing is asked for; 0: it does not say. */
    public int steps() {
        return steps;
    }

    /** Of that sampler; NaN: it does not say. */
    public double eta() {
        return eta;
    }

    /** "eps", "v" or "sample". */
    public String prediction() {
        return prediction;
    }

    /** Of a quantized model ("w8a8-tdq"); null: it is none. */
    public String scheme() {
        return scheme;
    }

    /** Whether it needs an init image and a mask. */
    public boolean inpainting() {
        return inpainting;
    }

    /** Whether it has two text encoders. */
    public boolean sdxl() {
        return sdxl;
    }

    /** Whether guidance is an input of the network: one branch, whatever the scale. */
    public boolean lcm() {
        return lcm;
    }

    /** Whether it takes init images: its autoencoder is more than a decoder. */
    public boolean encodes() {
        return encodes;
    }

    /** Tokens of a chunk of a prompt, begin and end included: 77. */
    public int promptTokens() {
        return promptTokens;
    }
}
