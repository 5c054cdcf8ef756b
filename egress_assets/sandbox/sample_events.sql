-- The database `events`: what happened on the site. No person but an internal number; rows are made by day (sample.py).
DROP SCHEMA IF EXISTS public CASCADE;
CREATE SCHEMA public;
DROP TABLE IF EXISTS egress_sandbox.event_days;

CREATE TABLE public.page_views (
    id bigint PRIMARY KEY,
    at timestamptz NOT NULL,
    user_id bigint,
    path text NOT NULL,
    referrer text,
    milliseconds integer NOT NULL
);
CREATE INDEX ON public.page_views (at);
CREATE TABLE public.clicks (
    id bigint PRIMARY KEY,
    at timestamptz NOT NULL,
    user_id bigint,
    element text NOT NULL,
    x smallint NOT NULL,
    y smallint NOT NULL
);
CREATE INDEX ON public.clicks (at);
COMMENT ON COLUMN public.page_views.user_id IS 'Number of the session''s user inside this database; no link to a person';

CREATE TABLE egress_sandbox.event_days (day date PRIMARY KEY);
GRANT USAGE ON SCHEMA public TO egress_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO egress_reader;
