-- What is kept of an answer is what it is made of (`status` 0), in a form of the program's own; before, it was the body
-- as it was sent, under its HTTP status. A program that only knows bodies does not find the column.
ALTER TABLE request_answers RENAME COLUMN body TO kept;
