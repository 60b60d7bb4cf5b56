/**
 * The messages of an event stream without an answer, and which of them may be sent again. Pure.
 *
 * A message is sent again under its event ids only where the gateway remembers these ids, so that nothing counts twice:
 * durable events in its store, direct ones in the process that had them. Otherwise its outcome is unknown, and the
 * caller decides. Source: "Deduplication" in docs/api.md.
 */

import { create, toBinary } from "@bufbuild/protobuf";
import { GatewayError } from "./errors.js";
import { Delivery, StreamEventsRequestSchema } from "./gen/phoenix_gateway_client/v1_pb.js";
import { type EventInit, giveEventIds } from "./ids.js";

/** The gateway remembers an id for 24 h. */
const REMEMBERED_MS = 23 * 3600 * 1000;

/** Events that are sent together. `result` is where their results go. */
export interface Message<Result> {
  readonly sequence: bigint;
  /** Encoded at once, so that a change of the caller's object does not change what is sent again. */
  readonly bytes: Uint8Array;
  readonly result: Result;
  /** The first sending; undefined: certainly none, or the gateway has said that it did not begin. */
  sent: { readonly process: string; readonly stream: number; readonly at: number } | undefined;
}

/** What a stream of events does. */
export interface EventStreamOptions {
  /** The gamification tenant. Default: the caller's only one. */
  readonly tenantId?: string;
  /**
   * True, the default: the gateway answers when its store has the events, and remembers their ids. False: it answers
   * after Phoenix; a message whose gateway was restarted ends as `OUTCOME_UNKNOWN`.
   */
  readonly durable?: boolean;
  /** Sends messages of unknown outcome again: only where Phoenix deduplicates. Default: false. */
  readonly resendUnknown?: boolean;
}

/** The messages without an answer, in their order. */
export class Unacknowledged<Result> {
  readonly #options: EventStreamOptions;
  readonly #isDurable: boolean;
  readonly #now: () => number;
  #messages: Message<Result>[] = [];
  #sent = 0;
  #sequence = 0n;
  #stream = 0;
  #process = "";

  constructor(options: EventStreamOptions = {}, now: () => number = () => performance.now()) {
    this.#options = options;
    this.#isDurable = options.durable ?? true;
    this.#now = now;
  }

  get length(): number {
    return this.#messages.length;
  }

  /** Whether a message waits to be sent over the present stream. */
  get hasUnsent(): boolean {
    return this.#sent < this.#messages.length;
  }

  /** Adds a message; its events get ids. Throws TypeError for a frozen event; Error for a field of a wrong type. */
  add(events: readonly EventInit[], result: Result): void {
    giveEventIds(events);
    const sequence = this.#sequence + 1n;
    const request = create(StreamEventsRequestSchema, {
      tenantId: this.#options.tenantId ?? "",
      events: [...events],
      sequence,
      delivery: this.#isDurable ? Delivery.DURABLE : Delivery.DIRECT,
    });
    const bytes = toBinary(StreamEventsRequestSchema, request);
    this.#sequence = sequence;
    this.#messages.push({ sequence, bytes, result, sent: undefined });
  }

  /** Starts over with a new stream to a process. Returns the messages that must not be sent again, and forgets them. */
  begin(process: string): Message<Result>[] {
    this.#process = process;
    this.#stream += 1;
    this.#sent = 0;
    const inDoubt = this.#messages.filter((one) => !this.#maySend(one));
    this.#messages = this.#messages.filter((one) => !inDoubt.includes(one));
    return inDoubt;
  }

  /** Returns the next message for the present stream, encoded; look at `hasUnsent` first. */
  next(): Uint8Array {
    const message = this.#messages[this.#sent] as Message<Result>;
    this.#sent += 1;
    message.sent ??= { process: this.#process, stream: this.#stream, at: this.#now() };
    return message.bytes;
  }

  /** Returns the message that was answered, and forgets it; undefined for an answer to another one. */
  acknowledge(sequence: bigint): Message<Result> | undefined {
    if (this.#sent === 0 || this.#messages[0]?.sequence !== sequence) return undefined;
    this.#sent -= 1;
    return this.#messages.shift();
  }

  /** The gateway ended the present stream and has begun none of its messages that have no answer. */
  refused(): void {
    for (const message of this.#messages) {
      if (message.sent?.stream === this.#stream) message.sent = undefined;
    }
  }

  /** The stream has ended: nothing more of it is refused. */
  ended(): void {
    this.#stream += 1;
    this.#sent = 0;
  }

  /** Returns all messages and forgets them. */
  takeAll(): Message<Result>[] {
    const taken = this.#messages;
    this.#messages = [];
    this.#sent = 0;
    return taken;
  }

  #maySend(message: Message<Result>): boolean {
    if (message.sent === undefined || this.#options.resendUnknown) return true;
    const isRemembered = this.#isDurable || (this.#process !== "" && this.#process === message.sent.process);
    return isRemembered && this.#now() - message.sent.at < REMEMBERED_MS;
  }
}

/** Returns the error of a message that must not be sent again. */
export function outcomeUnknown(details: string, cause?: unknown): GatewayError {
  return new GatewayError(
    "OUTCOME_UNKNOWN",
    `${details} Check whether the events took effect before you send them again.`,
    {
      code: "UNKNOWN",
      effect: "maybe",
      cause,
    },
  );
}
