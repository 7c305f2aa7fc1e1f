-- Owing again what was owed before: one delivery, or many. Attempt numbers go on, the schedule starts anew. What
-- webhook_forget() has erased can't be sent again: events are locked against it, in the order of their ids, and looked at
-- once they are. It reads the queue after it has erased them.

-- Owes an event to an endpoint again. True if the event and the endpoint exist
-- and its transform gives it the event; what was sent is sent again byte for byte. What is owed already is hurried along.
-- Raises 55000 if it would end as skipped: the endpoint is disabled and does not keep what waits.
CREATE FUNCTION @extschema@.webhook_resend(event_id uuid, endpoint_id int) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  variant int;
BEGIN
  PERFORM webhook.plan_for_full_queue();
  PERFORM FROM webhook.event e WHERE e.id = event_id AND e.body <> '' FOR SHARE;
  IF NOT FOUND OR NOT EXISTS (SELECT FROM webhook.endpoint e WHERE e.id = endpoint_id) THEN
    RETURN false;
  ELSIF webhook.is_skipped(endpoint_id) THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('endpoint %s is disabled', endpoint_id),
      HINT = 'webhook_enable() enables it; webhook_disable(…, ''keep'') lets its deliveries wait.';
  END IF;
  variant := webhook.variant_for(event_id, endpoint_id);
  IF variant = 0 THEN
    RETURN false;
  END IF;
  INSERT INTO webhook.queue AS q (endpoint_id, event_id, attempts, restarted_at, variant)
    SELECT endpoint_id, event_id, coalesce(max(a.number), 0), clock_timestamp(), variant
    FROM webhook.attempt a WHERE a.event_id = webhook_resend.event_id AND a.endpoint_id = webhook_resend.endpoint_id
  ON CONFLICT ON CONSTRAINT queue_pkey DO UPDATE
    SET xid = excluded.xid, due = NULL, step = 0, restarted_at = excluded.restarted_at, signature = NULL, signed_at = NULL;
  -- The INSERT may have waited until a worker had recorded the attempt that ended it. Nobody records another one now.
  UPDATE webhook.queue q SET attempts = made.attempts
  FROM (SELECT max(a.number) AS attempts FROM webhook.attempt a
    WHERE a.event_id = webhook_resend.event_id AND a.endpoint_id = webhook_resend.endpoint_id) made
  WHERE q.endpoint_id = webhook_resend.endpoint_id AND q.event_id = webhook_resend.event_id AND q.attempts < made.attempts;
  NOTIFY webhook_wake;
  RETURN true;
END
$$;
COMMENT ON FUNCTION @extschema@.webhook_resend(uuid, int) IS 'Owe an event to an endpoint again';

-- Deliveries of an endpoint that have ended, of events with ids in [from_id, to_id). By index, and one at a time.
CREATE FUNCTION webhook.replayable(endpoint_id int, from_id uuid, to_id uuid, types text[], statuses text[])
RETURNS TABLE (event_id uuid, attempts int, bytes bigint)
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
BEGIN
  RETURN QUERY
  SELECT d.event_id, d.attempts, octet_length(e.body)::bigint
  FROM webhook.delivery d JOIN webhook.event e ON e.id = d.event_id
  WHERE d.endpoint_id = endpoint_id AND d.event_id >= from_id AND d.event_id < to_id
    AND d.status = ANY (statuses) AND e.body <> '' AND (types IS NULL OR webhook.matches_type(e.type, types));
END
$$;

-- Refuses a list of event type patterns, or of words, that is not valid.
CREATE FUNCTION webhook.check_types(types text[]) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  problem text;
BEGIN
  SELECT coalesce(webhook.pattern_problem(p.pattern), 'a pattern is NULL') INTO problem
  FROM unnest(types) p (pattern) WHERE p.pattern IS NULL OR webhook.pattern_problem(p.pattern) IS NOT NULL LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('types are not valid: %s', problem),
      HINT = 'Give patterns such as {order.*,invoice.paid}, or NULL for every type.';
  END IF;
END
$$;
CREATE FUNCTION webhook.check_statuses(statuses text[], known text[]) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NOT statuses <@ known OR array_position(statuses, NULL) IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('statuses %s are not valid', left(statuses::text, 200)),
      HINT = format('They are some of: %s.', array_to_string(known, ', '));
  END IF;
END
$$;

-- Owes again what has ended, of events since a time and before another (NULL: until now).
--   types     patterns of event types; NULL: all
--   statuses  what became of it: delivered, failed, skipped, expired, cancelled
--   dry_run   only counts
-- Returns how many deliveries are owed again, and the bytes of their bodies. What is owed already is left as it is.
CREATE FUNCTION @extschema@.webhook_replay(
  endpoint_id int, since timestamptz, until timestamptz DEFAULT NULL, types text[] DEFAULT NULL,
  statuses text[] DEFAULT '{failed,skipped}', dry_run boolean DEFAULT false
) RETURNS TABLE (deliveries bigint, bytes bigint)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET jit = off
AS $$
#variable_conflict use_variable
DECLARE
  status text := webhook.lock_endpoint(endpoint_id);
  from_id uuid := webhook.first_id_at(since);
  to_id uuid := coalesce(webhook.first_id_at(until), 'ffffffff-ffff-ffff-ffff-ffffffffffff');
BEGIN
  IF since IS NULL OR since >= until THEN
    RAISE EXCEPTION USING ERRCODE = '22023',
      MESSAGE = CASE WHEN since IS NULL THEN 'since is NULL' ELSE format('since %s is not before until %s', since, until) END,
      HINT = 'Events since then, and before until, are replayed; ''-infinity'' means all there are.';
  END IF;
  PERFORM webhook.check_types(types),
    webhook.check_statuses(coalesce(statuses, '{NULL}'), '{delivered,failed,skipped,expired,cancelled}');
  IF dry_run THEN
    RETURN QUERY SELECT count(*), coalesce(sum(r.bytes), 0)::bigint
      FROM webhook.replayable(endpoint_id, from_id, to_id, types, statuses) r;
    RETURN;
  END IF;
  IF status = 'disabled' THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('endpoint %s is disabled', endpoint_id),
      HINT = 'webhook_enable() enables it; dry_run => true only counts.';
  END IF;
  RETURN QUERY
  WITH locked AS MATERIALIZED (
    SELECT r.event_id, r.attempts FROM webhook.replayable(endpoint_id, from_id, to_id, types, statuses) r
    JOIN webhook.event e ON e.id = r.event_id
    WHERE e.body <> '' ORDER BY r.event_id FOR SHARE OF e
  ), owed AS (
    INSERT INTO webhook.queue AS q (endpoint_id, event_id, attempts, restarted_at, variant)
    SELECT endpoint_id, l.event_id, l.attempts, clock_timestamp(), v.variant
    FROM locked l CROSS JOIN LATERAL webhook.variant_for(l.event_id, endpoint_id) v (variant)
    WHERE v.variant IS DISTINCT FROM 0
    ON CONFLICT ON CONSTRAINT queue_pkey DO NOTHING RETURNING q.event_id
  )
  SELECT count(*), coalesce(sum(octet_length(e.body)), 0)::bigint
  FROM owed o JOIN webhook.event e ON e.id = o.event_id;
  NOTIFY webhook_wake;
END
$$;
COMMENT ON FUNCTION @extschema@.webhook_replay(int, timestamptz, timestamptz, text[], text[], boolean)
  IS 'Owe an endpoint again what has ended: events since a time and before another, by type patterns and statuses (delivered, failed, skipped, expired, cancelled); returns how many deliveries and bytes';
