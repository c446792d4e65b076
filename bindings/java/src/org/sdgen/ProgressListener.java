package org.sdgen;

/** Hears how far a call is. */
public interface ProgressListener {
    /**
     * Called when a stage begins and after each of its steps; in between, about ten times a second, with the same step
     * again and {@link Progress#secondsLeft} running down. It is called from the thread that draws, which waits: a user
     * interface posts the news to its own thread and returns. It must not use the {@link Sdgen} that it is called from,
     * except for {@link Sdgen#cancel} and {@link Sdgen#info}. What it throws ends the call and comes out of it unchanged.
     *
     * @return false to cancel: the call ends with {@link Result#CANCELLED} when the operation that runs now is done
     */
    boolean onProgress(Progress progress);
}
