package org.sdgen;

/** Sees the picture while it is drawn. */
public interface PreviewListener {
    /**
     * Called after every so many steps, as {@link GenerateOptions#preview} says, under the rules of
     * {@link ProgressListener#onProgress}. What it throws ends the call and comes out of it unchanged.
     */
    void onPreview(Preview preview);
}
