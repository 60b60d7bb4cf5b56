package main

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"bench/pb"
)

const lease = time.Minute

// wallet verifies webhooks and claims their operations.
type wallet struct {
	pb.UnimplementedWalletServiceServer
	key                  ed25519.PublicKey
	operator, operatorID string
	claims               *claims
}

type walletBody struct {
	Operation   string `json:"operation"`
	OperatorID  string `json:"operator_id"`
	Environment string `json:"environment"`
	Player      struct {
		ExternalID string `json:"external_id"`
	} `json:"player"`
	CurrencyCode string          `json:"currency_code"`
	Amount       json.RawMessage `json:"amount"`
	References   json.RawMessage `json:"references"`
	Reason       string          `json:"reason"`
}

func (w *wallet) VerifyWallet(ctx context.Context, request *pb.VerifyWalletRequest) (*pb.VerifyWalletResponse, error) {
	var signature, idempotencyKey string
	for _, header := range request.Headers {
		switch strings.ToLower(header.Name) {
		case "signature":
			signature = strings.TrimSpace(header.Value)
		case "idempotency-key":
			idempotencyKey = strings.TrimSpace(header.Value)
		}
	}
	digest := sha256.Sum256(request.RawBody)
	answer := &pb.VerifyWalletResponse{RequestBodySha256: hex.EncodeToString(digest[:])}
	decoded, err := base64.RawURLEncoding.DecodeString(signature)
	switch {
	case signature == "":
		return final(answer, pb.WalletVerdict_WALLET_VERDICT_MISSING_SIGNATURE, 401, "missing_signature"), nil
	case err != nil || len(decoded) != ed25519.SignatureSize:
		return final(answer, pb.WalletVerdict_WALLET_VERDICT_MALFORMED_SIGNATURE, 401, "bad_signature"), nil
	case !ed25519.Verify(w.key, request.RawBody, decoded):
		return final(answer, pb.WalletVerdict_WALLET_VERDICT_BAD_SIGNATURE, 401, "bad_signature"), nil
	}
	var body walletBody
	if json.Unmarshal(request.RawBody, &body) != nil {
		return final(answer, pb.WalletVerdict_WALLET_VERDICT_MALFORMED_BODY, 400, "malformed_body"), nil
	}
	if body.OperatorID != "" && body.OperatorID != w.operatorID {
		return final(answer, pb.WalletVerdict_WALLET_VERDICT_WRONG_OPERATOR, 403, "wrong_operator"), nil
	}
	if body.Environment != "" && body.Environment != "sandbox" {
		return final(answer, pb.WalletVerdict_WALLET_VERDICT_WRONG_ENVIRONMENT, 403, "wrong_environment"), nil
	}
	answer.Verdict = pb.WalletVerdict_WALLET_VERDICT_VERIFIED
	answer.Operation = &pb.WalletOperation{
		Operation: body.Operation, IdempotencyKey: idempotencyKey, PlayerId: body.Player.ExternalID,
		CurrencyCode: body.CurrencyCode, AmountJson: string(body.Amount), ReferencesJson: string(body.References),
		Reason: body.Reason,
	}
	if body.Operation == "balance" {
		answer.Disposition = pb.WalletDisposition_WALLET_DISPOSITION_NOT_A_MOVE
		return answer, nil
	}
	if idempotencyKey == "" {
		return final(answer, pb.WalletVerdict_WALLET_VERDICT_MISSING_IDEMPOTENCY_KEY, 400, "missing_idempotency_key"), nil
	}
	now := time.Now()
	made := &claim{
		id: newID(), operator: w.operator, operation: body.Operation, key: idempotencyKey, body: request.RawBody,
		signature: signature, player: body.Player.ExternalID, receivedAt: now, leaseUntil: now.Add(lease),
		done: make(chan error, 1),
	}
	if err := w.claims.make(ctx, made); err != nil {
		return final(answer, pb.WalletVerdict_WALLET_VERDICT_STORE_UNAVAILABLE, 503, "unavailable"), nil
	}
	answer.OperationId, answer.Attempt = made.id, 1
	answer.LeaseExpireTime = timestamppb.New(made.leaseUntil)
	answer.Disposition = pb.WalletDisposition_WALLET_DISPOSITION_NEW
	if !made.isNew {
		answer.Disposition = pb.WalletDisposition_WALLET_DISPOSITION_IN_PROGRESS
		answer.Reply = &pb.WalletReply{Status: 409}
	}
	return answer, nil
}

// final sets a refusal and the reply to send back.
func final(answer *pb.VerifyWalletResponse, verdict pb.WalletVerdict, code int32, reason string) *pb.VerifyWalletResponse {
	answer.Verdict = verdict
	answer.Operation = nil
	answer.Reply = &pb.WalletReply{Status: code, ContentType: "application/json", Body: []byte(`{"error":"` + reason + `"}`)}
	return answer
}
