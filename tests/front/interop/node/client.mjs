// Runs gRPC's interop cases over grpc-js against one address. Each case that passes is printed; the first that fails
// ends the program. Arguments: target, "" or the folder of ca.pem, client.pem and client.key, a case to leave out.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const require = createRequire(join(process.env.GRPC_JS_FOLDER, "any.js"));
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const [target, folder, without] = process.argv.slice(2);
const here = dirname(fileURLToPath(import.meta.url));
const loaded = loader.loadSync(join(here, "..", "testing.proto"), { keepCase: true, defaults: true });
const { TestService } = grpc.loadPackageDefinition(loaded).grpc.testing;
const read = (name) => readFileSync(join(folder, name));
const credentials = folder
  ? grpc.credentials.createSsl(read("ca.pem"), read("client.key"), read("client.pem"))
  : grpc.credentials.createInsecure();
const client = new TestService(target, credentials);

const payload = (size) => ({ body: Buffer.alloc(size) });
const deadline = (ms) => ({ deadline: Date.now() + ms });
const REQUESTS = [27182, 8, 1828, 45904];
const ANSWERS = [31415, 9, 2653, 58979];

// Resolves to the answer of a unary or client-streaming call, or to its error.
const unary = (method, request, metadata = new grpc.Metadata(), options = deadline(10000), on = client) =>
  new Promise((resolve) => {
    const seen = {};
    const call = on[method](request, metadata, options, (error, answer) =>
      setImmediate(() => resolve({ error, answer, ...seen })));
    call.on("metadata", (initial) => (seen.initial = initial));
    call.on("status", (status) => (seen.trailing = status.metadata));
  });

// Resolves to what a stream brought, once it has ended.
const whole = (call, onAnswer = () => {}) =>
  new Promise((resolve) => {
    const answers = [];
    let initial, error;
    call.on("metadata", (metadata) => (initial = metadata));
    call.on("data", (answer) => {
      answers.push(answer);
      onAnswer(answer, answers.length);
    });
    call.on("error", (raised) => (error = raised));
    call.on("status", (status) =>
      setImmediate(() => resolve({ answers, initial, error, status, trailing: status.metadata })));
  });

const largeUnary = async (on = client) => {
  const { error, answer } = await unary(
    "UnaryCall", { response_size: 314159, payload: payload(271828) }, undefined, undefined, on);
  assert.ifError(error);
  assert.equal(answer.payload.body.length, 314159);
};

const cases = {
  async empty_unary() {
    const { error, answer } = await unary("EmptyCall", {});
    assert.ifError(error);
    assert.deepEqual(answer, {});
  },
  large_unary: () => largeUnary(),
  async compressed_unary() {
    for (const algorithm of [grpc.compressionAlgorithms.gzip, grpc.compressionAlgorithms.deflate]) {
      const packing = new TestService(target, credentials, { "grpc.default_compression_algorithm": algorithm });
      await largeUnary(packing);
      packing.close();
    }
  },
  async client_streaming() {
    const { error, answer } = await new Promise((resolve) => {
      const call = client.StreamingInputCall(deadline(10000), (raised, got) => resolve({ error: raised, answer: got }));
      REQUESTS.forEach((size) => call.write({ payload: payload(size) }));
      call.end();
    });
    assert.ifError(error);
    assert.equal(answer.aggregated_payload_size, 74922);
  },
  async server_streaming() {
    const wanted = ANSWERS.map((size) => ({ size }));
    const { answers, status } = await whole(client.StreamingOutputCall({ response_parameters: wanted }, deadline(10000)));
    assert.equal(status.code, 0);
    assert.deepEqual(answers.map((one) => one.payload.body.length), ANSWERS);
  },
  async ping_pong() {
    const call = client.FullDuplexCall(deadline(10000));
    const ask = (number) =>
      call.write({ response_parameters: [{ size: ANSWERS[number] }], payload: payload(REQUESTS[number]) });
    const ended = whole(call, (_, count) => (count < ANSWERS.length ? ask(count) : call.end()));
    ask(0);
    const { answers, status } = await ended;
    assert.equal(status.code, 0);
    assert.deepEqual(answers.map((one) => one.payload.body.length), ANSWERS);
  },
  async empty_stream() {
    const call = client.FullDuplexCall(deadline(10000));
    call.end();
    const { answers, status } = await whole(call);
    assert.deepEqual([answers, status.code], [[], 0]);
  },
  async timeout_on_sleeping_server() {
    const call = client.FullDuplexCall(deadline(1));
    call.write({ payload: payload(27182) });
    assert.equal((await whole(call)).status.code, grpc.status.DEADLINE_EXCEEDED);
  },
  async cancel_after_begin() {
    const error = await new Promise((resolve) => {
      const call = client.StreamingInputCall(deadline(10000), resolve);
      setImmediate(() => call.cancel());
    });
    assert.equal(error.code, grpc.status.CANCELLED);
  },
  async cancel_after_first_response() {
    const call = client.FullDuplexCall(deadline(10000));
    const ended = whole(call, () => call.cancel());
    call.write({ response_parameters: [{ size: 31415 }], payload: payload(27182) });
    assert.equal((await ended).status.code, grpc.status.CANCELLED);
  },
  async custom_metadata() {
    const sent = new grpc.Metadata();
    const bytes = Buffer.from("0a0b0a0b0a0b", "hex");
    sent.set("x-grpc-test-echo-initial", "test_initial_metadata_value");
    sent.set("x-grpc-test-echo-trailing-bin", bytes);
    const call = client.FullDuplexCall(sent, deadline(10000));
    const ended = whole(call, () => call.end());
    call.write({ response_parameters: [{ size: 1 }], payload: payload(1) });
    const one = await unary("UnaryCall", { response_size: 1, payload: payload(1) }, sent);
    assert.ifError(one.error);
    for (const { initial, trailing } of [one, await ended]) {
      assert.deepEqual(initial.get("x-grpc-test-echo-initial"), ["test_initial_metadata_value"]);
      assert.deepEqual(trailing.get("x-grpc-test-echo-trailing-bin"), [bytes]);
    }
  },
  async status_code_and_message() {
    const request = { response_status: { code: 2, message: "test status message" } };
    const { error } = await unary("UnaryCall", request);
    assert.deepEqual([error.code, error.details], [2, "test status message"]);
    const call = client.FullDuplexCall(deadline(10000));
    call.end(request);
    const { status } = await whole(call);
    assert.deepEqual([status.code, status.details], [2, "test status message"]);
  },
  async special_status_message() {
    const message = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n";
    const { error } = await unary("UnaryCall", { response_status: { code: 2, message } });
    assert.deepEqual([error.code, error.details], [2, message]);
  },
  async unimplemented_method() {
    await unimplemented("/grpc.testing.TestService/UnimplementedCall");
  },
  async unimplemented_service() {
    await unimplemented("/grpc.testing.UnimplementedService/UnimplementedCall");
  },
};

const unimplemented = async (path) => {
  const as = (bytes) => bytes;
  const error = await new Promise((resolve) =>
    client.makeUnaryRequest(path, as, as, Buffer.alloc(0), new grpc.Metadata(), deadline(10000), resolve));
  assert.equal(error.code, grpc.status.UNIMPLEMENTED);
};

for (const [name, run] of Object.entries(cases)) {
  if (name === without) continue;
  try {
    await run();
  } catch (failed) {
    console.error(name, failed);
    process.exit(1);
  }
  console.log(name);
}
client.close();
