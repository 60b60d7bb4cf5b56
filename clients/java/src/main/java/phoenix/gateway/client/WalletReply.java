package phoenix.gateway.client;

import java.nio.charset.StandardCharsets;
import java.util.Map;

/**
 * An HTTP answer for Phoenix: send it as it is.
 *
 * @param status the HTTP status
 * @param headers such as {@code Content-Type}
 * @param body the bytes
 * @param failure what is behind a 503 of this side; otherwise null
 */
public record WalletReply(int status, Map<String, String> headers, byte[] body, Throwable failure) {
    private static final byte[] UNAVAILABLE =
            "{\"type\":\"ERROR\",\"error\":\"temporarily_unavailable\"}".getBytes(StandardCharsets.UTF_8);
    private static final String JSON = "application/json";

    /** Returns 503: Phoenix sends the webhook again. Every other status could end a payout. */
    static WalletReply ofFailure(Throwable failure) {
        return new WalletReply(503, Map.of("Content-Type", JSON, "Retry-After", "2"), UNAVAILABLE.clone(), failure);
    }

    /** Returns the wallet's own answer. Throws WebhookUndecided for a status that is no final one of HTTP. */
    static WalletReply of(WalletAnswer answer) {
        if (answer.status() < 200 || answer.status() > 599) {
            throw new ClientReasons.WebhookUndecided(
                    "The wallet answered " + answer.status() + ", which is no HTTP status.");
        }
        String kind = answer.status() == 422 ? "application/problem+json" : JSON;
        return new WalletReply(answer.status(), Map.of("Content-Type", kind), answer.body(), null);
    }

    /** Returns the gateway's decision. Throws WebhookUndecided if it has no status. */
    static WalletReply of(phoenix.gateway.v1.WalletReply decided) {
        if (decided.getStatus() < 200 || decided.getStatus() > 599) {
            throw new ClientReasons.WebhookUndecided("The gateway gave no status to answer the webhook with.");
        }
        Map<String, String> kind = Map.of("Content-Type", decided.getContentType());
        int wait = decided.getRetryAfterSeconds();
        Map<String, String> headers = wait <= 0
                ? kind
                : Map.of("Content-Type", decided.getContentType(), "Retry-After", String.valueOf(wait));
        return new WalletReply(decided.getStatus(), headers, decided.getBody().toByteArray(), null);
    }
}
