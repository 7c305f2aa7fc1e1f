-- Deletes the queue's rows of deliveries that have ended, as they were read; returns how many. Not those whose outcome is `retry`,
-- nor what another transaction changed: that takes a statement of its own.
CREATE FUNCTION webhook.end_deliveries(
  endpoint_ids int[], event_ids uuid[], xids bigint[], attempts int[], outcomes text[]
) RETURNS int
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'end_deliveries_wrapper';

-- Writes rows of webhook.attempt, but for what `known` or `stays` has true. False: nothing was written, for the table has triggers.
CREATE FUNCTION webhook.log_attempts(
  recorded_at timestamptz, event_ids uuid[], ids uuid[], endpoint_ids int[], numbers int[], started_ats timestamptz[],
  durations_s float8[], status_codes int[], outcomes text[], errors text[], urls text[], remote_addresses text[],
  request_headers text[], response_headers text[], response_bodies text[], known boolean[], stays boolean[]
) RETURNS boolean
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'log_attempts_wrapper';

-- Outcomes of attempts, many endpoints' in one transaction. All arrays have one element per outcome.
--
--   endpoint_ids, event_ids, xids, attempts   the queue row as it was read: an outcome applies only to that row. If a
--                  resend renewed it meanwhile, the attempt is logged and the new row stays owed.
--   outcomes       delivered | retry | failed | skipped | expired | cancelled
--   retry_in_s     seconds until the next attempt, for retry
--   numbers        attempts + 1, or 0 where no request was made (then attempt_ids etc. are NULL, and an id is made)
--   disables       why the endpoint is to be disabled, or NULL
--
-- An outcome that has been recorded before, in a batch whose answer the worker never got, is passed over. A worker
-- skips by the status it knows: what it skips at an endpoint that was enabled meanwhile stays owed and is due at once.
--
-- Returns the endpoints that this disabled. Counters of an endpoint's health are written on a change of state, else
-- at most once a minute.
CREATE FUNCTION webhook.worker_record(
  endpoint_ids int[], event_ids uuid[], xids bigint[], attempts int[], outcomes text[], retry_in_s float8[],
  numbers int[], attempt_ids uuid[], started_ats timestamptz[], durations_s float8[], status_codes int[],
  errors text[], urls text[], remote_addresses text[], request_headers text[], response_headers text[],
  response_bodies text[], disables text[]
) RETURNS SETOF int
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
#variable_conflict use_variable
DECLARE
  state record;
  reason text;
  gone int;
  late int;
  renewed int := 0;
  ids uuid[] := attempt_ids;
  known boolean[];
  stays boolean[];
  recorded_at timestamptz;
  is_plain boolean;
  delivering int[];
  recovered int[];
BEGIN
  PERFORM webhook.plan_for_full_queue();
  IF 'skipped' = ANY (outcomes) THEN
    stays := ARRAY(
      SELECT o.outcome = 'skipped' AND NOT webhook.is_skipped(o.endpoint_id)
      FROM unnest(endpoint_ids, outcomes) WITH ORDINALITY AS o (endpoint_id, outcome, place) ORDER BY o.place
    );
    outcomes := ARRAY(
      SELECT CASE WHEN o.stays THEN 'retry' ELSE o.outcome END
      FROM unnest(outcomes, stays) WITH ORDINALITY AS o (outcome, stays, place) ORDER BY o.place
    );
  END IF;
  gone := webhook.end_deliveries(endpoint_ids, event_ids, xids, attempts, outcomes);
  IF gone < cardinality(array_remove(outcomes, 'retry')) THEN
    -- Renewed, or ended by others; or a transaction had it locked, and has ended. Or it was read, renewed, before an
    -- attempt was recorded that had been under way then: its own attempt comes after that.
    WITH ended AS (
      DELETE FROM webhook.queue q
      USING unnest(endpoint_ids, event_ids, xids, outcomes) AS o (endpoint_id, event_id, xid, outcome)
      WHERE q.endpoint_id = o.endpoint_id AND q.event_id = o.event_id AND q.xid = o.xid::text::xid8
        AND o.outcome <> 'retry'
      RETURNING q.endpoint_id, q.event_id, q.attempts
    )
    SELECT count(e.event_id),
      array_agg(CASE WHEN o.number > 0 THEN coalesce(e.attempts + 1, o.number) ELSE 0 END ORDER BY o.place)
    INTO late, numbers
    FROM unnest(endpoint_ids, event_ids, numbers) WITH ORDINALITY AS o (endpoint_id, event_id, number, place)
    LEFT JOIN ended e ON e.endpoint_id = o.endpoint_id AND e.event_id = o.event_id;
    gone := gone + late;
  END IF;
  IF gone < cardinality(event_ids) THEN
    UPDATE webhook.queue q
    SET attempts = q.attempts + CASE WHEN o.number > 0 THEN 1 ELSE 0 END,
      step = q.step + CASE WHEN o.number > 0 AND q.xid = o.xid::text::xid8 THEN 1 ELSE 0 END,
      due = CASE WHEN q.xid = o.xid::text::xid8
        THEN clock_timestamp() + make_interval(secs => coalesce(o.retry_in_s, 0)) ELSE q.due END
    FROM unnest(endpoint_ids, event_ids, xids, attempts, retry_in_s, numbers)
      AS o (endpoint_id, event_id, xid, attempts, retry_in_s, number)
    WHERE q.endpoint_id = o.endpoint_id AND q.event_id = o.event_id AND q.attempts = o.attempts;
    GET DIAGNOSTICS renewed = ROW_COUNT;
  END IF;

  -- Not before the rows were had: what ended a delivery meanwhile was recorded earlier, and this stands as the last.
  recorded_at := clock_timestamp();
  IF array_position(ids, NULL) IS NOT NULL THEN
    -- The id follows from the queue row, so that the same outcome has the same id.
    ids := ARRAY(
      SELECT coalesce(o.id, md5(concat_ws(' ', o.endpoint_id, o.event_id, o.xid))::uuid)
      FROM unnest(attempt_ids, endpoint_ids, event_ids, xids) WITH ORDINALITY AS o (id, endpoint_id, event_id, xid, place)
      ORDER BY o.place
    );
  END IF;
  IF gone + renewed < cardinality(event_ids) THEN
    known := ARRAY(
      SELECT EXISTS (SELECT FROM webhook.attempt a WHERE a.event_id = o.event_id AND a.id = o.id)
      FROM unnest(event_ids, ids) WITH ORDINALITY AS o (event_id, id, place)
      ORDER BY o.place
    );
  END IF;

  IF NOT webhook.log_attempts(recorded_at, event_ids, ids, endpoint_ids, numbers, started_ats, durations_s, status_codes,
    outcomes, errors, urls, remote_addresses, request_headers, response_headers, response_bodies, known, stays)
  THEN
    INSERT INTO webhook.attempt (event_id, id, endpoint_id, number, started_at, recorded_at, duration, status_code, final, outcome,
      error, url, remote_address, request_headers, response_headers, response_body)
    SELECT o.event_id, o.id, o.endpoint_id, o.number, o.started_at, recorded_at,
      make_interval(secs => o.duration_s), o.status_code, o.outcome <> 'retry', o.outcome, o.error, o.url,
      o.remote_address, o.request_headers::json, o.response_headers::json, o.response_body
    FROM unnest(endpoint_ids, event_ids, outcomes, numbers, ids, started_ats, durations_s, status_codes, errors,
        urls, remote_addresses, request_headers, response_headers, response_bodies, known, stays)
      AS o (endpoint_id, event_id, outcome, number, id, started_at, duration_s, status_code, error, url,
        remote_address, request_headers, response_headers, response_body, known, stays)
    WHERE o.known IS NOT TRUE AND o.stays IS NOT TRUE;
  END IF;

  is_plain := 'delivered' = ALL (outcomes) AND known IS NULL AND array_remove(disables, NULL) = '{}';
  delivering := CASE WHEN is_plain THEN endpoint_ids ELSE ARRAY(
    SELECT DISTINCT o.endpoint_id FROM unnest(endpoint_ids, outcomes, known) AS o (endpoint_id, outcome, known)
    WHERE o.outcome = 'delivered' AND o.known IS NOT TRUE
  ) END;
  recovered := webhook.note_successes(delivering);
  IF is_plain AND recovered = '{}' THEN
    RETURN;
  END IF;

  FOR state IN
    SELECT o.endpoint_id,
      bool_or(o.outcome = 'delivered') AS delivered,
      count(*) FILTER (WHERE o.outcome = 'failed') AS failed,
      count(*) FILTER (WHERE o.outcome = ANY ('{retry,failed}')) AS attempts,
      (array_agg(o.event_id) FILTER (WHERE o.outcome = 'failed'))[1] AS event_id,
      max(coalesce('status ' || o.status_code || coalesce(', ' || o.error, ''), o.error))
        FILTER (WHERE o.outcome = ANY ('{retry,failed}')) AS error,
      max(o.disable) AS disable
    FROM unnest(endpoint_ids, event_ids, outcomes, status_codes, errors, disables, known, stays)
      AS o (endpoint_id, event_id, outcome, status_code, error, disable, known, stays)
    WHERE o.known IS NOT TRUE AND o.stays IS NOT TRUE
    GROUP BY o.endpoint_id
    HAVING NOT bool_or(o.outcome = 'delivered') OR max(o.disable) IS NOT NULL OR o.endpoint_id = ANY (recovered)
    ORDER BY o.endpoint_id
  LOOP
    reason := webhook.update_health(state.endpoint_id, state.delivered, state.failed::int, state.attempts::int,
      state.event_id, state.error, state.disable);
    IF reason IS NOT NULL AND webhook.disable_failing(state.endpoint_id, reason) THEN
      RETURN NEXT state.endpoint_id;
    END IF;
  END LOOP;
END
$$;
COMMENT ON FUNCTION webhook.worker_record(int[], uuid[], bigint[], int[], text[], float8[], int[], uuid[], timestamptz[],
  float8[], int[], text[], text[], text[], text[], text[], text[], text[])
  IS 'Worker: outcomes of attempts, in one transaction';

-- Which outcomes another transaction holds up, by their places from 0: those whose queue row is locked, or the health or
-- configuration of whose endpoint is.
CREATE FUNCTION webhook.worker_held(endpoint_ids int[], event_ids uuid[]) RETURNS SETOF int
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET enable_seqscan = off
AS $$
#variable_conflict use_variable
DECLARE
  held_endpoints int[];
BEGIN
  PERFORM webhook.plan_for_full_queue();
  held_endpoints := ARRAY(
    SELECT e.id FROM webhook.endpoint e WHERE e.id = ANY (endpoint_ids)
    EXCEPT ALL
    SELECT f.id FROM (
      SELECT e.id FROM webhook.endpoint e JOIN webhook.endpoint_health h ON h.endpoint_id = e.id
      WHERE e.id = ANY (endpoint_ids) FOR NO KEY UPDATE SKIP LOCKED
    ) f);
  RETURN QUERY
  WITH outcome AS MATERIALIZED (
    SELECT o.endpoint_id, o.event_id, (o.place - 1)::int AS place
    FROM unnest(endpoint_ids, event_ids) WITH ORDINALITY AS o (endpoint_id, event_id, place)
  ), owed AS MATERIALIZED (
    SELECT o.place FROM outcome o JOIN webhook.queue q ON q.endpoint_id = o.endpoint_id AND q.event_id = o.event_id
  ), free AS MATERIALIZED (
    SELECT o.place FROM outcome o JOIN webhook.queue q ON q.endpoint_id = o.endpoint_id AND q.event_id = o.event_id
    FOR UPDATE OF q SKIP LOCKED
  )
  SELECT o.place FROM outcome o WHERE o.endpoint_id = ANY (held_endpoints)
  UNION
  (SELECT w.place FROM owed w EXCEPT SELECT f.place FROM free f);
END
$$;
COMMENT ON FUNCTION webhook.worker_held(int[], uuid[]) IS 'Worker: which outcomes another transaction holds up';
