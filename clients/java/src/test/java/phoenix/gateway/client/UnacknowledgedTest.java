package phoenix.gateway.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.time.Duration;
import java.util.List;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.Test;

/** Which messages of a stream may be sent again. */
final class UnacknowledgedTest {
    private final AtomicLong now = new AtomicLong();

    /** Two messages, of which process p1 has the first. */
    private Unacknowledged<String> pending(EventStreamOptions options) {
        Unacknowledged<String> made = new Unacknowledged<>(options, now::get);
        made.add(List.of(Gateway.newEvent().build()), "first");
        made.add(List.of(Gateway.newEvent().build()), "second");
        made.begin("p1");
        made.next();
        return made;
    }

    private static List<String> inDoubt(Unacknowledged<String> made, String process) {
        return made.begin(process).stream().map(one -> one.result).toList();
    }

    @Test
    void durableMessagesAreSentAgainUnderTheirIds() {
        Unacknowledged<String> made = pending(EventStreamOptions.durable());
        made.over();
        assertEquals(List.of(), inDoubt(made, "p2"));
        assertEquals(1, made.next().getSequence());
        assertEquals(2, made.next().getSequence());
        assertEquals("first", made.acknowledge(1).result);
        assertNull(made.acknowledge(1));
    }

    @Test
    void directMessagesGoOnlyToTheProcessThatHadThem() {
        for (String process : List.of("p2", "")) {
            Unacknowledged<String> made = pending(EventStreamOptions.direct());
            made.over();
            assertEquals(List.of("first"), inDoubt(made, process));
            assertEquals(2, made.next().getSequence());
        }
        Unacknowledged<String> same = pending(EventStreamOptions.direct());
        same.over();
        assertEquals(List.of(), inDoubt(same, "p1"));
        Unacknowledged<String> resent = pending(new EventStreamOptions("", true, true));
        resent.over();
        assertEquals(List.of(), inDoubt(resent, "p2"));
    }

    @Test
    void whatIsOlderThanTheGatewaysMemoryIsNotSentAgain() {
        Unacknowledged<String> made = pending(EventStreamOptions.durable());
        made.over();
        now.set(Duration.ofHours(24).toNanos());
        assertEquals(List.of("first"), inDoubt(made, "p1"));
    }

    @Test
    void aRefusalFreesWhatCameFirstOverThatStream() {
        Unacknowledged<String> made = pending(EventStreamOptions.direct());
        made.refused();
        made.over();
        assertEquals(List.of(), inDoubt(made, "p2"));
    }

    /** The process may have begun it then; another process would count it a second time. */
    @Test
    void aRefusalSaysNothingOfWhatAnEarlierStreamBrought() {
        Unacknowledged<String> made = pending(EventStreamOptions.direct());
        made.over();
        made.begin("p1");
        made.next();
        made.refused();
        made.over();
        assertEquals(List.of("first"), inDoubt(made, "p2"));
        Unacknowledged<String> neverBegun = pending(EventStreamOptions.direct());
        neverBegun.over();
        neverBegun.refused(); // the next stream was refused before it began
        assertEquals(List.of("first"), inDoubt(neverBegun, "p2"));
    }

    @Test
    void aFailureLeavesInDoubtWhatAGatewayMayHave() {
        GatewayException failure = ClientReasons.notConnected("GATEWAY_UNREACHABLE", Effect.NONE, "gone", null);
        List<Unacknowledged.Message<String>> all = pending(EventStreamOptions.direct()).takeAll();
        assertInstanceOf(Reasons.OutcomeUnknown.class, Unacknowledged.failureFor(all.get(0), failure));
        assertSame(failure, Unacknowledged.failureFor(all.get(1), failure));
        assertTrue(all.get(0).isSent());
    }
}
