-- What sqlite3.hkt is the trace of; see README.md. Every run does the same.
CREATE TABLE item (id INTEGER PRIMARY KEY, kind INTEGER, name TEXT, body TEXT);
INSERT INTO item
  WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000)
  SELECT i, i * 7919 % 1009, 'name ' || (i * 31 % 6553), substr(hex(i * 2654435761), 1, i % 40)
  FROM n;
CREATE INDEX item_kind ON item (kind, name);
SELECT kind, count(*), group_concat(DISTINCT length(body)) FROM item
  GROUP BY kind ORDER BY 2 DESC, kind LIMIT 9;
SELECT name, count(*) AS c FROM item GROUP BY name ORDER BY c DESC, name LIMIT 9;
SELECT count(*), sum(length(d)) FROM (SELECT json_group_array(name) AS d FROM item GROUP BY kind);
SELECT sum(r * id) FROM (SELECT id, rank() OVER (PARTITION BY kind ORDER BY name) AS r FROM item);
UPDATE item SET body = body || name WHERE kind % 10 = 3;
DELETE FROM item WHERE kind % 4 = 1;
VACUUM;
