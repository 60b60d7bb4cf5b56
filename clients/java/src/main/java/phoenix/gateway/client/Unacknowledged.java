package phoenix.gateway.client;

import io.grpc.Status;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.function.LongSupplier;
import phoenix.gateway.v1.Event;
import phoenix.gateway.v1.StreamEventsRequest;

/**
 * The messages of an event stream that have no answer so far, in their order. Without I/O.
 *
 * <p>A message is sent again under its event ids only where the gateway remembers these ids, so that nothing counts
 * twice: durable events in its store, direct ones in the process that had them. Otherwise its outcome is unknown, and
 * the caller decides. Source: "Deduplication" in docs/api.md.
 */
final class Unacknowledged<R> {
    /** The gateway remembers an id for 24 h. */
    private static final long REMEMBERED_NS = Duration.ofHours(23).toNanos();

    private final EventStreamOptions options;
    private final LongSupplier nanoTime;
    private final List<Message<R>> messages = new ArrayList<>();
    private int sent; // over the present stream
    private long sequence;
    private long stream;
    private String process = "";

    /** Events that are sent together. `result` is where their results go. */
    static final class Message<R> {
        final StreamEventsRequest request;
        final R result;
        private First first;

        private Message(StreamEventsRequest request, R result) {
            this.request = request;
            this.result = result;
        }

        /** Whether some process may have it. */
        boolean isSent() {
            return first != null;
        }
    }

    /** The first sending: to which process, over which stream, when. */
    private record First(String process, long stream, long at) {}

    Unacknowledged(EventStreamOptions options, LongSupplier nanoTime) {
        this.options = options;
        this.nanoTime = nanoTime;
    }

    int size() {
        return messages.size();
    }

    /** Whether a message waits to be sent over the present stream. */
    boolean hasUnsent() {
        return sent < messages.size();
    }

    /** Adds a message. Throws IllegalArgumentException for an event without an id. */
    void add(List<Event> events, R result) {
        StreamEventsRequest request = StreamEventsRequest.newBuilder()
                .setTenantId(options.tenantId())
                .addAllEvents(events)
                .setSequence(sequence + 1)
                .setDelivery(options.delivery())
                .build();
        Ids.require(request);
        sequence++;
        messages.add(new Message<>(request, result));
    }

    /**
     * Begins again over a new stream to a process. Returns the messages that must not be sent again, and forgets them.
     */
    List<Message<R>> begin(String toProcess) {
        process = toProcess;
        stream++;
        sent = 0;
        List<Message<R>> inDoubt = messages.stream().filter(one -> !maySend(one)).toList();
        messages.removeAll(inDoubt);
        return inDoubt;
    }

    /** Returns the next message for the present stream; look at hasUnsent first. */
    StreamEventsRequest next() {
        Message<R> message = messages.get(sent++);
        if (message.first == null) {
            message.first = new First(process, stream, nanoTime.getAsLong());
        }
        return message.request;
    }

    /** Returns the message that was answered, and forgets it; null for an answer to another one. */
    Message<R> acknowledge(long answered) {
        if (sent == 0 || messages.get(0).request.getSequence() != answered) {
            return null;
        }
        sent--;
        return messages.remove(0);
    }

    /**
     * Notes that the gateway ended the present stream and has begun none of its messages that it did not acknowledge.
     * What an earlier stream brought first may have been begun then.
     */
    void refused() {
        for (Message<R> one : messages) {
            if (one.first != null && one.first.stream() == stream) {
                one.first = null;
            }
        }
    }

    /**
     * Notes that the present stream is over: what ends later, before another one has begun, refuses none of its
     * messages.
     */
    void over() {
        stream++;
        sent = 0;
    }

    /** Returns all messages and forgets them. */
    List<Message<R>> takeAll() {
        List<Message<R>> taken = List.copyOf(messages);
        messages.clear();
        sent = 0;
        return taken;
    }

    private boolean maySend(Message<R> one) {
        if (one.first == null || options.resendsUnknown()) {
            return true;
        }
        boolean isRemembered = !options.isDirect() || !process.isEmpty() && process.equals(one.first.process());
        return isRemembered && nanoTime.getAsLong() - one.first.at() < REMEMBERED_NS;
    }

    /**
     * Returns the failure of a message without an answer when its stream has failed for good. Where a gateway may have
     * the message, the failure of the stream need not say what became of it: the last gateway may have refused what an
     * earlier one has done.
     */
    static GatewayException failureFor(Message<?> message, GatewayException failure) {
        if (!message.isSent() || failure.reason().equals("OUTCOME_UNKNOWN")) {
            return failure;
        }
        return outcomeUnknown("The stream ended before the answer.", failure);
    }

    static GatewayException outcomeUnknown(String details, GatewayException cause) {
        return new Reasons.OutcomeUnknown(GatewayException.Facts.own("OUTCOME_UNKNOWN", Status.Code.UNKNOWN,
                Effect.MAYBE, details + " Check whether the events took effect before you send them again.", cause));
    }
}
