package org.sdgen.example;

import android.graphics.Bitmap;
import java.io.File;

/**
 * How far the picture is that was asked for last. The service has one and changes it; the activity shows it. Both do so on the
 * main thread, and nothing else sees it.
 */
final class Drawing {
    enum State {
        /** Nothing was asked for; there may be a picture from before. */
        NONE,
        /** The model is opened, which the first picture waits for. */
        OPENING,
        TEXT,
        SAMPLE,
        DECODE,
        /** The operation that runs is waited for. */
        CANCELLING,
        DONE,
        CANCELLED,
        FAILED
    }

    State state = State.NONE;
    String prompt = "";
    long seed;
    /** Of the sampler. */
    int step;
    int steps;
    /** An estimate; negative if unknown. */
    double secondsLeft = -1;
    /** A preview while it is drawn, then the picture; null = there is none. */
    Bitmap bitmap;
    /** The finished picture as a PNG; null = there is none yet. */
    File file;
    /** Words of the prompt that the model does not know, "" if it knows all. */
    String unknownWords = "";
    /** Of DONE: seconds in all, and what drew. */
    double seconds;
    String backend;
    /** Of FAILED: the reason, and whether it is a lack of memory. */
    String error;
    boolean outOfMemory;

    boolean isRunning() {
        switch (state) {
            case OPENING:
            case TEXT:
            case SAMPLE:
            case DECODE:
            case CANCELLING:
                return true;
            default:
                return false;
        }
    }
}
