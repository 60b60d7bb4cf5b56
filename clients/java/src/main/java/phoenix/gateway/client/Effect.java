package phoenix.gateway.client;

/** Did Phoenix act on a call that failed? */
public enum Effect {
    /** Certainly not. */
    NONE,
    /** Nobody knows. */
    MAYBE,
    /** It did, and its answer cannot be passed on. */
    DONE
}
