package phoenix.gateway.client;

import com.google.gson.Gson;
import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonPrimitive;
import com.google.protobuf.Message;
import com.google.protobuf.util.JsonFormat;
import com.sun.net.httpserver.HttpServer;
import io.grpc.CallOptions;
import io.grpc.stub.ClientCalls;
import jakarta.servlet.DispatcherType;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.EnumSet;
import java.util.List;
import org.eclipse.jetty.ee10.servlet.FilterHolder;
import org.eclipse.jetty.ee10.servlet.ServletContextHandler;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import phoenix.gateway.v1.Event;
import phoenix.gateway.v1.KeyServiceGrpc;
import phoenix.gateway.v1.ListKeysRequest;
import phoenix.gateway.v1.WatchLeaderboardResponse;

/**
 * Runs the client for tests in another language: each line of stdin is a JSON array with the name of a command and its
 * arguments, each line of stdout its result, {@code {"value": ...}} or {@code {"error": ...}}.
 */
final class Driver {
    private final List<String> warnings = new ArrayList<>();
    private final List<SentEvents> sent = new ArrayList<>();
    private Gateway gateway;
    private EventStream stream;
    private LeaderboardWatch boards;

    public static void main(String[] arguments) throws Exception {
        Driver driver = new Driver();
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            JsonArray command = new Gson().fromJson(line, JsonArray.class);
            JsonObject answer = new JsonObject();
            try {
                answer.add("value", driver.run(command.get(0).getAsString(), command));
            } catch (GatewayException failure) {
                answer.add("error", described(failure));
            } catch (Exception other) {
                JsonObject text = new JsonObject();
                text.addProperty("text", other.toString());
                answer.add("error", text);
            }
            System.out.println(answer);
        }
        Runtime.getRuntime().halt(0);
    }

    private JsonElement run(String name, JsonArray given) throws Exception {
        switch (name) {
            case "connect" -> connect(given.get(1).getAsString(), given.get(2).getAsJsonObject());
            case "call" -> {
                return call(given.get(1).getAsString(), given.get(2).getAsString(), given.get(3).toString());
            }
            case "callOfAnotherVersion" -> callOfAnotherVersion();
            case "warnings" -> {
                return json(warnings);
            }
            case "stream" -> {
                sent.clear();
                boolean isDurable = !given.get(1).getAsJsonObject().has("durable");
                stream = gateway.eventStream(isDurable ? EventStreamOptions.durable() : EventStreamOptions.direct());
            }
            case "send" -> {
                for (int number = 1; number < given.size(); number++) {
                    Event.Builder event = Gateway.newEvent();
                    JsonFormat.parser().merge(given.get(number).toString(), event);
                    sent.add(stream.send(event.build()));
                }
            }
            case "flush" -> stream.flush();
            case "closeStream" -> stream.close();
            case "cancelStream" -> stream.cancel();
            case "statuses" -> {
                return json(sent.stream().map(Driver::statusOf).toList());
            }
            case "watch" -> boards = gateway.watchLeaderboard(given.get(1).getAsString());
            case "nextBoard" -> {
                WatchLeaderboardResponse board = boards.next();
                JsonObject found = new JsonObject();
                found.addProperty("epoch", board.getEpoch());
                found.add("users", json(board.getLeaderboard().getEntriesList().stream()
                        .map(e -> e.getUserId())
                        .toList()));
                return found;
            }
            case "servlet" -> {
                return new JsonPrimitive(servlet());
            }
            case "http" -> {
                return new JsonPrimitive(http());
            }
            default -> throw new IllegalArgumentException(name);
        }
        return new JsonPrimitive("");
    }

    private void connect(String target, JsonObject options) {
        if (gateway != null) {
            gateway.close();
        }
        warnings.clear();
        Gateway.Builder builder = Gateway.builder(target).warn(warnings::add);
        if (options.has("tls")) {
            JsonObject tls = options.getAsJsonObject("tls");
            String name = tls.has("serverName") ? tls.get("serverName").getAsString() : null;
            builder.tls(new Tls(path(tls, "caFile"), path(tls, "certFile"), path(tls, "keyFile"), name));
        }
        if (options.has("timeoutMs")) {
            builder.timeout(Duration.ofMillis(options.get("timeoutMs").getAsLong()));
        }
        gateway = builder.build();
    }

    private static Path path(JsonObject tls, String name) {
        return tls.has(name) ? Path.of(tls.get(name).getAsString()) : null;
    }

    private JsonElement call(String service, String name, String request) throws Exception {
        Object called = Gateway.class.getMethod(service).invoke(gateway);
        Method method = Arrays.stream(called.getClass().getMethods())
                .filter(one -> one.getName().equals(name) && one.getParameterCount() == 1)
                .findFirst()
                .orElseThrow();
        Message.Builder builder =
                (Message.Builder) method.getParameterTypes()[0].getMethod("newBuilder").invoke(null);
        JsonFormat.parser().merge(request, builder);
        try {
            Message answer = (Message) method.invoke(called, builder.build());
            return new Gson().fromJson(JsonFormat.printer().print(answer), JsonElement.class);
        } catch (InvocationTargetException failed) {
            throw (Exception) failed.getCause();
        }
    }

    /** Calls a method of another major version of the contract, over the channel for stubs of the caller's own. */
    private void callOfAnotherVersion() {
        var method = KeyServiceGrpc.getListKeysMethod().toBuilder()
                .setFullMethodName("phoenix.gateway.v9.KeyService/ListKeys")
                .build();
        try {
            ClientCalls.blockingUnaryCall(
                    gateway.channel(), method, CallOptions.DEFAULT, ListKeysRequest.getDefaultInstance());
        } catch (RuntimeException failed) {
            throw GatewayException.of(failed).orElseThrow();
        }
    }

    private static String statusOf(SentEvents message) {
        try {
            return message.results().get(0).getStatus().name().replace("EVENT_STATUS_", "");
        } catch (GatewayException failure) {
            return failure.reason();
        }
    }

    /** Returns the URL of a wallet that books every move, as a filter in a servlet container. */
    private String servlet() throws Exception {
        Server server = new Server(new InetSocketAddress("127.0.0.1", 0));
        ServletContextHandler context = new ServletContextHandler("/");
        FilterHolder filter = new FilterHolder(new WalletFilter(gateway, Driver::act));
        context.addFilter(filter, "/*", EnumSet.of(DispatcherType.REQUEST));
        server.setHandler(context);
        server.start();
        return "http://127.0.0.1:" + ((ServerConnector) server.getConnectors()[0]).getLocalPort();
    }

    private String http() throws Exception {
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", 0), 0);
        server.createContext("/", new WalletHttpHandler(gateway, Driver::act));
        server.start();
        return "http://127.0.0.1:" + server.getAddress().getPort();
    }

    private static WalletAnswer act(WalletCall call) {
        if (!call.isMove()) {
            return WalletAnswer.of(200, "{\"available\":\"5.00\"}");
        }
        return WalletAnswer.of(200, "{\"type\":\"SUCCESS\",\"status\":\"completed\"}")
                .with(facts -> facts.setOperatorTransactionId("tx-1"));
    }

    private static JsonElement described(GatewayException failure) {
        JsonObject found = new JsonObject();
        found.addProperty("reason", failure.reason());
        found.addProperty("kind", failure.getClass().getSimpleName());
        found.addProperty("details", failure.details());
        found.addProperty("effect", failure.effect().name());
        found.addProperty("code", failure.code().name());
        failure.retryAfter().ifPresent(wait -> found.addProperty("retryAfterMs", wait.toMillis()));
        found.add("fields", json(failure.fields().stream().map(FaultyField::field).toList()));
        return found;
    }

    private static JsonArray json(List<String> texts) {
        JsonArray found = new JsonArray();
        texts.forEach(found::add);
        return found;
    }
}
