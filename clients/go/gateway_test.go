package gateway

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"phoenix.internal/gateway/gatewaytest"
	gatewayv1 "phoenix.internal/gateway/v1"

	"google.golang.org/protobuf/proto"
)

const testBoard = "go-client"

// TestWithAGateway runs what needs one: each part against the same gateway before a local Phoenix.
func TestWithAGateway(t *testing.T) {
	if gatewaytest.Command() == nil {
		t.Skip("phoenix-gateway is not installed: put it on the PATH, or name its command in PHOENIX_GATEWAY_COMMAND")
	}
	found := &started{gatewaytest.Start(t)}
	for name, part := range map[string]func(*testing.T, *started){
		"a repeated request is the same event":           testRepeatedRequest,
		"a reused id is its own error":                   testReusedID,
		"a rate limit says how long to wait":             testRateLimit,
		"a faulty field is named":                        testFaultyField,
		"a failed item of a batch has its own error":     testBatch,
		"an unknown method is a version mismatch":        testVersionMismatch,
		"a deadline of the caller holds":                 testDeadline,
		"a call whose connection broke may have counted": testLostConnection,
		"events survive a lost connection":               testEventsSurvive,
		"direct events go again to the same process":     testDirectEventsSurvive,
		"a cancelled stream answers every message":       testCancelledStream,
		"a watch continues over a lost connection":       testWatchContinues,
		"a watch ends with its context":                  testWatchEnds,
		"a watch of nothing is refused":                  testWatchRefused,
		"a move is verified, recorded and replayed":      testMove,
		"a forged webhook is refused":                    testForged,
		"a wallet that decides nothing answers 503":      testUndecidedWallet,
		"an outcome is recorded although Phoenix left":   testOutcomeAfterCancel,
	} {
		t.Run(name, func(t *testing.T) {
			if err := found.Reset(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := found.CreateBoard(t.Context(), found.TenantID, testBoard, map[string]float64{"ada": 1}); err != nil {
				t.Fatal(err)
			}
			part(t, found)
		})
	}
}

type started struct{ *gatewaytest.Gateway }

// dial returns a client of the gateway, or of what stands before it.
func dial(t *testing.T, target string, options ...Option) *Client {
	t.Helper()
	quiet := WithLogger(slog.New(slog.DiscardHandler))
	client, err := Dial(target, append([]Option{quiet}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func scored(id string, score float64) *gatewayv1.Event {
	return &gatewayv1.Event{EventId: id, LeaderboardId: testBoard, UserId: "ada", ScoreDelta: proto.Float64(score)}
}

// freeAddress returns an address where nothing listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener := listen(t)
	_ = listener.Close()
	return listener.Addr().String()
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener
}

// cable passes bytes between a client and a gateway until it is cut.
type cable struct {
	address string
	mu      sync.Mutex
	ends    []net.Conn
}

func newCable(t *testing.T, target string) *cable {
	listener := listen(t)
	made := &cable{address: listener.Addr().String()}
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", target)
			if err != nil {
				_ = near.Close()
				continue
			}
			made.mu.Lock()
			made.ends = append(made.ends, near, far)
			made.mu.Unlock()
			go pass(near, far)
			go pass(far, near)
		}
	}()
	t.Cleanup(made.cut)
	return made
}

func pass(to, from net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		read, err := from.Read(buffer)
		if read > 0 {
			if _, err := to.Write(buffer[:read]); err != nil {
				return
			}
		}
		if err != nil {
			_ = to.Close()
			return
		}
	}
}

// cut breaks all connections; new ones are passed.
func (c *cable) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, end := range c.ends {
		_ = end.Close()
	}
	c.ends = nil
}

// countTwice lets Phoenix count an event as often as it comes, until the test ends.
func countTwice(t *testing.T, control *gatewaytest.Control) {
	t.Helper()
	set := func(ctx context.Context, dedupe bool) {
		if err := control.Do(ctx, "POST", "/settings", map[string]any{"dedupe": dedupe}, nil); err != nil {
			t.Error(err)
		}
	}
	set(t.Context(), false)
	t.Cleanup(func() { set(context.Background(), true) })
}

func eventually(t *testing.T, holds func() bool) {
	t.Helper()
	for until := time.Now().Add(30 * time.Second); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("it did not happen within 30 s")
		}
	}
}

func within(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}
