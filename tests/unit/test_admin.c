/* The admin port over real sockets: answers, refusals, bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <weir/admin.h>
#include <weir/clock.h>
#include <weir/metric.h>

static _Atomic int healthy = 1, is_ready = 1;

static int health(void *arg, int ready, char reason[240])
{
    assert_ptr_equal(arg, &healthy);
    if (!(ready ? is_ready : healthy)) {
        snprintf(reason, 240, "%s", ready ? "no broker" : "a worker hangs");
        return 0;
    }
    return 1;
}

static weir_admin *admin;

static int open_admin(void **state)
{
    (void)state;
    const struct weir_admin_config config = { .health = health, .arg = &healthy };
    struct weir_err err;
    return weir_admin_open(&config, &admin, &err);
}

static int close_admin(void **state)
{
    (void)state;
    weir_admin_close(&admin);
    assert_null(admin);
    weir_admin_close(&admin);
    return 0;
}

static int connect_to_admin(void)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)weir_admin_port(admin)),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

/* The whole reply to "METHOD path". */
static const char *ask(const char *request_line, struct weir_buf *reply)
{
    char request[256], piece[4096];
    ssize_t got;
    int fd = connect_to_admin();

    int length = snprintf(request, sizeof(request),
                          "%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", request_line);
    assert_int_equal(send(fd, request, (size_t)length, MSG_NOSIGNAL), length);
    weir_buf_clear(reply);
    while ((got = recv(fd, piece, sizeof(piece), 0)) > 0)
        weir_buf_add(reply, piece, (size_t)got);
    close(fd);
    return reply->data ? reply->data : "";
}

static const char *body_of(const char *reply)
{
    const char *body = strstr(reply, "\r\n\r\n");
    assert_non_null(body);
    return body + 4;
}

static void answers(void **state)
{
    (void)state;
    WEIR_AUTO_BUF reply = { 0 };
    const char *text;

    text = ask("GET /healthz", &reply);
    assert_memory_equal(text, "HTTP/1.1 200", 12);
    assert_string_equal(body_of(text), "ok\n");

    is_ready = 0;
    text = ask("GET /readyz", &reply);
    assert_memory_equal(text, "HTTP/1.1 503", 12);
    assert_string_equal(body_of(text), "no broker\n");
    is_ready = 1;

    weir_metric_add(weir_counter("test_admin_total", "help", NULL), 3);
    text = ask("GET /metrics", &reply);
    assert_memory_equal(text, "HTTP/1.1 200", 12);
    assert_non_null(strcasestr(text, "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    assert_non_null(strstr(body_of(text), "test_admin_total 3\n"));

    text = ask("HEAD /healthz", &reply);
    assert_memory_equal(text, "HTTP/1.1 200", 12);
    assert_non_null(strcasestr(text, "Content-Length: 3\r\n"));
    assert_string_equal(body_of(text), "");
}

static void refuses(void **state)
{
    (void)state;
    WEIR_AUTO_BUF reply = { 0 };
    static const struct {
        const char *request, *status;
    } rows[] = {
        { "GET /", "HTTP/1.1 404" },
        { "GET /healthz/", "HTTP/1.1 404" },
        { "GET /../etc/passwd", "HTTP/1.1 404" },
        { "POST /healthz", "HTTP/1.1 405" },
        { "DELETE /metrics", "HTTP/1.1 405" },
        { "OPTIONS /", "HTTP/1.1 405" },
        { "GET /healthz?verbose=1", "HTTP/1.1 200" },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_memory_equal(ask(rows[i].request, &reply), rows[i].status, 12);
    assert_non_null(strcasestr(ask("PUT /healthz", &reply), "Allow: GET, HEAD\r\n"));
}

static void probes(void **state)
{
    (void)state;
    int port = weir_admin_port(admin);

    assert_in_range(port, 1, 65535);
    assert_int_equal(weir_admin_probe(NULL, port, "/healthz"), 200);
    assert_int_equal(weir_admin_probe("127.0.0.1", port, "/readyz"), 200);
    assert_int_equal(weir_admin_probe("127.0.0.1", port, "/nothing"), 404);
    healthy = 0;
    assert_int_equal(weir_admin_probe("127.0.0.1", port, "/healthz"), 503);
    healthy = 1;
    assert_int_equal(weir_admin_probe("not an address", port, "/healthz"), -1);
}

/* A server that accepts and never answers, or a port nobody listens on. */
static void a_probe_ends_in_time(void **state)
{
    (void)state;
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t size = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    assert_int_equal(weir_admin_probe(NULL, ntohs(address.sin_port), "/"), -1);

    assert_int_equal(listen(fd, 1), 0);
    int64_t start = weir_mono_ms();
    assert_int_equal(weir_admin_probe(NULL, ntohs(address.sin_port), "/"), -1);
    assert_in_range(weir_mono_ms() - start, 1900, 4000);
    close(fd);
}

static void a_taken_port_is_fatal(void **state)
{
    (void)state;
    struct weir_admin_config config = { .health = health, .port = weir_admin_port(admin) };
    weir_admin *second = NULL;
    struct weir_err err;
    char want[128];

    assert_int_equal(weir_admin_open(&config, &second, &err), WEIR_FATAL);
    snprintf(want, sizeof(want), "admin port: can't listen on 127.0.0.1:%d: Address already in use",
             config.port);
    assert_string_equal(err.text, want);
    config.port = 65536;
    assert_int_equal(weir_admin_open(&config, &second, &err), WEIR_FATAL);
    config = (struct weir_admin_config){ .host = "300.1.1.1", .health = health };
    assert_int_equal(weir_admin_open(&config, &second, &err), WEIR_FATAL);
    assert_null(second);
}

/* Whoever holds connections open costs a bounded number of them, and a stop does not wait for them.
 */
static void connections_are_bounded(void **state)
{
    (void)state;
    int fds[60];

    for (size_t i = 0; i < 60; i++)
        fds[i] = connect_to_admin();
    assert_int_equal(weir_admin_probe(NULL, weir_admin_port(admin), "/healthz"), -1);
    for (size_t i = 0; i < 60; i++)
        close(fds[i]);
    int status = -1;
    for (int i = 0; i < 200 && status != 200; i++)
        status = weir_admin_probe(NULL, weir_admin_port(admin), "/healthz");
    assert_int_equal(status, 200);

    fds[0] = connect_to_admin();
    assert_int_equal(send(fds[0], "GET /hea", 8, MSG_NOSIGNAL), 8);
    int64_t start = weir_mono_ms();
    weir_admin_close(&admin);
    assert_in_range(weir_mono_ms() - start, 0, 1000);
    close(fds[0]);
    assert_int_equal(open_admin(state), WEIR_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers),
        cmocka_unit_test(refuses),
        cmocka_unit_test(probes),
        cmocka_unit_test(a_probe_ends_in_time),
        cmocka_unit_test(a_taken_port_is_fatal),
        cmocka_unit_test(connections_are_bounded),
    };
    return cmocka_run_group_tests(tests, open_admin, close_admin);
}
