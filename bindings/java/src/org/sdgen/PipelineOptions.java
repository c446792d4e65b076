package org.sdgen;

import java.util.Collection;

/**
 * Parameters of an {@link Sdgen}: the fields of {@code struct sdg_pipeline_params}, with its defaults. A field that was not
 * set, or set to null, 0, false or NaN, is the default. Read when the pipeline is made.
 *
 * <p>What an engine has of its own (threads, maxMemory, validation, disable, cpuMask, cacheDir, submitTime) is set there
 * when one is given, and must not be set here.
 */
public final class PipelineOptions {
    String model;
    String vae;
    String tokenizer;
    String backend;
    String type;
    int threads;
    double maxMemory;
    boolean noMmap;
    boolean validation;
    String disable;
    String cpuMask;
    String cacheDir;
    double submitTime = Double.NaN;
    String vaeTiling;
    int vaeTileSize;
    double vaeTileOverlap = Double.NaN;
    String prediction;
    boolean noCorrection;
    String intervals;

    int keep; // ordinal of Keep
    int logLevel; // ordinal of LogListener.Level
    LogListener log;
    Engine engine;
    ModelFile[] files;

    /**
     * Where the model lies as a list of named files, of which it is a tree of folders: parts of files (an Android package's
     * assets) and bytes in memory. Then model, vae and tokenizer are names in it: a folder, "." for all of it, or a file;
     * paths that begin with a / are the system's. null or empty = paths of the system.
     */
    public PipelineOptions files(Collection<ModelFile> files) {
        this.files = files == null || files.isEmpty() ? null : files.toArray(new ModelFile[0]);
        return this;
    }

    /** What stays in memory between pictures; null = {@link Keep#NOTHING}. */
    public PipelineOptions keep(Keep keep) {
        this.keep = keep == null ? 0 : keep.ordinal();
        return this;
    }

    /** Threads, devices, caches and memory that are shared with other pipelines; null = the pipeline's own. */
    public PipelineOptions engine(Engine engine) {
        this.engine = engine;
        return this;
    }

    /** Hears messages up to this level as long as the pipeline lives; null = nobody does. */
    public PipelineOptions log(LogListener.Level level, LogListener log) {
        this.logLevel = level == null ? 0 : level.ordinal();
        this.log = log;
        return this;
    }

    /**
     * Folder in diffusers' layout or checkpoint in a single file; null = the default model, which apps do not have.
     */
    public PipelineOptions model(String model) {
        this.model = model;
        return this;
    }

    /** Another autoencoder, a folder or file; null = the model's own. */
    public PipelineOptions vae(String vae) {
        this.vae = vae;
        return this;
    }

    /** Folder with a tokenizer's files in place of the model's; null = the model's. */
    public PipelineOptions tokenizer(String tokenizer) {
        this.tokenizer = tokenizer;
        return this;
    }

    /** "auto", "cpu", "vulkan", "vulkan:1", "reference", or per stage "te=cpu,unet=vulkan,vae=cpu"; null = auto. */
    public PipelineOptions backend(String backend) {
        this.backend = backend;
        return this;
    }

    /** "f32", "f16", "bf16"; null = the file's type where the device computes in it at full speed, else f32. */
    public PipelineOptions type(String type) {
        this.type = type;
        return this;
    }

    /** Threads of the processor, the caller's included, at most 1024; 0 = one a fast core. */
    public PipelineOptions threads(int threads) {
        this.threads = threads;
        return this;
    }

    /** Bytes the plan may use in all; 0 = what the system has free. */
    public PipelineOptions maxMemory(double maxMemory) {
        this.maxMemory = maxMemory;
        return this;
    }

    /** Read weights instead of mapping them. */
    public PipelineOptions noMmap(boolean noMmap) {
        this.noMmap = noMmap;
        return this;
    }

    /** Vulkan validation layers; any message is an error. */
    public PipelineOptions validation(boolean validation) {
        this.validation = validation;
        return this;
    }

    /** Features of devices not to use, names of {@link Names#FEATURE} with commas; null = none. */
    public PipelineOptions disable(String disable) {
        this.disable = disable;
        return this;
    }

    /** Instruction sets at most, for tests and reports of faults: "generic", "avx2", ...; null = all there are. */
    public PipelineOptions cpuMask(String cpuMask) {
        this.cpuMask = cpuMask;
        return this;
    }

    /** Vulkan pipeline cache; "" = none, null = the user's cache folder. */
    public PipelineOptions cacheDir(String cacheDir) {
        this.cacheDir = cacheDir;
        return this;
    }

    /**
     * Vulkan: seconds that a device may be busy with one piece of work; 0 = a step is one piece; NaN = 1 on graphics
     * cards, 0.1 on other devices.
     */
    public PipelineOptions submitTime(double submitTime) {
        this.submitTime = submitTime;
        return this;
    }

    /** "auto", "on" or "off"; null = auto. */
    public PipelineOptions vaeTiling(String vaeTiling) {
        this.vaeTiling = vaeTiling;
        return this;
    }

    /** Latent pixels, 8..1024; 0 = 32. */
    public PipelineOptions vaeTileSize(int vaeTileSize) {
        this.vaeTileSize = vaeTileSize;
        return this;
    }

    /** 0..0.75 of a tile; NaN = 0.5. */
    public PipelineOptions vaeTileOverlap(double vaeTileOverlap) {
        this.vaeTileOverlap = vaeTileOverlap;
        return this;
    }

    /** "eps" or "v"; null = the model's. */
    public PipelineOptions prediction(String prediction) {
        this.prediction = prediction;
        return this;
    }

    /** None of the sampler for a quantized model's mean error, where the model carries one. */
    public PipelineOptions noCorrection(boolean noCorrection) {
        this.noCorrection = noCorrection;
        return this;
    }

    /**
     * Of a quantized model with an interval for each token, at another size: "calibrated" refuses it, "resample"
     * interpolates them; null = calibrated.
     */
    public PipelineOptions intervals(String intervals) {
        this.intervals = intervals;
        return this;
    }
}
