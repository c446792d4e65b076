package org.sdgen;

/**
 * Threads, devices, caches and a memory limit for any number of pipelines to share: {@code struct sdg_engine}. A program
 * with one pipeline needs none. With one engine pipelines compute with the same threads, a device is opened once and a
 * shader compiled once, and the memory limit is for all of them together. They may draw at the same time, each from a
 * thread of its own, and draw what they draw one after the other.
 *
 * <p>Any thread may use it at any time. Pipelines hold what they need of it: it can be closed before they are, and what it
 * has is given back when the last of them is closed, too.
 */
public final class Engine implements AutoCloseable {
    private long handle; // guarded by this; 0 = closed
    private int users; // calls that use the handle now
    private boolean closing;

    /** With the defaults of {@link EngineOptions}. */
    public Engine() throws SdgenException {
        this(new EngineOptions());
    }

    /**
     * Checks the parameters; threads start and devices are opened when the first pipeline needs them.
     *
     * @throws IllegalArgumentException a parameter is out of range or unknown
     */
    public Engine(EngineOptions options) throws SdgenException {
        if (options == null) {
            throw new IllegalArgumentException("options is null");
        }
        handle = Native.createEngine(options);
    }

    /**
     * What the engine has now.
     *
     * @throws IllegalStateException it is closed
     */
    public EngineInfo info() {
        long engine = acquire();
        try {
            EngineInfo info = new EngineInfo();
            Native.engineInfo(engine, info);
            return info;
        } finally {
            release();
        }
    }

    /** Ends the caller's share, which pipelines that were made with it do not notice. Again: nothing happens. */
    @Override
    public synchronized void close() {
        closing = true;
        destroyUnused();
    }

    /** The handle, which stays one until release. */
    synchronized long acquire() {
        if (closing) {
            throw new IllegalStateException("this Engine is closed");
        }
        users++;
        return handle;
    }

    synchronized void release() {
        users--;
        destroyUnused();
    }

    private void destroyUnused() {
        if (closing && users == 0 && handle != 0) {
            Native.destroyEngine(handle);
            handle = 0;
        }
    }
}
