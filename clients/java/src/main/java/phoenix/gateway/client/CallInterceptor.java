package phoenix.gateway.client;

import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.ClientStreamTracer;
import io.grpc.ConnectivityState;
import io.grpc.Context;
import io.grpc.ForwardingClientCall.SimpleForwardingClientCall;
import io.grpc.ForwardingClientCallListener.SimpleForwardingClientCallListener;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import java.time.Duration;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;

/**
 * What happens around every call, also of a stub: ids, a deadline and a connection before it, and after it a status
 * whose cause names the reason.
 */
final class CallInterceptor implements ClientInterceptor {
    static final CallOptions.Key<Map<String, String>> HEADERS =
            CallOptions.Key.createWithDefault("phoenix-gateway-headers", Map.of());
    private static final Metadata.Key<String> REQUEST_ID = key("x-request-id");

    /** gRPC itself waits up to two minutes before it tries an address again that did not answer. */
    private static final long TRY_AGAIN_AFTER_NS = TimeUnit.MILLISECONDS.toNanos(500);

    private final ServiceConfig config;
    private final Duration timeout;
    private final String token;
    private final Causes causes;
    private final ManagedChannel managed;
    private final AtomicLong lastTry = new AtomicLong(System.nanoTime());

    /**
     * Args: `timeout` of calls that give none, null: as published; `token`: empty for none; `managed`: what connects.
     */
    CallInterceptor(ServiceConfig config, Duration timeout, String token, Causes causes, ManagedChannel managed) {
        this.config = config;
        this.timeout = timeout;
        this.token = token;
        this.causes = causes;
        this.managed = managed;
    }

    @Override
    public <Q, A> ClientCall<Q, A> interceptCall(MethodDescriptor<Q, A> method, CallOptions given, Channel next) {
        AtomicBoolean isSent = new AtomicBoolean();
        CallOptions options = withDeadline(method, given).withStreamTracerFactory(new SentTracer(isSent));
        return new SimpleForwardingClientCall<>(next.newCall(method, options)) {
            @Override
            public void start(Listener<A> listener, Metadata headers) {
                options.getOption(HEADERS).forEach((name, value) -> headers.put(key(name), value));
                if (!headers.containsKey(REQUEST_ID)) {
                    headers.put(REQUEST_ID, Ids.made(System.currentTimeMillis()));
                }
                if (!token.isEmpty()) {
                    headers.put(key("authorization"), "Bearer " + token);
                }
                String requestId = headers.get(REQUEST_ID);
                connectAgain();
                super.start(new SimpleForwardingClientCallListener<>(listener) {
                    @Override
                    public void onClose(Status status, Metadata trailers) {
                        super.onClose(explained(status, trailers, method, requestId, isSent.get()), trailers);
                    }
                }, headers);
            }

            @Override
            public void sendMessage(Q request) {
                Ids.require(request);
                super.sendMessage(request);
            }
        };
    }

    private Status explained(
            Status status, Metadata trailers, MethodDescriptor<?, ?> method, String id, boolean isSent) {
        if (status.isOk()) {
            return status;
        }
        String path = "/" + method.getFullMethodName();
        try {
            GatewayException failed = Failures.of(status, trailers, path, id, isSent);
            return status.withCause(failed.isOfGateway() ? failed : causes.causeOf(failed));
        } catch (RuntimeException unexpected) { // such as details that contradict the status: the call must end anyway
            return status.withCause(Failures.of(status.withCause(unexpected), new Metadata(), path, id, isSent));
        }
    }

    private CallOptions withDeadline(MethodDescriptor<?, ?> method, CallOptions options) {
        Duration published = config.timeout(method.getFullMethodName());
        boolean isBounded = options.getDeadline() != null || Context.current().getDeadline() != null;
        if (isBounded || published.isZero()) { // zero: a stream
            return options;
        }
        long within = (timeout == null ? published : timeout).toNanos();
        return options.withDeadlineAfter(within, TimeUnit.NANOSECONDS);
    }

    private void connectAgain() {
        long now = System.nanoTime();
        long last = lastTry.get();
        if (managed.getState(false) == ConnectivityState.TRANSIENT_FAILURE
                && now - last > TRY_AGAIN_AFTER_NS
                && lastTry.compareAndSet(last, now)) {
            managed.resetConnectBackoff();
        }
    }

    private static Metadata.Key<String> key(String name) {
        return Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER);
    }

    /** Notes whether any attempt of a call has left this process. If none has, Phoenix certainly did not act. */
    private static final class SentTracer extends ClientStreamTracer.Factory {
        private final AtomicBoolean isSent;

        SentTracer(AtomicBoolean isSent) {
            this.isSent = isSent;
        }

        @Override
        public ClientStreamTracer newClientStreamTracer(ClientStreamTracer.StreamInfo info, Metadata headers) {
            return new ClientStreamTracer() {
                @Override
                public void outboundHeaders() {
                    isSent.set(true);
                }
            };
        }
    }
}
