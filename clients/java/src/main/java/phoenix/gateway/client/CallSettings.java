package phoenix.gateway.client;

import io.grpc.CallOptions;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/**
 * Settings of one call.
 *
 * @param timeout how long it may take; null: as published (10 s, the wallet 4 s, streams as long as they like)
 * @param headers further headers, such as {@code traceparent}, or an {@code x-request-id} of your own
 */
public record CallSettings(Duration timeout, Map<String, String> headers) {
    /** The settings of a call that gives none. */
    public static final CallSettings DEFAULT = new CallSettings(null, Map.of());

    /** Copies the headers. */
    public CallSettings {
        headers = Map.copyOf(headers);
    }

    /** Returns settings with a timeout. */
    public static CallSettings within(Duration timeout) {
        return new CallSettings(timeout, Map.of());
    }

    /** Returns these settings with one more header. */
    public CallSettings withHeader(String name, String value) {
        Map<String, String> more = new LinkedHashMap<>(headers);
        more.put(name, value);
        return new CallSettings(timeout, more);
    }

    CallOptions options() {
        CallOptions options = CallOptions.DEFAULT.withOption(CallInterceptor.HEADERS, headers);
        return timeout == null ? options : options.withDeadlineAfter(timeout.toNanos(), TimeUnit.NANOSECONDS);
    }
}
