/**
 * What becomes of a webhook, and what the wallet answers. Phoenix takes 400, 401, 403 and 422 as final, so every failure
 * on this side is 503. Pure.
 */

import type { MessageInitShape } from "@bufbuild/protobuf";
import { GatewayError } from "./errors.js";
import {
  type PhoenixEnvironment,
  type RecordWalletOutcomeRequestSchema,
  type VerifyWalletRequestSchema,
  type VerifyWalletResponse,
  WalletDisposition,
  type WalletReply,
  type WalletRoute,
  WalletVerdict,
} from "./gen/phoenix_gateway_client/v1_pb.js";
import type { Webhook } from "./webhook.js";

const RETRY_AFTER_S = 2;
const UNAVAILABLE = Buffer.from('{"type":"ERROR","error":"temporarily_unavailable"}');
/** Statuses of a router or a guard, not of a wallet; Phoenix takes most of them as final. */
const NO_ANSWERS: readonly number[] = [400, 401, 403, 405];
const ACTS: readonly WalletDisposition[] = [
  WalletDisposition.NEW,
  WalletDisposition.RECLAIMED,
  WalletDisposition.STATUS_PROBE,
  WalletDisposition.NOT_A_MOVE,
];

/** Where webhooks belong. */
export interface WalletOptions {
  /** The prediction operator. Default: the caller's only one. */
  readonly operatorCode?: string;
  /** The environment. Default: the caller's only one. */
  readonly environment?: PhoenixEnvironment;
  /** The route, for a wallet that mounts its webhooks at other paths than Phoenix's. */
  readonly route?: WalletRoute;
}

/** An HTTP answer for Phoenix: send it as it is. */
export interface Reply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
  /** The failure behind a 503. */
  readonly error?: unknown;
}

/** A webhook that was not verified, or that needs no act: send `reply` and do nothing else. */
export interface AnsweredCall {
  readonly reply: Reply;
  readonly found: VerifyWalletResponse | undefined;
}

/** A verified webhook on which the wallet must act, as `found.disposition` says; docs/wallet.md has the table. */
export interface VerifiedCall {
  readonly reply: undefined;
  readonly found: VerifyWalletResponse;
  /** Whether to execute the move: it is new, or an earlier attempt of it was never finished (`RECLAIMED`). */
  readonly isMove: boolean;
  /** The body, as it was signed. */
  readonly body: Uint8Array;
}

/** What became of a webhook. If `reply` is set, send it and do nothing else. */
export type WalletCall = AnsweredCall | VerifiedCall;

/** What the wallet answers Phoenix, and what of a move is recorded as evidence. */
export interface WalletAnswer extends Omit<
  MessageInitShape<typeof RecordWalletOutcomeRequestSchema>,
  "$typeName" | "$unknown" | "operationId" | "attempt" | "responseStatus" | "response"
> {
  /** The HTTP status. */
  readonly status: number;
  /** The body; a string is sent as UTF-8. */
  readonly body: Uint8Array | string;
  /** Default: `application/json`; `application/problem+json` for 422. */
  readonly contentType?: string;
}

/** Returns the request that verifies a webhook. */
export function verifyRequest(
  webhook: Webhook,
  options: WalletOptions,
): MessageInitShape<typeof VerifyWalletRequestSchema> {
  const headers = [];
  for (let at = 0; at + 1 < webhook.rawHeaders.length; at += 2) {
    // Node reads bytes as Latin-1: this gives back the bytes.
    headers.push({
      name: webhook.rawHeaders[at] as string,
      rawValue: Buffer.from(webhook.rawHeaders[at + 1] as string, "latin1"),
    });
  }
  return { ...options, method: webhook.method, path: webhook.path, headers, rawBody: webhook.body };
}

/** Returns the call for an answer of the gateway. What is neither decided nor known to this version is 503. */
export function callOf(found: VerifyWalletResponse, body: Uint8Array): WalletCall {
  if (found.reply !== undefined) return { reply: replyOfGateway(found.reply), found };
  if (found.verdict !== WalletVerdict.VERIFIED || !ACTS.includes(found.disposition)) {
    const error = new GatewayError("WEBHOOK_UNREADABLE", "The gateway neither verified nor refused the webhook.");
    return { reply: replyOfFailure(error), found };
  }
  const isMove = found.disposition === WalletDisposition.NEW || found.disposition === WalletDisposition.RECLAIMED;
  return { reply: undefined, found, isMove, body };
}

/** Whether a status is what becomes of a move: done, or refused. Any other leaves the move unfinished. */
export function isOutcome(status: number): boolean {
  return (status >= 200 && status < 300) || status === 422;
}

/** Whether Phoenix may get a status for a webhook that moves nothing. */
export function isAnswer(status: number): boolean {
  return (status >= 200 && status < 300) || (status >= 400 && !NO_ANSWERS.includes(status));
}

/** Returns the request that records an outcome. */
export function outcomeRequest(
  { found }: VerifiedCall,
  { status, body, contentType: _, ...facts }: WalletAnswer,
): MessageInitShape<typeof RecordWalletOutcomeRequestSchema> {
  return {
    ...facts,
    operationId: found.operationId,
    attempt: found.attempt,
    responseStatus: status,
    response: { case: "responseBody", value: bytesOf(body) },
  };
}

/** Returns the wallet's own answer. Throws RangeError for a status that is no final HTTP status. */
export function replyOf({ status, body, contentType }: WalletAnswer): Reply {
  if (!Number.isInteger(status) || status < 200 || status > 599) {
    throw new RangeError(`The wallet answered with the status ${status}. Give one from 200 to 599.`);
  }
  const usual = status === 422 ? "application/problem+json" : "application/json";
  return { status, headers: { "content-type": contentType ?? usual }, body: bytesOf(body) };
}

/** Returns 503: Phoenix sends the webhook again. */
export function replyOfFailure(error: unknown): Reply {
  const headers = { "content-type": "application/json", "retry-after": String(RETRY_AFTER_S) };
  return { status: 503, headers, body: UNAVAILABLE, error };
}

/** Returns the error for a log: the text of one of ours, only the name of any other, which may hold the body. */
export function causeOf(error: unknown): string {
  if (error instanceof GatewayError) return error.message;
  return error instanceof Error ? error.name : typeof error;
}

function replyOfGateway({ status, contentType, body, retryAfterSeconds }: WalletReply): Reply {
  const wait = retryAfterSeconds > 0 ? { "retry-after": String(retryAfterSeconds) } : {};
  return { status, headers: { "content-type": contentType, ...wait }, body };
}

function bytesOf(body: Uint8Array | string): Uint8Array {
  return typeof body === "string" ? Buffer.from(body) : body;
}
