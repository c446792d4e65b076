package org.sdgen;

/** The lists of names that parameters given as text take: {@code enum sdg_names}. See {@link Sdgen#names}. */
public enum Names {
    /** {@link GenerateOptions#sampler}. */
    SAMPLER,
    /** {@link GenerateOptions#schedule}. */
    SCHEDULE,
    /** {@link GenerateOptions#rng} and {@link GenerateOptions#samplerRng}. */
    RNG,
    /** {@link PipelineOptions#type}. */
    TYPE,
    /** {@link PipelineOptions#backend}. */
    BACKEND,
    /** {@link PipelineOptions#prediction}. */
    PREDICTION,
    /** {@link EngineOptions#disable}. */
    FEATURE,
    /** {@link PipelineOptions#vaeTiling}. */
    VAE_TILING,
    /** {@link PipelineOptions#intervals}. */
    INTERVALS,
    /** {@link Progress.Stage}, as the library calls them. */
    STAGE,
    /** {@link Result}, as the library calls them. */
    RESULT
}
