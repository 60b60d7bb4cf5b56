/** What is sent how often, against a server of gRPC's own whose answers are scripted. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { Metadata, type sendUnaryData, Server, ServerCredentials, type ServerUnaryCall, status } from "@grpc/grpc-js";
import { anyPack } from "@bufbuild/protobuf/wkt";
import { ErrorInfoSchema, RetryInfoSchema } from "../src/gen/google/rpc/error_details_pb.js";
import { StatusSchema } from "../src/gen/google/rpc/status_pb.js";
import {
  Delivery,
  GetUserRankRequestSchema,
  GetUserRankResponseSchema,
  SubmitEventRequestSchema,
  SubmitEventResponseSchema,
} from "../src/gen/phoenix_gateway_client/v1_pb.js";
import { RetryBudget } from "../src/certain-retries.js";
import { Gateway } from "../src/gateway.js";

type Failure = { code: status; details: string; metadata?: Metadata };

/** Fails the first calls as told, then answers; `seen` has the event ids or users of all. */
async function scripted(failures: Failure[], use: (gateway: Gateway, seen: string[]) => Promise<void>): Promise<void> {
  const seen: string[] = [];
  const server = new Server();
  const path = "/phoenix.gateway.v1.";
  const same = (bytes: Buffer) => bytes;
  const method = (name: string) => ({
    path: `${path}${name}`,
    requestStream: false,
    responseStream: false,
    requestSerialize: same,
    requestDeserialize: same,
    responseSerialize: same,
    responseDeserialize: same,
  });
  const answer = (bytes: Uint8Array, done: sendUnaryData<Buffer>) => {
    const failure = failures.shift();
    if (failure === undefined) done(null, Buffer.from(bytes));
    else done({ ...failure, name: "", message: "" });
  };
  server.addService(
    { submit: method("EventService/SubmitEvent"), rank: method("LeaderboardService/GetUserRank") } as never,
    {
      submit: (call: ServerUnaryCall<Buffer, Buffer>, done: sendUnaryData<Buffer>) => {
        const { event } = fromBinary(SubmitEventRequestSchema, call.request);
        seen.push(event?.eventId ?? "");
        answer(
          toBinary(SubmitEventResponseSchema, create(SubmitEventResponseSchema, { eventId: event?.eventId ?? "" })),
          done,
        );
      },
      rank: (call: ServerUnaryCall<Buffer, Buffer>, done: sendUnaryData<Buffer>) => {
        seen.push(fromBinary(GetUserRankRequestSchema, call.request).userId);
        answer(toBinary(GetUserRankResponseSchema, create(GetUserRankResponseSchema, { rank: 2n ** 63n - 1n })), done);
      },
    },
  );
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, found) =>
      error ? reject(error) : resolve(found),
    ),
  );
  const gateway = new Gateway(`127.0.0.1:${port}`, { warn: () => undefined });
  try {
    await use(gateway, seen);
  } finally {
    gateway.close();
    server.forceShutdown();
  }
}

const lost: Failure = { code: status.UNAVAILABLE, details: "Connection dropped" };

/** UNAVAILABLE as the gateway says it: nothing was done, repeat. */
function refusal(effect: string): Failure {
  const details = [
    anyPack(ErrorInfoSchema, create(ErrorInfoSchema, { reason: "PHOENIX_UNAVAILABLE", metadata: { effect } })),
    anyPack(RetryInfoSchema, create(RetryInfoSchema, { retryDelay: { nanos: 1_000_000 } })),
  ];
  const metadata = new Metadata();
  const packed = toBinary(StatusSchema, create(StatusSchema, { code: status.UNAVAILABLE, details }));
  metadata.set("grpc-status-details-bin", Buffer.from(packed));
  return { code: status.UNAVAILABLE, details: "Phoenix is away.", metadata };
}

test("a lost connection does not send a direct event twice", async () => {
  await scripted([lost], async (gateway, seen) => {
    const sent = gateway.events.submitEvent({ event: { userId: "ada" } });
    await assert.rejects(sent, { reason: "CONNECTION_LOST", effect: "maybe" });
    assert.equal(seen.length, 1);
  });
});

test("a durable event is sent again under its id: the store keeps it once", async () => {
  await scripted([lost, lost], async (gateway, seen) => {
    const event = { userId: "ada", eventId: "" };
    const { eventId } = await gateway.events.submitEvent({ event, delivery: Delivery.DURABLE });
    assert.deepEqual(seen, [eventId, eventId, eventId]);
    assert.equal(event.eventId, eventId);
  });
});

test("what the gateway certainly did not do is repeated, at most four times in all", async () => {
  await scripted([refusal("none"), refusal("none")], async (gateway, seen) => {
    await gateway.events.submitEvent({ event: { userId: "ada" } });
    assert.deepEqual([seen.length, new Set(seen).size], [3, 1]);
  });
  await scripted(
    [1, 2, 3, 4, 5].map(() => refusal("none")),
    async (gateway, seen) => {
      await assert.rejects(gateway.events.submitEvent({ event: { userId: "ada" } }), { reason: "PHOENIX_UNAVAILABLE" });
      assert.equal(seen.length, 4);
    },
  );
});

test("what may have been done is not repeated", async () => {
  await scripted([refusal("maybe")], async (gateway, seen) => {
    await assert.rejects(gateway.events.submitEvent({ event: { userId: "ada" } }), { effect: "maybe" });
    assert.equal(seen.length, 1);
  });
});

test("a repeat does not outlast the timeout", async () => {
  await scripted([refusal("none"), refusal("none")], async (gateway, seen) => {
    const sent = gateway.events.submitEvent({ event: { userId: "ada" } }, { timeoutMs: 60 });
    await assert.rejects(sent, { reason: "PHOENIX_UNAVAILABLE" });
    assert.equal(seen.length, 1);
  });
});

test("the channel repeats a read; a 64-bit integer keeps its last digit", async () => {
  await scripted([lost, lost], async (gateway, seen) => {
    const { rank } = await gateway.leaderboards.getUserRank({ userId: "ada" });
    assert.deepEqual([rank, seen.length], [9223372036854775807n, 3]);
  });
});

test("an event that never left was certainly not counted", async () => {
  const gateway = new Gateway("127.0.0.1:1", { warn: () => undefined });
  const sent = gateway.events.submitEvent({ event: { userId: "ada" } });
  await assert.rejects(sent, { reason: "GATEWAY_UNREACHABLE", effect: "none" });
  gateway.close();
});

test("a signal ends a call with its reason", async () => {
  await scripted([], async (gateway) => {
    const reason = new Error("enough");
    const aborted = gateway.leaderboards.getUserRank({ userId: "ada" }, { signal: AbortSignal.abort(reason) });
    await assert.rejects(aborted, reason);
    const control = new AbortController();
    const call = gateway.leaderboards.getUserRank({ userId: "ada" }, { signal: control.signal });
    control.abort(reason);
    await assert.rejects(call, reason);
  });
});

test("repeats end when too many attempts fail", () => {
  const budget = new RetryBudget();
  const failures = Array.from({ length: 60 }, () => budget.allows(true));
  assert.equal(failures.indexOf(false), 49);
  for (let successes = 0; successes < 100; successes += 1) budget.allows(false);
  assert.equal(budget.allows(true), true);
});
