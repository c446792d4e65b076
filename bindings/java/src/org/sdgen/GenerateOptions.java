package org.sdgen;

/**
 * Parameters of a picture: the fields of {@code struct sdg_generate_params}, with its defaults. A field that was not set, or
 * set to null, 0, false or NaN, is the default; the one exception is the seed, which is used as it is, 0 included, so that
 * equal options make equal pictures. Arrays are not copied; everything is read when the call begins, and the options can be
 * changed and used again afterwards.
 */
public final class GenerateOptions {
    String prompt;
    String negativePrompt;
    boolean plainPrompt;
    int width;
    int height;
    int steps;
    double cfgScale = Double.NaN;
    String sampler;
    String schedule;
    double eta = Double.NaN;
    double[] sigmas;
    long seed;
    String rng;
    String samplerRng;
    int clipSkip;
    double strength = Double.NaN;
    byte[] mask;
    float[] noise;
    float[] initLatent;
    int batch;
    ProgressListener progress;

    int[] initImage;
    int initWidth;
    int initHeight;
    int previewKind; // ordinal of Preview.Kind
    int previewInterval;
    PreviewListener preview;

    /**
     * img2img: the picture to begin with, pixels 0xAARRGGBB, [height][width] from the top, of which A is not read; already
     * of the size to be drawn. null, 0, 0 = none.
     *
     * @throws IllegalArgumentException the array has not width * height pixels
     */
    public GenerateOptions initImage(int[] argb, int width, int height) {
        if ((argb == null ? 0 : argb.length) != (long) width * height || width < 0) {
            throw new IllegalArgumentException("initImage: the array has " + (argb == null ? 0 : argb.length)
                    + " pixels, " + width + "x" + height + " need " + (long) width * height);
        }
        initImage = argb;
        initWidth = width;
        initHeight = height;
        return this;
    }

    /**
     * Shows the picture after every {@code interval} steps of the sampler (0 = 1), made with {@code kind}.
     * null, 0, null = no previews.
     */
    public GenerateOptions preview(Preview.Kind kind, int interval, PreviewListener listener) {
        previewKind = kind == null || listener == null ? 0 : kind.ordinal();
        previewInterval = previewKind == 0 ? 0 : interval;
        preview = previewKind == 0 ? null : listener;
        return this;
    }

    /** In the syntax of docs/prompts.md: weights, BREAK, AND, [from:to:when], [a|b]. null = "". */
    public GenerateOptions prompt(String prompt) {
        this.prompt = prompt;
        return this;
    }

    /** The same, but for AND; null = absent. */
    public GenerateOptions negativePrompt(String negativePrompt) {
        this.negativePrompt = negativePrompt;
        return this;
    }

    /** Both are taken literally. */
    public GenerateOptions plainPrompt(boolean plainPrompt) {
        this.plainPrompt = plainPrompt;
        return this;
    }

    /** A multiple of {@link PipelineInfo#factor}, at most 16384; 0 = the init image's, else the model's. */
    public GenerateOptions width(int width) {
        this.width = width;
        return this;
    }

    /** A multiple of {@link PipelineInfo#factor}, at most 16384; 0 = the init image's, else the model's. */
    public GenerateOptions height(int height) {
        this.height = height;
        return this;
    }

    /** 1..1000; 0 = the model's, else 20 (of a latent consistency model 4), or what sigmas has. */
    public GenerateOptions steps(int steps) {
        this.steps = steps;
        return this;
    }

    /** -1000..1000; NaN = the model's (7, of an LCM 8.5). At most 1 runs one branch. */
    public GenerateOptions cfgScale(double cfgScale) {
        this.cfgScale = cfgScale;
        return this;
    }

    /** One of {@link Names#SAMPLER}; null = the model's, else euler_a. */
    public GenerateOptions sampler(String sampler) {
        this.sampler = sampler;
        return this;
    }

    /** One of {@link Names#SCHEDULE}; null = the model's, else discrete. */
    public GenerateOptions schedule(String schedule) {
        this.schedule = schedule;
        return this;
    }

    /** 0..1; NaN = the model's where its sampler is taken, else the sampler's. */
    public GenerateOptions eta(double eta) {
        this.eta = eta;
        return this;
    }

    /** Noise levels, falling, in place of schedule and steps; a final 0 is no step. null = none. */
    public GenerateOptions sigmas(double[] sigmas) {
        this.sigmas = sigmas;
        return this;
    }

    /** 64 bits, used as they are; of several pictures the first one's, and each next one has the next number. */
    public GenerateOptions seed(long seed) {
        this.seed = seed;
        return this;
    }

    /** One of {@link Names#RNG}; null = cuda. */
    public GenerateOptions rng(String rng) {
        this.rng = rng;
        return this;
    }

    /** The sampler's own generator; null = one for all. */
    public GenerateOptions samplerRng(String samplerRng) {
        this.samplerRng = samplerRng;
        return this;
    }

    /** Layer of the text encoder from its end, 1 = the last; 0 = the model's own. */
    public GenerateOptions clipSkip(int clipSkip) {
        this.clipSkip = clipSkip;
        return this;
    }

    /** Of an init image, above 0, at most 1; NaN = 0.75. */
    public GenerateOptions strength(double strength) {
        this.strength = strength;
        return this;
    }

    /**
     * Inpainting, with an init image: [height][width] of the picture, 128..255 (as bytes of Java: negative numbers)
     * is painted anew. null = none.
     */
    public GenerateOptions mask(byte[] mask) {
        this.mask = mask;
        return this;
    }

    /** [latentChannels][height / factor][width / factor], finite, in place of the first draw; null = drawn. */
    public GenerateOptions noise(float[] noise) {
        this.noise = noise;
        return this;
    }

    /**
     * Of the same shape, in place of an init image: what that would be encoded to. Not with a mask. null = none.
     */
    public GenerateOptions initLatent(float[] initLatent) {
        this.initLatent = initLatent;
        return this;
    }

    /** How many of several pictures the UNet computes at once at most, 1..64; 0 = as it suits. */
    public GenerateOptions batch(int batch) {
        this.batch = batch;
        return this;
    }

    /** Hears how far the call is; null = nobody does. */
    public GenerateOptions progress(ProgressListener progress) {
        this.progress = progress;
        return this;
    }
}
