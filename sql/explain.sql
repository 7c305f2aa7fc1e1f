-- Who got an event and who did not, and why: per endpoint whether it was or is owed the event, the rule that says so, and
-- what became of the delivery.
CREATE FUNCTION @extschema@.webhook_explain(event_id uuid)
RETURNS TABLE (endpoint_id int, matched boolean, reason text, status text, attempts int, next_attempt timestamptz)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  made_at timestamptz := (SELECT e.created_at FROM webhook.event e WHERE e.id = webhook_explain.event_id);
BEGIN
  IF made_at IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('there is no event %s', coalesce(webhook_explain.event_id::text, 'NULL')),
      HINT = 'Events are kept for the setting retention; SELECT id, type FROM webhook.event lists them.';
  END IF;
  RETURN QUERY
  SELECT coalesce(x.endpoint_id, d.endpoint_id), d.event_id IS NOT NULL,
    CASE
      WHEN x.endpoint_id IS NULL THEN 'the endpoint was deleted'
      WHEN d.event_id IS NULL AND NOT x.wants THEN x.reason
      WHEN d.event_id IS NULL AND e.created_at > made_at THEN 'the endpoint was made after the event'
      WHEN d.event_id IS NULL THEN x.reason || ', but did not when the event was made'
      WHEN d.ended_at IS NULL AND e.status <> 'active' THEN 'the endpoint is ' || e.status
      WHEN d.status <> 'delivered' AND coalesce(d.last_error, d.last_status_code::text) IS NOT NULL
        THEN coalesce(d.last_error, 'status ' || d.last_status_code)
      WHEN NOT x.wants THEN x.reason || ', but did not when it was owed the event'
      ELSE x.reason
    END,
    d.status, d.attempts, d.next_attempt_at
  FROM webhook.explain(webhook_explain.event_id) x
  JOIN webhook.endpoint e ON e.id = x.endpoint_id
  FULL JOIN (SELECT * FROM webhook.delivery WHERE event_id = webhook_explain.event_id) d ON d.endpoint_id = x.endpoint_id
  ORDER BY 1;
END
$$;
COMMENT ON FUNCTION @extschema@.webhook_explain(uuid) IS 'Per endpoint: whether it was owed the event, which rule says so, and what became of the delivery';
