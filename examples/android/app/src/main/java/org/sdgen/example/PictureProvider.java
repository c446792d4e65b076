package org.sdgen.example;

import android.content.ContentProvider;
import android.content.ContentValues;
import android.database.Cursor;
import android.database.MatrixCursor;
import android.net.Uri;
import android.os.ParcelFileDescriptor;
import android.provider.OpenableColumns;
import java.io.File;
import java.io.FileNotFoundException;

/** Hands pictures to the apps that one is shared with, to be read and nothing else. It is not exported: each is granted. */
public final class PictureProvider extends ContentProvider {
    private static final String[] COLUMNS = {OpenableColumns.DISPLAY_NAME, OpenableColumns.SIZE};

    @Override
    public boolean onCreate() {
        return true;
    }

    @Override
    public String getType(Uri uri) {
        return "image/png";
    }

    @Override
    public ParcelFileDescriptor openFile(Uri uri, String mode) throws FileNotFoundException {
        File picture = find(uri);
        if (picture == null || !"r".equals(mode)) {
            throw new FileNotFoundException(uri + " (" + mode + ")");
        }
        return ParcelFileDescriptor.open(picture, ParcelFileDescriptor.MODE_READ_ONLY);
    }

    @Override
    public Cursor query(Uri uri, String[] projection, String selection, String[] arguments, String order) {
        String[] columns = projection == null ? COLUMNS : projection;
        MatrixCursor cursor = new MatrixCursor(columns, 1);
        File picture = find(uri);
        if (picture != null) {
            MatrixCursor.RowBuilder row = cursor.newRow();
            for (String column : columns) {
                row.add(column.equals(OpenableColumns.DISPLAY_NAME) ? picture.getName()
                        : column.equals(OpenableColumns.SIZE) ? (Object) picture.length() : null);
            }
        }
        return cursor;
    }

    private File find(Uri uri) {
        return uri.getPathSegments().size() == 1 ? Pictures.named(getContext(), uri.getLastPathSegment()) : null;
    }

    @Override
    public Uri insert(Uri uri, ContentValues values) {
        throw new UnsupportedOperationException("pictures are read only");
    }

    @Override
    public int update(Uri uri, ContentValues values, String selection, String[] arguments) {
        throw new UnsupportedOperationException("pictures are read only");
    }

    @Override
    public int delete(Uri uri, String selection, String[] arguments) {
        throw new UnsupportedOperationException("pictures are read only");
    }
}
