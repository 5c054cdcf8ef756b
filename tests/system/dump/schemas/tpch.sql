-- Eight tables shaped as those of the TPC-H benchmark, with rows by generate_series.
CREATE SCHEMA tpch;
CREATE TABLE tpch.region (r_regionkey integer PRIMARY KEY, r_name char(25) NOT NULL, r_comment varchar(152));
CREATE TABLE tpch.nation (
  n_nationkey integer PRIMARY KEY, n_name char(25) NOT NULL, n_regionkey integer NOT NULL REFERENCES tpch.region,
  n_comment varchar(152)
);
CREATE TABLE tpch.part (
  p_partkey integer PRIMARY KEY, p_name varchar(55) NOT NULL, p_mfgr char(25) NOT NULL, p_brand char(10) NOT NULL,
  p_type varchar(25) NOT NULL, p_size integer NOT NULL, p_container char(10) NOT NULL,
  p_retailprice numeric(15,2) NOT NULL, p_comment varchar(23) NOT NULL
);
CREATE TABLE tpch.supplier (
  s_suppkey integer PRIMARY KEY, s_name char(25) NOT NULL, s_address varchar(40) NOT NULL,
  s_nationkey integer NOT NULL REFERENCES tpch.nation, s_phone char(15) NOT NULL, s_acctbal numeric(15,2) NOT NULL,
  s_comment varchar(101) NOT NULL
);
CREATE TABLE tpch.partsupp (
  ps_partkey integer REFERENCES tpch.part, ps_suppkey integer REFERENCES tpch.supplier, ps_availqty integer NOT NULL,
  ps_supplycost numeric(15,2) NOT NULL, ps_comment varchar(199) NOT NULL, PRIMARY KEY (ps_partkey, ps_suppkey)
);
CREATE TABLE tpch.customer (
  c_custkey integer PRIMARY KEY, c_name varchar(25) NOT NULL, c_address varchar(40) NOT NULL,
  c_nationkey integer NOT NULL REFERENCES tpch.nation, c_phone char(15) NOT NULL, c_acctbal numeric(15,2) NOT NULL,
  c_mktsegment char(10) NOT NULL, c_comment varchar(117) NOT NULL
);
CREATE TABLE tpch.orders (
  o_orderkey bigint PRIMARY KEY, o_custkey integer NOT NULL REFERENCES tpch.customer, o_orderstatus char(1) NOT NULL,
  o_totalprice numeric(15,2) NOT NULL, o_orderdate date NOT NULL, o_orderpriority char(15) NOT NULL,
  o_clerk char(15) NOT NULL, o_shippriority integer NOT NULL, o_comment varchar(79) NOT NULL
);
CREATE TABLE tpch.lineitem (
  l_orderkey bigint REFERENCES tpch.orders, l_partkey integer NOT NULL, l_suppkey integer NOT NULL,
  l_linenumber integer, l_quantity numeric(15,2) NOT NULL, l_extendedprice numeric(15,2) NOT NULL,
  l_discount numeric(15,2) NOT NULL, l_tax numeric(15,2) NOT NULL, l_returnflag char(1) NOT NULL,
  l_linestatus char(1) NOT NULL, l_shipdate date NOT NULL, l_commitdate date NOT NULL, l_receiptdate date NOT NULL,
  l_shipinstruct char(25) NOT NULL, l_shipmode char(10) NOT NULL, l_comment varchar(44) NOT NULL,
  PRIMARY KEY (l_orderkey, l_linenumber), FOREIGN KEY (l_partkey, l_suppkey) REFERENCES tpch.partsupp
);

INSERT INTO tpch.region SELECT g, 'REGION ' || g, nullif('carefully, ' || g, 'carefully, 3') FROM generate_series(0, 4) g;
INSERT INTO tpch.nation SELECT g, 'NATION ' || g, g % 5, CASE WHEN g % 4 > 0 THEN '' END FROM generate_series(0, 24) g;
INSERT INTO tpch.part
  SELECT g, 'part; ' || g, 'Manufacturer#' || g % 5, 'Brand#' || g % 25, 'SMALL BRASS', g % 50 + 1, 'JUMBO PKG',
    900 + g / 10.0, 'the "' || g || '"'
  FROM generate_series(1, 200) g;
INSERT INTO tpch.supplier
  SELECT g, 'Supplier#' || g, 'a,b ' || g, g % 25, '27-' || g, -999.99 + g * 100, 'Customer''s ' || g
  FROM generate_series(1, 20) g;
INSERT INTO tpch.partsupp
  SELECT p, (p + s * 5) % 20 + 1, p * s, p / 7.0, repeat('ironic ', p % 20) FROM generate_series(1, 200) p, generate_series(0, 3) s;
INSERT INTO tpch.customer
  SELECT g, 'Customer#' || g, E'tab\there ' || g, g % 25, '13-' || g, 1000 - g * 7.77, 'BUILDING', 'slyly | ' || g
  FROM generate_series(1, 150) g;
INSERT INTO tpch.orders
  SELECT g * 4::bigint, g % 150 + 1, (ARRAY['F', 'O', 'P'])[g % 3 + 1], g * 321.09, date '1992-01-01' + g % 2400,
    g % 5 || '-URGENT', 'Clerk#' || g % 10, 0, 'furiously ' || g
  FROM generate_series(1, 800) g;
INSERT INTO tpch.lineitem
  SELECT o * 4::bigint, o % 200 + 1, (o % 200 + 1 + o % 4 * 5) % 20 + 1, n, n * 3, o * n * 1.01, n / 100.0, 0.08, 'N', 'O',
    date '1992-02-01' + o % 2400, date '1992-02-10' + o % 2400, date '1992-02-20' + o % 2400, 'DELIVER IN PERSON', 'TRUCK',
    'blithely ' || md5((o * n)::text)
  FROM generate_series(1, 800) o, generate_series(1, 3) n;
