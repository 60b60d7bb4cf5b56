package gateway

import (
	"context"
	"regexp"
	"testing"

	gatewayv1 "phoenix.internal/gateway/v1"

	"google.golang.org/grpc/metadata"
)

var uuidv7 = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

// Ids of one moment are distinct and have the form of RFC 9562.
func TestEventIDs(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := NewEventID()
		if !uuidv7.MatchString(id) || seen[id] {
			t.Fatal(id)
		}
		seen[id] = true
	}
}

// Each event without an id gets one, whatever the request; an id of the caller stays.
func TestEventsGetIDs(t *testing.T) {
	one := &gatewayv1.SubmitEventRequest{Event: &gatewayv1.Event{}}
	many := &gatewayv1.SubmitEventsRequest{Events: []*gatewayv1.Event{{}, {EventId: "mine"}}}
	stream := &gatewayv1.StreamEventsRequest{Events: []*gatewayv1.Event{{}}}
	for _, request := range []any{one, many, stream, &gatewayv1.SubmitEventRequest{}, &gatewayv1.ListKeysRequest{}} {
		giveEventIDs(request)
	}
	made := []string{one.Event.EventId, many.Events[0].EventId, stream.Events[0].EventId}
	giveEventIDs(one)
	for _, id := range made {
		if !uuidv7.MatchString(id) {
			t.Errorf("%q is no id", id)
		}
	}
	if many.Events[1].EventId != "mine" || one.Event.EventId != made[0] {
		t.Error("an id was replaced")
	}
}

// An id of the caller is kept; otherwise one is made and sent.
func TestRequestIDs(t *testing.T) {
	mine := metadata.AppendToOutgoingContext(context.Background(), requestIDKey, "req-1")
	if _, id := withRequestID(mine); id != "req-1" {
		t.Error(id)
	}
	made, id := withRequestID(context.Background())
	if sent, _ := metadata.FromOutgoingContext(made); len(sent[requestIDKey]) != 1 || sent[requestIDKey][0] != id {
		t.Error(sent)
	}
}
