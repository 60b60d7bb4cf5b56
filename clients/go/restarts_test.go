package gateway

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"phoenix.internal/gateway/gatewaytest"
	gatewayv1 "phoenix.internal/gateway/v1"
)

// killed is a gateway that tests/clients/test_go_client.py kills and starts again when this process prints "kill me".
func killed(t *testing.T) (*Client, *gatewaytest.Control) {
	t.Helper()
	address := os.Getenv("PHOENIX_GATEWAY_KILLED")
	if address == "" {
		t.Skip("PHOENIX_GATEWAY_KILLED is not set: run tests/clients/test_go_client.py with -m faults")
	}
	return dial(t, address), gatewaytest.NewControl(os.Getenv("PHOENIX_GATEWAY_KILLED_CONTROL"))
}

func killIt() { fmt.Println("kill me") }

// hangAnEvent lets the next request with events count, without an answer. A health check does not take it.
func hangAnEvent(ctx context.Context, t *testing.T, control *gatewaytest.Control) {
	t.Helper()
	fault := map[string]any{"surface": "ingestion", "path_prefix": "/v1/events", "kind": "hang", "act": true, "times": 1}
	if err := control.Fault(ctx, fault); err != nil {
		t.Fatal(err)
	}
}

// Every message that had no answer is sent again; the ids keep each event from counting twice.
func TestDurableEventsSurviveAKill(t *testing.T) {
	client, control := killed(t)
	ctx := within(t, 90*time.Second)
	before, _, err := control.Effects(ctx)
	if err != nil {
		t.Fatal(err)
	}
	stream := client.EventStream(ctx, EventStreamOptions{})
	var sent []*SentEvents
	for number := range 40 {
		if number == 20 {
			killIt()
		}
		one, err := stream.Send(ctx, scored("", 1))
		if err != nil {
			t.Fatal(err)
		}
		sent = append(sent, one)
	}
	if err := stream.Close(ctx); err != nil {
		t.Fatal(err)
	}
	for _, one := range sent {
		results, err := one.Results(ctx)
		if err != nil || ItemError(results[0].GetError()) != nil {
			t.Errorf("%v, %v", results, err)
		}
	}
	eventually(t, func() bool { events, _, _ := control.Effects(ctx); return events >= before+40 })
	if events, moreThanOnce, _ := control.Effects(ctx); events != before+40 || len(moreThanOnce) > 0 {
		t.Errorf("%d events, more than once: %v", events-before, moreThanOnce)
	}
}

// Another process does not remember their ids: the outcome is unknown, and later events are sent.
func TestDirectEventsOfAKilledGatewayAreNotSentAgain(t *testing.T) {
	client, control := killed(t)
	ctx := within(t, 90*time.Second)
	countTwice(t, control)
	hangAnEvent(ctx, t, control)
	stream := client.EventStream(ctx, EventStreamOptions{Direct: true})
	event := scored(NewEventID(), 1)
	lost, err := stream.Send(ctx, event)
	if err != nil {
		t.Fatal(err)
	}
	counted := func() int { times, _ := control.Counted(ctx, event.EventId); return times }
	eventually(t, func() bool { return counted() == 1 })
	killIt()
	if _, err := lost.Results(ctx); !errors.Is(err, ErrOutcomeUnknown) {
		t.Error(err)
	}
	later, err := stream.Send(ctx, scored("", 1))
	if err != nil {
		t.Fatal(err)
	}
	results, err := later.Results(ctx)
	if err != nil || results[0].GetStatus() != gatewayv1.EventStatus_EVENT_STATUS_ACCEPTED || counted() != 1 {
		t.Errorf("%v, %v, counted %d times", results, err, counted())
	}
	if err := stream.Close(ctx); err != nil {
		t.Error(err)
	}
}

// A change whose connection is lost is not sent again by grpc: after the restart another process would count it again.
func TestACallOfAKilledGatewayIsNotRepeated(t *testing.T) {
	client, control := killed(t)
	ctx := within(t, 90*time.Second)
	countTwice(t, control)
	hangAnEvent(ctx, t, control)
	id := NewEventID()
	failures := make(chan error, 1)
	go func() {
		_, err := client.Events.SubmitEvent(ctx, &gatewayv1.SubmitEventRequest{Event: scored(id, 1)})
		failures <- err
	}()
	counted := func() int { times, _ := control.Counted(ctx, id); return times }
	eventually(t, func() bool { return counted() == 1 })
	killIt()
	failed, ok := asError(<-failures)
	if !ok || !IsNotConnected(failed) || failed.Effect != EffectMaybe || failed.RetryAfter != 0 {
		t.Errorf("%+v", failed)
	}
	eventually(t, func() bool { return listKeys(t, client) == nil })
	if counted() != 1 {
		t.Errorf("counted %d times", counted())
	}
}

// A read is repeated, or fails with a cause; it works again as soon as the gateway does.
func TestReadsContinueAfterAKill(t *testing.T) {
	client, _ := killed(t)
	killIt()
	eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := client.Keys.ListKeys(ctx, &gatewayv1.ListKeysRequest{})
		return err == nil
	})
}
