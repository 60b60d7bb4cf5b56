package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
)

// diagnosisLasts is how long a cause that was found holds for other calls.
const diagnosisLasts = time.Second

// calls is what happens around every call: ids and a deadline before it, and an *Error after it.
type calls struct {
	*settings
	rules *callRules

	mu         sync.Mutex
	known      diagnosis
	knownUntil time.Time
}

func (c *calls) unary(
	ctx context.Context, method string, request, response any, connection *grpc.ClientConn, invoke grpc.UnaryInvoker,
	options ...grpc.CallOption,
) error {
	giveEventIDs(request)
	call := c.begin(ctx, method)
	if _, has := ctx.Deadline(); !has {
		if timeout := c.rules.timeout(method); timeout > 0 {
			var cancel context.CancelFunc
			call.ctx, cancel = context.WithTimeout(call.ctx, timeout)
			defer cancel()
		}
	}
	if err := invoke(call.ctx, method, request, response, connection, options...); err != nil {
		return call.failed(err)
	}
	return nil
}

func (c *calls) stream(
	ctx context.Context, description *grpc.StreamDesc, connection *grpc.ClientConn, method string, open grpc.Streamer,
	options ...grpc.CallOption,
) (grpc.ClientStream, error) {
	call := c.begin(ctx, method)
	stream, err := open(call.ctx, description, connection, method, options...)
	if err != nil {
		return nil, call.failed(err)
	}
	return &clientStream{stream, call}, nil
}

func (c *calls) begin(ctx context.Context, method string) *call {
	made := &call{calls: c, method: method}
	ctx, made.requestID = withRequestID(ctx)
	if c.token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+c.token)
	}
	made.ctx = context.WithValue(ctx, sentKey{}, &made.sent)
	return made
}

// cause returns why there is no connection. It connects, so it takes some time.
func (c *calls) cause(ctx context.Context, details string) diagnosis {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Now().Before(c.knownUntil) {
		return c.known
	}
	found := diagnose(ctx, c.target, c.tls, details)
	if ctx.Err() != nil { // it did not have its time
		return diagnosis{ErrConnectionLost, fmt.Sprintf("There is no connection to %s (%s).", c.target, details)}
	}
	c.known, c.knownUntil = found, time.Now().Add(diagnosisLasts)
	return found
}

// call is one call of a method.
type call struct {
	*calls
	ctx       context.Context
	method    string
	requestID string
	sent      atomic.Bool
}

func (c *call) failed(err error) error {
	if _, ok := asError(err); ok {
		return err
	}
	made := errorOf(err, c.method, c.requestID, c.sent.Load())
	if made.Code == codes.Unavailable && made.Reason == "" && c.ctx.Err() == nil {
		found := c.cause(c.ctx, made.Message)
		made.Reason, made.Message, made.isLocal = found.reason, found.message, true
	}
	return made
}

// clientStream gives ids to what is sent, and turns failures into *Error.
type clientStream struct {
	grpc.ClientStream
	call *call
}

func (s *clientStream) Header() (metadata.MD, error) {
	header, err := s.ClientStream.Header()
	return header, s.failed(err)
}

func (s *clientStream) SendMsg(message any) error {
	giveEventIDs(message)
	return s.failed(s.ClientStream.SendMsg(message))
}

func (s *clientStream) RecvMsg(message any) error { return s.failed(s.ClientStream.RecvMsg(message)) }

func (s *clientStream) CloseSend() error { return s.failed(s.ClientStream.CloseSend()) }

func (s *clientStream) failed(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	return s.call.failed(err)
}

// sentHandler notes whether any attempt of a call has left this process. If none has, Phoenix certainly did not act.
type sentHandler struct{}

type sentKey struct{}

func (sentHandler) HandleRPC(ctx context.Context, event stats.RPCStats) {
	if _, ok := event.(*stats.OutHeader); !ok {
		return
	}
	if sent, ok := ctx.Value(sentKey{}).(*atomic.Bool); ok {
		sent.Store(true)
	}
}

func (sentHandler) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

func (sentHandler) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

func (sentHandler) HandleConn(context.Context, stats.ConnStats) {}
