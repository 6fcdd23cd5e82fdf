-- A million rows from a counter and integer arithmetic, so that every run sees the same table.
CREATE TABLE item (id INTEGER PRIMARY KEY, kind INTEGER, amount INTEGER, name TEXT, body BLOB);
BEGIN;
INSERT INTO item
  WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000)
  SELECT i, i * 7919 % 1009, i * 104729 % 1000003,
         'name ' || (i * 31 % 65537), substr(hex(i * 2654435761), 1, i % 40)
  FROM n;
COMMIT;
CREATE INDEX item_kind ON item (kind, amount);
CREATE INDEX item_name ON item (name);
ANALYZE;
SELECT count(*), sum(amount), min(name), max(name), total(length(body)) FROM item;
SELECT kind, count(*), sum(amount), group_concat(DISTINCT length(body))
  FROM item WHERE kind % 50 = 0 GROUP BY kind ORDER BY kind;
SELECT name, count(*) AS c FROM item GROUP BY name HAVING c > 15 ORDER BY c DESC, name LIMIT 40;
SELECT sum(rank * amount) FROM
  (SELECT amount, rank() OVER (PARTITION BY kind ORDER BY amount, id) AS rank FROM item
   WHERE kind < 200);
SELECT count(*), sum(a.amount - b.amount)
  FROM item a JOIN item b ON a.kind = b.amount AND b.kind = 5;
SELECT count(DISTINCT name) FROM item;
SELECT name, body FROM item ORDER BY body DESC, name, id LIMIT 20;
CREATE TABLE word (word TEXT PRIMARY KEY, document TEXT) WITHOUT ROWID;
INSERT INTO word SELECT 'w' || kind, json_group_array(amount) FROM item GROUP BY kind;
SELECT count(*), sum(length(document)), sum(json_array_length(document)) FROM word;
UPDATE item SET body = body || name WHERE kind % 10 = 3;
DELETE FROM item WHERE kind % 4 = 1;
DROP INDEX item_name;
VACUUM;
SELECT count(*), sum(length(body)), sum(amount) FROM item;
PRAGMA integrity_check;
