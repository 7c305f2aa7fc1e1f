-- webhook.endpoint: a URL that wants events. INSERT, UPDATE and DELETE are the management API.
-- What is wrong with a row is said by check_endpoint() with SQLSTATE 22023, column, value and rule. There are no CHECK
-- constraints: their message prints the whole row.

-- Drawn anew whenever an endpoint's secrets or scheme change. A sequence: it never goes back when a transaction
-- aborts, so a stored signature can't be taken for one of a configuration it was not made with.
CREATE SEQUENCE webhook.generation AS int CYCLE;

CREATE TABLE webhook.endpoint (
  id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  url text NOT NULL,
  event_types text[] NOT NULL DEFAULT '{*}',
  name text,
  description text,
  tenant text,
  all_tenants boolean NOT NULL DEFAULT false,
  status text NOT NULL DEFAULT 'active',
  when_disabled text NOT NULL DEFAULT 'skip',
  scheme text NOT NULL DEFAULT 'standard',
  headers jsonb NOT NULL DEFAULT '{}',
  timeout interval NOT NULL DEFAULT '30 seconds',
  max_in_flight int NOT NULL DEFAULT 16,
  rate_limit float8,
  ordered boolean NOT NULL DEFAULT false,
  retry_schedule interval[] NOT NULL DEFAULT '{5 s,5 min,30 min,2 h,5 h,10 h,14 h,20 h,24 h}',
  retry_jitter float8 NOT NULL DEFAULT 0.1,
  retry_for interval,
  retry_after_max interval NOT NULL DEFAULT '1 h',
  success_on int4multirange NOT NULL DEFAULT '{[200,300)}',
  give_up_on int4multirange NOT NULL DEFAULT '{}',
  disable_on int4multirange NOT NULL DEFAULT '{[410,411)}',
  disable_after_failures int,
  disable_after interval DEFAULT '5 days',
  client_certificate text,
  ca_certificate text,
  filter jsonpath,
  -- json, not jsonb: members keep their order
  envelope json,
  transform text,
  on_error text NOT NULL DEFAULT 'raise',
  configured_by text,
  on_delivered text,
  on_failed text,
  callback_configured_by text,
  generation int NOT NULL DEFAULT 0,
  revision bigint NOT NULL DEFAULT 0,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE webhook.endpoint IS 'URLs that want events; INSERT, UPDATE and DELETE are the management API';
COMMENT ON COLUMN webhook.endpoint.event_types IS 'patterns of event types: * (all but webhook.*), an exact type, or a prefix as order.*';
COMMENT ON COLUMN webhook.endpoint.tenant IS 'gets this tenant''s events; NULL: the house''s own';
COMMENT ON COLUMN webhook.endpoint.all_tenants IS 'gets the events of every tenant and the house''s own';
COMMENT ON COLUMN webhook.endpoint.status IS 'active | paused: deliveries wait | disabled: see when_disabled';
COMMENT ON COLUMN webhook.endpoint.when_disabled IS 'what becomes of deliveries while disabled: skip: each ends with a row that says so | keep: they wait';
COMMENT ON COLUMN webhook.endpoint.scheme IS 'how requests are signed: a row of webhook.signature_scheme';
COMMENT ON COLUMN webhook.endpoint.headers IS 'headers sent with every request, name → value';
COMMENT ON COLUMN webhook.endpoint.timeout IS 'for a whole attempt, from connecting to the last byte of the answer';
COMMENT ON COLUMN webhook.endpoint.max_in_flight IS 'requests under way at once';
COMMENT ON COLUMN webhook.endpoint.rate_limit IS 'attempts begun per second, retries among them; 0.1 is one in ten seconds; NULL: no limit';
COMMENT ON COLUMN webhook.endpoint.ordered IS 'of the events with one key (no key is one as well) the next is sent when the one before was delivered or has failed for good, in the order of their ids; holds for events emitted from when it is set';
COMMENT ON COLUMN webhook.endpoint.retry_schedule IS 'waits after the first, second, … failed attempt; past the last the delivery has failed';
COMMENT ON COLUMN webhook.endpoint.retry_jitter IS 'fraction 0–1 by which each wait varies at random';
COMMENT ON COLUMN webhook.endpoint.retry_for IS 'retry window: no attempt is made later than this after the event';
COMMENT ON COLUMN webhook.endpoint.retry_after_max IS 'longest Retry-After that is honoured; 0 ignores the header';
COMMENT ON COLUMN webhook.endpoint.success_on IS 'status codes that mean delivered';
COMMENT ON COLUMN webhook.endpoint.give_up_on IS 'status codes after which there is no retry';
COMMENT ON COLUMN webhook.endpoint.disable_on IS 'status codes after which there is no retry and the endpoint is disabled';
COMMENT ON COLUMN webhook.endpoint.disable_after_failures IS 'deliveries failed in a row that disable the endpoint; NULL: never';
COMMENT ON COLUMN webhook.endpoint.disable_after IS 'time of failing without a success that disables the endpoint; NULL: never';
COMMENT ON COLUMN webhook.endpoint.client_certificate IS 'shown to the receiver (mTLS): name of a file in the worker''s --certificate-dir, without .pem';
COMMENT ON COLUMN webhook.endpoint.ca_certificate IS 'trusted for this endpoint besides the worker''s: name of a file in its --certificate-dir, without .pem';
COMMENT ON COLUMN webhook.endpoint.filter IS 'jsonpath over the event''s body: a condition such as $.data.amount > 100, or a path such as $.data.items[*] ? (@.price > 100); the endpoint gets the event if what it finds first is there and neither false nor null';
COMMENT ON COLUMN webhook.endpoint.envelope IS 'the body''s members in their order, e.g. {"id": "evt_{id}", "type": "{type}", "created_at": "{timestamp}", "data": "{data}"}; placeholders: {id}, {type}, {type_first}, {tenant}, {key}, {timestamp}, {timestamp_s} and {timestamp_ms}, which alone are numbers, {data}, {previous} and {changed}; a member that depends on what an event lacks is left out; NULL: {"id", "type", "timestamp", "data"}';
COMMENT ON COLUMN webhook.endpoint.transform IS 'function jsonb → jsonb that makes the body of the event''s, in the transaction of the event and as configured_by; where it returns NULL the endpoint does not get the event';
COMMENT ON COLUMN webhook.endpoint.on_error IS 'what a failing transform does: raise: fails the statement that makes the event; skip: the delivery ends as skipped, with its error';
COMMENT ON COLUMN webhook.endpoint.configured_by IS 'the role transform runs as; stamped by the system';
COMMENT ON COLUMN webhook.endpoint.on_delivered IS 'function of one jsonb, the outcome, that is called when a delivery was delivered, in the transaction that records it and as callback_configured_by; what it returns is ignored; if it fails the outcome stands';
COMMENT ON COLUMN webhook.endpoint.on_failed IS 'the same when a delivery has failed for good';
COMMENT ON COLUMN webhook.endpoint.callback_configured_by IS 'the role on_delivered and on_failed run as; stamped by the system';
COMMENT ON COLUMN webhook.endpoint.generation IS 'renewed when secrets or scheme change; not yours to set';
COMMENT ON COLUMN webhook.endpoint.revision IS 'how often the row was changed: a delivery waits for the worker to know the configuration it was read with; not yours to set';

-- Raises 22023: which column, which value, which rule, and the way out.
CREATE FUNCTION webhook.refuse(column_name text, value text, rule text, hint text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RAISE EXCEPTION USING ERRCODE = '22023',
    MESSAGE = format('webhook.%s: %s is not valid: %s', column_name,
      CASE WHEN value IS NULL THEN 'NULL' ELSE '"' || left(value, 200) || '"' END, rule),
    HINT = coalesce(hint, format('See the comment on webhook.%s.', column_name));
END
$$;

-- Raises 42501 unless it is a superuser's restore that copies a row: it says whose rights something runs with.
CREATE FUNCTION webhook.check_copier(what text, hint text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NOT (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = current_user) THEN
    RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = format('only a superuser''s restore may copy %s', what), HINT = hint;
  END IF;
END
$$;

-- Rules for a set of status codes.
CREATE FUNCTION webhook.check_codes(column_name text, codes int4multirange) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NOT codes <@ '{[100,600)}'::int4multirange THEN
    PERFORM webhook.refuse('endpoint.' || column_name, codes::text, 'status codes are 100 to 599',
      'Write ranges as {[200,300)} or {[408,409),[429,430)}.');
  END IF;
END
$$;

-- Names, not paths, and never the thing itself: it may be a key, so what is wrong is not repeated.
CREATE FUNCTION webhook.check_certificate(column_name text, name text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF name !~ '^[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}$' THEN
    PERFORM webhook.refuse('endpoint.' || column_name, '…',
      'it is the name of a file, of letters, digits, ".", "_" and "-", not beginning with a "."',
      'Put the certificate into the worker''s --certificate-dir as NAME.pem and give NAME here.');
  END IF;
END
$$;

CREATE FUNCTION webhook.check_endpoint() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  pattern text;
  problem text;
  step interval;
  known text;
BEGIN
  SELECT c.key INTO known FROM jsonb_each(to_jsonb(NEW)) c
  WHERE c.value = 'null' AND c.key <> ALL (
    '{name,description,tenant,rate_limit,retry_for,disable_after_failures,disable_after,client_certificate,ca_certificate,filter,envelope,transform,configured_by,on_delivered,on_failed,callback_configured_by}');
  IF known IS NOT NULL THEN
    PERFORM webhook.refuse('endpoint.' || known, NULL, 'it must have a value', 'Leave the column out to get its default.');
  END IF;
  -- A URL that was allowed stays, so that the endpoint can still be disabled, and its secret rotated.
  problem := webhook.url_problem(NEW.url, webhook.in_copy() OR (TG_OP = 'UPDATE' AND NEW.url = OLD.url)
    OR current_setting('pg_webhook.allow_http')::boolean);
  IF problem IS NOT NULL THEN
    PERFORM webhook.refuse('endpoint.url', regexp_replace(NEW.url, '^.*@', '…@'), problem,
      'Give an absolute URL such as https://example.com/hooks. Plain http needs the setting pg_webhook.allow_http.');
  END IF;

  IF array_ndims(NEW.event_types) IS DISTINCT FROM 1 OR cardinality(NEW.event_types) > 1000
    OR array_position(NEW.event_types, NULL) IS NOT NULL
  THEN
    PERFORM webhook.refuse('endpoint.event_types', NEW.event_types::text, 'it is a list of 1 to 1000 patterns', 'Use {*} for every event.');
  END IF;
  FOREACH pattern IN ARRAY NEW.event_types LOOP
    problem := webhook.pattern_problem(pattern);
    IF problem IS NOT NULL THEN
      PERFORM webhook.refuse('endpoint.event_types', pattern, problem, 'Use *, an exact type such as order.paid, or a prefix such as order.*.');
    END IF;
  END LOOP;

  IF NEW.status <> ALL ('{active,paused,disabled}') THEN
    PERFORM webhook.refuse('endpoint.status', NEW.status, 'it is active, paused or disabled');
  END IF;
  IF NEW.when_disabled <> ALL ('{skip,keep}') THEN
    PERFORM webhook.refuse('endpoint.when_disabled', NEW.when_disabled, 'it is skip or keep');
  END IF;
  IF NEW.tenant IS NOT NULL AND NEW.all_tenants THEN
    PERFORM webhook.refuse('endpoint.tenant', NEW.tenant, 'an endpoint with all_tenants has no tenant of its own',
      'Set either tenant or all_tenants.');
  END IF;
  IF octet_length(NEW.tenant) NOT BETWEEN 1 AND 256 THEN
    PERFORM webhook.refuse('endpoint.tenant', NEW.tenant, 'it has 1 to 256 bytes');
  END IF;
  IF octet_length(NEW.name) NOT BETWEEN 1 AND 256 THEN
    PERFORM webhook.refuse('endpoint.name', NEW.name, 'it has 1 to 256 bytes');
  END IF;

  IF NOT webhook.in_copy() AND (TG_OP = 'INSERT' OR NEW.scheme <> OLD.scheme) THEN
    -- Locked: it must not be deleted meanwhile.
    PERFORM FROM webhook.signature_scheme s WHERE s.name = NEW.scheme FOR KEY SHARE;
    IF NOT FOUND THEN
      SELECT string_agg(s.name, ', ' ORDER BY s.name) INTO known FROM webhook.signature_scheme s;
      PERFORM webhook.refuse('endpoint.scheme', NEW.scheme, 'there is no such signature scheme', format('Schemes are: %s.', known));
    END IF;
    SELECT webhook.secret_problem(s.secret, k.key_encoding) INTO problem
    FROM webhook.endpoint_secret s JOIN webhook.signature_scheme k ON k.name = NEW.scheme
    WHERE TG_OP = 'UPDATE' AND s.endpoint_id = OLD.id AND webhook.secret_problem(s.secret, k.key_encoding) IS NOT NULL
    LIMIT 1;
    IF FOUND THEN
      PERFORM webhook.refuse('endpoint.scheme', NEW.scheme, format('the endpoint''s secret does not fit it: %s', problem),
        'Make a new endpoint with this scheme.');
    END IF;
  END IF;
  problem := webhook.headers_problem(NEW.headers);
  IF problem IS NOT NULL THEN
    PERFORM webhook.refuse('endpoint.headers', (SELECT string_agg(k, ', ') FROM jsonb_object_keys(
        CASE jsonb_typeof(NEW.headers) WHEN 'object' THEN NEW.headers ELSE '{}' END) k), problem,
      'Give an object of strings such as {"X-Team": "billing"}.');
  END IF;

  IF NEW.timeout NOT BETWEEN interval '1 millisecond' AND interval '10 minutes' THEN
    PERFORM webhook.refuse('endpoint.timeout', NEW.timeout::text, 'it is positive and at most 10 minutes');
  END IF;
  IF NEW.max_in_flight NOT BETWEEN 1 AND 1000 THEN
    PERFORM webhook.refuse('endpoint.max_in_flight', NEW.max_in_flight::text, 'it is 1 to 1000');
  END IF;
  IF NOT (NEW.rate_limit > 0 AND NEW.rate_limit <= 1000000) THEN
    PERFORM webhook.refuse('endpoint.rate_limit', NEW.rate_limit::text, 'it is above 0 and at most 1000000 per second',
      'NULL means no limit; to stop deliveries set status to paused.');
  END IF;

  IF cardinality(NEW.retry_schedule) > 100 OR array_ndims(NEW.retry_schedule) > 1 THEN
    PERFORM webhook.refuse('endpoint.retry_schedule', format('an array of %s', cardinality(NEW.retry_schedule)),
      'it is a list of at most 100 steps', 'An empty list means no retry.');
  END IF;
  FOREACH step IN ARRAY NEW.retry_schedule LOOP
    IF step IS NULL OR step <= interval '0' OR step > interval '1 year' THEN
      PERFORM webhook.refuse('endpoint.retry_schedule', step::text, 'each step is positive and at most a year');
    END IF;
  END LOOP;
  IF NEW.retry_jitter NOT BETWEEN 0 AND 1 THEN
    PERFORM webhook.refuse('endpoint.retry_jitter', NEW.retry_jitter::text, 'it is a fraction from 0 to 1');
  END IF;
  IF NEW.retry_for <= interval '0' THEN
    PERFORM webhook.refuse('endpoint.retry_for', NEW.retry_for::text, 'it is positive', 'NULL means no retry window.');
  END IF;
  IF NEW.retry_after_max NOT BETWEEN interval '0' AND interval '1 year' THEN
    PERFORM webhook.refuse('endpoint.retry_after_max', NEW.retry_after_max::text, 'it is 0 to a year', '0 ignores the header.');
  END IF;
  PERFORM webhook.check_codes('success_on', NEW.success_on);
  PERFORM webhook.check_codes('give_up_on', NEW.give_up_on);
  PERFORM webhook.check_codes('disable_on', NEW.disable_on);
  IF isempty(NEW.success_on) THEN
    PERFORM webhook.refuse('endpoint.success_on', NEW.success_on::text, 'some status must mean success', 'The default is {[200,300)}.');
  END IF;
  IF NEW.disable_after_failures < 1 THEN
    PERFORM webhook.refuse('endpoint.disable_after_failures', NEW.disable_after_failures::text, 'it is at least 1', 'NULL means never.');
  END IF;
  IF NEW.disable_after <= interval '0' THEN
    PERFORM webhook.refuse('endpoint.disable_after', NEW.disable_after::text, 'it is positive', 'NULL means never.');
  END IF;

  PERFORM webhook.check_certificate('client_certificate', NEW.client_certificate);
  PERFORM webhook.check_certificate('ca_certificate', NEW.ca_certificate);

  IF NOT webhook.in_copy() THEN
    IF TG_OP = 'UPDATE' THEN
      NEW.id := OLD.id;
      NEW.created_at := OLD.created_at;
      NEW.revision := OLD.revision + 1;
    END IF;
    IF TG_OP = 'INSERT' OR NEW.generation <> OLD.generation OR NEW.scheme <> OLD.scheme THEN
      NEW.generation := nextval('webhook.generation');
    END IF;
    NEW.updated_at := now();
  END IF;
  RETURN NEW;
END
$$;
CREATE TRIGGER check_endpoint BEFORE INSERT OR UPDATE ON webhook.endpoint
  FOR EACH ROW EXECUTE FUNCTION webhook.check_endpoint();

-- Locks an endpoint's row against changes by others; returns its status. Raises 42704 if there is none.
CREATE FUNCTION webhook.lock_endpoint(endpoint_id int) RETURNS text
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  status text;
BEGIN
  SELECT e.status INTO status FROM webhook.endpoint e WHERE e.id = endpoint_id FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('there is no endpoint %s', coalesce(endpoint_id::text, 'NULL')),
      HINT = 'SELECT id, name, url FROM webhook.endpoint lists them.';
  END IF;
  RETURN status;
END
$$;

-- A new endpoint gets a secret, a row of health, and, if it is the first one, arms the installation. Inert under
-- COPY, so that a restore brings back what was there and nothing else.
CREATE FUNCTION webhook.complete_endpoint() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF webhook.in_copy() THEN
    RETURN NULL;
  END IF;
  INSERT INTO webhook.endpoint_health (endpoint_id) VALUES (NEW.id);
  PERFORM webhook.give_secret(NEW.id);
  INSERT INTO webhook.armed (installation_id) SELECT i.id FROM webhook.installation i
  ON CONFLICT DO NOTHING;
  RETURN NULL;
END
$$;
CREATE TRIGGER complete_endpoint AFTER INSERT ON webhook.endpoint
  FOR EACH ROW EXECUTE FUNCTION webhook.complete_endpoint();

-- What an endpoint leaves behind when it is deleted, but for its history. Deliveries it was still owed end as
-- `skipped: endpoint deleted`: the worker sees to that.
CREATE FUNCTION webhook.forget_endpoint() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  DELETE FROM webhook.endpoint_secret s WHERE s.endpoint_id = OLD.id;
  DELETE FROM webhook.endpoint_health h WHERE h.endpoint_id = OLD.id;
  RETURN NULL;
END
$$;
CREATE TRIGGER forget_endpoint AFTER DELETE ON webhook.endpoint
  FOR EACH ROW EXECUTE FUNCTION webhook.forget_endpoint();

CREATE FUNCTION webhook.refuse_truncate() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RAISE EXCEPTION USING ERRCODE = '55000',
    MESSAGE = format('webhook.%s can''t be truncated', TG_TABLE_NAME),
    HINT = 'Use DELETE, which lets go of what belongs to each row.';
END
$$;
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON webhook.endpoint
  FOR EACH STATEMENT EXECUTE FUNCTION webhook.refuse_truncate();

-- Sessions drop what they cached, workers read the configuration again. Fires under COPY and for replicas as well.
CREATE TRIGGER config_changed AFTER INSERT OR UPDATE OR DELETE ON webhook.endpoint
  FOR EACH STATEMENT EXECUTE FUNCTION webhook.config_changed();
ALTER TABLE webhook.endpoint ENABLE ALWAYS TRIGGER config_changed;
CREATE TRIGGER config_changed AFTER INSERT OR UPDATE OR DELETE ON webhook.signature_scheme
  FOR EACH STATEMENT EXECUTE FUNCTION webhook.config_changed();
ALTER TABLE webhook.signature_scheme ENABLE ALWAYS TRIGGER config_changed;
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON webhook.signature_scheme
  FOR EACH STATEMENT EXECUTE FUNCTION webhook.refuse_truncate();
