// Package gatewaytest runs a gateway with a local Phoenix for tests, and controls that Phoenix.
//
// [Start] needs the command phoenix-gateway on the PATH, or in the variable PHOENIX_GATEWAY_COMMAND. The control routes
// are in docs/sandbox.md of the gateway.
package gatewaytest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// Control calls the control port of a local Phoenix.
type Control struct{ url string }

// NewControl returns the control of the local Phoenix at a URL, as phoenix-gateway dev --json prints it.
func NewControl(url string) *Control { return &Control{url} }

var httpClient = &http.Client{Timeout: time.Minute, Transport: &http.Transport{Proxy: nil}}

// Do calls a route, with a body of JSON and into an answer of JSON; both may be nil. The error says why it was refused.
func (c *Control) Do(ctx context.Context, method, path string, body, answer any) error {
	var sent io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		sent = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.url+path, sent)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := httpClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s %s", method, path, response.Status, text)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(text, answer)
}

// Reset forgets boards, faults, counts and settings.
func (c *Control) Reset(ctx context.Context) error {
	return c.Do(ctx, http.MethodPost, "/reset", map[string]any{}, nil)
}

// CreateBoard creates or replaces a board.
func (c *Control) CreateBoard(ctx context.Context, tenantID, leaderboardID string, scores map[string]float64) error {
	if scores == nil {
		scores = map[string]float64{}
	}
	path := "/boards/" + url.PathEscape(tenantID) + "/" + url.PathEscape(leaderboardID)
	return c.Do(ctx, http.MethodPost, path, map[string]any{"scores": scores}, nil)
}

// Fault makes requests fail. Members: docs/sandbox.md, such as surface, kind, status, times.
func (c *Control) Fault(ctx context.Context, members map[string]any) error {
	return c.Do(ctx, http.MethodPost, "/faults", members, nil)
}

// ClearFaults ends all faults.
func (c *Control) ClearFaults(ctx context.Context) error {
	return c.Do(ctx, http.MethodDelete, "/faults", nil, nil)
}

// Counted returns how often an event has counted.
func (c *Control) Counted(ctx context.Context, eventID string) (int, error) {
	var found struct{ Effects int }
	err := c.Do(ctx, http.MethodGet, "/effects?event_id="+url.QueryEscape(eventID), nil, &found)
	return found.Effects, err
}

// Effects returns how many events have counted, and which more than once.
func (c *Control) Effects(ctx context.Context) (events int, moreThanOnce []string, err error) {
	var found struct {
		EventIDs     int      `json:"event_ids"`
		MoreThanOnce []string `json:"more_than_once"`
	}
	err = c.Do(ctx, http.MethodPost, "/effects", map[string]any{}, &found)
	return found.EventIDs, found.MoreThanOnce, err
}

// SignWebhook returns a wallet webhook that Phoenix has signed, as a server would receive it. Members: docs/sandbox.md,
// such as operation, amount, and forge ("body": with a wrong signature).
func (c *Control) SignWebhook(ctx context.Context, members map[string]any) (*http.Request, error) {
	if members == nil {
		members = map[string]any{}
	}
	var found struct {
		Method, Path string
		Headers      [][2]string
		Body         []byte `json:"body_base64"`
	}
	if err := c.Do(ctx, http.MethodPost, "/wallet/sign", members, &found); err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, found.Method, found.Path, bytes.NewReader(found.Body))
	if err != nil {
		return nil, err
	}
	for _, header := range found.Headers {
		request.Header.Add(header[0], header[1])
	}
	return request, nil
}

// Attempt is one delivery of a webhook, and the answer that Phoenix got.
type Attempt struct {
	Status    int
	Treatment string // what Phoenix takes the answer for: success, terminal, retry, ...
}

// SendWebhook has Phoenix send a webhook to the URL of a wallet. It returns the last attempt and the idempotency key.
func (c *Control) SendWebhook(ctx context.Context, wallet string, members map[string]any) (Attempt, string, error) {
	sent := map[string]any{"target": wallet}
	for name, value := range members {
		sent[name] = value
	}
	var found struct {
		Attempts       []Attempt
		IdempotencyKey string `json:"idempotency_key"`
	}
	err := c.Do(ctx, http.MethodPost, "/wallet/send", sent, &found)
	if err != nil || len(found.Attempts) == 0 {
		return Attempt{}, found.IdempotencyKey, err
	}
	return found.Attempts[len(found.Attempts)-1], found.IdempotencyKey, nil
}
