-- Pausing, resuming, disabling and enabling endpoints, and what becomes of the deliveries that wait.
--
--   paused                          deliveries wait
--   disabled, when_disabled = skip  deliveries end as skipped: those that wait at once, later ones by the worker
--   disabled, when_disabled = keep  deliveries wait for the endpoint to be enabled
--
-- What waits past the retention ends as expired. An attempt under way is recorded whatever the status has become.

CREATE FUNCTION webhook.check_waiting(waiting text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF waiting IS NULL OR waiting <> ALL ('{skip,keep}') THEN
    RAISE EXCEPTION USING ERRCODE = '22023',
      MESSAGE = format('waiting %s is not valid: it is skip or keep', coalesce('"' || left(waiting, 200) || '"', 'NULL')),
      HINT = 'skip ends the deliveries that wait as skipped; keep lets them wait until the endpoint is enabled.';
  END IF;
END
$$;

CREATE FUNCTION webhook.count_owed(endpoint_id int) RETURNS bigint
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT count(*) FROM webhook.queue q WHERE q.endpoint_id = $1
$$;

-- Whether what an endpoint is owed ends as skipped. VOLATILE: as it is now, not when the caller's statement began.
CREATE FUNCTION webhook.is_skipped(endpoint int) RETURNS boolean
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT NOT EXISTS (SELECT FROM webhook.endpoint e
    WHERE e.id = endpoint AND (e.status <> 'disabled' OR e.when_disabled <> 'skip'))
$$;

-- Deliveries wait from now on. A paused endpoint stays paused.
CREATE FUNCTION @extschema@.webhook_pause(endpoint_id int) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF webhook.lock_endpoint(endpoint_id) = 'disabled' THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('endpoint %s is disabled', endpoint_id),
      HINT = 'webhook_enable() enables it; webhook_disable(…, ''keep'') lets its deliveries wait.';
  END IF;
  UPDATE webhook.endpoint e SET status = 'paused' WHERE e.id = endpoint_id AND e.status <> 'paused';
END
$$;
COMMENT ON FUNCTION @extschema@.webhook_pause(int) IS 'Let an endpoint''s deliveries wait until webhook_resume()';

-- What waits is delivered. An active endpoint stays active.
CREATE FUNCTION @extschema@.webhook_resume(endpoint_id int) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF webhook.lock_endpoint(endpoint_id) = 'disabled' THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('endpoint %s is disabled, not paused', endpoint_id),
      HINT = 'webhook_enable() enables it.';
  END IF;
  UPDATE webhook.endpoint e SET status = 'active' WHERE e.id = endpoint_id AND e.status <> 'active';
END
$$;
COMMENT ON FUNCTION @extschema@.webhook_resume(int) IS 'Deliver again what a paused endpoint is owed';

-- Disables an endpoint. waiting is its when_disabled from now on; skip ends what waits in this transaction. Returns how
-- many deliveries ended (skip) or wait (keep).
CREATE FUNCTION @extschema@.webhook_disable(endpoint_id int, waiting text DEFAULT 'skip') RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM webhook.check_waiting(waiting), webhook.lock_endpoint(endpoint_id);
  UPDATE webhook.endpoint e SET status = 'disabled', when_disabled = waiting WHERE e.id = endpoint_id;
  IF waiting = 'keep' THEN
    RETURN webhook.count_owed(endpoint_id);
  END IF;
  RETURN webhook.end_all_owed(endpoint_id, 'skipped', 'endpoint disabled');
END
$$;
COMMENT ON FUNCTION @extschema@.webhook_disable(int, text)
  IS 'Disable an endpoint; deliveries that wait, and later ones, end as skipped (skip) or wait for webhook_enable() (keep). Returns how many waited';

-- Enables a disabled endpoint. What waits is delivered (keep), or ends as skipped in this transaction (skip). Returns how
-- many deliveries that were; 0 for an endpoint that is active already.
CREATE FUNCTION @extschema@.webhook_enable(endpoint_id int, waiting text DEFAULT 'keep') RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  status text;
BEGIN
  PERFORM webhook.check_waiting(waiting);
  status := webhook.lock_endpoint(endpoint_id);
  IF status = 'paused' THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('endpoint %s is paused, not disabled', endpoint_id),
      HINT = 'webhook_resume() resumes it.';
  ELSIF status = 'active' THEN
    RETURN 0;
  END IF;
  UPDATE webhook.endpoint e SET status = 'active' WHERE e.id = endpoint_id;
  IF waiting = 'keep' THEN
    RETURN webhook.count_owed(endpoint_id);
  END IF;
  RETURN webhook.end_all_owed(endpoint_id, 'skipped', 'skipped when the endpoint was enabled');
END
$$;
COMMENT ON FUNCTION @extschema@.webhook_enable(int, text)
  IS 'Enable a disabled endpoint; deliveries that wait are made (keep) or end as skipped (skip). Returns how many waited';
