-- Fills the new dates from the searches stored so far: the earliest and the latest per shelf and per book.

UPDATE shelves
SET date_added = seen.first_time,
    date_last_searched = seen.last_time
FROM (
    SELECT shelf_id, min(time_start) AS first_time, max(time_start) AS last_time
    FROM shelf_searches
    GROUP BY shelf_id
) AS seen
WHERE shelves.shelf_id = seen.shelf_id;

UPDATE books
SET date_added = shown.first_time,
    date_last_displayed = shown.last_time
FROM (
    SELECT book_id, min(time_start) AS first_time, max(time_start) AS last_time
    FROM shelf_searches, unnest(books_returned) AS book_id
    GROUP BY book_id
) AS shown
WHERE books.book_id = shown.book_id;
