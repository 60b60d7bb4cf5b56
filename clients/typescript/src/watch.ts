/** Live boards that continue over resyncs, lost connections and restarts of the gateway. */

import type { Calls, Input } from "./calls.js";
import { LeaderboardService, type WatchLeaderboardResponse } from "./gen/phoenix_gateway_client/v1_pb.js";
import { Reconnects } from "./reconnects.js";
import { sleep } from "./waiting.js";

type Request = Input<typeof LeaderboardService.method.watchLeaderboard>;

/** What of a board is watched. */
export interface WatchOptions {
  /** The gamification tenant. Default: the caller's only one. */
  readonly tenantId?: string;
  /** The window, as Phoenix names it. Default: the current one. */
  readonly windowKey?: string;
  /** Entries of each board, 1 to 1,000. Default: 100. */
  readonly pageSize?: number;
  /** Ends the loop without an error. */
  readonly signal?: AbortSignal;
}

/** Yields whole boards until `signal` is aborted. See `Gateway.watchLeaderboard`. */
export async function* watch(
  calls: Calls,
  leaderboardId: string,
  { signal, pageSize = 100, ...options }: WatchOptions,
  warn: (text: string) => void,
): AsyncGenerator<WatchLeaderboardResponse, void, undefined> {
  const request: Request = { leaderboardId, pageSize, ...options };
  const reconnects = new Reconnects();
  const ends = signal === undefined ? {} : { signal };
  while (!signal?.aborted) {
    let error: unknown;
    try {
      for await (const board of calls.serverStream(LeaderboardService.method.watchLeaderboard, request, ends)) {
        reconnects.worked();
        yield board;
      }
    } catch (ended) {
      error = ended;
    }
    if (signal?.aborted) return;
    const wait = reconnects.waitAfter(error);
    warn(
      `The watch of ${leaderboardId} ended and is opened again in ${Math.round(wait)} ms: ${String(error ?? "no error")}`,
    );
    await sleep(wait, signal);
  }
}
