package org.sdgen.example;

import android.content.Context;
import android.util.Log;
import java.io.File;
import java.io.IOException;
import java.util.Arrays;
import org.sdgen.Engine;
import org.sdgen.EngineOptions;
import org.sdgen.GenerateOptions;
import org.sdgen.Keep;
import org.sdgen.LogListener;
import org.sdgen.Picture;
import org.sdgen.PipelineOptions;
import org.sdgen.Result;
import org.sdgen.Sdgen;
import org.sdgen.SdgenException;
import org.sdgen.android.AssetModel;

/**
 * The model, open or not: the first one in the folder models of the app's storage, else the one among its assets. It belongs
 * to one thread, the service's worker.
 */
final class Model {
    private static final String TAG = "sdgen";
    private static final String ASSET = "emoji-128";

    private final Context context;
    private Sdgen sdgen; // null = closed
    private String backend = "auto"; // Vulkan 1.1 where it is and works, else the processor

    Model(Context context) {
        this.context = context.getApplicationContext();
    }

    /** Opens it if it is not. Weights are mapped, so this takes little memory. */
    Sdgen open() throws IOException, SdgenException {
        if (sdgen == null) {
            // The code cache is emptied with each version of the app and of the system: what compiled pipelines want.
            EngineOptions shared = new EngineOptions().cacheDir(context.getCodeCacheDir().getPath()).noEnvironment(true);
            try (Engine engine = new Engine(shared)) { // the pipeline holds it on
                sdgen = open(new PipelineOptions().engine(engine));
            }
        }
        return sdgen;
    }

    private Sdgen open(PipelineOptions options) throws IOException, SdgenException {
        options.backend(backend).keep(Keep.NETWORKS).log(LogListener.Level.WARNING, (level, line) -> Log.w(TAG, line));
        File stored = stored();
        if (stored != null) {
            return new Sdgen(options.model(stored.getPath()));
        }
        try (AssetModel assets = new AssetModel(context.getAssets(), ASSET)) {
            return new Sdgen(options.model(ASSET).files(assets.files()));
        }
    }

    /** A folder in diffusers' layout or a checkpoint that somebody put into the app's storage; null = there is none. */
    private File stored() {
        for (File storage : new File[] {context.getExternalFilesDir("models"), new File(context.getFilesDir(), "models")}) {
            File[] found = storage == null ? null : storage.listFiles(Model::isModel);
            if (found != null && found.length > 0) {
                Arrays.sort(found);
                return found[0];
            }
        }
        return null;
    }

    private static boolean isModel(File file) {
        return file.getName().endsWith(".safetensors") || new File(file, "model_index.json").isFile();
    }

    /** Draws, by the processor where the graphics driver turns out not to be up to it. */
    Picture draw(GenerateOptions options) throws IOException, SdgenException {
        try {
            return open().generate(options);
        } catch (SdgenException e) {
            boolean deviceFailed = e.result() == Result.DEVICE || e.result() == Result.COMPUTE;
            if (!deviceFailed || backend.equals("cpu")) {
                throw e;
            }
            Log.w(TAG, "going on without the GPU", e);
        }
        close();
        backend = "cpu";
        return open().generate(options);
    }

    /** Gives back networks, device and threads; the next picture opens it again. */
    void close() {
        if (sdgen != null) {
            sdgen.close();
            sdgen = null;
        }
    }
}
