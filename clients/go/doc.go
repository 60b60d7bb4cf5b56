// Package gateway calls Phoenix Gateway: events, live boards, launch tokens and wallet webhooks.
//
// Start with [Dial]. The services of the contract are fields of [Client], and package gatewayv1
// (phoenix.internal/gateway/v1) has their messages. One client serves the whole process: it is safe for use by
// several goroutines, and it reconnects.
//
// What the client adds to the generated code:
//   - mutual TLS from files that are read again when they change,
//   - a deadline for each call whose context has none, keepalive, and the published service config,
//   - an event_id for every event and an x-request-id for every call,
//   - an [*Error] with the gateway's reason for every failure,
//   - [Client.WatchLeaderboard] and [Client.EventStream], which survive lost connections,
//   - [Client.WalletHandler], which verifies webhooks and answers 503 whenever something fails.
package gateway
