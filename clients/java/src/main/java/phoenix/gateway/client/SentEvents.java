package phoenix.gateway.client;

import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import phoenix.gateway.v1.EventResult;

/** A message that was handed over to an {@link EventStream}. */
public final class SentEvents {
    private final CompletableFuture<List<EventResult>> answer = new CompletableFuture<>();

    SentEvents() {}

    /**
     * Waits for the results, one for each event in their order. {@link Gateway#failureOf} is the failure of one that
     * failed.
     *
     * @throws GatewayException if the message has no results; {@link Reasons.OutcomeUnknown}: nobody knows whether it
     *     counts
     */
    public List<EventResult> results() {
        try {
            return answer.join();
        } catch (CompletionException failed) {
            throw GatewayException.of(failed).orElseThrow(() -> failed);
        }
    }

    /** Returns the results as a future. What depends on it runs elsewhere than in the thread that reads the answers. */
    public CompletableFuture<List<EventResult>> future() {
        return answer.handleAsync((results, failure) -> {
            if (failure != null) {
                throw new CompletionException(failure);
            }
            return results;
        });
    }

    void answered(List<EventResult> results) {
        answer.complete(results);
    }

    void failed(GatewayException failure) {
        answer.completeExceptionally(failure);
    }
}
