/** The published service config as this client uses it: deadlines, retries of what is safe to repeat, no hedging. Pure. */

import { PUBLISHED } from "./gen/service-config.js";

/** A name in a service config: all methods, those of a service, or one. */
interface Name {
  readonly service?: string;
  readonly method?: string;
}

interface MethodConfig {
  readonly name: readonly Name[];
  readonly timeout?: string;
  readonly retryPolicy?: RetryPolicy;
}

interface RetryPolicy {
  readonly maxAttempts: number;
  readonly initialBackoff: string;
  readonly maxBackoff: string;
  readonly backoffMultiplier: number;
  readonly retryableStatusCodes: readonly string[];
}

const METHODS: readonly MethodConfig[] = PUBLISHED.methodConfig;
const PACKAGE = "phoenix.gateway.v1";

/**
 * Methods that a channel must not repeat. When a connection breaks, the channel knows UNAVAILABLE and not whether the
 * gateway has acted; a repeat that reaches another process could then act twice. What certainly was not done is
 * repeated by certain-retries.ts.
 */
const MAY_ACT_TWICE: readonly Required<Name>[] = [
  { service: `${PACKAGE}.EventService`, method: "SubmitEvent" },
  { service: `${PACKAGE}.EventService`, method: "SubmitEvents" },
  { service: `${PACKAGE}.EventService`, method: "StreamEvents" },
  { service: `${PACKAGE}.EventService`, method: "RedriveDeadLetters" },
  { service: `${PACKAGE}.LeaderboardAdminService`, method: "CreateLeaderboard" },
  { service: `${PACKAGE}.OperatorService`, method: "UpdateOperatorSettings" },
  { service: `${PACKAGE}.PhoenixService`, method: "Call" },
];

/** Whether the channel repeats calls of this method by itself. */
export function isRepeatedByChannel(path: string): boolean {
  return !MAY_ACT_TWICE.some(({ service, method }) => path === `/${service}/${method}`);
}

/** Returns the published config without timeouts, which each call passes itself, and without unsafe retries. As JSON. */
export function serviceConfig(): string {
  const unsafe = (name: Name) => isSome(MAY_ACT_TWICE, name);
  const kept = METHODS.map(({ timeout: _, ...config }) => ({
    ...config,
    name: config.name.filter((name) => !unsafe(name)),
  })).filter(({ name }) => name.length > 0);
  return JSON.stringify({ ...PUBLISHED, methodConfig: [...kept, { name: MAY_ACT_TWICE }] });
}

/** Returns the milliseconds that a call of this method may take; undefined for a stream. */
export function defaultTimeoutMs(path: string): number | undefined {
  return milliseconds(configOf(path)?.timeout);
}

/** Returns how often and when a call of this method may be repeated. */
export function retryPolicy(path: string): { attempts: number; firstMs: number; longestMs: number; factor: number } {
  const found = configOf(path)?.retryPolicy;
  return {
    attempts: found?.maxAttempts ?? 1,
    firstMs: milliseconds(found?.initialBackoff) ?? 0,
    longestMs: milliseconds(found?.maxBackoff) ?? 0,
    factor: found?.backoffMultiplier ?? 1,
  };
}

/** Returns the token bucket of retries: each failed attempt takes one token, each success gives back a part of one. */
export function retryThrottling(): { readonly maxTokens: number; readonly tokenRatio: number } {
  return PUBLISHED.retryThrottling;
}

function configOf(path: string): MethodConfig | undefined {
  const [service = "", method = ""] = path.slice(1).split("/");
  for (const wanted of [{ service, method }, { service }, {}]) {
    const found = METHODS.find(({ name }) => isSome(name, wanted));
    if (found !== undefined) return found;
  }
  return undefined;
}

function isSome(names: readonly Name[], wanted: Name): boolean {
  return names.some((name) => name.service === wanted.service && name.method === wanted.method);
}

function milliseconds(duration: string | undefined): number | undefined {
  return duration === undefined ? undefined : Number(duration.replace(/s$/, "")) * 1000;
}
