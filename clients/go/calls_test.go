package gateway

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	gatewayv1 "phoenix.internal/gateway/v1"

	"google.golang.org/grpc/metadata"
)

// The client gives the event its id in the request, so that a repeat of the request cannot count twice.
func testRepeatedRequest(t *testing.T, g *started) {
	client := dial(t, g.Address)
	request := &gatewayv1.SubmitEventRequest{Event: scored("", 5)}
	var statuses []gatewayv1.EventStatus
	for range 2 {
		answer, err := client.Events.SubmitEvent(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		if answer.EventId != request.Event.EventId || answer.EventId == "" {
			t.Errorf("another id: %v", answer)
		}
		statuses = append(statuses, answer.Status)
	}
	if statuses[0] != gatewayv1.EventStatus_EVENT_STATUS_ACCEPTED ||
		statuses[1] != gatewayv1.EventStatus_EVENT_STATUS_DUPLICATE {
		t.Error(statuses)
	}
	if times, err := g.Counted(t.Context(), request.Event.EventId); times != 1 || err != nil {
		t.Errorf("counted %d times, %v", times, err)
	}
}

// The error names the request by the caller's own id.
func testReusedID(t *testing.T, g *started) {
	client := dial(t, g.Address)
	id := NewEventID()
	if _, err := client.Events.SubmitEvent(t.Context(), &gatewayv1.SubmitEventRequest{Event: scored(id, 1)}); err != nil {
		t.Fatal(err)
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x-request-id", "req-1")
	_, err := client.Events.SubmitEvent(ctx, &gatewayv1.SubmitEventRequest{Event: scored(id, 2)})
	var failed *Error
	if !errors.Is(err, ErrEventIDReused) || !errors.As(err, &failed) {
		t.Fatal(err)
	}
	if failed.RequestID != "req-1" || failed.Effect != EffectNone || failed.RetryAfter != 0 || !failed.FromGateway() {
		t.Errorf("%+v", failed)
	}
}

func testRateLimit(t *testing.T, g *started) {
	fault := map[string]any{"surface": "ingestion", "kind": "status", "status": 429, "headers": map[string]string{"Retry-After": "7"}}
	if err := g.Fault(t.Context(), fault); err != nil {
		t.Fatal(err)
	}
	request := &gatewayv1.SubmitEventRequest{Event: scored("", 1)}
	_, err := dial(t, g.Address).Events.SubmitEvent(within(t, 2*time.Second), request)
	if wait, ok := RetryAfter(err); !IsRateLimited(err) || !errors.Is(err, ErrPhoenixRateLimited) || !ok ||
		wait < 6*time.Second || wait > 8*time.Second {
		t.Errorf("%v, wait %v", err, wait)
	}
}

func testFaultyField(t *testing.T, g *started) {
	event := scored("", 1)
	event.LeaderboardId = ""
	_, err := dial(t, g.Address).Events.SubmitEvent(t.Context(), &gatewayv1.SubmitEventRequest{Event: event})
	failed, _ := asError(err)
	if !errors.Is(err, ErrInvalidField) || len(failed.Fields) != 1 || failed.Fields[0].Field != "event.leaderboard_id" {
		t.Errorf("%+v", failed)
	}
}

func testBatch(t *testing.T, g *started) {
	faulty := scored("", 1)
	faulty.ScoreDelta = nil
	request := &gatewayv1.SubmitEventsRequest{Events: []*gatewayv1.Event{scored("", 1), faulty}}
	answer, err := dial(t, g.Address).Events.SubmitEvents(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	if err := ItemError(answer.Results[0].Error); err != nil {
		t.Error(err)
	}
	if err := ItemError(answer.Results[1].Error); !errors.Is(err, ErrInvalidField) {
		t.Error(err)
	}
}

// A gateway of another major version has other services.
func testVersionMismatch(t *testing.T, g *started) {
	connection := dial(t, g.Address).Connection()
	method := "/phoenix.gateway.v9.KeyService/ListKeys"
	err := connection.Invoke(t.Context(), method, &gatewayv1.ListKeysRequest{}, &gatewayv1.ListKeysResponse{})
	if !errors.Is(err, ErrVersionMismatch) {
		t.Fatal(err)
	}
	for _, part := range []string{"phoenix.gateway.v9", "another major version", "Install"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in %q", part, err)
		}
	}
}

// The caller's deadline counts, whether shorter or longer than the published one.
func testDeadline(t *testing.T, g *started) {
	if err := g.Fault(t.Context(), map[string]any{"surface": "query", "kind": "hang"}); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	request := &gatewayv1.GetUserRankRequest{LeaderboardId: testBoard, UserId: "ada"}
	_, err := dial(t, g.Address).Leaderboards.GetUserRank(within(t, 500*time.Millisecond), request)
	if err == nil || time.Since(began) > 3*time.Second {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}

// The event counted: the effect is not none, and nothing says that a repeat is safe.
func testLostConnection(t *testing.T, g *started) {
	if err := g.Fault(t.Context(), map[string]any{"surface": "ingestion", "kind": "hang", "act": true}); err != nil {
		t.Fatal(err)
	}
	cable := newCable(t, g.Address)
	client := dial(t, cable.address)
	id := NewEventID()
	request := &gatewayv1.SubmitEventRequest{Event: scored(id, 1)}
	failures := make(chan error)
	go func() {
		_, err := client.Events.SubmitEvent(t.Context(), request)
		failures <- err
	}()
	eventually(t, func() bool { times, _ := g.Counted(t.Context(), id); return times == 1 })
	cable.cut()
	err := <-failures
	failed, _ := asError(err)
	if !errors.Is(err, ErrConnectionLost) || failed.Effect != EffectMaybe || failed.RetryAfter != 0 {
		t.Errorf("%+v", failed)
	}
}

// Whoever does not answer has no reason; Phoenix may have acted, unless nothing was sent.
func TestNoAnswerIsADeadline(t *testing.T) {
	silent := listen(t)
	_, err := dial(t, silent.Addr().String()).Keys.ListKeys(within(t, 300*time.Millisecond), &gatewayv1.ListKeysRequest{})
	if failed, _ := asError(err); !errors.Is(err, ErrDeadlineExceeded) || !errors.Is(err, context.DeadlineExceeded) ||
		failed.Effect != EffectNone {
		t.Errorf("%+v", failed)
	}
}

// A development token is for this machine.
func TestATokenLeavesThisMachineOnlyOverTLS(t *testing.T) {
	for _, target := range []string{"gateway.example:50051", "127.0.0.1.example:50051", "dns:///gateway:1"} {
		if _, err := Dial(target, WithToken("secret")); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", target, err)
		}
	}
	for _, target := range []string{"127.0.0.1:50051", "localhost:1", "[::1]:1", "unix:/run/gateway.sock"} {
		if _, err := Dial(target, WithToken("secret")); err != nil {
			t.Errorf("%s: %v", target, err)
		}
	}
}
