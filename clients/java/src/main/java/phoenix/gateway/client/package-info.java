/**
 * The client of Phoenix Gateway: begin with {@link phoenix.gateway.client.Gateway}. Messages and enums are in
 * {@code phoenix.gateway.v1}.
 */
package phoenix.gateway.client;
