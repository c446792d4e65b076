package org.sdgen.example;

import android.app.Notification;
import android.app.NotificationChannel;
import android.app.NotificationManager;
import android.app.PendingIntent;
import android.content.Context;
import android.content.Intent;
import android.graphics.drawable.Icon;

/** What the service says while nobody looks at the app. Where notifications are not allowed, nothing is shown. */
final class Notifications {
    static final int DRAWING = 1;
    private static final int ENDED = 2;
    private static final String CHANNEL_PROGRESS = "progress";
    private static final String CHANNEL_DONE = "done";

    private final Context context;
    private final NotificationManager manager;

    Notifications(Context context) {
        this.context = context;
        manager = context.getSystemService(NotificationManager.class);
        addChannel(CHANNEL_PROGRESS, R.string.channel_progress, NotificationManager.IMPORTANCE_LOW);
        addChannel(CHANNEL_DONE, R.string.channel_done, NotificationManager.IMPORTANCE_DEFAULT);
    }

    private void addChannel(String id, int name, int importance) {
        manager.createNotificationChannel(new NotificationChannel(id, context.getString(name), importance));
    }

    /** The one of the foreground service. */
    Notification drawing(Drawing drawing) {
        Icon icon = Icon.createWithResource(context, R.drawable.ic_notification);
        PendingIntent cancel = PendingIntent.getService(context, 0, DrawService.cancelIntent(context), PendingIntent.FLAG_IMMUTABLE);
        boolean sampling = drawing.state == Drawing.State.SAMPLE;
        return builder(CHANNEL_PROGRESS)
                .setContentTitle(context.getString(R.string.notification_drawing, drawing.prompt))
                .setContentText(Status.text(context, drawing))
                .setProgress(drawing.steps, drawing.step, !sampling)
                .setCategory(Notification.CATEGORY_PROGRESS)
                .setOngoing(true)
                .setOnlyAlertOnce(true)
                .addAction(new Notification.Action.Builder(icon, context.getString(R.string.cancel), cancel).build())
                .build();
    }

    void update(Drawing drawing) {
        manager.notify(DRAWING, drawing(drawing));
    }

    /** The picture is there, or will not be. */
    void end(Drawing drawing) {
        boolean done = drawing.state == Drawing.State.DONE;
        Notification.Builder builder = builder(CHANNEL_DONE)
                .setContentTitle(context.getString(done ? R.string.notification_done : R.string.notification_failed))
                .setContentText(done ? drawing.prompt : Status.text(context, drawing))
                .setAutoCancel(true);
        if (done) {
            builder.setLargeIcon(drawing.bitmap);
        }
        manager.notify(ENDED, builder.build());
    }

    /** The service takes it away itself, but not where it could not be in the foreground. */
    void forgetDrawing() {
        manager.cancel(DRAWING);
    }

    /** The user sees for himself. */
    void forgetEnd() {
        manager.cancel(ENDED);
    }

    private Notification.Builder builder(String channel) {
        Intent open = new Intent(context, MainActivity.class).setFlags(Intent.FLAG_ACTIVITY_SINGLE_TOP | Intent.FLAG_ACTIVITY_CLEAR_TOP);
        return new Notification.Builder(context, channel)
                .setSmallIcon(R.drawable.ic_notification)
                .setContentIntent(PendingIntent.getActivity(context, 0, open, PendingIntent.FLAG_IMMUTABLE));
    }
}
