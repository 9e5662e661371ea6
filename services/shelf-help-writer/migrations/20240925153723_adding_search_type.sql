-- How the books were chosen: Shuffle (a random sample of the shelf) or Search (named books).

ALTER TABLE shelf_searches ADD COLUMN search_type character varying;
