-- Before the column came, every search was a shuffle. There is no condition: this must not run again later.

UPDATE shelf_searches SET search_type = 'Shuffle';
