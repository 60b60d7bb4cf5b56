package gateway

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	gatewayv1 "phoenix.internal/gateway/v1"
)

// window is how many messages may be without an answer: a few more than a gateway reads ahead.
const window = 6

// EventStreamOptions say how the events of a stream are delivered. The zero value is durable delivery for the caller's
// only tenant.
type EventStreamOptions struct {
	TenantID string
	// Direct: the gateway answers after Phoenix. A message whose gateway was restarted then ends as ErrOutcomeUnknown,
	// because nobody remembers whether it counted. Otherwise the gateway answers when its store has the events.
	Direct bool
	// ResendUnknown sends such a message again: only where Phoenix deduplicates.
	ResendUnknown bool
}

func (o EventStreamOptions) delivery() gatewayv1.Delivery {
	if o.Direct {
		return gatewayv1.Delivery_DELIVERY_DIRECT
	}
	return gatewayv1.Delivery_DELIVERY_DURABLE
}

// SentEvents is where the results of one message will be.
type SentEvents struct {
	done    chan struct{}
	results []*gatewayv1.EventResult
	err     error
}

// Done returns a channel that is closed when the results are there.
func (s *SentEvents) Done() <-chan struct{} { return s.done }

// Results waits for the results, one for each event in their order. [ItemError] is the error of one that failed. The
// error is that of the stream, or of the context.
func (s *SentEvents) Results(ctx context.Context) ([]*gatewayv1.EventResult, error) {
	select {
	case <-s.done:
		return s.results, s.err
	default:
	}
	select {
	case <-s.done:
		return s.results, s.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *SentEvents) set(results []*gatewayv1.EventResult, err error) {
	s.results, s.err = results, err
	close(s.done)
}

// EventStream sends events over a stream that survives lost connections. It keeps what the gateway has not acknowledged,
// and sends it again under its ids where that cannot count twice. It is safe for use by several goroutines.
type EventStream struct {
	client *Client
	ctx    context.Context
	cancel context.CancelFunc
	ended  chan struct{}

	mu         sync.Mutex
	changed    chan struct{} // closed at each change of what follows
	pending    unacknowledged
	reconnects *reconnects
	isClosing  bool
	failure    error
}

// EventStream opens a stream of events. End it with Close; the end of the context ends it at once, as Cancel does.
func (c *Client) EventStream(ctx context.Context, options EventStreamOptions) *EventStream {
	stream := &EventStream{
		client:     c,
		ended:      make(chan struct{}),
		changed:    make(chan struct{}),
		pending:    unacknowledged{options: options, now: time.Now},
		reconnects: newReconnects(),
	}
	stream.ctx, stream.cancel = context.WithCancel(ctx)
	go stream.run()
	return stream
}

// Send hands over a message of 1 to 1,000 events and returns where their results will be. It waits while too many
// messages have no answer. Do not change the events afterwards. An event that fails does not fail the stream; the error
// is that of a stream that has failed or is closed, or of the context.
func (s *EventStream) Send(ctx context.Context, events ...*gatewayv1.Event) (*SentEvents, error) {
	result := &SentEvents{done: make(chan struct{})}
	err := s.wait(ctx, func() bool { return len(s.pending.messages) < window || s.failure != nil }, func() error {
		if s.failure != nil {
			return s.failure
		}
		if s.isClosing {
			return errors.New("the event stream is closed")
		}
		s.pending.add(events, result)
		s.notify()
		return nil
	})
	if err != nil {
		return nil, err
	}
	return result, nil
}

// Flush waits until every message is answered. The error is that of a stream that has failed, or of the context.
func (s *EventStream) Flush(ctx context.Context) error {
	isDone := func() bool { return len(s.pending.messages) == 0 || s.failure != nil }
	return s.wait(ctx, isDone, func() error { return s.failure })
}

// Close waits until every message is answered and ends the stream. If the context ends before, what has no answer gets
// ErrOutcomeUnknown, as with Cancel.
func (s *EventStream) Close(ctx context.Context) error {
	s.mu.Lock()
	s.isClosing = true
	s.notify()
	s.mu.Unlock()
	err := s.Flush(ctx)
	if err == nil {
		select {
		case <-s.ended:
		case <-ctx.Done(): // every message is answered: nothing is lost
		}
	}
	s.Cancel()
	return err
}

// Cancel ends the stream at once. Messages without an answer get ErrOutcomeUnknown.
func (s *EventStream) Cancel() {
	s.cancel()
	<-s.ended
}

// wait calls `then` under the lock as soon as `holds` is true.
func (s *EventStream) wait(ctx context.Context, holds func() bool, then func() error) error {
	s.mu.Lock()
	for !holds() {
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
		s.mu.Lock()
	}
	defer s.mu.Unlock()
	return then()
}

func (s *EventStream) notify() {
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *EventStream) fail(failure error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failure = failure
	for _, one := range s.pending.takeAll() {
		one.result.set(nil, errorFor(one, failure))
	}
	s.notify()
}

func (s *EventStream) run() {
	defer close(s.ended)
	for {
		err := s.overOneStream()
		if s.ctx.Err() != nil {
			s.fail(neverAnswered())
			return
		}
		wait, isOver, final := s.afterStream(err)
		if final != nil {
			s.fail(final)
			return
		}
		if isOver {
			return
		}
		s.client.log.Warn("the event stream ended and is opened again", "wait", wait, "error", err)
		_ = sleep(s.ctx, wait)
	}
}

func (s *EventStream) afterStream(err error) (wait time.Duration, isOver bool, final error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isClosing && len(s.pending.messages) == 0 {
		return 0, true, nil
	}
	if failed, ok := asError(err); ok && failed.FromGateway() && failed.Effect == EffectNone {
		s.pending.refused()
	}
	s.pending.over()
	wait, final = s.reconnects.waitAfter(err)
	return wait, false, final
}

func (s *EventStream) overOneStream() error {
	ctx, cancel := context.WithCancel(s.ctx)
	var sending sync.WaitGroup
	defer sending.Wait()
	defer cancel()
	stream, err := s.client.Events.StreamEvents(ctx)
	if err != nil {
		return err
	}
	header, err := stream.Header() // nil if the gateway refuses: Recv has the error
	if err != nil {
		return err
	}
	if header != nil {
		s.begin(first(header.Get(processKey)))
		sending.Add(1)
		go func() {
			defer sending.Done()
			s.send(ctx, stream)
		}()
	}
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		s.acknowledge(response)
	}
}

func (s *EventStream) begin(process string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reconnects.worked()
	for _, one := range s.pending.begin(process) {
		one.result.set(nil, outcomeUnknown())
	}
	s.notify()
}

func (s *EventStream) acknowledge(response *gatewayv1.StreamEventsResponse) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if answered := s.pending.acknowledge(response.GetSequence()); answered != nil {
		answered.result.set(response.GetResults(), nil)
		s.notify()
	}
}

// send sends the messages of one stream as they come.
func (s *EventStream) send(ctx context.Context, stream gatewayv1.EventService_StreamEventsClient) {
	for {
		var request *gatewayv1.StreamEventsRequest
		hasWork := func() bool { return s.pending.hasUnsent() || s.isClosing }
		err := s.wait(ctx, hasWork, func() error {
			if ctx.Err() == nil && s.pending.hasUnsent() {
				request = s.pending.next()
			}
			return ctx.Err()
		})
		if err != nil {
			return
		}
		if request == nil {
			_ = stream.CloseSend()
			return
		}
		if stream.Send(request) != nil {
			return // Recv has the error
		}
	}
}

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}
