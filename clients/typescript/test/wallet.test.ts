/** What the wallet answers Phoenix: the gateway's decision, its own, or 503. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, request as httpRequest } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { create } from "@bufbuild/protobuf";
import express from "express";
import { Gateway } from "../src/gateway.js";
import {
  VerifyWalletResponseSchema,
  WalletDisposition,
  WalletVerdict,
} from "../src/gen/phoenix_gateway_client/v1_pb.js";
import {
  callOf,
  isAnswer,
  isOutcome,
  type Reply,
  replyOf,
  replyOfFailure,
  type VerifiedCall,
  verifyRequest,
} from "../src/wallet.js";
import { answerWallet, type WalletAct, type WalletGateway, walletHandler } from "../src/wallet-handler.js";
import { walletServer } from "../src/wallet-server.js";
import { readWebhook, type Webhook } from "../src/webhook.js";

const WEBHOOK: Webhook = {
  method: "POST",
  path: "/wallet/transactions",
  rawHeaders: ["Signature", "x"],
  body: Buffer.from("{}"),
};
const BOOKED = { status: 200, body: '{"type":"SUCCESS"}' };

/** Nothing listens there. */
function nowhere(warn: (text: string) => void = () => undefined): Gateway {
  return new Gateway("127.0.0.1:1", { warn, timeoutMs: 2000 });
}

/** A gateway that has decided, and keeps what is recorded. */
function decided(disposition: WalletDisposition): WalletGateway & { recorded: unknown[] } {
  const found = create(VerifyWalletResponseSchema, {
    verdict: WalletVerdict.VERIFIED,
    disposition,
    operationId: "o",
    attempt: 1,
  });
  const recorded: unknown[] = [];
  return {
    recorded,
    warn: () => undefined,
    verifyWallet: async () => callOf(found, WEBHOOK.body),
    recordWalletOutcome: async (_, answer) => (recorded.push(answer), replyOf(answer)),
  };
}

async function statusOf(reply: Promise<Reply>): Promise<number> {
  return (await reply).status;
}

test("without a gateway the answer is 503 with Retry-After, never a final status", async () => {
  const warnings: string[] = [];
  const gateway = nowhere((text) => warnings.push(text));
  const { reply } = await gateway.verifyWallet(WEBHOOK);
  assert.deepEqual([reply?.status, reply?.headers["retry-after"]], [503, "2"]);
  assert.match(String(reply?.error), /GATEWAY_UNREACHABLE/);
  assert.match(warnings.join(), /answered 503/);
  const call = callOf(
    create(VerifyWalletResponseSchema, {
      verdict: WalletVerdict.VERIFIED,
      disposition: WalletDisposition.NEW,
      operationId: "o",
      attempt: 1,
    }),
    WEBHOOK.body,
  );
  assert.equal(await statusOf(gateway.recordWalletOutcome(call as VerifiedCall, BOOKED)), 503);
  gateway.close();
});

test("the gateway's reply goes out as it is", () => {
  const reply = { status: 401, contentType: "application/json", body: Buffer.from("{}"), retryAfterSeconds: 3 };
  const call = callOf(create(VerifyWalletResponseSchema, { reply }), WEBHOOK.body);
  assert.deepEqual(
    [call.reply?.status, call.reply?.headers],
    [401, { "content-type": "application/json", "retry-after": "3" }],
  );
});

test("an answer of a version that this one does not know is 503", () => {
  for (const [verdict, disposition] of [
    [99, 1],
    [1, 99],
    [1, 0],
    [0, 1],
  ] as [WalletVerdict, WalletDisposition][]) {
    assert.equal(callOf(create(VerifyWalletResponseSchema, { verdict, disposition }), WEBHOOK.body).reply?.status, 503);
  }
});

test("a move is recorded before its answer; a probe and a balance are only answered", async () => {
  for (const [disposition, times] of [
    [1, 1],
    [4, 1],
    [6, 0],
    [7, 0],
  ] as [WalletDisposition, number][]) {
    const gateway = decided(disposition);
    assert.equal(await statusOf(answerWallet(gateway, WEBHOOK, () => BOOKED)), 200);
    assert.equal(gateway.recorded.length, times, `disposition ${disposition}`);
  }
});

test("a wallet that throws, or leaves the move unfinished, gets the webhook again", async () => {
  const failures: WalletAct[] = [
    () => {
      throw new Error("the ledger is gone");
    },
    async () => {
      throw new Error("the ledger is gone");
    },
    () => ({ status: 500, body: "" }),
    () => ({ status: 409, body: "" }),
    () => undefined as never,
    () => ({ status: 0, body: "" }),
  ];
  for (const act of failures) {
    const gateway = decided(WalletDisposition.NEW);
    assert.equal(await statusOf(answerWallet(gateway, WEBHOOK, act)), 503);
    assert.deepEqual(gateway.recorded, []);
  }
  const gateway = decided(WalletDisposition.NEW);
  assert.equal(await statusOf(answerWallet(gateway, WEBHOOK, () => ({ status: 500, body: "", final: true }))), 500);
});

test("only 2xx and 422 are outcomes of a move; statuses of a guard answer nothing", () => {
  const statuses = [200, 201, 302, 400, 401, 403, 404, 405, 408, 409, 422, 429, 500, 503];
  assert.deepEqual(statuses.filter(isOutcome), [200, 201, 422]);
  assert.deepEqual(statuses.filter(isAnswer), [200, 201, 404, 408, 409, 422, 429, 500, 503]);
});

test("a guard's 401 to a balance is 503 for Phoenix", async () => {
  const guard = () => ({ status: 401, body: "" });
  assert.equal(await statusOf(answerWallet(decided(WalletDisposition.NOT_A_MOVE), WEBHOOK, guard)), 503);
});

test("what HTTP itself cannot read is 503, not 400", async () => {
  const server = walletServer((_, response) => response.end("seen")).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address() as AddressInfo;
  const requests: [string, number][] = [
    ["POST / HTTP/1.1\r\nhost: a\r\nbad header\r\n\r\n", 503],
    [`POST / HTTP/1.1\r\nhost: a\r\nx: ${"y".repeat(70_000)}\r\n\r\n`, 503],
    ["POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n", 503],
    [`GET / HTTP/1.1\r\nx: ${"y".repeat(40_000)}\r\n\r\n`, 200],
    ["GET / HTTP/1.1\r\nhost: a\r\nexpect: something\r\n\r\n", 200],
  ];
  for (const [request, status] of requests)
    assert.match(await spoken(port, request), new RegExp(`^HTTP/1.1 ${status} `));
  server.closeAllConnections();
  server.close();
});

/** Returns what a server answers to these bytes. */
async function spoken(port: number, request: string): Promise<string> {
  const socket = connect(port, "127.0.0.1");
  socket.write(request);
  const [answer] = (await once(socket, "data")) as [Buffer];
  socket.destroy();
  return answer.toString();
}

test("headers arrive as the bytes that were sent, repeated ones kept", () => {
  const rawHeaders = ["X-Odd", "\u00ff\u00e4", "signature", "a", "Signature", "b"];
  const { headers = [] } = verifyRequest({ ...WEBHOOK, rawHeaders }, {});
  assert.deepEqual(
    headers.map(({ name, rawValue }) => [name, Buffer.from(rawValue ?? []).toString("latin1")]),
    [
      ["X-Odd", "\u00ff\u00e4"],
      ["signature", "a"],
      ["Signature", "b"],
    ],
  );
});

/** Serves until `use` is done. */
async function serving(listener: Parameters<typeof createServer>[1] & object, use: (port: number) => Promise<void>) {
  const server = createServer(listener as never).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  try {
    await use((server.address() as AddressInfo).port);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

async function post(
  port: number,
  body: Buffer,
  headers: Record<string, string> = {},
  chunked = false,
): Promise<number> {
  return new Promise((resolve, reject) => {
    const length = chunked ? { "transfer-encoding": "chunked" } : { "content-length": String(body.length) };
    const sent = httpRequest(
      {
        port,
        host: "127.0.0.1",
        method: "POST",
        path: "/w/wallet/transactions?a=1",
        headers: { ...headers, ...length },
      },
      (answer) => {
        answer.resume();
        answer.on("end", () => resolve(answer.statusCode ?? 0));
      },
    );
    sent.on("error", reject);
    sent.end(body);
  });
}

/** The webhooks that arrive through middleware of Express, and their answers. */
async function arrived(
  before: express.RequestHandler[],
  use: (port: number) => Promise<number>,
  told = /WEBHOOK_UNREADABLE/,
): Promise<[Webhook[], number]> {
  const webhooks: Webhook[] = [];
  let status = 0;
  const gateway: WalletGateway = {
    ...decided(WalletDisposition.NOT_A_MOVE),
    verifyWallet: async (request) => {
      const found = await readWebhook(request as never).catch((error: Error) => error);
      if (found instanceof Error) {
        assert.match(found.message, told);
        return { reply: replyOfFailure(found), found: undefined };
      }
      webhooks.push(found);
      return callOf(create(VerifyWalletResponseSchema, { verdict: 1, disposition: 7 }), found.body);
    },
  };
  const app = express();
  app.use(
    "/w",
    ...before,
    walletHandler(gateway, () => BOOKED),
  );
  await serving(app, async (port) => {
    status = await use(port);
  });
  return [webhooks, status];
}

test("the raw parts arrive through Express, with the path as sent", async () => {
  const [[webhook], status] = await arrived([], (port) => post(port, Buffer.from('{"a":1}')));
  assert.deepEqual([status, webhook?.method, webhook?.path], [200, "POST", "/w/wallet/transactions?a=1"]);
  assert.equal(Buffer.from(webhook?.body ?? []).toString(), '{"a":1}');
});

test("what express.raw kept is used, if it is what was sent", async () => {
  const raw = express.raw({ type: () => true });
  const [[webhook]] = await arrived([raw], (port) => post(port, Buffer.from("{}"), {}, true));
  assert.equal(Buffer.from(webhook?.body ?? []).toString(), "{}");
});

test("a body that was parsed or unpacked is 503: its signature would be wrong, and 401 final", async () => {
  const packed = { "content-type": "application/json", "content-encoding": "gzip" };
  const attempts: [express.RequestHandler, Buffer, Record<string, string>, boolean][] = [
    [express.json(), Buffer.from("{}"), { "content-type": "application/json" }, false],
    [express.raw({ type: () => true }), gzipSync("{}"), packed, false],
    [express.raw({ type: () => true }), gzipSync("{}"), packed, true],
    [(request, _, next) => void request.on("end", next).resume(), Buffer.from("{}"), {}, false],
    [(request, _, next) => (request.setEncoding("utf8"), next()), Buffer.from("{}"), {}, false],
    [(request, _, next) => void request.once("data", () => (request.pause(), next())), Buffer.alloc(200_000), {}, true],
  ];
  for (const [parser, body, headers, chunked] of attempts) {
    const told = /read before, or unpacked/;
    const [webhooks, status] = await arrived([parser], (port) => post(port, body, headers, chunked), told);
    assert.deepEqual([webhooks.length, status], [0, 503]);
  }
});

test("a packed body that nobody unpacked arrives as it was sent", async () => {
  const body = gzipSync("{}");
  const [[webhook]] = await arrived([], (port) => post(port, body, { "content-encoding": "gzip" }));
  assert.deepEqual(Buffer.from(webhook?.body ?? []), body);
});

test("a body over the limit is 503, and the caller gets the answer", async () => {
  const [webhooks, status] = await arrived([], (port) => post(port, Buffer.alloc(1_048_577)));
  assert.deepEqual([webhooks.length, status], [0, 503]);
});

test("a body over the limit is not waited for", async () => {
  const [webhooks, status] = await arrived([], async (port) => {
    const head = "POST /w/wallet/balance HTTP/1.1\r\nhost: a\r\ncontent-length: 9000000\r\n\r\n";
    return (await spoken(port, head + "x".repeat(1_048_600))).startsWith("HTTP/1.1 503") ? 503 : 0;
  });
  assert.deepEqual([webhooks.length, status], [0, 503]);
});

test("a connection that breaks in the body ends nothing", async () => {
  const [webhooks] = await arrived([], async (port) => {
    const socket = connect(port, "127.0.0.1");
    socket.write("POST /w/wallet/balance HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n{");
    await new Promise((resolve) => setTimeout(resolve, 100));
    socket.destroy();
    await new Promise((resolve) => setTimeout(resolve, 100));
    return 0;
  });
  assert.deepEqual(webhooks, []);
});
