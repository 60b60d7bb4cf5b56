/** The one error of this client. Decide by its `reason`, never by its text, which may change. */

import type { Reason } from "./gen/reasons.js";

/** Reasons that this client gives itself, because no gateway answered with one. */
export type ClientReason =
  /** The gateway or a proxy answered without a reason. */
  | "CALL_FAILED"
  /** No answer within the timeout. */
  | "DEADLINE_EXCEEDED"
  /** The gateway does not know the method: another major version, or older than this client. */
  | "VERSION_MISMATCH"
  /** Nothing listens at the address, or its name is unknown. */
  | "GATEWAY_UNREACHABLE"
  /** The connection broke during the call. */
  | "CONNECTION_LOST"
  /** The CA, certificate or key of this side cannot be read or do not belong together. */
  | "TLS_FILES_UNUSABLE"
  /** The CA did not sign the gateway's certificate, or the certificate is not valid now. */
  | "GATEWAY_NOT_TRUSTED"
  /** The gateway's certificate is for another name than the one called. */
  | "WRONG_HOST_NAME"
  /** The gateway accepts only callers with a certificate. */
  | "CLIENT_CERTIFICATE_REQUIRED"
  /** The gateway does not accept the certificate. */
  | "CLIENT_CERTIFICATE_REFUSED"
  /** The gateway speaks TLS, and this client was given no CA. */
  | "TLS_EXPECTED"
  /** The gateway speaks no TLS, and this client expects it. */
  | "TLS_UNEXPECTED"
  /** The body of a webhook was read before, unpacked, or is too long. */
  | "WEBHOOK_UNREADABLE"
  /** The wallet answered a verified webhook with a status that decides nothing. */
  | "WEBHOOK_UNDECIDED"
  /** The client was closed. */
  | "CLIENT_CLOSED";

/** Did Phoenix act? `none`: certainly not; `maybe`: nobody knows; `done`: it did, and the answer is lost. */
export type Effect = "none" | "maybe" | "done";

/** A field of the request that breaks the contract. */
export interface FaultyField {
  /** Path of the field, such as `event.leaderboard_id`. */
  readonly field: string;
  /** What is wrong with it. */
  readonly description: string;
}

/** What is known of a failure, apart from its text. */
export interface Facts {
  readonly code?: string;
  readonly effect?: Effect;
  readonly retryAfterMs?: number | undefined;
  readonly fields?: readonly FaultyField[];
  readonly metadata?: Readonly<Record<string, string>>;
  readonly method?: string;
  readonly requestId?: string;
  readonly cause?: unknown;
  readonly isOfGateway?: boolean;
}

/** A call that failed. Everything that this client throws about a call is one of these. */
export class GatewayError extends Error {
  override readonly name = "GatewayError";
  /** The gateway's reason, or one of this client's. A newer gateway may have further ones. */
  readonly reason: Reason | ClientReason | (string & {});
  /** Whether the reason is the gateway's; otherwise it is a ClientReason. */
  readonly isOfGateway: boolean;
  /** What is wrong and what to do. */
  readonly details: string;
  /** The gRPC status, such as `UNAVAILABLE`; empty if no call was made. */
  readonly code: string;
  /** Whether Phoenix acted. */
  readonly effect: Effect;
  /** Milliseconds to wait before the same call is repeated; undefined: a repeat does not help, or is not safe. */
  readonly retryAfterMs: number | undefined;
  /** Faulty fields, for `INVALID_FIELD`. */
  readonly fields: readonly FaultyField[];
  /** Further facts of the gateway, such as the `event_id`. */
  readonly metadata: Readonly<Record<string, string>>;
  /** The path of the method. */
  readonly method: string;
  /** Name it when you report the failure: the gateway's log line has the same id. */
  readonly requestId: string;

  constructor(reason: GatewayError["reason"], details: string, facts: Facts = {}) {
    const about = [facts.method, facts.requestId && `request ${facts.requestId}`].filter(Boolean).join(", ");
    super(
      `${reason}: ${details}${about ? ` (${about})` : ""}`,
      facts.cause === undefined ? {} : { cause: facts.cause },
    );
    this.reason = reason;
    this.details = details;
    this.isOfGateway = facts.isOfGateway ?? false;
    this.code = facts.code ?? "";
    this.effect = facts.effect ?? "none";
    this.retryAfterMs = facts.retryAfterMs;
    this.fields = facts.fields ?? [];
    this.metadata = facts.metadata ?? {};
    this.method = facts.method ?? "";
    this.requestId = facts.requestId ?? "";
  }
}
