package phoenix.gateway.client;

import com.google.protobuf.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import phoenix.gateway.client.Reasons.EventIdReused;
import phoenix.gateway.v1.EnsureLeaderboardRequest;
import phoenix.gateway.v1.Event;
import phoenix.gateway.v1.GetLeaderboardRequest;
import phoenix.gateway.v1.Leaderboard;
import phoenix.gateway.v1.LeaderboardEntry;
import phoenix.gateway.v1.MintLaunchJWTRequest;
import phoenix.gateway.v1.SubmitEventRequest;
import phoenix.gateway.v1.VisitorSession;
import phoenix.gateway.v1.WatchLeaderboardResponse;

/**
 * A caller in one program: Scenario GATEWAY CONTROL. The clients of all languages print clients/scenario.txt.
 *
 * <p>CONTROL is the control URL of a sandbox. Restart the gateway after it prints "watch: first board".
 */
final class Scenario {
    private static final String BOARD = "scenario";

    private final Gateway gateway;
    private final Sandbox sandbox;

    private Scenario(Gateway gateway, Sandbox sandbox) {
        this.gateway = gateway;
        this.sandbox = sandbox;
    }

    public static void main(String[] arguments) throws Exception {
        try (Gateway gateway = Gateway.dial(arguments[0])) {
            Scenario scenario = new Scenario(gateway, new Sandbox(arguments[1]));
            scenario.sendEvents();
            scenario.readBoard();
            scenario.mintToken();
            scenario.verifyWebhooks();
            scenario.handleError();
            scenario.watchBoard();
        }
    }

    /** Sends 100 events in a stream. */
    private void sendEvents() throws InterruptedException {
        gateway.leaderboardAdmin()
                .ensureLeaderboard(EnsureLeaderboardRequest.newBuilder()
                        .setLeaderboardId(BOARD)
                        .setName("Scenario")
                        .build());
        List<SentEvents> sent = new ArrayList<>();
        try (EventStream stream = gateway.eventStream()) {
            for (int number = 1; number <= 100; number++) {
                sent.add(stream.send(event("user-" + number, number).build()));
            }
        }
        long failed = sent.stream()
                .flatMap(message -> message.results().stream())
                .filter(result -> Gateway.failureOf(result).isPresent())
                .count();
        System.out.printf("events: %d sent, %d failed%n", sent.size(), failed);
    }

    private static Event.Builder event(String user, double score) {
        return Gateway.newEvent().setLeaderboardId(BOARD).setUserId(user).setScoreDelta(score);
    }

    /** Reads until all events are counted: durable events are delivered a moment later. */
    private void readBoard() throws InterruptedException {
        GetLeaderboardRequest fresh = GetLeaderboardRequest.newBuilder()
                .setLeaderboardId(BOARD)
                .setMaxStaleness(Duration.getDefaultInstance())
                .build();
        Leaderboard board = gateway.leaderboards().getLeaderboard(fresh).getLeaderboard();
        while (board.getEntriesCount() < 100) {
            Thread.sleep(100);
            board = gateway.leaderboards().getLeaderboard(fresh).getLeaderboard();
        }
        LeaderboardEntry first = board.getEntries(0);
        System.out.printf(
                "board: %d entries, first is %s with %.0f%n",
                board.getEntriesCount(), first.getUserId(), first.getScore());
    }

    /** Mints a launch token. */
    private void mintToken() {
        MintLaunchJWTRequest request = MintLaunchJWTRequest.newBuilder()
                .setVisitor(VisitorSession.getDefaultInstance())
                .build();
        String token = gateway.tokens().mintLaunchJWT(request).getToken();
        System.out.println(token.isEmpty() ? "token: missing" : "token: minted");
    }

    /** Verifies a good and a forged webhook, and records the outcome of the good one. */
    private void verifyWebhooks() throws Exception {
        WalletCall good = gateway.verifyWebhook(sandbox.signed(Map.of()), WalletOptions.DEFAULT);
        if (good.isMove()) {
            WalletAnswer answer = WalletAnswer.of(200, "{\"status\":\"completed\"}")
                    .with(facts -> facts.setOperatorTransactionId("tx-1"));
            WalletReply reply = gateway.recordOutcome(good, answer);
            System.out.println("good webhook: verified, outcome recorded, answered " + reply.status());
        }
        WalletCall forged = gateway.verifyWebhook(sandbox.signed(Map.of("forge", "body")), WalletOptions.DEFAULT);
        forged.reply().ifPresent(reply -> System.out.println("forged webhook: refused, answered " + reply.status()));
    }

    /** Gives two different events one id. */
    private void handleError() {
        for (double score : new double[] {1, 2}) {
            Event event = event("user-1", score).setEventId("scenario-reused").build();
            try {
                gateway.events().submitEvent(SubmitEventRequest.newBuilder().setEvent(event).build());
            } catch (EventIdReused reused) {
                System.out.println("error: " + reused.reason());
            }
        }
    }

    /** Watches the board over a restart of the gateway. */
    private void watchBoard() {
        String epoch = null;
        try (LeaderboardWatch boards = gateway.watchLeaderboard(BOARD)) {
            for (WatchLeaderboardResponse board : boards) {
                if (epoch == null) {
                    epoch = board.getEpoch();
                    System.out.println("watch: first board");
                } else if (!board.getEpoch().equals(epoch)) {
                    System.out.println("watch: board after the restart");
                    return;
                }
            }
        }
    }
}
