package phoenix.gateway.client;

import com.google.protobuf.ByteString;
import io.grpc.Context;
import java.nio.charset.StandardCharsets;
import java.util.Set;
import java.util.function.Consumer;
import java.util.function.Function;
import phoenix.gateway.v1.HttpHeader;
import phoenix.gateway.v1.RecordWalletOutcomeRequest;
import phoenix.gateway.v1.RecordWalletOutcomeResponse;
import phoenix.gateway.v1.VerifyWalletRequest;
import phoenix.gateway.v1.VerifyWalletResponse;

/**
 * Verifies, acts, records and answers. Phoenix takes 400, 401, 403 and 422 as final, so every failure here is 503, of
 * whatever kind.
 */
final class Wallet {
    /** Statuses of a router or a guard, not of a wallet; Phoenix takes most of them as final. */
    private static final Set<Integer> NO_ANSWERS = Set.of(400, 401, 403, 405);
    /** Of a record whose thread is interrupted each time. */
    private static final int MOST_TRIES = 3;

    private final Function<VerifyWalletRequest, VerifyWalletResponse> verify;
    private final Function<RecordWalletOutcomeRequest, RecordWalletOutcomeResponse> record;
    private final Consumer<String> warn;

    /** Reads a webhook. */
    interface Source {
        Webhook read() throws Exception;
    }

    /** Args: the two calls to the gateway. */
    Wallet(
            Function<VerifyWalletRequest, VerifyWalletResponse> verify,
            Function<RecordWalletOutcomeRequest, RecordWalletOutcomeResponse> record,
            Consumer<String> warn) {
        this.verify = verify;
        this.record = record;
        this.warn = warn;
    }

    WalletCall verify(Source source, WalletOptions options) {
        try {
            Webhook webhook = source.read();
            return WalletCall.of(verify.apply(requestFor(webhook, options)), webhook.body());
        } catch (Throwable failed) {
            return WalletCall.failed(failed(failed));
        }
    }

    WalletReply recordOutcome(WalletCall call, WalletAnswer answer) {
        try {
            WalletReply reply = WalletReply.of(answer);
            if (!call.isMove()) {
                throw new ClientReasons.WebhookUndecided(
                        "The webhook is no verified move: there is no outcome to record.");
            }
            recordAnyway(answer.facts().toBuilder()
                    .setOperationId(call.found().getOperationId())
                    .setAttempt(call.found().getAttempt())
                    .setResponseStatus(answer.status())
                    .setResponseBody(ByteString.copyFrom(answer.body()))
                    .build());
            return reply;
        } catch (Throwable failed) {
            return failed(failed);
        }
    }

    /** Answers one webhook. Never throws. */
    WalletReply answer(Source source, WalletAction action, WalletOptions options) {
        try {
            WalletCall call = verify(source, options);
            if (call.reply().isPresent()) {
                return call.reply().get();
            }
            WalletAnswer answer = action.act(call);
            boolean isDecided = call.isMove()
                    ? isOutcome(answer.status()) || answer.facts().getFinal()
                    : isAnswer(answer.status());
            if (!isDecided) {
                throw new ClientReasons.WebhookUndecided(
                        "The wallet answered " + answer.status() + ", which decides nothing.");
            }
            return call.isMove() ? recordOutcome(call, answer) : WalletReply.of(answer);
        } catch (Throwable failed) {
            return failed(failed);
        }
    }

    /** Whether a status is what became of a move: done, or refused. Any other leaves the move unfinished. */
    static boolean isOutcome(int status) {
        return status >= 200 && status < 300 || status == 422;
    }

    /** Whether Phoenix may get a status for a webhook that moves nothing. */
    static boolean isAnswer(int status) {
        return status >= 200 && status < 300 || status >= 400 && !NO_ANSWERS.contains(status);
    }

    static VerifyWalletRequest requestFor(Webhook webhook, WalletOptions options) {
        VerifyWalletRequest.Builder request = VerifyWalletRequest.newBuilder()
                .setOperatorCode(options.operatorCode())
                .setEnvironment(options.environment())
                .setRoute(options.route())
                .setMethod(webhook.method())
                .setPath(webhook.path())
                .setRawBody(ByteString.copyFrom(webhook.body()));
        for (Webhook.Header header : webhook.headers()) {
            // Servers read bytes as ISO 8859-1: this gives back the bytes.
            request.addHeaders(HttpHeader.newBuilder()
                    .setName(header.name())
                    .setRawValue(ByteString.copyFrom(header.value(), StandardCharsets.ISO_8859_1)));
        }
        return request.build();
    }

    /**
     * Records also for a caller who was cancelled or interrupted: the money has moved. The same record twice is one.
     */
    private void recordAnyway(RecordWalletOutcomeRequest outcome) throws Exception {
        Context detached = Context.current().fork(); // without the deadline and the cancellation of the present one
        boolean isInterrupted = false;
        try {
            for (int tries = 1; ; tries++) {
                isInterrupted |= Thread.interrupted(); // an interrupted thread cancels its call
                try {
                    detached.call(() -> record.apply(outcome));
                    return;
                } catch (RuntimeException failed) {
                    if (tries == MOST_TRIES || !Thread.currentThread().isInterrupted()) {
                        throw failed;
                    }
                }
            }
        } finally {
            if (isInterrupted) {
                Thread.currentThread().interrupt();
            }
        }
    }

    /** Returns 503, and tells the cause: the text of a failure of this client, only the class of any other. */
    private WalletReply failed(Throwable cause) {
        if (cause instanceof InterruptedException) {
            Thread.currentThread().interrupt();
        }
        String text = cause instanceof GatewayException ? cause.getMessage() : cause.getClass().getName();
        try {
            warn.accept("A wallet webhook is answered 503: " + text);
        } catch (Throwable unwritten) { // the server would answer 500, and Phoenix must get its 503 all the same
        }
        return WalletReply.ofFailure(cause);
    }
}
