package org.sdgen;

/** What kind of failure a call ended with: {@code enum sdg_result} of sdgen/result.h. */
public enum Result {
    /** No failure. */
    OK,
    /** A parameter is out of range or contradicts another; thrown as {@link IllegalArgumentException}. */
    USAGE,
    /** A file is missing, unreadable, broken or of an unknown kind. */
    INPUT,
    /** An output cannot be written. */
    OUTPUT,
    /** An allocation failed or the budget is too small; thrown as {@link OutOfMemoryError}. */
    MEMORY,
    /** No such device, or its driver refused. */
    DEVICE,
    /** Legal, but this build or backend cannot do it. */
    UNSUPPORTED,
    /** Values that are not finite, or a lost device. */
    COMPUTE,
    /** A listener, {@link Sdgen#cancel} or {@link Sdgen#close} asked to stop. */
    CANCELLED
}
