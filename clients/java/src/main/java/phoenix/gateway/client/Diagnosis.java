package phoenix.gateway.client;

import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.SocketTimeoutException;
import java.net.UnknownHostException;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.cert.CertificateException;
import java.security.cert.CertificateExpiredException;
import java.security.cert.CertificateNotYetValidException;
import java.util.Optional;
import javax.net.ssl.KeyManager;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.TrustManager;

/**
 * Finds out why no connection was made, by making one without gRPC, which has one status for every cause. It runs only
 * after a call failed.
 */
final class Diagnosis {
    private static final int WITHIN_MS = 2000;
    /** The first bytes of an HTTP/2 client: the preface and empty SETTINGS. */
    private static final byte[] PREFACE =
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0".getBytes(StandardCharsets.ISO_8859_1);
    private static final int SETTINGS = 4;
    private static final int TLS_ALERT = 0x15;

    private final String target;
    private final TlsFiles files;

    /** A reason of NotConnected and its text. */
    record Found(String reason, String details) {}

    /** Args: `files`: null without TLS. */
    Diagnosis(String target, TlsFiles files) {
        this.target = target;
        this.files = files;
    }

    /** Returns the cause. If the gateway answers, the connection was lost. Args: `details`: those of gRPC. */
    Found found(String details) {
        Optional<Target> address = Target.of(target);
        if (address.isEmpty()) {
            return new Found("CONNECTION_LOST", "There is no connection to " + target + " (" + details + "). Check the "
                    + "address.");
        }
        Found first = looked(address.get(), details);
        // A gateway that is killed closes connections, too: what it wants is only said if it does so again.
        boolean mayBeGone = !first.reason().equals("CONNECTION_LOST") && !first.reason().equals("GATEWAY_UNREACHABLE");
        return mayBeGone ? looked(address.get(), details) : first;
    }

    private Found looked(Target address, String details) {
        try (Socket socket = new Socket()) {
            socket.setSoTimeout(WITHIN_MS);
            socket.connect(new InetSocketAddress(InetAddress.getByName(address.host()), address.port()), WITHIN_MS);
            Found found = files == null ? withoutTls(socket) : overTls(socket, address);
            return found != null ? found : new Found("CONNECTION_LOST", "The connection to " + target + " was lost ("
                    + details + "), and the gateway can be reached now. Repeat the call; repeat a change only under "
                    + "the same id.");
        } catch (UnknownHostException unknown) {
            return unreachable("The name " + address.host() + " is unknown here. Check the address " + target
                    + " and DNS.");
        } catch (SocketTimeoutException silent) {
            return silent();
        } catch (IOException failed) {
            return unreachable(target + " accepts no connection (" + failed.getMessage() + "). Check the address, and "
                    + "whether the gateway runs.");
        }
    }

    private Found withoutTls(Socket socket) throws SocketTimeoutException {
        byte[] answer;
        try {
            answer = firstFrame(socket);
        } catch (SocketTimeoutException silent) {
            throw silent;
        } catch (IOException closed) {
            answer = new byte[0];
        }
        if (answer.length == 0 || answer[0] == TLS_ALERT) {
            return new Found("TLS_EXPECTED", target + " closes connections without TLS. Give the builder "
                    + "tls(Tls.of(caFile, certFile, keyFile)).");
        }
        if (answer.length > 3 && answer[3] == SETTINGS) {
            return null;
        }
        return unreachable(target + " is not a gateway: it does not speak HTTP/2. Check the port.");
    }

    private Found overTls(Socket socket, Target address) throws SocketTimeoutException {
        String name = files.tls.serverName() == null ? address.host() : files.tls.serverName();
        SSLSocket secured;
        try {
            secured = secured(socket, name, address.port());
            secured.startHandshake();
        } catch (SocketTimeoutException silent) {
            throw silent;
        } catch (IOException failed) {
            return handshakeFailed(name, failed);
        } catch (GeneralSecurityException failed) {
            return new Found("TLS_FILES_UNUSABLE", "This Java cannot use the TLS files (" + failed.getMessage() + ").");
        }
        try { // since TLS 1.3, a server refuses a certificate after the handshake
            return firstFrame(secured).length == 0 ? refused("") : null;
        } catch (SocketTimeoutException silent) {
            return null;
        } catch (IOException failed) {
            return refused(alertOf(failed));
        }
    }

    private SSLSocket secured(Socket socket, String name, int port) throws IOException, GeneralSecurityException {
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(new KeyManager[] {files.keyManager()}, new TrustManager[] {files.trustManager()}, null);
        SSLSocket made = (SSLSocket) context.getSocketFactory().createSocket(socket, name, port, true);
        SSLParameters parameters = made.getSSLParameters();
        parameters.setEndpointIdentificationAlgorithm("HTTPS");
        parameters.setApplicationProtocols(new String[] {"h2"});
        made.setSSLParameters(parameters);
        return made;
    }

    private Found handshakeFailed(String name, IOException failed) {
        Throwable cause = failed;
        boolean isOfCertificate = false;
        while (cause.getCause() != null) {
            cause = cause.getCause();
            isOfCertificate |= cause instanceof GeneralSecurityException;
        }
        if (cause instanceof CertificateExpiredException || cause instanceof CertificateNotYetValidException) {
            String state = cause instanceof CertificateExpiredException ? "is expired" : "is not valid yet";
            return new Found("GATEWAY_NOT_TRUSTED", "The certificate of " + target + " " + state + ". Have it renewed, "
                    + "and check this machine's clock.");
        }
        if (cause.getClass() == CertificateException.class) { // the Java platform has no class of its own for it
            return new Found("WRONG_HOST_NAME", "The certificate of " + target + " is not for the name " + name + ". "
                    + "Call the gateway by a name in its certificate, or give this name as Tls.withServerName.");
        }
        if (isOfCertificate) {
            return new Found("GATEWAY_NOT_TRUSTED", files.tls.caFile() + " did not sign the certificate of " + target
                    + ". Get the current CA of the gateway: this file may be older than the certificate.");
        }
        String text = String.valueOf(failed.getMessage());
        if (text.contains("Unsupported or unrecognized SSL message") || text.contains("Not an SSL")) {
            return new Found("TLS_UNEXPECTED", target + " does not speak TLS. Call it without tls, or check the port.");
        }
        return refused(alertOf(failed));
    }

    private Found refused(String alert) {
        if (files.tls.certFile() == null) {
            return new Found("CLIENT_CERTIFICATE_REQUIRED", target + " accepts only callers with a certificate. Give "
                    + "certFile and keyFile: Tls.of(caFile, certFile, keyFile).");
        }
        return new Found("CLIENT_CERTIFICATE_REFUSED", target + " refuses the certificate " + files.tls.certFile()
                + alert + ". Check that it is not expired, is made for clients, and is signed by the CA that the "
                + "gateway trusts for callers.");
    }

    private static String alertOf(IOException failed) {
        return failed instanceof EOFException ? "" : " (" + failed.getMessage() + ")";
    }

    private Found silent() {
        return unreachable(target + " does not answer within " + WITHIN_MS / 1000 + " s. Check the address, and "
                + "firewalls on the way.");
    }

    private static Found unreachable(String details) {
        return new Found("GATEWAY_UNREACHABLE", details);
    }

    /** Says what an HTTP/2 client says and returns the beginning of the answer; empty if the peer closed. */
    private static byte[] firstFrame(Socket socket) throws IOException {
        socket.getOutputStream().write(PREFACE);
        socket.getOutputStream().flush();
        byte[] answer = new byte[9];
        InputStream input = socket.getInputStream();
        int read = input.readNBytes(answer, 0, 4);
        return java.util.Arrays.copyOf(answer, read);
    }
}
