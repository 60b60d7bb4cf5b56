package gateway

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Reason says why a call failed. It is an error, so that errors.Is(err, gateway.ErrRateLimited) works.
//
// The gateway's reasons are in reasons.go. A newer gateway may send others: compare with a conversion, as in
// Reason("NEW_REASON").
type Reason string

// Error returns the reason's name.
func (r Reason) Error() string { return string(r) }

// What this side found out about a call that failed without a reason of the gateway.
const (
	// ErrVersionMismatch is a gateway of another major version, or one that is older than this client.
	ErrVersionMismatch Reason = "VERSION_MISMATCH"
	// ErrDeadlineExceeded is no answer before the deadline. Phoenix may have acted.
	ErrDeadlineExceeded Reason = "DEADLINE_EXCEEDED"
	// ErrConnectionLost is a connection that broke. If Effect is EffectMaybe, it broke during the call: repeat an
	// event only under the same event_id.
	ErrConnectionLost Reason = "CONNECTION_LOST"
	// ErrGatewayUnreachable is an address where nothing listens, or whose name is unknown.
	ErrGatewayUnreachable Reason = "GATEWAY_UNREACHABLE"
	// ErrTLSFilesUnusable is a CA, certificate or key of this side that cannot be read or used.
	ErrTLSFilesUnusable Reason = "TLS_FILES_UNUSABLE"
	// ErrGatewayNotTrusted is a certificate of the gateway that the CA file did not sign, or that is not valid now.
	ErrGatewayNotTrusted Reason = "GATEWAY_NOT_TRUSTED"
	// ErrWrongHostName is a certificate of the gateway for another name than the one called.
	ErrWrongHostName Reason = "WRONG_HOST_NAME"
	// ErrClientCertificateRequired is a gateway that accepts only callers with a certificate.
	ErrClientCertificateRequired Reason = "CLIENT_CERTIFICATE_REQUIRED"
	// ErrClientCertificateRefused is a gateway that does not accept this side's certificate.
	ErrClientCertificateRefused Reason = "CLIENT_CERTIFICATE_REFUSED"
	// ErrTLSExpected is a gateway that speaks TLS, called without it.
	ErrTLSExpected Reason = "TLS_EXPECTED"
	// ErrTLSUnexpected is a gateway without TLS, called with it.
	ErrTLSUnexpected Reason = "TLS_UNEXPECTED"
	// ErrWebhookUnreadable is a webhook whose raw parts cannot be read, such as one whose body was read before.
	ErrWebhookUnreadable Reason = "WEBHOOK_UNREADABLE"
)

var notConnected = map[Reason]bool{
	ErrConnectionLost: true, ErrGatewayUnreachable: true, ErrTLSFilesUnusable: true, ErrGatewayNotTrusted: true,
	ErrWrongHostName: true, ErrClientCertificateRequired: true, ErrClientCertificateRefused: true,
	ErrTLSExpected: true, ErrTLSUnexpected: true,
}

// Effect says whether Phoenix acted on a call that failed.
type Effect string

const (
	// EffectNone means that Phoenix certainly did not act.
	EffectNone Effect = "none"
	// EffectMaybe means that nobody knows.
	EffectMaybe Effect = "maybe"
	// EffectDone means that Phoenix acted, and its answer cannot be passed on.
	EffectDone Effect = "done"
)

// FieldViolation is one faulty field of a request.
type FieldViolation struct {
	Field       string // path, such as "event.leaderboard_id"
	Description string
}

// Error is a call that failed. Every method of a [Client] returns it; get it with errors.As.
//
// Decide by Reason, never by the text, which may change.
type Error struct {
	Reason  Reason     // the gateway's or one of this package; empty if nothing is known
	Code    codes.Code // the gRPC status
	Message string     // what is wrong, where, and what to do
	Effect  Effect     // whether Phoenix acted

	// RetryAfter is how long to wait before the same call is repeated. Zero: a repeat does not help, or is not safe.
	RetryAfter time.Duration
	Fields     []FieldViolation  // faulty fields of the request
	Metadata   map[string]string // further facts of the gateway, such as the event_id

	Method    string // such as "/phoenix.gateway.v1.EventService/SubmitEvent"
	RequestID string // name it when you report the failure: the gateway's log line has the same id

	isLocal bool
	cause   error
}

// Error returns the text for a log.
func (e *Error) Error() string {
	var text strings.Builder
	if e.Reason != "" {
		text.WriteString(string(e.Reason) + ": ")
	}
	text.WriteString(e.Message)
	switch {
	case e.Method != "" && e.RequestID != "":
		fmt.Fprintf(&text, " (%s, request %s)", e.Method, e.RequestID)
	case e.Method != "":
		fmt.Fprintf(&text, " (%s)", e.Method)
	}
	return text.String()
}

// Is reports whether target is the reason of this failure.
func (e *Error) Is(target error) bool {
	reason, ok := target.(Reason)
	return ok && reason != "" && reason == e.Reason
}

// Unwrap returns context.Canceled or context.DeadlineExceeded where the context ended the call, otherwise nil.
func (e *Error) Unwrap() error { return e.cause }

// GRPCStatus returns the status, so that status.Code and status.FromError know this error.
func (e *Error) GRPCStatus() *status.Status { return status.New(e.Code, e.Message) }

// FromGateway reports whether the gateway itself gave the reason.
func (e *Error) FromGateway() bool { return e.Reason != "" && !e.isLocal }

// IsRateLimited reports whether a limit was reached: the caller's, the gateway's or Phoenix's. RetryAfter says how
// long to wait.
func IsRateLimited(err error) bool {
	return errors.Is(err, ErrRateLimited) || errors.Is(err, ErrOverloaded) || errors.Is(err, ErrPhoenixRateLimited)
}

// IsNotConnected reports whether there was no usable connection. The text names the cause and what to do.
func IsNotConnected(err error) bool {
	failed, ok := asError(err)
	return ok && failed.isLocal && notConnected[failed.Reason]
}

// RetryAfter returns how long to wait before the same call is repeated; false: a repeat does not help, or is not safe.
func RetryAfter(err error) (time.Duration, bool) {
	failed, ok := asError(err)
	if !ok || failed.RetryAfter <= 0 {
		return 0, false
	}
	return failed.RetryAfter, true
}

func asError(err error) (*Error, bool) {
	var failed *Error
	return failed, errors.As(err, &failed)
}

func localError(reason Reason, code codes.Code, effect Effect, message string) *Error {
	return &Error{Reason: reason, Code: code, Effect: effect, Message: message, isLocal: true}
}
