-- Shelf Help analytics: libraries, books, shelves and the two kinds of searches.
--
-- Two kinds of events fill these tables: a reader had books drawn from a Goodreads shelf, or asked one
-- library for one book. Times are clock times without zone, UTC by convention. Ids mean nothing outside
-- this database and have gaps (every conflicting insert uses one up): compare hashes and URLs instead.
-- Constraints keep PostgreSQL's own names.

CREATE TABLE libraries (
    library_id character varying NOT NULL PRIMARY KEY,
    library_name character varying NOT NULL
);

-- unique_hash: SHA-256, in hex, of title-author-goodreads_id-isbn. gr_id is not unique and must not
-- become so: a corrected title makes a new book with the same Goodreads id.
CREATE TABLE books (
    book_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    unique_hash character varying NOT NULL UNIQUE,
    gr_id bigint,
    title character varying,
    author character varying,
    isbn character varying
);

CREATE TABLE shelves (
    shelf_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shelf_url character varying NOT NULL UNIQUE
);

-- books_returned holds book ids in the order in which they were shown, a book twice if it was shown twice.
CREATE TABLE shelf_searches (
    shelf_search_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shelf_id bigint REFERENCES shelves (shelf_id),
    num_books integer,
    time_start timestamp without time zone,
    time_complete timestamp without time zone,
    total_book_count integer,
    books_returned bigint[]
);

CREATE TABLE library_searches (
    library_search_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    library_id character varying NOT NULL REFERENCES libraries (library_id),
    is_libby boolean,
    time_start timestamp without time zone,
    time_complete timestamp without time zone,
    book_id bigint REFERENCES books (book_id),
    available boolean,
    availability_message character varying
);

CREATE INDEX idx_shelf_searches_books_returned ON shelf_searches USING gin (books_returned);

CREATE INDEX idx_library_searches_library_id ON library_searches (library_id);

CREATE INDEX idx_library_searches_book_id ON library_searches (book_id);

CREATE INDEX idx_library_searches_is_libby ON library_searches (is_libby);

CREATE INDEX idx_library_searches_available ON library_searches (available);
