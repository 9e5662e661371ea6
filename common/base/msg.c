/* A record's headers; see msg.h. */
#include <weir/msg.h>

#include <string.h>

const struct weir_header *weir_msg_header(const struct weir_msg *msg, const char *name)
{
    for (size_t i = msg->header_count; i-- > 0;)
        if (strcmp(msg->headers[i].name, name) == 0)
            return &msg->headers[i];
    return NULL;
}
