-- The public dashboard's figures: sums and trends, never a single row of a reader.
--
-- The views keep their owner's rights (no security_invoker): a role with nothing but SELECT on them sees
-- totals of tables it cannot read. Quoted names and the output types are what the dashboard relies on.
-- "Today" is the UTC date, like the stored times, so that the session's TimeZone does not matter.

CREATE VIEW total_unique_shelves AS
SELECT count(*) AS count
FROM shelves;

CREATE VIEW total_shelf_searches AS
SELECT count(*) AS count
FROM shelf_searches;

CREATE VIEW total_library_searches AS
SELECT count(*) AS count
FROM library_searches;

-- An unknown answer counts as not available. No searches, no rate: NULL.
CREATE VIEW library_avail_rate AS
SELECT round(100.0 * count(*) FILTER (WHERE available) / nullif(count(*), 0), 2) AS availability_perc
FROM library_searches;

CREATE VIEW library_availability_by_medium AS
SELECT
    CASE WHEN is_libby THEN 'Libby' ELSE 'Book' END AS medium,
    count(*) FILTER (WHERE available) AS "Available",
    count(*) FILTER (WHERE available IS NOT TRUE) AS "Unavailable"
FROM library_searches
GROUP BY 1;

CREATE VIEW hourly_shelf_searches AS
SELECT
    hours.hour AS "Hour",
    count(shelf_searches.shelf_search_id) AS "Searches"
FROM generate_series(0, 23) AS hours (hour)
LEFT JOIN shelf_searches ON extract(hour FROM shelf_searches.time_start) = hours.hour
GROUP BY hours.hour
ORDER BY hours.hour;

CREATE VIEW cumulative_shelf_counts_daily AS
SELECT
    to_char(days.day, 'YYYY-MM-DD') AS date,
    to_char(days.day, 'MON DD') AS date_axis,
    count(shelves.shelf_id) AS shelf_count,
    sum(count(shelves.shelf_id)) OVER (ORDER BY days.day) AS "Cumulative Shelf Count"
FROM (
    SELECT generate_series(today - interval '90 days', today, interval '1 day') AS day
    FROM date_trunc('day', now() AT TIME ZONE 'UTC') AS today
) AS days
LEFT JOIN shelves ON date_trunc('day', shelves.date_added) = days.day
GROUP BY days.day
ORDER BY days.day;

-- One week, and one month, of zero before the first shelf, so that the curve starts on the axis.
CREATE VIEW cumulative_shelf_counts_weekly AS
SELECT
    to_char(weeks.week, 'YYYY-MM-DD') AS date,
    to_char(weeks.week, 'MON DD') AS date_axis,
    count(shelves.shelf_id) AS shelf_count,
    sum(count(shelves.shelf_id)) OVER (ORDER BY weeks.week) AS "Cumulative Shelf Count"
FROM (
    SELECT generate_series(
        date_trunc('week', min(date_added)) - interval '1 week',
        date_trunc('week', now() AT TIME ZONE 'UTC'),
        interval '1 week'
    ) AS week
    FROM shelves
) AS weeks
LEFT JOIN shelves ON date_trunc('week', shelves.date_added) = weeks.week
GROUP BY weeks.week
ORDER BY weeks.week;

CREATE VIEW cumulative_shelf_counts_monthly AS
SELECT
    to_char(months.month, 'YYYY-MM-DD') AS date,
    to_char(months.month, 'MON') AS date_axis,
    count(shelves.shelf_id) AS shelf_count,
    sum(count(shelves.shelf_id)) OVER (ORDER BY months.month) AS "Cumulative Shelf Count"
FROM (
    SELECT generate_series(
        date_trunc('month', min(date_added)) - interval '1 month',
        date_trunc('month', now() AT TIME ZONE 'UTC'),
        interval '1 month'
    ) AS month
    FROM shelves
) AS months
LEFT JOIN shelves ON date_trunc('month', shelves.date_added) = months.month
GROUP BY months.month
ORDER BY months.month;
