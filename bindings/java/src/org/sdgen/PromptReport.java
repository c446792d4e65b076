package org.sdgen;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/** What a prompt is to a model: {@code struct sdg_prompt_report}. See {@link Sdgen#checkPrompt}. */
public final class PromptReport {
    /** A token of a text, without those that begin, end and fill a chunk. */
    public static final class Token {
        private final int id;
        private final float weight;
        private final int chunk;
        private final int begin;
        private final int end;

        Token(int id, float weight, int chunk, int begin, int end) {
            this.id = id;
            this.weight = weight;
            this.chunk = chunk;
            this.begin = begin;
            this.end = end;
        }

        /** Its number in the vocabulary. */
        public int id() {
            return id;
        }

        /** Of (a:1.2) and the like, 1 without. */
        public float weight() {
            return weight;
        }

        /** 0-based; {@link Text#chunks} for a token that was cut off. */
        public int chunk() {
            return chunk;
        }

        /** Where in {@link Text#text} the characters begin that it was made from: an index of a String. */
        public int begin() {
            return begin;
        }

        /** Where they end. Tokens that share a character all have it. */
        public int end() {
            return end;
        }
    }

    /** A text that the text encoder is asked: one, or with AND, [from:to:when] and [a|b] each of what they say. */
    public static final class Text {
        private final String text;
        private final int[] chunkTokens;
        private final int cut;
        private final List<Token> tokens;

        Text(String text, int[] chunkTokens, int cut, List<Token> tokens) {
            this.text = text;
            this.chunkTokens = chunkTokens;
            this.cut = cut;
            this.tokens = Collections.unmodifiableList(tokens);
        }

        /** As the prompt has it, weights and all. */
        public String text() {
            return text;
        }

        /** How many chunks it takes. */
        public int chunks() {
            return chunkTokens.length;
        }

        /** How many tokens are in a chunk. */
        public int chunkTokens(int chunk) {
            return chunkTokens[chunk];
        }

        /** All of them. */
        public List<Token> tokens() {
            return tokens;
        }

        /** How many of the tokens, the last ones, were cut off for want of room. */
        public int cut() {
            return cut;
        }
    }

    /** A word that the model's captions did not have. */
    public static final class UnknownWord {
        private final String word;
        private final String nearest;

        UnknownWord(String word, String nearest) {
            this.word = word;
            this.nearest = nearest;
        }

        /** In lower case. */
        public String word() {
            return word;
        }

        /** One that they had and that differs in few letters; null = none. */
        public String nearest() {
            return nearest;
        }
    }

    private int room;
    private boolean wordsKnown;
    private final List<Text> texts = new ArrayList<>();
    private final List<UnknownWord> unknown = new ArrayList<>();

    PromptReport() {} // filled by the library

    /** For tokens in a chunk: 75. */
    public int room() {
        return room;
    }

    /** What the text encoder is asked. */
    public List<Text> texts() {
        return Collections.unmodifiableList(texts);
    }

    /** Whether the model says which words its captions had. */
    public boolean wordsKnown() {
        return wordsKnown;
    }

    /** Words that its captions did not have, each once. */
    public List<UnknownWord> unknown() {
        return Collections.unmodifiableList(unknown);
    }

    // ---- called by the library ----

    /** begins, ends: in bytes of UTF-8. */
    void addText(byte[] bytes, int[] chunkTokens, int cut, int[] ids, float[] weights, int[] chunks, int[] begins,
            int[] ends) {
        int[] at = characters(bytes);
        List<Token> tokens = new ArrayList<>(ids.length);
        for (int i = 0; i < ids.length; i++) {
            tokens.add(new Token(ids[i], weights[i], chunks[i], at[begins[i]], at[ends[i]]));
        }
        texts.add(new Text(new String(bytes, StandardCharsets.UTF_8), chunkTokens, cut, tokens));
    }

    void addUnknown(String word, String nearest) {
        unknown.add(new UnknownWord(word, nearest));
    }

    /** For each byte of valid UTF-8, and its end, the index of its character in a String, where some take two. */
    private static int[] characters(byte[] bytes) {
        int[] at = new int[bytes.length + 1];
        int index = 0;
        int next = 0;
        for (int i = 0; i < bytes.length; i++) {
            int lead = bytes[i] & 0xff;
            if (lead < 0x80 || lead >= 0xc0) {
                index = next;
                next += lead >= 0xf0 ? 2 : 1;
            }
            at[i] = index;
        }
        at[bytes.length] = next;
        return at;
    }
}
