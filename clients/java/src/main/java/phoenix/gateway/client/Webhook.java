package phoenix.gateway.client;

import java.util.List;

/**
 * A request of Phoenix, as received: the signature is over the raw body, so nothing may parse or unpack it before.
 *
 * @param method such as {@code POST}
 * @param path with or without the wallet's own prefix, and with its query
 * @param headers in their order; a name may come several times
 * @param body the bytes before any parser
 */
public record Webhook(String method, String path, List<Header> headers, byte[] body) {
    /** The longest body that the gateway takes. */
    static final int LONGEST_BODY = 1 << 20;

    /**
     * A header.
     *
     * @param name in any case
     * @param value as servers give it: a character for each byte (ISO 8859-1)
     */
    public record Header(String name, String value) {}

    /** Copies the headers. */
    public Webhook {
        headers = List.copyOf(headers);
    }

    /**
     * Returns a webhook whose body is what was received. A body that was unpacked, cut or read before would have a
     * wrong signature, and the answer 401 would end a genuine payout.
     *
     * @throws ClientReasons.WebhookUnreadable if it is not
     */
    static Webhook whole(String method, String path, List<Header> headers, byte[] body) {
        if (body.length > LONGEST_BODY) {
            throw new ClientReasons.WebhookUnreadable("The body is longer than " + LONGEST_BODY + " bytes.", null);
        }
        String length = valueOf(headers, "content-length");
        boolean isCut = length != null && !length.equals(String.valueOf(body.length));
        boolean isEmptied = body.length == 0 && valueOf(headers, "transfer-encoding") != null;
        if (isCut || isEmptied) {
            throw new ClientReasons.WebhookUnreadable(
                    "The body was read before, or unpacked. Verify the webhook before anything else reads it.", null);
        }
        return new Webhook(method, path, headers, body);
    }

    private static String valueOf(List<Header> headers, String name) {
        return headers.stream()
                .filter(one -> one.name().equalsIgnoreCase(name))
                .map(one -> one.value().strip())
                .findFirst()
                .orElse(null);
    }
}
