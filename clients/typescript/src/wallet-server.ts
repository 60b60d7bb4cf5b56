/**
 * Node's HTTP server, for webhooks. By itself it answers 400, 408, 417 or 431 before any handler sees a request. Phoenix
 * takes 400 as final, and a proxy may have caused it: here all of these are 503.
 */

import { createServer, type RequestListener, type Server } from "node:http";
import type { Duplex } from "node:stream";
import { replyOfFailure } from "./wallet.js";

const LONGEST_HEADERS = 65_536;

/** Returns a server that is not listening yet. Args: `listener`: an app of Express, or a `walletHandler`. */
export function walletServer(listener: RequestListener): Server {
  const server = createServer({ maxHeaderSize: LONGEST_HEADERS, requireHostHeader: false }, listener);
  server.on("checkExpectation", listener);
  server.on("clientError", (_, socket) => refuse(socket));
  return server;
}

function refuse(socket: Duplex): void {
  if (!socket.writable) return void socket.destroy();
  const { headers, body } = replyOfFailure(undefined);
  const lines = Object.entries({ ...headers, "content-length": body.byteLength, connection: "close" });
  const head = lines.map(([name, value]) => `${name}: ${value}\r\n`).join("");
  socket.end(Buffer.concat([Buffer.from(`HTTP/1.1 503 Service Unavailable\r\n${head}\r\n`), body]));
}
