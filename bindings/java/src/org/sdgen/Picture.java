package org.sdgen;

/** A picture that was drawn. */
public final class Picture {
    private final int[] argb;
    private final int width;
    private final int height;
    private final GenerateInfo info;

    Picture(int[] argb, GenerateInfo info) {
        this.argb = argb;
        this.width = info.width();
        this.height = info.height();
        this.info = info;
    }

    /** Pixels 0xFFRRGGBB, [height][width] from the top, without gaps: a Bitmap's setPixels takes them. Not a copy. */
    public int[] argb() {
        return argb;
    }

    /** Pixels a row. */
    public int width() {
        return width;
    }

    /** Rows. */
    public int height() {
        return height;
    }

    /** How it was made. */
    public GenerateInfo info() {
        return info;
    }
}
