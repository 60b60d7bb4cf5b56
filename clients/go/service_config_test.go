package gateway

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	gatewayv1 "phoenix.internal/gateway/v1"

	"google.golang.org/grpc"
)

func rules(t *testing.T) *callRules {
	t.Helper()
	made, err := newCallRules()
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// Streams have none.
func TestTheTimeoutsAreThePublishedOnes(t *testing.T) {
	for path, want := range map[string]time.Duration{
		"/phoenix.gateway.v1.KeyService/ListKeys":                 10 * time.Second,
		"/phoenix.gateway.v1.EventService/SubmitEvent":            10 * time.Second,
		"/phoenix.gateway.v1.WalletService/VerifyWallet":          4 * time.Second,
		"/phoenix.gateway.v1.LeaderboardService/WatchLeaderboard": 0,
	} {
		if found := rules(t).timeout(path); found != want {
			t.Errorf("%s: %v", path, found)
		}
	}
}

// gRPC would send a change again to a gateway that does not know of the first one. Everything else is as published.
func TestChangesAreNotRepeatedByThemselves(t *testing.T) {
	var config serviceConfig
	if err := json.Unmarshal([]byte(rules(t).text), &config); err != nil {
		t.Fatal(err)
	}
	repeated := map[methodName]bool{}
	for _, entry := range config.MethodConfig {
		if entry.Timeout != "" {
			t.Errorf("grpc would cut a longer deadline of the caller: %v", entry)
		}
		for _, name := range entry.Name {
			if _, twice := repeated[name]; twice {
				t.Errorf("%v has two entries, which grpc refuses", name)
			}
			repeated[name] = entry.RetryPolicy != nil
		}
	}
	for path, want := range map[string]bool{
		"EventService/SubmitEvent": false, "EventService/SubmitEvents": false, "EventService/StreamEvents": false,
		"EventService/RedriveDeadLetters": false, "LeaderboardAdminService/CreateLeaderboard": false,
		"OperatorService/UpdateOperatorSettings": false, "PhoenixService/Call": false,
		"EventService/ListDeadLetters": true, "LeaderboardService/GetLeaderboard": true, "TokenService/MintLaunchJWT": true,
		"WalletService/VerifyWallet": true, "WalletService/RecordWalletOutcome": true,
	} {
		service, method, _ := strings.Cut("phoenix.gateway.v1."+path, "/")
		for _, name := range []methodName{{service, method}, {service, ""}, {}} { // the most specific entry holds
			if is, ok := repeated[name]; ok {
				if is != want {
					t.Errorf("%s is repeated: %v", path, is)
				}
				break
			}
		}
	}
	for _, part := range []string{"round_robin", `"serviceName":""`, "maxTokens"} {
		if !strings.Contains(rules(t).text, part) {
			t.Errorf("%s is missing", part)
		}
	}
	if strings.Contains(rules(t).text, "hedging") {
		t.Error("hedging is on")
	}
}

// A method that was renamed would be repeated again.
func TestTheMethodsExist(t *testing.T) {
	var known []methodName
	for _, service := range []grpc.ServiceDesc{
		gatewayv1.EventService_ServiceDesc, gatewayv1.LeaderboardAdminService_ServiceDesc,
		gatewayv1.OperatorService_ServiceDesc, gatewayv1.PhoenixService_ServiceDesc,
	} {
		for _, method := range service.Methods {
			known = append(known, methodName{service.ServiceName, method.MethodName})
		}
		for _, stream := range service.Streams {
			known = append(known, methodName{service.ServiceName, stream.StreamName})
		}
	}
	for _, name := range neverRepeated {
		if !slices.Contains(known, name) {
			t.Errorf("%v is not in the contract", name)
		}
	}
}
