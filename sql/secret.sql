-- webhook.endpoint_secret: what requests are signed with. Several may be live while one is rotated out.
-- Row-level security, and not only grants: pg_read_all_data reads every table otherwise.
CREATE TABLE webhook.endpoint_secret (
  endpoint_id int NOT NULL,
  secret text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  expires_at timestamptz
);
CREATE INDEX endpoint_secret_endpoint ON webhook.endpoint_secret (endpoint_id);
ALTER TABLE webhook.endpoint_secret ENABLE ROW LEVEL SECURITY;
CREATE POLICY worker_reads ON webhook.endpoint_secret FOR SELECT TO webhook_worker USING (true);
CREATE POLICY admin_adds ON webhook.endpoint_secret FOR INSERT TO webhook_admin WITH CHECK (true);
COMMENT ON TABLE webhook.endpoint_secret IS 'Secrets of endpoints; only webhook_worker and webhook_owner read them';
COMMENT ON COLUMN webhook.endpoint_secret.expires_at IS 'from when on it is no longer used; NULL: it is current';

-- What others may see of a secret: its last characters, unless they are a good part of it.
CREATE VIEW webhook.endpoint_secret_hint AS
  SELECT s.endpoint_id, '…' || CASE WHEN length(s.secret) >= 16 THEN right(s.secret, 4) ELSE '' END AS hint, s.created_at, s.expires_at,
    webhook.public_key(s.secret) AS public_key
  FROM webhook.endpoint_secret s;
COMMENT ON VIEW webhook.endpoint_secret_hint IS 'The last characters of each secret, and the public key (whpk_…) of one that has one';

CREATE FUNCTION webhook.check_secret() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  problem text;
BEGIN
  IF webhook.in_copy() THEN
    RETURN NEW;
  END IF;
  -- Not left to NOT NULL: the detail of its error is the row, secret and all.
  IF NEW.secret IS NULL OR NEW.created_at IS NULL THEN
    PERFORM webhook.refuse('endpoint_secret.' || CASE WHEN NEW.secret IS NULL THEN 'secret' ELSE 'created_at' END, NULL,
      'it must have a value', 'webhook_rotate_secret() makes a secret where none is given.');
  END IF;
  IF NEW.endpoint_id IS NULL OR NOT EXISTS (SELECT FROM webhook.endpoint e WHERE e.id = NEW.endpoint_id) THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('there is no endpoint %s', coalesce(NEW.endpoint_id::text, 'NULL')),
      HINT = 'SELECT id, name, url FROM webhook.endpoint lists them.';
  END IF;
  SELECT webhook.secret_problem(NEW.secret, s.key_encoding) INTO problem
  FROM webhook.endpoint e JOIN webhook.signature_scheme s ON s.name = e.scheme WHERE e.id = NEW.endpoint_id;
  IF problem IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = '22023',
      MESSAGE = format('the secret of endpoint %s is not valid: %s', NEW.endpoint_id, problem),
      HINT = 'Leave it out and one is made. The standard scheme takes whsec_ and 24 to 64 random bytes in base64.';
  END IF;
  RETURN NEW;
END
$$;
CREATE TRIGGER check_secret BEFORE INSERT OR UPDATE ON webhook.endpoint_secret
  FOR EACH ROW EXECUTE FUNCTION webhook.check_secret();

-- A signature made with another set of secrets must not be sent: the endpoint's generation changes.
CREATE FUNCTION webhook.renew_generation() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NOT webhook.in_copy() THEN
    UPDATE webhook.endpoint e SET generation = nextval('webhook.generation')
    WHERE e.id = ANY (ARRAY[OLD.endpoint_id, NEW.endpoint_id]);
  END IF;
  RETURN NULL;
END
$$;
CREATE TRIGGER renew_generation AFTER INSERT OR UPDATE OR DELETE ON webhook.endpoint_secret
  FOR EACH ROW EXECUTE FUNCTION webhook.renew_generation();
CREATE TRIGGER config_changed AFTER INSERT OR UPDATE OR DELETE ON webhook.endpoint_secret
  FOR EACH STATEMENT EXECUTE FUNCTION webhook.config_changed();
ALTER TABLE webhook.endpoint_secret ENABLE ALWAYS TRIGGER config_changed;

-- A random secret as the endpoint's scheme writes keys; NULL if there is no such endpoint.
CREATE FUNCTION webhook.new_secret(endpoint_id int) RETURNS text
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT webhook.random_secret(k.key_encoding)
  FROM webhook.endpoint e JOIN webhook.signature_scheme k ON k.name = e.scheme WHERE e.id = $1
$$;

CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON webhook.endpoint_secret
  FOR EACH STATEMENT EXECUTE FUNCTION webhook.refuse_truncate();

-- Gives an endpoint a random secret unless it has a live one; true if it did.
CREATE FUNCTION webhook.give_secret(endpoint_id int) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
  IF EXISTS (SELECT FROM webhook.endpoint_secret s WHERE s.endpoint_id = endpoint_id
    AND (s.expires_at IS NULL OR s.expires_at > clock_timestamp()))
  THEN
    RETURN false;
  END IF;
  INSERT INTO webhook.endpoint_secret (endpoint_id, secret) VALUES (endpoint_id, webhook.new_secret(endpoint_id));
  RETURN true;
END
$$;

CREATE FUNCTION webhook.create_endpoint(
  url text, event_types text[], name text, tenant text, given_secret text, scheme text,
  OUT endpoint_id int, OUT secret text
) RETURNS record
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
  INSERT INTO webhook.endpoint AS e (url, event_types, name, tenant, scheme)
    VALUES (url, event_types, name, tenant, scheme) RETURNING e.id INTO endpoint_id;
  IF given_secret IS NOT NULL THEN
    UPDATE webhook.endpoint_secret s SET secret = given_secret WHERE s.endpoint_id = create_endpoint.endpoint_id;
  END IF;
  SELECT s.secret INTO secret FROM webhook.endpoint_secret s WHERE s.endpoint_id = create_endpoint.endpoint_id;
END
$$;

-- Creates an endpoint and shows its secret, this once.
--   url, event_types, name, tenant, scheme   as the columns of webhook.endpoint
--   secret   what to sign with; NULL: one is made, whsec_ and 32 random bytes for the standard scheme
-- Everything else is set by UPDATE webhook.endpoint.
CREATE FUNCTION @extschema@.webhook_endpoint_create(
  url text, event_types text[] DEFAULT '{*}', name text DEFAULT NULL, tenant text DEFAULT NULL,
  secret text DEFAULT NULL, scheme text DEFAULT 'standard'
) RETURNS TABLE (endpoint_id int, secret text)
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT c.endpoint_id, c.secret FROM webhook.create_endpoint($1, $2, $3, $4, $5, $6) c
$$;
COMMENT ON FUNCTION @extschema@.webhook_endpoint_create(text, text[], text, text, text, text)
  IS 'Create an endpoint; returns its id and, this once, its secret';

-- Signs with a new secret from now on, and with the old one as well for `overlap`. Returns the new secret, this once.
CREATE FUNCTION @extschema@.webhook_rotate_secret(
  endpoint_id int, overlap interval DEFAULT '24 hours', secret text DEFAULT NULL
) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  fresh text := secret;
BEGIN
  IF overlap IS NULL OR overlap < interval '0' OR overlap > interval '1 year' THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('overlap %s is not valid: it is 0 to a year', coalesce(overlap::text, 'NULL')),
      HINT = 'Receivers have this long to take the new secret; 0 ends the old one at once.';
  END IF;
  PERFORM webhook.lock_endpoint(endpoint_id);
  fresh := coalesce(fresh, webhook.new_secret(endpoint_id));
  DELETE FROM webhook.endpoint_secret s WHERE s.endpoint_id = endpoint_id AND s.expires_at <= clock_timestamp();
  UPDATE webhook.endpoint_secret s SET expires_at = clock_timestamp() + overlap
    WHERE s.endpoint_id = endpoint_id AND (s.expires_at IS NULL OR s.expires_at > clock_timestamp() + overlap);
  INSERT INTO webhook.endpoint_secret (endpoint_id, secret) VALUES (endpoint_id, fresh);
  RETURN fresh;
END
$$;
COMMENT ON FUNCTION @extschema@.webhook_rotate_secret(int, interval, text)
  IS 'Give an endpoint a new secret, sign with both while they overlap; returns the new one, this once';
