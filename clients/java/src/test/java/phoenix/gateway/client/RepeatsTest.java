package phoenix.gateway.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.grpc.CallOptions;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptors;
import io.grpc.ConnectivityState;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Server;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;
import io.grpc.ServerInterceptors;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.StreamObserver;
import java.net.InetSocketAddress;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import phoenix.gateway.v1.EventServiceGrpc;
import phoenix.gateway.v1.KeyServiceGrpc;
import phoenix.gateway.v1.ListKeysRequest;
import phoenix.gateway.v1.ListKeysResponse;
import phoenix.gateway.v1.RefreshPlatformKeyRequest;
import phoenix.gateway.v1.RefreshPlatformKeyResponse;
import phoenix.gateway.v1.SubmitEventRequest;
import phoenix.gateway.v1.SubmitEventResponse;

/** Calls to a server that fails: which are repeated, and what each has with it. */
final class RepeatsTest {
    private final List<Metadata> calls = new CopyOnWriteArrayList<>();
    private Server server;
    private Gateway gateway;

    @BeforeEach
    void start() throws Exception {
        ServerInterceptor noting = new ServerInterceptor() {
            @Override
            public <Q, A> ServerCall.Listener<Q> interceptCall(
                    ServerCall<Q, A> call, Metadata headers, ServerCallHandler<Q, A> next) {
                calls.add(headers);
                return next.startCall(call, headers);
            }
        };
        server = NettyServerBuilder.forAddress(new InetSocketAddress("127.0.0.1", 0))
                .addService(ServerInterceptors.intercept(new FailingEvents(), noting))
                .addService(ServerInterceptors.intercept(new FailingKeys(), noting))
                .build()
                .start();
        gateway = Gateway.builder("127.0.0.1:" + server.getPort()).token("secret").build();
    }

    @AfterEach
    void stop() {
        gateway.close();
        server.shutdownNow();
    }

    private static final class FailingEvents extends EventServiceGrpc.EventServiceImplBase {
        @Override
        public void submitEvent(SubmitEventRequest request, StreamObserver<SubmitEventResponse> answer) {
            answer.onError(Status.UNAVAILABLE.asException());
        }
    }

    private static final class FailingKeys extends KeyServiceGrpc.KeyServiceImplBase {
        private int failures;

        @Override
        public void refreshPlatformKey(
                RefreshPlatformKeyRequest request, StreamObserver<RefreshPlatformKeyResponse> answer) {
            com.google.rpc.Status other = com.google.rpc.Status.newBuilder().setCode(5).build();
            Metadata trailers = StatusProto.toStatusRuntimeException(other).getTrailers();
            answer.onError(Status.ABORTED.asException(trailers));
        }

        @Override
        public void listKeys(ListKeysRequest request, StreamObserver<ListKeysResponse> answer) {
            if (failures++ < 2) {
                answer.onError(Status.UNAVAILABLE.asException());
                return;
            }
            answer.onNext(ListKeysResponse.getDefaultInstance());
            answer.onCompleted();
        }
    }

    @Test
    void aStatusThatContradictsItselfEndsTheCall() {
        GatewayException failed = assertThrows(
                GatewayException.class,
                () -> gateway.keys().refreshPlatformKey(RefreshPlatformKeyRequest.getDefaultInstance()));
        assertEquals(Status.Code.ABORTED, failed.code());
        assertEquals(Effect.MAYBE, failed.effect());
    }

    @Test
    void anEventIsSentOnce() {
        SubmitEventRequest request =
                SubmitEventRequest.newBuilder().setEvent(Gateway.newEvent()).build();
        GatewayException failed =
                assertThrows(GatewayException.class, () -> gateway.events().submitEvent(request));
        assertEquals("CONNECTION_LOST", failed.reason());
        assertEquals(Effect.MAYBE, failed.effect());
        assertEquals(1, calls.size());
    }

    @Test
    void aReadIsRepeated() {
        gateway.keys().listKeys(ListKeysRequest.getDefaultInstance());
        assertEquals(3, calls.size());
    }

    @Test
    void eachCallHasAnIdADeadlineAndTheToken() {
        gateway.keys().listKeys(ListKeysRequest.getDefaultInstance());
        Metadata sent = calls.get(0);
        assertTrue(header(sent, "x-request-id").length() == 36);
        assertEquals("Bearer secret", header(sent, "authorization"));
        assertTrue(header(sent, "user-agent").startsWith("phoenix-gateway-client-java/"));
        CallSettings own = CallSettings.within(Duration.ofSeconds(3)).withHeader("x-request-id", "mine");
        gateway.keys().listKeys(ListKeysRequest.getDefaultInstance(), own);
        assertEquals("mine", header(calls.get(calls.size() - 1), "x-request-id"));
        assertThrows(
                ClientReasons.DeadlineExceeded.class,
                () -> gateway.events()
                        .submitEvent(
                                SubmitEventRequest.newBuilder().setEvent(Gateway.newEvent()).build(),
                                CallSettings.within(Duration.ofNanos(1))));
    }

    @Test
    void aClosedClientSaysSo() {
        gateway.close();
        assertThrows(
                ClientReasons.ClientClosed.class, () -> gateway.keys().listKeys(ListKeysRequest.getDefaultInstance()));
    }

    /** A channel of gRPC that counts how often it is told to connect again at once. */
    private static final class Counted extends ManagedChannel {
        private final ManagedChannel inner;
        private final AtomicInteger again = new AtomicInteger();

        Counted(ManagedChannel inner) {
            this.inner = inner;
        }

        @Override
        public void resetConnectBackoff() {
            again.incrementAndGet();
            inner.resetConnectBackoff();
        }

        @Override
        public ConnectivityState getState(boolean connect) {
            return inner.getState(connect);
        }

        @Override
        public <Q, A> ClientCall<Q, A> newCall(MethodDescriptor<Q, A> method, CallOptions options) {
            return inner.newCall(method, options);
        }

        @Override
        public String authority() {
            return inner.authority();
        }

        @Override
        public ManagedChannel shutdown() {
            return inner.shutdown();
        }

        @Override
        public ManagedChannel shutdownNow() {
            return inner.shutdownNow();
        }

        @Override
        public boolean isShutdown() {
            return inner.isShutdown();
        }

        @Override
        public boolean isTerminated() {
            return inner.isTerminated();
        }

        @Override
        public boolean awaitTermination(long within, TimeUnit unit) throws InterruptedException {
            return inner.awaitTermination(within, unit);
        }
    }

    /** Otherwise it fails for up to two minutes after the gateway is back. */
    @Test
    void aStubDoesNotWaitOutTheBackoffOfGrpc() throws Exception {
        String nobody = "127.0.0.1:1";
        Counted away = new Counted(Grpc.newChannelBuilder(nobody, InsecureChannelCredentials.create()).build());
        Causes causes = new Causes(new Diagnosis(nobody, null), () -> false);
        CallInterceptor own = new CallInterceptor(ServiceConfig.published(), null, "", causes, away);
        KeyServiceGrpc.KeyServiceBlockingStub stub =
                KeyServiceGrpc.newBlockingStub(ClientInterceptors.intercept(away, own));
        long until = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
        while (away.again.get() == 0 && System.nanoTime() < until) {
            assertThrows(StatusRuntimeException.class, () -> stub.listKeys(ListKeysRequest.getDefaultInstance()));
            Thread.sleep(20);
        }
        assertTrue(away.again.get() > 0);
        away.shutdownNow();
    }

    private static String header(Metadata sent, String name) {
        return sent.get(Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER));
    }
}
