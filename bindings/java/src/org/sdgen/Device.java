package org.sdgen;

/** A device that can compute: {@code struct sdg_device}. See {@link Sdgen#devices}. */
public final class Device {
    private final String name;
    private final String backend;
    private final String type;
    private final String driver;
    private final String note;
    private final long memory;

    Device(String name, String backend, String type, String driver, String note, long memory) {
        this.name = name;
        this.backend = backend;
        this.type = type;
        this.driver = driver;
        this.note = note;
        this.memory = memory;
    }

    /** What its driver calls it. */
    public String name() {
        return name;
    }

    /** What {@link PipelineOptions#backend} calls it: "cpu", "vulkan:0". */
    public String backend() {
        return backend;
    }

    /** The kind of device. */
    public String type() {
        return type;
    }

    /** Name and version of its driver; null where there is none. */
    public String driver() {
        return driver;
    }

    /** What is worth knowing of it; null where there is nothing. */
    public String note() {
        return note;
    }

    /** Bytes. */
    public long memory() {
        return memory;
    }
}
