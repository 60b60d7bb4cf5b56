package gateway

import (
	"context"
	"errors"
	"io"
	"iter"

	gatewayv1 "phoenix.internal/gateway/v1"
)

// WatchLeaderboard yields the board now and after each change, until the context ends: also over resyncs, lost
// connections and restarts of the gateway. After a lost connection comes the whole board again, with a new epoch.
//
//	for board, err := range client.WatchLeaderboard(ctx, request) {
//
// An error is the last that it yields: the first connection failed, the gateway refuses (such as ErrNotAllowed), or the
// context ended.
func (c *Client) WatchLeaderboard(
	ctx context.Context, request *gatewayv1.WatchLeaderboardRequest,
) iter.Seq2[*gatewayv1.WatchLeaderboardResponse, error] {
	return func(yield func(*gatewayv1.WatchLeaderboardResponse, error) bool) {
		reconnects := newReconnects()
		for {
			isOver, err := c.watchOnce(ctx, request, reconnects, yield)
			if isOver {
				return
			}
			if ctx.Err() != nil {
				yield(nil, ctx.Err())
				return
			}
			wait, final := reconnects.waitAfter(err)
			if final != nil {
				yield(nil, final)
				return
			}
			c.log.Warn("the watch ended and is opened again",
				"leaderboard_id", request.GetLeaderboardId(), "wait", wait, "error", err)
			if err := sleep(ctx, wait); err != nil {
				yield(nil, err)
				return
			}
		}
	}
}

// watchOnce yields the boards of one stream. It returns true if the caller wants no more.
func (c *Client) watchOnce(
	ctx context.Context, request *gatewayv1.WatchLeaderboardRequest, reconnects *reconnects,
	yield func(*gatewayv1.WatchLeaderboardResponse, error) bool,
) (isOver bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.Leaderboards.WatchLeaderboard(ctx, request)
	if err != nil {
		return false, err
	}
	for {
		board, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		reconnects.worked()
		if !yield(board, nil) {
			return true, nil
		}
	}
}
