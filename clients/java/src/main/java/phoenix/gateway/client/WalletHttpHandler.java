package phoenix.gateway.client;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpHandler;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;

/** A wallet as a handler of the HTTP server of the Java platform ({@code jdk.httpserver}). */
public final class WalletHttpHandler implements HttpHandler {
    private final Gateway gateway;
    private final WalletAction action;
    private final WalletOptions options;

    /** Calls an action for verified webhooks alone. */
    public WalletHttpHandler(Gateway gateway, WalletAction action) {
        this(gateway, action, WalletOptions.DEFAULT);
    }

    /** Does the same for another operator, environment or route. */
    public WalletHttpHandler(Gateway gateway, WalletAction action, WalletOptions options) {
        this.gateway = gateway;
        this.action = action;
        this.options = options;
    }

    @Override
    public void handle(HttpExchange exchange) throws IOException {
        try (exchange) {
            WalletReply reply = gateway.wallet.answer(() -> read(exchange), action, options);
            reply.headers().forEach(exchange.getResponseHeaders()::set);
            exchange.sendResponseHeaders(reply.status(), reply.body().length == 0 ? -1 : reply.body().length);
            if (reply.body().length > 0) {
                exchange.getResponseBody().write(reply.body());
            }
        }
    }

    private static Webhook read(HttpExchange exchange) throws IOException {
        List<Webhook.Header> headers = new ArrayList<>();
        exchange.getRequestHeaders()
                .forEach((name, values) -> values.forEach(value -> headers.add(new Webhook.Header(name, value))));
        byte[] body = exchange.getRequestBody().readNBytes(Webhook.LONGEST_BODY + 1);
        return Webhook.whole(exchange.getRequestMethod(), exchange.getRequestURI().toString(), headers, body);
    }
}
