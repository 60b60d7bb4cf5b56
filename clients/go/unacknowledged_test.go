package gateway

import (
	"errors"
	"slices"
	"testing"
	"time"

	gatewayv1 "phoenix.internal/gateway/v1"

	"google.golang.org/grpc/codes"
)

// pendingOf returns two messages, of which the first was sent to process p1, and a clock to move.
func pendingOf(options EventStreamOptions) (*unacknowledged, *time.Time) {
	clock := time.Unix(1_800_000_000, 0)
	made := &unacknowledged{options: options, now: func() time.Time { return clock }}
	for range 2 {
		made.add([]*gatewayv1.Event{{LeaderboardId: "b", UserId: "ada"}}, nil)
	}
	made.begin("p1")
	made.next()
	return made, &clock
}

func sequences(messages []*message) (found []uint64) {
	for _, one := range messages {
		found = append(found, one.request.GetSequence())
	}
	return found
}

// Over a new stream to another process, only the message that was sent is in doubt.
func TestWhatWasNeverSentIsSent(t *testing.T) {
	for name, one := range map[string]struct {
		options EventStreamOptions
		process string
		inDoubt []uint64
	}{
		"another process":   {EventStreamOptions{Direct: true}, "p2", []uint64{1}},
		"the same":          {EventStreamOptions{Direct: true}, "p1", nil},
		"unnamed":           {EventStreamOptions{Direct: true}, "", []uint64{1}},
		"durable":           {EventStreamOptions{}, "p2", nil},
		"Phoenix remembers": {EventStreamOptions{Direct: true, ResendUnknown: true}, "p2", nil},
	} {
		t.Run(name, func(t *testing.T) {
			made, _ := pendingOf(one.options)
			ids := []string{made.messages[0].request.Events[0].EventId, made.messages[1].request.Events[0].EventId}
			if found := sequences(made.begin(one.process)); !slices.Equal(found, one.inDoubt) {
				t.Errorf("in doubt: %v", found)
			}
			again := made.next()
			if again.Events[0].EventId != ids[again.Sequence-1] || ids[0] == ids[1] || ids[0] == "" {
				t.Errorf("the event has another id: %v", again)
			}
		})
	}
}

// A process that did not say its name may remember nothing.
func TestAnUnnamedProcessIsAnotherOne(t *testing.T) {
	made := &unacknowledged{options: EventStreamOptions{Direct: true}, now: time.Now}
	made.add([]*gatewayv1.Event{{}}, nil)
	made.begin("")
	made.next()
	if found := sequences(made.begin("")); len(found) != 1 {
		t.Errorf("in doubt: %v", found)
	}
}

// That it was sent again to the second process does not make the second one the first.
func TestAMessageStaysInDoubtOfTheFirstProcessThatHadIt(t *testing.T) {
	made, _ := pendingOf(EventStreamOptions{})
	made.begin("p2")
	if made.next(); made.messages[0].hadBy != "p1" {
		t.Error(made.messages[0].hadBy)
	}
}

// After 23 hours a message may count twice.
func TestIDsAreRememberedForADayOnly(t *testing.T) {
	made, clock := pendingOf(EventStreamOptions{})
	*clock = clock.Add(23 * time.Hour)
	if found := sequences(made.begin("p1")); !slices.Equal(found, []uint64{1}) {
		t.Errorf("in doubt: %v", found)
	}
}

// After an error of effect none, the messages without an answer were not begun.
func TestAGatewayThatRefusesHasBegunNothingMore(t *testing.T) {
	made, _ := pendingOf(EventStreamOptions{Direct: true})
	made.refused()
	if found := made.begin("p2"); found != nil {
		t.Errorf("in doubt: %v", sequences(found))
	}
}

// The process may have begun it then; another process would count it a second time.
func TestARefusalSaysNothingOfWhatAnEarlierStreamBrought(t *testing.T) {
	made, _ := pendingOf(EventStreamOptions{Direct: true})
	made.over()
	made.begin("p1")
	made.next()
	made.refused()
	made.over()
	if found := sequences(made.begin("p2")); !slices.Equal(found, []uint64{1}) {
		t.Errorf("in doubt: %v", found)
	}
	made, _ = pendingOf(EventStreamOptions{Direct: true})
	made.over()
	made.refused() // the next stream was refused before it began
	if found := sequences(made.begin("p2")); !slices.Equal(found, []uint64{1}) {
		t.Errorf("in doubt: %v", found)
	}
}

// Only what was never sent is certainly not done.
func TestAFailureLeavesInDoubtWhatAGatewayMayHave(t *testing.T) {
	made, _ := pendingOf(EventStreamOptions{Direct: true})
	failure := localError(ErrGatewayUnreachable, codes.Unavailable, EffectNone, "gone")
	all := made.takeAll()
	if failed, ok := asError(errorFor(all[0], failure)); !ok || failed.Reason != ErrOutcomeUnknown {
		t.Errorf("sent: %v", errorFor(all[0], failure))
	}
	if errorFor(all[1], failure) != error(failure) {
		t.Errorf("never sent: %v", errorFor(all[1], failure))
	}
}

// Only the oldest message that was sent can be answered.
func TestAnAnswerToAnotherMessageIsIgnored(t *testing.T) {
	made, _ := pendingOf(EventStreamOptions{})
	if made.acknowledge(2) != nil {
		t.Error("message 2 was answered")
	}
	if made.acknowledge(1) == nil || len(made.messages) != 1 || !made.hasUnsent() {
		t.Errorf("left: %v", sequences(made.messages))
	}
	if made.acknowledge(2) != nil {
		t.Error("message 2 was answered before it was sent")
	}
}

// The wait doubles to 5 s, is at least what the gateway asks for, and begins anew after a success.
func TestWaitsGrowAndFollowTheGateway(t *testing.T) {
	made := &reconnects{chance: func() float64 { return 1 }}
	lost := localError(ErrConnectionLost, codes.Unavailable, EffectMaybe, "lost")
	if _, err := made.waitAfter(lost); !errors.Is(err, ErrConnectionLost) {
		t.Errorf("the first failure is waited for: %v", err)
	}
	made.worked()
	for _, want := range []time.Duration{200, 400, 800, 1600, 3200, 5000, 5000} {
		if wait, err := made.waitAfter(lost); wait != want*time.Millisecond || err != nil {
			t.Errorf("%v, %v instead of %v ms", wait, err, want)
		}
	}
	full := &Error{Reason: ErrOverloaded, Code: codes.ResourceExhausted, RetryAfter: 9 * time.Second}
	if wait, err := made.waitAfter(full); wait != 9*time.Second || err != nil {
		t.Errorf("%v, %v", wait, err)
	}
	made.worked()
	if wait, err := made.waitAfter(nil); wait != 200*time.Millisecond || err != nil {
		t.Errorf("%v, %v", wait, err)
	}
}

// Also after the stream has worked.
func TestARefusalEndsAStream(t *testing.T) {
	made := newReconnects()
	made.worked()
	for _, final := range []error{
		&Error{Reason: ErrNotAllowed, Code: codes.PermissionDenied},
		localError(ErrVersionMismatch, codes.Unimplemented, EffectNone, ""),
		&Error{Code: codes.InvalidArgument},
		errors.New("of another package"),
	} {
		if _, err := made.waitAfter(final); !errors.Is(err, final) {
			t.Errorf("%v is waited for", final)
		}
	}
}
