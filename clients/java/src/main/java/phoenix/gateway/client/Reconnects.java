package phoenix.gateway.client;

import io.grpc.Status;
import java.time.Duration;
import java.util.Set;
import java.util.concurrent.ThreadLocalRandom;
import java.util.function.DoubleSupplier;

/** How long to wait before a stream is opened again. The caller gets the failure of the first connection. */
final class Reconnects {
    private static final long FIRST_MS = 100;
    private static final long LONGEST_MS = 5000;
    private static final Set<Status.Code> PASSING = Set.of(
            Status.Code.UNAVAILABLE, Status.Code.CANCELLED, Status.Code.INTERNAL, Status.Code.UNKNOWN,
            Status.Code.DEADLINE_EXCEEDED);

    private final DoubleSupplier random;
    private boolean hasWorked;
    private int failures;

    Reconnects() {
        this(() -> ThreadLocalRandom.current().nextDouble());
    }

    /** Args: `random`: in [0, 1). */
    Reconnects(DoubleSupplier random) {
        this.random = random;
    }

    /** Notes that the stream has delivered something. */
    void worked() {
        hasWorked = true;
        failures = 0;
    }

    /** Returns the milliseconds to wait after a stream ended; null: normally. Throws a failure that is final. */
    long waitAfter(GatewayException failure) {
        if (failure != null && !passes(failure)) {
            throw failure;
        }
        failures++;
        long longest = Math.min(LONGEST_MS, FIRST_MS << Math.min(failures, 10));
        long asked = failure == null ? 0 : failure.retryAfter().map(Duration::toMillis).orElse(0L);
        return Math.max(asked, (long) (longest * (0.5 + random.getAsDouble() / 2)));
    }

    private boolean passes(GatewayException failure) {
        if (failure instanceof ClientReasons.ClientClosed) {
            return false;
        }
        if (failure.isOfGateway()) {
            return failure.retryAfter().isPresent() || failure.code() == Status.Code.UNAVAILABLE;
        }
        return hasWorked && PASSING.contains(failure.code());
    }
}
