/**
 * A caller in one program: `node build/scenario.js GATEWAY CONTROL`. The clients of all languages print scenario.txt.
 *
 * CONTROL is the control URL of a sandbox. Restart the gateway after it prints "watch: first board".
 */

import { setTimeout as sleep } from "node:timers/promises";
import { errorOf, Gateway, GatewayError, type Sent, v1, type Webhook } from "phoenix-gateway-client";

const BOARD = "scenario";

/** Send 100 events in a stream. */
async function sendEvents(gateway: Gateway): Promise<void> {
  await gateway.leaderboardAdmin.ensureLeaderboard({ leaderboardId: BOARD, name: "Scenario" });
  const stream = gateway.eventStream();
  const sent: Sent[] = [];
  for (let number = 1; number <= 100; number += 1) {
    sent.push(await stream.send({ leaderboardId: BOARD, userId: `user-${number}`, scoreDelta: number }));
  }
  await stream.close();
  const results = (await Promise.all(sent.map((message) => message.results))).flat();
  const failed = results.filter((result) => errorOf(result.error) !== undefined);
  console.log(`events: ${sent.length} sent, ${failed.length} failed`);
}

/** Read until all events are counted: durable events are delivered a moment later. */
async function readBoard(gateway: Gateway): Promise<void> {
  let entries: v1.LeaderboardEntry[] = [];
  while (entries.length < 100) {
    await sleep(100);
    const fresh = { leaderboardId: BOARD, maxStaleness: { seconds: 0n } };
    entries = (await gateway.leaderboards.getLeaderboard(fresh)).leaderboard?.entries ?? [];
  }
  console.log(`board: ${entries.length} entries, first is ${entries[0]?.userId} with ${entries[0]?.score}`);
}

/** Mint a launch token. */
async function mintToken(gateway: Gateway): Promise<void> {
  const { token } = await gateway.tokens.mintLaunchJWT({ session: { case: "visitor", value: {} } });
  console.log(token === "" ? "token: missing" : "token: minted");
}

/** Verify a good and a forged webhook; record the outcome of the good one. */
async function verifyWebhooks(gateway: Gateway, control: string): Promise<void> {
  const call = await gateway.verifyWallet(await signed(control, {}));
  if (call.reply === undefined && call.isMove) {
    const answer = { status: 200, body: '{"status":"completed"}', operatorTransactionId: "tx-1" };
    const { status } = await gateway.recordWalletOutcome(call, answer);
    console.log(`good webhook: verified, outcome recorded, answered ${status}`);
  }
  const { reply } = await gateway.verifyWallet(await signed(control, { forge: "body" }));
  if (reply !== undefined) console.log(`forged webhook: refused, answered ${reply.status}`);
}

/** Have the sandbox sign a webhook. */
async function signed(control: string, members: object): Promise<Webhook> {
  const answer = await fetch(`${control}/wallet/sign`, { method: "POST", body: JSON.stringify(members) });
  const found = (await answer.json()) as { method: string; path: string; headers: string[][]; body_base64: string };
  const body = Buffer.from(found.body_base64, "base64");
  return { method: found.method, path: found.path, rawHeaders: found.headers.flat(), body };
}

/** Give two different events one id. */
async function handleError(gateway: Gateway): Promise<void> {
  for (const scoreDelta of [1, 2]) {
    const event = { eventId: "scenario-reused", leaderboardId: BOARD, userId: "user-1", scoreDelta };
    try {
      await gateway.events.submitEvent({ event });
    } catch (error) {
      if (!(error instanceof GatewayError) || error.reason !== "EVENT_ID_REUSED") throw error;
      console.log(`error: ${error.reason}`);
    }
  }
}

/** Watch the board over a restart of the gateway. */
async function watchBoard(gateway: Gateway): Promise<void> {
  let first: v1.WatchLeaderboardResponse | undefined;
  for await (const board of gateway.watchLeaderboard(BOARD)) {
    if (first === undefined) console.log("watch: first board");
    else if (board.epoch !== first.epoch) break;
    first ??= board;
  }
  console.log("watch: board after the restart");
}

const [target = "", control = ""] = process.argv.slice(2);
const gateway = new Gateway(target);
await sendEvents(gateway);
await readBoard(gateway);
await mintToken(gateway);
await verifyWebhooks(gateway, control);
await handleError(gateway);
await watchBoard(gateway);
gateway.close();
