package phoenix.gateway.client;

import io.grpc.ClientCall;
import io.grpc.Metadata;
import io.grpc.Status;
import java.util.Iterator;
import java.util.NoSuchElementException;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.LinkedBlockingQueue;

/**
 * The answers of a stream as they come. Close it, also where the loop is left early: that ends the call.
 *
 * <p>{@link #hasNext} waits for the next answer. It throws a {@link GatewayException} where the stream failed. One
 * thread reads; any thread may close.
 */
public final class Answers<T> implements Iterator<T>, Iterable<T>, AutoCloseable {
    private final ClientCall<?, T> call;
    private final BlockingQueue<Got<T>> queue = new LinkedBlockingQueue<>();
    private final CompletableFuture<Metadata> headers = new CompletableFuture<>();
    private volatile boolean hasBegun;
    private volatile boolean isClosed;
    private Got<T> next;

    /** An answer, or the end, with a failure or not. */
    private record Got<T>(T answer, boolean isEnd, GatewayException failure) {}

    Answers(ClientCall<?, T> call) {
        this.call = call;
    }

    ClientCall.Listener<T> listener() {
        return new ClientCall.Listener<>() {
            @Override
            public void onHeaders(Metadata found) {
                hasBegun = true;
                headers.complete(found);
            }

            @Override
            public void onMessage(T answer) {
                queue.add(new Got<>(answer, false, null));
            }

            @Override
            public void onClose(Status status, Metadata trailers) {
                GatewayException failure = status.isOk() ? null : failureOf(status);
                queue.add(new Got<>(null, true, failure));
                headers.complete(new Metadata());
            }
        };
    }

    /** Waits for the gateway's first answer and returns a value of its headers; empty if there is none. */
    String header(String name) throws InterruptedException {
        try {
            String found = headers.get().get(Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER));
            return found == null ? "" : found;
        } catch (ExecutionException impossible) {
            throw new IllegalStateException(impossible);
        }
    }

    /** Whether the gateway took the call: it has sent headers, and not only a refusal. */
    boolean hasBegun() {
        return hasBegun;
    }

    @Override
    public boolean hasNext() {
        if (next == null) {
            try {
                next = queue.take();
            } catch (InterruptedException interrupted) {
                Thread.currentThread().interrupt();
                close();
                throw ClientReasons.closed("The thread was interrupted while it waited for an answer.");
            }
        }
        if (next.isEnd() && next.failure() != null && !isClosed) {
            throw next.failure();
        }
        return !next.isEnd() && !isClosed;
    }

    @Override
    public T next() {
        if (!hasNext()) {
            throw new NoSuchElementException("The stream has ended.");
        }
        T answer = next.answer();
        next = null;
        call.request(1);
        return answer;
    }

    /** Returns itself: the answers can be read once. */
    @Override
    public Iterator<T> iterator() {
        return this;
    }

    /** Ends the call. May be repeated. */
    @Override
    public void close() {
        isClosed = true;
        call.cancel("The caller wants no more.", null);
    }

    private static GatewayException failureOf(Status status) {
        return GatewayException.of(status.getCause())
                .orElseGet(() -> Failures.of(status, new Metadata(), "/", "", true));
    }
}
