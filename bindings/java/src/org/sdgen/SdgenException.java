package org.sdgen;

/**
 * A call that failed for a reason outside of the program: a broken file, a missing device, or because it was cancelled.
 * The message is the library's line. Mistakes of the caller are {@link IllegalArgumentException} and
 * {@link IllegalStateException}, lack of memory is {@link OutOfMemoryError}.
 */
public final class SdgenException extends Exception {
    private static final long serialVersionUID = 1;

    private final Result result;

    SdgenException(Result result, String message) {
        super(message);
        this.result = result;
    }

    /** The kind of failure; neither OK, USAGE nor MEMORY. */
    public Result result() {
        return result;
    }

    /** Whether the call did not fail, but was asked to stop. */
    public boolean isCancelled() {
        return result == Result.CANCELLED;
    }
}
