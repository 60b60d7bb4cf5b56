/** Ids that make a repeat the same event. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import {
  EventSchema,
  SubmitEventRequestSchema,
  SubmitEventsRequestSchema,
} from "../src/gen/phoenix_gateway_client/v1_pb.js";
import { type EventInit, eventsOf, giveEventIds, newEventId } from "../src/ids.js";

test("an id is a UUIDv7 that begins with the time", () => {
  const id = newEventId(0x0123456789ab);
  assert.match(id, /^01234567-89ab-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.notEqual(newEventId(), newEventId());
});

test("each event gets an id once; an id of the caller stays", () => {
  const events: EventInit[] = [{ userId: "ada" }, create(EventSchema, { userId: "bob" }), { eventId: "mine" }];
  giveEventIds(events);
  const ids = events.map((event) => event.eventId);
  giveEventIds(events);
  assert.deepEqual(
    events.map((event) => event.eventId),
    ids,
  );
  assert.deepEqual([new Set(ids).size, ids.filter((id) => id?.length === 36).length], [3, 2]);
  assert.equal(ids[2], "mine");
});

test("a frozen event without an id is refused", () => {
  assert.throws(() => giveEventIds([Object.freeze({ userId: "ada" })]), /Give it an eventId/);
  giveEventIds([Object.freeze({ eventId: "mine" })]);
});

test("the events of each request that has some are found", () => {
  const event = { userId: "ada" };
  assert.deepEqual(eventsOf(SubmitEventRequestSchema, { event }), [event]);
  assert.deepEqual(eventsOf(SubmitEventsRequestSchema, { events: [event] }), [event]);
  assert.deepEqual(eventsOf(SubmitEventRequestSchema, {}), []);
  assert.deepEqual(eventsOf(EventSchema, { event }), []);
});
