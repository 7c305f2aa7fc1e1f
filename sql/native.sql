-- Functions written in Rust (extension/src), and the triggers' way to reach them.

CREATE FUNCTION @extschema@.webhook_emit(
  event_type text, data jsonb, tenant text DEFAULT NULL, key text DEFAULT NULL,
  deliver_at timestamptz DEFAULT NULL, idempotency_key text DEFAULT NULL
) RETURNS uuid
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'webhook_emit_wrapper';
COMMENT ON FUNCTION @extschema@.webhook_emit(text, jsonb, text, text, timestamptz, text)
  IS 'Emit an event in this transaction; returns its id, NULL while pg_webhook.suppress is on';

-- The same for pg_webhook's own notices. In this schema nobody else can put a function in its place that takes the
-- arguments more exactly, and that would run with the rights of webhook_owner.
CREATE FUNCTION webhook.emit(
  event_type text, data jsonb, tenant text, key text, deliver_at timestamptz, idempotency_key text
) RETURNS uuid
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'webhook_emit_wrapper';

CREATE FUNCTION @extschema@.webhook_sign(scheme text, secret text, id text, at timestamptz, body text) RETURNS jsonb
LANGUAGE c STABLE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'webhook_sign_wrapper';
COMMENT ON FUNCTION @extschema@.webhook_sign(text, text, text, timestamptz, text)
  IS 'The headers of a request with this id and body, signed at this time';

CREATE FUNCTION @extschema@.webhook_verify(
  headers jsonb, body text, secrets text[], scheme text DEFAULT 'standard',
  tolerance interval DEFAULT '5 min', at timestamptz DEFAULT clock_timestamp()
) RETURNS boolean
LANGUAGE c STABLE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'webhook_verify_wrapper';
COMMENT ON FUNCTION @extschema@.webhook_verify(jsonb, text, text[], text, interval, timestamptz)
  IS 'Whether headers and body were signed with one of the secrets, within the tolerance';

-- For a test: owed to this endpoint alone, whatever it subscribes to.
CREATE FUNCTION webhook.emit_to(endpoint_id int, event_type text, data jsonb, tenant text) RETURNS uuid
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emit_to_wrapper';

CREATE FUNCTION @extschema@.webhook_backoff(base interval, factor float8, cap interval, attempts int) RETURNS interval[]
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'webhook_backoff_wrapper';
COMMENT ON FUNCTION @extschema@.webhook_backoff(interval, float8, interval, int)
  IS 'A retry_schedule of so many waits: the first is base, each is factor times the one before, none is longer than cap';

-- Of each endpoint, as it is configured now: whether it wants an event, and which rule says so.
CREATE FUNCTION webhook.explain(event_id uuid) RETURNS TABLE (endpoint_id int, wants boolean, reason text)
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'explain_wrapper';

-- The body (webhook.event_body.variant) an endpoint is sent of an event that is owed to it again; NULL: the event's own,
-- 0: its transform does not give it the event.
CREATE FUNCTION webhook.variant_for(event_id uuid, endpoint_id int) RETURNS int
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'variant_for_wrapper';

-- Calls an endpoint's callback as the role that configured it. If it still runs after `end_ms` milliseconds the session ends.
CREATE FUNCTION webhook.call_back(name text, configured_by text, outcome jsonb, end_ms int) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'call_back_wrapper';

-- The trigger of attached tables.
CREATE FUNCTION webhook.capture() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'webhook_capture';

-- What is wrong with a value; NULL if nothing is.
CREATE FUNCTION webhook.url_problem(url text, allow_http boolean) RETURNS text
LANGUAGE c IMMUTABLE STRICT AS 'MODULE_PATHNAME', 'url_problem_wrapper';
CREATE FUNCTION webhook.pattern_problem(pattern text) RETURNS text
LANGUAGE c IMMUTABLE STRICT AS 'MODULE_PATHNAME', 'pattern_problem_wrapper';
CREATE FUNCTION webhook.matches_type(event_type text, patterns text[]) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'matches_type_wrapper';
CREATE FUNCTION webhook.event_type_problem(event_type text) RETURNS text
LANGUAGE c IMMUTABLE STRICT AS 'MODULE_PATHNAME', 'event_type_problem_wrapper';
CREATE FUNCTION webhook.secret_problem(secret text, key_encoding text) RETURNS text
LANGUAGE c IMMUTABLE STRICT AS 'MODULE_PATHNAME', 'secret_problem_wrapper';
CREATE FUNCTION webhook.headers_problem(headers jsonb) RETURNS text
LANGUAGE c IMMUTABLE STRICT AS 'MODULE_PATHNAME', 'headers_problem_wrapper';
CREATE FUNCTION webhook.scheme_problem(
  name text, algorithm text, key_encoding text, content text, digest_encoding text, signature text, separator text, headers jsonb
) RETURNS text
LANGUAGE c IMMUTABLE STRICT AS 'MODULE_PATHNAME', 'scheme_problem_wrapper';
CREATE FUNCTION webhook.schema_problem(schema jsonb) RETURNS text
LANGUAGE c IMMUTABLE STRICT AS 'MODULE_PATHNAME', 'schema_problem_wrapper';
CREATE FUNCTION webhook.filter_problem(filter text) RETURNS text
LANGUAGE c IMMUTABLE STRICT AS 'MODULE_PATHNAME', 'filter_problem_wrapper';
CREATE FUNCTION webhook.envelope_problem(envelope text) RETURNS text
LANGUAGE c IMMUTABLE STRICT AS 'MODULE_PATHNAME', 'envelope_problem_wrapper';
-- Raise what is wrong.
CREATE FUNCTION webhook.check_transform(name text) RETURNS void
LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'check_transform_wrapper';
CREATE FUNCTION webhook.check_callback(name text) RETURNS void
LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'check_callback_wrapper';
CREATE FUNCTION webhook.check_body_function(relation oid, name text) RETURNS void
LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'check_body_function_wrapper';
CREATE FUNCTION webhook.check_expression(relation oid, name text, expression text) RETURNS void
LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'check_expression_wrapper';

-- A fresh secret of 32 random bytes, as schemes of this key_encoding take it.
CREATE FUNCTION webhook.random_secret(key_encoding text) RETURNS text
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'random_secret_wrapper';
-- The public half (whpk_…) of a whsk_ secret; NULL for any other.
CREATE FUNCTION webhook.public_key(secret text) RETURNS text
LANGUAGE c IMMUTABLE STRICT AS 'MODULE_PATHNAME', 'public_key_wrapper';

-- Whether a row was written by this transaction, subtransactions that are still alive included: SELECT … xmin.
CREATE FUNCTION webhook.is_current(xmin xid) RETURNS boolean
LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'is_current_wrapper';

-- Whether the statement that fired the trigger is COPY into a table of this schema: under a restore, triggers have no
-- effect.
CREATE FUNCTION webhook.in_copy() RETURNS boolean
LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'in_copy_wrapper';

-- Whether a command, as an event trigger is told of it, is ALTER TABLE … ATTACH PARTITION.
CREATE FUNCTION webhook.attaches_partition(command pg_ddl_command) RETURNS boolean
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'attaches_partition_wrapper';

-- Locks of the workers, in a space that SQL's advisory locks don't reach.
CREATE FUNCTION webhook.try_lock_slot(slots int, slot int) RETURNS boolean
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'try_lock_slot_wrapper';
CREATE FUNCTION webhook.unlock_slot(slots int, slot int) RETURNS boolean
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'unlock_slot_wrapper';
CREATE FUNCTION webhook.lock_member() RETURNS void
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'lock_member_wrapper';
CREATE FUNCTION webhook.count_members() RETURNS int
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT count(*)::int FROM pg_locks l
  WHERE l.locktype = 'advisory' AND l.objsubid = 5 AND l.granted
    AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
$$;

-- All sessions drop what they cached of the configuration when this transaction commits; this one does at once.
CREATE FUNCTION webhook.drop_caches() RETURNS void
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'drop_caches_wrapper';

-- For statement triggers on tables that hold configuration: tells sessions and workers.
CREATE FUNCTION webhook.config_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM webhook.drop_caches();
  NOTIFY webhook_config;
  RETURN NULL;
END
$$;
CREATE TRIGGER config_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON webhook.setting
  FOR EACH STATEMENT EXECUTE FUNCTION webhook.config_changed();
ALTER TABLE webhook.setting ENABLE ALWAYS TRIGGER config_changed;
