package phoenix.gateway.client;

import java.util.Optional;
import java.util.Set;
import phoenix.gateway.v1.VerifyWalletResponse;
import phoenix.gateway.v1.WalletDisposition;
import phoenix.gateway.v1.WalletVerdict;

/**
 * What became of a webhook. If there is a reply, send it and do nothing else. Otherwise do what {@code
 * found().getDisposition()} says; docs/wallet.md of the gateway has the table.
 */
public final class WalletCall {
    private static final Set<WalletDisposition> MOVES =
            Set.of(WalletDisposition.WALLET_DISPOSITION_NEW, WalletDisposition.WALLET_DISPOSITION_RECLAIMED);
    private static final Set<WalletDisposition> OTHERS = Set.of(
            WalletDisposition.WALLET_DISPOSITION_REPLAY, // whose body is stored elsewhere
            WalletDisposition.WALLET_DISPOSITION_STATUS_PROBE,
            WalletDisposition.WALLET_DISPOSITION_NOT_A_MOVE);

    private final VerifyWalletResponse found;
    private final byte[] body;
    private final WalletReply reply;

    private WalletCall(VerifyWalletResponse found, byte[] body, WalletReply reply) {
        this.found = found;
        this.body = body;
        this.reply = reply;
    }

    /**
     * Returns the call for an answer of the gateway. Throws WebhookUndecided for what neither refuses nor says what to
     * do.
     */
    static WalletCall of(VerifyWalletResponse found, byte[] body) {
        if (found.hasReply()) {
            return new WalletCall(found, body, WalletReply.of(found.getReply()));
        }
        boolean isKnown = MOVES.contains(found.getDisposition()) || OTHERS.contains(found.getDisposition());
        if (found.getVerdict() != WalletVerdict.WALLET_VERDICT_VERIFIED || !isKnown) {
            throw new ClientReasons.WebhookUndecided(
                    "The gateway neither refused the webhook nor said what to do with it.");
        }
        return new WalletCall(found, body, null);
    }

    static WalletCall failed(WalletReply reply) {
        return new WalletCall(VerifyWalletResponse.getDefaultInstance(), new byte[0], reply);
    }

    /** Returns the answer of the gateway; empty if the call failed. */
    public VerifyWalletResponse found() {
        return found;
    }

    /** Returns the body, as it was signed. */
    public byte[] body() {
        return body.clone();
    }

    /** Returns what to send, if nothing is left to do. */
    public Optional<WalletReply> reply() {
        return Optional.ofNullable(reply);
    }

    /**
     * Returns whether to execute the move: it is new, or an earlier attempt of it was never finished ({@code
     * RECLAIMED}). Execute it once, under a unique key of the ledger on operation and idempotency key.
     */
    public boolean isMove() {
        return reply == null && MOVES.contains(found.getDisposition());
    }
}
