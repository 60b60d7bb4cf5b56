package phoenix.gateway.client;

import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.KeyStore;
import java.security.PrivateKey;
import java.security.Signature;
import java.security.cert.Certificate;
import java.security.cert.CertificateException;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.net.ssl.TrustManager;
import javax.net.ssl.TrustManagerFactory;
import javax.net.ssl.X509ExtendedTrustManager;

/** What the TLS files hold: whom to trust, and who this caller is. */
final class Credentials {
    private static final Pattern KEY =
            Pattern.compile("-----BEGIN PRIVATE KEY-----([A-Za-z0-9+/=\\s]+)-----END PRIVATE KEY-----");

    final X509ExtendedTrustManager trust;
    /** Empty without a certificate. */
    final X509Certificate[] chain;
    /** Null without a certificate. */
    final PrivateKey key;

    private Credentials(X509ExtendedTrustManager trust, X509Certificate[] chain, PrivateKey key) {
        this.trust = trust;
        this.chain = chain;
        this.key = key;
    }

    /** Reads the files. Throws NotConnected with `TLS_FILES_UNUSABLE`, which names the file and the fix. */
    static Credentials read(Tls tls) {
        if (tls.caFile() == null) {
            throw unusable("caFile is not given. Give the CA that signed the gateway's certificate.", null);
        }
        if ((tls.certFile() == null) != (tls.keyFile() == null)) {
            throw unusable("certFile and keyFile belong together: give both or neither.", null);
        }
        X509ExtendedTrustManager trust = trusting(tls.caFile(), certificates(tls.caFile()));
        if (tls.certFile() == null) {
            return new Credentials(trust, new X509Certificate[0], null);
        }
        X509Certificate[] chain = certificates(tls.certFile()).toArray(X509Certificate[]::new);
        PrivateKey key = privateKey(tls.keyFile(), chain[0].getPublicKey().getAlgorithm());
        if (!belongTogether(chain[0], key)) {
            throw unusable(tls.certFile() + " and " + tls.keyFile() + " do not belong together. Give the certificate "
                    + "chain and its own key.", null);
        }
        return new Credentials(trust, chain, key);
    }

    private static byte[] content(Path path) {
        try {
            return Files.readAllBytes(path);
        } catch (IOException failed) {
            String cause = failed instanceof NoSuchFileException
                    ? "it does not exist"
                    : failed.getClass().getSimpleName();
            throw unusable(path + " cannot be read (" + cause + "). Check the path and who may read it.", failed);
        }
    }

    private static List<X509Certificate> certificates(Path path) {
        byte[] content = content(path);
        Exception cause = null;
        List<X509Certificate> found = List.of();
        try {
            found = CertificateFactory.getInstance("X.509")
                    .generateCertificates(new ByteArrayInputStream(content)).stream()
                    .map(X509Certificate.class::cast)
                    .toList();
        } catch (CertificateException | RuntimeException damaged) {
            cause = damaged;
        }
        if (found.isEmpty()) {
            throw unusable(path + " has no certificate in PEM form.", cause);
        }
        return found;
    }

    private static X509ExtendedTrustManager trusting(Path path, List<X509Certificate> certificates) {
        try {
            KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
            store.load(null, null);
            int number = 0;
            for (Certificate one : certificates) {
                store.setCertificateEntry(String.valueOf(number++), one);
            }
            TrustManagerFactory factory = TrustManagerFactory.getInstance("PKIX");
            factory.init(store);
            for (TrustManager one : factory.getTrustManagers()) {
                if (one instanceof X509ExtendedTrustManager found) {
                    return found;
                }
            }
            throw new GeneralSecurityException("no trust manager");
        } catch (GeneralSecurityException | IOException failed) {
            throw unusable(path + " cannot be used as a CA (" + failed.getMessage() + ").", failed);
        }
    }

    private static PrivateKey privateKey(Path path, String algorithm) {
        Matcher found = KEY.matcher(new String(content(path), StandardCharsets.ISO_8859_1));
        if (!found.find()) {
            throw unusable(path + " has no unencrypted PKCS#8 key in PEM form (BEGIN PRIVATE KEY). Convert it with "
                    + "`openssl pkcs8 -topk8 -nocrypt`.", null);
        }
        try {
            byte[] encoded = Base64.getMimeDecoder().decode(found.group(1));
            return KeyFactory.getInstance(algorithm).generatePrivate(new PKCS8EncodedKeySpec(encoded));
        } catch (GeneralSecurityException | IllegalArgumentException failed) { // their text may hold parts of the key
            throw unusable(path + " does not belong to the certificate, or is damaged: "
                    + "the two do not belong together.", null);
        }
    }

    private static boolean belongTogether(X509Certificate certificate, PrivateKey key) {
        String algorithm =
                switch (key.getAlgorithm()) {
                    case "RSA" -> "SHA256withRSA";
                    case "EC" -> "SHA256withECDSA";
                    default -> key.getAlgorithm();
                };
        try {
            Signature signature = Signature.getInstance(algorithm);
            signature.initSign(key);
            signature.update((byte) 1);
            byte[] signed = signature.sign();
            signature.initVerify(certificate.getPublicKey());
            signature.update((byte) 1);
            return signature.verify(signed);
        } catch (GeneralSecurityException failed) {
            return false;
        }
    }

    private static ClientReasons.NotConnected unusable(String details, Throwable cause) {
        return ClientReasons.notConnected("TLS_FILES_UNUSABLE", Effect.NONE, details, cause);
    }
}
