/* test-probe: does what each record tells it to, so that tests can see what the
 * runtime makes of it.
 *
 *     test-probe.ordered, .retried, .batch --> test-probe --> test-probe.out
 *
 * A record is {"n": 1, "do": "ok", ...}; "ok" is the default. Of each that ends well one message
 * goes to test-probe.out under the record's key: {"n": 1, "key": "a", "attempt": 1}. A batch does
 * what its records say one after another; its first failure is the whole batch's. */
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <weir/service.h>

struct probe {
    int64_t handle_ms; /* option */
};

// clang-format off
static const struct weir_option options[] = {
    { "TEST_PROBE_HANDLE_MS", WEIR_AT(struct probe, handle_ms), .unit = WEIR_UNIT_MS, .def = "0", .min = 0, .max = 60000,
      .help = "a record takes at least this long" },
    { 0 }
};
// clang-format on

struct order {
    int64_t n;
    const char *what;
    const char *file; /* "later" and "block" end when it is there */
    int64_t times;    /* "retry": fails so many times; "emit": so many messages */
    int64_t ms;       /* "sleep" */
};

struct done {
    int64_t n;
    const char *key;
    int64_t attempt;
};

static const char *const whats[] = { "ok",    "bad",   "blame", "retry", "later", "fatal", "abort",
                                     "block", "sleep", "emit",  "huge",  "drop",  NULL };

// clang-format off
static const struct weir_field order_fields[] = {
    { "/n",     .at = WEIR_AT(struct order, n),     .optional = true },
    { "/do",    .at = WEIR_AT(struct order, what),  .optional = true, .one_of = whats },
    { "/file",  .at = WEIR_AT(struct order, file),  .optional = true },
    { "/times", .at = WEIR_AT(struct order, times), .optional = true, .min = 0, .max = 1000 },
    { "/ms",    .at = WEIR_AT(struct order, ms),    .optional = true, .min = 0, .max = 60000 },
    { 0 }
};
static const struct weir_field done_fields[] = {
    { "/n",       .at = WEIR_AT(struct done, n) },
    { "/key",     .at = WEIR_AT(struct done, key), .nullable = true },
    { "/attempt", .at = WEIR_AT(struct done, attempt) },
    { 0 }
};
// clang-format on

static void sleep_ms(int64_t ms)
{
    struct timespec time = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };
    nanosleep(&time, NULL);
}

static bool is_there(const char *file)
{
    return file && access(file, F_OK) == 0;
}

static int emit(weir_ctx *ctx, const struct weir_msg *msg, int64_t n, int64_t times)
{
    const char *key =
        msg->key ? weir_strndup(weir_arena_of(ctx), msg->key, msg->key_size_bytes) : NULL;
    struct done done = { .n = n, .key = key, .attempt = msg->attempt };

    for (int64_t i = 0; i < times; i++)
        if (weir_emit(ctx, msg, "test-probe.out", key, done_fields, &done) < 0)
            return weir_err(ctx)->fault;
    return WEIR_OK;
}

/* More than a topic takes. */
static int emit_huge(weir_ctx *ctx, const struct weir_msg *msg)
{
    enum { HUGE_BYTES = 2 * 1024 * 1024 };
    void *value = weir_alloc_zero(weir_arena_of(ctx), HUGE_BYTES);
    return weir_emit_raw(ctx, msg, "test-probe.out", NULL, value, HUGE_BYTES);
}

static int handle(weir_ctx *ctx, const struct weir_msg *msg)
{
    struct probe *self = weir_self(ctx);
    struct weir_err *err = weir_err(ctx);
    struct order order;

    if (weir_decode(ctx, msg, order_fields, &order, sizeof(order)) < 0)
        return err->fault;
    const char *what = order.what ? order.what : "ok";
    if (self->handle_ms > 0)
        sleep_ms(self->handle_ms);
    if (strcmp(what, "bad") == 0)
        return weir_fail(err, WEIR_BAD_INPUT, "/do: told to be bad");
    if (strcmp(what, "blame") == 0) {
        weir_blame(ctx, msg, "/do: told to be blamed");
        return weir_fail(err, WEIR_BAD_INPUT, "one of the batch is bad");
    }
    if (strcmp(what, "retry") == 0 && msg->attempt <= order.times)
        return weir_fail(err, WEIR_RETRY, "/do: attempt %d is to fail", msg->attempt);
    if (strcmp(what, "later") == 0 && !is_there(order.file))
        return weir_fail(err, WEIR_TRY_LATER, "/file: not there yet");
    if (strcmp(what, "fatal") == 0)
        return weir_fail(err, WEIR_FATAL, "/do: told to stop");
    if (strcmp(what, "abort") == 0)
        abort();
    while (strcmp(what, "block") == 0 && !is_there(order.file))
        sleep_ms(5);
    if (strcmp(what, "sleep") == 0)
        sleep_ms(order.ms);
    if (strcmp(what, "drop") == 0)
        return WEIR_OK;
    if (strcmp(what, "huge") == 0)
        return emit_huge(ctx, msg);
    return emit(ctx, msg, order.n, strcmp(what, "emit") == 0 ? order.times : 1);
}

static int handle_batch(weir_ctx *ctx, const struct weir_msg *const *msgs, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (handle(ctx, msgs[i]) < 0)
            return weir_err(ctx)->fault;
    return WEIR_OK;
}

const struct weir_service weir_service = {
    .name = "test-probe",
    .summary = "does what each record tells it to",
    .prefix = "TEST_PROBE_",
    .routes = (const struct weir_route[]){ { "test-probe.ordered", .handle = handle, .retries = 3 },
                                           { "test-probe.retried", .handle = handle,
                                             .retry = WEIR_RETRY_TOPICS },
                                           { "test-probe.batch", .handle_batch = handle_batch,
                                             .batch_max = 500, .batch_wait_ms = 5 },
                                           { 0 } },
    .outputs = (const char *const[]){ "test-probe.out", NULL },
    .options = options,
    .self_size = sizeof(struct probe),
};
