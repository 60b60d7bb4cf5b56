/**
 * The raw parts of a webhook. The signature is over the raw body, so they are passed on as received: no parser, no
 * decompression.
 */

import type { IncomingMessage } from "node:http";
import { GatewayError } from "./errors.js";

/** The longest body that the gateway takes. */
const LONGEST_BODY = 1_048_576;

/** A request of Phoenix, as received. */
export interface Webhook {
  readonly method: string;
  /** The path, with or without the wallet's own prefix. */
  readonly path: string;
  /** Names and values in turn, as in `request.rawHeaders` of Node: repeated headers stay apart. */
  readonly rawHeaders: readonly string[];
  /** The body before any parser. */
  readonly body: Uint8Array;
}

/** A request of Node, Express or another framework that keeps Node's own request. */
export type NodeRequest = IncomingMessage & {
  readonly originalUrl?: string;
  /** What a parser left: usable if it is bytes, as of `express.raw`. */
  readonly body?: unknown;
  /** Where some platforms keep the bytes. */
  readonly rawBody?: unknown;
};

/** Reads the parts of a request. Rejects with GatewayError `WEBHOOK_UNREADABLE`. */
export async function readWebhook(request: NodeRequest): Promise<Webhook> {
  const kept = [request.rawBody, request.body].find((one) => one instanceof Uint8Array);
  const webhook = {
    method: request.method ?? "",
    path: request.originalUrl ?? request.url ?? "",
    rawHeaders: request.rawHeaders,
  };
  if (kept !== undefined) return { ...webhook, body: wholeBody(kept as Uint8Array, request.rawHeaders, true) };
  if (request.readableEnded || request.readableDidRead || request.destroyed) throw readBefore();
  return { ...webhook, body: wholeBody(await read(request), request.rawHeaders, false) };
}

/**
 * Returns the body if it is what was received. A body that was unpacked or cut would have a wrong signature, and the
 * answer 401 would end a genuine payout. Throws GatewayError `WEBHOOK_UNREADABLE`.
 */
export function wholeBody(body: Uint8Array, rawHeaders: readonly string[], wasParsed: boolean): Uint8Array {
  if (body.byteLength > LONGEST_BODY) throw tooLong();
  const length = valueOf(rawHeaders, "content-length");
  const encoding = valueOf(rawHeaders, "content-encoding");
  const isUnpacked = wasParsed && encoding !== undefined && encoding.toLowerCase() !== "identity";
  const isEmptied = body.byteLength === 0 && valueOf(rawHeaders, "transfer-encoding") !== undefined;
  if (isUnpacked || isEmptied || (length !== undefined && length !== String(body.byteLength))) throw readBefore();
  return body;
}

async function read(request: IncomingMessage): Promise<Uint8Array> {
  const parts: Buffer[] = [];
  let length = 0;
  try {
    for await (const part of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer | string>) {
      if (typeof part === "string") throw readBefore(); // someone has set an encoding
      length += part.byteLength;
      if (length > LONGEST_BODY) throw tooLong();
      parts.push(part);
    }
  } catch (error) {
    if (error instanceof GatewayError) throw error;
    throw new GatewayError("WEBHOOK_UNREADABLE", "The connection broke before the whole body was here.", {
      cause: error,
    });
  }
  return Buffer.concat(parts, length);
}

function valueOf(rawHeaders: readonly string[], name: string): string | undefined {
  const at = rawHeaders.findIndex((one, index) => index % 2 === 0 && one.toLowerCase() === name);
  return at < 0 ? undefined : rawHeaders[at + 1]?.trim();
}

function readBefore(): GatewayError {
  return new GatewayError(
    "WEBHOOK_UNREADABLE",
    "The body was read before, or unpacked. Mount the wallet before any body parser, or pass the bytes as received.",
  );
}

function tooLong(): GatewayError {
  return new GatewayError("WEBHOOK_UNREADABLE", `The body is longer than ${LONGEST_BODY} bytes.`);
}
