/** What of the published service config is used, and that no unsafe call is repeated by the channel. */

import assert from "node:assert/strict";
import { test } from "node:test";
import grpcConfig from "@grpc/grpc-js/build/src/service-config.js";
import * as v1 from "../src/gen/phoenix_gateway_client/v1_pb.js";
import { PUBLISHED } from "../src/gen/service-config.js";
import { defaultTimeoutMs, isRepeatedByChannel, retryPolicy, serviceConfig } from "../src/service-config.js";

const SERVICES = [
  v1.EventService,
  v1.KeyService,
  v1.LeaderboardAdminService,
  v1.LeaderboardService,
  v1.OperatorService,
  v1.PhoenixService,
  v1.TokenService,
  v1.WalletService,
];
const METHODS = SERVICES.flatMap((service) => service.methods.map((method) => `/${service.typeName}/${method.name}`));

/** What the channel does with a method, as gRPC chooses: the most exact name counts. */
function policyOf(path: string): unknown {
  const [service, method] = path.slice(1).split("/");
  const { methodConfig } = grpcConfig.validateServiceConfig(JSON.parse(serviceConfig()));
  const exact = [{ service, method }, { service }, {}] as { service?: string; method?: string }[];
  const found = exact
    .map((wanted) =>
      methodConfig.find((one) =>
        one.name.some((name) => name.service === wanted.service && name.method === wanted.method),
      ),
    )
    .find((one) => one !== undefined);
  return found?.retryPolicy;
}

test("timeouts are the published ones; streams have none", () => {
  assert.equal(defaultTimeoutMs("/phoenix.gateway.v1.KeyService/ListKeys"), 10_000);
  assert.equal(defaultTimeoutMs("/phoenix.gateway.v1.WalletService/VerifyWallet"), 4000);
  assert.equal(defaultTimeoutMs("/phoenix.gateway.v1.LeaderboardService/WatchLeaderboard"), undefined);
  assert.equal(defaultTimeoutMs("/phoenix.gateway.v1.EventService/StreamEvents"), undefined);
});

test("the channel repeats exactly the methods whose repeat is safe", () => {
  const once = METHODS.filter((path) => policyOf(path) === undefined).map((path) => path.split("/")[2]);
  assert.deepEqual(once.sort(), [
    "Call",
    "CreateLeaderboard",
    "RedriveDeadLetters",
    "StreamEvents",
    "SubmitEvent",
    "SubmitEvents",
    "UpdateOperatorSettings",
  ]);
  for (const path of METHODS) assert.equal(isRepeatedByChannel(path), policyOf(path) !== undefined, path);
});

test("nothing is hedged, and no timeout of the config shortens a caller's", () => {
  assert.ok(!/hedging|timeout/.test(serviceConfig()));
  const { loadBalancingConfig, retryThrottling } = JSON.parse(serviceConfig());
  assert.deepEqual([loadBalancingConfig, retryThrottling], [PUBLISHED.loadBalancingConfig, PUBLISHED.retryThrottling]);
});

test("the attempts of a call that the channel may not repeat are the published ones", () => {
  const found = retryPolicy("/phoenix.gateway.v1.EventService/SubmitEvent");
  assert.deepEqual(found, { attempts: 4, firstMs: 100, longestMs: 1000, factor: 2 });
});
