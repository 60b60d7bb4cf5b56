package main

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"log"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	"bench/pb"
)

const (
	defaultTTL = 15 * time.Minute
	maxTTL     = time.Hour
	backdate   = 5 * time.Second
)

// tokens mints launch tokens.
type tokens struct {
	pb.UnimplementedTokenServiceServer
	key                    ed25519.PrivateKey
	keyID, operator, embed string
}

type launchClaims struct {
	Environment string `json:"env"`
	Type        string `json:"typ"`
	Name        string `json:"name,omitempty"`
	Currency    string `json:"currency,omitempty"`
	jwt.RegisteredClaims
}

func newTokens(key ed25519.PrivateKey, operator, embed string) *tokens {
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		log.Fatal(err)
	}
	digest := sha256.Sum256(public)
	return &tokens{key: key, keyID: hex.EncodeToString(digest[:]), operator: operator, embed: embed}
}

func (t *tokens) MintLaunchJWT(_ context.Context, request *pb.MintLaunchJWTRequest) (*pb.MintLaunchJWTResponse, error) {
	ttl := defaultTTL
	if request.Ttl != nil {
		ttl = request.Ttl.AsDuration()
	}
	if ttl < time.Second || ttl > maxTTL {
		return nil, refuse(codes.InvalidArgument, "INVALID_FIELD", "ttl: 1 second to 1 hour")
	}
	now := time.Now()
	expires := now.Add(ttl).Truncate(time.Second)
	claims := launchClaims{
		Environment: "sandbox",
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: t.operator, Audience: jwt.ClaimStrings{"pmm_default"}, ID: newID(),
			IssuedAt: jwt.NewNumericDate(expires.Add(-ttl - backdate)), ExpiresAt: jwt.NewNumericDate(expires),
		},
	}
	switch session := request.Session.(type) {
	case *pb.MintLaunchJWTRequest_Visitor:
		claims.Type = "visitor"
	case *pb.MintLaunchJWTRequest_Player:
		if session.Player.PlayerId == "" {
			return nil, refuse(codes.InvalidArgument, "INVALID_FIELD", "player_id: 1 to 256 characters")
		}
		claims.Type, claims.Subject = "player", session.Player.PlayerId
		claims.Name, claims.Currency = session.Player.Name, session.Player.Currency
	default:
		return nil, refuse(codes.InvalidArgument, "INVALID_FIELD", "session: set visitor or player")
	}
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims)
	token.Header["kid"] = t.keyID
	signed, err := token.SignedString(t.key)
	if err != nil {
		return nil, err
	}
	return &pb.MintLaunchJWTResponse{
		Token: signed, ExpireTime: timestamppb.New(expires), KeyId: t.keyID,
		EmbedUrl: t.embed + "/o/" + t.operator + "?token=" + signed,
	}, nil
}
