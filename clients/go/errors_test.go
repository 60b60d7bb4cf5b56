package gateway

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
)

const submit = "/phoenix.gateway.v1.EventService/SubmitEvent"

func failure(t *testing.T, code codes.Code, details ...protoadapt.MessageV1) error {
	t.Helper()
	made, err := status.New(code, "text").WithDetails(details...)
	if err != nil {
		t.Fatal(err)
	}
	return made.Err()
}

func info(reason string, metadata map[string]string) *errdetails.ErrorInfo {
	return &errdetails.ErrorInfo{Reason: reason, Domain: "gateway.phoenix", Metadata: metadata}
}

// The reason decides; wait, fields, effect and request id are members.
func TestTheDetailsOfAnError(t *testing.T) {
	violation := &errdetails.BadRequest_FieldViolation{Field: "event.user_id", Description: "is empty"}
	err := error(errorOf(failure(t, codes.ResourceExhausted,
		info("RATE_LIMITED", map[string]string{"effect": "none"}),
		&errdetails.RetryInfo{RetryDelay: durationpb.New(7 * time.Second)},
		&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{violation}},
	), submit, "req-1", true))
	if !errors.Is(err, ErrRateLimited) || errors.Is(err, ErrOverloaded) || !IsRateLimited(err) || IsNotConnected(err) {
		t.Errorf("the reason is not RATE_LIMITED alone: %v", err)
	}
	if wait, ok := RetryAfter(err); wait != 7*time.Second || !ok {
		t.Errorf("RetryAfter is %v, %v", wait, ok)
	}
	var failed *Error
	if !errors.As(err, &failed) || len(failed.Fields) != 1 || failed.Fields[0].Field != "event.user_id" {
		t.Fatalf("no field is named: %+v", failed)
	}
	if failed.Effect != EffectNone || !failed.FromGateway() || status.Code(err) != codes.ResourceExhausted {
		t.Errorf("effect, origin or status is lost: %+v", failed)
	}
	for _, part := range []string{"RATE_LIMITED", submit, "req-1"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in %q", part, err)
		}
	}
}

// A wait of zero is a wait: the call may be repeated.
func TestAnImmediateRepeatIsARepeat(t *testing.T) {
	err := errorOf(failure(t, codes.Unavailable, info("STOPPING", nil), &errdetails.RetryInfo{}), submit, "", true)
	if _, ok := RetryAfter(err); !ok {
		t.Error("the caller does not repeat")
	}
}

// A reason of a newer gateway can be named by its text.
func TestAReasonThatThisVersionDoesNotKnow(t *testing.T) {
	err := errorOf(failure(t, codes.Aborted, info("NEWER", nil)), submit, "", true)
	if !errors.Is(err, Reason("NEWER")) || err.Effect != EffectMaybe {
		t.Errorf("%+v", err)
	}
}

// Without a reason, an effect is excluded only if nothing was sent.
func TestTheEffectOfACallWithoutAReason(t *testing.T) {
	lost := status.Error(codes.Unavailable, "EOF")
	if sent, unsent := errorOf(lost, submit, "", true), errorOf(lost, submit, "", false); sent.Effect != EffectMaybe ||
		unsent.Effect != EffectNone {
		t.Errorf("sent: %v, not sent: %v", sent.Effect, unsent.Effect)
	}
	if late := errorOf(status.Error(codes.DeadlineExceeded, ""), submit, "", true); !errors.Is(late, ErrDeadlineExceeded) ||
		!errors.Is(late, context.DeadlineExceeded) || late.Effect != EffectMaybe {
		t.Errorf("%+v", late)
	}
	if ended := errorOf(status.Error(codes.Canceled, ""), submit, "", true); !errors.Is(ended, context.Canceled) {
		t.Errorf("%+v", ended)
	}
}

// An item that succeeded has no error, also as the interface.
func TestTheErrorOfAnItem(t *testing.T) {
	if err := ItemError(nil); err != nil {
		t.Error(err)
	}
	item := status.Convert(failure(t, codes.InvalidArgument, info("INVALID_FIELD", nil))).Proto()
	if err := ItemError(item); !errors.Is(err, ErrInvalidField) {
		t.Error(err)
	}
}

// Reasons of this side are none of the gateway's.
func TestReasonsAreDistinct(t *testing.T) {
	if failed := localError(ErrConnectionLost, codes.Unavailable, EffectMaybe, ""); failed.FromGateway() ||
		!IsNotConnected(failed) {
		t.Errorf("%+v", failed)
	}
	if spoofed := (&Error{Reason: ErrConnectionLost}); IsNotConnected(spoofed) {
		t.Error("a gateway's reason is taken for one of this side")
	}
}
