package org.sdgen.example;

import android.Manifest;
import android.content.ContentResolver;
import android.content.ContentValues;
import android.content.Context;
import android.content.pm.PackageManager;
import android.media.MediaScannerConnection;
import android.net.Uri;
import android.os.Build;
import android.os.Environment;
import android.provider.MediaStore;
import java.io.File;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;

/** Pictures in the device's gallery, in a folder of their own. */
final class Gallery {
    private static final String FOLDER = "sdgen";

    private Gallery() {}

    /** Whether WRITE_EXTERNAL_STORAGE has to be asked for first: before Android 10. */
    static boolean needsPermission(Context context) {
        return Build.VERSION.SDK_INT < Build.VERSION_CODES.Q
                && context.checkSelfPermission(Manifest.permission.WRITE_EXTERNAL_STORAGE) != PackageManager.PERMISSION_GRANTED;
    }

    /** Blocks until it is written. */
    static void save(Context context, File picture) throws IOException {
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.Q) {
            saveToStore(context.getContentResolver(), picture);
        } else {
            saveToFolder(context, picture);
        }
    }

    private static void saveToStore(ContentResolver resolver, File picture) throws IOException {
        ContentValues values = new ContentValues();
        values.put(MediaStore.MediaColumns.DISPLAY_NAME, "sdgen-" + picture.getName());
        values.put(MediaStore.MediaColumns.MIME_TYPE, "image/png");
        values.put(MediaStore.MediaColumns.RELATIVE_PATH, Environment.DIRECTORY_PICTURES + "/" + FOLDER);
        values.put(MediaStore.MediaColumns.IS_PENDING, 1); // nobody sees it before it is whole
        Uri entry = resolver.insert(MediaStore.Images.Media.getContentUri(MediaStore.VOLUME_EXTERNAL_PRIMARY), values);
        if (entry == null) {
            throw new IOException("the gallery takes no entry");
        }
        boolean written = false;
        try {
            try (OutputStream out = resolver.openOutputStream(entry)) {
                if (out == null) {
                    throw new IOException("the gallery's entry cannot be written");
                }
                copy(picture, out);
            }
            values.clear();
            values.put(MediaStore.MediaColumns.IS_PENDING, 0);
            written = resolver.update(entry, values, null, null) == 1;
            if (!written) {
                throw new IOException("the gallery's entry is gone");
            }
        } finally {
            if (!written) {
                resolver.delete(entry, null, null);
            }
        }
    }

    @SuppressWarnings("deprecation") // before Android 10 this is the way
    private static void saveToFolder(Context context, File picture) throws IOException {
        File folder = new File(Environment.getExternalStoragePublicDirectory(Environment.DIRECTORY_PICTURES), FOLDER);
        if (!folder.isDirectory() && !folder.mkdirs()) {
            throw new IOException("cannot make " + folder);
        }
        File file = new File(folder, "sdgen-" + picture.getName());
        try (OutputStream out = new FileOutputStream(file)) {
            copy(picture, out);
        }
        MediaScannerConnection.scanFile(context, new String[] {file.getPath()}, new String[] {"image/png"}, null);
    }

    private static void copy(File from, OutputStream to) throws IOException {
        byte[] part = new byte[1 << 16];
        try (InputStream in = new FileInputStream(from)) {
            for (int n = in.read(part); n >= 0; n = in.read(part)) {
                to.write(part, 0, n);
            }
        }
    }
}
