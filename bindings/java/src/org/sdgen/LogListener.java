package org.sdgen;

/** Hears what the library has to say, warnings for instance, where no exception does. */
public interface LogListener {
    /** {@code enum sdg_log_level}. */
    enum Level { ERROR, WARNING, INFO, DEBUG }

    /**
     * One line. Called from the thread that uses the {@link Sdgen} or from one of the library's own, from several at once
     * too. It must not use the {@link Sdgen}. What it throws is ignored.
     */
    void onMessage(Level level, String message);
}
