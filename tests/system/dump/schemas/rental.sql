-- A shop that rents films: enums, domains, arrays, full text, a cycle of foreign keys, generated columns, a partitioned
-- table, a view and a materialized view. Tables come in an order in which they can be filled again. Latin 1 only.
CREATE SCHEMA rental;
CREATE TYPE rental.rating AS ENUM ('G', 'PG', 'PG-13', 'R', 'not, yet "rated"');
CREATE DOMAIN rental.year AS integer CHECK (VALUE BETWEEN 1901 AND 2155);
CREATE DOMAIN rental.email AS text CHECK (VALUE LIKE '%@%');
CREATE TYPE rental.spot AS (street text, door integer);

CREATE TABLE rental.country (id smallint PRIMARY KEY, name text NOT NULL UNIQUE);
CREATE TABLE rental.city (
  id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  country_id smallint NOT NULL REFERENCES rental.country,
  name varchar(60) NOT NULL
);
CREATE TABLE rental.address (
  id integer PRIMARY KEY,
  city_id integer NOT NULL REFERENCES rental.city,
  spot rental.spot,
  postcode char(8),
  note text
);
CREATE TABLE rental.language (id smallint PRIMARY KEY, name char(20) NOT NULL);
CREATE TABLE rental.store (id integer PRIMARY KEY, manager_id integer NOT NULL, address_id integer REFERENCES rental.address);
CREATE TABLE rental.staff (
  id integer PRIMARY KEY,
  store_id integer NOT NULL REFERENCES rental.store DEFERRABLE,
  mentor_id integer REFERENCES rental.staff DEFERRABLE,
  name text,
  is_active boolean NOT NULL,
  picture bytea
);
ALTER TABLE rental.store ADD FOREIGN KEY (manager_id) REFERENCES rental.staff DEFERRABLE;
CREATE TABLE rental.film (
  id integer PRIMARY KEY,
  title text NOT NULL,
  description text,
  made_in rental.year,
  language_id smallint REFERENCES rental.language,
  rate numeric(4,2) NOT NULL,
  rating rental.rating,
  features text[],
  words tsvector GENERATED ALWAYS AS (to_tsvector('simple'::regconfig, title)) STORED
);
CREATE TABLE rental.actor (id integer PRIMARY KEY, name text, seen_in integer[] NOT NULL);
CREATE TABLE rental.film_actor (
  film_id integer REFERENCES rental.film,
  actor_id integer REFERENCES rental.actor,
  PRIMARY KEY (film_id, actor_id)
);
CREATE TABLE rental.customer (
  id uuid PRIMARY KEY,
  store_id integer NOT NULL REFERENCES rental.store,
  email rental.email,
  settings jsonb,
  since date NOT NULL,
  changed timestamptz
);
CREATE TABLE rental.rental (
  id bigint PRIMARY KEY,
  film_id integer NOT NULL REFERENCES rental.film,
  customer_id uuid NOT NULL REFERENCES rental.customer,
  days integer NOT NULL,
  daily numeric(6,2) NOT NULL,
  price numeric(12,2) GENERATED ALWAYS AS (days * daily) STORED,
  during tstzrange NOT NULL
);
CREATE TABLE rental.payment (
  id bigint NOT NULL,
  rental_id bigint NOT NULL REFERENCES rental.rental,
  amount numeric(8,2),
  paid_at timestamptz NOT NULL,
  PRIMARY KEY (id, paid_at)
) PARTITION BY RANGE (paid_at);
CREATE TABLE rental.payment_2026_01 PARTITION OF rental.payment FOR VALUES FROM ('2026-01-01Z') TO ('2026-02-01Z');
-- Attached with its columns in another order and one dropped.
CREATE TABLE rental.payment_2026_02 (
  paid_at timestamptz NOT NULL, gone text, amount numeric(8,2), rental_id bigint NOT NULL, id bigint NOT NULL
);
ALTER TABLE rental.payment_2026_02 DROP COLUMN gone;
ALTER TABLE rental.payment ATTACH PARTITION rental.payment_2026_02 FOR VALUES FROM ('2026-02-01Z') TO ('2026-03-01Z');
CREATE TABLE rental.payment_later PARTITION OF rental.payment DEFAULT PARTITION BY HASH (id);
CREATE TABLE rental.payment_later_0 PARTITION OF rental.payment_later FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE rental.payment_later_1 PARTITION OF rental.payment_later FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE VIEW rental.film_list AS
  SELECT f.id, f.title, f.rating, l.name AS language, array_agg(a.name ORDER BY a.id) AS actors
  FROM rental.film f LEFT JOIN rental.language l ON l.id = f.language_id
  LEFT JOIN rental.film_actor fa ON fa.film_id = f.id LEFT JOIN rental.actor a ON a.id = fa.actor_id
  GROUP BY f.id, l.name;

INSERT INTO rental.country SELECT g, (ARRAY['Curaçao', 'Österreich', 'España', 'Côte d''Ivoire', 'Great "Britain"'])[g]
  FROM generate_series(1, 5) g;
INSERT INTO rental.city (country_id, name) SELECT g % 5 + 1, 'Málaga, no. ' || g FROM generate_series(1, 40) g;
INSERT INTO rental.address
  SELECT g, g % 40 + 1, CASE WHEN g % 9 > 0 THEN ROW('Große "Gasse" ' || g || ', hinten', nullif(g % 7, 0))::rental.spot END,
    CASE g % 3 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE 'AB ' || g END, E'one\ntwo\t\\N; ' || g
  FROM generate_series(1, 120) g;
INSERT INTO rental.language VALUES (1, 'English'), (2, 'Français'), (3, '');
SET CONSTRAINTS ALL DEFERRED;
INSERT INTO rental.store VALUES (1, 2, 1), (2, 1, 2);
INSERT INTO rental.staff VALUES
  (1, 1, 3, 'Zoë', true, '\x89504e470d0a1a0a00'), (2, 2, NULL, '', false, ''), (3, 1, 2, NULL, true, NULL);
INSERT INTO rental.film
  SELECT g, 'Film, "number" ' || g, CASE WHEN g % 4 > 0 THEN repeat('Es war einmal; ', g % 12) END,
    nullif(1950 + g % 70, 1950), nullif(g % 4, 0), g % 100 / 4.0,
    (enum_range(NULL::rental.rating))[nullif(g % 6, 0)],
    (ARRAY[NULL, '{}', '{"Deleted Scenes",NULL,"NULL",""}', '{"a,b","c\"d","e\\f"}'])[g % 4 + 1]::text[]
  FROM generate_series(1, 300) g;
INSERT INTO rental.actor SELECT g, 'Actor ' || g, ARRAY(SELECT generate_series(1, g % 5)) FROM generate_series(1, 60) g;
INSERT INTO rental.film_actor SELECT f, (f * 7 + a * 11) % 60 + 1 FROM generate_series(1, 290) f, generate_series(0, 2) a;
INSERT INTO rental.customer
  SELECT md5(g::text)::uuid, g % 2 + 1, 'c' || g || '@example.com',
    CASE WHEN g % 5 > 0 THEN jsonb_build_object('n', g, 'list', ARRAY[g, NULL], 'text', E'"\n\\' || g) END,
    date '2020-02-29' + g, CASE WHEN g % 6 > 0 THEN timestamptz '2026-03-29 00:59:59.999999Z' + g * interval '17 min' END
  FROM generate_series(1, 200) g;
INSERT INTO rental.rental (id, film_id, customer_id, days, daily, during)
  SELECT g, g % 300 + 1, md5((g % 200 + 1)::text)::uuid, g % 9, g % 400 / 100.0,
    tstzrange('2026-01-01Z', CASE WHEN g % 3 > 0 THEN timestamptz '2026-01-01Z' + g * interval '1 hour' END)
  FROM generate_series(1, 600) g;
INSERT INTO rental.payment
  SELECT g, g % 600 + 1, nullif(g % 50, 0) / 10.0, timestamptz '2026-01-01Z' + g * interval '3 hours'
  FROM generate_series(1, 900) g;
CREATE MATERIALIZED VIEW rental.takings AS
  SELECT date_trunc('month', paid_at, 'UTC') AS month, sum(amount) AS amount, count(*) AS payments
  FROM rental.payment GROUP BY 1;
