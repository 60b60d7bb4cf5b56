package phoenix.gateway.client;

/** What a wallet does with a verified webhook. */
@FunctionalInterface
public interface WalletAction {
    /**
     * Acts and returns the answer. A move is executed once, under the ledger's unique key on operation and idempotency
     * key; its answer is recorded before it is sent.
     *
     * <p>Of a move only 2xx and 422 (refused) are outcomes; any other status leaves it unfinished, and Phoenix gets
     * 503, unless the answer's facts say {@code final}. Of other webhooks 3xx, 400, 401, 403 and 405 become 503.
     *
     * @throws Exception for any failure: Phoenix gets 503 and sends the webhook again
     */
    WalletAnswer act(WalletCall call) throws Exception;
}
