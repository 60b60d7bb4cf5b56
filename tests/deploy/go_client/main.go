// Calls a gateway with the generated code. Prints the number of keys, then the reason of a refused call.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	gatewayv1 "example.com/your-module/gen/gateway/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

func main() {
	connection, err := grpc.NewClient(os.Args[1], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	keys, err := gatewayv1.NewKeyServiceClient(connection).ListKeys(ctx, &gatewayv1.ListKeysRequest{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(keys.Keys))
	empty := &gatewayv1.SubmitEventRequest{Event: &gatewayv1.Event{}}
	_, err = gatewayv1.NewEventServiceClient(connection).SubmitEvent(ctx, empty)
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			fmt.Println(info.Reason)
		}
	}
}
