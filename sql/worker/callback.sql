-- An outcome and the endpoint's callback for it, in one transaction of the worker:
--
--   BEGIN; worker_record(one outcome); SAVEPOINT; worker_limit_callback(); worker_call_back(); RELEASE; COMMIT
--
-- and where the call fails: ROLLBACK TO the savepoint; worker_callback_failed(); COMMIT. What took the transaction with
-- it (the session ended, or it could not be committed) has it done again with worker_callback_failed() alone.

-- For what follows in this transaction: a limit of time, for waiting as well, and constraints that are checked at once. What is deferred
-- could fail the commit, and the outcome with it.
CREATE FUNCTION webhook.worker_limit_callback() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM set_config('statement_timeout', webhook.callback_ms()::text, true), set_config('lock_timeout', '0', true);
  SET CONSTRAINTS ALL IMMEDIATE;
END
$$;
COMMENT ON FUNCTION webhook.worker_limit_callback() IS 'Worker: what holds for a callback';

-- How long a callback may take, in milliseconds.
CREATE FUNCTION webhook.callback_ms() RETURNS int
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT (extract(epoch FROM webhook.setting('callback_timeout')::interval) * 1000)::int
$$;

-- The callback that an endpoint has for an outcome.
CREATE FUNCTION webhook.callback_for(endpoint webhook.endpoint, outcome text) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE outcome WHEN 'delivered' THEN endpoint.on_delivered WHEN 'failed' THEN endpoint.on_failed END
$$;

-- What a callback is told: who and what, what came of it, and the event's body. NULL body: it is no jsonb, or erased.
CREATE FUNCTION webhook.describe_outcome(attempt webhook.attempt) RETURNS jsonb
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
AS $$
DECLARE
  event webhook.event;
  body jsonb;
BEGIN
  SELECT e.* INTO event FROM webhook.event e WHERE e.id = attempt.event_id;
  BEGIN
    body := event.body::jsonb;
  EXCEPTION WHEN data_exception THEN
    body := NULL;
  END;
  RETURN jsonb_build_object(
    'status', attempt.outcome, 'event_id', attempt.event_id, 'endpoint_id', attempt.endpoint_id,
    'type', event.type, 'tenant', event.tenant, 'key', event.key,
    'number', attempt.number, 'started_at', attempt.started_at, 'duration_s', extract(epoch FROM attempt.duration),
    'status_code', attempt.status_code, 'error', attempt.error,
    'response_headers', attempt.response_headers, 'response_body', attempt.response_body, 'body', body);
END
$$;

-- The callback that is due for an outcome of this transaction. For one that was recorded before, it
-- has been called.
CREATE FUNCTION webhook.callback_due(endpoint_id int, event_id uuid)
RETURNS TABLE (name text, configured_by text, attempt webhook.attempt)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
  SELECT webhook.callback_for(e, a.outcome), e.callback_configured_by, a
  FROM webhook.attempt a JOIN webhook.endpoint e ON e.id = a.endpoint_id
  WHERE a.event_id = callback_due.event_id AND a.endpoint_id = callback_due.endpoint_id
    AND webhook.is_current(a.xmin) AND webhook.callback_for(e, a.outcome) IS NOT NULL
$$;

-- Calls the endpoint's callback for an outcome that this transaction has recorded. Returns whether there was one to call;
-- raises what it raises.
CREATE FUNCTION webhook.worker_call_back(endpoint_id int, event_id uuid) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  due record;
BEGIN
  SELECT d.* INTO due FROM webhook.callback_due(endpoint_id, event_id) d;
  IF due.name IS NULL THEN
    RETURN false;
  END IF;
  PERFORM webhook.call_back(due.name, due.configured_by, webhook.describe_outcome(due.attempt), webhook.callback_ms() + 1000);
  PERFORM webhook.callback_worked(endpoint_id);
  RETURN true;
END
$$;
COMMENT ON FUNCTION webhook.worker_call_back(int, uuid) IS 'Worker: calls on_delivered or on_failed for an outcome just recorded';

-- The callback for an outcome that this transaction has recorded did nothing, and why. Returns whether that was news.
CREATE FUNCTION webhook.worker_callback_failed(endpoint_id int, event_id uuid, problem text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET enable_seqscan = off
AS $$
#variable_conflict use_variable
DECLARE
  due record;
  reason text := left(problem, 1000);
BEGIN
  SELECT d.* INTO due FROM webhook.callback_due(endpoint_id, event_id) d;
  IF due.name IS NULL THEN
    RETURN false;
  END IF;
  UPDATE webhook.attempt a SET callback_error = reason
  WHERE a.event_id = event_id AND a.endpoint_id = endpoint_id AND webhook.is_current(a.xmin);
  RETURN webhook.callback_failed(endpoint_id, event_id, due.name, reason);
END
$$;
COMMENT ON FUNCTION webhook.worker_callback_failed(int, uuid, text) IS 'Worker: on_delivered or on_failed failed for an outcome just recorded';
