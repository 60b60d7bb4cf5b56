/** Makes calls and streams: the only part that uses gRPC's client. */

import { randomUUID } from "node:crypto";
import {
  create,
  type DescMessage,
  type DescMethod,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import {
  type CallOptions as GrpcOptions,
  Client,
  credentials,
  Metadata,
  type ServiceError,
  status,
} from "@grpc/grpc-js";
import { answersOf, Stream } from "./answers.js";
import { RetryBudget, withCertainRetries } from "./certain-retries.js";
import { Channels } from "./channels.js";
import { diagnose } from "./diagnosis.js";
import { GatewayError } from "./errors.js";
import { type About, failureOf } from "./failures.js";
import { VERSION } from "./gen/version.js";
import { eventsOf, giveEventIds } from "./ids.js";
import { defaultTimeoutMs, isRepeatedByChannel, serviceConfig } from "./service-config.js";
import { isLocal } from "./target.js";
import type { LoadedTls, Tls } from "./tls.js";

/** Options of one call. */
export interface CallOptions {
  /** Milliseconds that the call may take. Default: as published, 10 s, and 4 s for the wallet; streams have none. */
  readonly timeoutMs?: number;
  /** Ends the call; it then fails with the signal's reason. */
  readonly signal?: AbortSignal;
  /** Names the call in the gateway's log. Default: a new UUID. */
  readonly requestId?: string;
  /** Further metadata, such as `traceparent`. */
  readonly metadata?: Readonly<Record<string, string>>;
}

/** Where the gateway is, and how it is called. */
export interface Settings {
  readonly target: string;
  readonly tls: Tls | undefined;
  readonly token: string;
  readonly timeoutMs: number | undefined;
  readonly warn: (text: string) => void;
}

/** A method of the contract. */
export type Method = DescMethod;
/** Its request: a plain object or a message. */
export type Input<M extends Method> = MessageInitShape<M["input"]>;
/** Its answer. */
export type Output<M extends Method> = MessageShape<M["output"]>;

interface Prepared {
  readonly metadata: Metadata;
  readonly deadline: number | undefined;
  readonly about: About;
}

const REQUEST_ID = "x-request-id";
const NEVER_SENT = /No connection established|Name resolution failed/;
const DIAGNOSIS_LASTS_MS = 1000;

/** Makes calls of one client. */
export class Calls {
  readonly #settings: Settings;
  readonly #channels: Channels<Client>;
  readonly #budget = new RetryBudget();
  #known: { readonly until: number; readonly cause: Promise<GatewayError> } | undefined;

  /** Throws TypeError for a token that would leave this machine. */
  constructor(settings: Settings) {
    if (settings.token !== "" && (settings.tls !== undefined || !isLocal(settings.target))) {
      throw new TypeError(
        "token: is for a gateway on this machine without TLS. Elsewhere, use a client certificate: tls.",
      );
    }
    this.#settings = settings;
    this.#channels = new Channels(
      settings.tls,
      (loaded) => opened(settings, loaded),
      (client) => client.close(),
      settings.warn,
    );
  }

  /** Ends the connections when the calls under way are over; no further call is made. */
  close(): void {
    this.#channels.close();
  }

  /** Makes one call. Events of the request get ids. Rejects with GatewayError, or with the reason of `signal`. */
  async unary<M extends Method>(method: M, request: Input<M>, options: CallOptions = {}): Promise<Output<M>> {
    const path = pathOf(method);
    const timeoutMs = options.timeoutMs ?? this.#settings.timeoutMs ?? defaultTimeoutMs(path);
    const made = this.#prepare(method, { ...options, ...(timeoutMs === undefined ? {} : { timeoutMs }) });
    const message = messageOf(method, request);
    const bytes = toBinary(method.input, message);
    const call = () => this.#unary(method, bytes, made, options.signal);
    if (isRepeatedByChannel(path)) return await call();
    return await withCertainRetries(path, message, made.deadline, options.signal, this.#budget, call);
  }

  /** Yields the answers to one request. Throws GatewayError, or the reason of `signal`. */
  async *serverStream<M extends Method>(
    method: M,
    request: Input<M>,
    options: CallOptions = {},
  ): AsyncGenerator<Output<M>, void, undefined> {
    const bytes = toBinary(method.input, messageOf(method, request));
    const { about, metadata, deadline } = this.#prepare(method, options);
    const use = this.#channels.take();
    const call = use.channel.makeServerStreamRequest(
      about.method,
      asBuffer,
      decoder(method),
      bytes,
      metadata,
      until(deadline),
    );
    yield* answersOf(call, use, (error) => this.#failure(error, about), options.signal);
  }

  /** Yields the answers to many requests. Throws GatewayError, or the reason of `signal`. */
  async *stream<M extends Method>(
    method: M,
    requests: AsyncIterable<Input<M>> | Iterable<Input<M>>,
    options: CallOptions = {},
  ): AsyncGenerator<Output<M>, void, undefined> {
    const stream = this.open(method, options);
    const send = async () => {
      for await (const request of requests) {
        await stream.write(toBinary(method.input, messageOf(method, request)));
        if (stream.isOver) return;
      }
      stream.end();
    };
    send().catch((error: unknown) => stream.fail(error));
    yield* stream;
  }

  /** Opens a stream in both directions. End it with `close`. Throws GatewayError. */
  open<M extends Method>(method: M, options: CallOptions = {}): Stream<Output<M>> {
    const { about, metadata, deadline } = this.#prepare(method, options);
    const use = this.#channels.take();
    const call = use.channel.makeBidiStreamRequest(about.method, asBuffer, decoder(method), metadata, until(deadline));
    return new Stream(call, use, (error) => this.#failure(error, about), options.signal);
  }

  #unary<M extends Method>(method: M, bytes: Uint8Array, made: Prepared, signal: AbortSignal | undefined) {
    signal?.throwIfAborted();
    const use = this.#channels.take();
    return new Promise<Output<M>>((resolve, reject) => {
      const end = () => call.cancel();
      const done = (error: ServiceError | null, answer?: Output<M>) => {
        signal?.removeEventListener("abort", end);
        use.release();
        if (error === null) resolve(answer as Output<M>);
        else if (signal?.aborted) reject(signal.reason);
        else this.#failure(error, made.about).then(reject, reject);
      };
      const { about, metadata, deadline } = made;
      const call = use.channel.makeUnaryRequest(
        about.method,
        asBuffer,
        decoder(method),
        bytes,
        metadata,
        until(deadline),
        done,
      );
      signal?.addEventListener("abort", end);
    });
  }

  #prepare(method: Method, options: CallOptions): Prepared {
    const metadata = new Metadata();
    for (const [name, value] of Object.entries(options.metadata ?? {})) metadata.set(name, value);
    const requestId = options.requestId ?? (metadata.get(REQUEST_ID)[0]?.toString() || randomUUID());
    metadata.set(REQUEST_ID, requestId);
    if (this.#settings.token !== "") metadata.set("authorization", `Bearer ${this.#settings.token}`);
    const deadline = options.timeoutMs === undefined ? undefined : Date.now() + options.timeoutMs;
    return { metadata, deadline, about: { method: pathOf(method), requestId } };
  }

  /** Returns the error of a failed call; where there was no connection, the one that names the cause. */
  async #failure(error: ServiceError, about: About): Promise<GatewayError> {
    const failed = failureOf(error, about);
    if (error.code !== status.UNAVAILABLE || failed.reason !== "CALL_FAILED") return failed;
    const now = performance.now();
    if (this.#known === undefined || now > this.#known.until) {
      const cause = diagnose(this.#settings.target, this.#settings.tls, error.details);
      this.#known = { until: now + DIAGNOSIS_LASTS_MS, cause };
    }
    const { reason, details } = await this.#known.cause;
    // Of several attempts of the channel, only the last is known not to have been sent.
    const isNeverSent = NEVER_SENT.test(error.details) && !isRepeatedByChannel(about.method);
    return new GatewayError(reason, details, { ...about, code: failed.code, effect: isNeverSent ? "none" : "maybe" });
  }
}

function opened({ target, tls }: Settings, loaded: LoadedTls | undefined): Client {
  const secured =
    loaded === undefined
      ? credentials.createInsecure()
      : credentials.createSsl(loaded.ca, loaded.key ?? null, loaded.cert ?? null);
  return new Client(target, secured, {
    "grpc.service_config": serviceConfig(),
    "grpc.service_config_disable_resolution": 1,
    "grpc.keepalive_time_ms": 30_000, // the gateway allows a ping in 10 s
    "grpc.keepalive_timeout_ms": 10_000,
    "grpc.keepalive_permit_without_calls": 1,
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 1000,
    "grpc.enable_http_proxy": 0,
    "grpc.use_local_subchannel_pool": 1, // new files lead to a new connection
    "grpc.primary_user_agent": `phoenix-gateway-client-typescript/${VERSION}`,
    ...(tls?.serverName === undefined ? {} : { "grpc.ssl_target_name_override": tls.serverName }),
  });
}

function messageOf<M extends Method>(method: M, request: Input<M>) {
  giveEventIds(eventsOf(method.input, request));
  return create<DescMessage>(method.input, request);
}

function decoder<M extends Method>(method: M): (bytes: Uint8Array) => Output<M> {
  return (bytes) => fromBinary(method.output, bytes) as Output<M>;
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function until(deadline: number | undefined): GrpcOptions {
  return deadline === undefined ? {} : { deadline };
}

function pathOf(method: Method): string {
  return `/${method.parent.typeName}/${method.name}`;
}
