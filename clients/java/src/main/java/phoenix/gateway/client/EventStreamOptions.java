package phoenix.gateway.client;

import phoenix.gateway.v1.Delivery;

/**
 * How the events of a stream are delivered.
 *
 * @param tenantId the gamification tenant; empty: the caller's only one
 * @param isDirect the gateway answers after Phoenix. A message whose gateway was restarted then ends as {@code
 *     OUTCOME_UNKNOWN}, because nobody remembers whether it counted. Otherwise the gateway answers when its store has
 *     the events
 * @param resendsUnknown sends such a message again: only where Phoenix deduplicates
 */
public record EventStreamOptions(String tenantId, boolean isDirect, boolean resendsUnknown) {
    /** Returns durable delivery for the caller's only tenant. */
    public static EventStreamOptions durable() {
        return new EventStreamOptions("", false, false);
    }

    /** Returns direct delivery for the caller's only tenant. */
    public static EventStreamOptions direct() {
        return new EventStreamOptions("", true, false);
    }

    Delivery delivery() {
        return isDirect ? Delivery.DELIVERY_DIRECT : Delivery.DELIVERY_DURABLE;
    }
}
