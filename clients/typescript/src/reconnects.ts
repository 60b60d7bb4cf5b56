/** How long to wait before a stream is opened again. Pure. */

import { GatewayError } from "./errors.js";

const FIRST_WAIT_MS = 100;
const LONGEST_WAIT_MS = 5000;
const FINAL: readonly string[] = ["VERSION_MISMATCH", "CLIENT_CLOSED", "TLS_FILES_UNUSABLE"];
const BROKEN: readonly string[] = ["UNAVAILABLE", "CANCELLED", "INTERNAL", "UNKNOWN", "DEADLINE_EXCEEDED"];

/** Counts the failures of one stream. The caller gets the failure of the first connection. */
export class Reconnects {
  readonly #random: () => number;
  #hasWorked = false;
  #failures = 0;

  constructor(random: () => number = Math.random) {
    this.#random = random;
  }

  /** The stream has delivered something. */
  worked(): void {
    this.#hasWorked = true;
    this.#failures = 0;
  }

  /** Returns the milliseconds to wait after a stream ended, with an error or not. Throws the error if it is final. */
  waitAfter(error: unknown): number {
    if (error !== undefined && !this.#passes(error)) throw error;
    this.#failures += 1;
    const longest = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** Math.min(this.#failures, 10));
    const asked = error instanceof GatewayError ? (error.retryAfterMs ?? 0) : 0;
    return Math.max(asked, longest * (0.5 + this.#random() / 2));
  }

  #passes(error: unknown): boolean {
    if (!(error instanceof GatewayError) || FINAL.includes(error.reason)) return false;
    if (error.isOfGateway) return error.retryAfterMs !== undefined || error.code === "UNAVAILABLE";
    return this.#hasWorked && BROKEN.includes(error.code);
  }
}
