package org.sdgen;

/** What was really used for a picture, for the caller's records: {@code struct sdg_generate_info}. */
public final class GenerateInfo {
    private long seed;
    private int width;
    private int height;
    private int steps;
    private int clipSkip;
    private double cfgScale;
    private double eta;
    private String sampler;
    private String schedule;
    private String rng;
    private String modelName;
    private String backend;
    private String type;
    private boolean tiled;
    private double secondsLoad;
    private double secondsText;
    private double secondsSample;
    private double secondsDecode;
    private double secondsTotal;
    private long peakPlanned;
    private long peakResident;

    GenerateInfo() {} // its fields are set by the library

    /** Of this picture. */
    public long seed() {
        return seed;
    }

    /** Pixels. */
    public int width() {
        return width;
    }

    /** Pixels. */
    public int height() {
        return height;
    }

    /** Of the sampler. */
    public int steps() {
        return steps;
    }

    /** Layer of the text encoder from its end. */
    public int clipSkip() {
        return clipSkip;
    }

    /** Weight of the guidance. */
    public double cfgScale() {
        return cfgScale;
    }

    /** Of the sampler. */
    public double eta() {
        return eta;
    }

    /** One of {@link Names#SAMPLER}. */
    public String sampler() {
        return sampler;
    }

    /** One of {@link Names#SCHEDULE}. */
    public String schedule() {
        return schedule;
    }

    /** One of {@link Names#RNG}. */
    public String rng() {
        return rng;
    }

    /** Name of the model's folder or file, without the path. */
    public String modelName() {
        return modelName;
    }

    /** Of all stages, "cpu", or stage by stage, "te=cpu,unet=vulkan,vae=cpu". */
    public String backend() {
        return backend;
    }

    /** Likewise: "bf16", "te=f32,unet=bf16,vae=f32". */
    public String type() {
        return type;
    }

    /** Whether the autoencoder ran in tiles. */
    public boolean tiled() {
        return tiled;
    }

    /** Seconds for planning and loading. */
    public double secondsLoad() {
        return secondsLoad;
    }

    /** Seconds of the stage TEXT. */
    public double secondsText() {
        return secondsText;
    }

    /** Seconds of the stage SAMPLE. */
    public double secondsSample() {
        return secondsSample;
    }

    /** Seconds of the stage DECODE. */
    public double secondsDecode() {
        return secondsDecode;
    }

    /** Seconds in all. */
    public double secondsTotal() {
        return secondsTotal;
    }

    /** Bytes of the plan. */
    public long peakPlanned() {
        return peakPlanned;
    }

    /** Bytes of the process at most so far; 0 where the system does not say. */
    public long peakResident() {
        return peakResident;
    }
}
