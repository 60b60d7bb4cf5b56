/** A stream of events that survives a lost connection. Which messages are sent again is in unacknowledged.ts. */

import type { Stream } from "./answers.js";
import type { Calls } from "./calls.js";
import { GatewayError } from "./errors.js";
import { type EventResult, EventService } from "./gen/phoenix_gateway_client/v1_pb.js";
import type { EventInit } from "./ids.js";
import { Reconnects } from "./reconnects.js";
import { type EventStreamOptions, type Message, outcomeUnknown, Unacknowledged } from "./unacknowledged.js";
import { Changes, Deferred, sleep } from "./waiting.js";

/** Metadata of the stream that identifies the gateway's process. */
const PROCESS = "x-gateway-process";
/** Messages without an answer: a few more than a gateway reads ahead. */
const WINDOW = 6;

/** A message that was handed over. */
export interface Sent {
  /**
   * One result for each event, in their order. A failed event does not fail the stream: `errorOf(result.error)` is its
   * error. Rejects with GatewayError: `OUTCOME_UNKNOWN` if nobody knows whether the events count.
   */
  readonly results: Promise<EventResult[]>;
}

type Results = Deferred<EventResult[]>;

/** Sends events and keeps those that have no answer. Make it with `gateway.eventStream()`. */
export class EventStream {
  readonly #calls: Calls;
  readonly #warn: (text: string) => void;
  readonly #pending: Unacknowledged<Results>;
  readonly #reconnects = new Reconnects();
  readonly #changes = new Changes();
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;
  #handedOver: Promise<unknown> = Promise.resolve();
  #isClosing = false;
  #failure: { readonly error: unknown } | undefined;

  /** Args: `calls`: of the client. */
  constructor(calls: Calls, options: EventStreamOptions, warn: (text: string) => void) {
    this.#calls = calls;
    this.#warn = warn;
    this.#pending = new Unacknowledged<Results>(options);
    this.#running = this.#run();
  }

  /**
   * Hands over a message of 1 to 1,000 events. Waits while too many messages have no answer, so await it: memory then
   * stays bounded. Messages are sent in the order of the calls. Rejects with GatewayError if the stream has failed.
   */
  send(...events: EventInit[]): Promise<Sent> {
    const sent = this.#handedOver.then(async () => {
      await this.#changes.until(() => this.#pending.length < WINDOW || this.#isOver);
      if (this.#failure !== undefined) throw this.#failure.error;
      if (this.#isClosing) throw new GatewayError("CLIENT_CLOSED", "This stream was closed. Open a new one.");
      const results: Results = new Deferred();
      this.#pending.add(events, results);
      this.#changes.notify();
      return { results: results.promise };
    });
    this.#handedOver = sent.catch(() => undefined);
    return sent;
  }

  /** Waits until every message is answered. Rejects with GatewayError if the stream has failed. */
  async flush(): Promise<void> {
    await this.#handedOver;
    await this.#changes.until(() => this.#pending.length === 0 || this.#failure !== undefined);
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  /** Waits until every message is answered, then ends the stream. Rejects with GatewayError if it has failed. */
  async close(): Promise<void> {
    try {
      await this.flush();
    } finally {
      this.#isClosing = true;
      this.#changes.notify();
      await this.#running;
    }
  }

  /** Ends the stream at once. Messages without an answer get `OUTCOME_UNKNOWN`, or `CLIENT_CLOSED` if never sent. */
  async cancel(): Promise<void> {
    if (this.#failure === undefined) {
      this.#fail(new GatewayError("CLIENT_CLOSED", "The stream was cancelled before the answer."));
    }
    await this.#running;
  }

  get #isOver(): boolean {
    return this.#failure !== undefined || this.#isClosing;
  }

  async #run(): Promise<void> {
    while (true) {
      let error: unknown;
      try {
        await this.#overOneStream();
      } catch (ended) {
        error = ended;
      }
      if (this.#failure !== undefined || (this.#isClosing && this.#pending.length === 0)) return;
      if (error instanceof GatewayError && error.isOfGateway && error.effect === "none") this.#pending.refused();
      this.#pending.ended();
      let wait: number;
      try {
        wait = this.#reconnects.waitAfter(error);
      } catch (final) {
        this.#fail(final);
        return;
      }
      this.#warn(
        `The event stream ended and is opened again in ${Math.round(wait)} ms: ${String(error ?? "no error")}`,
      );
      await sleep(wait, this.#stop.signal);
    }
  }

  async #overOneStream(): Promise<void> {
    const stream = this.#calls.open(EventService.method.streamEvents, { signal: this.#stop.signal });
    let writing: Promise<void> | undefined;
    try {
      const process = await stream.header(PROCESS);
      this.#reconnects.worked();
      for (const message of this.#pending.begin(process)) this.#inDoubt(message);
      this.#changes.notify();
      writing = this.#write(stream);
      for await (const { sequence, results } of stream) {
        this.#pending.acknowledge(sequence)?.result.resolve(results);
        this.#changes.notify();
      }
    } finally {
      stream.close();
      this.#changes.notify();
      await writing;
    }
  }

  async #write(stream: Stream<unknown>): Promise<void> {
    while (true) {
      await this.#changes.until(() => stream.isOver || this.#pending.hasUnsent || this.#isClosing);
      if (stream.isOver) return;
      if (!this.#pending.hasUnsent) return stream.end();
      await stream.write(this.#pending.next());
    }
  }

  #inDoubt(message: Message<Results>): void {
    message.result.reject(
      outcomeUnknown(
        "The connection broke before the answer, and the gateway that is connected now does not remember the events.",
      ),
    );
  }

  #fail(error: unknown): void {
    this.#failure = { error };
    this.#stop.abort(error);
    for (const { sent, result } of this.#pending.takeAll()) {
      result.reject(sent === undefined ? error : outcomeUnknown("The stream ended before the answer.", error));
    }
    this.#changes.notify();
  }
}
