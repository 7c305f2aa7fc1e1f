-- How endpoints do.

-- An endpoint's attempts for events of the last so much time: how many, how many delivered, and the median and 95th
-- percentile of their durations.
CREATE FUNCTION @extschema@.webhook_endpoint_stats(endpoint_id int, span interval DEFAULT '24 hours')
RETURNS TABLE (attempts bigint, succeeded bigint, success_rate numeric, p50 interval, p95 interval)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
AS $$
#variable_conflict use_variable
DECLARE
  from_id uuid := webhook.first_id_at(now() - span);
BEGIN
  IF span IS NULL OR span <= interval '0' THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('span %s is not valid: it is positive', coalesce(span::text, 'NULL')),
      HINT = 'Give an interval such as 1 hour or 7 days.';
  END IF;
  RETURN QUERY
  SELECT s.attempts, s.succeeded, round(s.succeeded / nullif(s.attempts, 0)::numeric, 4), make_interval(secs => s.p50), make_interval(secs => s.p95)
  FROM (
    SELECT count(*) AS attempts, count(*) FILTER (WHERE a.outcome = 'delivered') AS succeeded,
      percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM a.duration)::float8) AS p50,
      percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM a.duration)::float8) AS p95
    FROM webhook.attempt a
    WHERE a.endpoint_id = endpoint_id AND a.number > 0 AND a.event_id >= from_id) s;
END
$$;
COMMENT ON FUNCTION @extschema@.webhook_endpoint_stats(int, interval)
  IS 'An endpoint''s attempts for events of the last so much time: count, delivered, success rate, median and 95th percentile of durations';

-- webhook.backlog: what each endpoint is owed.
CREATE VIEW webhook.backlog AS
  SELECT q.endpoint_id, count(*) AS owed, count(*) FILTER (WHERE q.due IS NULL) AS ready,
    count(*) FILTER (WHERE q.step > 0) AS retrying, webhook.time_of_id(min(q.event_id::text)::uuid) AS oldest_at,
    min(q.due) AS next_due_at
  FROM webhook.queue q GROUP BY q.endpoint_id;
COMMENT ON VIEW webhook.backlog IS 'What each endpoint is owed, and since when';

-- webhook.endpoint_stats: how each endpoint does: health, the last attempt, the last 24 hours of the log, the queue.
CREATE VIEW webhook.endpoint_stats AS
  SELECT e.id AS endpoint_id, e.name, e.url, e.status, h.last_success_at, h.consecutive_failures, h.failing_since,
    l.started_at AS last_attempt_at, l.status_code AS last_status_code, l.error AS last_error,
    s.attempts, s.succeeded, s.success_rate, s.p50, s.p95, coalesce(b.owed, 0) AS owed, b.oldest_at
  FROM webhook.endpoint e
  LEFT JOIN webhook.endpoint_health h ON h.endpoint_id = e.id
  LEFT JOIN webhook.backlog b ON b.endpoint_id = e.id
  LEFT JOIN LATERAL (
    SELECT a.started_at, a.status_code, a.error FROM webhook.attempt a WHERE a.endpoint_id = e.id AND a.number > 0
    ORDER BY a.event_id DESC, a.number DESC LIMIT 1) l ON true
  CROSS JOIN LATERAL @extschema@.webhook_endpoint_stats(e.id) s;
COMMENT ON VIEW webhook.endpoint_stats
  IS 'Per endpoint: health, last attempt, backlog, and the last 24 hours; webhook_endpoint_stats() for other spans';
