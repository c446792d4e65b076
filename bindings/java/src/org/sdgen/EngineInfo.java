package org.sdgen;

/** What an engine has: {@code struct sdg_engine_info}. */
public final class EngineInfo {
    private int threads;
    private int devices;
    private double planned;
    private String cacheDir;

    EngineInfo() {} // its fields are set by the library

    /** Those that there are; before the first pipeline those that are asked for. */
    public int threads() {
        return threads;
    }

    /** How many were opened so far, those that were lost and opened anew included. */
    public int devices() {
        return devices;
    }

    /** Bytes of the pictures that are drawn now, and of networks that pipelines keep. */
    public double planned() {
        return planned;
    }

    /** Folder for what is kept between runs; null: none. */
    public String cacheDir() {
        return cacheDir;
    }
}
