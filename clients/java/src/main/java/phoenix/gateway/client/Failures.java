package phoenix.gateway.client;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.protobuf.StatusProto;
import java.time.Duration;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.function.Function;
import phoenix.gateway.client.GatewayException.Facts;

/** What a failed call means: a status of gRPC and its details become a GatewayException. Without I/O. */
final class Failures {
    private Failures() {}

    /** Returns the failure of one item of a batch; empty if it succeeded. */
    static Optional<GatewayException> ofItem(com.google.rpc.Status item) {
        if (item.getCode() == Status.Code.OK.value()) {
            return Optional.empty();
        }
        Status.Code code = Status.fromCodeValue(item.getCode()).getCode();
        Facts known = ofGateway(item, code, item.getMessage());
        return Optional.of(made(known != null ? known : unknown(code, item.getMessage(), null)));
    }

    /** Returns the failure of a call. `isSent`: whether any of it left this process. */
    static GatewayException of(Status status, Metadata trailers, String method, String requestId, boolean isSent) {
        Status.Code code = status.getCode();
        String details = status.getDescription() == null ? code.name() : status.getDescription();
        Facts known = ofGateway(StatusProto.fromStatusAndTrailers(status, trailers), code, details);
        if (known != null) {
            return made(known.about(method, requestId));
        }
        Effect effect = isSent ? Effect.MAYBE : Effect.NONE;
        String name = method.substring(1);
        Function<Facts, GatewayException> kind = GatewayException::new;
        Facts facts = unknown(code, details, status.getCause());
        if (code == Status.Code.UNIMPLEMENTED) {
            kind = ClientReasons.VersionMismatch::new;
            effect = Effect.NONE;
            facts = Facts.own("VERSION_MISMATCH", code, effect, "The gateway does not know " + name + ": it is of "
                    + "another major version or older than this client (" + Version.VERSION + "). Install the client "
                    + "of the gateway's version, or have the gateway upgraded.", null);
        } else if (code == Status.Code.DEADLINE_EXCEEDED) {
            kind = ClientReasons.DeadlineExceeded::new;
            facts = Facts.own("DEADLINE_EXCEEDED", code, effect, "No answer before the deadline (" + details + "). "
                    + "Check the address, then repeat the call with a longer timeout; repeat a change only under "
                    + "the same id.", null);
        }
        facts = new Facts(facts.reason(), facts.details(), code, effect, null, List.of(), Map.of(), false, method,
                requestId, facts.cause());
        return kind.apply(facts);
    }

    private static Facts unknown(Status.Code code, String details, Throwable cause) {
        return Facts.own("CALL_FAILED", code, Effect.MAYBE, details, cause);
    }

    private static GatewayException made(Facts facts) {
        return Reasons.BY_REASON.getOrDefault(facts.reason(), GatewayException::new).apply(facts);
    }

    /** Returns what a gateway said; null if this is no status of one. */
    private static Facts ofGateway(com.google.rpc.Status status, Status.Code code, String details) {
        ErrorInfo info = detail(status, ErrorInfo.class, ErrorInfo.getDefaultInstance());
        if (info.getReason().isEmpty()) {
            return null;
        }
        RetryInfo retry = detail(status, RetryInfo.class, null);
        Duration wait = retry == null
                ? null
                : Duration.ofSeconds(retry.getRetryDelay().getSeconds(), retry.getRetryDelay().getNanos());
        List<FaultyField> fields = detail(status, BadRequest.class, BadRequest.getDefaultInstance())
                .getFieldViolationsList().stream()
                .map(one -> new FaultyField(one.getField(), one.getDescription()))
                .toList();
        Map<String, String> metadata = Map.copyOf(info.getMetadataMap());
        return new Facts(info.getReason(), details, code, effectOf(metadata.get("effect")), wait, fields, metadata,
                true, "", "", null);
    }

    private static Effect effectOf(String text) {
        try {
            return text == null ? Effect.MAYBE : Effect.valueOf(text.toUpperCase(Locale.ROOT));
        } catch (IllegalArgumentException unknown) {
            return Effect.MAYBE;
        }
    }

    private static <T extends Message> T detail(com.google.rpc.Status status, Class<T> kind, T otherwise) {
        for (Any packed : status.getDetailsList()) {
            try {
                if (packed.is(kind)) {
                    return packed.unpack(kind);
                }
            } catch (InvalidProtocolBufferException damaged) {
                return otherwise; // not a gateway's; the status itself is enough
            }
        }
        return otherwise;
    }
}
