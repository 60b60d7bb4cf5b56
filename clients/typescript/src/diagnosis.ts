/**
 * Finds out why no connection to the gateway was made, by making one without gRPC. gRPC has one status for every cause;
 * OpenSSL and the socket name it. It runs only after a call failed, and takes two seconds at most.
 */

import { connect as connectPlain, isIP, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { type ClientReason, GatewayError } from "./errors.js";
import { type Address, addressOf } from "./target.js";
import { codeOf, loadTls, type Tls } from "./tls.js";

const WITHIN_MS = 2000;
/** The first bytes of an HTTP/2 client: the preface and empty SETTINGS. */
const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", "latin1");
const SETTINGS = 4;
const TLS_ALERT = 0x15;

/** What the connection came to: the first bytes of the answer, or how it failed. */
type Outcome = { readonly answer: Buffer } | { readonly error: Error } | "closed" | "silent";

/**
 * Returns the cause as an error. If the gateway answers, it is `CONNECTION_LOST`. Never throws.
 * Args: `details`: those of gRPC.
 */
export async function diagnose(target: string, tls: Tls | undefined, details: string): Promise<GatewayError> {
  const lost = new GatewayError(
    "CONNECTION_LOST",
    `The connection to ${target} was lost (${details || "no details"}), and the gateway can be reached now. Repeat the ` +
      "call; repeat a change only under the same id.",
  );
  const address = addressOf(target);
  if (address === undefined) return lost;
  try {
    const outcome = await tried(address, tls);
    const found = tls === undefined ? plain(target, address, outcome) : overTls(target, address, tls, outcome);
    return found === undefined ? lost : new GatewayError(...found);
  } catch (error) {
    return error instanceof GatewayError ? error : lost;
  }
}

type Found = [ClientReason, string] | undefined;

function plain(target: string, address: Address, outcome: Outcome): Found {
  if (outcome === "silent") return silent(target);
  if (outcome !== "closed" && "error" in outcome) {
    if (codeOf(outcome.error) !== "ECONNRESET") return unreachable(target, address, outcome.error);
    outcome = "closed";
  }
  if (outcome === "closed" || outcome.answer[0] === TLS_ALERT) {
    return [
      "TLS_EXPECTED",
      `${target} closes connections without TLS. Give the option tls: { caFile, certFile, keyFile }.`,
    ];
  }
  if (outcome.answer[3] === SETTINGS) return undefined;
  return ["GATEWAY_UNREACHABLE", `${target} is not a gateway: it does not speak HTTP/2. Check the port.`];
}

function overTls(target: string, address: Address, tls: Tls, outcome: Outcome): Found {
  if (outcome === "silent") return silent(target);
  if (outcome === "closed") return refused(target, tls, "");
  if ("answer" in outcome) return undefined;
  const code = codeOf(outcome.error);
  const name = tls.serverName ?? ("host" in address ? address.host : "localhost");
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID") {
    return [
      "WRONG_HOST_NAME",
      `The certificate of ${target} is not for the name ${name}. Call the gateway by a name in its certificate, or give ` +
        "this name as tls.serverName.",
    ];
  }
  if (code === "CERT_HAS_EXPIRED" || code === "CERT_NOT_YET_VALID") {
    const state = code === "CERT_HAS_EXPIRED" ? "is expired" : "is not valid yet";
    return [
      "GATEWAY_NOT_TRUSTED",
      `The certificate of ${target} ${state}. Have it renewed, and check this machine's clock.`,
    ];
  }
  if (NOT_TRUSTED.test(code)) {
    return [
      "GATEWAY_NOT_TRUSTED",
      `${tls.caFile} did not sign the certificate of ${target} (${code}). Get the current CA of the gateway: this file ` +
        "may be older than the certificate.",
    ];
  }
  if (/WRONG_VERSION_NUMBER|RECORD_LAYER|HTTP_REQUEST|PACKET_LENGTH/.test(code)) {
    return ["TLS_UNEXPECTED", `${target} does not speak TLS. Call it without tls, or check the port.`];
  }
  if (code.startsWith("ERR_SSL_") || code === "ECONNRESET" || code === "EPIPE") {
    return refused(target, tls, code.startsWith("ERR_SSL_") ? code : "");
  }
  return unreachable(target, address, outcome.error);
}

/** Codes of Node for a certificate that the CA does not vouch for. */
const NOT_TRUSTED = /^(UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|CERT_|INVALID_|PATH_LENGTH|HOSTNAME_)/;

function refused(target: string, tls: Tls, alert: string): Found {
  if (tls.certFile === undefined) {
    return [
      "CLIENT_CERTIFICATE_REQUIRED",
      `${target} accepts only callers with a certificate. Give tls.certFile and tls.keyFile.`,
    ];
  }
  return [
    "CLIENT_CERTIFICATE_REFUSED",
    `${target} refuses the certificate ${tls.certFile}${alert ? ` (${alert})` : ""}. Check that it is not expired, is made ` +
      "for clients, and is signed by the CA that the gateway trusts for callers.",
  ];
}

function silent(target: string): Found {
  return [
    "GATEWAY_UNREACHABLE",
    `${target} does not answer within ${WITHIN_MS / 1000} s. Check the address, and firewalls on the way.`,
  ];
}

function unreachable(target: string, address: Address, error: Error): Found {
  const code = codeOf(error);
  if ((code === "ENOTFOUND" || code === "EAI_AGAIN") && "host" in address) {
    return ["GATEWAY_UNREACHABLE", `The name ${address.host} is unknown here. Check the address ${target} and DNS.`];
  }
  return [
    "GATEWAY_UNREACHABLE",
    `${target} accepts no connection (${code || error.name}). Check the address, and whether the gateway runs.`,
  ];
}

/** Connects, says what an HTTP/2 client says, and waits for the answer. Throws GatewayError `TLS_FILES_UNUSABLE`. */
async function tried(address: Address, tls: Tls | undefined): Promise<Outcome> {
  const socket = opened(address, tls);
  try {
    return await new Promise<Outcome>((resolve) => {
      const timer = setTimeout(() => resolve("silent"), WITHIN_MS);
      const end = (outcome: Outcome) => {
        clearTimeout(timer);
        resolve(outcome);
      };
      socket.once(tls === undefined ? "connect" : "secureConnect", () => socket.write(PREFACE));
      socket.once("data", (answer: Buffer) => end({ answer }));
      socket.once("error", (error) => end({ error }));
      socket.once("close", () => end("closed"));
    });
  } finally {
    socket.on("error", () => undefined);
    socket.destroy();
  }
}

function opened(address: Address, tls: Tls | undefined): Socket {
  if (tls === undefined) return connectPlain(address);
  const { ca, cert, key } = loadTls(tls);
  const host = "host" in address ? address.host : "localhost";
  const name = tls.serverName ?? host;
  return connectTls({
    ...address,
    ca,
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ALPNProtocols: ["h2"],
    ...(isIP(name) ? {} : { servername: name }),
  });
}
