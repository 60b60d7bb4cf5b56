/** A method for each RPC of a service, from the generated description. */

import type { DescMessage, DescMethod, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import type { GenService, GenServiceMethods } from "@bufbuild/protobuf/codegenv2";
import type { CallOptions, Calls } from "./calls.js";

type Init<I extends DescMessage> = MessageInitShape<I>;

/** A service whose RPCs are methods. A request is a plain object or a message. */
export type ServiceClient<S extends GenServiceMethods> = {
  [K in keyof S]: S[K] extends {
    methodKind: "unary";
    input: infer I extends DescMessage;
    output: infer O extends DescMessage;
  }
    ? (request: Init<I>, options?: CallOptions) => Promise<MessageShape<O>>
    : S[K] extends {
          methodKind: "server_streaming";
          input: infer I extends DescMessage;
          output: infer O extends DescMessage;
        }
      ? (request: Init<I>, options?: CallOptions) => AsyncGenerator<MessageShape<O>, void, undefined>
      : S[K] extends { input: infer I extends DescMessage; output: infer O extends DescMessage }
        ? (
            requests: AsyncIterable<Init<I>> | Iterable<Init<I>>,
            options?: CallOptions,
          ) => AsyncGenerator<MessageShape<O>, void, undefined>
        : never;
};

/** Returns the client of a service. */
export function serviceClient<S extends GenServiceMethods>(service: GenService<S>, calls: Calls): ServiceClient<S> {
  return Object.fromEntries(
    service.methods.map((method) => [method.localName, caller(method, calls)]),
  ) as ServiceClient<S>;
}

function caller(method: DescMethod, calls: Calls): (request: never, options?: CallOptions) => unknown {
  if (method.methodKind === "unary") return (request, options) => calls.unary(method, request, options);
  if (method.methodKind === "server_streaming")
    return (request, options) => calls.serverStream(method, request, options);
  return (requests, options) => calls.stream(method, requests, options);
}
