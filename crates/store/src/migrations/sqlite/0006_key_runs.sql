-- Where the transactions of applied keys are: sorted runs, each written once from its beginning to its end. A key is
-- found by the first 8 bytes of SHA-256 over scope and key, which say in which of a run's blocks it has to be; the
-- transaction itself tells whether it is the one. Runs lag behind `batches` as the accounts do. `level` 0 is a
-- generation of batches, in `key_blocks`; eight runs of a level are merged into one of the next, in
-- `merged_key_blocks`. `state`: 0 is being written, 1 in use, 2 is being deleted.
CREATE TABLE key_runs (
    number          INTEGER PRIMARY KEY,
    level           INTEGER NOT NULL,
    state           INTEGER NOT NULL,
    keys            INTEGER NOT NULL,
    blocks          INTEGER NOT NULL
) STRICT;

-- A block holds its keys in order, 16 bytes each, both halves big endian: the key's 8 bytes, the place. `id`: the
-- run's number in the upper 32 bits, the block's in the lower ones.
CREATE TABLE key_blocks (
    id              INTEGER PRIMARY KEY,
    entries         BLOB NOT NULL
) STRICT;
CREATE TABLE merged_key_blocks (
    id              INTEGER PRIMARY KEY,
    entries         BLOB NOT NULL
) STRICT;

-- What was one row a key becomes one run of 65 536 blocks: the first four digits of a key are its block.
INSERT INTO merged_key_blocks (id, entries)
SELECT
    (1 << 32)
        + (instr('123456789ABCDEF', substr(name, 1, 1)) << 12)
        + (instr('123456789ABCDEF', substr(name, 2, 1)) << 8)
        + (instr('123456789ABCDEF', substr(name, 3, 1)) << 4)
        + instr('123456789ABCDEF', substr(name, 4, 1)),
    unhex(group_concat(name || printf('%016X', place), '' ORDER BY name, place))
FROM (SELECT hex(substr(digest, 1, 8)) AS name, place FROM applied_keys)
GROUP BY substr(name, 1, 4);
INSERT INTO key_runs (number, level, state, keys, blocks)
SELECT 1, CASE WHEN count(*) < 524288 THEN 1 WHEN count(*) < 4194304 THEN 2 ELSE 3 END, 1, count(*), 65536
FROM applied_keys HAVING count(*) > 0;

DROP TABLE applied_keys;
