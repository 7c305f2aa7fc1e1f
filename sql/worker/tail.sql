-- Reads of the queue by the worker. All of them are exact about snapshots: a read returns the snapshot it was made
-- with (its first row, which has nothing else), so that the next one can ask for just what it could not see.
--
-- They are STABLE, so that the snapshot of the calling statement, the one pg_current_snapshot() returns, is also the
-- one that reads the rows.
--
-- Plans are made once a session, for these are called often: made while the queue was empty, one must be right when a
-- million rows have come. So the planner is left no choice: what is read has an order that only one index gives, and neither
-- sorting nor reading without an index is allowed. Where that does not hold (ordered endpoints), a plan is made each time.

-- A delivery as the worker takes it from the queue.
--   xid         top-level transaction that made or renewed the row; outcomes apply only to the row they saw
--   attempts    attempts made before; the next has number attempts + 1
--   due_in_s    seconds until it is due by the database's clock; NULL: as soon as possible
--   age_s       seconds since the run of the schedule began (event created, or resent)
--   signed_age_s  seconds since the stored signature was made; NULL without one
--   size        bytes of the body; NULL when the event is gone (retention)
--   revision    of the endpoint's row, as the same snapshot sees it; NULL when the endpoint is gone
--   lane        at an ordered endpoint: what deliveries have in common that go one after the other
--   body        NULL when the page's byte budget was used up before this row, or when the event is gone
CREATE TYPE webhook.owed AS (
  snapshot text, endpoint_id int, event_id uuid, xid bigint, attempts int, step int, due_in_s float8, age_s float8,
  type text, tenant text, key text, created_at timestamptz,
  generation int, signature text, signed_at timestamptz, signed_age_s float8, size int, body text, lane bigint,
  revision bigint
);

-- Loads queue rows for sending, in the order given; bodies until `page_bytes` are used up, the first always.
CREATE FUNCTION webhook.load_owed(rows webhook.queue[], page_bytes bigint) RETURNS SETOF webhook.owed
LANGUAGE c STABLE STRICT ROWS 1000 AS 'MODULE_PATHNAME', 'load_owed_wrapper';

-- The same after a row of the snapshot, the number of rows as size, and as due_in_s when the next is due.
CREATE FUNCTION webhook.load_page(rows webhook.queue[], page_bytes bigint, next_due timestamptz) RETURNS SETOF webhook.owed
LANGUAGE c STABLE ROWS 1000 AS 'MODULE_PATHNAME', 'load_page_wrapper';

-- A read is a page of the queue's rows, which one function picks and another loads. What puts the two together is inlined into
-- the worker's statement, so that what was loaded is sent as it lies: PL/pgSQL would copy it first.

-- The rows of `worker_tail`.
CREATE FUNCTION webhook.tail_page(
  slots int, owned int[], muted int[], since text, within text, after_xid bigint, after_event uuid, page_rows int
) RETURNS webhook.queue[]
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_sort = off
AS $$
DECLARE
  past pg_snapshot := since;
  present pg_snapshot := coalesce(within::pg_snapshot, pg_current_snapshot());
  first_event uuid := '00000000-0000-0000-0000-000000000000';
  cursor_xid xid8 := coalesce(after_xid, 0)::text;
  cursor_event uuid := coalesce(after_event, first_event);
  is_beyond bool := cursor_xid >= pg_snapshot_xmax(past);
  from_xid xid8 := CASE WHEN is_beyond THEN cursor_xid ELSE pg_snapshot_xmax(past) END;
  from_event uuid := CASE WHEN is_beyond THEN cursor_event ELSE first_event END;
BEGIN
  -- Two index scans: with OR the whole tail index would be read. A scan begins where one of its conditions says, not all
  -- of them together: so there is one that says where, and a backlog of millions, or what a page before has read, is not
  -- looked through. Nor is what the present snapshot can't see yet, time and again while its transaction is open.
  RETURN ARRAY(
    SELECT owed FROM (
      (SELECT q AS owed, q.xid, q.event_id FROM webhook.queue q
        WHERE (q.xid, q.event_id) > (from_xid, from_event) AND q.xid < pg_snapshot_xmax(present)
          AND pg_visible_in_snapshot(q.xid, present)
          AND q.endpoint_id <> ALL (muted) AND (owned IS NULL OR q.endpoint_id % slots = ANY (owned))
        ORDER BY q.xid, q.event_id FETCH FIRST page_rows ROWS WITH TIES)
      UNION ALL
      (SELECT open.* FROM pg_snapshot_xip(past) AS xip CROSS JOIN LATERAL (
          SELECT q AS owed, q.xid, q.event_id FROM webhook.queue q
          WHERE q.xid = xip AND q.event_id > CASE xip WHEN cursor_xid THEN cursor_event ELSE first_event END
            AND q.endpoint_id <> ALL (muted) AND (owned IS NULL OR q.endpoint_id % slots = ANY (owned))
          ORDER BY q.xid, q.event_id FETCH FIRST page_rows ROWS WITH TIES) open
        WHERE xip >= cursor_xid AND pg_visible_in_snapshot(xip, present))
    ) fresh
    ORDER BY xid, event_id FETCH FIRST page_rows ROWS WITH TIES
  );
END
$$;

-- New rows: those that the snapshot `since` could not see, for endpoints in `owned` slots (NULL: all) that are not in
-- `muted` (whose actors read their own backlog). Pages go by (xid, event_id), whole events at a time: give the last
-- row of the page before as `after_xid`, `after_event`, and the snapshot of the first page as `within`. `since`
-- advances to that snapshot when a page has come back with fewer than `page_rows` rows.
CREATE FUNCTION webhook.worker_tail(
  slots int, owned int[], muted int[], since text, within text, after_xid bigint, after_event uuid,
  page_rows int, page_bytes bigint
) RETURNS SETOF webhook.owed
LANGUAGE sql STABLE ROWS 1000
AS $$
  SELECT * FROM webhook.load_page(
    webhook.tail_page(slots, owned, muted, since, within, after_xid, after_event, page_rows), page_bytes, NULL)
$$;
COMMENT ON FUNCTION webhook.worker_tail(int, int[], int[], text, text, bigint, uuid, int, bigint)
  IS 'Worker: queue rows a snapshot could not see, with bodies';
