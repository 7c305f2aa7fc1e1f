-- Reading the log page by page, newest first. Each page is read by index from where the one before it ended, however
-- long the log is.

-- Refuses what is no page of a log.
CREATE FUNCTION webhook.check_page(
  types text[], statuses text[], since timestamptz, until timestamptz, before_event uuid, before_number int, page_size int
) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF page_size IS NULL OR page_size NOT BETWEEN 1 AND 1000 THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('page_size %s is not valid: it is 1 to 1000', coalesce(page_size::text, 'NULL')),
      HINT = 'Read on with before_event and before_number of the last row.';
  ELSIF before_event IS NULL AND before_number IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('before_number %s without before_event', before_number),
      HINT = 'Give event_id and number of the last row of the page before.';
  ELSIF since >= until THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('since %s is not before until %s', since, until),
      HINT = 'The log is read of events since then, and before until; NULL is no bound.';
  END IF;
  PERFORM webhook.check_types(types),
    webhook.check_statuses(statuses, '{delivered,retry,failed,skipped,expired,cancelled,pending,retrying}');
END
$$;

-- A page of webhook.delivery_log, ordered by (event_id, number), descending.
--   endpoint_id    of this endpoint; NULL: of all
--   types          patterns of event types; NULL: all
--   statuses       what came of the attempt (delivered, retry, failed, skipped, expired, cancelled), or that the delivery
--                  is owed still (pending, retrying); NULL: all
--   tenant         of this tenant's events; NULL: all
--   since, until   of events since then, and before
--   before_event, before_number   event_id and number of the last row of the page before; without a number: before
--                  everything of that event
--   page_size      1 to 1000. Rows of one event and number stay together, so a page may have a few more.
CREATE FUNCTION @extschema@.webhook_log(
  endpoint_id int DEFAULT NULL, types text[] DEFAULT NULL, statuses text[] DEFAULT NULL, tenant text DEFAULT NULL,
  since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL,
  before_event uuid DEFAULT NULL, before_number int DEFAULT NULL, page_size int DEFAULT 50
) RETURNS SETOF webhook.delivery_log
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET jit = off
AS $$
#variable_conflict use_variable
DECLARE
  from_id uuid := webhook.first_id_at(since);
  to_id uuid := webhook.first_id_at(until);
  is_owed boolean := statuses && '{pending,retrying}';
BEGIN
  PERFORM webhook.check_page(types, statuses, since, until, before_event, before_number, page_size);
  RETURN QUERY
  SELECT l.* FROM webhook.delivery_log l
  WHERE (endpoint_id IS NULL OR l.endpoint_id = endpoint_id)
    -- Leaves are left out by these, and by the first of the next.
    AND (from_id IS NULL OR l.event_id >= from_id) AND (to_id IS NULL OR l.event_id < to_id)
    AND (before_event IS NULL OR (l.event_id <= before_event AND (l.event_id, l.number) < (before_event, coalesce(before_number, 0))))
    AND (tenant IS NULL OR l.tenant = tenant)
    AND (types IS NULL OR webhook.matches_type(l.type, types))
    AND (statuses IS NULL OR l.outcome = ANY (statuses)
      OR (is_owed AND EXISTS (SELECT FROM webhook.queue q WHERE q.endpoint_id = l.endpoint_id AND q.event_id = l.event_id
        AND CASE WHEN q.step = 0 THEN 'pending' ELSE 'retrying' END = ANY (statuses))))
  ORDER BY l.event_id DESC, l.number DESC FETCH FIRST page_size ROWS WITH TIES;
END
$$;
COMMENT ON FUNCTION @extschema@.webhook_log(int, text[], text[], text, timestamptz, timestamptz, uuid, int, int)
  IS 'A page of webhook.delivery_log, newest first: by endpoint, type patterns, statuses (outcomes of attempts; pending or retrying for what is still owed), tenant, and time of the event (since, and before until). The next page begins before event_id and number of the last row';
