package phoenix.gateway.client;

import com.google.gson.Gson;
import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Map;

/** Calls the control port of a sandbox. Its routes are in docs/sandbox.md. */
record Sandbox(String control) {
    /** Has a webhook signed. Args: `members`: such as forge ("body": with a wrong signature). */
    Webhook signed(Map<String, ?> members) throws IOException, InterruptedException {
        HttpRequest request = HttpRequest.newBuilder(URI.create(control + "/wallet/sign"))
                .POST(HttpRequest.BodyPublishers.ofString(new Gson().toJson(members)))
                .build();
        HttpResponse<String> answer = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString());
        if (answer.statusCode() != 200) {
            throw new IOException("The sandbox answered " + answer.statusCode() + ": " + answer.body());
        }
        JsonObject found = new Gson().fromJson(answer.body(), JsonObject.class);
        List<Webhook.Header> headers = new ArrayList<>();
        for (JsonElement one : found.getAsJsonArray("headers")) {
            JsonArray pair = one.getAsJsonArray();
            headers.add(new Webhook.Header(pair.get(0).getAsString(), pair.get(1).getAsString()));
        }
        byte[] body = Base64.getDecoder().decode(found.get("body_base64").getAsString());
        return new Webhook(found.get("method").getAsString(), found.get("path").getAsString(), headers, body);
    }
}
