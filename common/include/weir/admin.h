/* The admin port: GET /healthz, /readyz, /metrics over HTTP, by libmicrohttpd, on its own thread.
 *
 * Binds to host (default 127.0.0.1, see WEIR_ADMIN_HOST). */
#ifndef WEIR_ADMIN_H
#define WEIR_ADMIN_H

#include <weir/mem.h>

typedef struct weir_admin weir_admin;

/* Answers of /healthz and /readyz come from health(arg, ready, reason): returns 1 when fine, else 0
 * with a reason (one line, no secrets), called on the admin thread. port 0..65535, 0 lets the
 * system choose. FATAL when the port can't be bound. */
struct weir_admin_config {
    const char *host;
    int port;
    int (*health)(void *arg, int ready, char reason[240]);
    void *arg;
};
WEIR_MUST_CHECK int weir_admin_open(const struct weir_admin_config *config, weir_admin **out,
                                    struct weir_err *err);
int weir_admin_port(const weir_admin *admin);
void weir_admin_close(weir_admin **admin);

/* HTTP GET of path on 127.0.0.1:port for `<service> --health`: the status code, or -1. */
int weir_admin_probe(const char *host, int port, const char *path);

#endif
