/* A library with TLS_EATER_BYTES of static TLS; late_dlopen loads several to use it up. */
__thread char tls_eater[TLS_EATER_BYTES] __attribute__((tls_model("initial-exec"), aligned(8)));

char *tls_eater_address(void);

char *tls_eater_address(void) { return tls_eater; }
