package gateway

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// ItemError returns the error of one item of a batch (result.GetError()), an [*Error]; nil if the item succeeded.
func ItemError(item *statuspb.Status) error {
	if item == nil || codes.Code(item.GetCode()) == codes.OK {
		return nil
	}
	return errorOfStatus(status.FromProto(item))
}

// errorOf returns the error of a failed call. `sent`: whether any of it left this process.
func errorOf(err error, method, requestID string, sent bool) *Error {
	made := errorOfStatus(status.Convert(err))
	made.Method, made.RequestID = method, requestID
	if made.Reason != "" {
		return made
	}
	if !sent {
		made.Effect = EffectNone
	}
	switch made.Code {
	case codes.Unimplemented:
		contract, _, _ := strings.Cut(strings.Trim(method, "/"), "/")
		contract = contract[:max(strings.LastIndex(contract, "."), 0)]
		made.Reason, made.isLocal, made.Effect = ErrVersionMismatch, true, EffectNone
		made.Message = fmt.Sprintf("The gateway does not know %s of the contract %s: it is of another major version or "+
			"older than this client (%s). Install the client of the gateway's version, or have the gateway upgraded.",
			strings.Trim(method, "/"), contract, Version())
	case codes.DeadlineExceeded:
		made.Reason, made.isLocal, made.cause = ErrDeadlineExceeded, true, context.DeadlineExceeded
		made.Message = fmt.Sprintf("No answer before the deadline (%s). Check the address, then repeat the call with a "+
			"longer deadline; repeat a change only under the same id.", made.Message)
	case codes.Canceled:
		made.cause = context.Canceled
	}
	return made
}

func errorOfStatus(found *status.Status) *Error {
	made := &Error{Code: found.Code(), Message: found.Message(), Effect: EffectMaybe}
	if made.Message == "" {
		made.Message = found.Code().String()
	}
	var retryAfter time.Duration
	var fields []FieldViolation
	for _, detail := range found.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			made.Reason, made.Metadata = Reason(detail.GetReason()), detail.GetMetadata()
		case *errdetails.RetryInfo:
			retryAfter = max(detail.GetRetryDelay().AsDuration(), time.Millisecond) // zero would mean "do not repeat"
		case *errdetails.BadRequest:
			for _, one := range detail.GetFieldViolations() {
				fields = append(fields, FieldViolation{Field: one.GetField(), Description: one.GetDescription()})
			}
		}
	}
	if made.Reason == "" {
		return made // not a gateway's
	}
	made.RetryAfter, made.Fields = retryAfter, fields
	if effect, ok := made.Metadata["effect"]; ok {
		made.Effect = Effect(effect)
	}
	return made
}
