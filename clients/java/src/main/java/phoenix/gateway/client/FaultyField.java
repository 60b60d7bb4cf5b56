package phoenix.gateway.client;

import java.io.Serializable;

/**
 * A field of a request that breaks the contract.
 *
 * @param field its path, such as {@code event.leaderboard_id}
 * @param description what is wrong with it
 */
public record FaultyField(String field, String description) implements Serializable {}
