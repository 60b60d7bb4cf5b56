package gateway

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"time"

	gatewayv1 "phoenix.internal/gateway/v1"

	"google.golang.org/grpc/metadata"
)

const requestIDKey = "x-request-id"

// NewEventID returns a UUIDv7 (RFC 9562): ids of one moment lie side by side in an index.
func NewEventID() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails: the runtime would stop the process
	low := binary.BigEndian.Uint64(id[:8]) & 0xffff
	binary.BigEndian.PutUint64(id[:8], uint64(time.Now().UnixMilli())<<16|low)
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}

// giveEventIDs gives each event of a request an id where it has none, so that a repeat of the request is the same
// events. It changes the request.
func giveEventIDs(request any) {
	switch request := request.(type) {
	case *gatewayv1.SubmitEventRequest:
		giveEventID(request.GetEvent())
	case *gatewayv1.SubmitEventsRequest:
		for _, event := range request.GetEvents() {
			giveEventID(event)
		}
	case *gatewayv1.StreamEventsRequest:
		for _, event := range request.GetEvents() {
			giveEventID(event)
		}
	}
}

func giveEventID(event *gatewayv1.Event) {
	if event != nil && event.GetEventId() == "" {
		event.EventId = NewEventID()
	}
}

// withRequestID returns the context with a request id in its metadata, and this id. An id of the caller is kept.
func withRequestID(ctx context.Context) (context.Context, string) {
	if sent, ok := metadata.FromOutgoingContext(ctx); ok {
		if given := sent.Get(requestIDKey); len(given) > 0 {
			return ctx, given[0]
		}
	}
	made := NewEventID()
	return metadata.AppendToOutgoingContext(ctx, requestIDKey, made), made
}
