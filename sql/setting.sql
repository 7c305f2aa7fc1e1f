-- webhook.setting: what all workers and sessions must agree on. A row overrides a default; no row is shipped.
CREATE TABLE webhook.setting (
  name text PRIMARY KEY,
  value text NOT NULL,
  updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE webhook.setting IS 'Overrides of the defaults in webhook.setting_default()';

-- Every setting there is, its type, default and meaning.
CREATE FUNCTION webhook.setting_default(
  OUT name text, OUT type text, OUT value text, OUT description text
) RETURNS SETOF record
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
  VALUES
    ('retention', 'interval', '14 days', 'how long events, deliveries and attempts are kept'),
    ('slots', 'integer', '64', 'shares into which endpoints are divided among workers; after a change they finish what is under way first'),
    ('idempotency_window', 'interval', '24 hours', 'how long an idempotency key is remembered'),
    ('response_cap_bytes', 'integer', '16384', 'how much of a response body is kept in the log'),
    ('signature_freshness', 'interval', '10 seconds', 'how long a signature made at enqueue may be sent'),
    ('callback_timeout', 'interval', '5 seconds', 'how long on_delivered or on_failed of an endpoint may take for a delivery; at most 1 minute'),
    ('notice_recipients', 'addresses', '', 'e-mail addresses that notices are sent to, separated by commas; empty: none'),
    ('notice_sender', 'addresses', 'pg_webhook@localhost', 'e-mail address that notices are sent from')
$$;
COMMENT ON FUNCTION webhook.setting_default() IS 'All settings: name, type, default value, description';

-- The value in force: the row if there is one, else the default.
CREATE FUNCTION webhook.setting(name text) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(s.value, d.value)
  FROM webhook.setting_default() d LEFT JOIN webhook.setting s ON s.name = d.name
  WHERE d.name = $1
$$;
COMMENT ON FUNCTION webhook.setting(text) IS 'The value of a setting in force';

-- What e-mail addresses look like: several or none of them, or exactly one.
CREATE FUNCTION webhook.addresses_pattern(several boolean) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN several THEN format('^( *%1$s *(, *%1$s *)*)?$', address) ELSE format('^%s$', address) END
  FROM (VALUES ('[A-Za-z0-9.!#$&''*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9]([A-Za-z0-9.-]{0,250}[A-Za-z0-9])?')) a (address)
$$;

CREATE FUNCTION webhook.check_setting() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  known record;
  low text;
BEGIN
  SELECT d.* INTO known FROM webhook.setting_default() d WHERE d.name = NEW.name;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = '22023',
      MESSAGE = format('there is no setting "%s"', NEW.name),
      HINT = (SELECT 'Settings are: ' || string_agg(d.name, ', ' ORDER BY d.name) || '.' FROM webhook.setting_default() d);
  END IF;
  BEGIN
    IF NEW.value IS NULL THEN
      RAISE invalid_parameter_value;
    END IF;
    IF known.type = 'interval' THEN
      low := '1 second';
      IF NEW.value::interval < low::interval OR NEW.value::interval > '100 years'::interval
        OR (NEW.name = 'callback_timeout' AND NEW.value::interval > '1 minute'::interval)
      THEN
        RAISE invalid_parameter_value;
      END IF;
    ELSIF known.type = 'addresses' THEN
      low := 'e-mail addresses such as ops@example.com';
      IF octet_length(NEW.value) > 2000 OR NEW.value !~ webhook.addresses_pattern(NEW.name <> 'notice_sender') THEN
        RAISE invalid_parameter_value;
      END IF;
    ELSE
      low := '1';
      IF NEW.value::int < 1 OR (NEW.name = 'slots' AND NEW.value::int > 1024)
        OR (NEW.name = 'response_cap_bytes' AND NEW.value::int > 1048576)
      THEN
        RAISE invalid_parameter_value;
      END IF;
    END IF;
  EXCEPTION WHEN data_exception THEN
    RAISE EXCEPTION USING ERRCODE = '22023',
      MESSAGE = format('setting %s: %s is not a valid value', NEW.name, coalesce('"' || NEW.value || '"', 'NULL')),
      HINT = format('It is of type %s, at least %s; the default is %s.%s', known.type, low, known.value,
        CASE NEW.name WHEN 'slots' THEN ' At most 1024.' WHEN 'response_cap_bytes' THEN ' At most 1048576.'
          WHEN 'callback_timeout' THEN ' At most 1 minute.' ELSE '' END);
  END;
  IF NOT webhook.in_copy() THEN
    NEW.updated_at := now();
  END IF;
  RETURN NEW;
END
$$;

CREATE TRIGGER check_setting BEFORE INSERT OR UPDATE ON webhook.setting
  FOR EACH ROW EXECUTE FUNCTION webhook.check_setting();
