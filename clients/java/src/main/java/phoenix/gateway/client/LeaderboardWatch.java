package phoenix.gateway.client;

import java.util.Iterator;
import java.util.NoSuchElementException;
import java.util.function.Consumer;
import phoenix.gateway.v1.LeaderboardServiceGrpc;
import phoenix.gateway.v1.WatchLeaderboardRequest;
import phoenix.gateway.v1.WatchLeaderboardResponse;

/**
 * A board now and after each change, until it is closed: also over resyncs, lost connections and restarts of the
 * gateway. After a lost connection comes the whole board again, with a new epoch.
 *
 * <p>{@link #hasNext} waits. It throws a {@link GatewayException} if the first connection failed or the gateway
 * refuses, and is false only after {@link #close}, which any thread may call.
 */
public final class LeaderboardWatch
        implements Iterator<WatchLeaderboardResponse>, Iterable<WatchLeaderboardResponse>, AutoCloseable {
    private final Calls calls;
    private final WatchLeaderboardRequest request;
    private final Consumer<String> warn;
    private final Reconnects reconnects = new Reconnects();
    private Answers<WatchLeaderboardResponse> answers; // guarded by this object, as the next one
    private boolean isClosed;

    LeaderboardWatch(Calls calls, WatchLeaderboardRequest request, Consumer<String> warn) {
        this.calls = calls;
        this.request = request;
        this.warn = warn;
    }

    @Override
    public boolean hasNext() {
        while (true) {
            Answers<WatchLeaderboardResponse> present = opened();
            if (present == null) {
                return false;
            }
            GatewayException ended = null;
            try {
                if (present.hasNext()) {
                    return true;
                }
            } catch (GatewayException failed) {
                ended = failed;
            }
            if (!forgotten()) {
                return false;
            }
            long waitMs = reconnects.waitAfter(ended);
            warn.accept("The watch of " + request.getLeaderboardId() + " ended and is opened again in " + waitMs
                    + " ms: " + (ended == null ? "no error" : ended.getMessage()));
            pause(waitMs);
        }
    }

    @Override
    public WatchLeaderboardResponse next() {
        if (!hasNext()) {
            throw new NoSuchElementException("The watch was closed.");
        }
        Answers<WatchLeaderboardResponse> present = opened();
        if (present == null) {
            throw new NoSuchElementException("The watch was closed.");
        }
        WatchLeaderboardResponse board = present.next();
        reconnects.worked();
        return board;
    }

    /** Returns itself: a watch can be read once. */
    @Override
    public Iterator<WatchLeaderboardResponse> iterator() {
        return this;
    }

    /** Ends the watch. May be repeated. */
    @Override
    public synchronized void close() {
        isClosed = true;
        if (answers != null) {
            answers.close();
        }
        notifyAll();
    }

    /** Returns the answers of the present stream, which it opens; null after the end. */
    private synchronized Answers<WatchLeaderboardResponse> opened() {
        if (isClosed) {
            return null;
        }
        if (answers == null) {
            answers = calls.serverStream(
                    LeaderboardServiceGrpc.getWatchLeaderboardMethod(), request, CallSettings.DEFAULT);
        }
        return answers;
    }

    /** Forgets the stream that has ended. Returns whether another one is wanted. */
    private synchronized boolean forgotten() {
        if (answers != null) {
            answers.close();
            answers = null;
        }
        return !isClosed;
    }

    private synchronized void pause(long waitMs) {
        long until = System.nanoTime() + waitMs * 1_000_000;
        try {
            for (long left = waitMs; left > 0 && !isClosed; left = (until - System.nanoTime()) / 1_000_000) {
                wait(left);
            }
        } catch (InterruptedException interrupted) {
            isClosed = true;
            Thread.currentThread().interrupt();
            throw ClientReasons.closed("The thread was interrupted while it waited for the gateway.");
        }
    }
}
