package org.sdgen;

import java.util.ArrayList;
import java.util.List;

/**
 * An open model that draws pictures: {@code struct sdg_pipeline}.
 *
 * <pre>{@code
 * try (Sdgen sdgen = new Sdgen(new PipelineOptions().model("models/emoji-128"))) {
 *     Picture picture = sdgen.generate(new GenerateOptions().prompt("a red apple, 3d").seed(42));
 *     show(picture.argb(), picture.width(), picture.height());
 * }
 * }</pre>
 *
 * <p>It belongs to no thread but takes one call at a time: a second one, from another thread or from a listener, is an
 * {@link IllegalStateException}. {@link #cancel}, {@link #info} and {@link #close} are for any thread at any time, but
 * close not for listeners. Different ones may draw at the same time. After close every call but info is an
 * {@link IllegalStateException}. What is not closed keeps its memory until the process ends.
 *
 * <p>Failures: {@link IllegalArgumentException} for parameters, {@link OutOfMemoryError} where memory or the limit that was
 * set is too small, {@link SdgenException} for all else; each with the library's line, which says what is wrong.
 */
public final class Sdgen implements AutoCloseable {
    private final PipelineInfo info = new PipelineInfo();
    private final Object kept; // what the handle points to in memory of Java's
    private long handle; // guarded by this, as is the rest; 0 = closed
    private Thread user; // whose call runs
    private boolean closing;
    private volatile boolean cancelled; // the call that runs shall end

    /**
     * Opens and checks the model; weights are mapped, not read. Files must not change as long as it is open.
     *
     * @throws IllegalStateException the engine of the options is closed
     */
    public Sdgen(PipelineOptions options) throws SdgenException {
        if (options == null) {
            throw new IllegalArgumentException("options is null");
        }
        ModelFile[] files = options.files;
        Engine engine = options.engine;
        long shared = engine == null ? 0 : engine.acquire();
        try {
            handle = Native.create(options, files, shared);
        } finally {
            if (engine != null) {
                engine.release();
            }
        }
        kept = files;
        Native.info(handle, info);
    }

    // ---- pictures ----

    /** Draws a picture. Blocks until it is there, minutes on a phone: not for the thread of a user interface. */
    public Picture generate(GenerateOptions options) throws SdgenException {
        return generate(options, 1)[0];
    }

    /**
     * Draws {@code count} pictures, with the seeds from that of the options on; several at once where there is memory.
     *
     * @throws IllegalArgumentException count is below 1
     */
    public Picture[] generate(GenerateOptions options, int count) throws SdgenException {
        if (count < 1) {
            throw new IllegalArgumentException("count is " + count + ", should be at least 1");
        }
        int[][] pixels = new int[count][];
        GenerateInfo[] infos = draw(options, pixels);
        Picture[] pictures = new Picture[count];
        for (int i = 0; i < count; i++) {
            pictures[i] = new Picture(pixels[i], infos[i]);
        }
        return pictures;
    }

    /**
     * Draws into an array of the caller's, whose first width * height elements get pixels 0xFFRRGGBB, [height][width] from
     * the top. After a failure they are what they were.
     *
     * @throws IllegalArgumentException the array is too short
     */
    public GenerateInfo generate(GenerateOptions options, int[] argb) throws SdgenException {
        if (argb == null) {
            throw new IllegalArgumentException("argb is null");
        }
        return draw(options, new int[][] {argb})[0];
    }

    private GenerateInfo[] draw(GenerateOptions options, int[][] pixels) throws SdgenException {
        if (options == null) {
            throw new IllegalArgumentException("options is null");
        }
        GenerateInfo[] infos = new GenerateInfo[pixels.length];
        for (int i = 0; i < infos.length; i++) {
            infos[i] = new GenerateInfo();
        }
        Call call = new Call(this, options.progress, options.preview);
        long pipeline = enter();
        try {
            Native.generate(pipeline, options, call, pixels, infos);
        } catch (SdgenException | RuntimeException | Error e) {
            call.rethrow();
            throw e;
        } finally {
            leave();
        }
        call.rethrow();
        return infos;
    }

    /**
     * Makes the call that runs now end with {@link Result#CANCELLED}, from any thread. Nothing happens when none runs, and
     * the next one is not affected.
     *
     * @throws IllegalStateException it is closed
     */
    public synchronized void cancel() {
        if (handle == 0) {
            throw closed();
        }
        if (user != null) {
            cancelled = true; // where the call has not reached the library yet
            Native.cancel(handle);
        }
    }

    boolean isCancelled() {
        return cancelled;
    }

    // ---- prompts ----

    /** What a prompt is to this model, without computing anything. */
    public PromptReport checkPrompt(String prompt) throws SdgenException {
        return checkPrompt(prompt, false, false, 0);
    }

    /**
     * The same.
     *
     * @param negative it is a negative prompt: AND is a word
     * @param plain as {@link GenerateOptions#plainPrompt}
     * @param steps of which [from:to:when] tells; 0 = the model's
     */
    public PromptReport checkPrompt(String prompt, boolean negative, boolean plain, int steps) throws SdgenException {
        PromptReport report = new PromptReport();
        long pipeline = enter();
        try {
            Native.checkPrompt(pipeline, prompt, negative, plain, steps, report);
        } finally {
            leave();
        }
        return report;
    }

    // ---- the model ----

    /** What the model is. Also after close. */
    public PipelineInfo info() {
        return info;
    }

    /**
     * Closes the model. A call that another thread makes now is cancelled and waited for. Again: nothing happens.
     *
     * @throws IllegalStateException called from a listener of this Sdgen, which could never be waited for; nothing happens
     */
    @Override
    public void close() {
        boolean interrupted = false;
        synchronized (this) {
            if (user == Thread.currentThread()) {
                throw new IllegalStateException("close() is called from a listener of this Sdgen");
            }
            closing = true;
            while (user != null) {
                cancelled = true;
                Native.cancel(handle);
                try {
                    wait();
                } catch (InterruptedException e) {
                    interrupted = true;
                }
            }
            if (handle != 0) {
                Native.destroy(handle);
                handle = 0;
            }
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
    }

    private synchronized long enter() {
        if (closing) {
            throw closed();
        }
        if (user != null) {
            throw new IllegalStateException(user == Thread.currentThread()
                    ? "this Sdgen is used from a listener of its own"
                    : "this Sdgen is used by another thread: one call at a time");
        }
        user = Thread.currentThread();
        cancelled = false;
        return handle;
    }

    private synchronized void leave() {
        user = null;
        notifyAll();
    }

    private static IllegalStateException closed() {
        return new IllegalStateException("this Sdgen is closed");
    }

    // ---- the library ----

    /** The version of the library, "0.1.0". */
    public static String version() {
        return Native.version();
    }

    /** One line: what the build contains. */
    public static String buildInfo() {
        return Native.buildInfo();
    }

    /** The names that a parameter takes, in the library's order. */
    public static String[] names(Names which) {
        List<String> names = new ArrayList<>();
        for (int i = 0;; i++) {
            String name = Native.nameAt(which.ordinal(), i);
            if (name == null) {
                return names.toArray(new String[0]);
            }
            names.add(name);
        }
    }

    /** All devices that can compute. Opens drivers, which may take a second. */
    public static List<Device> devices() {
        List<Device> devices = new ArrayList<>();
        Native.listDevices(devices);
        return devices;
    }
}
