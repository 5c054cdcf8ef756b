-- Every type that a column can have, with its extremes and with NULL beside the empty value; names that must be quoted.
CREATE SCHEMA zoo;
CREATE TYPE zoo.mood AS ENUM ('so so', 'it''s "fine", really', '');
CREATE TYPE zoo.pair AS (n integer, t text);
CREATE TYPE zoo.nest AS (inner_pair zoo.pair, pairs zoo.pair[], at timestamptz, mood zoo.mood);
CREATE DOMAIN zoo.percent AS numeric(5,2) CHECK (VALUE >= 0);
CREATE DOMAIN zoo.pairs AS zoo.pair[];
CREATE TYPE zoo.span AS RANGE (subtype = text, collation = "C");

CREATE TABLE zoo.numbers (
  small smallint, whole integer, big bigint, any_scale numeric, scaled numeric(38,10), rounded numeric(3,-2), single real,
  double double precision, price money, object oid, share zoo.percent
);
INSERT INTO zoo.numbers VALUES
  (-32768, -2147483648, -9223372036854775808, 'NaN', 'NaN', 12345, 'NaN', 'NaN', '-92233720368547758.08', 0, 0),
  (32767, 2147483647, 9223372036854775807, 'Infinity', 1e27, -99900, 'Infinity', '-Infinity', '92233720368547758.07',
   4294967295, 99.99),
  (0, 0, 0, '-Infinity', -0.0000000001, 0, '-0', '-0', 0, 1, NULL),
  (1, 1, 1, repeat('9', 300)::numeric + 0.10, 1.1000000000, 0, 1e-45, 5e-324, 0.01, 1, 1),
  (1, 1, 1, 0.000, 1, 0, 3.4028235e38, 1.7976931348623157e308, 1, 1, 1),
  (1, 1, 1, 1e-16383, 1, 0, 0.1, 0.1::float8 + 0.2::float8, 1234567.89, 1, 1), (1, 1, 1, 1.10, 1, 0, 1.1, 1e15, 1, 1, 1),
  (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);

CREATE TABLE zoo.words (id integer, free text, short varchar(10), padded char(5), one "char", label name, raw bytea, mood zoo.mood);
INSERT INTO zoo.words VALUES
  (1, '', '', '', '', '', '', ''), (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
  (3, 'NULL', 'NULL', 'NULL', 'N', 'NULL', 'NULL', 'so so'), (4, '\N', '\N', '\N', '\', '\N', '\\N', 'it''s "fine", really'),
  (5, '\.', '\.', '\.', ',', '\.', '\x00ff0a22', NULL), (6, ' lead, and trail ', ' x ', ' x ', ';', ' x ', '\x2c', NULL),
  (7, E'line\nfeed\r\nreturn\ttab\x01\x7f\b\f\v', E'\n', E'\t', '"', E'a\nb', '\x0d0a', NULL),
  (8, 'a "quoted" and ''single'' | ; , ^ word', '"', '''', '''', '"', '\x5c', NULL),
  (9, E'ünïcödé 漢字 🐘 \u202e שלום e\u0301', '漢字', 'ß', 'x', 'Größe', '\xc3', NULL), (10, '\', '\\', '\\\', '|', '\', '\x5c2e', NULL),
  (11, E'\r', E'\r\n', E'\u2028', '''', '.', '\x00', NULL);

CREATE TABLE zoo.moments (
  day date, clock time, coarse time(0), zoned timetz, local timestamp, local_ms timestamp(3), at timestamptz, length interval,
  months interval year to month
);
INSERT INTO zoo.moments VALUES
  ('-infinity', '00:00', '00:00', '00:00+15:59', '-infinity', '-infinity', '-infinity', '-178000000 years', '1 year'),
  ('infinity', '24:00', '24:00', '24:00-15:59', 'infinity', 'infinity', 'infinity', '178000000 years', '-1 month'),
  ('4713-01-01 BC', '23:59:59.999999', '12:00', '01:02:03.4+05:30', '4713-01-01 BC', '0044-03-15 12:00:00.123 BC',
   '4713-01-01 00:00+00 BC', '1 year -2 months 3 days -04:05:06.000007', '0'),
  ('5874897-12-31', '00:00:00.000001', '12:00', '12:00Z', '294276-12-31 23:59:59.999999', '2000-02-29 00:00:00.001',
   '294276-12-31 23:59:59.999999Z', '-2147483648 days', '0'),
  ('0001-12-31 BC', '12:00', '12:00', '12:00-08', '1582-10-10', '1970-01-01', '1883-11-18 12:03:58-04:56:02',
   '2562047788:00:54.775807', '0'),
  ('2000-02-29', '12:00', '12:00', NULL, '1999-12-31 23:59:59.9', '1970-01-01', '2026-03-29 01:30+01', '-00:00:00.000001', NULL),
  (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);

CREATE TABLE zoo.bits (flag boolean, fixed bit(3), loose bit varying, ref uuid, host inet, net cidr, mac macaddr, mac8 macaddr8);
INSERT INTO zoo.bits VALUES
  (true, '101', '', '00000000-0000-0000-0000-000000000000', '10.0.0.1/8', '10.0.0.0/8', '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05'),
  (false, '000', repeat('10', 5000)::bit varying, 'ffffffff-ffff-ffff-ffff-ffffffffffff', '::ffff:1.2.3.4/96', '::/0',
   'ff:ff:ff:ff:ff:ff', 'ff:ff:ff:ff:ff:ff:ff:ff'),
  (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);

CREATE TABLE zoo.documents (as_written json, doc jsonb, way jsonpath, found tsvector, asked tsquery);
INSERT INTO zoo.documents VALUES
  (E'{"b":1,\n  "a":2, "a":"\\u00e9"}', '{"b": 1.50, "a": [null, "\n\"\\", {}]}', '$.a[*] ? (@ > "x,\"y\"")',
   '''a'':1A ''fat; ''''cat'':2,4B', '''fat'' & ( ''rat'':AB | !''it''''s'' ) <2> ''x'':*'),
  ('null', 'null', 'strict $', '', ''), (' "" ', '""', '$', 'a', '!a'), (NULL, NULL, NULL, NULL, NULL);
DO $xml$
BEGIN
  CREATE TABLE zoo.pages (page xml);
  INSERT INTO zoo.pages VALUES (E'<?xml version="1.0"?><a b="1,2">&lt;\n</a>'), ('text alone'), (''), (NULL);
EXCEPTION WHEN feature_not_supported THEN NULL; -- the server was built without libxml
END $xml$;

CREATE TABLE zoo.shapes (p point, l line, s lseg, b box, open path, poly polygon, c circle);
INSERT INTO zoo.shapes VALUES
  ('(1.5,-2)', '{1,-1,0}', '[(0,0),(1,1)]', '(2,2),(1,1)', '[(0,0),(1,1),(2,0)]', '((0,0),(1,1),(1,0))', '<(0.1,0.2),3>'),
  ('(NaN,Infinity)', '{0,-1,1e-300}', '[(-Infinity,0),(1,1)]', '(1,1),(-1,-1)', '((0,0),(1,1))', '((1,1))', '<(0,0),0>'),
  (NULL, NULL, NULL, NULL, NULL, NULL, NULL);

CREATE TABLE zoo.ranges (
  i4 int4range, i8 int8range, n numrange, d daterange, ts tsrange, tz tstzrange, own zoo.span,
  i4s int4multirange, i8s int8multirange, ns nummultirange, ds datemultirange, tss tsmultirange, tzs tstzmultirange
);
INSERT INTO zoo.ranges VALUES
  ('empty', '(,)', '(1.50,NaN]', '[2026-01-01,infinity)', '[-infinity,2000-01-01 12:00]', '[2026-01-01Z,)', '["a, b","c\"]"]',
   '{}', '{(,)}', '{[1.1,2.2),(3,4]}', '{[2026-01-01,2026-02-01),[2026-03-01,)}', '{[2000-01-01,2000-01-02]}', '{[2026-01-01Z,)}'),
  ('[1,5)', '(,5)', 'empty', '(,)', '(,)', 'empty', '(,"")', '{[1,2),[4,5)}', '{}', '{}', '{}', '{}', '{}'),
  (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);

CREATE TABLE zoo.lists (
  numbers integer[], cube integer[][][], strings text[], padded char(3)[], exact numeric[], moments timestamptz[], raw bytea[],
  docs jsonb[], moods zoo.mood[], pairs zoo.pair[], flags boolean[], spans interval[], boxes box[], reaches int4range[]
);
INSERT INTO zoo.lists VALUES
  ('{1,NULL,3}', '[0:1][2:3][-1:0]={{{1,NULL},{3,4}},{{5,6},{7,8}}}', '{"",NULL,"NULL","null","a,b","c\"d","e\\f"," ","{}"}',
   '{"a  ",b,NULL}', '{NaN,1.50,-Infinity}', '{infinity,"2026-01-01 00:00:00+00","0044-03-15 00:00:00+00 BC"}',
   ARRAY['\x00'::bytea, '\x5c22', NULL], ARRAY['{"a": "b,\"c\""}'::jsonb, 'null', NULL], ARRAY['', 'so so', NULL]::zoo.mood[],
   ARRAY[(1, E'a, "b"\n\\'), (NULL, NULL), (NULL, ''), NULL]::zoo.pair[], '{t,f,NULL}', '{"1 day -01:00:00"}',
   '{(1,1),(0,0);(3,3),(2,2)}', '{"[1,5)",empty,NULL}'),
  ('{}', '{}', ARRAY[[E'a\nb', NULL], ['ünï "q"', E'tab\t;|']], '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}'),
  (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);

CREATE TABLE zoo.composites (one zoo.pair, deep zoo.nest, many zoo.pairs, twice integer GENERATED ALWAYS AS ((one).n * 2) STORED);
INSERT INTO zoo.composites VALUES
  (ROW(1, E'a, "b" (c) \\ \n'), ROW(ROW(2, ''), ARRAY[ROW(3, NULL), NULL]::zoo.pair[], '-infinity', 'so so'), ARRAY[ROW(4, '{"}')]::zoo.pair[]),
  (ROW(NULL, NULL), ROW(NULL, NULL, NULL, NULL), '{}'), (ROW(NULL, ''), NULL, NULL), (NULL, NULL, NULL);

CREATE TABLE zoo.internals (
  lsn pg_lsn, x xid, x8 xid8, c cid, place tid, seen pg_snapshot, txid txid_snapshot, cursor refcursor, acl aclitem,
  objects oidvector, smalls int2vector, class regclass, kind regtype, func regproc, exact_func regprocedure, op regoper,
  exact_op regoperator, config regconfig, dictionary regdictionary, role regrole, space regnamespace, coll regcollation
);
INSERT INTO zoo.internals VALUES
  ('FFFFFFFF/FFFFFFFF', '4294967295', '18446744073709551615', '7', '(4294967295,65535)', '10:20:10,14', '10:20:10,14',
   'a "portal"', 'reader=r*/owner', '1 2 4294967295', '-1 0 1', 'zoo.words', 'zoo.pair[]', 'pg_catalog.now', 'pg_catalog.abs(integer)',
   'pg_catalog.||/', 'pg_catalog.+(integer,integer)', 'simple', 'simple', 'reader', 'zoo', '"C"'),
  ('0/0', '0', '0', '0', '(0,0)', '1:1:', '1:1:', '', '=r/owner', '', '', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
  (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);

CREATE TABLE zoo."Größe ""in"" 漢字, .; %s" ("select" integer, "a ""b"", c" text, "Ünï 🐘" text, "new
line" text, "%(x)s" text);
INSERT INTO zoo."Größe ""in"" 漢字, .; %s" VALUES (1, '', NULL, E'\n', '%s'), (2, NULL, '', '\n', '%%');

CREATE TABLE zoo.large (id integer, body text, raw bytea);
INSERT INTO zoo.large VALUES
  (1, repeat('ü,"' || E'\n\\;', 1 << 18), NULL), (2, '', decode(repeat('00ff5c2c', 1 << 17), 'hex')), (3, NULL, '');
INSERT INTO zoo.large SELECT 4, string_agg(md5(g::text), '"'), NULL FROM generate_series(1, 1 << 15) g;

CREATE TABLE zoo.blanks (a text, b text, c text);
INSERT INTO zoo.blanks VALUES ('', '', ''), (NULL, NULL, NULL), ('', NULL, ''), (NULL, '', NULL), ('', '', ''), (NULL, NULL, NULL);
CREATE TABLE zoo.lone (note text);
INSERT INTO zoo.lone VALUES (''), (NULL), ('\.'), ('NULL'), ('\N'), (E'\n'), (''), (NULL), ('"'), (''''), (E'a\n\\.\nb'), (E'\n\\.\n');
CREATE TABLE zoo.nothing (id integer, note text);
CREATE TABLE zoo.hollow ();
INSERT INTO zoo.hollow SELECT FROM generate_series(1, 3);
