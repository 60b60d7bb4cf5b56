package phoenix.gateway.client;

import io.grpc.Channel;
import io.grpc.ChannelCredentials;
import io.grpc.ClientInterceptor;
import io.grpc.ClientInterceptors;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.TlsChannelCredentials;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import phoenix.gateway.v1.Event;
import phoenix.gateway.v1.EventResult;
import phoenix.gateway.v1.WatchLeaderboardRequest;

/**
 * Calls one gateway, or several behind one name. Safe for use by several threads; a process needs one. Close it at the
 * end.
 *
 * <p>Each service of the contract is a method. What it returns has a method for each RPC, which waits for the answer
 * and throws a {@link GatewayException}.
 */
public final class Gateway extends Services implements AutoCloseable {
    private static final long CLOSED_WITHIN_S = 5;

    final Wallet wallet;
    private final ManagedChannel managed;
    private final Channel channel;
    private final Calls calls;
    private final Consumer<String> warn;

    private Gateway(ManagedChannel managed, Channel channel, Calls calls, Consumer<String> warn) {
        super(calls);
        this.managed = managed;
        this.channel = channel;
        this.calls = calls;
        this.warn = warn;
        this.wallet = new Wallet(wallet()::verifyWallet, wallet()::recordWalletOutcome, warn);
    }

    /**
     * Returns a client for a gateway on this machine. It connects at the first call.
     *
     * @param target host:port, or {@code dns:///name:port} for all addresses of a name
     */
    public static Gateway dial(String target) {
        return builder(target).build();
    }

    /** Begins a client with TLS or other settings. */
    public static Builder builder(String target) {
        return new Builder(target);
    }

    /**
     * Begins an event, with a new {@code event_id}: sent again, the same event does not count twice. The client refuses
     * events without an id.
     */
    public static Event.Builder newEvent() {
        return Event.newBuilder().setEventId(Ids.made(System.currentTimeMillis()));
    }

    /** Returns the failure of an event of a batch; empty if it succeeded. */
    public static Optional<GatewayException> failureOf(EventResult result) {
        return failureOf(result.getError());
    }

    /** Returns the failure of an item of a batch ({@code item.getError()}); empty if it succeeded. */
    public static Optional<GatewayException> failureOf(com.google.rpc.Status item) {
        return Failures.ofItem(item);
    }

    /** Opens a stream of durable events. */
    public EventStream eventStream() {
        return eventStream(EventStreamOptions.durable());
    }

    /** Opens a stream of events. */
    public EventStream eventStream(EventStreamOptions options) {
        return new EventStream(calls, options, warn);
    }

    /** Watches a board, over lost connections and restarts of the gateway. */
    public LeaderboardWatch watchLeaderboard(String leaderboardId) {
        return watchLeaderboard(WatchLeaderboardRequest.newBuilder().setLeaderboardId(leaderboardId).build());
    }

    /** Watches a board, over lost connections and restarts of the gateway. */
    public LeaderboardWatch watchLeaderboard(WatchLeaderboardRequest request) {
        return new LeaderboardWatch(calls, request, warn);
    }

    /** Verifies a webhook of Phoenix and claims its move. Never throws: a failure is the reply 503. */
    public WalletCall verifyWebhook(Webhook webhook, WalletOptions options) {
        return wallet.verify(() -> webhook, options);
    }

    /**
     * Records what the wallet did with a move and returns the reply for Phoenix. Never throws: a failure is the reply
     * 503, and Phoenix sends the move again, which the ledger knows then.
     */
    public WalletReply recordOutcome(WalletCall call, WalletAnswer answer) {
        return wallet.recordOutcome(call, answer);
    }

    /** Answers one webhook, for any framework: verifies, acts, records. Never throws: a failure is the reply 503. */
    public WalletReply answerWebhook(Webhook webhook, WalletAction action, WalletOptions options) {
        return wallet.answer(() -> webhook, action, options);
    }

    /**
     * Returns the channel for stubs of the generated code, such as {@code EventServiceGrpc.newFutureStub}. Calls over
     * it are made as those of the client; {@link GatewayException#of} finds the failure in what a stub throws.
     */
    public Channel channel() {
        return channel;
    }

    /** Ends the connections when the calls under way are over, after 5 s at the latest. */
    @Override
    public void close() {
        managed.shutdown();
        try {
            managed.awaitTermination(CLOSED_WITHIN_S, TimeUnit.SECONDS);
        } catch (InterruptedException interrupted) {
            Thread.currentThread().interrupt();
        }
        managed.shutdownNow();
    }

    /** Settings of a client. */
    public static final class Builder {
        private static final System.Logger LOG = System.getLogger("phoenix.gateway.client");

        private final String target;
        private final List<ClientInterceptor> interceptors = new ArrayList<>();
        private Tls tls;
        private String token = "";
        private Duration timeout;
        private Consumer<String> warn = text -> LOG.log(System.Logger.Level.WARNING, text);

        private Builder(String target) {
            this.target = target;
        }

        /** Uses TLS with these files. Without it, only a gateway on this machine can be called. */
        public Builder tls(Tls files) {
            tls = files;
            return this;
        }

        /** Sends the development token of a gateway on this machine. Elsewhere, use a client certificate. */
        public Builder token(String development) {
            token = development;
            return this;
        }

        /** Sets how long calls may take that give no timeout; as published otherwise: 10 s, the wallet 4 s. */
        public Builder timeout(Duration most) {
            timeout = most;
            return this;
        }

        /** Writes warnings, such as a stream that is opened again, elsewhere than to {@link System.Logger}. */
        public Builder warn(Consumer<String> log) {
            warn = log;
            return this;
        }

        /**
         * Adds an interceptor of gRPC, such as that of OpenTelemetry. It runs for each call, within this client's own.
         */
        public Builder interceptor(ClientInterceptor more) {
            interceptors.add(more);
            return this;
        }

        /**
         * Returns the client. It connects at the first call.
         *
         * @throws ClientReasons.NotConnected for files that cannot be used ({@code TLS_FILES_UNUSABLE})
         * @throws IllegalArgumentException for a token that would leave this machine
         */
        public Gateway build() {
            boolean isLocal = Target.of(target).map(Target::isLocal).orElse(false);
            if (!token.isEmpty() && (tls != null || !isLocal)) {
                throw new IllegalArgumentException(
                        "token is for a gateway on this machine without TLS. Elsewhere, use a client certificate: "
                                + "tls.");
            }
            TlsFiles files = tls == null ? null : new TlsFiles(tls, warn);
            ManagedChannel managed = managed(files);
            Channel channel = intercepted(managed, files);
            return new Gateway(managed, channel, new Calls(managed, channel), warn);
        }

        private ManagedChannel managed(TlsFiles files) {
            ChannelCredentials credentials = files == null
                    ? InsecureChannelCredentials.create()
                    : TlsChannelCredentials.newBuilder()
                            .keyManager(files.keyManager())
                            .trustManager(files.trustManager())
                            .build();
            ManagedChannelBuilder<?> made = Grpc.newChannelBuilder(target, credentials)
                    .defaultServiceConfig(ServiceConfig.published().forChannel)
                    .disableServiceConfigLookUp() // of DNS
                    .enableRetry()
                    .proxyDetector(address -> null)
                    .userAgent("phoenix-gateway-client-java/" + Version.VERSION)
                    .keepAliveTime(30, TimeUnit.SECONDS) // the gateway allows a ping in 10 s
                    .keepAliveTimeout(10, TimeUnit.SECONDS)
                    .keepAliveWithoutCalls(true);
            if (tls != null && tls.serverName() != null) {
                made.overrideAuthority(tls.serverName());
            }
            return made.build();
        }

        private Channel intercepted(ManagedChannel managed, TlsFiles files) {
            Causes causes = new Causes(new Diagnosis(target, files), managed::isShutdown);
            Channel inner = ClientInterceptors.interceptForward(managed, interceptors);
            return ClientInterceptors.intercept(
                    inner, new CallInterceptor(ServiceConfig.published(), timeout, token, causes, managed));
        }
    }
}
