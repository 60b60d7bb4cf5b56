package gateway

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	gatewayv1 "phoenix.internal/gateway/v1"
)

const completed = `{"type":"SUCCESS","status":"completed"}`

// book is a wallet that books every move.
func book(writer http.ResponseWriter, request *http.Request) {
	call := WalletCallFrom(request.Context())
	if call.IsMove() {
		call.Outcome.OperatorTransactionId = "tx-1"
		_, _ = io.WriteString(writer, completed)
		return
	}
	_, _ = io.WriteString(writer, `{"available":"5.00"}`)
}

// serveWallet returns the URL of a wallet.
func serveWallet(t *testing.T, client *Client, next http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(client.WalletHandler(next, WalletOptions{}))
	t.Cleanup(server.Close)
	return server.URL
}

func move(more map[string]any) map[string]any {
	members := map[string]any{
		"operation": "reserve_cash", "player": "player-1", "currency": "EUR", "amount": "12.50", "timeout_s": 30,
	}
	for name, value := range more {
		members[name] = value
	}
	return members
}

// The second time it is answered from the record, without the wallet; a copy with other content gets 422.
func testMove(t *testing.T, g *started) {
	booked := 0
	url := serveWallet(t, dial(t, g.Address), func(writer http.ResponseWriter, request *http.Request) {
		booked++
		book(writer, request)
	})
	attempt, key, err := g.SendWebhook(t.Context(), url, move(nil))
	if err != nil || attempt.Status != 200 || attempt.Treatment != "success" {
		t.Fatalf("%+v, %v", attempt, err)
	}
	if again, _, err := g.SendWebhook(t.Context(), url, move(map[string]any{"idempotency_key": key})); again.Status != 200 || err != nil {
		t.Errorf("%+v, %v", again, err)
	}
	other := move(map[string]any{"idempotency_key": key, "amount": "99.00"})
	if conflict, _, err := g.SendWebhook(t.Context(), url, other); conflict.Status != 422 || err != nil {
		t.Errorf("%+v, %v", conflict, err)
	}
	if booked != 1 {
		t.Errorf("booked %d times", booked)
	}
}

// The gateway's reply goes out as it is, and the wallet is not asked.
func testForged(t *testing.T, g *started) {
	url := serveWallet(t, dial(t, g.Address), func(http.ResponseWriter, *http.Request) { t.Error("the wallet was asked") })
	attempt, _, err := g.SendWebhook(t.Context(), url, move(map[string]any{"forge": "body"}))
	if err != nil || attempt.Status != 401 || attempt.Treatment != "terminal" {
		t.Errorf("%+v, %v", attempt, err)
	}
}

// Nothing that the wallet did not decide becomes final. The move stays unfinished, and a later attempt records it.
func testUndecidedWallet(t *testing.T, g *started) {
	for name, wallet := range map[string]http.HandlerFunc{
		"panic":        func(http.ResponseWriter, *http.Request) { panic("secret") },
		"no answer":    func(http.ResponseWriter, *http.Request) {},
		"unauthorized": func(writer http.ResponseWriter, _ *http.Request) { writer.WriteHeader(401) },
		"no route":     http.NotFound,
		"redirect":     http.RedirectHandler("/elsewhere", 301).ServeHTTP,
		"busy":         func(writer http.ResponseWriter, _ *http.Request) { writer.WriteHeader(429) },
		"half an answer": func(writer http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(writer, completed[:9])
			panic("secret")
		},
	} {
		attempt, key, err := g.SendWebhook(t.Context(), serveWallet(t, dial(t, g.Address), wallet), move(nil))
		if err != nil || attempt.Status != 503 {
			t.Errorf("%s: %+v, %v", name, attempt, err)
		}
		members := move(map[string]any{"idempotency_key": key})
		if again, _, _ := g.SendWebhook(t.Context(), serveWallet(t, dial(t, g.Address), book), members); again.Status != 409 {
			t.Errorf("%s: the lease holds, yet: %+v", name, again)
		}
	}
	refusing := func(writer http.ResponseWriter, _ *http.Request) { writer.WriteHeader(403) }
	balance := map[string]any{"route": "balance", "player": "player-1", "currency": "EUR"}
	if attempt, _, err := g.SendWebhook(t.Context(), serveWallet(t, dial(t, g.Address), refusing), balance); attempt.Status != 503 || err != nil {
		t.Errorf("balance: %+v, %v", attempt, err)
	}
}

// The move was made: that the connection of Phoenix is gone does not matter.
func testOutcomeAfterCancel(t *testing.T, g *started) {
	client := dial(t, g.Address)
	ctx, cancel := context.WithCancel(t.Context())
	webhook, err := g.SignWebhook(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	call := client.VerifyWebhook(webhook, WalletOptions{})
	cancel()
	if reply := client.RecordOutcome(ctx, call, 200, []byte(completed)); reply.Status != 200 {
		t.Error(reply.Err)
	}
}

// A handler that forgets to answer would answer 200 in net/http.
func TestNoAnswerIsNamed(t *testing.T) {
	err := serve(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), &heldAnswer{}, webhook(""))
	if err == nil || !strings.Contains(err.Error(), "no answer") {
		t.Error(err)
	}
}

func webhook(body string) *http.Request {
	return httptest.NewRequest(http.MethodPost, "/wallet/transactions", strings.NewReader(body))
}

// Not 500 and no final status: Phoenix sends the webhook again.
func TestWithoutAGatewayPhoenixGets503(t *testing.T) {
	client := dial(t, freeAddress(t))
	answer := httptest.NewRecorder()
	client.WalletHandler(http.HandlerFunc(book), WalletOptions{}).ServeHTTP(answer, webhook("{}"))
	if answer.Code != 503 || answer.Header().Get("Retry-After") != "2" {
		t.Errorf("%d, %v", answer.Code, answer.Header())
	}
	outcome := &WalletCall{Outcome: &gatewayv1.RecordWalletOutcomeRequest{OperationId: "o", Attempt: 1}}
	for _, call := range []*WalletCall{outcome, {}} {
		if reply := client.RecordOutcome(t.Context(), call, 200, nil); reply.Status != 503 || reply.Err == nil {
			t.Errorf("%+v", reply)
		}
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// A body that someone else has read would have a wrong signature: 401 would end a genuine payout.
func TestWhatCannotBeReadIs503(t *testing.T) {
	client := dial(t, freeAddress(t))
	readBefore, chunksRead, cut := webhook("{}"), webhook(""), webhook("{}")
	_, _ = io.ReadAll(readBefore.Body)
	chunksRead.TransferEncoding, chunksRead.ContentLength = []string{"chunked"}, -1
	cut.Body = io.NopCloser(broken{})
	for name, request := range map[string]*http.Request{
		"read before": readBefore, "chunks read before": chunksRead, "cut": cut, "large": webhook(strings.Repeat(" ", 1<<20+1)),
	} {
		call := client.VerifyWebhook(request, WalletOptions{})
		if call.Reply == nil || call.Reply.Status != 503 || call.IsMove() || !errors.Is(call.Reply.Err, ErrWebhookUnreadable) {
			t.Errorf("%s: %+v", name, call.Reply)
		}
	}
}

// Neither refused, nor anything that this version knows.
func TestAnAnswerWithoutADecisionIs503(t *testing.T) {
	client := dial(t, freeAddress(t))
	verified := gatewayv1.WalletVerdict_WALLET_VERDICT_VERIFIED
	for _, found := range []*gatewayv1.VerifyWalletResponse{
		{},
		{Verdict: 99, Disposition: gatewayv1.WalletDisposition_WALLET_DISPOSITION_NEW},
		{Verdict: verified, Disposition: 99},
		{Reply: &gatewayv1.WalletReply{}},
		{Verdict: verified, Disposition: gatewayv1.WalletDisposition_WALLET_DISPOSITION_CONFLICT},
		{Verdict: verified, Disposition: gatewayv1.WalletDisposition_WALLET_DISPOSITION_IN_PROGRESS},
	} {
		if call := client.walletCall(t.Context(), found, nil); call.Reply == nil || call.Reply.Status != 503 || call.IsMove() {
			t.Errorf("%v: %+v", found, call)
		}
	}
}

// Repeated headers and bytes that are not UTF-8 arrive as they came; the body can be read again.
func TestTheRawParts(t *testing.T) {
	request := webhook("body")
	request.Header["Idempotency-Key"] = []string{"k", "k"}
	request.Header["X-Odd"] = []string{"\xff"}
	values := map[string]string{}
	for _, header := range rawHeaders(request.Header) {
		values[header.Name] += string(header.RawValue) + ";"
	}
	if values["Idempotency-Key"] != "k;k;" || values["X-Odd"] != "\xff;" {
		t.Error(values)
	}
	body, err := rawBody(request)
	again, _ := io.ReadAll(request.Body)
	if string(body) != "body" || string(again) != "body" || err != nil {
		t.Errorf("%q, %q, %v", body, again, err)
	}
}
