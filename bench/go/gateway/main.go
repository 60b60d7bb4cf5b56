// Command gateway is comparator G of the benchmark: a straightforward gateway in Go, one process, GOMAXPROCS=1.
//
// It does the same kind of work as the gateway that is measured: policy, request id, one log line and metrics for each
// call, the same signing, the same calls to Phoenix. It has no replay of outcomes, rotation of keys, limits or retries.
// It reads the gateway's settings from the environment and prints its port when it serves.
package main

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"google.golang.org/grpc"

	"bench/pb"
)

func main() {
	tenant := os.Getenv("TENANT_ID")
	operator := os.Getenv("PREDICTION_OPERATOR_CODE")
	phoenix := newUpstream(tenant, os.Getenv("INGESTION_BASE_URL"), os.Getenv("QUERY_BASE_URL"),
		os.Getenv("ADMIN_API_KEY"), []byte(os.Getenv("INGESTION_HMAC_SECRET")))
	claims, err := openClaims(filepath.Join(os.Getenv("GATEWAY_DATA_DIR"), "wallet.db"))
	if err != nil {
		log.Fatal(err)
	}
	calls := newCalls(policy{"local": {
		rights:    map[string]bool{"*": true},
		tenants:   map[string]bool{"": true, tenant: true},
		operators: map[string]bool{"": true, operator: true},
	}})
	server := grpc.NewServer(grpc.UnaryInterceptor(calls.unary), grpc.StreamInterceptor(calls.stream))
	pb.RegisterEventServiceServer(server, newEvents(phoenix, os.Getenv("PHOENIX_BULK_EVENTS") == "events"))
	pb.RegisterLeaderboardServiceServer(server, newBoards(phoenix))
	pb.RegisterTokenServiceServer(server, newTokens(
		privateKey(os.Getenv("PREDICTION_LAUNCH_KEY")), operator, os.Getenv("PREDICTION_EMBED_URL")))
	pb.RegisterWalletServiceServer(server, &wallet{
		key: publicKey(os.Getenv("PREDICTION_PLATFORM_KEY")), operator: operator,
		operatorID: os.Getenv("PREDICTION_OPERATOR_ID"), claims: claims,
	})
	if err := calls.knowAll(server.GetServiceInfo()); err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	admin, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go func() { log.Fatal(http.Serve(admin, promhttp.Handler())) }()
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	log.Fatal(server.Serve(listener))
}

func privateKey(text string) ed25519.PrivateKey {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		log.Fatal("PREDICTION_LAUNCH_KEY is not PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		log.Fatal(err)
	}
	return key.(ed25519.PrivateKey)
}

func publicKey(text string) ed25519.PublicKey {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		log.Fatal("PREDICTION_PLATFORM_KEY is not PEM")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		log.Fatal(err)
	}
	return key.(ed25519.PublicKey)
}
