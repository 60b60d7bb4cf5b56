package phoenix.gateway.client;

import io.grpc.ClientCall;
import io.grpc.Metadata;
import java.util.List;
import java.util.function.BooleanSupplier;
import java.util.function.Consumer;
import phoenix.gateway.v1.Event;
import phoenix.gateway.v1.EventServiceGrpc;
import phoenix.gateway.v1.StreamEventsRequest;
import phoenix.gateway.v1.StreamEventsResponse;

/**
 * Sends events over a stream that survives lost connections. It keeps what the gateway has not acknowledged, and sends
 * it again under its ids where that cannot count twice. Safe for use by several threads.
 */
public final class EventStream implements AutoCloseable {
    /** Metadata of the stream that identifies the gateway's process. */
    private static final String PROCESS = "x-gateway-process";
    /** Messages without an answer: a few more than a gateway reads ahead. */
    private static final int WINDOW = 6;
    private static final long ENDED_WITHIN_MS = 5000;

    private final Calls calls;
    private final Consumer<String> warn;
    private final Thread running;
    private final Reconnects reconnects = new Reconnects();

    // What follows is guarded by this object; each change notifies all.
    private final Unacknowledged<SentEvents> pending;
    private ClientCall<StreamEventsRequest, StreamEventsResponse> open; // null while no stream takes messages
    private Answers<StreamEventsResponse> answers;
    private boolean isClosing;
    private boolean isHalfClosed;
    private GatewayException failure;

    EventStream(Calls calls, EventStreamOptions options, Consumer<String> warn) {
        this.calls = calls;
        this.warn = warn;
        this.pending = new Unacknowledged<>(options, System::nanoTime);
        running = new Thread(this::run, "phoenix-gateway-events");
        running.setDaemon(true);
        running.start();
    }

    /**
     * Hands over a message of 1 to 1,000 events. Waits while too many messages have no answer. A failed event does not
     * fail the stream.
     *
     * @throws IllegalArgumentException for an event without an {@code event_id}: begin it with {@link Gateway#newEvent}
     * @throws GatewayException if the stream has failed or is closed
     * @throws InterruptedException if the thread was interrupted while it waited; the message was not handed over
     */
    public SentEvents send(Event... events) throws InterruptedException {
        return send(List.of(events));
    }

    /** Hands over a message as {@link #send(Event...)} does. */
    public synchronized SentEvents send(List<Event> events) throws InterruptedException {
        waitUntil(() -> pending.size() < WINDOW || failure != null || isClosing);
        if (failure != null) {
            throw failure;
        }
        if (isClosing) {
            throw ClientReasons.closed("This stream was closed. Open a new one.");
        }
        SentEvents sent = new SentEvents();
        pending.add(events, sent);
        write();
        return sent;
    }

    /** Waits until every message is answered. Throws GatewayException if the stream has failed. */
    public synchronized void flush() throws InterruptedException {
        waitUntil(() -> pending.size() == 0 || failure != null);
        if (failure != null) {
            throw failure;
        }
    }

    /**
     * Waits until every message is answered, then ends the stream.
     *
     * @throws GatewayException if the stream has failed, or the thread was interrupted: it is cancelled then
     */
    @Override
    public void close() {
        try {
            synchronized (this) {
                isClosing = true;
                write();
                notifyAll();
                flush();
            }
            running.join(ENDED_WITHIN_MS);
            synchronized (this) { // every message is answered: nothing is lost
                open = null;
                if (answers != null) {
                    answers.close();
                }
            }
        } catch (InterruptedException interrupted) {
            cancel();
            Thread.currentThread().interrupt();
            throw ClientReasons.closed("The thread was interrupted while the stream was closed.");
        }
    }

    /**
     * Ends the stream at once. Messages without an answer get {@link Reasons.OutcomeUnknown}, if they were ever sent.
     */
    public synchronized void cancel() {
        if (failure == null && !(isClosing && pending.size() == 0)) {
            fail(ClientReasons.closed("The stream was cancelled before the answer."));
        }
    }

    private void waitUntil(BooleanSupplier holds) throws InterruptedException {
        while (!holds.getAsBoolean()) {
            wait();
        }
    }

    private synchronized void fail(GatewayException cause) {
        if (failure != null) {
            return;
        }
        failure = cause;
        pending.takeAll().forEach(one -> one.result.failed(Unacknowledged.failureFor(one, cause)));
        open = null;
        if (answers != null) {
            answers.close();
        }
        notifyAll();
    }

    private void run() {
        try {
            GatewayException ended = overOneStream();
            while (!isOver()) {
                long waitMs = afterStream(ended);
                warn.accept("The event stream ended and is opened again in " + waitMs + " ms: "
                        + (ended == null ? "no error" : ended.getMessage()));
                pause(waitMs);
                if (!isOver()) {
                    ended = overOneStream();
                }
            }
        } catch (GatewayException last) {
            fail(last);
        } catch (InterruptedException | RuntimeException | Error unexpected) {
            fail(ClientReasons.closed("The stream ended by " + unexpected.getClass().getSimpleName() + "."));
        }
    }

    private synchronized boolean isOver() {
        return failure != null || isClosing && pending.size() == 0;
    }

    /** Waits, but not for what no longer matters. */
    private synchronized void pause(long waitMs) throws InterruptedException {
        long until = System.nanoTime() + waitMs * 1_000_000;
        for (long left = waitMs; left > 0 && !isOver(); left = (until - System.nanoTime()) / 1_000_000) {
            wait(left);
        }
    }

    /** Returns how long to wait before the next stream. Throws the failure, if it is final. */
    private synchronized long afterStream(GatewayException ended) {
        if (ended != null && ended.isOfGateway() && ended.effect() == Effect.NONE) {
            pending.refused();
        }
        pending.over();
        return reconnects.waitAfter(ended);
    }

    /** Returns how the stream ended; null: without a failure. */
    private GatewayException overOneStream() throws InterruptedException {
        ClientCall<StreamEventsRequest, StreamEventsResponse> call =
                calls.newCall(EventServiceGrpc.getStreamEventsMethod(), CallSettings.DEFAULT);
        Answers<StreamEventsResponse> made = new Answers<>(call);
        call.start(made.listener(), new Metadata());
        call.request(1);
        synchronized (this) {
            answers = made;
            if (failure != null) {
                made.close();
            }
        }
        try {
            String process = made.header(PROCESS);
            if (made.hasBegun()) {
                begin(call, process);
            }
            while (made.hasNext()) {
                acknowledge(made.next());
            }
            return null;
        } catch (GatewayException ended) {
            return ended;
        } finally {
            synchronized (this) {
                open = null; // before the call is cancelled: nothing is written to it then
            }
            made.close();
        }
    }

    private synchronized void begin(ClientCall<StreamEventsRequest, StreamEventsResponse> call, String process) {
        if (failure != null) {
            return;
        }
        reconnects.worked();
        pending.begin(process).forEach(one -> one.result.failed(Unacknowledged.outcomeUnknown("The connection broke "
                + "before the answer, and the gateway that is connected now does not remember the events.", null)));
        open = call;
        isHalfClosed = false;
        write();
        notifyAll();
    }

    private synchronized void acknowledge(StreamEventsResponse response) {
        Unacknowledged.Message<SentEvents> answered = pending.acknowledge(response.getSequence());
        if (answered != null) {
            answered.result.answered(response.getResultsList());
            write();
            notifyAll();
        }
    }

    /** Sends what was not sent over the present stream. gRPC keeps it until the gateway reads; never waits. */
    private void write() {
        while (open != null && !isHalfClosed && pending.hasUnsent()) {
            open.sendMessage(pending.next());
        }
        if (open != null && isClosing && !isHalfClosed) {
            isHalfClosed = true;
            open.halfClose();
        }
    }
}
