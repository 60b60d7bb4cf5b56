package phoenix.gateway.client;

import java.nio.charset.StandardCharsets;
import java.util.Objects;
import java.util.function.UnaryOperator;
import phoenix.gateway.v1.RecordWalletOutcomeRequest;

/**
 * What the wallet answers Phoenix, and what of a move is recorded as evidence.
 *
 * @param status the HTTP status
 * @param body the bytes
 * @param facts further fields of the record, such as {@code operator_transaction_id}; the status and the body come from
 *     this answer
 */
public record WalletAnswer(int status, byte[] body, RecordWalletOutcomeRequest facts) {
    /** Refuses null, which no server can send. */
    public WalletAnswer {
        Objects.requireNonNull(body, "body is null: give new byte[0] for an answer without one.");
        Objects.requireNonNull(facts, "facts is null: give RecordWalletOutcomeRequest.getDefaultInstance() for none.");
    }

    /** Returns an answer whose body is this text as UTF-8. */
    public static WalletAnswer of(int status, String body) {
        return new WalletAnswer(
                status, body.getBytes(StandardCharsets.UTF_8), RecordWalletOutcomeRequest.getDefaultInstance());
    }

    /**
     * Returns this answer with what the wallet knows: {@code with(facts -> facts.setOperatorTransactionId("tx-1"))}.
     */
    public WalletAnswer with(UnaryOperator<RecordWalletOutcomeRequest.Builder> change) {
        return new WalletAnswer(status, body, change.apply(facts.toBuilder()).build());
    }
}
