package org.sdgen.android;

import android.graphics.Bitmap;
import org.sdgen.GenerateOptions;
import org.sdgen.Picture;
import org.sdgen.Preview;

/** Pictures of the library as Android's. */
public final class Bitmaps {
    private Bitmaps() {}

    /** A new, mutable bitmap of a picture. */
    public static Bitmap of(Picture picture) {
        return of(picture.argb(), picture.width(), picture.height());
    }

    /** A new, mutable bitmap of a preview. */
    public static Bitmap of(Preview preview) {
        return of(preview.argb(), preview.width(), preview.height());
    }

    /** A new, mutable bitmap of pixels 0xAARRGGBB, [height][width]. */
    public static Bitmap of(int[] argb, int width, int height) {
        Bitmap bitmap = Bitmap.createBitmap(width, height, Bitmap.Config.ARGB_8888);
        bitmap.setPixels(argb, 0, width, 0, 0, width, height);
        return bitmap;
    }

    /** Begins with a bitmap, which must have the size to be drawn: {@link GenerateOptions#initImage}. */
    public static GenerateOptions initImage(GenerateOptions options, Bitmap bitmap) {
        int width = bitmap.getWidth();
        int height = bitmap.getHeight();
        int[] argb = new int[width * height];
        bitmap.getPixels(argb, 0, width, 0, 0, width, height);
        return options.initImage(argb, width, height);
    }
}
