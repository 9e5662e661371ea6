-- Mends the daily curve: the offset is 0, not NULL, when no shelf is older than the window, and it takes
-- only days strictly before the first row. The last value is now the number of shelves dated up to today.
-- Columns and types stay as they were.

CREATE OR REPLACE VIEW cumulative_shelf_counts_daily AS
SELECT
    to_char(days.day, 'YYYY-MM-DD') AS date,
    to_char(days.day, 'MON DD') AS date_axis,
    count(shelves.shelf_id) AS shelf_count,
    sum(count(shelves.shelf_id)) OVER (ORDER BY days.day) + (
        SELECT count(*)
        FROM shelves AS older
        WHERE older.date_added < date_trunc('day', now() AT TIME ZONE 'UTC') - interval '90 days'
    ) AS "Cumulative Shelf Count"
FROM (
    SELECT generate_series(today - interval '90 days', today, interval '1 day') AS day
    FROM date_trunc('day', now() AT TIME ZONE 'UTC') AS today
) AS days
LEFT JOIN shelves ON date_trunc('day', shelves.date_added) = days.day
GROUP BY days.day
ORDER BY days.day;
