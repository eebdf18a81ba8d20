-- The end of a chain is its last batch: nobody wrote a second row for it but to say the same.
DROP TABLE chain_heads;
