-- Closes the tables to everyone but their owner.
--
-- No policy follows, by design: a role that is not the owner reads zero rows and cannot insert, whatever
-- it is granted. What the public may see are the views, which run with their owner's rights.

ALTER TABLE libraries ENABLE ROW LEVEL SECURITY;

ALTER TABLE books ENABLE ROW LEVEL SECURITY;

ALTER TABLE shelves ENABLE ROW LEVEL SECURITY;

ALTER TABLE shelf_searches ENABLE ROW LEVEL SECURITY;

ALTER TABLE library_searches ENABLE ROW LEVEL SECURITY;
