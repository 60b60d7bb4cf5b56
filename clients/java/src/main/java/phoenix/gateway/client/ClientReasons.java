package phoenix.gateway.client;

import io.grpc.Status;

/** What this client found out itself about a failure for which no gateway gave a reason. */
public final class ClientReasons {
    private ClientReasons() {}

    /**
     * There was no usable connection. The text names the cause and what to do.
     *
     * <p>The reason is {@code GATEWAY_UNREACHABLE} (nothing listens, or the name is unknown), {@code CONNECTION_LOST}
     * (it broke during the call, or before), {@code TLS_FILES_UNUSABLE} (this side's files), {@code
     * GATEWAY_NOT_TRUSTED} (an old CA, or a certificate that is not valid now), {@code WRONG_HOST_NAME}, {@code
     * CLIENT_CERTIFICATE_REQUIRED}, {@code CLIENT_CERTIFICATE_REFUSED}, {@code TLS_EXPECTED} or {@code TLS_UNEXPECTED}.
     */
    public static final class NotConnected extends GatewayException {
        private static final long serialVersionUID = 1;

        NotConnected(Facts facts) {
            super(facts);
        }
    }

    /** {@code DEADLINE_EXCEEDED}: no answer before the deadline. Phoenix may have acted. */
    public static final class DeadlineExceeded extends GatewayException {
        private static final long serialVersionUID = 1;

        DeadlineExceeded(Facts facts) {
            super(facts);
        }
    }

    /** {@code VERSION_MISMATCH}: a gateway of another major version, or one that is older than this client. */
    public static final class VersionMismatch extends GatewayException {
        private static final long serialVersionUID = 1;

        VersionMismatch(Facts facts) {
            super(facts);
        }
    }

    /** {@code CLIENT_CLOSED}: the client or the stream was closed, or the waiting thread interrupted. */
    public static final class ClientClosed extends GatewayException {
        private static final long serialVersionUID = 1;

        ClientClosed(Facts facts) {
            super(facts);
        }
    }

    /** {@code WEBHOOK_UNREADABLE}: the body of a webhook was read before, unpacked, or is too long. */
    public static final class WebhookUnreadable extends GatewayException {
        private static final long serialVersionUID = 1;

        WebhookUnreadable(String details, Throwable cause) {
            super(Facts.own("WEBHOOK_UNREADABLE", Status.Code.INVALID_ARGUMENT, Effect.NONE, details, cause));
        }
    }

    /** {@code WEBHOOK_UNDECIDED}: the wallet answered a verified webhook with a status that decides nothing. */
    public static final class WebhookUndecided extends GatewayException {
        private static final long serialVersionUID = 1;

        WebhookUndecided(String details) {
            super(Facts.own("WEBHOOK_UNDECIDED", Status.Code.UNKNOWN, Effect.MAYBE, details, null));
        }
    }

    static ClientClosed closed(String details) {
        return new ClientClosed(
                GatewayException.Facts.own("CLIENT_CLOSED", Status.Code.CANCELLED, Effect.NONE, details, null));
    }

    static NotConnected notConnected(String reason, Effect effect, String details, Throwable cause) {
        return new NotConnected(
                GatewayException.Facts.own(reason, Status.Code.UNAVAILABLE, effect, details, cause));
    }
}
