package org.sdgen.example;

import android.Manifest;
import android.app.Activity;
import android.content.ClipData;
import android.content.ComponentName;
import android.content.Intent;
import android.content.ServiceConnection;
import android.content.pm.PackageManager;
import android.net.Uri;
import android.os.Build;
import android.os.Bundle;
import android.os.IBinder;
import android.view.View;
import android.view.inputmethod.InputMethodManager;
import android.widget.Button;
import android.widget.EditText;
import android.widget.ImageView;
import android.widget.ProgressBar;
import android.widget.TextView;
import android.widget.Toast;
import java.util.Random;

/**
 * Shows what the service does. It has no state of its own but what is typed, which the fields save themselves; the rest is
 * asked for whenever it is seen again.
 */
public final class MainActivity extends Activity implements DrawService.Listener {
    private static final int REQUEST_SAVE = 1;
    private static final int REQUEST_NOTIFICATIONS = 2;

    private final ServiceConnection connection = new ServiceConnection() {
        @Override
        public void onServiceConnected(ComponentName name, IBinder binder) {
            service = ((DrawService.Connection) binder).service();
            if (service != null) {
                service.setListener(MainActivity.this);
            }
        }

        @Override
        public void onServiceDisconnected(ComponentName name) {
            service = null;
        }
    };
    private DrawService service; // null = not seen, or not connected yet
    private Drawing shown;
    private EditText prompt;
    private EditText seed;
    private Button draw;
    private Button cancel;
    private Button save;
    private Button share;
    private ProgressBar progress;
    private TextView status;
    private ImageView picture;

    @Override
    protected void onCreate(Bundle state) {
        super.onCreate(state);
        setContentView(R.layout.main);
        prompt = (EditText) findViewById(R.id.prompt);
        seed = (EditText) findViewById(R.id.seed);
        draw = (Button) findViewById(R.id.draw);
        cancel = (Button) findViewById(R.id.cancel);
        save = (Button) findViewById(R.id.save);
        share = (Button) findViewById(R.id.share);
        progress = (ProgressBar) findViewById(R.id.progress);
        status = (TextView) findViewById(R.id.status);
        picture = (ImageView) findViewById(R.id.picture);
        draw.setOnClickListener(view -> draw());
        cancel.setOnClickListener(view -> {
            if (service != null) {
                service.cancel();
            }
        });
        save.setOnClickListener(view -> save());
        share.setOnClickListener(view -> share());
    }

    @Override
    protected void onStart() {
        super.onStart();
        bindService(new Intent(this, DrawService.class), connection, BIND_AUTO_CREATE);
    }

    /** The service knows nothing of an activity that is not seen. */
    @Override
    protected void onStop() {
        if (service != null) {
            service.setListener(null);
            service = null;
        }
        unbindService(connection);
        super.onStop();
    }

    // ---- what the buttons do ----

    private void draw() {
        askForNotifications();
        View focused = getCurrentFocus();
        if (focused != null) {
            getSystemService(InputMethodManager.class).hideSoftInputFromWindow(focused.getWindowToken(), 0);
        }
        DrawService.draw(this, prompt.getText().toString().trim(), wantedSeed());
    }

    private long wantedSeed() {
        try {
            return Long.parseLong(seed.getText().toString());
        } catch (NumberFormatException e) { // empty
            return new Random().nextInt(Integer.MAX_VALUE);
        }
    }

    /** The system asks once or twice and answers by itself afterwards; drawing does not wait for it. */
    private void askForNotifications() {
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.TIRAMISU
                && checkSelfPermission(Manifest.permission.POST_NOTIFICATIONS) != PackageManager.PERMISSION_GRANTED) {
            requestPermissions(new String[] {Manifest.permission.POST_NOTIFICATIONS}, REQUEST_NOTIFICATIONS);
        }
    }

    private void save() {
        if (Gallery.needsPermission(this)) {
            requestPermissions(new String[] {Manifest.permission.WRITE_EXTERNAL_STORAGE}, REQUEST_SAVE);
        } else if (service != null) {
            service.save();
        }
    }

    @Override
    public void onRequestPermissionsResult(int request, String[] permissions, int[] results) {
        if (request != REQUEST_SAVE || results.length == 0) { // no results: the question was cut off, as by a turned phone
            return;
        }
        if (results[0] == PackageManager.PERMISSION_GRANTED) {
            save();
        } else {
            Toast.makeText(this, R.string.save_refused, Toast.LENGTH_LONG).show();
        }
    }

    private void share() {
        if (shown == null || shown.file == null) {
            return;
        }
        Uri uri = Pictures.uriOf(shown.file);
        Intent send = new Intent(Intent.ACTION_SEND).setType("image/png").putExtra(Intent.EXTRA_STREAM, uri)
                .addFlags(Intent.FLAG_GRANT_READ_URI_PERMISSION);
        send.setClipData(ClipData.newUri(getContentResolver(), shown.prompt, uri)); // the chooser's preview reads it, too
        startActivity(Intent.createChooser(send, getString(R.string.share_title)));
    }

    // ---- what the service tells ----

    @Override
    public void onDrawing(Drawing drawing) {
        shown = drawing;
        boolean running = drawing.isRunning();
        draw.setVisibility(running ? View.GONE : View.VISIBLE);
        cancel.setVisibility(running ? View.VISIBLE : View.GONE);
        cancel.setEnabled(drawing.state != Drawing.State.CANCELLING);
        save.setEnabled(drawing.file != null);
        share.setEnabled(drawing.file != null);
        showProgress(drawing, running);
        showPicture(drawing);
    }

    private void showProgress(Drawing drawing, boolean running) {
        progress.setVisibility(running ? View.VISIBLE : View.INVISIBLE);
        progress.setIndeterminate(drawing.state != Drawing.State.SAMPLE);
        progress.setMax(drawing.steps);
        progress.setProgress(drawing.step);
        String text = Status.text(this, drawing);
        if (!drawing.unknownWords.isEmpty()) {
            text += "\n" + getString(R.string.unknown_words, drawing.unknownWords);
        }
        // The end is read out, not every step.
        status.setAccessibilityLiveRegion(running ? View.ACCESSIBILITY_LIVE_REGION_NONE : View.ACCESSIBILITY_LIVE_REGION_POLITE);
        status.setText(text);
    }

    private void showPicture(Drawing drawing) {
        picture.setImageBitmap(drawing.bitmap);
        picture.setContentDescription(drawing.file != null ? getString(R.string.picture_description, drawing.seed)
                : getString(drawing.bitmap != null ? R.string.preview_description : R.string.no_picture_description));
    }
}
