-- The account's debits after the posting, all together: NULL but for a batch's last posting of the account. A wallet's
-- balance is that of its last posting; its row in `accounts` has the figures of an older one (`version`), at first none.
-- Stripes of system accounts, whose postings lie in the rows of others, are kept in `accounts` as before.
ALTER TABLE postings ADD COLUMN debits_after NUMERIC(38,0);
