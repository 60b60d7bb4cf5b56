// Scenario is a caller in one program: scenario GATEWAY CONTROL. The clients of all languages print scenario.txt.
//
// CONTROL is the control URL of a sandbox. Restart the gateway after it prints "watch: first board".
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"phoenix.internal/gateway"
	"phoenix.internal/gateway/gatewaytest"
	gatewayv1 "phoenix.internal/gateway/v1"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

const board = "scenario"

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: scenario GATEWAY CONTROL")
	}
	client, err := gateway.Dial(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	run := &scenario{client, gatewaytest.NewControl(os.Args[2])}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	steps := []func(context.Context) error{
		run.sendEvents, run.readBoard, run.mintToken, run.verifyWebhooks, run.handleError, run.watchBoard,
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			log.Fatal(err)
		}
	}
}

type scenario struct {
	client  *gateway.Client
	control *gatewaytest.Control
}

// sendEvents sends 100 events in a stream.
func (s *scenario) sendEvents(ctx context.Context) error {
	definition := &gatewayv1.EnsureLeaderboardRequest{LeaderboardId: board, Name: "Scenario"}
	if _, err := s.client.LeaderboardAdmin.EnsureLeaderboard(ctx, definition); err != nil {
		return err
	}
	stream := s.client.EventStream(ctx, gateway.EventStreamOptions{})
	var sent []*gateway.SentEvents
	for number := 1; number <= 100; number++ {
		one, err := stream.Send(ctx, event("", fmt.Sprintf("user-%d", number), float64(number)))
		if err != nil {
			return err
		}
		sent = append(sent, one)
	}
	if err := stream.Close(ctx); err != nil {
		return err
	}
	failed := 0
	for _, message := range sent {
		results, err := message.Results(ctx)
		if err != nil {
			return err
		}
		for _, result := range results {
			if gateway.ItemError(result.GetError()) != nil {
				failed++
			}
		}
	}
	fmt.Printf("events: %d sent, %d failed\n", len(sent), failed)
	return nil
}

func event(id, user string, score float64) *gatewayv1.Event {
	return &gatewayv1.Event{EventId: id, LeaderboardId: board, UserId: user, ScoreDelta: proto.Float64(score)}
}

// readBoard reads until all events are counted: durable events are delivered a moment later.
func (s *scenario) readBoard(ctx context.Context) error {
	request := &gatewayv1.GetLeaderboardRequest{LeaderboardId: board, MaxStaleness: durationpb.New(0)} // a fresh read
	for {
		answer, err := s.client.Leaderboards.GetLeaderboard(ctx, request)
		if err != nil {
			return err
		}
		if entries := answer.GetLeaderboard().GetEntries(); len(entries) >= 100 {
			first := entries[0]
			fmt.Printf("board: %d entries, first is %s with %g\n", len(entries), first.GetUserId(), first.GetScore())
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// mintToken mints a launch token.
func (s *scenario) mintToken(ctx context.Context) error {
	visitor := &gatewayv1.MintLaunchJWTRequest_Visitor{Visitor: &gatewayv1.VisitorSession{}}
	answer, err := s.client.Tokens.MintLaunchJWT(ctx, &gatewayv1.MintLaunchJWTRequest{Session: visitor})
	if err != nil {
		return err
	}
	if answer.GetToken() == "" {
		return errors.New("the launch token is empty")
	}
	fmt.Println("token: minted")
	return nil
}

// verifyWebhooks verifies a good and a forged webhook, and records the outcome of the good one.
func (s *scenario) verifyWebhooks(ctx context.Context) error {
	good, err := s.control.SignWebhook(ctx, nil)
	if err != nil {
		return err
	}
	if call := s.client.VerifyWebhook(good, gateway.WalletOptions{}); call.IsMove() {
		call.Outcome.OperatorTransactionId = "tx-1"
		reply := s.client.RecordOutcome(ctx, call, 200, []byte(`{"status":"completed"}`))
		fmt.Printf("good webhook: verified, outcome recorded, answered %d\n", reply.Status)
	}
	forged, err := s.control.SignWebhook(ctx, map[string]any{"forge": "body"})
	if err != nil {
		return err
	}
	if call := s.client.VerifyWebhook(forged, gateway.WalletOptions{}); call.Reply != nil {
		fmt.Printf("forged webhook: refused, answered %d\n", call.Reply.Status)
	}
	return nil
}

// handleError gives two different events one id.
func (s *scenario) handleError(ctx context.Context) error {
	for _, score := range []float64{1, 2} {
		request := &gatewayv1.SubmitEventRequest{Event: event("scenario-reused", "user-1", score)}
		_, err := s.client.Events.SubmitEvent(ctx, request)
		if errors.Is(err, gateway.ErrEventIDReused) {
			fmt.Println("error:", gateway.ErrEventIDReused)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// watchBoard watches the board over a restart of the gateway.
func (s *scenario) watchBoard(ctx context.Context) error {
	epoch := ""
	for found, err := range s.client.WatchLeaderboard(ctx, &gatewayv1.WatchLeaderboardRequest{LeaderboardId: board}) {
		if err != nil {
			return err
		}
		if epoch == "" {
			epoch = found.GetEpoch()
			fmt.Println("watch: first board")
		} else if found.GetEpoch() != epoch {
			fmt.Println("watch: board after the restart")
			return nil
		}
	}
	return nil
}
