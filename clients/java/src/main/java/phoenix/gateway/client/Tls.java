package phoenix.gateway.client;

import java.nio.file.Path;
import java.util.stream.Stream;
import java.util.List;

/**
 * Files in PEM form for a gateway that speaks TLS. They are looked at before each new connection, and read again if
 * they have changed.
 *
 * @param caFile the CA that signed the gateway's certificate
 * @param certFile this caller's certificate chain; null for none
 * @param keyFile its private key as PKCS#8, not encrypted; null for none
 * @param serverName the name in the gateway's certificate, if it is not the host that is called; otherwise null
 */
public record Tls(Path caFile, Path certFile, Path keyFile, String serverName) {
    /** Returns the files of mutual TLS. */
    public static Tls of(Path caFile, Path certFile, Path keyFile) {
        return new Tls(caFile, certFile, keyFile, null);
    }

    /** Returns the same files for a gateway whose certificate has another name than the host that is called. */
    public Tls withServerName(String name) {
        return new Tls(caFile, certFile, keyFile, name);
    }

    List<Path> paths() {
        return Stream.of(caFile, certFile, keyFile).filter(one -> one != null).toList();
    }
}
