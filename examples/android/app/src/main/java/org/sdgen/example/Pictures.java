package org.sdgen.example;

import android.content.Context;
import android.graphics.Bitmap;
import android.net.Uri;
import java.io.File;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.util.Arrays;
import java.util.Locale;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * The last pictures, as PNGs in the cache folder: they outlive the process, and {@link PictureProvider} hands them to other
 * apps. A file is called after the time it was drawn and its seed, and never changes.
 */
final class Pictures {
    static final String AUTHORITY = "org.sdgen.example.pictures";
    private static final Pattern NAME = Pattern.compile("[0-9]{13}-([0-9]+)\\.png");
    private static final int KEPT = 8;

    private Pictures() {}

    /** Writes a picture, and forgets the oldest ones. */
    static File add(Context context, Bitmap bitmap, long seed) throws IOException {
        File folder = folder(context);
        if (!folder.isDirectory() && !folder.mkdirs()) {
            throw new IOException("cannot make " + folder);
        }
        File file = new File(folder, String.format(Locale.ROOT, "%013d-%d.png", System.currentTimeMillis(), seed));
        File unfinished = new File(folder, "unfinished");
        try (OutputStream out = new FileOutputStream(unfinished)) {
            if (!bitmap.compress(Bitmap.CompressFormat.PNG, 100, out)) {
                throw new IOException("cannot write " + unfinished);
            }
        }
        if (!unfinished.renameTo(file)) {
            throw new IOException("cannot make " + file);
        }
        File[] all = list(context);
        for (int i = 0; i < all.length - KEPT; i++) {
            if (!all[i].delete()) {
                break; // the system empties the folder when it needs room
            }
        }
        return file;
    }

    /** null = there is none. */
    static File newest(Context context) {
        File[] all = list(context);
        return all.length == 0 ? null : all[all.length - 1];
    }

    /** The picture of that name, as others ask for it; null = there is none, or the name is none of a picture. */
    static File named(Context context, String name) {
        if (name == null || !NAME.matcher(name).matches()) {
            return null;
        }
        File file = new File(folder(context), name);
        return file.isFile() ? file : null;
    }

    static long seedOf(File picture) {
        Matcher matcher = NAME.matcher(picture.getName());
        try {
            return matcher.matches() ? Long.parseLong(matcher.group(1)) : 0;
        } catch (NumberFormatException e) {
            return 0;
        }
    }

    /** What other apps know it by. */
    static Uri uriOf(File picture) {
        return new Uri.Builder().scheme("content").authority(AUTHORITY).appendPath(picture.getName()).build();
    }

    private static File folder(Context context) {
        return new File(context.getCacheDir(), "pictures");
    }

    /** The oldest first. */
    private static File[] list(Context context) {
        File[] files = folder(context).listFiles((folder, name) -> NAME.matcher(name).matches());
        if (files == null) {
            return new File[0];
        }
        Arrays.sort(files);
        return files;
    }
}
