/** Targets of gRPC. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Gateway } from "../src/gateway.js";
import { addressOf } from "../src/target.js";

test("the diagnosis finds the same place as gRPC", () => {
  const expected: [string, unknown][] = [
    ["gateway:50051", { host: "gateway", port: 50051 }],
    ["dns:///gateway.internal:1", { host: "gateway.internal", port: 1 }],
    ["[::1]:50051", { host: "::1", port: 50051 }],
    ["ipv4:127.0.0.1:5", { host: "127.0.0.1", port: 5 }],
    ["unix:/run/gateway.sock", { path: "/run/gateway.sock" }],
    ["unix:///run/gateway.sock", { path: "/run/gateway.sock" }],
    ["xds:///gateway", undefined],
  ];
  for (const [target, address] of expected) assert.deepEqual(addressOf(target), address, target);
});

test("a token leaves this machine only over TLS", () => {
  assert.throws(() => new Gateway("gateway.example:50051", { token: "secret" }), /certificate/);
  new Gateway("127.0.0.1:1", { token: "secret" }).close();
});

test("a closed client makes no calls", async () => {
  const gateway = new Gateway("127.0.0.1:1");
  gateway.close();
  await assert.rejects(gateway.keys.listKeys({}), { reason: "CLIENT_CLOSED" });
});
