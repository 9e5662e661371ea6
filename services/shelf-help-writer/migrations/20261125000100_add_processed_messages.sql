-- Ids of the events already stored: each is stored once, however often it is delivered.
--
-- Offsets alone do not promise that: a publisher's retry, a redrive from the dead letters or a replay of
-- the topic brings the same event at a new offset. The id is inserted in the transaction of the event's
-- rows, so that both are there or neither. It is text because it comes from outside: the envelope's
-- MessageId (a UUID in practice), or 64 hex digits of SHA-256 where there is none.
--
-- received_at serves only for pruning. An id must outlive every way its event can come back: the topic keeps
-- its records for 7 days, the dead letters theirs for 30, and a redrive puts one back into the topic for 7 more.
-- 60 days leave room for that and for a database that was restored from a dump:
--     DELETE FROM shelf_help_messages WHERE received_at < now() - interval '60 days';
-- Rows arrive in order of time, which a BRIN index follows at next to no cost to the writer.

CREATE TABLE shelf_help_messages (
    message_id text NOT NULL PRIMARY KEY,
    received_at timestamp with time zone NOT NULL DEFAULT now()
);

CREATE INDEX idx_shelf_help_messages_received_at ON shelf_help_messages USING brin (received_at);
