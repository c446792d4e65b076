package org.sdgen;

/** A call that runs: what the library calls back, and what listeners threw. Used by the calling thread alone. */
final class Call {
    private final Sdgen owner;
    private final ProgressListener progress;
    private final PreviewListener preview;
    private Throwable thrown;

    Call(Sdgen owner, ProgressListener progress, PreviewListener preview) {
        this.owner = owner;
        this.progress = progress;
        this.preview = preview;
    }

    /** Called by the library; false ends the call. */
    boolean onProgress(int stage, int step, int steps, int image, int images, double secondsStep, double secondsLeft) {
        if (thrown != null || owner.isCancelled()) {
            return false;
        }
        if (progress == null) {
            return true;
        }
        try {
            return progress.onProgress(new Progress(stage, step, steps, image, images, secondsStep, secondsLeft));
        } catch (Throwable t) {
            thrown = t;
            return false;
        }
    }

    /** Called by the library. */
    void onPreview(int[] argb, int width, int height, int step, int steps, int image, int kind) {
        if (thrown != null || owner.isCancelled()) {
            return;
        }
        try {
            preview.onPreview(new Preview(argb, width, height, step, steps, image, kind));
        } catch (Throwable t) {
            thrown = t;
            owner.cancel();
        }
    }

    /** What a listener threw, unchanged, whatever it is. */
    void rethrow() {
        if (thrown != null) {
            Call.<RuntimeException>unchecked(thrown);
        }
    }

    @SuppressWarnings("unchecked")
    private static <T extends Throwable> void unchecked(Throwable t) throws T {
        throw (T) t;
    }
}
