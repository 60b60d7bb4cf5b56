// Runs the cases of gRPC's own interop tests against one address, on any of the transports that the front serves.
// Each case that passes is printed; the first that fails ends the program with its reason.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"log"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
)

type testCase struct {
	name string
	run  func(context.Context, *grpc.ClientConn, testgrpc.TestServiceClient)
}

func simple(run func(context.Context, testgrpc.TestServiceClient, ...grpc.CallOption), args ...grpc.CallOption) func(
	context.Context, *grpc.ClientConn, testgrpc.TestServiceClient) {
	return func(ctx context.Context, _ *grpc.ClientConn, client testgrpc.TestServiceClient) { run(ctx, client, args...) }
}

var cases = []testCase{
	{"empty_unary", simple(interop.DoEmptyUnaryCall)},
	{"large_unary", simple(interop.DoLargeUnaryCall)},
	{"compressed_unary", simple(interop.DoLargeUnaryCall, grpc.UseCompressor(gzip.Name))},
	{"client_streaming", simple(interop.DoClientStreaming)},
	{"server_streaming", simple(interop.DoServerStreaming)},
	{"ping_pong", simple(interop.DoPingPong)},
	{"empty_stream", simple(interop.DoEmptyStream)},
	{"timeout_on_sleeping_server", simple(interop.DoTimeoutOnSleepingServer)},
	{"cancel_after_begin", simple(interop.DoCancelAfterBegin)},
	{"cancel_after_first_response", simple(interop.DoCancelAfterFirstResponse)},
	{"custom_metadata", simple(interop.DoCustomMetadata)},
	{"status_code_and_message", simple(interop.DoStatusCodeAndMessage)},
	{"special_status_message", simple(interop.DoSpecialStatusMessage)},
	{"unimplemented_method", func(ctx context.Context, conn *grpc.ClientConn, _ testgrpc.TestServiceClient) {
		interop.DoUnimplementedMethod(ctx, conn)
	}},
	{"unimplemented_service", func(ctx context.Context, conn *grpc.ClientConn, _ testgrpc.TestServiceClient) {
		interop.DoUnimplementedService(ctx, testgrpc.NewUnimplementedServiceClient(conn))
	}},
	{"pick_first_unary", func(ctx context.Context, _ *grpc.ClientConn, client testgrpc.TestServiceClient) {
		interop.DoPickFirstUnary(ctx, client)
	}},
}

func transport(folder string) credentials.TransportCredentials {
	if folder == "" {
		return insecure.NewCredentials()
	}
	pair, err := tls.LoadX509KeyPair(folder+"/client.pem", folder+"/client.key")
	if err != nil {
		log.Fatal(err)
	}
	authority, err := os.ReadFile(folder + "/ca.pem")
	if err != nil {
		log.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	return credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots})
}

func main() {
	target := flag.String("target", "", "the address, as gRPC writes it")
	folder := flag.String("tls", "", "the folder of ca.pem, client.pem and client.key; plaintext without it")
	without := flag.String("without", "", "a case to leave out")
	flag.Parse()
	conn, err := grpc.NewClient(*target, grpc.WithTransportCredentials(transport(*folder)))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	client := testgrpc.NewTestServiceClient(conn)
	for _, one := range cases {
		if one.name == *without {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		one.run(ctx, conn, client)
		cancel()
		fmt.Println(one.name)
	}
}
