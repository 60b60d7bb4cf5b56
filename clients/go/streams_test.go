package gateway

import (
	"context"
	"errors"
	"testing"
	"time"

	gatewayv1 "phoenix.internal/gateway/v1"
)

// sendOverCuts sends 40 messages, and cuts the connection after each tenth.
func sendOverCuts(t *testing.T, g *started, options EventStreamOptions) map[gatewayv1.EventStatus]int {
	ctx := within(t, 60*time.Second)
	if !options.Direct { // a direct event that was cut off on its way goes again where Phoenix is said to deduplicate
		countTwice(t, g.Control)
	}
	cable := newCable(t, g.Address)
	stream := dial(t, cable.address).EventStream(ctx, options)
	var sent []*SentEvents
	for number := range 40 {
		one, err := stream.Send(ctx, scored("", 1))
		if err != nil {
			t.Fatal(err)
		}
		sent = append(sent, one)
		if number%10 == 9 {
			cable.cut()
		}
	}
	if err := stream.Close(ctx); err != nil {
		t.Fatal(err)
	}
	statuses := map[gatewayv1.EventStatus]int{}
	for _, one := range sent {
		results, err := one.Results(ctx)
		if err != nil {
			t.Fatal(err)
		}
		statuses[results[0].Status]++
	}
	eventually(t, func() bool { events, _, _ := g.Effects(ctx); return events >= 40 })
	if events, moreThanOnce, err := g.Effects(ctx); events != 40 || len(moreThanOnce) > 0 || err != nil {
		t.Errorf("%d events, more than once: %v, %v", events, moreThanOnce, err)
	}
	return statuses
}

// What had no answer is sent again, and counts once.
func testEventsSurvive(t *testing.T, g *started) {
	statuses := sendOverCuts(t, g, EventStreamOptions{})
	if statuses[gatewayv1.EventStatus_EVENT_STATUS_QUEUED]+statuses[gatewayv1.EventStatus_EVENT_STATUS_DUPLICATE] != 40 {
		t.Error(statuses)
	}
}

// The process that had a direct event remembers its id.
func testDirectEventsSurvive(t *testing.T, g *started) {
	statuses := sendOverCuts(t, g, EventStreamOptions{Direct: true})
	if statuses[gatewayv1.EventStatus_EVENT_STATUS_ACCEPTED]+statuses[gatewayv1.EventStatus_EVENT_STATUS_DUPLICATE] != 40 {
		t.Error(statuses)
	}
}

// The end of the context, too, leaves no message without an answer.
func testCancelledStream(t *testing.T, g *started) {
	if err := g.Fault(t.Context(), map[string]any{"surface": "ingestion", "kind": "hang"}); err != nil {
		t.Fatal(err)
	}
	client := dial(t, g.Address)
	for name, end := range map[string]func(*EventStream, context.CancelFunc){
		"Cancel":  func(stream *EventStream, _ context.CancelFunc) { stream.Cancel() },
		"context": func(_ *EventStream, cancel context.CancelFunc) { cancel() },
		"Close": func(stream *EventStream, _ context.CancelFunc) {
			if err := stream.Close(within(t, 100*time.Millisecond)); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		},
	} {
		ctx, cancel := context.WithCancel(within(t, 30*time.Second))
		stream := client.EventStream(ctx, EventStreamOptions{Direct: true})
		waiting, err := stream.Send(t.Context(), scored("", 1))
		if err != nil {
			t.Fatal(err)
		}
		end(stream, cancel)
		if _, err := waiting.Results(within(t, 10*time.Second)); !errors.Is(err, ErrOutcomeUnknown) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := stream.Send(within(t, 10*time.Second), scored("", 1)); err == nil {
			t.Errorf("%s: the ended stream takes events", name)
		}
		cancel()
	}
}

// A refused stream fails its messages, the next Send and Close.
func TestAStreamWithoutAGateway(t *testing.T) {
	ctx := within(t, 30*time.Second)
	stream := dial(t, freeAddress(t)).EventStream(ctx, EventStreamOptions{})
	sent, err := stream.Send(ctx, scored("", 1))
	if err == nil { // otherwise the stream has failed before
		_, err = sent.Results(ctx)
	}
	if !errors.Is(err, ErrGatewayUnreachable) {
		t.Error(err)
	}
	if _, err := stream.Send(ctx, scored("", 1)); !errors.Is(err, ErrGatewayUnreachable) {
		t.Error(err)
	}
	if err := stream.Close(ctx); !errors.Is(err, ErrGatewayUnreachable) {
		t.Error(err)
	}
}

// The whole board comes again after a cut, and then its changes.
func testWatchContinues(t *testing.T, g *started) {
	ctx := within(t, 30*time.Second)
	cable := newCable(t, g.Address)
	client := dial(t, cable.address)
	boards := 0
	for board, err := range client.WatchLeaderboard(ctx, &gatewayv1.WatchLeaderboardRequest{LeaderboardId: testBoard}) {
		if err != nil {
			t.Fatal(err)
		}
		entry := board.GetLeaderboard().GetEntries()[0]
		switch boards++; {
		case boards == 1:
			cable.cut()
		case boards == 2 && entry.UserId == "ada":
			request := &gatewayv1.SubmitEventRequest{Event: scored("", 41)}
			if _, err := dial(t, g.Address).Events.SubmitEvent(ctx, request); err != nil {
				t.Fatal(err)
			}
		case entry.Score == 42:
			return
		}
	}
	t.Error("the watch ended")
}

func testWatchEnds(t *testing.T, g *started) {
	ctx, cancel := context.WithCancel(within(t, 30*time.Second))
	defer cancel()
	var last error
	request := &gatewayv1.WatchLeaderboardRequest{LeaderboardId: testBoard}
	for _, err := range dial(t, g.Address).WatchLeaderboard(ctx, request) {
		cancel()
		last = err
	}
	if !errors.Is(last, context.Canceled) {
		t.Error(last)
	}
}

// A refusal is not repeated.
func testWatchRefused(t *testing.T, g *started) {
	for _, err := range dial(t, g.Address).WatchLeaderboard(within(t, 30*time.Second), &gatewayv1.WatchLeaderboardRequest{}) {
		if !errors.Is(err, ErrInvalidField) {
			t.Error(err)
		}
	}
}

// Nobody waits for ever for a wrong address.
func TestAWatchWithoutAGateway(t *testing.T) {
	request := &gatewayv1.WatchLeaderboardRequest{LeaderboardId: testBoard}
	for _, err := range dial(t, freeAddress(t)).WatchLeaderboard(within(t, 30*time.Second), request) {
		if !errors.Is(err, ErrGatewayUnreachable) {
			t.Error(err)
		}
	}
}
