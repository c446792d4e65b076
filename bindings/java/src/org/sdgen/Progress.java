package org.sdgen;

/** How far a call is: {@code struct sdg_progress}. */
public final class Progress {
    /** The stages of a picture, in their order. */
    public enum Stage {
        /** The prompt is read. */
        TEXT,
        /** The init image is encoded. */
        ENCODE,
        /** The sampler's steps, which take most of the time. */
        SAMPLE,
        /** The pixels are made. */
        DECODE
    }

    private static final Stage[] STAGES = Stage.values();

    private final Stage stage;
    private final int step;
    private final int steps;
    private final int image;
    private final int images;
    private final double secondsStep;
    private final double secondsLeft;

    Progress(int stage, int step, int steps, int image, int images, double secondsStep, double secondsLeft) {
        this.stage = STAGES[stage];
        this.step = step;
        this.steps = steps;
        this.image = image;
        this.images = images;
        this.secondsStep = secondsStep;
        this.secondsLeft = secondsLeft;
    }

    /** What is done now. */
    public Stage stage() {
        return stage;
    }

    /** Of the stage: 0 when it begins, then the number of steps that are done. */
    public int step() {
        return step;
    }

    /** Of the stage. */
    public int steps() {
        return steps;
    }

    /** 0-based number of the picture, of the first one where several are drawn together. */
    public int image() {
        return image;
    }

    /** How many pictures there are, at least 1. */
    public int images() {
        return images;
    }

    /** Seconds that the last step took. */
    public double secondsStep() {
        return secondsStep;
    }

    /** An estimate for this picture, all stages; negative if unknown. */
    public double secondsLeft() {
        return secondsLeft;
    }
}
