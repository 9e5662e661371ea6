-- Searches per type, with the colour of its slice. A type without a colour gets NULL; the page chooses.

CREATE VIEW search_type_summary AS
SELECT
    search_type AS name,
    count(*) AS value,
    CASE search_type WHEN 'Shuffle' THEN 'indigo.6' WHEN 'Search' THEN 'blue.6' END AS color
FROM shelf_searches
GROUP BY search_type;
