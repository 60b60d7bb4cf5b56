/**
 * Repeats calls that the channel may not repeat, where a repeat is certainly no second act: the gateway says that
 * nothing was done, the call never left, or the events are durable, which the gateway's store keeps once by their ids.
 */

import { isMessage, type Message } from "@bufbuild/protobuf";
import { GatewayError } from "./errors.js";
import { Delivery, SubmitEventRequestSchema, SubmitEventsRequestSchema } from "./gen/phoenix_gateway_client/v1_pb.js";
import { retryPolicy, retryThrottling } from "./service-config.js";
import { sleep } from "./waiting.js";

/** Bounds the repeats of a client while the gateway is in trouble, as gRPC does for those of a channel. */
export class RetryBudget {
  readonly #most = retryThrottling().maxTokens;
  #tokens = this.#most;

  /** Notes the end of an attempt, and returns whether another one may follow it. */
  allows(hasFailed: boolean): boolean {
    const changed = this.#tokens + (hasFailed ? -1 : retryThrottling().tokenRatio);
    this.#tokens = Math.max(0, Math.min(this.#most, changed));
    return this.#tokens > this.#most / 2;
  }
}

/** Calls until it succeeds, fails for good, or the published attempts or the deadline (Unix milliseconds) are over. */
export async function withCertainRetries<T>(
  path: string,
  request: Message,
  deadline: number | undefined,
  signal: AbortSignal | undefined,
  budget: RetryBudget,
  call: () => Promise<T>,
  random: () => number = Math.random,
): Promise<T> {
  const { attempts, firstMs, longestMs, factor } = retryPolicy(path);
  for (let attempt = 1; ; attempt += 1) {
    try {
      const answer = await call();
      budget.allows(false);
      return answer;
    } catch (error) {
      if (!isCertain(error, request) || !budget.allows(true) || attempt >= attempts) throw error;
      const backoff = Math.min(longestMs, firstMs * factor ** (attempt - 1));
      const wait = Math.max(error.retryAfterMs ?? 0, backoff * (0.8 + random() * 0.4));
      if (deadline !== undefined && Date.now() + wait >= deadline) throw error;
      await sleep(wait, signal);
      signal?.throwIfAborted();
    }
  }
}

function isCertain(error: unknown, request: Message): error is GatewayError {
  if (!(error instanceof GatewayError) || error.code !== "UNAVAILABLE") return false;
  return error.effect === "none" || isDurable(request);
}

function isDurable(request: Message): boolean {
  return (
    (isMessage(request, SubmitEventRequestSchema) || isMessage(request, SubmitEventsRequestSchema)) &&
    request.delivery === Delivery.DURABLE
  );
}
