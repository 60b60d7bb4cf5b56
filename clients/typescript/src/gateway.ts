/** The client: one object for the life of the process; it reconnects. */

import { Calls } from "./calls.js";
import { EventStream } from "./event-stream.js";
import {
  EventService,
  KeyService,
  LeaderboardAdminService,
  LeaderboardService,
  OperatorService,
  PhoenixService,
  TokenService,
  WalletService,
  type WatchLeaderboardResponse,
} from "./gen/phoenix_gateway_client/v1_pb.js";
import { serviceClient } from "./services.js";
import type { Tls } from "./tls.js";
import type { EventStreamOptions } from "./unacknowledged.js";
import { callOf, causeOf, outcomeRequest, type Reply, replyOf, replyOfFailure, verifyRequest } from "./wallet.js";
import type { VerifiedCall, WalletAnswer, WalletCall, WalletOptions } from "./wallet.js";
import { type WatchOptions, watch } from "./watch.js";
import { type NodeRequest, readWebhook, type Webhook, wholeBody } from "./webhook.js";

/** How a gateway is called. */
export interface GatewayOptions {
  /** The files of mutual TLS. Without it, only a gateway on this machine can be called. */
  readonly tls?: Tls;
  /** The development token of a gateway on this machine. */
  readonly token?: string;
  /** Milliseconds of each call that is no stream. Default: as published, 10 s, and 4 s for the wallet. */
  readonly timeoutMs?: number;
  /** Where warnings go: streams that reconnect, webhooks that are answered 503. Default: `process.emitWarning`. */
  readonly warn?: (text: string) => void;
}

/**
 * A client of Phoenix Gateway. Each service of the contract is a member with a method for each RPC; a few methods here
 * do more than one call. 64-bit integers are `bigint`.
 */
export class Gateway {
  readonly #calls: Calls;
  readonly #closed = new AbortController();
  readonly events;
  readonly leaderboards;
  readonly leaderboardAdmin;
  readonly tokens;
  readonly wallet;
  readonly operator;
  readonly phoenix;
  readonly keys;
  /** Where warnings go. */
  readonly warn: (text: string) => void;

  /** Args: `target`: host:port, or a list that DNS knows (`dns:///gateway:50051`), or `unix:/path`. */
  constructor(target: string, options: GatewayOptions = {}) {
    this.warn = safely(options.warn ?? ((text) => process.emitWarning(text, "PhoenixGatewayWarning")));
    this.#calls = new Calls({
      target,
      tls: options.tls,
      token: options.token ?? "",
      timeoutMs: options.timeoutMs,
      warn: this.warn,
    });
    this.events = serviceClient(EventService, this.#calls);
    this.leaderboards = serviceClient(LeaderboardService, this.#calls);
    this.leaderboardAdmin = serviceClient(LeaderboardAdminService, this.#calls);
    this.tokens = serviceClient(TokenService, this.#calls);
    this.wallet = serviceClient(WalletService, this.#calls);
    this.operator = serviceClient(OperatorService, this.#calls);
    this.phoenix = serviceClient(PhoenixService, this.#calls);
    this.keys = serviceClient(KeyService, this.#calls);
  }

  /** Ends the watches and, when the calls under way are over, the connection. */
  close(): void {
    this.#closed.abort();
    this.#calls.close();
  }

  /**
   * Yields the board now and after each change, for ever: also over resyncs and restarts of the gateway.
   *
   * Each message is the whole board. After a lost connection it has a new `epoch`. Throws GatewayError if the first
   * connection fails, or if the gateway refuses, such as `NOT_ALLOWED`.
   */
  watchLeaderboard(
    leaderboardId: string,
    options: WatchOptions = {},
  ): AsyncGenerator<WatchLeaderboardResponse, void, undefined> {
    const ends = [this.#closed.signal, ...(options.signal === undefined ? [] : [options.signal])];
    return watch(this.#calls, leaderboardId, { ...options, signal: AbortSignal.any(ends) }, this.warn);
  }

  /** Opens a stream of events that keeps what is not acknowledged, and sends it again after a lost connection. */
  eventStream(options: EventStreamOptions = {}): EventStream {
    return new EventStream(this.#calls, options, this.warn);
  }

  /** Verifies a webhook of Phoenix and claims its move. Never rejects: a failure is the reply 503. */
  async verifyWallet(request: Webhook | NodeRequest, options: WalletOptions = {}): Promise<WalletCall> {
    try {
      const webhook = isNodeRequest(request) ? await readWebhook(request) : checked(request);
      const { operatorCode, environment, route } = options;
      const where = { operatorCode: operatorCode ?? "", environment: environment ?? 0, route: route ?? 0 };
      return callOf(await this.wallet.verifyWallet(verifyRequest(webhook, where)), webhook.body);
    } catch (error) {
      this.warn(`A wallet webhook is answered 503: ${causeOf(error)}`);
      return { reply: replyOfFailure(error), found: undefined };
    }
  }

  /** Records what the wallet did, and returns the reply for Phoenix. Never rejects: a failure is the reply 503. */
  async recordWalletOutcome(call: VerifiedCall, answer: WalletAnswer): Promise<Reply> {
    try {
      const reply = replyOf(answer);
      await this.wallet.recordWalletOutcome(outcomeRequest(call, answer));
      return reply;
    } catch (error) {
      this.warn(`A wallet webhook is answered 503: ${causeOf(error)}`);
      return replyOfFailure(error);
    }
  }
}

/** A log that fails must not turn the answer of a webhook into another one than 503. */
function safely(warn: (text: string) => void): (text: string) => void {
  return (text) => {
    try {
      warn(text);
    } catch {
      // there is nowhere to say it
    }
  };
}

function isNodeRequest(request: Webhook | NodeRequest): request is NodeRequest {
  return typeof (request as Partial<NodeRequest>).on === "function";
}

function checked(webhook: Webhook): Webhook {
  return { ...webhook, body: wholeBody(webhook.body, webhook.rawHeaders, false) };
}
