package phoenix.gateway.client;

import java.io.IOException;
import java.net.Socket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.BasicFileAttributes;
import java.security.Principal;
import java.security.PrivateKey;
import java.security.cert.CertificateException;
import java.security.cert.X509Certificate;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Consumer;
import javax.net.ssl.KeyManager;
import javax.net.ssl.SSLEngine;
import javax.net.ssl.TrustManager;
import javax.net.ssl.X509ExtendedKeyManager;
import javax.net.ssl.X509ExtendedTrustManager;

/** What the TLS files had when they could last be used, as managers that look at them before each handshake. */
final class TlsFiles {
    final Tls tls;
    private final Consumer<String> warn;
    private List<Object> seen = List.of();
    private Credentials credentials;
    private int version;
    /** Handshakes under way may still want the former ones, by the version that they began with. */
    private final Map<String, Credentials> byAlias = new ConcurrentHashMap<>();

    /** Reads the files once. Throws NotConnected with `TLS_FILES_UNUSABLE`. */
    TlsFiles(Tls tls, Consumer<String> warn) {
        this.tls = tls;
        this.warn = warn;
        current();
    }

    /**
     * Returns what the files have now. Files that cannot be used, such as a certificate whose new key is not there yet,
     * leave the former ones in use.
     */
    synchronized Credentials current() {
        List<Object> now = look();
        if (credentials != null && now.equals(seen)) {
            return credentials;
        }
        try {
            credentials = Credentials.read(tls);
        } catch (GatewayException unusable) {
            if (credentials == null) {
                throw unusable;
            }
            warn.accept("The TLS files changed and cannot be used yet; the old ones stay in use: "
                    + unusable.details());
            return credentials;
        }
        byAlias.remove(String.valueOf(version - 1));
        version++;
        byAlias.put(String.valueOf(version), credentials);
        if (look().equals(now)) { // otherwise they are being written: the next connection looks again
            seen = now;
        }
        return credentials;
    }

    private synchronized String currentAlias() {
        return current().key == null ? null : String.valueOf(version);
    }

    private List<Object> look() {
        return tls.paths().stream().map(TlsFiles::looksLike).toList();
    }

    private static Object looksLike(Path path) {
        try {
            BasicFileAttributes found = Files.readAttributes(path, BasicFileAttributes.class);
            return List.of(String.valueOf(found.fileKey()), found.lastModifiedTime(), found.size());
        } catch (IOException gone) {
            return "";
        }
    }

    KeyManager keyManager() {
        return new OwnKey();
    }

    TrustManager trustManager() {
        return new GatewayTrust();
    }

    /** Gives the certificate and the key of one moment: the alias is the version of the files. */
    private final class OwnKey extends X509ExtendedKeyManager {
        @Override
        public String chooseClientAlias(String[] keyTypes, Principal[] issuers, Socket socket) {
            return currentAlias();
        }

        @Override
        public String chooseEngineClientAlias(String[] keyTypes, Principal[] issuers, SSLEngine engine) {
            return currentAlias();
        }

        @Override
        public X509Certificate[] getCertificateChain(String alias) {
            Credentials found = byAlias.get(alias);
            return found == null ? null : found.chain.clone();
        }

        @Override
        public PrivateKey getPrivateKey(String alias) {
            Credentials found = byAlias.get(alias);
            return found == null ? null : found.key;
        }

        @Override
        public String[] getClientAliases(String keyType, Principal[] issuers) {
            String alias = currentAlias();
            return alias == null ? null : new String[] {alias};
        }

        @Override
        public String[] getServerAliases(String keyType, Principal[] issuers) {
            return null;
        }

        @Override
        public String chooseServerAlias(String keyType, Principal[] issuers, Socket socket) {
            return null;
        }
    }

    /** Trusts whom the CA file vouches for, by the name that is called. */
    private final class GatewayTrust extends X509ExtendedTrustManager {
        @Override
        public void checkServerTrusted(X509Certificate[] chain, String type, SSLEngine engine)
                throws CertificateException {
            current().trust.checkServerTrusted(chain, type, engine);
        }

        @Override
        public void checkServerTrusted(X509Certificate[] chain, String type, Socket socket)
                throws CertificateException {
            current().trust.checkServerTrusted(chain, type, socket);
        }

        @Override
        public void checkServerTrusted(X509Certificate[] chain, String type) throws CertificateException {
            throw new CertificateException("the name that is called is not known here");
        }

        @Override
        public void checkClientTrusted(X509Certificate[] chain, String type, SSLEngine engine)
                throws CertificateException {
            throw new CertificateException("these credentials are for clients");
        }

        @Override
        public void checkClientTrusted(X509Certificate[] chain, String type, Socket socket)
                throws CertificateException {
            throw new CertificateException("these credentials are for clients");
        }

        @Override
        public void checkClientTrusted(X509Certificate[] chain, String type) throws CertificateException {
            throw new CertificateException("these credentials are for clients");
        }

        @Override
        public X509Certificate[] getAcceptedIssuers() {
            return current().trust.getAcceptedIssuers();
        }
    }
}
