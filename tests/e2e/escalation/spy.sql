-- A spy: writes down as whom it runs, and tries what mallory may not do. Run as mallory it does no more: that is hers.
CREATE FUNCTION mallory.spy(place text) RETURNS void LANGUAGE plpgsql AS $spy$
DECLARE
  deed text;
BEGIN
  INSERT INTO public.spied VALUES (place, current_user, 'ran');
  IF current_user = session_user THEN
    RETURN;
  END IF;
  FOREACH deed IN ARRAY ARRAY[
    'SET ROLE postgres', 'SET SESSION AUTHORIZATION postgres', 'RESET ROLE', 'ALTER ROLE ' || session_user || ' SUPERUSER',
    'SELECT secret FROM webhook.endpoint_secret', 'SELECT * FROM public.private', 'CREATE TABLE public.made ()',
    'CREATE TEMP TABLE events (id int)', 'DECLARE kept CURSOR WITH HOLD FOR SELECT 1', 'LISTEN webhook_wake',
    'GRANT pg_read_all_data TO ' || session_user]
  LOOP
    BEGIN
      EXECUTE deed;
      INSERT INTO public.spied VALUES (place, current_user, deed);
    EXCEPTION WHEN OTHERS THEN
      NULL;
    END;
  END LOOP;
  PERFORM set_config('search_path', 'mallory', false), set_config('pg_webhook.suppress', 'on', false),
    set_config('timezone', 'Asia/Tokyo', false), set_config('row_security', 'off', false);
END
$spy$;

-- Types of hers with a spy behind every door: casts to json, jsonb and text, a domain's CHECK, alone and inside a
-- composite type and a range, an operator.
CREATE TYPE mallory.mood AS ENUM ('sad', 'glad');
CREATE FUNCTION mallory.to_json(mallory.mood) RETURNS json LANGUAGE plpgsql AS
  $$BEGIN PERFORM mallory.spy('json'); RETURN '"spied"'; END$$;
CREATE CAST (mallory.mood AS json) WITH FUNCTION mallory.to_json(mallory.mood);
CREATE FUNCTION mallory.to_jsonb(mallory.mood) RETURNS jsonb LANGUAGE plpgsql AS
  $$BEGIN PERFORM mallory.spy('jsonb'); RETURN '"spied"'; END$$;
CREATE CAST (mallory.mood AS jsonb) WITH FUNCTION mallory.to_jsonb(mallory.mood);
CREATE FUNCTION mallory.to_text(mallory.mood) RETURNS text LANGUAGE plpgsql AS
  $$BEGIN PERFORM mallory.spy('text'); RETURN 'spied'; END$$;
CREATE CAST (mallory.mood AS text) WITH FUNCTION mallory.to_text(mallory.mood);
CREATE FUNCTION mallory.is_small(int) RETURNS boolean LANGUAGE plpgsql AS
  $$BEGIN PERFORM mallory.spy('domain'); RETURN true; END$$;
CREATE DOMAIN mallory.small AS int CHECK (mallory.is_small(VALUE));
CREATE TYPE mallory.pair AS (a mallory.small, b mallory.mood);
CREATE TYPE mallory.span AS RANGE (SUBTYPE = mallory.small);
CREATE FUNCTION mallory.equal(mallory.mood, mallory.mood) RETURNS boolean LANGUAGE plpgsql AS
  $$BEGIN PERFORM mallory.spy('operator'); RETURN true; END$$;
CREATE OPERATOR mallory.= (FUNCTION = mallory.equal, LEFTARG = mallory.mood, RIGHTARG = mallory.mood);
GRANT USAGE ON SCHEMA mallory TO PUBLIC;
