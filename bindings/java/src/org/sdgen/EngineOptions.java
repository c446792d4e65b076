package org.sdgen;

/**
 * Parameters of an {@link Engine}: the fields of {@code struct sdg_engine_params}, with its defaults. A field that was not
 * set, or set to null, 0, false or NaN, is the default. Read when the engine is made.
 */
public final class EngineOptions {
    int threads;
    String cores;
    String cpuMask;
    String disable;
    boolean validation;
    String cacheDir;
    double submitTime = Double.NaN;
    double maxMemory;
    boolean noEnvironment;


    /**
     * Threads of the processor, the caller's included, at most 1024; 0 = one a fast core, of those that the process
     * may use.
     */
    public EngineOptions threads(int threads) {
        this.threads = threads;
        return this;
    }

    /**
     * The processors that threads may run on, "4-7" or "0,2,6-7"; null = any, but with threads 0 the fast ones,
     * where there are cores of several kinds.
     */
    public EngineOptions cores(String cores) {
        this.cores = cores;
        return this;
    }

    /** Instruction sets at most, for tests and reports of faults: "generic", "avx2", ...; null = all there are. */
    public EngineOptions cpuMask(String cpuMask) {
        this.cpuMask = cpuMask;
        return this;
    }

    /** Features of devices not to use, names of {@link Names#FEATURE} with commas; null = none. */
    public EngineOptions disable(String disable) {
        this.disable = disable;
        return this;
    }

    /** Vulkan validation layers; any message is an error. */
    public EngineOptions validation(boolean validation) {
        this.validation = validation;
        return this;
    }

    /**
     * Folder for what is worth keeping between runs (Vulkan pipelines), the only place that the library writes to:
     * of an Android app, getCacheDir(). "" = none; null = the user's cache folder, or none with noEnvironment.
     */
    public EngineOptions cacheDir(String cacheDir) {
        this.cacheDir = cacheDir;
        return this;
    }

    /**
     * Vulkan: seconds that a device may be busy with one piece of work; 0 = a step is one piece; NaN = 1 on graphics
     * cards, 0.1 on other devices.
     */
    public EngineOptions submitTime(double submitTime) {
        this.submitTime = submitTime;
        return this;
    }

    /** Bytes that the process may use in all while pipelines of this engine draw; 0 = what the system has free. */
    public EngineOptions maxMemory(double maxMemory) {
        this.maxMemory = maxMemory;
        return this;
    }

    /**
     * No environment variable is read for what is made with this engine: neither a default model nor folders are
     * looked for by them.
     */
    public EngineOptions noEnvironment(boolean noEnvironment) {
        this.noEnvironment = noEnvironment;
        return this;
    }
}
