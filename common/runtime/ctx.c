/* What hooks may ask of the runtime (weir/service.h). */
#include <stdio.h>

#include <weir/clock.h>

#include "runtime/unit.h"

void *weir_self(weir_ctx *ctx)
{
    return ctx->self;
}

struct weir_err *weir_err(weir_ctx *ctx)
{
    return &ctx->err;
}

weir_arena *weir_arena_of(weir_ctx *ctx)
{
    return ctx->arena;
}

int64_t weir_now_ms(weir_ctx *ctx)
{
    (void)ctx;
    return weir_wall_ms();
}

const char *weir_service_name(weir_ctx *ctx)
{
    return ctx->service->name;
}

int weir_decode(weir_ctx *ctx, const struct weir_msg *msg, const struct weir_field *fields,
                void *out, size_t struct_size)
{
    return weir_json_decode(fields, msg->value ? msg->value : "", msg->value_size_bytes, ctx->arena,
                            out, struct_size, &ctx->err);
}

/* A message handed to a hook is the first member of its record. */
static struct record *record_of(const struct weir_msg *msg)
{
    return (struct record *)(uintptr_t)msg;
}

static bool is_output(const struct weir_service *service, const char *topic)
{
    for (const char *const *output = service->outputs; output && *output; output++)
        if (strcmp(*output, topic) == 0)
            return true;
    return false;
}

int weir_emit_raw(weir_ctx *ctx, const struct weir_msg *cause, const char *topic, const char *key,
                  const void *value, size_t size_bytes)
{
    struct record *record = cause ? record_of(cause) : ctx->record;
    if (!ctx->unit || ctx->unit->kind != UNIT_HANDLE || !record)
        return weir_fail(&ctx->err, WEIR_FATAL, "emit to %s: no cause given", topic);
    if (!is_output(ctx->service, topic))
        return weir_fail(&ctx->err, WEIR_FATAL, "emit to %s: not among the service's outputs",
                         topic);
    struct outgoing *out = outgoing_emit(record, ctx->service->name, topic, key, value, size_bytes);
    if (ctx->unit->out_last)
        ctx->unit->out_last->next = out;
    else
        ctx->unit->out = out;
    ctx->unit->out_last = out;
    return WEIR_OK;
}

int weir_emit(weir_ctx *ctx, const struct weir_msg *cause, const char *topic, const char *key,
              const struct weir_field *fields, const void *in)
{
    WEIR_AUTO_BUF buf = { 0 };
    weir_json_encode(fields, in, &buf);
    if (buf.failed)
        return weir_fail(&ctx->err, WEIR_BAD_INPUT, "emit to %s: larger than %zu bytes", topic,
                         buf.length);
    return weir_emit_raw(ctx, cause, topic, key, buf.data, buf.length);
}

void weir_blame(weir_ctx *ctx, const struct weir_msg *msg, const char *format, ...)
{
    struct record *record = record_of(msg);
    va_list args;
    (void)ctx;

    record->blamed = true;
    record->blame.fault = WEIR_BAD_INPUT;
    va_start(args, format);
    vsnprintf(record->blame.text, sizeof(record->blame.text), format, args);
    va_end(args);
}

void weir_duplicate(weir_ctx *ctx, const struct weir_msg *msg)
{
    (void)ctx;
    record_of(msg)->duplicate = true;
}
