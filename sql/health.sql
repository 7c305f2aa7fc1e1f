-- webhook.endpoint_health: how an endpoint does. Written on a change of state, else at most once a minute; updates
-- stay on the page (no indexed column changes, room is kept).
CREATE TABLE webhook.endpoint_health (
  endpoint_id int PRIMARY KEY,
  last_success_at timestamptz,
  consecutive_failures int NOT NULL DEFAULT 0,
  failing_since timestamptz,
  failed_attempts int NOT NULL DEFAULT 0,
  told text,
  callback_failing_since timestamptz,
  callback_failed_at timestamptz
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
COMMENT ON TABLE webhook.endpoint_health IS 'Last success and failures of each endpoint';
COMMENT ON COLUMN webhook.endpoint_health.consecutive_failures IS 'deliveries that failed for good since the last success';
COMMENT ON COLUMN webhook.endpoint_health.failing_since IS 'first failed attempt since the last success';
COMMENT ON COLUMN webhook.endpoint_health.failed_attempts IS 'attempts failed in a row, counted up to 3: then endpoint.failing is raised';
COMMENT ON COLUMN webhook.endpoint_health.told IS 'failing | disabled: the notice that was raised; the next success raises endpoint.recovered';
COMMENT ON COLUMN webhook.endpoint_health.callback_failing_since IS 'first failure of on_delivered or on_failed since they worked; callback.failed was raised';
COMMENT ON COLUMN webhook.endpoint_health.callback_failed_at IS 'last failure of on_delivered or on_failed since they worked';

-- Applies a batch's outcomes to an endpoint's health, and raises a notice for each change of state:
--   endpoint.failing    three attempts in a row failed, or a delivery failed for good; once until it recovers
--   delivery.exhausted  a delivery failed for good, the first one since the last success: of the others there may be
--                       thousands, webhook.dead_letter lists them
--   endpoint.recovered  the first success after endpoint.failing or endpoint.disabled
-- Returns why the endpoint is to be disabled: `disable`, or its own policy (disable_after_failures, disable_after).
--
--   failed, attempts   deliveries that failed for good, and attempts that failed
--   event_id, error    one of the deliveries that failed for good, and what an attempt met
CREATE FUNCTION webhook.update_health(
  endpoint_id int, delivered boolean, failed int, attempts int, event_id uuid, error text, disable text
) RETURNS text
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  health webhook.endpoint_health;
  policy record;
  in_a_row int;
  total int;
  is_told boolean;
  reason text := disable;
BEGIN
  SELECT h.* INTO health FROM webhook.endpoint_health h WHERE h.endpoint_id = endpoint_id;
  IF delivered THEN
    -- It was under way when the endpoint was disabled.
    IF health.told = 'disabled' AND EXISTS (
      SELECT FROM webhook.endpoint e WHERE e.id = endpoint_id AND e.status = 'disabled')
    THEN
      RETURN disable;
    END IF;
    UPDATE webhook.endpoint_health h
    SET last_success_at = clock_timestamp(), consecutive_failures = 0, failing_since = NULL, failed_attempts = 0, told = NULL
    WHERE h.endpoint_id = endpoint_id AND (h.failing_since IS NOT NULL OR h.told IS NOT NULL
      OR h.last_success_at IS NULL OR h.last_success_at < clock_timestamp() - interval '1 minute');
    IF health.told IS NOT NULL THEN
      PERFORM webhook.raise_notice('endpoint.recovered', endpoint_id, NULL, format('endpoint %s delivers again%s', endpoint_id,
        CASE WHEN health.consecutive_failures > 0
          THEN format('; %s deliveries failed for good meanwhile', health.consecutive_failures) ELSE '' END));
    END IF;
    RETURN disable;
  END IF;
  IF attempts = 0 THEN
    RETURN disable;
  END IF;

  in_a_row := least(health.failed_attempts + attempts, 3);
  total := health.consecutive_failures + failed;
  SELECT e.disable_after_failures, e.disable_after INTO policy FROM webhook.endpoint e WHERE e.id = endpoint_id;
  IF reason IS NULL AND total >= policy.disable_after_failures THEN
    reason := format('%s deliveries in a row failed', total);
  ELSIF reason IS NULL AND health.failing_since <= clock_timestamp() - policy.disable_after THEN
    reason := format('no success since %s', to_char(health.failing_since AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'));
  END IF;
  -- That it is disabled says it all.
  is_told := reason IS NOT NULL OR health.told IS NOT DISTINCT FROM 'failing' OR (in_a_row < 3 AND failed = 0);
  IF failed > 0 OR health.failing_since IS NULL OR in_a_row > health.failed_attempts OR NOT is_told THEN
    UPDATE webhook.endpoint_health h
    SET consecutive_failures = total, failing_since = coalesce(h.failing_since, clock_timestamp()),
      failed_attempts = in_a_row, told = CASE WHEN is_told THEN h.told ELSE 'failing' END
    WHERE h.endpoint_id = endpoint_id;
  END IF;
  IF NOT is_told THEN
    PERFORM webhook.raise_notice('endpoint.failing', endpoint_id, NULL, format('endpoint %s is failing: %s', endpoint_id, error));
  END IF;
  IF failed > 0 AND health.consecutive_failures = 0 THEN
    PERFORM webhook.raise_notice('delivery.exhausted', endpoint_id, event_id,
      format('event %s could not be delivered to endpoint %s: %s', event_id, endpoint_id, error));
  END IF;
  RETURN reason;
END
$$;

-- What update_health() does with a success at an endpoint that nothing was told of, for many at once, in the order of
-- their ids. Returns the others, which may have recovered.
-- The plan is kept: with what is ruled out there is but one, the index on the key.
CREATE FUNCTION webhook.note_successes(endpoint_ids int[]) RETURNS int[]
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
#variable_conflict use_variable
BEGIN
  UPDATE webhook.endpoint_health h
  SET last_success_at = clock_timestamp(), consecutive_failures = 0, failing_since = NULL, failed_attempts = 0
  WHERE h.endpoint_id = ANY (endpoint_ids) AND h.told IS NULL AND (h.failing_since IS NOT NULL
    OR h.last_success_at IS NULL OR h.last_success_at < clock_timestamp() - interval '1 minute');
  RETURN ARRAY(SELECT h.endpoint_id FROM webhook.endpoint_health h WHERE h.endpoint_id = ANY (endpoint_ids) AND h.told IS NOT NULL);
END
$$;

-- Enabled again, an endpoint gets a fresh start: its past would disable it at the first failure.
CREATE FUNCTION webhook.forgive_endpoint() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  UPDATE webhook.endpoint_health h
  SET consecutive_failures = 0, failing_since = NULL, failed_attempts = 0,
    told = CASE WHEN h.told IS NOT NULL THEN 'disabled' END
  WHERE h.endpoint_id = NEW.id;
  RETURN NULL;
END
$$;
CREATE TRIGGER forgive_endpoint AFTER UPDATE ON webhook.endpoint
  FOR EACH ROW WHEN (OLD.status = 'disabled' AND NEW.status <> 'disabled') EXECUTE FUNCTION webhook.forgive_endpoint();

-- Disables an endpoint because of what its deliveries met; false if it was disabled already.
CREATE FUNCTION webhook.disable_failing(endpoint_id int, reason text) RETURNS boolean
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
  UPDATE webhook.endpoint e SET status = 'disabled' WHERE e.id = endpoint_id AND e.status <> 'disabled';
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  UPDATE webhook.endpoint_health h SET told = 'disabled' WHERE h.endpoint_id = endpoint_id;
  PERFORM webhook.raise_notice('endpoint.disabled', endpoint_id, NULL, format('endpoint %s was disabled: %s', endpoint_id, reason));
  RETURN true;
END
$$;
