package org.sdgen;

/** A picture while it is drawn: {@code struct sdg_preview_picture}. */
public final class Preview {
    /** What previews are made with: {@code enum sdg_preview_kind}. */
    public enum Kind {
        /** There are none. */
        NONE,
        /** The latent's channels mapped to RGB, which costs nothing worth measuring. Models may have no such map. */
        PROJECTION,
        /** The model's autoencoder: as long as the stage DECODE each time, so for small ones (TAESD). */
        DECODER
    }

    private static final Kind[] KINDS = Kind.values();

    private final int[] argb;
    private final int width;
    private final int height;
    private final int step;
    private final int steps;
    private final int image;
    private final Kind kind;

    Preview(int[] argb, int width, int height, int step, int steps, int image, int kind) {
        this.argb = argb;
        this.width = width;
        this.height = height;
        this.step = step;
        this.steps = steps;
        this.image = image;
        this.kind = KINDS[kind];
    }

    /** Pixels 0xFFRRGGBB, [height][width] from the top; a new array each time, which is the listener's to keep. */
    public int[] argb() {
        return argb;
    }

    /** Pixels a row, those of the picture. */
    public int width() {
        return width;
    }

    /** Rows, those of the picture. */
    public int height() {
        return height;
    }

    /** Steps of the sampler that were done. */
    public int step() {
        return step;
    }

    /** Steps of the sampler. The last one shows the picture itself and has no preview. */
    public int steps() {
        return steps;
    }

    /** 0-based number of the picture. */
    public int image() {
        return image;
    }

    /** What it was made with: PROJECTION also where memory had no room for the decoder. */
    public Kind kind() {
        return kind;
    }
}
