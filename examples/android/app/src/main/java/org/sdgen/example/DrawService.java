package org.sdgen.example;

import android.app.Service;
import android.content.Context;
import android.content.Intent;
import android.content.pm.ServiceInfo;
import android.graphics.Bitmap;
import android.graphics.BitmapFactory;
import android.os.Binder;
import android.os.Build;
import android.os.Handler;
import android.os.IBinder;
import android.os.Looper;
import android.os.PowerManager;
import android.os.SystemClock;
import android.util.Log;
import android.widget.Toast;
import java.io.File;
import java.io.IOException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import org.sdgen.GenerateOptions;
import org.sdgen.Picture;
import org.sdgen.Preview;
import org.sdgen.PreviewListener;
import org.sdgen.Progress;
import org.sdgen.ProgressListener;
import org.sdgen.PromptReport;
import org.sdgen.SdgenException;
import org.sdgen.android.Bitmaps;

/**
 * Draws pictures, one at a time, and has all that outlives the activity: the model, the drawing and its picture. It is bound
 * while the activity is seen, started by the first drawing, and in the foreground while it draws. Started it stays until the
 * system ends it, as it does with idle apps; so a turned phone, or a look at another app, costs nothing.
 *
 * <p>Everything is done on the main thread but what takes time, which the worker does. That one posts what is new.
 */
public final class DrawService extends Service {
    /** Told on the main thread about everything new. */
    interface Listener {
        void onDrawing(Drawing drawing);
    }

    /** Static and emptied at the end: a client's process may keep a binder longer than the service lives. */
    static final class Connection extends Binder {
        private DrawService service;

        /** null = it has ended. */
        DrawService service() {
            return service;
        }
    }

    private static final String TAG = "sdgen";
    private static final String ACTION_DRAW = "org.sdgen.example.DRAW";
    private static final String ACTION_CANCEL = "org.sdgen.example.CANCEL";
    private static final String EXTRA_PROMPT = "prompt";
    private static final String EXTRA_SEED = "seed";
    private static final long NOTIFY_EVERY_MS = 1000; // the system drops notifications that come faster than it likes
    private static final long AWAKE_AT_MOST_MS = 6 * 60 * 60 * 1000L; // as long as a service of this type may run

    private final Handler main = new Handler(Looper.getMainLooper());
    private final ExecutorService worker = Executors.newSingleThreadExecutor(task -> new Thread(task, "sdgen"));
    private final Connection connection = new Connection();
    private Model model; // the worker's
    private Notifications notifications;
    private PowerManager.WakeLock awake;
    private Drawing drawing = new Drawing();
    private Job job; // null = nothing is drawn
    private Listener listener; // null = nobody looks
    private long notified; // SystemClock.elapsedRealtime()

    // ---- what the activity calls, on the main thread ----

    /** Begins a picture, if none is being drawn. For whoever is seen: others may not start services. */
    static void draw(Context context, String prompt, long seed) {
        // Not startForegroundService, after which the process dies where the system refuses the foreground: drawing goes on
        // without it, as long as the app is seen.
        context.startService(new Intent(context, DrawService.class).setAction(ACTION_DRAW)
                .putExtra(EXTRA_PROMPT, prompt).putExtra(EXTRA_SEED, seed));
    }

    static Intent cancelIntent(Context context) {
        return new Intent(context, DrawService.class).setAction(ACTION_CANCEL);
    }

    /** Tells how things are, and from now on what is new; null = nobody any more. */
    void setListener(Listener listener) {
        this.listener = listener;
        if (listener != null) {
            notifications.forgetEnd();
            listener.onDrawing(drawing);
        }
    }

    void cancel() {
        if (job != null) {
            job.cancelled = true;
            drawing.state = Drawing.State.CANCELLING;
            changed();
        }
    }

    /** Puts the finished picture into the gallery. A toast tells the end. */
    void save() {
        File picture = drawing.file;
        if (picture == null) {
            return;
        }
        worker.execute(() -> {
            String message;
            try {
                Gallery.save(this, picture);
                message = getString(R.string.saved);
            } catch (IOException | RuntimeException e) { // storage that is full, absent, or none of an app's business
                Log.w(TAG, "not saved", e);
                message = getString(R.string.not_saved, e.getMessage());
            }
            String text = message;
            main.post(() -> Toast.makeText(getApplicationContext(), text, Toast.LENGTH_LONG).show());
        });
    }

    // ---- what the system calls, on the main thread ----

    @Override
    public void onCreate() {
        super.onCreate();
        connection.service = this;
        model = new Model(this);
        notifications = new Notifications(this);
        awake = getSystemService(PowerManager.class).newWakeLock(PowerManager.PARTIAL_WAKE_LOCK, "sdgen:draw");
        awake.setReferenceCounted(false);
        worker.execute(this::restore);
    }

    @Override
    public IBinder onBind(Intent intent) {
        return connection;
    }

    @Override
    public int onStartCommand(Intent intent, int flags, int startId) {
        String action = intent == null ? null : intent.getAction();
        if (ACTION_DRAW.equals(action) && job == null) {
            begin(intent.getStringExtra(EXTRA_PROMPT), intent.getLongExtra(EXTRA_SEED, 0));
        } else if (ACTION_CANCEL.equals(action)) {
            cancel();
        }
        return START_NOT_STICKY; // a process that was ended does not begin by itself to draw what nobody waits for
    }

    /** While it draws, the drawing's memory was planned from what was free; what is kept between pictures can go. */
    @Override
    public void onTrimMemory(int level) {
        super.onTrimMemory(level);
        if (level >= TRIM_MEMORY_RUNNING_LOW) { // also: the app is not seen any more. After the picture that is drawn
            worker.execute(model::close);
        }
    }

    /** Android 15: such a service has used its hours of the day, and has seconds to leave. */
    @Override
    public void onTimeout(int startId, int type) {
        cancel();
        leaveForeground();
        stopSelf();
    }

    @Override
    public void onDestroy() {
        connection.service = null;
        listener = null;
        if (job != null) {
            job.cancelled = true;
            job = null;
        }
        leaveForeground();
        main.removeCallbacksAndMessages(null);
        worker.execute(model::close);
        worker.shutdown(); // when it has done that
        super.onDestroy();
    }

    // ---- drawing ----

    private void begin(String prompt, long seed) {
        drawing = new Drawing();
        drawing.state = Drawing.State.OPENING;
        drawing.prompt = prompt == null ? "" : prompt;
        drawing.seed = seed;
        job = new Job(drawing.prompt, seed);
        enterForeground();
        worker.execute(job);
        changed();
    }

    private void end() {
        job = null;
        leaveForeground();
        if (listener == null && drawing.state != Drawing.State.CANCELLED) {
            notifications.end(drawing);
        }
        changed();
    }

    private void changed() {
        if (listener != null) {
            listener.onDrawing(drawing);
        }
        long now = SystemClock.elapsedRealtime();
        if (job != null && now - notified >= NOTIFY_EVERY_MS) {
            notified = now;
            notifications.update(drawing);
        }
    }

    private void enterForeground() {
        awake.acquire(AWAKE_AT_MOST_MS);
        notified = SystemClock.elapsedRealtime();
        try {
            if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.Q) {
                startForeground(Notifications.DRAWING, notifications.drawing(drawing), ServiceInfo.FOREGROUND_SERVICE_TYPE_DATA_SYNC);
            } else {
                startForeground(Notifications.DRAWING, notifications.drawing(drawing));
            }
        } catch (IllegalStateException e) { // its hours of the day are used up, or the app has just gone from sight
            Log.w(TAG, "drawing without being in the foreground", e);
        }
    }

    private void leaveForeground() {
        stopForeground(STOP_FOREGROUND_REMOVE);
        notifications.forgetDrawing();
        awake.release();
    }

    /** On the worker: the last picture of a process that is gone. */
    private void restore() {
        File newest = Pictures.newest(this);
        Bitmap bitmap = newest == null ? null : BitmapFactory.decodeFile(newest.getPath());
        if (bitmap == null) {
            return;
        }
        main.post(() -> {
            if (drawing.state == Drawing.State.NONE) {
                drawing.bitmap = bitmap;
                drawing.file = newest;
                drawing.seed = Pictures.seedOf(newest);
                changed();
            }
        });
    }

    /** One picture, on the worker. What it has to tell it posts, and it is heard as long as it is the service's job. */
    private final class Job implements Runnable, ProgressListener, PreviewListener {
        private final String prompt;
        private final long seed;
        volatile boolean cancelled;

        Job(String prompt, long seed) {
            this.prompt = prompt;
            this.seed = seed;
        }

        @Override
        public void run() {
            try {
                String unknown = unknownWords(model.open().checkPrompt(prompt));
                post(() -> drawing.unknownWords = unknown);
                GenerateOptions options = new GenerateOptions().prompt(prompt).seed(seed).progress(this)
                        .preview(Preview.Kind.PROJECTION, 1, this);
                Picture picture = model.draw(options);
                Bitmap bitmap = Bitmaps.of(picture);
                File file = Pictures.add(DrawService.this, bitmap, seed);
                finish(Drawing.State.DONE, () -> {
                    drawing.bitmap = bitmap;
                    drawing.file = file;
                    drawing.seconds = picture.info().secondsTotal();
                    drawing.backend = picture.info().backend();
                });
            } catch (SdgenException e) {
                if (e.isCancelled()) {
                    finish(Drawing.State.CANCELLED, () -> drawing.bitmap = null);
                } else {
                    fail(e, false);
                }
            } catch (OutOfMemoryError e) {
                fail(e, true);
            } catch (IOException | RuntimeException | LinkageError e) { // the last: no library for this processor
                fail(e, false);
            }
        }

        private String unknownWords(PromptReport report) {
            StringBuilder words = new StringBuilder();
            for (PromptReport.UnknownWord word : report.unknown()) {
                words.append(words.length() == 0 ? "" : ", ").append(word.word());
            }
            return words.toString();
        }

        @Override
        public boolean onProgress(Progress progress) {
            post(() -> {
                if (drawing.state == Drawing.State.CANCELLING) {
                    return;
                }
                switch (progress.stage()) {
                    case SAMPLE:
                        drawing.state = Drawing.State.SAMPLE;
                        drawing.step = progress.step();
                        drawing.steps = progress.steps();
                        drawing.secondsLeft = progress.secondsLeft();
                        break;
                    case DECODE:
                        drawing.state = Drawing.State.DECODE;
                        break;
                    default:
                        drawing.state = Drawing.State.TEXT;
                }
            });
            return !cancelled;
        }

        @Override
        public void onPreview(Preview preview) {
            Bitmap bitmap = Bitmaps.of(preview);
            post(() -> drawing.bitmap = bitmap);
        }

        private void fail(Throwable reason, boolean outOfMemory) {
            Log.w(TAG, "not drawn", reason);
            finish(Drawing.State.FAILED, () -> {
                drawing.bitmap = null;
                drawing.error = reason.getMessage() == null ? reason.toString() : reason.getMessage();
                drawing.outOfMemory = outOfMemory;
            });
        }

        private void post(Runnable change) {
            main.post(() -> {
                if (job == this) {
                    change.run();
                    changed();
                }
            });
        }

        private void finish(Drawing.State state, Runnable change) {
            main.post(() -> {
                if (job == this) {
                    change.run();
                    drawing.state = state;
                    end();
                }
            });
        }
    }
}
