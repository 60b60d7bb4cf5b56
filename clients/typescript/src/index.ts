/** A client of Phoenix Gateway: events, live boards, launch tokens and wallet webhooks. */

export { create } from "@bufbuild/protobuf";
export type { CallOptions } from "./calls.js";
export { type ClientReason, type Effect, type FaultyField, GatewayError } from "./errors.js";
export { EventStream, type Sent } from "./event-stream.js";
export { errorOf } from "./failures.js";
export { Gateway, type GatewayOptions } from "./gateway.js";
export * as v1 from "./gen/phoenix_gateway_client/v1_pb.js";
export { REASONS, type Reason } from "./gen/reasons.js";
export { type EventInit, newEventId } from "./ids.js";
export type { ServiceClient } from "./services.js";
export type { Tls } from "./tls.js";
export type { EventStreamOptions } from "./unacknowledged.js";
export type { AnsweredCall, Reply, VerifiedCall, WalletAnswer, WalletCall, WalletOptions } from "./wallet.js";
export { answerWallet, type WalletAct, type WalletGateway, walletHandler } from "./wallet-handler.js";
export { walletServer } from "./wallet-server.js";
export type { WatchOptions } from "./watch.js";
export type { NodeRequest, Webhook } from "./webhook.js";
