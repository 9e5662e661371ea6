-- Starts the daily curve at the number of shelves that are older than its window.
--
-- Known to be wrong in two ways, mended by 20261125000300: while no shelf is that old the offset, and with
-- it the whole curve, is NULL; and shelves of the window's first day are in the offset and in its sum.

CREATE OR REPLACE VIEW cumulative_shelf_counts_daily AS
SELECT
    to_char(days.day, 'YYYY-MM-DD') AS date,
    to_char(days.day, 'MON DD') AS date_axis,
    count(shelves.shelf_id) AS shelf_count,
    sum(count(shelves.shelf_id)) OVER (ORDER BY days.day) + (
        SELECT sum(per_day.added)
        FROM (
            SELECT count(*) AS added
            FROM shelves AS older
            WHERE date_trunc('day', older.date_added)
                <= date_trunc('day', now() AT TIME ZONE 'UTC') - interval '90 days'
            GROUP BY date_trunc('day', older.date_added)
        ) AS per_day
    ) AS "Cumulative Shelf Count"
FROM (
    SELECT generate_series(today - interval '90 days', today, interval '1 day') AS day
    FROM date_trunc('day', now() AT TIME ZONE 'UTC') AS today
) AS days
LEFT JOIN shelves ON date_trunc('day', shelves.date_added) = days.day
GROUP BY days.day
ORDER BY days.day;
