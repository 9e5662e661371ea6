-- Closes the internal tables like the others: owner only, no policies. atlas_schema_revisions is made by
-- the migration tool, not by a migration, and may be missing or lie in another schema.
--
-- The migrations grant nothing. A dashboard's role needs USAGE on the schema and SELECT on the ten views,
-- no more. A writer that is not the owner of the tables needs policies of its own, or BYPASSRLS.

ALTER TABLE shelf_help_messages ENABLE ROW LEVEL SECURITY;

ALTER TABLE weir_offsets ENABLE ROW LEVEL SECURITY;

ALTER TABLE IF EXISTS atlas_schema_revisions ENABLE ROW LEVEL SECURITY;
