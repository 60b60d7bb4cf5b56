package main

import (
	"context"
	"encoding/json"
	"io"
	"math"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"bench/pb"
)

const (
	maxBatch    = 1000
	maxText     = 256
	bulkWorkers = 2
)

// events forwards events: each by itself, or in bulk calls that concurrent calls share.
type events struct {
	pb.UnimplementedEventServiceServer
	phoenix *upstream
	isBulk  bool
	waiting chan *waitingEvent
}

// event is an event as Phoenix takes it.
type event struct {
	EventID       string   `json:"event_id"`
	TenantID      string   `json:"tenant_id"`
	LeaderboardID string   `json:"leaderboard_id"`
	UserID        string   `json:"user_id"`
	ScoreDelta    *float64 `json:"score_delta,omitempty"`
	EventType     string   `json:"event_type,omitempty"`
	OccurredAt    string   `json:"occurred_at,omitempty"`
	Metadata      any      `json:"metadata,omitempty"`
	Attributes    any      `json:"attributes,omitempty"`
}

// waitingEvent is an event that waits for its bulk call.
type waitingEvent struct {
	event event
	done  chan error
}

func newEvents(phoenix *upstream, isBulk bool) *events {
	made := &events{phoenix: phoenix, isBulk: isBulk, waiting: make(chan *waitingEvent, maxBatch)}
	for range bulkWorkers {
		go made.sendWaiting()
	}
	return made
}

func (e *events) SubmitEvent(ctx context.Context, request *pb.SubmitEventRequest) (*pb.SubmitEventResponse, error) {
	one, err := e.convert(request.Event)
	if err != nil {
		return nil, err
	}
	if e.isBulk {
		waiting := &waitingEvent{event: one, done: make(chan error, 1)}
		e.waiting <- waiting
		select {
		case err = <-waiting.done:
		case <-ctx.Done():
			err = status.FromContextError(ctx.Err()).Err()
		}
	} else {
		err = e.sendOne(ctx, one)
	}
	if err != nil {
		return nil, err
	}
	return &pb.SubmitEventResponse{
		EventId: one.EventID, Status: pb.EventStatus_EVENT_STATUS_ACCEPTED, AcceptTime: timestamppb.Now(),
	}, nil
}

func (e *events) SubmitEvents(ctx context.Context, request *pb.SubmitEventsRequest) (*pb.SubmitEventsResponse, error) {
	results, err := e.submit(ctx, request.Events)
	return &pb.SubmitEventsResponse{Results: results}, err
}

func (e *events) StreamEvents(stream grpc.BidiStreamingServer[pb.StreamEventsRequest, pb.StreamEventsResponse]) error {
	for {
		request, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		results, err := e.submit(stream.Context(), request.Events)
		if err != nil {
			return err
		}
		if err := stream.Send(&pb.StreamEventsResponse{Sequence: request.Sequence, Results: results}); err != nil {
			return err
		}
	}
}

// submit sends the events in one bulk call, or one by one, and returns a result for each.
func (e *events) submit(ctx context.Context, sent []*pb.Event) ([]*pb.EventResult, error) {
	if len(sent) == 0 || len(sent) > maxBatch {
		return nil, refuse(codes.InvalidArgument, "INVALID_FIELD", "Send 1 to 1,000 events.")
	}
	results := make([]*pb.EventResult, len(sent))
	good := make([]event, 0, len(sent))
	places := make([]int, 0, len(sent))
	for i, each := range sent {
		one, err := e.convert(each)
		results[i] = &pb.EventResult{EventId: one.EventID}
		if err != nil {
			results[i].Error = status.Convert(err).Proto()
			continue
		}
		good = append(good, one)
		places = append(places, i)
	}
	errs := make([]error, len(good))
	if e.isBulk {
		err := e.sendBulk(ctx, good)
		for i := range errs {
			errs[i] = err
		}
	} else {
		for i := range good {
			errs[i] = e.sendOne(ctx, good[i])
		}
	}
	for i, err := range errs {
		if err != nil {
			results[places[i]].Error = status.Convert(err).Proto()
		} else {
			results[places[i]].Status = pb.EventStatus_EVENT_STATUS_ACCEPTED
		}
	}
	return results, nil
}

func (e *events) convert(sent *pb.Event) (event, error) {
	if sent == nil {
		return event{}, invalidEvent("an event is missing")
	}
	one := event{
		EventID: sent.EventId, TenantID: e.phoenix.tenant, LeaderboardID: sent.LeaderboardId, UserID: sent.UserId,
		ScoreDelta: sent.ScoreDelta, EventType: sent.EventType,
	}
	if one.EventID == "" {
		one.EventID = newID()
	}
	switch {
	case sent.LeaderboardId == "" || len(sent.LeaderboardId) > maxText:
		return one, invalidEvent("leaderboard_id: 1 to 256 characters")
	case sent.UserId == "" || len(sent.UserId) > maxText:
		return one, invalidEvent("user_id: 1 to 256 characters")
	case sent.ScoreDelta == nil && sent.EventType == "":
		return one, invalidEvent("an event needs score_delta, event_type, or both")
	case sent.ScoreDelta != nil && (math.IsNaN(*sent.ScoreDelta) || math.IsInf(*sent.ScoreDelta, 0)):
		return one, invalidEvent("score_delta: a finite number")
	}
	if sent.OccurTime != nil {
		one.OccurredAt = sent.OccurTime.AsTime().Format(time.RFC3339Nano)
	}
	switch form := sent.MetadataForm.(type) {
	case *pb.Event_Metadata:
		one.Metadata = form.Metadata.AsMap()
	case *pb.Event_MetadataJson:
		if len(form.MetadataJson) == 0 || form.MetadataJson[0] != '{' || !json.Valid(form.MetadataJson) {
			return one, invalidEvent("metadata_json: one JSON object")
		}
		one.Metadata = json.RawMessage(form.MetadataJson)
	}
	if sent.Attributes != nil {
		one.Attributes = sent.Attributes.AsMap()
	}
	return one, nil
}

func invalidEvent(what string) error {
	return refuse(codes.InvalidArgument, "INVALID_FIELD", what)
}

func (e *events) sendOne(ctx context.Context, one event) error {
	body, err := json.Marshal(one)
	if err != nil {
		return invalidEvent("the event cannot be written as JSON")
	}
	return e.phoenix.post(ctx, "/v1/events", body)
}

func (e *events) sendBulk(ctx context.Context, many []event) error {
	body, err := json.Marshal(map[string][]event{"events": many})
	if err != nil {
		return invalidEvent("the events cannot be written as JSON")
	}
	return e.phoenix.post(ctx, "/v1/events/bulk", body)
}

// sendWaiting sends what waits in bulk calls: what arrives during a call goes with the next one.
func (e *events) sendWaiting() {
	for first := range e.waiting {
		batch := []*waitingEvent{first}
		many := []event{first.event}
		for isMore := true; isMore && len(batch) < maxBatch; {
			select {
			case next := <-e.waiting:
				batch = append(batch, next)
				many = append(many, next.event)
			default:
				isMore = false
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
		err := e.sendBulk(ctx, many)
		cancel()
		for _, each := range batch {
			each.done <- err
		}
	}
}
