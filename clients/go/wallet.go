package gateway

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	gatewayv1 "phoenix.internal/gateway/v1"

	"google.golang.org/grpc/codes"
)

// maxWebhookBytes is the largest body that the gateway takes.
const maxWebhookBytes = 1 << 20

// retryAfterSeconds is in each 503 of this side.
const retryAfterSeconds = "2"

const unavailableBody = `{"type":"ERROR","error":"temporarily_unavailable"}`

// WalletOptions say whose webhooks come, where that is not the caller's only operator and environment.
type WalletOptions struct {
	OperatorCode string
	Environment  gatewayv1.PhoenixEnvironment
	// Route is set by a wallet that mounts its webhooks at other paths than Phoenix names.
	Route gatewayv1.WalletRoute
}

// Reply is an HTTP answer for Phoenix.
type Reply struct {
	Status int
	Header http.Header
	Body   []byte
	Err    error // the failure behind a 503, for the log
}

// WriteTo sends the answer.
func (r *Reply) WriteTo(writer http.ResponseWriter) {
	for name, values := range r.Header {
		writer.Header()[name] = values
	}
	writer.WriteHeader(r.Status)
	_, _ = writer.Write(r.Body)
}

// failureReply returns 503: Phoenix sends the webhook again. Every other status could end a payout.
func failureReply(err error) *Reply {
	header := http.Header{"Content-Type": {"application/json"}, "Retry-After": {retryAfterSeconds}}
	return &Reply{Status: http.StatusServiceUnavailable, Header: header, Body: []byte(unavailableBody), Err: err}
}

// outcomeReply returns the wallet's own answer.
func outcomeReply(status int, body []byte) *Reply {
	kind := "application/json"
	if status == http.StatusUnprocessableEntity {
		kind = "application/problem+json"
	}
	return &Reply{Status: status, Header: http.Header{"Content-Type": {kind}}, Body: body}
}

// WalletCall is what became of a webhook. If Reply is set, send it and do nothing else. Otherwise do what
// Found.Disposition says; docs/wallet.md has the table.
type WalletCall struct {
	Found *gatewayv1.VerifyWalletResponse // empty if the call failed
	Body  []byte                          // as received
	Reply *Reply

	// Outcome is what will be recorded for a move, besides the status and the body of the answer. Add what the wallet
	// knows, such as OperatorTransactionId.
	Outcome *gatewayv1.RecordWalletOutcomeRequest
}

// IsMove reports whether to execute the move: it is new, or an earlier attempt of it was never finished. Execute it once,
// under a unique key of the ledger on operation and idempotency key.
func (c *WalletCall) IsMove() bool {
	moves := []gatewayv1.WalletDisposition{
		gatewayv1.WalletDisposition_WALLET_DISPOSITION_NEW, gatewayv1.WalletDisposition_WALLET_DISPOSITION_RECLAIMED,
	}
	return c.Reply == nil && slices.Contains(moves, c.Found.GetDisposition())
}

// VerifyWebhook verifies a webhook of Phoenix and claims its move. It never fails: a failure is the reply 503.
//
// The signature is over the raw body, so nothing may read or unpack it before. The body can be read again afterwards.
func (c *Client) VerifyWebhook(request *http.Request, options WalletOptions) *WalletCall {
	body, err := rawBody(request)
	if err != nil {
		return c.failedCall(request.Context(), err)
	}
	target := request.RequestURI
	if target == "" && request.URL != nil { // a request that no server received
		target = request.URL.RequestURI()
	}
	asked := &gatewayv1.VerifyWalletRequest{
		OperatorCode: options.OperatorCode,
		Environment:  options.Environment,
		Method:       request.Method,
		Path:         strings.ToValidUTF8(target, "\uFFFD"),
		Headers:      rawHeaders(request.Header),
		RawBody:      body,
		Route:        options.Route,
	}
	found, err := c.Wallet.VerifyWallet(request.Context(), asked)
	if err != nil {
		return c.failedCall(request.Context(), err)
	}
	return c.walletCall(request.Context(), found, body)
}

// walletCall returns the call for an answer of the gateway. What neither refuses nor says what to do is 503.
func (c *Client) walletCall(ctx context.Context, found *gatewayv1.VerifyWalletResponse, body []byte) *WalletCall {
	outcome := &gatewayv1.RecordWalletOutcomeRequest{OperationId: found.GetOperationId(), Attempt: found.GetAttempt()}
	call := &WalletCall{Found: found, Body: body, Outcome: outcome}
	if reply := found.GetReply(); reply != nil {
		header := http.Header{"Content-Type": {reply.GetContentType()}}
		if seconds := reply.GetRetryAfterSeconds(); seconds > 0 {
			header.Set("Retry-After", strconv.Itoa(int(seconds)))
		}
		if reply.GetStatus() < 200 || reply.GetStatus() > 599 {
			return c.failedCall(ctx, unreadable("The gateway gave no status to answer the webhook with."))
		}
		call.Reply = &Reply{Status: int(reply.GetStatus()), Header: header, Body: reply.GetBody()}
		return call
	}
	left := []gatewayv1.WalletDisposition{
		gatewayv1.WalletDisposition_WALLET_DISPOSITION_REPLAY, // whose body is stored elsewhere
		gatewayv1.WalletDisposition_WALLET_DISPOSITION_STATUS_PROBE,
		gatewayv1.WalletDisposition_WALLET_DISPOSITION_NOT_A_MOVE,
	}
	isVerified := found.GetVerdict() == gatewayv1.WalletVerdict_WALLET_VERDICT_VERIFIED
	if !isVerified || !call.IsMove() && !slices.Contains(left, found.GetDisposition()) {
		return c.failedCall(ctx, unreadable("The gateway neither refused the webhook nor said what to do with it."))
	}
	return call
}

// RecordOutcome records what the wallet did, and returns the reply for Phoenix. It never fails: a failure is the reply
// 503, and Phoenix sends the move again, which the ledger knows then.
//
// It goes on when the context is cancelled, because the move was made: only its values count.
func (c *Client) RecordOutcome(ctx context.Context, call *WalletCall, status int, body []byte) *Reply {
	outcome := call.Outcome
	if outcome == nil {
		return c.failed(ctx, unreadable("The webhook was not verified: there is no outcome to record."))
	}
	outcome.ResponseStatus = int32(status)
	outcome.Response = &gatewayv1.RecordWalletOutcomeRequest_ResponseBody{ResponseBody: body}
	if _, err := c.Wallet.RecordWalletOutcome(context.WithoutCancel(ctx), outcome); err != nil {
		return c.failed(ctx, err)
	}
	return outcomeReply(status, body)
}

func (c *Client) failedCall(ctx context.Context, err error) *WalletCall {
	return &WalletCall{Found: &gatewayv1.VerifyWalletResponse{}, Reply: c.failed(ctx, err)}
}

// failed returns 503 and writes the cause to the log: the text of an error of this package, and only the type of any
// other, which may hold the body.
func (c *Client) failed(ctx context.Context, err error) *Reply {
	cause := fmt.Sprintf("%T", err)
	if failed, ok := asError(err); ok {
		cause = failed.Error()
	}
	c.log.WarnContext(ctx, "a wallet webhook is answered 503", "cause", cause)
	return failureReply(err)
}

// rawBody reads the body and puts it back. Its error is ErrWebhookUnreadable if the body is not what was received: its
// signature would be "wrong".
func rawBody(request *http.Request) ([]byte, error) {
	if request.Body == nil {
		return nil, nil
	}
	body, err := io.ReadAll(io.LimitReader(request.Body, maxWebhookBytes+1))
	if err != nil {
		return nil, unreadable("The body did not arrive whole (%T).", err)
	}
	if len(body) > maxWebhookBytes {
		return nil, unreadable("The body is larger than %d bytes, which no webhook of Phoenix is.", maxWebhookBytes)
	}
	isChunked := slices.Contains(request.TransferEncoding, "chunked")
	if request.ContentLength >= 0 && int64(len(body)) != request.ContentLength || isChunked && len(body) == 0 {
		return nil, unreadable("The body was read before, or unpacked. Verify the webhook before anything else reads it.")
	}
	request.Body = newBody(body)
	return body, nil
}

func unreadable(format string, arguments ...any) *Error {
	return localError(ErrWebhookUnreadable, codes.InvalidArgument, EffectNone, fmt.Sprintf(format, arguments...))
}

func rawHeaders(header http.Header) []*gatewayv1.HttpHeader {
	var headers []*gatewayv1.HttpHeader
	for name, values := range header {
		for _, value := range values {
			headers = append(headers, &gatewayv1.HttpHeader{Name: name, RawValue: []byte(value)})
		}
	}
	return headers
}
