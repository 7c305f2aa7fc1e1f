-- Ending what is owed without a request.

-- Ends deliveries: takes them from the queue and writes what became of them. Whoever calls has locked the rows.
--
-- A worker may have some in hand. It is told to read again what it is owed (NOTIFY webhook_config with the endpoint's
-- id); an attempt under way is recorded all the same, and its outcome then stands as the last. The id of the row in the
-- log follows from the queue row, as in worker_record(): if the worker ends the delivery as well, it is written once.
CREATE FUNCTION webhook.end_owed(
  rows webhook.queue[], outcome text, reason text, at timestamptz DEFAULT clock_timestamp()
) RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET jit = off
AS $$
#variable_conflict use_variable
DECLARE
  ended bigint;
BEGIN
  PERFORM webhook.plan_for_full_queue();
  WITH gone AS (
    DELETE FROM webhook.queue q USING unnest(rows) r
    WHERE q.endpoint_id = r.endpoint_id AND q.event_id = r.event_id RETURNING q.endpoint_id, q.event_id, q.xid
  )
  INSERT INTO webhook.attempt (event_id, id, endpoint_id, number, recorded_at, final, outcome, error)
  SELECT g.event_id, md5(concat_ws(' ', g.endpoint_id, g.event_id, g.xid))::uuid, g.endpoint_id, 0, at,
    true, end_owed.outcome, reason
  FROM gone g;
  GET DIAGNOSTICS ended = ROW_COUNT;
  PERFORM pg_notify('webhook_config', r.endpoint_id::text)
  FROM unnest(rows) r GROUP BY r.endpoint_id;
  RETURN ended;
END
$$;

-- Ends everything an endpoint is owed, a bounded number at a time. What a worker is recording at this moment is left to it.
CREATE FUNCTION webhook.end_all_owed(endpoint_id int, outcome text, reason text) RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET jit = off
AS $$
#variable_conflict use_variable
DECLARE
  page webhook.queue[];
  last_event uuid := '00000000-0000-0000-0000-000000000000';
  ended bigint := 0;
BEGIN
  LOOP
    page := ARRAY(
      SELECT q FROM webhook.queue q WHERE q.endpoint_id = end_all_owed.endpoint_id AND q.event_id > last_event
      ORDER BY q.endpoint_id, q.event_id LIMIT 10000 FOR UPDATE SKIP LOCKED);
    EXIT WHEN page = '{}';
    ended := ended + webhook.end_owed(page, outcome, reason);
    last_event := page[cardinality(page)].event_id;
  END LOOP;
  RETURN ended;
END
$$;

-- Cancels what is owed of an event: to one endpoint, or (NULL) to all. Returns how many deliveries that ended.
CREATE FUNCTION @extschema@.webhook_cancel(event_id uuid, endpoint_id int DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET jit = off
AS $$
#variable_conflict use_variable
BEGIN
  IF event_id IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'event_id is NULL',
      HINT = 'Give the id of the event whose deliveries are to be cancelled.';
  END IF;
  RETURN webhook.end_owed(ARRAY(
    SELECT q FROM webhook.queue q
    WHERE q.event_id = webhook_cancel.event_id
      AND q.endpoint_id = ANY (CASE WHEN endpoint_id IS NULL THEN ARRAY(SELECT webhook.owed_endpoints()) ELSE ARRAY[endpoint_id] END)
    ORDER BY q.endpoint_id FOR UPDATE), 'cancelled', 'cancelled');
END
$$;
COMMENT ON FUNCTION @extschema@.webhook_cancel(uuid, int)
  IS 'Cancel what is owed of an event, to one endpoint or all; returns how many deliveries. An attempt under way is still recorded';
