/** What a failed call means: the status of gRPC and its details become a GatewayError. Pure. */

import { fromBinary, type Message } from "@bufbuild/protobuf";
import type { GenMessage } from "@bufbuild/protobuf/codegenv2";
import { anyUnpack, durationMs } from "@bufbuild/protobuf/wkt";
import { status as codes, type ServiceError } from "@grpc/grpc-js";
import { type Effect, GatewayError } from "./errors.js";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "./gen/google/rpc/error_details_pb.js";
import { type Status, StatusSchema } from "./gen/google/rpc/status_pb.js";
import { VERSION } from "./gen/version.js";

/** Which call it was. */
export interface About {
  readonly method: string;
  readonly requestId: string;
}

const REQUEST_ID = "x-request-id";
const DETAILS = "grpc-status-details-bin";
const EFFECTS: readonly string[] = ["none", "maybe", "done"];

/** Returns the error of a call that failed. */
export function failureOf(error: ServiceError, called: About): GatewayError {
  const code = codes[error.code] ?? String(error.code);
  const requestId = error.metadata?.get(REQUEST_ID)[0]?.toString() || called.requestId;
  const about = { method: called.method, requestId, code };
  const known = fromStatus(statusOf(error), error.details, about);
  if (known !== undefined) return known;
  if (error.code === codes.UNIMPLEMENTED) {
    const method = called.method.slice(1);
    return new GatewayError(
      "VERSION_MISMATCH",
      `The gateway does not know ${method}: it is of another major version or older than this client (${VERSION}). ` +
        "Install the client of the gateway's version, or have the gateway upgraded.",
      about,
    );
  }
  if (error.code === codes.DEADLINE_EXCEEDED) {
    return new GatewayError(
      "DEADLINE_EXCEEDED",
      "No answer within the timeout. Check the address, then repeat the call with a longer timeout; repeat a change " +
        "only under the same id.",
      { ...about, effect: "maybe" },
    );
  }
  return new GatewayError("CALL_FAILED", error.details || code, { ...about, effect: "maybe" });
}

/** Returns the error of one item of a batch (`result.error`), to look at or to throw; undefined if it succeeded. */
export function errorOf(status: Status | undefined): GatewayError | undefined {
  if (status === undefined || status.code === 0) return undefined;
  const about = { method: "", requestId: "", code: codes[status.code] ?? String(status.code) };
  return (
    fromStatus(status, status.message, about) ??
    new GatewayError("CALL_FAILED", status.message || about.code, { ...about, effect: "maybe" })
  );
}

function statusOf(error: ServiceError): Status | undefined {
  const packed = error.metadata?.get(DETAILS)[0];
  if (!(packed instanceof Uint8Array)) return undefined;
  try {
    return fromBinary(StatusSchema, packed);
  } catch {
    return undefined; // not a gateway's; the status itself is enough
  }
}

function fromStatus(status: Status | undefined, details: string, about: About & { code: string }) {
  const info = detail(status, ErrorInfoSchema);
  if (info === undefined || info.reason === "") return undefined;
  const delay = detail(status, RetryInfoSchema)?.retryDelay;
  const effect = info.metadata["effect"] ?? "";
  return new GatewayError(info.reason, details, {
    ...about,
    isOfGateway: true,
    effect: EFFECTS.includes(effect) ? (effect as Effect) : "maybe",
    retryAfterMs: delay === undefined ? undefined : durationMs(delay),
    metadata: info.metadata,
    fields: (detail(status, BadRequestSchema)?.fieldViolations ?? []).map(({ field, description }) => ({
      field,
      description,
    })),
  });
}

function detail<T extends Message>(status: Status | undefined, schema: GenMessage<T>): T | undefined {
  for (const packed of status?.details ?? []) {
    const found = anyUnpack(packed, schema);
    if (found !== undefined) return found as T;
  }
  return undefined;
}
