-- One endpoint's own backlog: what its actor reads after a start, a takeover, a resume, or when more came than it
-- could hold.

-- Whether an endpoint's deliveries go in order. Of each lane only the first is then of interest: `worker_backlog` and
-- `worker_due` leave out the others, which may be many.
CREATE FUNCTION webhook.in_order(endpoint int) RETURNS boolean
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN coalesce((SELECT e.ordered AND e.status <> 'disabled' FROM webhook.endpoint e WHERE e.id = endpoint), false);
END
$$;

-- A page of `worker_backlog` of an endpoint whose deliveries go in order.
CREATE FUNCTION webhook.ordered_backlog(endpoint int, after_event uuid, within pg_snapshot, page_rows int)
RETURNS webhook.queue[]
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET enable_seqscan = off
AS $$
BEGIN
  RETURN ARRAY(
    SELECT q FROM webhook.queue q
    WHERE q.endpoint_id = endpoint AND q.event_id > after_event AND q.due IS NULL
      AND (within IS NULL OR pg_visible_in_snapshot(q.xid, within))
      AND (q.lane IS NULL OR NOT EXISTS (SELECT FROM webhook.queue p
        WHERE p.endpoint_id = endpoint AND p.lane = q.lane AND p.event_id < q.event_id))
    ORDER BY q.endpoint_id, q.event_id LIMIT page_rows
  );
END
$$;

-- A page of `worker_due` of an endpoint whose deliveries go in order.
CREATE FUNCTION webhook.ordered_due(endpoint int, present timestamptz, page_rows int) RETURNS webhook.queue[]
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET enable_seqscan = off
AS $$
BEGIN
  RETURN ARRAY(
    SELECT q FROM webhook.queue q
    WHERE q.endpoint_id = endpoint AND q.due <= present
      AND (q.lane IS NULL OR NOT EXISTS (SELECT FROM webhook.queue p
        WHERE p.endpoint_id = endpoint AND p.lane = q.lane AND p.event_id < q.event_id))
    ORDER BY q.endpoint_id, q.due LIMIT page_rows
  );
END
$$;

-- The rows of `worker_backlog`.
CREATE FUNCTION webhook.backlog_page(endpoint int, after_event uuid, within text, page_rows int) RETURNS webhook.queue[]
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_sort = off
AS $$
DECLARE
  first_page pg_snapshot := within;
  cursor_event uuid := coalesce(after_event, '00000000-0000-0000-0000-000000000000');
BEGIN
  IF webhook.in_order(endpoint) THEN
    RETURN webhook.ordered_backlog(endpoint, cursor_event, first_page, page_rows);
  END IF;
  RETURN ARRAY(
    SELECT q FROM webhook.queue q
    WHERE q.endpoint_id = endpoint AND q.event_id > cursor_event AND q.due IS NULL
      AND (first_page IS NULL OR pg_visible_in_snapshot(q.xid, first_page))
    ORDER BY q.endpoint_id, q.event_id LIMIT page_rows
  );
END
$$;

-- Rows due as soon as possible, in the order of their events, after `after_event` (NULL: from the start).
-- `within` is the snapshot of the pass's first page (NULL on the first): what came later is the tail's.
CREATE FUNCTION webhook.worker_backlog(
  endpoint int, after_event uuid, within text, page_rows int, page_bytes bigint
) RETURNS SETOF webhook.owed
LANGUAGE sql STABLE ROWS 1000
AS $$
  SELECT * FROM webhook.load_page(webhook.backlog_page(endpoint, after_event, within, page_rows), page_bytes, NULL)
$$;
COMMENT ON FUNCTION webhook.worker_backlog(int, uuid, text, int, bigint)
  IS 'Worker: what one endpoint is owed as soon as possible';

-- The rows of `worker_due`. What is due, and what is not yet, goes by the time the statement began.
CREATE FUNCTION webhook.due_page(endpoint int, page_rows int) RETURNS webhook.queue[]
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_sort = off
AS $$
BEGIN
  IF webhook.in_order(endpoint) THEN
    RETURN webhook.ordered_due(endpoint, statement_timestamp(), page_rows);
  END IF;
  RETURN ARRAY(
    SELECT q FROM webhook.queue q WHERE q.endpoint_id = endpoint AND q.due <= statement_timestamp()
    ORDER BY q.endpoint_id, q.due LIMIT page_rows
  );
END
$$;

-- When the first is due of an endpoint's deliveries whose time has not come.
CREATE FUNCTION webhook.next_due(endpoint int) RETURNS timestamptz
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_sort = off
AS $$
BEGIN
  RETURN (SELECT q.due FROM webhook.queue q WHERE q.endpoint_id = endpoint AND q.due > statement_timestamp()
    ORDER BY q.endpoint_id, q.due LIMIT 1);
END
$$;

-- Rows whose time has come, the longest due first. The first row has only the snapshot, the page's size and, as
-- due_in_s, when the first is due of those whose time has not come (NULL: there are none).
CREATE FUNCTION webhook.worker_due(endpoint int, page_rows int, page_bytes bigint) RETURNS SETOF webhook.owed
LANGUAGE sql STABLE ROWS 100
AS $$
  SELECT * FROM webhook.load_page(webhook.due_page(endpoint, page_rows), page_bytes, webhook.next_due(endpoint))
$$;
COMMENT ON FUNCTION webhook.worker_due(int, int, bigint) IS 'Worker: retries and delayed events whose time has come';

-- The rows of `worker_heads`.
CREATE FUNCTION webhook.heads_page(endpoint int, lanes bigint[]) RETURNS webhook.queue[]
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_sort = off
AS $$
BEGIN
  RETURN ARRAY(
    SELECT head.q FROM unnest(lanes) AS l (lane) CROSS JOIN LATERAL (
      SELECT q FROM webhook.queue q WHERE q.endpoint_id = endpoint AND q.lane = l.lane
      ORDER BY q.endpoint_id, q.lane, q.event_id LIMIT 1) head);
END
$$;

-- Of an ordered endpoint, the first delivery in each of these lanes, due or not.
CREATE FUNCTION webhook.worker_heads(endpoint int, lanes bigint[], page_bytes bigint) RETURNS SETOF webhook.owed
LANGUAGE sql STABLE ROWS 100
AS $$
  SELECT * FROM webhook.load_owed(webhook.heads_page(endpoint, lanes), page_bytes)
$$;
COMMENT ON FUNCTION webhook.worker_heads(int, bigint[], bigint) IS 'Worker: what is next in lanes of an ordered endpoint';

-- Endpoints in `owned` slots that are owed something: `ready` if as soon as possible, and in how many seconds (0 or
-- less: now) the first of the others is due. Endpoints that no longer exist are among them.
CREATE FUNCTION webhook.worker_pending(slots int, owned int[])
RETURNS TABLE (endpoint_id int, ready boolean, due_in_s float8)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 1000
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
BEGIN
  RETURN QUERY
  SELECT o.id,
    EXISTS (SELECT FROM webhook.queue q WHERE q.endpoint_id = o.id AND q.due IS NULL),
    extract(epoch FROM (SELECT q.due FROM webhook.queue q WHERE q.endpoint_id = o.id AND q.due IS NOT NULL
      ORDER BY q.due LIMIT 1) - clock_timestamp())::float8
  FROM webhook.owed_endpoints() o (id)
  WHERE o.id % slots = ANY (owned);
END
$$;
COMMENT ON FUNCTION webhook.worker_pending(int, int[]) IS 'Worker: which endpoints are owed something';
