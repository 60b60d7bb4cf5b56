package phoenix.gateway.client;

import io.grpc.Status;
import java.io.Serializable;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/**
 * A call that failed. Everything that this client throws about a call is one of these.
 *
 * <p>Each reason of the gateway has a class in {@link Reasons}, each cause that the client finds itself one in {@link
 * ClientReasons}. Decide by the class or by {@link #reason()}, never by the text, which may change.
 */
public class GatewayException extends RuntimeException {
    private static final long serialVersionUID = 1;
    private static final Set<String> RATE_LIMITS = Set.of("RATE_LIMITED", "OVERLOADED", "PHOENIX_RATE_LIMITED");

    private final Facts facts;

    /** What is known of a failure. `retryAfter` is null where a repeat does not help, or is not safe. */
    record Facts(
            String reason,
            String details,
            Status.Code code,
            Effect effect,
            Duration retryAfter,
            List<FaultyField> fields,
            Map<String, String> metadata,
            boolean isOfGateway,
            String method,
            String requestId,
            Throwable cause)
            implements Serializable {

        /** Returns what the client itself found out. */
        static Facts own(String reason, Status.Code code, Effect effect, String details, Throwable cause) {
            return new Facts(reason, details, code, effect, null, List.of(), Map.of(), false, "", "", cause);
        }

        /** Returns the same of a call. */
        Facts about(String method, String requestId) {
            return new Facts(
                    reason, details, code, effect, retryAfter, fields, metadata, isOfGateway, method, requestId, cause);
        }

        String text() {
            String call = method + (requestId.isEmpty() ? "" : ", request " + requestId);
            return reason + ": " + details + (method.isEmpty() ? "" : " (" + call + ")");
        }
    }

    GatewayException(Facts facts) {
        super(facts.text(), facts.cause());
        this.facts = facts;
    }

    /**
     * Returns the failure of a call that was made with stubs over {@link Gateway#channel()}.
     *
     * @param failure what the stub threw, or gave to its observer or future
     * @return the failure, if it is one of a call
     */
    public static Optional<GatewayException> of(Throwable failure) {
        for (Throwable one = failure; one != null; one = one.getCause()) {
            if (one instanceof GatewayException found) {
                return Optional.of(found);
            }
        }
        return Optional.empty();
    }

    /** Returns the gateway's reason, or one of {@link ClientReasons}. A newer gateway may have further ones. */
    public String reason() {
        return facts.reason();
    }

    /** Returns whether the gateway gave the reason; otherwise this client did. */
    public boolean isOfGateway() {
        return facts.isOfGateway();
    }

    /** Returns what is wrong and what to do. */
    public String details() {
        return facts.details();
    }

    /** Returns the gRPC status. */
    public Status.Code code() {
        return facts.code();
    }

    /** Returns whether Phoenix acted. */
    public Effect effect() {
        return facts.effect();
    }

    /** Returns how long to wait before the same call is repeated; empty: a repeat does not help, or is not safe. */
    public Optional<Duration> retryAfter() {
        return Optional.ofNullable(facts.retryAfter());
    }

    /** Returns the faulty fields of the request. */
    public List<FaultyField> fields() {
        return facts.fields();
    }

    /** Returns further facts of the gateway, such as the {@code event_id}. */
    public Map<String, String> metadata() {
        return facts.metadata();
    }

    /** Returns the path of the method, such as {@code /phoenix.gateway.v1.EventService/SubmitEvent}. */
    public String method() {
        return facts.method();
    }

    /** Returns the id to name when you report the failure: the gateway's log line has the same. */
    public String requestId() {
        return facts.requestId();
    }

    /** Returns whether a limit was reached: the caller's, the gateway's or Phoenix's. */
    public boolean isRateLimited() {
        return RATE_LIMITS.contains(reason());
    }
}
