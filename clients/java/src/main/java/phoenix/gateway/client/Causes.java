package phoenix.gateway.client;

import io.grpc.Status;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;

/** Names the cause of calls that failed without a connection. One that was found holds for the calls of a second. */
final class Causes {
    private static final long LASTS_NS = TimeUnit.SECONDS.toNanos(1);

    private final Diagnosis diagnosis;
    private final BooleanSupplier isClosed;
    private Diagnosis.Found known;
    private long knownAt;

    /** Args: `isClosed`: whether the client was closed. */
    Causes(Diagnosis diagnosis, BooleanSupplier isClosed) {
        this.diagnosis = diagnosis;
        this.isClosed = isClosed;
    }

    /**
     * Returns the failure that names the cause; the same one if it is not about the connection. It connects, so it may
     * take some seconds.
     */
    GatewayException causeOf(GatewayException failed) {
        boolean isOtherProtocol = failed.code() == Status.Code.INTERNAL; // so gRPC calls what is no HTTP/2
        if (failed.code() != Status.Code.UNAVAILABLE && !isOtherProtocol) {
            return failed;
        }
        if (isClosed.getAsBoolean()) {
            return new ClientReasons.ClientClosed(GatewayException.Facts.own("CLIENT_CLOSED", failed.code(),
                    failed.effect(), "This client was closed.", null).about(failed.method(), failed.requestId()));
        }
        Diagnosis.Found found = found(failed.details());
        if (isOtherProtocol && found.reason().equals("CONNECTION_LOST")) {
            return failed;
        }
        return new ClientReasons.NotConnected(GatewayException.Facts.own(
                        found.reason(), failed.code(), failed.effect(), found.details(), failed.getCause())
                .about(failed.method(), failed.requestId()));
    }

    private synchronized Diagnosis.Found found(String details) {
        if (known == null || System.nanoTime() - knownAt > LASTS_NS) {
            known = diagnosis.found(details);
            knownAt = System.nanoTime();
        }
        return known;
    }
}
