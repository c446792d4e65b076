import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.RandomAccessFile;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.sdgen.*;

/** Tests of org.sdgen on a desktop's virtual machine. Arguments: source folder, the program sdgen, a folder for files. */
@SuppressWarnings("try") // closing twice, and early, is tested, too
public final class SdgenTest {
    private static String source;
    private static String program;
    private static Path folder;
    private static String model;

    private interface Test {
        void run() throws Exception;
    }

    private interface Action {
        void run() throws Throwable;
    }

    private static void check(boolean truth, String what) {
        if (!truth) {
            throw new AssertionError(what);
        }
    }

    /** What an action throws, which must be of a class and have some words. */
    private static <T extends Throwable> T expect(Class<T> wanted, String words, Action action) {
        Throwable thrown = null;
        try {
            action.run();
        } catch (Throwable t) {
            thrown = t;
        }
        if (!wanted.isInstance(thrown) || (words != null && !String.valueOf(thrown.getMessage()).contains(words))) {
            throw new AssertionError("expected " + wanted.getName() + " with '" + words + "', got " + thrown, thrown);
        }
        return wanted.cast(thrown);
    }

    private static void expectCancelled(Action action) {
        check(expect(SdgenException.class, null, action).isCancelled(), "cancelled");
    }

    private static PipelineOptions tiny() {
        return new PipelineOptions().model(model).backend("cpu").cacheDir("");
    }

    private static GenerateOptions few() {
        return new GenerateOptions().prompt("a !").seed(7).steps(3);
    }

    /** More steps than a test waits for. */
    private static GenerateOptions endless() {
        return few().steps(1000).width(128).height(128);
    }

    // ---- pictures ----

    private static void testNames() throws Exception {
        check(Sdgen.version().matches("[0-9]+[.][0-9]+[.][0-9]+"), Sdgen.version());
        check(Sdgen.buildInfo().contains("Vulkan"), Sdgen.buildInfo());
        check(Arrays.asList(Sdgen.names(Names.SAMPLER)).contains("euler_a"), "samplers");
        check(Arrays.equals(Sdgen.names(Names.STAGE), lower(Progress.Stage.values())), "stages");
        String[] results = Sdgen.names(Names.RESULT);
        check(Arrays.equals(results, lower(Result.values())), "results: " + Arrays.toString(results));
        check(Arrays.equals(Sdgen.names(Names.VAE_TILING), new String[] {"auto", "on", "off"}), "tiling");
        check(Sdgen.devices().stream().anyMatch(d -> d.backend().equals("cpu") && d.memory() > 1 << 20), "devices");
    }

    private static String[] lower(Enum<?>[] values) {
        return Arrays.stream(values).map(v -> v.name().toLowerCase(java.util.Locale.ROOT)).toArray(String[]::new);
    }

    private static void testPictureOfProgram() throws Exception {
        try (Sdgen sdgen = new Sdgen(tiny())) {
            PipelineInfo info = sdgen.info();
            check(info.width() == 64 && info.height() == 64 && info.factor() == 8 && info.latentChannels() == 4, "info");
            check(info.model().equals("sd2-small") && info.scheme() == null && info.encodes(), "info's texts");
            Picture picture = sdgen.generate(few());
            check(Arrays.equals(picture.argb(), draw("--seed", "7", "--steps", "3")), "the program's picture");
            check(picture.width() == 64 && picture.height() == 64, "its size");
            check(picture.info().seed() == 7 && picture.info().steps() == 3, "its info");
            check(picture.info().sampler().equals("euler_a") && picture.info().backend().equals("cpu"), "its texts");
            check(picture.info().secondsTotal() > 0 && picture.info().peakPlanned() > 0, "its numbers");

            int[] argb = new int[64 * 64 + 5];
            Arrays.fill(argb, 3);
            check(sdgen.generate(few(), argb).width() == 64, "info of an array");
            check(Arrays.equals(Arrays.copyOf(argb, 64 * 64), picture.argb()), "into an array");
            check(argb[64 * 64] == 3 && argb[64 * 64 + 4] == 3, "beyond the picture");

            GenerateOptions wide = few().width(128).height(64).cfgScale(3).negativePrompt("a a").sampler("ddim").eta(0.5);
            check(Arrays.equals(sdgen.generate(wide).argb(), draw("--seed", "7", "--steps", "3", "-W", "128", "-H", "64",
                    "--cfg-scale", "3", "-n", "a a", "--sampling-method", "ddim", "--eta", "0.5")), "with other parameters");
            long seed = 0xfedcba9876543210L;
            check(Arrays.equals(sdgen.generate(few().seed(seed)).argb(),
                    draw("--steps", "3", "--seed", Long.toUnsignedString(seed))), "64 bits of a seed");

            Picture[] two = sdgen.generate(few(), 2);
            check(two.length == 2 && two[0].info().seed() == 7 && two[1].info().seed() == 8, "two seeds");
            check(Arrays.equals(two[0].argb(), picture.argb()), "first of two");
            check(Arrays.equals(two[1].argb(), sdgen.generate(few().seed(8)).argb()), "second of two");
        }
    }

    /** What the program draws with the tiny model, as ARGB. */
    private static int[] draw(String... options) throws Exception {
        Path file = folder.resolve("drawn.ppm");
        List<String> command = new ArrayList<>(Arrays.asList(program, "-q", "-m", model, "--backend", "cpu", "-o",
                file.toString(), "-p", "a !"));
        command.addAll(Arrays.asList(options));
        Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
        String output = new String(read(process.getInputStream()), StandardCharsets.UTF_8);
        check(process.waitFor() == 0, output);
        byte[] ppm = Files.readAllBytes(file);
        Files.delete(file);
        int at = 0;
        int[] header = new int[3]; // width, height, 255
        for (int i = -1; i < 3; i++) {
            int begin = at;
            while (ppm[at] > ' ') {
                at++;
            }
            String word = new String(ppm, begin, at++ - begin, StandardCharsets.US_ASCII);
            if (i >= 0) {
                header[i] = Integer.parseInt(word);
            }
        }
        int[] argb = new int[header[0] * header[1]];
        check(ppm.length - at == 3 * argb.length, "PPM");
        for (int i = 0; i < argb.length; i++, at += 3) {
            argb[i] = 0xff000000 | (ppm[at] & 255) << 16 | (ppm[at + 1] & 255) << 8 | (ppm[at + 2] & 255);
        }
        return argb;
    }

    private static byte[] read(InputStream in) throws IOException {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        byte[] part = new byte[4096];
        for (int n = in.read(part); n >= 0; n = in.read(part)) {
            out.write(part, 0, n);
        }
        return out.toByteArray();
    }

    private static void testInitImage() throws Exception {
        try (Sdgen sdgen = new Sdgen(tiny())) {
            int[] argb = new int[64 * 64];
            for (int i = 0; i < argb.length; i++) {
                int r = i % 256, g = i / 16 % 256, b = 255 - i % 200;
                argb[i] = r << 16 | g << 8 | b;
            }
            Path file = folder.resolve("init.ppm");
            byte[] binary = new byte[13 + 3 * argb.length];
            System.arraycopy("P6\n64 64\n255\n".getBytes(StandardCharsets.US_ASCII), 0, binary, 0, 13);
            for (int i = 0; i < 3 * argb.length; i++) {
                binary[13 + i] = (byte) (argb[i / 3] >> 16 - 8 * (i % 3));
            }
            Files.write(file, binary);
            GenerateOptions options = few().initImage(argb, 64, 64).strength(0.7);
            int[] plain = sdgen.generate(options).argb();
            check(Arrays.equals(plain, draw("--seed", "7", "--steps", "3", "-i", file.toString(), "--strength", "0.7")),
                    "img2img as the program");
            byte[] mask = new byte[64 * 64];
            Arrays.fill(mask, (byte) 255);
            check(!Arrays.equals(sdgen.generate(options.mask(Arrays.copyOf(new byte[0], 64 * 64))).argb(), plain), "mask");
            check(sdgen.generate(options.mask(mask)).width() == 64, "masked");
            expect(IllegalArgumentException.class, "mask", () -> sdgen.generate(options.mask(new byte[7])));
            expect(IllegalArgumentException.class, "4 pixels", () -> few().initImage(new int[4], 64, 64));
            expect(IllegalArgumentException.class, null, () -> few().initImage(new int[4], -2, -2));
            float[] noise = new float[4 * 8 * 8];
            for (int i = 0; i < noise.length; i++) {
                noise[i] = (float) Math.sin(i * 1.7);
            }
            int[] first = sdgen.generate(few().noise(noise).sampler("ddim")).argb();
            check(Arrays.equals(first, sdgen.generate(few().noise(noise).sampler("ddim").seed(9)).argb()), "own noise");
            check(sdgen.generate(few().steps(0).sigmas(new double[] {10, 3, 1, 0})).info().steps() == 3, "sigmas");
        }
    }

    // ---- progress, previews, cancelling ----

    private static void testProgress() throws Exception {
        try (Sdgen sdgen = new Sdgen(tiny())) {
            List<Progress.Stage> stages = new ArrayList<>();
            int[] last = {0};
            List<Preview> previews = new ArrayList<>();
            Thread caller = Thread.currentThread();
            Picture picture = sdgen.generate(few().steps(4).progress(p -> {
                check(Thread.currentThread() == caller, "thread");
                check(p.images() == 1 && p.image() == 0 && p.step() >= 0 && p.step() <= p.steps(), "progress");
                if (!stages.contains(p.stage())) {
                    stages.add(p.stage());
                }
                if (p.stage() == Progress.Stage.SAMPLE) {
                    check(p.steps() == 4 && p.step() >= last[0], "steps");
                    last[0] = p.step();
                }
                return true;
            }).preview(Preview.Kind.DECODER, 2, previews::add));
            check(stages.equals(Arrays.asList(Progress.Stage.TEXT, Progress.Stage.SAMPLE, Progress.Stage.DECODE)),
                    "stages " + stages);
            check(last[0] == 4, "last step");
            check(previews.size() == 1, previews.size() + " previews");
            Preview preview = previews.get(0);
            check(preview.step() == 2 && preview.steps() == 4 && preview.kind() == Preview.Kind.DECODER, "preview");
            check(preview.width() == 64 && preview.height() == 64 && preview.argb().length == 64 * 64, "its size");
            check(Arrays.stream(preview.argb()).allMatch(p -> p >>> 24 == 255), "opaque");
            check(Arrays.stream(preview.argb()).distinct().count() > 10, "not empty");
            check(Arrays.equals(picture.argb(), sdgen.generate(few().steps(4)).argb()), "the picture is as without");
        }
    }

    private static void testCancel() throws Exception {
        try (Sdgen sdgen = new Sdgen(tiny())) {
            int[] whole = sdgen.generate(few()).argb();
            expectCancelled(() -> sdgen.generate(endless().progress(p -> p.stage() != Progress.Stage.SAMPLE || p.step() < 2)));
            sdgen.cancel(); // nothing runs: the next one is not affected
            check(Arrays.equals(whole, sdgen.generate(few()).argb()), "after cancelling");

            expectCancelled(() -> sdgen.generate(endless().progress(p -> {
                sdgen.cancel(); // also from a listener
                return true;
            })));
            int[] untouched = new int[128 * 128];
            CountDownLatch begun = new CountDownLatch(1);
            Thread other = new Thread(() -> {
                try {
                    begun.await();
                } catch (InterruptedException e) {
                    throw new IllegalStateException(e);
                }
                sdgen.cancel();
            });
            other.start();
            expectCancelled(() -> sdgen.generate(endless().progress(p -> {
                if (p.step() > 0) {
                    begun.countDown();
                }
                return true;
            }), untouched));
            other.join();
            check(Arrays.stream(untouched).allMatch(p -> p == 0), "the array is untouched");
            check(Arrays.equals(whole, sdgen.generate(few()).argb()), "after cancelling from a thread");
        }
    }

    private static final class Special extends RuntimeException {
        private static final long serialVersionUID = 1;
    }

    private static void testThrowingListeners() throws Exception {
        try (Sdgen sdgen = new Sdgen(tiny())) {
            int[] whole = sdgen.generate(few()).argb();
            Special special = new Special();
            for (int at = 0; at < 3; at++) {
                int step = at;
                check(expect(Special.class, null, () -> sdgen.generate(endless().progress(p -> {
                    if (p.step() == step) {
                        throw special;
                    }
                    return true;
                }))) == special, "unchanged");
            }
            Error error = new LinkageError("from a preview");
            check(expect(LinkageError.class, "from a preview", () -> sdgen.generate(
                    endless().preview(Preview.Kind.DECODER, 1, p -> {
                        throw error;
                    }))) == error, "unchanged error");
            expect(StackOverflowError.class, null, () -> sdgen.generate(endless().progress(p -> deep(1) > 0)));
            expect(IllegalStateException.class, "a listener", () -> sdgen.generate(endless().progress(p -> {
                sdgen.close();
                return true;
            })));
            expect(IllegalStateException.class, "a listener", () -> sdgen.generate(endless().progress(p -> {
                try {
                    sdgen.generate(few());
                } catch (SdgenException e) {
                    throw new AssertionError(e);
                }
                return true;
            })));
            check(Arrays.equals(whole, sdgen.generate(few()).argb()), "after exceptions");
        }
    }

    private static int deep(int n) {
        return deep(n + 1) + 1;
    }

    private static void testLog() throws Exception {
        List<String> lines = java.util.Collections.synchronizedList(new ArrayList<>());
        try (Sdgen sdgen = new Sdgen(tiny().log(LogListener.Level.DEBUG, (level, line) -> {
            lines.add(level + " " + line);
            throw new Special(); // is ignored
        }))) {
            sdgen.generate(few());
            check(lines.stream().anyMatch(l -> l.startsWith("DEBUG seconds: ")), lines.toString());
            lines.clear();
            expect(IllegalArgumentException.class, null, () -> sdgen.generate(few().steps(-1)));
            check(lines.stream().filter(l -> l.startsWith("ERROR steps is -1")).count() == 1, lines.toString());
        }
    }

    // ---- mistakes ----

    private static void testWrongArguments() throws Exception {
        expect(IllegalArgumentException.class, "options", () -> new Sdgen(null));
        expect(IllegalArgumentException.class, "backend", () -> new Sdgen(tiny().backend("abacus")));
        expect(IllegalArgumentException.class, "threads", () -> new Sdgen(tiny().threads(-1)));
        expect(IllegalArgumentException.class, "character 0", () -> new Sdgen(tiny().model("a\0b")));
        SdgenException missing = expect(SdgenException.class, "/nowhere", () -> new Sdgen(tiny().model("/nowhere")));
        check(missing.result() == Result.INPUT && !missing.isCancelled(), "kind of a missing file");
        expect(OutOfMemoryError.class, null, () -> new Sdgen(tiny().maxMemory(1000)).generate(few()));
        expect(IllegalArgumentException.class, "cores", () -> new Engine(new EngineOptions().cores("x")));
        expect(IllegalArgumentException.class, "options", () -> new Engine(null));
        try (Sdgen sdgen = new Sdgen(tiny())) {
            expect(IllegalArgumentException.class, "options", () -> sdgen.generate(null));
            expect(IllegalArgumentException.class, "steps", () -> sdgen.generate(few().steps(1001)));
            expect(IllegalArgumentException.class, "width", () -> sdgen.generate(few().width(-64)));
            expect(IllegalArgumentException.class, "width", () -> sdgen.generate(few().width(65)));
            expect(IllegalArgumentException.class, "16384", () -> sdgen.generate(few().width(1 << 30).height(1 << 30)));
            expect(IllegalArgumentException.class, "leuer", () -> sdgen.generate(few().sampler("leuer")));
            expect(IllegalArgumentException.class, "count", () -> sdgen.generate(few(), 0));
            expect(IllegalArgumentException.class, "4096", () -> sdgen.generate(few(), new int[4095]));
            expect(IllegalArgumentException.class, "UTF-16", () -> sdgen.generate(few().prompt("a \ud83c")));
            expect(IllegalArgumentException.class, "character 0", () -> sdgen.generate(few().prompt("a\0")));
            expect(SdgenException.class, "lora", () -> sdgen.generate(few().prompt("a <lora:b:1>")));
            expect(IllegalArgumentException.class, null, () -> sdgen.generate(few().noise(new float[3])));
        }
    }

    private static void testUseAfterClose() throws Exception {
        Sdgen sdgen = new Sdgen(tiny());
        sdgen.close();
        sdgen.close();
        expect(IllegalStateException.class, "closed", () -> sdgen.generate(few()));
        expect(IllegalStateException.class, "closed", () -> sdgen.generate(few(), new int[64 * 64]));
        expect(IllegalStateException.class, "closed", () -> sdgen.checkPrompt("a"));
        expect(IllegalStateException.class, "closed", sdgen::cancel);
        check(sdgen.info().width() == 64, "info stays");
        Engine engine = new Engine(new EngineOptions().cacheDir(""));
        engine.close();
        engine.close();
        expect(IllegalStateException.class, "closed", engine::info);
        expect(IllegalStateException.class, "closed", () -> new Sdgen(new PipelineOptions().model(model).engine(engine)));
    }

    private static void testCloseWhileDrawing() throws Exception {
        Sdgen sdgen = new Sdgen(tiny());
        CountDownLatch begun = new CountDownLatch(1);
        AtomicReference<Throwable> thrown = new AtomicReference<>();
        Thread other = new Thread(() -> {
            try {
                sdgen.generate(endless().progress(p -> {
                    if (p.step() > 0) {
                        begun.countDown();
                    }
                    return true;
                }));
            } catch (Throwable t) {
                thrown.set(t);
            }
        });
        other.start();
        begun.await();
        expect(IllegalStateException.class, "another thread", () -> sdgen.generate(few()));
        sdgen.close();
        other.join();
        check(thrown.get() instanceof SdgenException && ((SdgenException) thrown.get()).isCancelled(), "" + thrown.get());
    }

    // ---- engines ----

    private static void testTwoThreads() throws Exception {
        try (Engine engine = new Engine(new EngineOptions().cacheDir("").threads(2))) {
            PipelineOptions options = new PipelineOptions().model(model).backend("cpu").engine(engine);
            expect(IllegalArgumentException.class, "threads", () -> new Sdgen(
                    new PipelineOptions().model(model).engine(engine).threads(1)));
            try (Sdgen one = new Sdgen(options); Sdgen two = new Sdgen(options)) {
                check(engine.info().threads() == 2 && engine.info().cacheDir() == null, "the engine's info");
                Sdgen[] both = {one, two};
                int[][][] pictures = new int[2][4][];
                for (int i = 0; i < 8; i++) {
                    pictures[i / 4][i % 4] = both[i / 4].generate(few().seed(i)).argb();
                }
                AtomicInteger equal = new AtomicInteger();
                Thread[] threads = new Thread[2];
                for (int t = 0; t < 2; t++) {
                    int number = t;
                    threads[t] = new Thread(() -> {
                        for (int i = 0; i < 4; i++) {
                            try {
                                int[] again = both[number].generate(few().seed(4 * number + i)).argb();
                                equal.addAndGet(Arrays.equals(again, pictures[number][i]) ? 1 : 0);
                            } catch (SdgenException e) {
                                e.printStackTrace();
                            }
                        }
                    });
                    threads[t].start();
                }
                for (Thread thread : threads) {
                    thread.join();
                }
                check(equal.get() == 8, equal.get() + " of 8 pictures of two threads are equal");
            }
        }
        Engine engine = new Engine(new EngineOptions().cacheDir(""));
        Sdgen sdgen = new Sdgen(new PipelineOptions().model(model).backend("cpu").engine(engine));
        engine.close(); // the pipeline holds it
        sdgen.generate(few());
        sdgen.close();
    }

    private static long resident() throws IOException {
        for (String line : Files.readAllLines(Paths.get("/proc/self/status"))) {
            if (line.startsWith("VmRSS:")) {
                return Long.parseLong(line.replaceAll("[^0-9]", "")) << 10;
            }
        }
        throw new IOException("no VmRSS");
    }

    private static void round(Engine engine, int number) throws Exception {
        PipelineOptions options = new PipelineOptions().model(model).backend("cpu").engine(engine);
        if (number % 4 == 0) { // with what has to be freed besides
            options.log(LogListener.Level.WARNING, (level, line) -> { });
        }
        try (Sdgen sdgen = new Sdgen(options)) {
            if (number % 20 == 0) {
                sdgen.generate(few().steps(1).progress(p -> true).preview(Preview.Kind.DECODER, 1, p -> { }));
            }
            sdgen.checkPrompt("a ! a");
        }
        expect(IllegalArgumentException.class, null, () -> new Sdgen(
                new PipelineOptions().model(model).backend("none").engine(engine)));
        new Engine(new EngineOptions().cacheDir("")).close();
    }

    private static void testRounds() throws Exception {
        if (!new File("/proc/self/status").exists()) {
            System.out.println("skipped: rounds without growth, as there is no /proc");
            return;
        }
        try (Engine engine = new Engine(new EngineOptions().cacheDir("").threads(1))) {
            for (int i = 0; i < 100; i++) { // until the virtual machine has compiled what it wants to
                round(engine, i);
            }
            System.gc();
            long before = resident();
            for (int i = 0; i < 200; i++) {
                round(engine, i);
            }
            System.gc();
            long growth = resident() - before;
            System.out.println("200 rounds: " + (growth >> 10) + " KiB of growth");
            check(growth < 2 << 20, "200 rounds grow the process by " + growth + " bytes");
        }
    }

    // ---- files ----

    private static List<Path> filesOf(Path root) throws IOException {
        try (Stream<Path> found = Files.walk(root)) {
            return found.filter(Files::isRegularFile).sorted().collect(Collectors.toList());
        }
    }

    private static void testFiles() throws Exception {
        Path root = Paths.get(model);
        Path big = folder.resolve("package");
        List<ModelFile> parts = new ArrayList<>();
        List<ModelFile> buffers = new ArrayList<>();
        List<ModelFile> mixed = new ArrayList<>();
        int[] wanted;
        try (Sdgen sdgen = new Sdgen(tiny())) {
            wanted = sdgen.generate(few()).argb();
        }
        try (RandomAccessFile file = new RandomAccessFile(big.toFile(), "rw")) {
            file.write(new byte[] {1, 2, 3});
            for (Path path : filesOf(root)) {
                file.write(Files.readAllBytes(path));
                file.write(7);
            }
        }
        try (FileInputStream file = new FileInputStream(big.toFile())) {
            long offset = 3;
            for (Path path : filesOf(root)) {
                byte[] bytes = Files.readAllBytes(path);
                String name = "m/" + root.relativize(path).toString().replace(File.separatorChar, '/');
                parts.add(ModelFile.part(name, file.getFD(), offset, bytes.length));
                ByteBuffer buffer = ByteBuffer.allocateDirect(bytes.length + 5);
                buffer.position(3);
                buffer.put(bytes);
                buffer.flip();
                buffer.position(3);
                buffers.add(ModelFile.memory(name, buffer));
                mixed.add(name.endsWith(".json") ? ModelFile.copied(name, bytes) : ModelFile.path(name, path.toString()));
                offset += bytes.length + 1;
            }
            PipelineOptions options = new PipelineOptions().model("m").backend("cpu").cacheDir("");
            Sdgen fromParts = new Sdgen(options.files(parts));
            file.close();
            Sdgen fromBuffers = new Sdgen(options.files(buffers));
            buffers.clear();
            Sdgen fromBoth = new Sdgen(options.files(mixed));
            options = null;
            System.gc();
            for (Sdgen sdgen : new Sdgen[] {fromParts, fromBuffers, fromBoth}) {
                check(Arrays.equals(wanted, sdgen.generate(few()).argb()), "a model out of a list");
                sdgen.close();
            }
            expect(IllegalArgumentException.class, "descriptor", () -> new Sdgen(tiny().model("m").files(parts)));
        }
        Files.delete(big);
        expect(IllegalArgumentException.class, "not direct", () -> ModelFile.memory("a", ByteBuffer.allocate(3)));
        expect(IllegalArgumentException.class, "files[1] is null", () -> new Sdgen(
                tiny().files(Arrays.asList(ModelFile.copied("a", new byte[1]), null))));
        expect(IllegalArgumentException.class, "twice", () -> new Sdgen(
                tiny().files(Arrays.asList(ModelFile.copied("a", new byte[1]), ModelFile.copied("a", new byte[1])))));
        expect(IllegalArgumentException.class, "name", () -> new Sdgen(
                tiny().files(Arrays.asList(ModelFile.copied(null, new byte[1])))));
    }

    // ---- prompts ----

    private static void testPrompts() throws Exception {
        try (Sdgen sdgen = new Sdgen(new PipelineOptions().model(source + "/models/emoji-128").backend("cpu").cacheDir(""))) {
            // An emoji is two chars of a String and four bytes of UTF-8; what JNI calls UTF-8 would make six of them.
            String prompt = "caf\u00e9 \ud83c\udf4e (red:1.5) zzxqy";
            PromptReport report = sdgen.checkPrompt(prompt);
            check(report.room() == 75 && report.texts().size() == 1 && report.wordsKnown(), "report");
            PromptReport.Text text = report.texts().get(0);
            check(text.text().equals(prompt), "text: " + text.text());
            check(text.cut() == 0 && text.chunks() == 1 && text.chunkTokens(0) == text.tokens().size(), "chunks");
            int ofEmoji = 0;
            int[] bytes = new int[prompt.length()];
            for (PromptReport.Token token : text.tokens()) {
                String made = prompt.substring(token.begin(), token.end());
                check(token.chunk() == 0 && !made.isEmpty(), "token");
                if (made.contains("red")) {
                    check(token.weight() == 1.5f, "weight");
                }
                for (int i = token.begin(); i < token.end(); i++) {
                    bytes[i]++;
                }
                ofEmoji += made.equals("\ud83c\udf4e") ? 1 : 0;
            }
            check(ofEmoji >= 1 && ofEmoji <= 4, ofEmoji + " tokens of four bytes");
            for (String word : new String[] {"caf\u00e9", "\ud83c\udf4e", "red", "zzxqy"}) {
                for (int i = 0; i < word.length(); i++) {
                    check(bytes[prompt.indexOf(word) + i] > 0, "a token for each character of " + word);
                }
            }
            check(idsOfEmoji(sdgen, text).equals(utf8Ids()), "tokens of the emoji's four bytes: " + idsOfEmoji(sdgen, text));
            check(report.unknown().stream().anyMatch(u -> u.word().equals("zzxqy")), "unknown word");

            StringBuilder longer = new StringBuilder();
            for (int i = 0; i < 100; i++) {
                longer.append("apple ");
            }
            PromptReport two = sdgen.checkPrompt(longer.toString());
            check(two.texts().get(0).chunks() >= 2 || two.texts().get(0).cut() > 0, "more than a chunk");
            check(sdgen.checkPrompt("a AND b").texts().size() == 2, "AND");
            check(sdgen.checkPrompt("a AND b", true, false, 0).texts().size() == 1, "AND of a negative prompt");
            check(sdgen.checkPrompt(null).texts().get(0).tokens().isEmpty(), "no prompt");
        }
    }

    private static List<Integer> idsOfEmoji(Sdgen sdgen, PromptReport.Text text) {
        return text.tokens().stream().filter(t -> text.text().substring(t.begin(), t.end()).equals("\ud83c\udf4e"))
                .map(PromptReport.Token::id).collect(Collectors.toList());
    }

    /** The tokens of F0 9F 8D 8E by vocab.json and merges.txt of the model, merged here. */
    private static List<Integer> utf8Ids() throws IOException {
        Path tokenizer = Paths.get(source, "models/emoji-128/tokenizer");
        String vocabulary = new String(Files.readAllBytes(tokenizer.resolve("vocab.json")), StandardCharsets.UTF_8);
        List<String> merges = Files.readAllLines(tokenizer.resolve("merges.txt"));
        List<String> pieces = new ArrayList<>();
        byte[] bytes = "\ud83c\udf4e".getBytes(StandardCharsets.UTF_8);
        for (byte b : bytes) { // GPT-2's letters for bytes: those that can be printed are themselves
            int v = b & 255;
            int others = 0;
            for (int i = 0; i < v; i++) {
                others += printable(i) ? 0 : 1;
            }
            pieces.add(String.valueOf((char) (printable(v) ? v : 256 + others)));
        }
        pieces.set(3, pieces.get(3) + "</w>");
        for (;;) {
            int best = Integer.MAX_VALUE, at = -1;
            for (int i = 0; i + 1 < pieces.size(); i++) {
                int rank = merges.indexOf(pieces.get(i) + " " + pieces.get(i + 1));
                if (rank >= 0 && rank < best) {
                    best = rank;
                    at = i;
                }
            }
            if (at < 0) {
                break;
            }
            pieces.set(at, pieces.get(at) + pieces.remove(at + 1));
        }
        List<Integer> ids = new ArrayList<>();
        for (String piece : pieces) {
            java.util.regex.Matcher m = java.util.regex.Pattern.compile(
                    "\"(?:" + java.util.regex.Pattern.quote(piece) + "|" + java.util.regex.Pattern.quote(escaped(piece))
                    + ")\"\\s*:\\s*([0-9]+)").matcher(vocabulary);
            check(m.find(), "the vocabulary has no " + piece);
            ids.add(Integer.parseInt(m.group(1)));
        }
        return ids;
    }

    private static boolean printable(int v) {
        return v >= '!' && v <= '~' || v >= 0xa1 && v <= 0xac || v >= 0xae;
    }

    private static String escaped(String text) {
        StringBuilder out = new StringBuilder();
        for (char c : text.toCharArray()) {
            out.append(c < 128 ? String.valueOf(c) : String.format("\\u%04x", (int) c));
        }
        return out.toString();
    }

    private static int failed;

    private static void run(String name, Test test) {
        long begin = System.nanoTime();
        try {
            test.run();
            System.out.printf("ok %s, %.2f s%n", name, (System.nanoTime() - begin) / 1e9);
        } catch (Throwable t) {
            failed++;
            System.out.println("failed " + name);
            t.printStackTrace(System.out);
        }
    }

    public static void main(String[] args) {
        source = args[0];
        program = args[1];
        folder = Paths.get(args[2]);
        model = source + "/tests/goldens/networks/pipelines/sd2-small";
        run("names", SdgenTest::testNames);
        run("picture of the program", SdgenTest::testPictureOfProgram);
        run("init image", SdgenTest::testInitImage);
        run("progress", SdgenTest::testProgress);
        run("cancel", SdgenTest::testCancel);
        run("throwing listeners", SdgenTest::testThrowingListeners);
        run("log", SdgenTest::testLog);
        run("wrong arguments", SdgenTest::testWrongArguments);
        run("use after close", SdgenTest::testUseAfterClose);
        run("close while drawing", SdgenTest::testCloseWhileDrawing);
        run("two threads", SdgenTest::testTwoThreads);
        run("files", SdgenTest::testFiles);
        run("prompts", SdgenTest::testPrompts);
        run("rounds", SdgenTest::testRounds);
        System.out.println(failed == 0 ? "all passed" : failed + " failed");
        System.exit(failed == 0 ? 0 : 1);
    }
}
