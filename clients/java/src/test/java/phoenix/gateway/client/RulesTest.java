package phoenix.gateway.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.Any;
import com.google.protobuf.Duration;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import phoenix.gateway.v1.Event;
import phoenix.gateway.v1.SubmitEventsRequest;

/** Ids, the service config, failures, waits and targets. */
final class RulesTest {
    private static final String METHOD = "/phoenix.gateway.v1.EventService/SubmitEvent";

    @Test
    void idsAreOrderedUuidsOfVersion7() {
        String id = Ids.made(1_700_000_000_000L);
        assertTrue(id.matches("018bcfe5-6800-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"), id);
        assertTrue(Ids.made(1_700_000_000_001L).compareTo(id) > 0);
    }

    @Test
    void anEventWithoutAnIdIsRefused() {
        Event named = Gateway.newEvent().build();
        Ids.require(SubmitEventsRequest.newBuilder().addEvents(named).build());
        SubmitEventsRequest mixed =
                SubmitEventsRequest.newBuilder().addEvents(named).addEvents(Event.getDefaultInstance()).build();
        assertThrows(IllegalArgumentException.class, () -> Ids.require(mixed));
    }

    @Test
    void noChangeIsRepeatedByTheChannel() {
        ServiceConfig config = ServiceConfig.published();
        List<?> methods = (List<?>) config.forChannel.get("methodConfig");
        Map<?, ?> last = (Map<?, ?>) methods.get(methods.size() - 1);
        assertEquals(java.util.Set.of("name"), last.keySet());
        assertEquals(ServiceConfig.NEVER_REPEATED.stream().map(ServiceConfig.Name::json).toList(), last.get("name"));
        for (Object entry : methods.subList(0, methods.size() - 1)) {
            assertTrue(((Map<?, ?>) entry).containsKey("retryPolicy"));
            assertFalse(((Map<?, ?>) entry).containsKey("timeout"));
            assertFalse(((Map<?, ?>) entry).get("name").toString().contains("StreamEvents"));
        }
    }

    @Test
    void deadlinesAreThePublishedOnes() {
        ServiceConfig config = ServiceConfig.published();
        assertEquals(10, config.timeout("phoenix.gateway.v1.EventService/SubmitEvent").toSeconds());
        assertEquals(4, config.timeout("phoenix.gateway.v1.WalletService/VerifyWallet").toSeconds());
        assertTrue(config.timeout("phoenix.gateway.v1.EventService/StreamEvents").isZero());
        assertTrue(config.timeout("phoenix.gateway.v1.WalletService/ExportWalletEvidence").isZero());
    }

    @Test
    void aReasonOfTheGatewayIsAnExceptionOfItsOwn() {
        com.google.rpc.Status status = com.google.rpc.Status.newBuilder()
                .setCode(Status.Code.RESOURCE_EXHAUSTED.value())
                .setMessage("slower")
                .addDetails(Any.pack(
                        ErrorInfo.newBuilder().setReason("RATE_LIMITED").putMetadata("effect", "none").build()))
                .addDetails(Any.pack(RetryInfo.newBuilder()
                        .setRetryDelay(Duration.newBuilder().setSeconds(7))
                        .build()))
                .addDetails(Any.pack(BadRequest.newBuilder()
                        .addFieldViolations(BadRequest.FieldViolation.newBuilder().setField("a").setDescription("b"))
                        .build()))
                .build();
        StatusRuntimeException thrown = StatusProto.toStatusRuntimeException(status);
        GatewayException failed = Failures.of(thrown.getStatus(), thrown.getTrailers(), METHOD, "id-1", true);
        assertInstanceOf(Reasons.RateLimited.class, failed);
        assertEquals(Effect.NONE, failed.effect());
        assertEquals(Optional.of(java.time.Duration.ofSeconds(7)), failed.retryAfter());
        assertEquals(List.of(new FaultyField("a", "b")), failed.fields());
        assertTrue(failed.isOfGateway() && failed.isRateLimited());
        assertEquals("RATE_LIMITED: slower (" + METHOD + ", request id-1)", failed.getMessage());
        assertInstanceOf(Reasons.RateLimited.class, Failures.ofItem(status).orElseThrow());
        assertEquals(Optional.empty(), Failures.ofItem(com.google.rpc.Status.getDefaultInstance()));
    }

    @Test
    void withoutAReasonTheEffectIsWhetherTheCallLeft() {
        Metadata none = new Metadata();
        assertEquals(Effect.NONE, Failures.of(Status.UNAVAILABLE, none, METHOD, "", false).effect());
        assertEquals(Effect.MAYBE, Failures.of(Status.UNAVAILABLE, none, METHOD, "", true).effect());
        GatewayException late = Failures.of(Status.DEADLINE_EXCEEDED, none, METHOD, "", true);
        assertInstanceOf(ClientReasons.DeadlineExceeded.class, late);
        assertEquals(Effect.MAYBE, late.effect());
        assertInstanceOf(
                ClientReasons.VersionMismatch.class, Failures.of(Status.UNIMPLEMENTED, none, METHOD, "", true));
    }

    @Test
    void aNewReasonNeedsNoNewClient() {
        com.google.rpc.Status status = com.google.rpc.Status.newBuilder()
                .setCode(Status.Code.ABORTED.value())
                .addDetails(Any.pack(ErrorInfo.newBuilder().setReason("OF_TOMORROW").build()))
                .build();
        GatewayException failed = Failures.ofItem(status).orElseThrow();
        assertEquals("OF_TOMORROW", failed.reason());
        assertEquals(Effect.MAYBE, failed.effect());
    }

    @Test
    void theFirstConnectionMustWork() {
        GatewayException away = ClientReasons.notConnected("GATEWAY_UNREACHABLE", Effect.NONE, "", null);
        Reconnects reconnects = new Reconnects(() -> 0);
        assertThrows(GatewayException.class, () -> reconnects.waitAfter(away));
        reconnects.worked();
        assertEquals(List.of(100L, 200L, 400L), List.of(
                reconnects.waitAfter(away), reconnects.waitAfter(null), reconnects.waitAfter(away)));
        for (int number = 0; number < 100; number++) {
            assertTrue(reconnects.waitAfter(away) <= 5000);
        }
        assertThrows(GatewayException.class, () -> reconnects.waitAfter(ClientReasons.closed("")));
    }

    @Test
    void targetsAreReadAsGrpcReadsThem() {
        assertEquals(Optional.of(new Target("gateway", 50051)), Target.of("dns:///gateway:50051"));
        assertEquals(Optional.of(new Target("::1", 1)), Target.of("[::1]:1"));
        assertEquals(Optional.of(new Target("gateway", 443)), Target.of("gateway"));
        assertEquals(Optional.empty(), Target.of("xds:///gateway:1"));
        assertTrue(Target.of("localhost:1").orElseThrow().isLocal());
        assertFalse(Target.of("127.0.0.1.evil.example:1").orElseThrow().isLocal());
    }

    @Test
    void aTokenStaysOnThisMachine() {
        assertThrows(
                IllegalArgumentException.class, () -> Gateway.builder("gateway.internal:50051").token("t").build());
        Gateway.builder("127.0.0.1:1").token("t").build().close();
    }
}
