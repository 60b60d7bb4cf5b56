/** The current channel, and earlier ones whose calls have not ended: new TLS files lead to a new channel. */

import { GatewayError } from "./errors.js";
import { type LoadedTls, loadTls, stampOf, type Tls } from "./tls.js";

const LOOK_EVERY_MS = 1000;

/** One use of a channel. */
export interface Use<Channel> {
  readonly channel: Channel;
  /** Ends the use. May be called again. */
  release(): void;
}

interface Generation<Channel> {
  readonly channel: Channel;
  users: number;
  isCurrent: boolean;
}

/**
 * Opens a channel at the first call and whenever the files have changed. Calls of the old one end undisturbed.
 * Args: `open` gets the files' content, undefined without TLS. `close` ends a channel that nobody uses.
 */
export class Channels<Channel> {
  readonly #tls: Tls | undefined;
  readonly #open: (loaded: LoadedTls | undefined) => Channel;
  readonly #close: (channel: Channel) => void;
  readonly #warn: (text: string) => void;
  #current: Generation<Channel> | undefined;
  #loaded: LoadedTls | undefined;
  #stamp = "";
  #lookAt = 0;
  #isClosed = false;

  constructor(
    tls: Tls | undefined,
    open: (loaded: LoadedTls | undefined) => Channel,
    close: (channel: Channel) => void,
    warn: (text: string) => void,
  ) {
    this.#tls = tls;
    this.#open = open;
    this.#close = close;
    this.#warn = warn;
  }

  /** Returns the current channel for one call. Throws GatewayError `TLS_FILES_UNUSABLE`, `CLIENT_CLOSED`. */
  take(now: number = performance.now()): Use<Channel> {
    if (this.#isClosed) throw new GatewayError("CLIENT_CLOSED", "This client was closed. Make a new one.");
    if (this.#current === undefined || (this.#tls !== undefined && now >= this.#lookAt)) {
      this.#lookAt = now + LOOK_EVERY_MS;
      this.#renew();
    }
    const used = this.#current as Generation<Channel>;
    used.users += 1;
    let isOver = false;
    return {
      channel: used.channel,
      release: () => {
        if (isOver) return;
        isOver = true;
        used.users -= 1;
        if (!used.isCurrent && used.users === 0) this.#close(used.channel);
      },
    };
  }

  /** Ends the current channel; no further call is made. */
  close(): void {
    this.#isClosed = true;
    if (this.#current !== undefined) this.#close(this.#current.channel);
    this.#current = undefined;
  }

  #renew(): void {
    const stamp = this.#tls === undefined ? "" : stampOf(this.#tls);
    if (this.#current !== undefined && stamp === this.#stamp) return;
    const loaded = this.#load();
    if (
      loaded === "not yet" ||
      (this.#tls !== undefined && stampOf(this.#tls) !== stamp && this.#current !== undefined)
    ) {
      return; // being written; the next look sees all of it
    }
    this.#stamp = stamp;
    const old = this.#current;
    if (old !== undefined && isEqual(loaded, this.#loaded)) return;
    this.#loaded = loaded;
    this.#current = { channel: this.#open(loaded), users: 0, isCurrent: true };
    if (old === undefined) return;
    old.isCurrent = false;
    if (old.users === 0) this.#close(old.channel);
  }

  #load(): LoadedTls | undefined | "not yet" {
    if (this.#tls === undefined) return undefined;
    try {
      return loadTls(this.#tls);
    } catch (error) {
      if (this.#current === undefined) throw error;
      this.#warn(`The TLS files changed and cannot be used yet; the old ones stay in use: ${String(error)}`);
      return "not yet";
    }
  }
}

function isEqual(one: LoadedTls | undefined, other: LoadedTls | undefined): boolean {
  return (["ca", "cert", "key"] as const).every((part) => {
    const [a, b] = [one?.[part], other?.[part]];
    return a === undefined || b === undefined ? a === b : a.equals(b);
  });
}
