package org.sdgen;

import java.io.File;
import java.net.URISyntaxException;
import java.nio.ByteBuffer;
import java.nio.CharBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.security.CodeSource;
import java.util.List;

/**
 * The functions of libsdgen_jni, and what they call. Handles are pointers: whoever calls makes sure that they are open and
 * that one thread uses them. Text crosses as UTF-8 in bytes, since what JNI calls UTF-8 is none.
 */
final class Native {
    static {
        String file = System.getProperty("org.sdgen.library");
        if (file != null) {
            System.load(file);
        } else {
            try {
                System.loadLibrary("sdgen_jni");
            } catch (UnsatisfiedLinkError e) {
                loadInstalled(e);
            }
        }
    }

    private Native() {}

    /** From PREFIX/lib/jni, as the classes are in PREFIX/share/java/sdgen.jar; where they are elsewhere, e is thrown. */
    private static void loadInstalled(UnsatisfiedLinkError e) {
        CodeSource source = Native.class.getProtectionDomain().getCodeSource();
        if (source == null || source.getLocation() == null) {
            throw e;
        }
        File library;
        try {
            library = new File(new File(source.getLocation().toURI()).getParentFile(),
                    "../../lib/jni/" + System.mapLibraryName("sdgen_jni"));
        } catch (URISyntaxException | IllegalArgumentException | NullPointerException ignored) { // no file
            throw e;
        }
        if (!library.isFile()) {
            throw e;
        }
        System.load(library.getAbsolutePath());
    }

    static native long createEngine(EngineOptions options) throws SdgenException;

    static native void destroyEngine(long engine);

    static native void engineInfo(long engine, EngineInfo info);

    /** engine: 0 = none, then options.engine is null. */
    static native long create(PipelineOptions options, ModelFile[] files, long engine) throws SdgenException;

    static native void destroy(long pipeline);

    static native void info(long pipeline, PipelineInfo info);

    static native void cancel(long pipeline);

    /** Draws pixels.length pictures, into the arrays that are there and new ones for the rest; fills infos. */
    static native void generate(long pipeline, GenerateOptions options, Call call, int[][] pixels, GenerateInfo[] infos)
            throws SdgenException;

    static native void checkPrompt(long pipeline, String prompt, boolean negative, boolean plain, int steps,
            PromptReport report) throws SdgenException;

    static native String version();

    static native String buildInfo();

    /** null: there is none. */
    static native String nameAt(int which, int index);

    static native void listDevices(List<Device> devices);

    // ---- called by the library ----

    /** With a 0 at its end. */
    static byte[] bytes(String text) {
        if (text.indexOf('\0') >= 0) {
            throw new IllegalArgumentException("a text has a character 0");
        }
        try {
            ByteBuffer encoded = StandardCharsets.UTF_8.newEncoder().encode(CharBuffer.wrap(text));
            byte[] bytes = new byte[encoded.remaining() + 1];
            encoded.get(bytes, 0, bytes.length - 1);
            return bytes;
        } catch (CharacterCodingException e) { // half of a surrogate pair
            throw new IllegalArgumentException("a text is no valid UTF-16", e);
        }
    }

    static String text(byte[] bytes) {
        return new String(bytes, StandardCharsets.UTF_8);
    }

    /** Throws what stands for a result. */
    static void fail(int result, String line) throws SdgenException {
        switch (Result.values()[result]) {
            case USAGE:
                throw new IllegalArgumentException(line);
            case MEMORY:
                throw new OutOfMemoryError(line);
            default:
                throw new SdgenException(Result.values()[result], line);
        }
    }

    static void addDevice(List<Device> devices, String name, String backend, String type, String driver, String note,
            long memory) {
        devices.add(new Device(name, backend, type, driver, note, memory));
    }

    static void log(LogListener log, int level, String message) {
        try {
            log.onMessage(LogListener.Level.values()[level], message);
        } catch (Throwable t) {
            // a thread of the library's has nobody to throw it to
        }
    }
}
