package gateway

import (
	"slices"
	"time"

	gatewayv1 "phoenix.internal/gateway/v1"

	"google.golang.org/grpc/codes"
)

// processKey is metadata of an event stream: it identifies the gateway process.
const processKey = "x-gateway-process"

// remembered is how long an event id can be relied on. The gateway remembers it for 24 h.
const remembered = 23 * time.Hour

// message is events that are sent together, and where their results go.
type message struct {
	request *gatewayv1.StreamEventsRequest
	result  *SentEvents
	isSent  bool   // some process may have it
	hadBy   string // this one; empty if it did not say its name
	sentAt  time.Time
	stream  int // the number of the stream over which it got there
}

// unacknowledged is the messages of an event stream that have no answer so far, in their order.
//
// A message is sent again under its event ids only where the gateway remembers these ids, so that nothing counts twice:
// durable events in its store, direct ones in the process that had them. Otherwise its outcome is unknown, and the
// caller decides. Source: "Deduplication" in docs/api.md.
type unacknowledged struct {
	options  EventStreamOptions
	now      func() time.Time
	messages []*message
	sent     int // over the present stream
	process  string
	stream   int // the number of the present stream
	sequence uint64
}

// hasUnsent reports whether a message waits to be sent over the present stream.
func (u *unacknowledged) hasUnsent() bool { return u.sent < len(u.messages) }

// add adds a message. Its events get ids.
func (u *unacknowledged) add(events []*gatewayv1.Event, result *SentEvents) {
	u.sequence++
	request := &gatewayv1.StreamEventsRequest{
		TenantId: u.options.TenantID, Events: events, Sequence: u.sequence, Delivery: u.options.delivery(),
	}
	giveEventIDs(request)
	u.messages = append(u.messages, &message{request: request, result: result})
}

// begin starts again over a new stream. It returns the messages that must not be sent again, and forgets them.
func (u *unacknowledged) begin(process string) (inDoubt []*message) {
	u.process, u.sent = process, 0
	u.stream++
	u.messages = slices.DeleteFunc(u.messages, func(one *message) bool {
		if u.maySend(one) {
			return false
		}
		inDoubt = append(inDoubt, one)
		return true
	})
	return inDoubt
}

// next returns the next message for the present stream; look at hasUnsent first.
func (u *unacknowledged) next() *gatewayv1.StreamEventsRequest {
	one := u.messages[u.sent]
	u.sent++
	if !one.isSent {
		one.isSent, one.hadBy, one.sentAt, one.stream = true, u.process, u.now(), u.stream
	}
	return one.request
}

// acknowledge returns the message that was answered, and forgets it; nil for an answer to another one.
func (u *unacknowledged) acknowledge(sequence uint64) *message {
	if u.sent == 0 || u.messages[0].request.GetSequence() != sequence {
		return nil
	}
	answered := u.messages[0]
	u.sent--
	u.messages = slices.Delete(u.messages, 0, 1)
	return answered
}

// refused notes that the gateway ended the present stream and has begun none of its messages that it did not
// acknowledge. What an earlier stream brought first may have been begun then.
func (u *unacknowledged) refused() {
	for _, one := range u.messages {
		if one.stream == u.stream {
			one.isSent = false
		}
	}
}

// over notes that the present stream has ended: what ends later, before another one has begun, refuses none of its
// messages.
func (u *unacknowledged) over() {
	u.stream++
	u.sent = 0
}

// errorFor returns the error of a message without an answer when its stream has failed and is not opened again. Where a
// gateway may have the message, failure need not say what became of it.
func errorFor(one *message, failure error) error {
	if failed, ok := asError(failure); one.isSent && !(ok && failed.Effect == EffectMaybe) {
		return outcomeUnknown()
	}
	return failure
}

// takeAll returns all messages and forgets them.
func (u *unacknowledged) takeAll() []*message {
	taken := u.messages
	u.messages, u.sent = nil, 0
	return taken
}

func (u *unacknowledged) maySend(one *message) bool {
	if !one.isSent || u.options.ResendUnknown {
		return true
	}
	isRemembered := !u.options.Direct || u.process != "" && u.process == one.hadBy
	return isRemembered && u.now().Sub(one.sentAt) < remembered
}

// outcomeUnknown returns the error of a message that must not be sent again.
func outcomeUnknown() *Error {
	return localError(ErrOutcomeUnknown, codes.Unknown, EffectMaybe, "The connection broke before the answer, and the "+
		"gateway that is connected now does not remember the events. Check whether they took effect before you send "+
		"them again.")
}

// neverAnswered returns the error of a message whose stream was cancelled.
func neverAnswered() *Error {
	return localError(ErrOutcomeUnknown, codes.Unknown, EffectMaybe, "The stream was cancelled before the answer.")
}
