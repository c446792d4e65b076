package org.sdgen;

/** What stays in memory between the pictures of one pipeline: {@code enum sdg_keep}. Pictures are the same either way. */
public enum Keep {
    /** Networks are compiled for each picture and released as soon as it does not need them any more. */
    NOTHING,
    /** UNet and decoder stay, for the next picture of the same size and steps, where the plan has room. */
    NETWORKS
}
