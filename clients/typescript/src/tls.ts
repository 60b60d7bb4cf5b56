/** The files of mutual TLS, and when they have changed. A renewed certificate is used without a restart. */

import { X509Certificate } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { createSecureContext } from "node:tls";
import { GatewayError } from "./errors.js";

/** Files in PEM form. They are read again when they change. */
export interface Tls {
  /** The CA of the gateway's certificate. */
  readonly caFile: string;
  /** This caller's certificate chain. */
  readonly certFile?: string;
  /** The private key of the certificate, not encrypted. */
  readonly keyFile?: string;
  /** The name in the gateway's certificate, if it is not the host that is called. */
  readonly serverName?: string;
}

/** The content of the files at one time. */
export interface LoadedTls {
  readonly ca: Buffer;
  readonly cert: Buffer | undefined;
  readonly key: Buffer | undefined;
}

/** Returns a value that changes when a file is replaced or rewritten. Never throws. */
export function stampOf(tls: Tls): string {
  return pathsOf(tls)
    .map((path) => {
      try {
        const found = statSync(path, { bigint: true });
        return `${found.mtimeNs}.${found.size}.${found.ino}`;
      } catch (error) {
        return codeOf(error);
      }
    })
    .join(" ");
}

/** Reads the files and checks that they can be used. Throws GatewayError `TLS_FILES_UNUSABLE`. */
export function loadTls(tls: Tls): LoadedTls {
  if ((tls.certFile === undefined) !== (tls.keyFile === undefined)) {
    throw unusable("certFile and keyFile belong together: give both or neither.");
  }
  const [ca, cert, key] = pathsOf(tls).map(read);
  if (ca === undefined || !isCertificate(ca)) {
    throw unusable(`${tls.caFile} has no certificate in PEM form. Give the CA that signed the gateway's certificate.`);
  }
  if (cert !== undefined) checkPair(tls, cert, key);
  return { ca, cert, key };
}

/** Returns the code of a system error, such as `ENOENT`. */
export function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException | undefined)?.code ?? "";
}

function pathsOf(tls: Tls): string[] {
  return [tls.caFile, tls.certFile, tls.keyFile].filter((path) => path !== undefined);
}

function read(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw unusable(`${path} cannot be read (${codeOf(error)}). Check the path and who may read it.`);
  }
}

function isCertificate(pem: Buffer): boolean {
  try {
    return new X509Certificate(pem) !== undefined;
  } catch {
    return false;
  }
}

function checkPair(tls: Tls, cert: Buffer, key: Buffer | undefined): void {
  try {
    createSecureContext({ cert, key });
  } catch (error) {
    const cause = codeOf(error).includes("MISMATCH")
      ? "do not belong together"
      : "are not a certificate and its key in PEM form";
    throw unusable(
      `${tls.certFile} and ${tls.keyFile} ${cause}. Give the certificate chain and its own, unencrypted key.`,
    );
  }
}

function unusable(details: string): GatewayError {
  return new GatewayError("TLS_FILES_UNUSABLE", details);
}
