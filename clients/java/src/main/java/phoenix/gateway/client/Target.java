package phoenix.gateway.client;

import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** A gRPC target, as far as this client reads it itself. */
record Target(String host, int port) {
    private static final Pattern FORM =
            Pattern.compile("(?:dns:(?:///)?)?(\\[[^\\]]+\\]|[^\\[\\]:/,]+)(?::(\\d{1,5}))?");
    private static final Pattern LOCAL = Pattern.compile("127\\.\\d+\\.\\d+\\.\\d+|localhost|::1");

    /** Returns what to connect to; empty for a form such as xds. */
    static Optional<Target> of(String text) {
        Matcher found = FORM.matcher(text);
        if (!found.matches()) {
            return Optional.empty();
        }
        String host = found.group(1).replaceAll("^\\[|\\]$", "");
        int port = found.group(2) == null ? 443 : Integer.parseInt(found.group(2));
        return port > 65_535 ? Optional.empty() : Optional.of(new Target(host, port));
    }

    boolean isLocal() {
        return LOCAL.matcher(host).matches();
    }
}
