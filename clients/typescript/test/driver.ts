/**
 * Runs the client for tests in another language: each line of stdin is a JSON array with the name of a command and its
 * arguments, each line of stdout its result, `{"value": ...}` or `{"error": ...}`. Integers of 64 bits are texts.
 */

import { createServer, type RequestListener, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { createInterface } from "node:readline";
import express from "express";
import fastify from "fastify";
import {
  answerWallet,
  type EventStream,
  Gateway,
  type GatewayError,
  type GatewayOptions,
  type NodeRequest,
  type Sent,
  v1,
  type VerifiedCall,
  type WalletAnswer,
  walletHandler,
  walletServer,
} from "phoenix-gateway-client";
import { Calls } from "../src/calls.js";
import { KeyService } from "../src/gen/phoenix_gateway_client/v1_pb.js";

let gateway: Gateway;
let stream: EventStream;
const sent: Sent[] = [];
let boards: AsyncGenerator<v1.WatchLeaderboardResponse>;
const warnings: string[] = [];

/** A wallet that books every move. */
function act({ isMove }: VerifiedCall): WalletAnswer {
  if (!isMove) return { status: 200, body: '{"available":"5.00"}' };
  return { status: 200, body: '{"type":"SUCCESS","status":"completed"}', operatorTransactionId: "tx-1" };
}

async function listening(listener: RequestListener): Promise<string> {
  const server = createServer(listener).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const commands: Record<string, (...given: never[]) => unknown> = {
  connect: (target: string, options: GatewayOptions) => {
    gateway = new Gateway(target, { ...options, warn: (text) => warnings.push(text) });
  },
  call: (service: "keys", method: "listKeys", request: object) => gateway[service][method](request),
  /** A call of another major version of the contract. */
  callOfAnotherVersion: (target: string) => {
    const calls = new Calls({ target, tls: undefined, token: "", timeoutMs: undefined, warn: () => undefined });
    const parent = { ...KeyService, typeName: "phoenix.gateway.v9.KeyService" };
    return calls.unary({ ...KeyService.method.listKeys, parent }, {});
  },
  warnings: () => warnings,
  stream: (options: object) => {
    stream = gateway.eventStream(options);
  },
  send: async (...events: { leaderboardId: string; userId: string }[]) => {
    for (const event of events) sent.push(await stream.send(event));
  },
  flush: () => stream.flush(),
  closeStream: () => stream.close(),
  cancelStream: () => stream.cancel(),
  /** The status of each event so far, or the reason why nobody knows it. */
  statuses: () =>
    Promise.all(
      sent.map(({ results }) =>
        results.then(
          ([result]) => v1.EventStatus[result?.status ?? 0],
          (error: GatewayError) => error.reason,
        ),
      ),
    ),
  watch: (leaderboardId: string) => {
    boards = gateway.watchLeaderboard(leaderboardId);
  },
  nextBoard: async () => {
    const { value } = (await boards.next()) as IteratorResult<v1.WatchLeaderboardResponse, undefined>;
    return { epoch: value?.epoch, users: value?.leaderboard?.entries.map((entry) => entry.userId) };
  },
  http: () => listening(walletHandler(gateway, act) as (request: NodeRequest, response: ServerResponse) => void),
  express: () => listening(express().use("/wallet", walletHandler(gateway, act))),
  fastify: async () => {
    const app = fastify({ serverFactory: (listener) => walletServer(listener) });
    const wallet = walletHandler(gateway, act);
    app.addHook("onRequest", async (request, reply) => {
      reply.hijack();
      await wallet(request.raw, reply.raw);
    });
    app.all("/wallet/*", async () => undefined);
    return await app.listen({ port: 0, host: "127.0.0.1" });
  },
  /** The plain function, with the body as a framework's own parser left it. */
  plain: async () => {
    const app = fastify();
    app.removeAllContentTypeParsers();
    app.addContentTypeParser("*", { parseAs: "buffer" }, (_, body, done) => done(null, body));
    app.post("/wallet/*", async (request, response) => {
      const { method = "", url = "", rawHeaders } = request.raw;
      const webhook = { method, path: url, rawHeaders, body: request.body as Buffer };
      const reply = await answerWallet(gateway, webhook, act);
      return response.code(reply.status).headers(reply.headers).send(reply.body);
    });
    return await app.listen({ port: 0, host: "127.0.0.1" });
  },
};

function described(error: unknown): unknown {
  if (!(error instanceof Error && "reason" in error)) return { text: String(error) };
  const { reason, details, effect, code, retryAfterMs, fields, requestId } = error as GatewayError;
  return { reason, details, effect, code, retryAfterMs, fields, requestId };
}

for await (const line of createInterface({ input: process.stdin })) {
  const [name, ...given] = JSON.parse(line) as [string, ...never[]];
  let answer: object;
  try {
    answer = { value: (await commands[name]?.(...given)) ?? null };
  } catch (error) {
    answer = { error: described(error) };
  }
  console.log(JSON.stringify(answer, (_, value) => (typeof value === "bigint" ? String(value) : value)));
}
process.exit(0);
