package org.sdgen.example;

import android.content.Context;

/** A drawing in words. */
final class Status {
    private Status() {}

    static String text(Context context, Drawing drawing) {
        switch (drawing.state) {
            case OPENING:
                return context.getString(R.string.opening);
            case TEXT:
                return context.getString(R.string.reading_prompt);
            case SAMPLE:
                return drawing.secondsLeft < 0 ? context.getString(R.string.step, drawing.step, drawing.steps)
                        : context.getString(R.string.step_seconds, drawing.step, drawing.steps, (int) Math.ceil(drawing.secondsLeft));
            case DECODE:
                return context.getString(R.string.decoding);
            case CANCELLING:
                return context.getString(R.string.cancelling);
            case DONE:
                return context.getString(R.string.done, drawing.seed, drawing.seconds, drawing.backend);
            case CANCELLED:
                return context.getString(R.string.cancelled);
            case FAILED:
                return context.getString(drawing.outOfMemory ? R.string.failed_memory : R.string.failed, drawing.error);
            default:
                return drawing.file == null ? "" : context.getString(R.string.restored, drawing.seed);
        }
    }
}
