/* Records in flight: owned copies, in offset order a partition, one at a time a key.
 *
 * A record is one block of memory: this struct, then topic, key, value and headers. Used by the
 * core's thread; workers see only the message. */
#ifndef WEIR_RECORD_H
#define WEIR_RECORD_H

#include <weir/msg.h>
#include <weir/service.h>

struct part;

enum record_state {
    RECORD_WAITING,  /* for its key, its batch, its due time, or a worker */
    RECORD_RUNNING,  /* with a worker */
    RECORD_SENDING,  /* what came of it awaits delivery reports */
    RECORD_FINISHED, /* its effect is durable; leaves when all before it have */
};

enum record_outcome {
    OUTCOME_DONE,
    OUTCOME_RETRIED,
    OUTCOME_DEAD,
    OUTCOME_DUPLICATE,
    OUTCOME_COUNT
};

struct record {
    struct weir_msg
        msg; /* topic, partition, offset: the origin, also when it came over a retry topic */
    struct part *part; /* where it was read */
    int64_t offset;    /* there */
    const struct weir_route *route;
    struct record *next;   /* of the partition, in offset order */
    struct record *behind; /* next of the same key */
    struct record *bucket; /* key table: next of the chain */
    struct record *link;   /* list of delayed records, by due time */
    uint64_t key_hash;
    size_t size_bytes;
    int64_t received_ms, due_ms; /* monotonic; due 0: at once */
    int in_delivery;             /* delivery reports to come */
    uint32_t emitted;            /* outputs of the current attempt: their ids count from here */
    enum record_state state;
    enum record_outcome outcome;
    bool keyed; /* holds or waits for its key's turn */
    bool duplicate;
    bool blamed;
    struct weir_err blame; /* why it goes to the dead letters */
};

/* Copies msg. route is the route that handles it. */
struct record *record_new(const struct weir_msg *msg, struct part *part,
                          const struct weir_route *route);

/* ---- keys: who is next ---- */

struct keys {
    struct record **buckets; /* the last record of each key in flight */
    size_t mask;
};

void keys_open(struct keys *keys, size_t most_records);
void keys_close(struct keys *keys);

/* True when the record may run now; otherwise it runs when keys_leave() hands it out. Without a
 * key: always. */
bool keys_enter(struct keys *keys, struct record *record);

/* The record is finished: gives the next of its key, or NULL. */
struct record *keys_leave(struct keys *keys, struct record *record);

#endif
