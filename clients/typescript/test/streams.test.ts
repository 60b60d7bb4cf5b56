/** When a stream is opened again, and which events are then sent again. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { fromBinary } from "@bufbuild/protobuf";
import { GatewayError } from "../src/errors.js";
import { StreamEventsRequestSchema } from "../src/gen/phoenix_gateway_client/v1_pb.js";
import { Reconnects } from "../src/reconnects.js";
import { type EventStreamOptions, Unacknowledged } from "../src/unacknowledged.js";

const DAY_MS = 24 * 3600 * 1000;

/** Two messages, of which the first was sent to the process p1. */
function pending(options: EventStreamOptions, clock = { now: 0 }): Unacknowledged<string> {
  const made = new Unacknowledged<string>(options, () => clock.now);
  made.add([{ userId: "ada" }], "first");
  made.add([{ userId: "bob" }], "second");
  made.begin("p1");
  made.next();
  return made;
}

function doubted(made: Unacknowledged<string>, process: string): string[] {
  return made.begin(process).map((message) => message.result);
}

test("only what another process may have is in doubt", () => {
  assert.deepEqual(doubted(pending({ durable: false }), "p2"), ["first"]);
  assert.deepEqual(doubted(pending({ durable: false }), "p1"), []);
  assert.deepEqual(doubted(pending({ durable: false }), ""), ["first"]);
  assert.deepEqual(doubted(pending({ durable: true }), "p2"), []);
  assert.deepEqual(doubted(pending({ durable: false, resendUnknown: true }), "p2"), []);
});

test("a message stays in doubt of the first process that had it", () => {
  const made = pending({ durable: false });
  made.begin("p1");
  made.next();
  assert.deepEqual(doubted(made, "p2"), ["first"]);
});

test("ids are remembered for a day only", () => {
  const clock = { now: 0 };
  const made = pending({}, clock);
  clock.now = DAY_MS;
  assert.deepEqual(doubted(made, "p1"), ["first"]);
});

test("a refusal clears only messages that were first sent over this stream", () => {
  const refused = pending({ durable: false });
  refused.refused();
  assert.deepEqual(doubted(refused, "p2"), []);
  const sentBefore = pending({ durable: false });
  sentBefore.ended();
  sentBefore.begin("p1");
  sentBefore.next();
  sentBefore.refused();
  assert.deepEqual(doubted(sentBefore, "p2"), ["first"]);
  const neverOpened = pending({ durable: false });
  neverOpened.ended();
  neverOpened.refused();
  assert.deepEqual(doubted(neverOpened, "p2"), ["first"]);
});

test("what is sent again is what was handed over, under the same ids", () => {
  const event = { userId: "ada", scoreDelta: 1 };
  const made = new Unacknowledged<string>();
  made.add([event], "first");
  event.scoreDelta = 99;
  made.begin("p1");
  const [first, again] = [made.next(), (made.begin("p1"), made.next())].map((bytes) =>
    fromBinary(StreamEventsRequestSchema, bytes),
  );
  assert.deepEqual(first, again);
  assert.equal(first?.events[0]?.scoreDelta, 1);
  assert.match(first?.events[0]?.eventId ?? "", /^[0-9a-f-]{36}$/);
});

test("an event that cannot be encoded leaves no gap", () => {
  const made = new Unacknowledged<string>();
  assert.throws(() => made.add([{ occurTime: { seconds: "soon" as never } }], "bad"));
  assert.equal(made.length, 0);
});

test("an answer to another message is ignored", () => {
  const made = pending({});
  assert.equal(made.acknowledge(2n), undefined);
  assert.equal(made.acknowledge(1n)?.result, "first");
  assert.deepEqual([made.length, made.hasUnsent], [1, true]);
});

test("waits double to 5 s, follow the gateway, and begin anew after a success", () => {
  const made = new Reconnects(() => 1);
  const lost = new GatewayError("CONNECTION_LOST", "lost", { code: "UNAVAILABLE" });
  assert.throws(() => made.waitAfter(lost), /CONNECTION_LOST/);
  made.worked();
  assert.deepEqual(
    [1, 2, 3, 4, 5, 6].map(() => made.waitAfter(lost)),
    [200, 400, 800, 1600, 3200, 5000],
  );
  const full = { code: "RESOURCE_EXHAUSTED", retryAfterMs: 9000, isOfGateway: true };
  assert.equal(made.waitAfter(new GatewayError("OVERLOADED", "full", full)), 9000);
  made.worked();
  assert.equal(made.waitAfter(undefined), 200);
});

test("a refusal ends a stream, also after it has worked", () => {
  const made = new Reconnects();
  made.worked();
  const refusals = [
    new GatewayError("NOT_ALLOWED", "no", { code: "PERMISSION_DENIED", isOfGateway: true }),
    new GatewayError("VERSION_MISMATCH", "old", { code: "UNIMPLEMENTED" }),
    new GatewayError("CLIENT_CLOSED", "closed"),
    new TypeError("a mistake"),
  ];
  for (const refusal of refusals) assert.throws(() => made.waitAfter(refusal), refusal);
});
