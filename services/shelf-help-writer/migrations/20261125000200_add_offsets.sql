-- How far each partition has been stored: written in the transaction of the rows, so that rows and offset
-- never disagree, not even after a restore from a dump. The consumer seeks to next_offset on assignment.

CREATE TABLE weir_offsets (
    service text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    next_offset bigint NOT NULL,
    updated_at timestamp with time zone NOT NULL DEFAULT now(),
    PRIMARY KEY (service, topic, partition)
);
