package phoenix.gateway.client;

import com.google.gson.Gson;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** The published service config as this client uses it: deadlines, retries of what is safe to repeat, no hedging. */
final class ServiceConfig {
    private static final String PACKAGE = "phoenix.gateway.v1.";

    /**
     * Methods that gRPC may not repeat by itself: after a lost connection it would send the change to another gateway,
     * which may not know that the first one made it. A caller repeats them where the error says so.
     */
    static final List<Name> NEVER_REPEATED = List.of(
            new Name(PACKAGE + "EventService", "SubmitEvent"),
            new Name(PACKAGE + "EventService", "SubmitEvents"),
            new Name(PACKAGE + "EventService", "StreamEvents"),
            new Name(PACKAGE + "EventService", "RedriveDeadLetters"),
            new Name(PACKAGE + "LeaderboardAdminService", "CreateLeaderboard"),
            new Name(PACKAGE + "OperatorService", "UpdateOperatorSettings"),
            new Name(PACKAGE + "PhoenixService", "Call"));

    /** A service and a method of it; empty: all. */
    record Name(String service, String method) {
        static Name of(Map<?, ?> json) {
            return new Name(text(json.get("service")), text(json.get("method")));
        }

        Map<String, Object> json() {
            Map<String, Object> found = new HashMap<>();
            if (!service.isEmpty()) {
                found.put("service", service);
            }
            if (!method.isEmpty()) {
                found.put("method", method);
            }
            return found;
        }

        private static String text(Object value) {
            return value == null ? "" : (String) value;
        }
    }

    /** For gRPC. */
    final Map<String, Object> forChannel;

    private final Map<Name, Duration> timeouts = new HashMap<>();

    /** Args: `published`: the config as JSON gives it. */
    ServiceConfig(Map<String, Object> published) {
        List<Object> methods = new ArrayList<>();
        for (Object entry : (List<?>) published.get("methodConfig")) {
            Map<String, Object> method = new HashMap<>();
            ((Map<?, ?>) entry).forEach((name, value) -> method.put((String) name, value));
            // A timeout that is left in the config would also cut the longer deadline of a caller.
            Duration timeout = durationOf((String) method.remove("timeout"));
            List<Object> kept = new ArrayList<>();
            for (Object one : (List<?>) method.get("name")) {
                Name name = Name.of((Map<?, ?>) one);
                timeouts.put(name, timeout);
                if (!NEVER_REPEATED.contains(name)) {
                    kept.add(name.json());
                }
            }
            method.put("name", kept);
            if (!kept.isEmpty()) {
                methods.add(method);
            }
        }
        methods.add(Map.of("name", NEVER_REPEATED.stream().map(Name::json).toList()));
        forChannel = new HashMap<>(published);
        forChannel.put("methodConfig", methods);
    }

    static ServiceConfig published() {
        try (InputStream file = ServiceConfig.class.getResourceAsStream("service_config.json")) {
            Map<?, ?> read = new Gson().fromJson(new InputStreamReader(file, StandardCharsets.UTF_8), Map.class);
            Map<String, Object> config = new HashMap<>();
            read.forEach((name, value) -> config.put((String) name, value));
            return new ServiceConfig(config);
        } catch (IOException failed) {
            throw new UncheckedIOException(failed);
        }
    }

    /** Returns how long a call may take that has no deadline; zero: as long as it likes. */
    Duration timeout(String fullMethodName) {
        int slash = fullMethodName.lastIndexOf('/');
        String service = fullMethodName.substring(0, slash);
        for (Name name : List.of(
                new Name(service, fullMethodName.substring(slash + 1)), new Name(service, ""), new Name("", ""))) {
            if (timeouts.containsKey(name)) {
                return timeouts.get(name);
            }
        }
        return Duration.ZERO;
    }

    private static Duration durationOf(String seconds) {
        return seconds == null ? Duration.ZERO : Duration.parse("PT" + seconds.toUpperCase(java.util.Locale.ROOT));
    }
}
