package gateway

import (
	"context"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/codes"
)

const (
	firstWait   = 100 * time.Millisecond
	longestWait = 5 * time.Second
)

// reconnects says how long to wait before a stream is opened again. The caller gets the failure of the first connection.
type reconnects struct {
	chance    func() float64 // in [0, 1)
	hasWorked bool
	failures  int
}

func newReconnects() *reconnects { return &reconnects{chance: rand.Float64} }

// worked notes that the stream has delivered something.
func (r *reconnects) worked() { r.hasWorked, r.failures = true, 0 }

// waitAfter returns how long to wait after a stream ended, with an error or not; or the error, if it is final.
func (r *reconnects) waitAfter(err error) (time.Duration, error) {
	if err != nil && !r.passes(err) {
		return 0, err
	}
	r.failures++
	longest := min(longestWait, firstWait<<min(r.failures, 10))
	asked, _ := RetryAfter(err)
	return max(asked, time.Duration(float64(longest)*(0.5+r.chance()/2))), nil
}

func (r *reconnects) passes(err error) bool {
	failed, ok := asError(err)
	if !ok {
		return false
	}
	if failed.FromGateway() {
		return failed.RetryAfter > 0 || failed.Code == codes.Unavailable
	}
	switch failed.Code {
	case codes.Unavailable, codes.Canceled, codes.Internal, codes.Unknown, codes.DeadlineExceeded:
		return r.hasWorked
	}
	return false
}

// sleep waits; its error is that of the context.
func sleep(ctx context.Context, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
