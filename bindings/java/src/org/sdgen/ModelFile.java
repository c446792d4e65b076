package org.sdgen;

import java.io.FileDescriptor;
import java.nio.ByteBuffer;

/**
 * A file of a model that is no file of the system, or not all of one: {@code struct sdg_file}. A list of them, each with a
 * name, is a tree of folders in which the model lies as it would on disk ({@link PipelineOptions#files}). Names are paths
 * in that tree, "emoji/unet/config.json": no name is there twice, none begins or ends with a /, no part is empty, "." or
 * "..".
 */
public final class ModelFile {
    /** {@link #part(String, int, long, long)}: to the end of the file, as AssetFileDescriptor.UNKNOWN_LENGTH is. */
    public static final long REST = -1;

    // Exactly one of path, a descriptor, kept and copied.
    final String name;
    String path;
    int fd = -1;
    FileDescriptor descriptor;
    long offset;
    long length;
    ByteBuffer kept;
    byte[] copied;

    private ModelFile(String name) {
        this.name = name;
    }

    /** The whole file at {@code path} of the system. */
    public static ModelFile path(String name, String path) {
        if (path == null) {
            throw new IllegalArgumentException(name + ": its path is null");
        }
        ModelFile file = new ModelFile(name);
        file.path = path;
        return file;
    }

    /**
     * {@code length} bytes ({@link #REST}: all there are) from {@code offset} on of the file that a descriptor is open on.
     * For Android: AssetFileDescriptor's getParcelFileDescriptor().getFd(), getStartOffset() and getLength(). The
     * descriptor must be open until the pipeline is made and may be closed then. Offsets need no alignment, and several
     * parts may share a descriptor.
     */
    public static ModelFile part(String name, int fd, long offset, long length) {
        ModelFile file = new ModelFile(name);
        file.fd = fd;
        file.offset = offset;
        file.length = length;
        return file;
    }

    /** The same of a descriptor of java.io, as a FileInputStream has it. */
    public static ModelFile part(String name, FileDescriptor fd, long offset, long length) {
        if (fd == null) {
            throw new IllegalArgumentException(name + ": its descriptor is null");
        }
        ModelFile file = part(name, -1, offset, length);
        file.descriptor = fd;
        return file;
    }

    /**
     * Bytes of a direct buffer, from its position to its limit, where they stay: weights are read there as long as the
     * pipeline lives, which keeps the buffer from being collected. They must not be changed meanwhile.
     *
     * @throws IllegalArgumentException the buffer is not direct
     */
    public static ModelFile memory(String name, ByteBuffer bytes) {
        if (bytes == null || !bytes.isDirect()) {
            throw new IllegalArgumentException(name + ": its buffer is " + (bytes == null ? "null" : "not direct"));
        }
        ModelFile file = new ModelFile(name);
        file.kept = bytes.slice();
        file.length = file.kept.remaining();
        return file;
    }

    /** Bytes that are copied when the pipeline is made: for small files. */
    public static ModelFile copied(String name, byte[] bytes) {
        if (bytes == null) {
            throw new IllegalArgumentException(name + ": its bytes are null");
        }
        ModelFile file = new ModelFile(name);
        file.copied = bytes;
        file.length = bytes.length;
        return file;
    }

    /** The name in the tree. */
    public String name() {
        return name;
    }
}
