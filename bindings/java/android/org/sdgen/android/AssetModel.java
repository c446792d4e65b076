package org.sdgen.android;

import android.content.res.AssetFileDescriptor;
import android.content.res.AssetManager;
import java.io.ByteArrayOutputStream;
import java.io.Closeable;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;
import java.util.ArrayList;
import java.util.List;
import org.sdgen.ModelFile;

/**
 * A model that is a folder of an app's assets, for {@link org.sdgen.PipelineOptions#files}. Files that are in the package as
 * they are (noCompress "safetensors") are used where they lie; others are read into memory, for which they should be small.
 *
 * <pre>{@code
 * try (AssetModel assets = new AssetModel(context.getAssets(), "emoji-128")) {
 *     sdgen = new Sdgen(new PipelineOptions().model("emoji-128").files(assets.files()));
 * }
 * }</pre>
 */
public final class AssetModel implements Closeable {
    private final AssetManager assets;
    private final List<ModelFile> files = new ArrayList<>();
    private final List<AssetFileDescriptor> open = new ArrayList<>();

    /**
     * Opens all that is in the folder. The names in the list are those of the assets, the folder's included.
     *
     * @throws FileNotFoundException there is nothing in it
     */
    public AssetModel(AssetManager assets, String folder) throws IOException {
        this.assets = assets;
        try {
            addFolder(folder, assets.list(folder));
            if (files.isEmpty()) {
                throw new FileNotFoundException("no assets in " + folder);
            }
        } catch (IOException | RuntimeException e) {
            close();
            throw e;
        }
    }

    /** The list, to be used before close. */
    public List<ModelFile> files() {
        return files;
    }

    /** Closes the descriptors, which a pipeline that was made does not need any more. */
    @Override
    public void close() {
        for (AssetFileDescriptor descriptor : open) {
            try {
                descriptor.close();
            } catch (IOException e) {
                // it was only read
            }
        }
        open.clear();
    }

    private void addFolder(String folder, String[] names) throws IOException {
        for (String name : names) {
            String path = folder.isEmpty() ? name : folder + "/" + name;
            String[] inside = assets.list(path);
            if (inside != null && inside.length > 0) {
                addFolder(path, inside);
            } else {
                addFile(path);
            }
        }
    }

    private void addFile(String path) throws IOException {
        AssetFileDescriptor descriptor;
        try {
            descriptor = assets.openFd(path);
        } catch (FileNotFoundException compressed) {
            files.add(ModelFile.copied(path, read(path)));
            return;
        }
        open.add(descriptor);
        files.add(ModelFile.part(path, descriptor.getParcelFileDescriptor().getFd(), descriptor.getStartOffset(),
                descriptor.getLength()));
    }

    private byte[] read(String path) throws IOException {
        try (InputStream in = assets.open(path)) {
            ByteArrayOutputStream out = new ByteArrayOutputStream();
            byte[] part = new byte[1 << 16];
            for (int n = in.read(part); n >= 0; n = in.read(part)) {
                out.write(part, 0, n);
            }
            return out.toByteArray();
        }
    }
}
