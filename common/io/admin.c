/* The admin port by libmicrohttpd; see admin.h. The only file that includes microhttpd.h. */
#include <weir/admin.h>

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <weir/clock.h>
#include <weir/metric.h>

/* Probes and a scraper or two: whoever holds connections open must not cost more than this. */
enum { MAX_CONNECTIONS = 32, IDLE_SECONDS = 10, CONNECTION_BYTES = 16 * 1024, PROBE_MS = 2000 };

static const char default_host[] = "127.0.0.1";

struct weir_admin {
    struct MHD_Daemon *daemon;
    struct weir_admin_config config;
    int port;
};

/* ---- answering ---- */

/* Takes body's memory. */
static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status, const char *type,
                              struct weir_buf *body)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(
        body->length, body->data ? body->data : "",
        body->data ? MHD_RESPMEM_MUST_FREE : MHD_RESPMEM_PERSISTENT);
    if (response == NULL) {
        weir_buf_free(body);
        return MHD_NO;
    }
    *body = (struct weir_buf){ 0 };

    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    enum MHD_Result result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result answer_text(struct MHD_Connection *connection, unsigned status,
                                   const char *text)
{
    struct weir_buf body = { 0 };
    weir_buf_printf(&body, "%s\n", text);
    return answer(connection, status, "text/plain; charset=utf-8", &body);
}

static enum MHD_Result answer_health(weir_admin *admin, struct MHD_Connection *connection,
                                     int ready)
{
    char reason[240] = "";

    if (admin->config.health(admin->config.arg, ready, reason))
        return answer_text(connection, MHD_HTTP_OK, "ok");
    reason[sizeof(reason) - 1] = '\0';
    return answer_text(connection, MHD_HTTP_SERVICE_UNAVAILABLE, reason);
}

static enum MHD_Result answer_metrics(struct MHD_Connection *connection)
{
    struct weir_buf body = { 0 };

    weir_metrics_print(&body);
    if (body.failed) {
        weir_buf_free(&body);
        return answer_text(connection, MHD_HTTP_INTERNAL_SERVER_ERROR, "too many metrics");
    }
    return answer(connection, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", &body);
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_size, void **state)
{
    (void)version, (void)upload, (void)upload_size, (void)state;

    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
        return answer_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "method not allowed");
    if (strcmp(url, "/healthz") == 0)
        return answer_health(arg, connection, 0);
    if (strcmp(url, "/readyz") == 0)
        return answer_health(arg, connection, 1);
    if (strcmp(url, "/metrics") == 0)
        return answer_metrics(connection);
    return answer_text(connection, MHD_HTTP_NOT_FOUND, "not found");
}

/* ---- opening ---- */

static int resolve(const char *host, int port, struct addrinfo **out)
{
    char service[16];
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV };

    snprintf(service, sizeof(service), "%d", port);
    return getaddrinfo(host && *host ? host : default_host, service, &hints, out);
}

/* libmicrohttpd logs on its own otherwise, in a form of its own. */
static void drop_log(void *arg, const char *format, va_list args)
{
    (void)arg, (void)format, (void)args;
}

int weir_admin_open(const struct weir_admin_config *config, weir_admin **out, struct weir_err *err)
{
    const char *host = config->host && *config->host ? config->host : default_host;
    struct addrinfo *address = NULL;

    if (config->port < 0 || config->port > 65535)
        return weir_fail(err, WEIR_FATAL, "admin port: %d is not a port", config->port);
    int status = resolve(host, config->port, &address);
    if (status != 0)
        return weir_fail(err, WEIR_FATAL, "admin port: '%s': %s", host, gai_strerror(status));

    weir_admin *admin = weir_xcalloc(1, sizeof(*admin));
    admin->config = *config;
    admin->config.host = NULL; /* borrowed for the call alone */

    unsigned flags = MHD_USE_AUTO | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_ERROR_LOG |
                     (address->ai_family == AF_INET6 ? MHD_USE_IPv6 : 0);
    sigset_t all, before;

    /* The process's signals are main's: the new thread inherits a mask that blocks them. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    errno = 0;
    admin->daemon = MHD_start_daemon(
        flags, (uint16_t)config->port, NULL, NULL, on_request, admin, MHD_OPTION_EXTERNAL_LOGGER,
        drop_log, NULL, MHD_OPTION_SOCK_ADDR, address->ai_addr, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)MAX_CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_SECONDS,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_BYTES, MHD_OPTION_END);
    int failed = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    freeaddrinfo(address);

    if (admin->daemon == NULL) {
        free(admin);
        return weir_fail(err, WEIR_FATAL, "admin port: can't listen on %s:%d: %s", host,
                         config->port, failed ? strerror(failed) : "refused");
    }
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(admin->daemon, MHD_DAEMON_INFO_BIND_PORT);
    admin->port = info ? info->port : config->port;
    *out = admin;
    return WEIR_OK;
}

int weir_admin_port(const weir_admin *admin)
{
    return admin->port;
}

void weir_admin_close(weir_admin **admin)
{
    if (admin == NULL || *admin == NULL)
        return;
    MHD_stop_daemon((*admin)->daemon);
    free(*admin);
    *admin = NULL;
}

/* ---- probing ---- */

static bool wait_for(int fd, short events, int64_t deadline_ms)
{
    struct pollfd poller = { .fd = fd, .events = events };
    int ready;

    do {
        int64_t left = deadline_ms - weir_mono_ms();
        if (left <= 0)
            return false;
        ready = poll(&poller, 1, (int)left);
    } while (ready < 0 && errno == EINTR);
    return ready > 0;
}

static bool connect_to(int fd, const struct addrinfo *address, int64_t deadline_ms)
{
    int failed = 0;
    socklen_t size = sizeof(failed);

    if (connect(fd, address->ai_addr, address->ai_addrlen) == 0)
        return true;
    return errno == EINPROGRESS && wait_for(fd, POLLOUT, deadline_ms) &&
           getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &size) == 0 && failed == 0;
}

/* Sends the request and reads as far as the status. */
static int exchange(int fd, const char *request, int64_t deadline_ms)
{
    char reply[64];
    size_t length = strlen(request), used = 0;
    int status, minor;

    for (size_t sent = 0; sent < length;) {
        ssize_t n = send(fd, request + sent, length - sent, MSG_NOSIGNAL);
        if (n > 0)
            sent += (size_t)n;
        else if (errno != EINTR && (errno != EAGAIN || !wait_for(fd, POLLOUT, deadline_ms)))
            return -1;
    }
    while (used < sizeof("HTTP/1.1 200") - 1) {
        ssize_t n = recv(fd, reply + used, sizeof(reply) - 1 - used, 0);
        if (n == 0)
            return -1;
        if (n > 0)
            used += (size_t)n;
        else if (errno != EINTR && (errno != EAGAIN || !wait_for(fd, POLLIN, deadline_ms)))
            return -1;
    }
    reply[used] = '\0';
    return sscanf(reply, "HTTP/1.%1d %3d", &minor, &status) == 2 ? status : -1;
}

int weir_admin_probe(const char *host, int port, const char *path)
{
    int64_t deadline_ms = weir_mono_ms() + PROBE_MS;
    struct addrinfo *address = NULL;
    char request[512];
    int status = -1;

    int length = snprintf(request, sizeof(request),
                          "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", path);
    if (length >= (int)sizeof(request) || resolve(host, port, &address) != 0)
        return -1;
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0) {
        if (connect_to(fd, address, deadline_ms))
            status = exchange(fd, request, deadline_ms);
        close(fd);
    }
    freeaddrinfo(address);
    return status;
}
