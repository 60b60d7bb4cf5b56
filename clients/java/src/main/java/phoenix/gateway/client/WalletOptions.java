package phoenix.gateway.client;

import phoenix.gateway.v1.PhoenixEnvironment;
import phoenix.gateway.v1.WalletRoute;

/**
 * Whose webhooks come.
 *
 * @param operatorCode the prediction operator; empty: the caller's only one
 * @param environment unspecified: the caller's only one
 * @param route for a wallet that mounts its webhooks at other paths than Phoenix names; otherwise unspecified
 */
public record WalletOptions(String operatorCode, PhoenixEnvironment environment, WalletRoute route) {
    /** The caller's only operator and environment, at the paths that Phoenix names. */
    public static final WalletOptions DEFAULT = new WalletOptions(
            "", PhoenixEnvironment.PHOENIX_ENVIRONMENT_UNSPECIFIED, WalletRoute.WALLET_ROUTE_UNSPECIFIED);
}
