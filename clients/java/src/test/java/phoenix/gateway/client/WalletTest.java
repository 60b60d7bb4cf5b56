package phoenix.gateway.client;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.ByteString;
import com.sun.net.httpserver.HttpServer;
import io.grpc.Context;
import io.grpc.Server;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.stub.StreamObserver;
import jakarta.servlet.DispatcherType;
import jakarta.servlet.Filter;
import java.io.InputStream;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicReference;
import org.eclipse.jetty.ee10.servlet.FilterHolder;
import org.eclipse.jetty.ee10.servlet.ServletContextHandler;
import org.eclipse.jetty.server.ServerConnector;
import org.junit.jupiter.api.Test;
import phoenix.gateway.v1.RecordWalletOutcomeRequest;
import phoenix.gateway.v1.RecordWalletOutcomeResponse;
import phoenix.gateway.v1.VerifyWalletRequest;
import phoenix.gateway.v1.VerifyWalletResponse;
import phoenix.gateway.v1.WalletDisposition;
import phoenix.gateway.v1.WalletServiceGrpc;
import phoenix.gateway.v1.WalletVerdict;

/** What the wallet answers Phoenix: the gateway's decision, its own, or 503. */
final class WalletTest {
    private static final Webhook WEBHOOK = new Webhook("POST", "/wallet/transactions", List.of(), new byte[] {1});

    private final List<RecordWalletOutcomeRequest> recorded = new ArrayList<>();

    /** A wallet whose gateway has decided. */
    private Wallet decided(WalletDisposition disposition) {
        VerifyWalletResponse found = VerifyWalletResponse.newBuilder()
                .setVerdict(WalletVerdict.WALLET_VERDICT_VERIFIED)
                .setDisposition(disposition)
                .setOperationId("o")
                .setAttempt(2)
                .build();
        return new Wallet(request -> found, request -> {
            recorded.add(request);
            return RecordWalletOutcomeResponse.getDefaultInstance();
        }, text -> { });
    }

    private static int answered(Wallet wallet, WalletAction action) {
        return wallet.answer(() -> WEBHOOK, action, WalletOptions.DEFAULT).status();
    }

    @Test
    void anOutcomeOfAMoveIsRecordedBeforeItIsSent() {
        Wallet wallet = decided(WalletDisposition.WALLET_DISPOSITION_RECLAIMED);
        assertEquals(
                422, answered(wallet, call -> WalletAnswer.of(422, "no").with(f -> f.setOperatorTransactionId("t"))));
        assertEquals(1, recorded.size());
        assertEquals("o", recorded.get(0).getOperationId());
        assertEquals(2, recorded.get(0).getAttempt());
        assertEquals(ByteString.copyFromUtf8("no"), recorded.get(0).getResponseBody());
        assertEquals("t", recorded.get(0).getOperatorTransactionId());
    }

    @Test
    void whatDecidesNothingIs503() {
        Wallet move = decided(WalletDisposition.WALLET_DISPOSITION_NEW);
        for (int status : new int[] {100, 302, 400, 401, 403, 404, 405, 409, 500, 700}) {
            assertEquals(503, answered(move, call -> WalletAnswer.of(status, "")), "of " + status);
        }
        assertEquals(List.of(), recorded);
        assertEquals(404, answered(move, call -> WalletAnswer.of(404, "").with(facts -> facts.setFinal(true))));
        Wallet balance = decided(WalletDisposition.WALLET_DISPOSITION_NOT_A_MOVE);
        for (int status : new int[] {302, 400, 401, 403, 405}) {
            assertEquals(503, answered(balance, call -> WalletAnswer.of(status, "")), "of " + status);
        }
        assertEquals(404, answered(balance, call -> WalletAnswer.of(404, "")));
        assertEquals(1, recorded.size());
    }

    @Test
    void eachFailureIs503() {
        Wallet wallet = decided(WalletDisposition.WALLET_DISPOSITION_NEW);
        assertEquals(503, answered(wallet, call -> {
            throw new java.io.IOException("the ledger is away");
        }));
        assertEquals(503, answered(wallet, call -> null));
        assertEquals(503, answered(wallet, call -> {
            throw new NoClassDefFoundError();
        }));
        assertEquals(503, answered(
                decided(WalletDisposition.WALLET_DISPOSITION_UNSPECIFIED), call -> WalletAnswer.of(200, "")));
        Wallet noRecord = new Wallet(
                request -> VerifyWalletResponse.newBuilder()
                        .setVerdict(WalletVerdict.WALLET_VERDICT_VERIFIED)
                        .setDisposition(WalletDisposition.WALLET_DISPOSITION_NEW)
                        .build(),
                request -> {
                    throw ClientReasons.closed("");
                },
                text -> { });
        assertEquals(503, answered(noRecord, call -> WalletAnswer.of(200, "")));
    }

    @Test
    void aLogThatThrowsChangesNoAnswer() throws Exception {
        Gateway.Builder builder = Gateway.builder("127.0.0.1:1").warn(text -> {
            throw new NoClassDefFoundError();
        });
        try (Gateway gateway = builder.build()) {
            org.eclipse.jetty.server.Server jetty = jetty(new WalletFilter(gateway, call -> null), null);
            String answer = post(port(jetty), "/", "", "{}");
            assertTrue(answer.startsWith("HTTP/1.1 503 ") && answer.contains("temporarily_unavailable"), answer);
            jetty.stop();
        }
    }

    @Test
    void anAnswerWithoutABodyIsRefusedWhereItIsMade() {
        RecordWalletOutcomeRequest none = RecordWalletOutcomeRequest.getDefaultInstance();
        NullPointerException refused =
                assertThrows(NullPointerException.class, () -> new WalletAnswer(200, null, none));
        assertTrue(refused.getMessage().contains("give new byte[0]"), refused.getMessage());
        assertThrows(NullPointerException.class, () -> new WalletAnswer(200, new byte[0], null));
        Wallet balance = decided(WalletDisposition.WALLET_DISPOSITION_NOT_A_MOVE);
        assertEquals(503, answered(balance, call -> new WalletAnswer(200, null, none)));
    }

    /**
     * A gateway that finds each webhook to be a new move. If it is to interrupt a thread, it does so before it answers.
     */
    private final class Recording extends WalletServiceGrpc.WalletServiceImplBase {
        private final AtomicReference<Thread> interrupted = new AtomicReference<>();

        @Override
        public void verifyWallet(VerifyWalletRequest request, StreamObserver<VerifyWalletResponse> answer) {
            answer.onNext(VerifyWalletResponse.newBuilder()
                    .setVerdict(WalletVerdict.WALLET_VERDICT_VERIFIED)
                    .setDisposition(WalletDisposition.WALLET_DISPOSITION_NEW)
                    .build());
            answer.onCompleted();
        }

        @Override
        public void recordWalletOutcome(
                RecordWalletOutcomeRequest request, StreamObserver<RecordWalletOutcomeResponse> answer) {
            Thread waiting = interrupted.getAndSet(null);
            if (waiting != null) {
                waiting.interrupt(); // and it gets no answer
                return;
            }
            recorded.add(request);
            answer.onNext(RecordWalletOutcomeResponse.getDefaultInstance());
            answer.onCompleted();
        }
    }

    @Test
    void anOutcomeIsRecordedAlsoForACallerWhoIsGone() throws Exception {
        Recording service = new Recording();
        Server server = NettyServerBuilder.forAddress(new InetSocketAddress("127.0.0.1", 0))
                .addService(service).build().start();
        Context.CancellableContext context = Context.current().withCancellation();
        List<WalletAction> actions = List.of(
                call -> {
                    Thread.currentThread().interrupt();
                    return WalletAnswer.of(200, "interrupted before");
                },
                call -> {
                    service.interrupted.set(Thread.currentThread());
                    return WalletAnswer.of(200, "interrupted meanwhile");
                },
                call -> {
                    context.cancel(null);
                    return WalletAnswer.of(200, "cancelled");
                });
        try (Gateway gateway = Gateway.dial("127.0.0.1:" + server.getPort())) {
            List<Boolean> interrupts = new ArrayList<>();
            for (WalletAction action : actions) {
                WalletReply reply = context.call(() -> gateway.answerWebhook(WEBHOOK, action, WalletOptions.DEFAULT));
                interrupts.add(Thread.interrupted());
                assertEquals(200, reply.status(), () -> String.valueOf(reply.failure()));
            }
            assertEquals(List.of(true, true, false), interrupts);
            assertEquals(
                    List.of("interrupted before", "interrupted meanwhile", "cancelled"),
                    recorded.stream().map(one -> one.getResponseBody().toStringUtf8()).toList());
        } finally {
            server.shutdownNow();
        }
    }

    @Test
    void withoutAGatewayItIs503AndTheLogHasTheCause() {
        List<String> warnings = new ArrayList<>();
        try (Gateway gateway = Gateway.builder("127.0.0.1:1").warn(warnings::add).build()) {
            WalletReply reply = gateway.answerWebhook(WEBHOOK, call -> WalletAnswer.of(200, ""), WalletOptions.DEFAULT);
            assertEquals(503, reply.status());
            assertEquals("2", reply.headers().get("Retry-After"));
            assertInstanceOf(ClientReasons.NotConnected.class, reply.failure());
        }
        assertTrue(warnings.toString().contains("GATEWAY_UNREACHABLE"), warnings.toString());
    }

    @Test
    void aBodyThatIsNotWhatCameIsNotVerified() {
        List<Webhook.Header> headers = List.of(new Webhook.Header("Content-Length", "2"));
        byte[] two = {1, 2};
        assertArrayEquals(two, Webhook.whole("POST", "/", headers, two).body());
        assertThrows(ClientReasons.WebhookUnreadable.class, () -> Webhook.whole("POST", "/", headers, new byte[0]));
        assertThrows(ClientReasons.WebhookUnreadable.class, () -> Webhook.whole("POST", "/", headers, new byte[3]));
        List<Webhook.Header> chunked = List.of(new Webhook.Header("transfer-encoding", "chunked"));
        assertThrows(ClientReasons.WebhookUnreadable.class, () -> Webhook.whole("POST", "/", chunked, new byte[0]));
        assertThrows(
                ClientReasons.WebhookUnreadable.class,
                () -> Webhook.whole("POST", "/", List.of(), new byte[Webhook.LONGEST_BODY + 1]));
    }

    /** A gateway that keeps what it is asked, and refuses it. */
    private static final class Refusing extends WalletServiceGrpc.WalletServiceImplBase {
        private final List<VerifyWalletRequest> asked = new ArrayList<>();

        @Override
        public void verifyWallet(VerifyWalletRequest request, StreamObserver<VerifyWalletResponse> answer) {
            asked.add(request);
            answer.onNext(VerifyWalletResponse.newBuilder()
                    .setReply(phoenix.gateway.v1.WalletReply.newBuilder().setStatus(401).setContentType("text/x"))
                    .build());
            answer.onCompleted();
        }
    }

    @Test
    void bothServersPassOnTheBytesAsTheyCame() throws Exception {
        Refusing service = new Refusing();
        Server server = NettyServerBuilder.forAddress(new InetSocketAddress("127.0.0.1", 0))
                .addService(service).build().start();
        try (Gateway gateway = Gateway.dial("127.0.0.1:" + server.getPort())) {
            HttpServer http = HttpServer.create(new InetSocketAddress("127.0.0.1", 0), 0);
            http.createContext("/", new WalletHttpHandler(gateway, call -> null));
            http.start();
            org.eclipse.jetty.server.Server jetty = jetty(new WalletFilter(gateway, call -> null), null);
            for (int port : new int[] {http.getAddress().getPort(), port(jetty)}) {
                service.asked.clear();
                String answer = post(port, "/a/b%20c?d=%20e", "X-Name: \u00e9\u0080\r\nX-Name: two\r\n", "\u00ff\0{");
                assertTrue(answer.startsWith("HTTP/1.1 401 "), answer);
                VerifyWalletRequest asked = service.asked.get(0);
                assertEquals("/a/b%20c?d=%20e", asked.getPath());
                assertEquals(ByteString.copyFrom("\u00ff\0{", StandardCharsets.ISO_8859_1), asked.getRawBody());
                List<ByteString> values = asked.getHeadersList().stream()
                        .filter(one -> one.getName().equalsIgnoreCase("x-name"))
                        .map(one -> one.getRawValue())
                        .toList();
                ByteString odd = ByteString.copyFrom(new byte[] {(byte) 0xe9, (byte) 0x80});
                assertEquals(List.of(odd, ByteString.copyFromUtf8("two")), values);
            }
            http.stop(0);
            jetty.stop();
        } finally {
            server.shutdownNow();
        }
    }

    @Test
    void aBodyThatAFilterHasReadIs503() throws Exception {
        Filter reading = (request, response, chain) -> {
            request.getInputStream().readAllBytes();
            chain.doFilter(request, response);
        };
        List<String> warnings = new CopyOnWriteArrayList<>();
        try (Gateway gateway = Gateway.builder("127.0.0.1:1").warn(warnings::add).build()) {
            org.eclipse.jetty.server.Server jetty = jetty(new WalletFilter(gateway, call -> null), reading);
            String answer = post(port(jetty), "/", "", "{}");
            assertTrue(answer.startsWith("HTTP/1.1 503 ") && answer.contains("temporarily_unavailable"), answer);
            assertTrue(warnings.toString().contains("WEBHOOK_UNREADABLE"), warnings.toString());
            jetty.stop();
        }
    }

    /** Before any filter; Phoenix would take the server's own 400 as final. */
    @Test
    void aJettyWhoseErrorsAre503RefusesNothingForGood() throws Exception {
        try (Gateway gateway = Gateway.builder("127.0.0.1:1").warn(text -> { }).build()) {
            org.eclipse.jetty.server.Server jetty = jetty(new WalletFilter(gateway, call -> null), null);
            jetty.setErrorHandler((request, response, callback) -> {
                response.setStatus(503);
                callback.succeeded();
                return true;
            });
            for (String path : List.of("/a%2Fb", "/ok")) {
                String answer = post(port(jetty), path, path.equals("/ok") ? "A damaged\u0001 header\r\n" : "", "{}");
                assertTrue(answer.startsWith("HTTP/1.1 503 "), answer);
            }
            jetty.stop();
        }
    }

    private static org.eclipse.jetty.server.Server jetty(Filter wallet, Filter before) throws Exception {
        org.eclipse.jetty.server.Server server =
                new org.eclipse.jetty.server.Server(new InetSocketAddress("127.0.0.1", 0));
        ServletContextHandler context = new ServletContextHandler("/");
        for (Filter one : before == null ? List.of(wallet) : List.of(before, wallet)) {
            context.addFilter(new FilterHolder(one), "/*", EnumSet.of(DispatcherType.REQUEST));
        }
        server.setHandler(context);
        server.start();
        return server;
    }

    private static int port(org.eclipse.jetty.server.Server server) {
        return ((ServerConnector) server.getConnectors()[0]).getLocalPort();
    }

    private static String post(int port, String path, String headers, String body) throws Exception {
        try (Socket socket = new Socket("127.0.0.1", port)) {
            String request = "POST " + path + " HTTP/1.1\r\nHost: wallet\r\nConnection: close\r\n" + headers
                    + "Content-Length: " + body.length() + "\r\n\r\n" + body;
            socket.getOutputStream().write(request.getBytes(StandardCharsets.ISO_8859_1));
            InputStream input = socket.getInputStream();
            return new String(input.readAllBytes(), StandardCharsets.ISO_8859_1);
        }
    }
}
