package gateway

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"

	"google.golang.org/grpc/codes"
)

type walletCallKey struct{}

// WalletCallFrom returns the verified webhook of a request that [Client.WalletHandler] passed on, otherwise nil.
func WalletCallFrom(ctx context.Context) *WalletCall {
	call, _ := ctx.Value(walletCallKey{}).(*WalletCall)
	return call
}

// WalletHandler verifies each webhook before `next`, and records the outcome of each move before Phoenix gets it.
//
//   - What the gateway refuses or has answered before, it answers itself; `next` is not called.
//   - Everything else goes to `next`, which finds the webhook with [WalletCallFrom] and answers. The answer to a move is
//     recorded as its outcome; `next` may add to WalletCall.Outcome.
//   - Every failure is 503, so that Phoenix sends the webhook again: of the gateway, of recording, a panic of `next`, no
//     answer at all, and each status that Phoenix would take as final although the wallet has decided nothing. Of a
//     move only 2xx and 422 (refused) are outcomes; others are recorded only if WalletCall.Outcome.Final is set.
//     Of other webhooks 3xx, 400, 401, 403 and 405 become 503.
//
// Give the handler to http.Server itself. http.ServeMux would redirect a path with a doubled slash and answer 404 for
// others; the gateway knows all of Phoenix's paths.
func (c *Client) WalletHandler(next http.Handler, options WalletOptions) http.Handler {
	return http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		call := c.VerifyWebhook(request, options)
		reply := call.Reply
		if reply == nil {
			reply = c.answer(next, request, call)
		}
		reply.WriteTo(writer)
	})
}

func (c *Client) answer(next http.Handler, request *http.Request, call *WalletCall) *Reply {
	ctx := request.Context()
	answer := &heldAnswer{header: http.Header{}}
	if err := serve(next, answer, request.WithContext(context.WithValue(ctx, walletCallKey{}, call))); err != nil {
		return c.failed(ctx, err)
	}
	status, body := answer.status, answer.body.Bytes()
	answer.header.Del("Content-Length") // net/http counts what is sent
	if !call.IsMove() {
		if !isAnswer(status) {
			return c.failed(ctx, undecided("The wallet answered %d to a verified webhook.", status))
		}
		return withHeader(outcomeReply(status, body), answer.header)
	}
	if !isOutcome(status) && !call.Outcome.GetFinal() {
		return c.failed(ctx, undecided("The wallet answered %d to a verified move, which is no outcome.", status))
	}
	reply := c.RecordOutcome(ctx, call, status, body)
	if reply.Err != nil {
		return reply
	}
	return withHeader(reply, answer.header)
}

func withHeader(reply *Reply, header http.Header) *Reply {
	for name, values := range header {
		reply.Header[name] = values
	}
	return reply
}

func isOutcome(status int) bool {
	return status >= 200 && status < 300 || status == http.StatusUnprocessableEntity
}

// isAnswer reports whether Phoenix may get a status for a webhook that moves nothing.
func isAnswer(status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusMethodNotAllowed:
		return false
	}
	return status >= 200 && status < 300 || status >= 400
}

// serve calls the wallet. Its error is a panic, or that the wallet has written nothing.
func serve(next http.Handler, answer *heldAnswer, request *http.Request) (err error) {
	defer func() {
		if recovered := recover(); recovered != nil {
			err = undecided("The wallet panicked (%T).", recovered) // its text may hold the body
		}
	}()
	next.ServeHTTP(answer, request)
	if answer.status == 0 {
		return undecided("The wallet wrote no answer.")
	}
	return nil
}

func undecided(format string, arguments ...any) *Error {
	return localError("", codes.Unavailable, EffectMaybe, fmt.Sprintf(format, arguments...))
}

// heldAnswer keeps an answer until its outcome is recorded.
type heldAnswer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *heldAnswer) Header() http.Header { return a.header }

func (a *heldAnswer) WriteHeader(status int) {
	if a.status == 0 && status >= 200 { // 1xx is no answer
		a.status = status
		a.header = a.header.Clone()
	}
}

func (a *heldAnswer) Write(body []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(body)
}

func newBody(body []byte) io.ReadCloser { return io.NopCloser(bytes.NewReader(body)) }
