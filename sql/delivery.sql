-- webhook.delivery: one row per delivery, owed or ended.
--   status   pending | retrying | delivered | failed | skipped | expired | cancelled
CREATE VIEW webhook.delivery AS
  SELECT q.event_id, q.endpoint_id, e.type, e.tenant, e.key,
    CASE WHEN q.step = 0 THEN 'pending' ELSE 'retrying' END AS status,
    q.attempts, e.created_at, q.due AS next_attempt_at, l.status_code AS last_status_code, l.error AS last_error,
    l.started_at AS last_attempt_at, NULL::timestamptz AS ended_at
  FROM webhook.queue q
  LEFT JOIN webhook.event e ON e.id = q.event_id
  LEFT JOIN LATERAL (
    SELECT a.status_code, a.error, a.started_at FROM webhook.attempt a
    WHERE a.event_id = q.event_id AND a.endpoint_id = q.endpoint_id AND q.attempts > 0
    ORDER BY a.number DESC LIMIT 1) l ON true
  UNION ALL
  SELECT a.event_id, a.endpoint_id, e.type, e.tenant, e.key, a.outcome,
    CASE WHEN a.number > 0 THEN a.number
      ELSE coalesce((SELECT max(p.number) FROM webhook.attempt p WHERE p.event_id = a.event_id AND p.endpoint_id = a.endpoint_id), 0) END,
    e.created_at, NULL, a.status_code, a.error, a.started_at, a.recorded_at
  FROM webhook.attempt a
  LEFT JOIN webhook.event e ON e.id = a.event_id
  WHERE a.final
    AND NOT EXISTS (SELECT FROM webhook.queue q WHERE q.event_id = a.event_id AND q.endpoint_id = a.endpoint_id)
    -- a resend may have ended it more than once: the last counts
    AND NOT EXISTS (SELECT FROM webhook.attempt later
      WHERE later.event_id = a.event_id AND later.endpoint_id = a.endpoint_id AND later.final
        AND (later.recorded_at, later.id) > (a.recorded_at, a.id));
COMMENT ON VIEW webhook.delivery IS 'One row per delivery: status, attempts, last status and error, next attempt';

-- webhook.delivery_log: one row per request made, and per delivery that ended without one. Newest first by
-- ORDER BY event_id DESC, number DESC: the partitions' own order.
CREATE VIEW webhook.delivery_log AS
  SELECT a.event_id, a.number, a.endpoint_id, e.type, e.tenant, e.key, a.outcome, a.final, a.status_code, a.error,
    a.started_at, a.duration, a.recorded_at, a.url, a.remote_address, a.request_headers,
    coalesce((SELECT b.body FROM webhook.event_body b WHERE b.event_id = a.event_id AND a.endpoint_id = ANY (b.endpoint_ids)),
      e.body) AS request_body,
    a.response_headers, a.response_body, e.body = '' AS erased, a.id AS attempt_id, a.callback_error
  FROM webhook.attempt a
  LEFT JOIN webhook.event e ON e.id = a.event_id;
COMMENT ON VIEW webhook.delivery_log IS 'Every request and what came back; erased: webhook_forget() has taken bodies and headers away';

-- webhook.dead_letter: deliveries that failed for good.
CREATE VIEW webhook.dead_letter AS
  SELECT d.event_id, d.endpoint_id, d.type, d.tenant, d.key, d.attempts, d.last_status_code, d.last_error, d.ended_at
  FROM webhook.delivery d WHERE d.status = 'failed';
COMMENT ON VIEW webhook.dead_letter IS 'Deliveries that failed for good';
