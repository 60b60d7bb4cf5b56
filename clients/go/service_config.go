package gateway

import (
	_ "embed"
	"encoding/json"
	"strings"
	"time"
)

//go:embed service_config.json
var publishedConfig []byte

// neverRepeated are the methods that gRPC may not repeat by itself: after a lost connection it would send the change to
// another gateway, which may not know that the first one made it. A caller repeats them where the error says so.
var neverRepeated = []methodName{
	{"phoenix.gateway.v1.EventService", "SubmitEvent"},
	{"phoenix.gateway.v1.EventService", "SubmitEvents"},
	{"phoenix.gateway.v1.EventService", "StreamEvents"},
	{"phoenix.gateway.v1.EventService", "RedriveDeadLetters"},
	{"phoenix.gateway.v1.LeaderboardAdminService", "CreateLeaderboard"},
	{"phoenix.gateway.v1.OperatorService", "UpdateOperatorSettings"},
	{"phoenix.gateway.v1.PhoenixService", "Call"},
}

type methodName struct {
	Service string `json:"service,omitempty"`
	Method  string `json:"method,omitempty"`
}

type methodConfig struct {
	Name        []methodName    `json:"name"`
	Timeout     string          `json:"timeout,omitempty"`
	RetryPolicy json.RawMessage `json:"retryPolicy,omitempty"`
}

type serviceConfig struct {
	LoadBalancingConfig json.RawMessage `json:"loadBalancingConfig"`
	HealthCheckConfig   json.RawMessage `json:"healthCheckConfig"`
	MethodConfig        []methodConfig  `json:"methodConfig"`
	RetryThrottling     json.RawMessage `json:"retryThrottling"`
}

// callRules is the published service config as this client uses it.
type callRules struct {
	text     string // for gRPC
	timeouts map[methodName]time.Duration
}

// newCallRules splits the published config. Timeouts become deadlines of calls whose context has none: left in the
// config, they would also cut the longer deadline of a caller.
func newCallRules() (*callRules, error) {
	var config serviceConfig
	if err := json.Unmarshal(publishedConfig, &config); err != nil {
		return nil, err
	}
	rules := &callRules{timeouts: map[methodName]time.Duration{}}
	isExcluded := map[methodName]bool{}
	for _, name := range neverRepeated {
		isExcluded[name] = true
	}
	for number := range config.MethodConfig {
		entry := &config.MethodConfig[number]
		var timeout time.Duration
		if entry.Timeout != "" {
			var err error
			if timeout, err = time.ParseDuration(entry.Timeout); err != nil {
				return nil, err
			}
		}
		entry.Timeout = ""
		var kept []methodName
		for _, name := range entry.Name {
			rules.timeouts[name] = timeout
			if !isExcluded[name] {
				kept = append(kept, name)
			}
		}
		entry.Name = kept
	}
	config.MethodConfig = append(config.MethodConfig, methodConfig{Name: neverRepeated})
	text, err := json.Marshal(config)
	rules.text = string(text)
	return rules, err
}

// timeout returns how long a call may take whose context has no deadline; zero: as long as it likes.
func (r *callRules) timeout(path string) time.Duration {
	service, method, _ := strings.Cut(strings.Trim(path, "/"), "/")
	for _, name := range []methodName{{service, method}, {service, ""}, {}} {
		if timeout, ok := r.timeouts[name]; ok {
			return timeout
		}
	}
	return 0
}
