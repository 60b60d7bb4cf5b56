/** Errors by reason, from what the gateway sends. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { anyPack } from "@bufbuild/protobuf/wkt";
import { Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { errorOf, failureOf } from "../src/failures.js";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "../src/gen/google/rpc/error_details_pb.js";
import { type Status, StatusSchema } from "../src/gen/google/rpc/status_pb.js";

const ABOUT = { method: "/phoenix.gateway.v1.KeyService/ListKeys", requestId: "req-1" };

function statusOf(reason: string, metadata: Record<string, string> = {}): Status {
  const details = [
    anyPack(RetryInfoSchema, create(RetryInfoSchema, { retryDelay: { seconds: 1n, nanos: 500_000_000 } })),
    anyPack(
      BadRequestSchema,
      create(BadRequestSchema, { fieldViolations: [{ field: "a.b", description: "too long" }] }),
    ),
    anyPack(ErrorInfoSchema, create(ErrorInfoSchema, { reason, metadata })),
  ];
  return create(StatusSchema, { code: 8, message: "Slower.", details });
}

function failed(code: status, packed?: Uint8Array, details = "the text"): ServiceError {
  const metadata = new Metadata();
  if (packed !== undefined) metadata.set("grpc-status-details-bin", Buffer.from(packed));
  metadata.set("x-request-id", "req-of-gateway");
  return Object.assign(new Error(details), { code, details, metadata });
}

test("a reason comes with its wait, fields, effect and metadata", () => {
  const packed = toBinary(StatusSchema, statusOf("RATE_LIMITED", { effect: "none", limit: "events" }));
  const error = failureOf(failed(status.RESOURCE_EXHAUSTED, packed), ABOUT);
  assert.deepEqual(
    [error.reason, error.isOfGateway, error.code, error.effect, error.retryAfterMs, error.requestId],
    ["RATE_LIMITED", true, "RESOURCE_EXHAUSTED", "none", 1500, "req-of-gateway"],
  );
  assert.deepEqual(error.fields, [{ field: "a.b", description: "too long" }]);
  assert.equal(error.metadata["limit"], "events");
  assert.match(error.message, /^RATE_LIMITED: the text \(.*ListKeys, request req-of-gateway\)$/);
});

test("a reason and an effect of a newer gateway are kept and doubted", () => {
  const packed = toBinary(StatusSchema, statusOf("NEW_REASON", { effect: "some" }));
  const error = failureOf(failed(status.INTERNAL, packed), ABOUT);
  assert.deepEqual([error.reason, error.effect], ["NEW_REASON", "maybe"]);
});

test("details that are no status do not hide the failure", () => {
  const error = failureOf(failed(status.INTERNAL, Buffer.from([0xff, 0xff])), ABOUT);
  assert.deepEqual([error.reason, error.isOfGateway, error.effect], ["CALL_FAILED", false, "maybe"]);
});

test("an unknown method is another version; no answer is a deadline", () => {
  const unknown = failureOf(failed(status.UNIMPLEMENTED), ABOUT);
  assert.equal(unknown.reason, "VERSION_MISMATCH");
  assert.match(unknown.details, /another major version.*Install the client/);
  const late = failureOf(failed(status.DEADLINE_EXCEEDED), ABOUT);
  assert.deepEqual([late.reason, late.effect], ["DEADLINE_EXCEEDED", "maybe"]);
});

test("an item of a batch is its error, or none", () => {
  assert.equal(errorOf(undefined), undefined);
  assert.equal(errorOf(create(StatusSchema)), undefined);
  const error = errorOf(statusOf("EVENT_ID_REUSED", { effect: "none" }));
  assert.deepEqual([error?.reason, error?.code, error?.details], ["EVENT_ID_REUSED", "RESOURCE_EXHAUSTED", "Slower."]);
  assert.equal(errorOf(create(StatusSchema, { code: 13 }))?.effect, "maybe");
});
