-- How a batch and its transactions are hashed. Those that are there are in the first form, as are those that a program
-- writes that only knows that one.
ALTER TABLE batches ADD COLUMN hash_form SMALLINT NOT NULL DEFAULT 1;
