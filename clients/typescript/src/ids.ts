/** Ids that the client makes: of events, so that a repeat is the same event, and of calls. */

import { randomBytes } from "node:crypto";
import type { DescMessage, MessageInitShape } from "@bufbuild/protobuf";
import {
  type EventSchema,
  StreamEventsRequestSchema,
  SubmitEventRequestSchema,
  SubmitEventsRequestSchema,
} from "./gen/phoenix_gateway_client/v1_pb.js";

/** An event to send: a plain object, or a message that `create(v1.EventSchema, ...)` made. */
export type EventInit = MessageInitShape<typeof EventSchema>;

/** Returns a UUIDv7 (RFC 9562): ids of one moment lie side by side in an index. */
export function newEventId(now: number = Date.now()): string {
  const bytes = randomBytes(16);
  bytes.writeUIntBE(now, 0, 6);
  bytes.writeUInt8(0x70 | (bytes.readUInt8(6) & 0x0f), 6);
  bytes.writeUInt8(0x80 | (bytes.readUInt8(8) & 0x3f), 8);
  const text = bytes.toString("hex");
  return [text.slice(0, 8), text.slice(8, 12), text.slice(12, 16), text.slice(16, 20), text.slice(20)].join("-");
}

/**
 * Writes an `eventId` into each event that has none, so that a repeat with the same object is the same event.
 * Throws TypeError for a frozen event without an id: a repeat of it would be another event.
 */
export function giveEventIds(events: readonly EventInit[]): void {
  for (const event of events) {
    if (event.eventId) continue;
    if (Object.isFrozen(event)) {
      throw new TypeError(
        "A frozen event has no eventId, and the client cannot write one into it. Give it an eventId.",
      );
    }
    event.eventId = newEventId();
  }
}

/** Returns the events of a request of `schema`, none for other requests. */
export function eventsOf(schema: DescMessage, request: unknown): readonly EventInit[] {
  if (schema.typeName === SubmitEventRequestSchema.typeName) {
    const { event } = request as MessageInitShape<typeof SubmitEventRequestSchema>;
    return event === undefined ? [] : [event];
  }
  if (
    schema.typeName === SubmitEventsRequestSchema.typeName ||
    schema.typeName === StreamEventsRequestSchema.typeName
  ) {
    return (request as MessageInitShape<typeof SubmitEventsRequestSchema>).events ?? [];
  }
  return [];
}
