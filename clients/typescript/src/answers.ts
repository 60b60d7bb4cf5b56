/** The answers of one stream of gRPC, as an async iterable that gives its channel back. */

import type { ClientDuplexStream, ClientReadableStream, ServiceError } from "@grpc/grpc-js";
import type { Use } from "./channels.js";
import { Deferred } from "./waiting.js";

/** Turns an error of gRPC into the one that the caller gets. */
export type Failure = (error: ServiceError) => Promise<Error>;

/** Yields the answers of a call and ends it with the loop. Throws the failure, or the reason of `signal`. */
export async function* answersOf<O>(
  call: ClientReadableStream<O>,
  use: Use<unknown>,
  failure: Failure,
  signal: AbortSignal | undefined,
): AsyncGenerator<O, void, undefined> {
  const end = () => call.cancel();
  call.on("error", () => undefined); // of a call that the loop has left
  signal?.addEventListener("abort", end);
  try {
    signal?.throwIfAborted();
    for await (const answer of call) yield answer as O;
  } catch (error) {
    if (signal?.aborted) throw signal.reason;
    throw isOfGrpc(error) ? await failure(error) : error;
  } finally {
    signal?.removeEventListener("abort", end);
    call.cancel();
    use.release();
  }
}

/** A stream in both directions. Iterate over it for the answers. */
export class Stream<O> implements AsyncIterable<O> {
  readonly #call: ClientDuplexStream<Uint8Array, O>;
  readonly #use: Use<unknown>;
  readonly #failure: Failure;
  readonly #signal: AbortSignal | undefined;
  readonly #over = new Deferred<ServiceError | undefined>();
  readonly #headers = new Deferred<Map<string, string>>();
  #ownError: unknown;
  #isOver = false;

  constructor(call: ClientDuplexStream<Uint8Array, O>, use: Use<unknown>, failure: Failure, signal?: AbortSignal) {
    this.#call = call;
    this.#use = use;
    this.#failure = failure;
    this.#signal = signal;
    call.on("metadata", (found) =>
      this.#headers.resolve(new Map(Object.entries(found.getMap()).map(([name, value]) => [name, String(value)]))),
    );
    call.on("error", (error: ServiceError) => this.#end(error));
    call.on("status", () => this.#end(undefined));
  }

  /** Whether the stream has ended: what is written now is not sent. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** Waits for the gateway's first answer and returns a value of its metadata, empty if there is none. */
  async header(name: string): Promise<string> {
    const ended = this.#over.promise.then(async (error) => {
      if (error !== undefined) throw await this.#failure(error);
      return new Map<string, string>();
    });
    const found = await Promise.race([this.#headers.promise, ended]);
    return found.get(name) ?? "";
  }

  /** Sends one encoded message; waits while the gateway does not read. */
  async write(message: Uint8Array): Promise<void> {
    if (this.#isOver || this.#call.write(message)) return;
    await new Promise<unknown>((resolve) => {
      this.#call.once("drain", resolve);
      void this.#over.promise.then(resolve);
    });
  }

  /** Sends no more messages. */
  end(): void {
    if (!this.#isOver) this.#call.end();
  }

  /** Ends the stream; the loop over the answers throws `error`. */
  fail(error: unknown): void {
    this.#ownError ??= error;
    this.#call.cancel();
  }

  /** Ends the stream and gives its channel back. May be called again. */
  close(): void {
    this.#isOver = true;
    this.#call.cancel();
    this.#use.release();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<O, void, undefined> {
    try {
      yield* answersOf(this.#call, this.#use, this.#failure, this.#signal);
    } catch (error) {
      throw this.#ownError ?? error;
    }
  }

  #end(error: ServiceError | undefined): void {
    this.#isOver = true;
    this.#over.resolve(error);
  }
}

function isOfGrpc(error: unknown): error is ServiceError {
  return error instanceof Error && "details" in error && "metadata" in error && "code" in error;
}
