package phoenix.gateway.client;

import java.security.SecureRandom;
import java.util.List;
import java.util.UUID;
import phoenix.gateway.v1.Event;
import phoenix.gateway.v1.StreamEventsRequest;
import phoenix.gateway.v1.SubmitEventRequest;
import phoenix.gateway.v1.SubmitEventsRequest;

/** Ids of events and calls, and the rule that no event leaves without one. */
final class Ids {
    private static final SecureRandom RANDOM = new SecureRandom();

    private Ids() {}

    /** Returns a UUIDv7 (RFC 9562): ids of one moment lie side by side in an index. */
    static String made(long nowMs) {
        long high = nowMs << 16 | 0x7000 | RANDOM.nextInt(0x1000);
        long low = 1L << 63 | RANDOM.nextLong() >>> 2;
        return new UUID(high, low).toString();
    }

    /**
     * Refuses a request that holds an event without an id. A message cannot be changed, so an id that was written into
     * a copy of it would be lost to the caller, whose repeat would be another event and count twice.
     */
    static void require(Object request) {
        for (Event event : eventsOf(request)) {
            if (event.getEventId().isEmpty()) {
                throw new IllegalArgumentException(
                        "An event has no event_id, so a repeat of it would count twice. Begin it with "
                                + "Gateway.newEvent().");
            }
        }
    }

    private static List<Event> eventsOf(Object request) {
        if (request instanceof SubmitEventRequest one) {
            return one.hasEvent() ? List.of(one.getEvent()) : List.of();
        }
        if (request instanceof SubmitEventsRequest some) {
            return some.getEventsList();
        }
        return request instanceof StreamEventsRequest some ? some.getEventsList() : List.of();
    }
}
