package phoenix.gateway.client;

import jakarta.servlet.Filter;
import jakarta.servlet.FilterChain;
import jakarta.servlet.ServletException;
import jakarta.servlet.ServletRequest;
import jakarta.servlet.ServletResponse;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/**
 * A wallet as a filter of Jakarta Servlet 5 or later, which is also how Spring MVC mounts it. It answers every request
 * of its mapping itself and never passes one on, so that no router answers 404 for it.
 *
 * <p>Map it before every filter that reads, unpacks or refuses requests.
 */
public final class WalletFilter implements Filter {
    private final Gateway gateway;
    private final WalletAction action;
    private final WalletOptions options;

    /** Calls an action for verified webhooks alone. */
    public WalletFilter(Gateway gateway, WalletAction action) {
        this(gateway, action, WalletOptions.DEFAULT);
    }

    /** Does the same for another operator, environment or route. */
    public WalletFilter(Gateway gateway, WalletAction action, WalletOptions options) {
        this.gateway = gateway;
        this.action = action;
        this.options = options;
    }

    @Override
    public void doFilter(ServletRequest given, ServletResponse taken, FilterChain chain)
            throws IOException, ServletException {
        HttpServletRequest request = (HttpServletRequest) given;
        HttpServletResponse response = (HttpServletResponse) taken;
        WalletReply reply = gateway.wallet.answer(() -> read(request), action, options);
        response.reset(); // what an earlier filter has written
        response.setStatus(reply.status());
        reply.headers().forEach(response::setHeader);
        response.setContentLength(reply.body().length);
        response.getOutputStream().write(reply.body());
    }

    private static Webhook read(HttpServletRequest request) throws IOException {
        List<Webhook.Header> headers = new ArrayList<>();
        for (String name : Collections.list(request.getHeaderNames())) {
            for (String value : Collections.list(request.getHeaders(name))) {
                headers.add(new Webhook.Header(name, value));
            }
        }
        byte[] body = request.getInputStream().readNBytes(Webhook.LONGEST_BODY + 1);
        String query = request.getQueryString() == null ? "" : "?" + request.getQueryString();
        return Webhook.whole(request.getMethod(), request.getRequestURI() + query, headers, body);
    }
}
