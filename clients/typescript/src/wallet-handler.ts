/** A whole wallet endpoint: verify, act, record, answer. It never throws and answers every failure with 503. */

import type { ServerResponse } from "node:http";
import { GatewayError } from "./errors.js";
import { causeOf, isAnswer, isOutcome, type Reply, replyOf, replyOfFailure } from "./wallet.js";
import type { VerifiedCall, WalletAnswer, WalletCall, WalletOptions } from "./wallet.js";
import type { NodeRequest, Webhook } from "./webhook.js";

/** What a verified webhook is given to. If it throws, Phoenix gets 503 and sends the webhook again. */
export type WalletAct = (call: VerifiedCall) => WalletAnswer | Promise<WalletAnswer>;

/** What of a `Gateway` the wallet needs. */
export interface WalletGateway {
  verifyWallet(request: Webhook | NodeRequest, options?: WalletOptions): Promise<WalletCall>;
  recordWalletOutcome(call: VerifiedCall, answer: WalletAnswer): Promise<Reply>;
  readonly warn: (text: string) => void;
}

/**
 * Answers one webhook, for any framework: send the reply as it is. Never rejects.
 *
 * `act` is called only for a verified webhook that needs an act. For a move it executes it once, under the ledger's
 * unique key on operation and idempotency key, and its answer is recorded before it is sent. Of a move only 2xx and 422
 * (refused) are outcomes; any other status leaves it unfinished, and Phoenix gets 503, unless `final` is set. Of other
 * webhooks 3xx, 400, 401, 403 and 405 become 503.
 */
export async function answerWallet(
  gateway: WalletGateway,
  request: Webhook | NodeRequest,
  act: WalletAct,
  options: WalletOptions = {},
): Promise<Reply> {
  try {
    const call = await gateway.verifyWallet(request, options);
    if (call.reply !== undefined) return call.reply;
    const answer = await act(call);
    const reply = replyOf(answer);
    const isDecided = call.isMove ? isOutcome(answer.status) || answer.final === true : isAnswer(answer.status);
    if (!isDecided) throw undecided(`The wallet answered ${answer.status}, which decides nothing.`);
    return call.isMove ? await gateway.recordWalletOutcome(call, answer) : reply;
  } catch (error) {
    gateway.warn(`A wallet webhook is answered 503: ${causeOf(error)}`);
    return replyOfFailure(error);
  }
}

/** The same as middleware for Express, and as a listener of Node's own server. Mount it before any body parser. */
export function walletHandler(
  gateway: WalletGateway,
  act: WalletAct,
  options: WalletOptions = {},
): (request: NodeRequest, response: ServerResponse) => Promise<void> {
  return async (request, response) => {
    const reply = await answerWallet(gateway, request, act, options);
    try {
      write(response, reply);
    } catch (error) {
      gateway.warn(`A wallet webhook got no answer, or 503: ${causeOf(error)}`);
      if (response.headersSent) response.destroy();
      else write(response, replyOfFailure(error));
    }
  };
}

function undecided(details: string): GatewayError {
  return new GatewayError("WEBHOOK_UNDECIDED", details, { effect: "maybe" });
}

function write(response: ServerResponse, { status, headers, body }: Reply): void {
  response.on("error", () => undefined); // Phoenix has left
  response.writeHead(status, { ...headers, "content-length": body.byteLength });
  response.end(body);
}
