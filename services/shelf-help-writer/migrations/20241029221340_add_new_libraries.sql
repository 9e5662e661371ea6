-- Libraries the web application has learnt since. Apply this before it offers them: an event that names
-- an unknown library breaks on the foreign key.

INSERT INTO libraries (library_id, library_name) VALUES
    ('newrichmondwisc', 'Friday Memorial Library - New Richmond'),
    ('belmontu', 'Belmont University Library');
