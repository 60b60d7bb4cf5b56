/** Where a target of gRPC is. Pure. */

/** A host and port, or the path of a Unix socket. */
export type Address = { readonly host: string; readonly port: number } | { readonly path: string };

/** Returns the address of a target; undefined for a form that cannot be called without gRPC, such as `xds:`. */
export function addressOf(target: string): Address | undefined {
  if (target.startsWith("unix:")) return { path: target.replace(/^unix:(\/\/(?=\/))?/, "") };
  const found = /^(?:(?:dns|ipv4|ipv6):(?:\/\/\/?)?)?(?:\[([^\]]+)\]|([^[\]:/,]+)):(\d+)$/.exec(target);
  return found === null ? undefined : { host: found[1] ?? found[2] ?? "", port: Number(found[3]) };
}

/** Whether the target is on this machine, where a token may travel without TLS. */
export function isLocal(target: string): boolean {
  return target.startsWith("unix:") || /^(dns:\/\/\/?)?(127\.\d+\.\d+\.\d+|localhost|\[::1\]):\d+$/.test(target);
}
