-- When a shelf or a book was first and last seen in a shelf search, so that trends need no walk through
-- all searches. A book that only a library search knows has neither date.

ALTER TABLE books ADD COLUMN date_added timestamp without time zone;

ALTER TABLE books ADD COLUMN date_last_displayed timestamp without time zone;

ALTER TABLE shelves ADD COLUMN date_added timestamp without time zone;

ALTER TABLE shelves ADD COLUMN date_last_searched timestamp without time zone;
