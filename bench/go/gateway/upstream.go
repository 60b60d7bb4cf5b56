package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"
)

const maxAnswerBytes = 8 << 20

// upstream signs and sends requests to Phoenix.
type upstream struct {
	client                  *http.Client
	tenant, ingestion, read string
	apiKey                  string
	secret                  []byte
}

func newUpstream(tenant, ingestion, read, apiKey string, secret []byte) *upstream {
	transport := &http.Transport{MaxIdleConns: 512, MaxIdleConnsPerHost: 512, IdleConnTimeout: 90 * time.Second}
	return &upstream{
		client: &http.Client{Transport: transport}, tenant: tenant, ingestion: ingestion, read: read, apiKey: apiKey, secret: secret,
	}
}

// post sends a signed body and expects a 2xx.
func (u *upstream) post(ctx context.Context, path string, body []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, u.ingestion+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	at := strconv.FormatInt(time.Now().Unix(), 10)
	signature := hmac.New(sha256.New, u.secret)
	signature.Write([]byte("POST\n" + path + "\n" + at + "\n"))
	signature.Write(body)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-Tenant-Id", u.tenant)
	request.Header.Set("X-Timestamp", at)
	request.Header.Set("X-Signature", "hmac-sha256="+hex.EncodeToString(signature.Sum(nil)))
	_, err = u.send(request)
	return err
}

// get reads from the query API.
func (u *upstream) get(ctx context.Context, path string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.read+path, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("X-API-Key", u.apiKey)
	return u.send(request)
}

func (u *upstream) send(request *http.Request) ([]byte, error) {
	answer, err := u.client.Do(request)
	if err != nil {
		return nil, refuse(codes.Unavailable, "PHOENIX_UNAVAILABLE", "Phoenix cannot be reached.")
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswerBytes))
	switch {
	case err != nil:
		return nil, refuse(codes.Unavailable, "PHOENIX_ANSWER_UNREADABLE", "Phoenix's answer cannot be read.")
	case answer.StatusCode == http.StatusUnauthorized:
		return nil, refuse(codes.Internal, "PHOENIX_REJECTED_CREDENTIALS", "Phoenix rejected the gateway's credentials.")
	case answer.StatusCode == http.StatusNotFound:
		return nil, refuse(codes.NotFound, "PHOENIX_NOT_FOUND", "Phoenix has no such resource.")
	case answer.StatusCode/100 != 2:
		return nil, refuse(codes.Unavailable, "PHOENIX_UNAVAILABLE", "Phoenix did not accept the request.")
	}
	return body, nil
}
